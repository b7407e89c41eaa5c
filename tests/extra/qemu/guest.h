/* What a test's /init checks inside of the machine. Each line on the console that
 * begins with "guest: " is an answer; guest.py reads them. */
#ifndef TC_TESTS_QEMU_GUEST_H
#define TC_TESTS_QEMU_GUEST_H

#include <stdbool.h>

/* "guest: ok WHAT" or "guest: FAILED WHAT: DETAIL". */
void check(const char *what, bool good, const char *detail);

/* nsm.c: worker/nsm against the device, with every error that it can give. */
void check_nsm(void);
/* stream.c: the kernel's vsock against the project's device. */
void check_streams(void);

#endif
