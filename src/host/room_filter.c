/* Namespaces leave some ways out of a room open: vsock knows no network namespaces
 * and reaches the hypervisor's parent, keyrings are the kernel's and not a
 * namespace's, and some calls have a history of holes. The default is to allow, since
 * packages' scripts and compilers use much, mounts among it. */
#include "host/room_filter.h"

#include <errno.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

static void release(scmp_filter_ctx *filter)
{
    if (*filter) seccomp_release(*filter);
}

/* As absent: programs fall back to what they did before these calls existed. */
static const int absent_calls[] = {
    SCMP_SYS(keyctl),
    SCMP_SYS(add_key),
    SCMP_SYS(request_key),
    SCMP_SYS(bpf),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(io_uring_enter),
    SCMP_SYS(io_uring_register),
    SCMP_SYS(open_by_handle_at),
};

static bool is_allowed(int family)
{
    return family == AF_UNIX || family == AF_INET || family == AF_INET6 || family == AF_NETLINK;
}

/* The kernel looks at the lower 32 bits of a family, a rule at all 64: whatever has a
 * bit above is greater than the last family that is allowed, and refused as such. */
static int refuse_families(scmp_filter_ctx filter, int call)
{
    int result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EAFNOSUPPORT), call, 1,
                                  SCMP_A0_64(SCMP_CMP_GT, AF_NETLINK));
    for (int family = 0; family <= AF_NETLINK && result == 0; family++)
        if (!is_allowed(family))
            result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EAFNOSUPPORT), call, 1,
                                      SCMP_A0_64(SCMP_CMP_EQ, (scmp_datum_t)family));
    return result;
}

tc_status tc_room_filter_load(struct tc_error *err)
{
    __attribute__((cleanup(release))) scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    if (!filter) return tc_fail(err, TC_SYSTEM, "out of memory for a system call filter");
    /* The tables of i386 and x32 would need rules of their own. */
    int result = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    for (size_t i = 0; i < sizeof absent_calls / sizeof *absent_calls && result == 0; i++)
        result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), absent_calls[i], 0);
    if (result == 0) result = refuse_families(filter, SCMP_SYS(socket));
    if (result == 0) result = refuse_families(filter, SCMP_SYS(socketpair));
    if (result == 0) result = seccomp_load(filter);
    if (result != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, -result,
                             "cannot install the room's system call filter");
    return TC_OK;
}
