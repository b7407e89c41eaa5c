#include "worker/privilege.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static tc_status drop_capabilities(struct tc_error *err)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
    if (syscall(SYS_capset, &header, none) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot drop capabilities");
    return TC_OK;
}

tc_status tc_privilege_drop(uid_t id, struct tc_error *err)
{
    static const struct rlimit no_core = {0, 0};
    /* The bounding set first: it needs CAP_SETPCAP, which goes away below. */
    for (unsigned long capability = 0; capability <= 63; capability++)
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) {
            if (errno == EINVAL) break; /* one past the last that this kernel knows */
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot empty the bounding set");
        }
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0 ||
        setgroups(0, NULL) != 0 || setresgid(id, id, id) != 0 || setresuid(id, id, id) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot become uid %u", (unsigned)id);
    TC_TRY(drop_capabilities(err));
    /* Dumpable again after a change of uid on some paths: say it last. */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || setrlimit(RLIMIT_CORE, &no_core) != 0 ||
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot give up privileges for good");
    if (setresuid(0, 0, 0) == 0)
        return tc_fail(err, TC_SYSTEM, "uid 0 could be taken back: refusing to go on");
    return TC_OK;
}

void tc_close_other_fds(const int *keep)
{
    unsigned first = 3;
    for (; *keep >= 0; keep++) {
        unsigned fd = (unsigned)*keep;
        if (fd > first) (void)close_range(first, fd - 1, 0);
        if (fd >= first) first = fd + 1;
    }
    (void)close_range(first, ~0U, 0);
}
