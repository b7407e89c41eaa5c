/* The client of `tee-compile build` without its back ends: sends a project to a
 * guest, writes what comes back, judges nothing, tells times on stderr. */
#ifndef TC_TESTS_QEMU_CLIENT_H
#define TC_TESTS_QEMU_CLIENT_H

#include "core/wire.h"

struct guest {
    /* Gives the stream to the guest's session, borrowed. */
    tc_status (*await)(void *context, int *ret_fd, struct tc_error *err);
    /* The network's part in HELLO; NULL: it has none. */
    void (*greet)(void *context, struct tc_wire_hello *hello);
    void *context;
};

/* Without a whole bundle there is no file of that name, and a line on stderr. */
tc_status client_build(const char *project, const char *bundle, const struct guest *guest,
                       struct tc_error *err) TC_MUST_USE;

#endif
