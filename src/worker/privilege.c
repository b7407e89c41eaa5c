#include "worker/privilege.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A kernel may know more capabilities than our headers do: PR_CAPBSET_DROP
 * answers EINVAL past the last. */
enum { CAPABILITIES_MAX = 64 };

static tc_status narrow_bounding_set(uint64_t mask, struct tc_error *err)
{
    for (unsigned long capability = 0; capability < CAPABILITIES_MAX; capability++) {
        if (mask >> capability & 1) continue;
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0) continue;
        if (errno == EINVAL) break;
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot drop capability %lu", capability);
    }
    return TC_OK;
}

static tc_status set_capabilities(uint64_t mask, struct tc_error *err)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    uint32_t low = (uint32_t)mask, high = (uint32_t)(mask >> 32);
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {
        {.effective = low, .permitted = low}, {.effective = high, .permitted = high}};
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0 ||
        syscall(SYS_capset, &header, data) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot drop capabilities");
    return TC_OK;
}

tc_status tc_privilege_keep(uint64_t mask, struct tc_error *err)
{
    TC_TRY(narrow_bounding_set(mask, err));
    return set_capabilities(mask, err);
}

tc_status tc_privilege_drop(uid_t id, struct tc_error *err)
{
    static const struct rlimit no_core = {0, 0};
    /* The bounding set first: it needs CAP_SETPCAP, which goes away below. */
    TC_TRY(narrow_bounding_set(0, err));
    if (setgroups(0, NULL) != 0 || setresgid(id, id, id) != 0 || setresuid(id, id, id) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot become uid %u", (unsigned)id);
    TC_TRY(set_capabilities(0, err));
    /* The change of uid has set dumpable to /proc/sys/fs/suid_dumpable. */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || setrlimit(RLIMIT_CORE, &no_core) != 0 ||
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot give up privileges for good");
    if (setresuid(0, 0, 0) == 0)
        return tc_fail(err, TC_SYSTEM, "uid 0 could be taken back: refusing to go on");
    return TC_OK;
}
