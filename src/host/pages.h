/* The page server: gives an enclave the blocks of its toolchain's file, read-only.
 *
 * Untrusted as all of the host: whatever it answers, the enclave either reads the
 * measured bytes or ends. It has to be right only to be useful. */
#ifndef TC_HOST_PAGES_H
#define TC_HOST_PAGES_H

#include "core/nbd.h"

/* Serves file_fd, a regular file, to one client on fd, a connected stream socket,
 * until the client disconnects or hangs up: TC_OK. A read outside of the file is
 * answered with an error; every other command ends the connection, TC_REFUSED, as
 * do bytes that are not NBD, TC_MALFORMED. Both descriptors are borrowed. */
tc_status tc_pages_serve(int fd, int file_fd, struct tc_error *err) TC_MUST_USE;

#endif
