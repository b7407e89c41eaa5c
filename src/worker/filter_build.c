/* What the kernel refuses to the build. The default is to allow: compilers use
 * much, and namespaces, uid and an empty set of capabilities already hold. Each
 * rule closes a way that those leave open. ENOSYS where programs fall back to
 * an older call, EPERM where they do not. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "worker/privilege.h"

static void release(scmp_filter_ctx *filter)
{
    if (*filter) seccomp_release(*filter);
}

struct refusal {
    int call, reason;
};

static const struct refusal refusals[] = {
    /* io_uring opens sockets and files without any of the calls below. */
    {SCMP_SYS(io_uring_setup), ENOSYS},
    {SCMP_SYS(io_uring_enter), ENOSYS},
    {SCMP_SYS(io_uring_register), ENOSYS},
    /* clone3 takes its flags by pointer, where no filter can read them. */
    {SCMP_SYS(clone3), ENOSYS},
    /* Namespaces: a new user namespace gives all capabilities in it, and with
     * them most of the kernel's attack surface. */
    {SCMP_SYS(unshare), ENOSYS},
    {SCMP_SYS(setns), ENOSYS},
    /* Mounts, old interface and new. */
    {SCMP_SYS(mount), ENOSYS},
    {SCMP_SYS(umount2), ENOSYS},
    {SCMP_SYS(pivot_root), ENOSYS},
    {SCMP_SYS(chroot), EPERM},
    {SCMP_SYS(fsopen), ENOSYS},
    {SCMP_SYS(fsconfig), ENOSYS},
    {SCMP_SYS(fsmount), ENOSYS},
    {SCMP_SYS(fspick), ENOSYS},
    {SCMP_SYS(open_tree), ENOSYS},
    {SCMP_SYS(move_mount), ENOSYS},
    {SCMP_SYS(mount_setattr), ENOSYS},
    /* Programs and memory tricks in the kernel. */
    {SCMP_SYS(bpf), ENOSYS},
    {SCMP_SYS(perf_event_open), ENOSYS},
    {SCMP_SYS(userfaultfd), ENOSYS},
    {SCMP_SYS(kcmp), ENOSYS},
    /* Keyrings are not namespaced: a word to another build on the same kernel. */
    {SCMP_SYS(keyctl), ENOSYS},
    {SCMP_SYS(add_key), ENOSYS},
    {SCMP_SYS(request_key), ENOSYS},
    /* open_by_handle_at walks around mounts. */
    {SCMP_SYS(open_by_handle_at), EPERM},
    {SCMP_SYS(name_to_handle_at), EOPNOTSUPP},
    /* Need capabilities that the build does not have; refused twice. */
    {SCMP_SYS(kexec_load), EPERM},
    {SCMP_SYS(kexec_file_load), EPERM},
    {SCMP_SYS(init_module), EPERM},
    {SCMP_SYS(finit_module), EPERM},
    {SCMP_SYS(delete_module), EPERM},
    {SCMP_SYS(reboot), EPERM},
    {SCMP_SYS(swapon), EPERM},
    {SCMP_SYS(swapoff), EPERM},
    {SCMP_SYS(acct), EPERM},
    {SCMP_SYS(quotactl), EPERM},
    {SCMP_SYS(syslog), EPERM},
    {SCMP_SYS(settimeofday), EPERM},
    {SCMP_SYS(clock_settime), EPERM},
    {SCMP_SYS(adjtimex), EPERM},
    {SCMP_SYS(iopl), EPERM},
    {SCMP_SYS(ioperm), EPERM},
    {SCMP_SYS(quotactl_fd), EPERM},
    {SCMP_SYS(lookup_dcookie), EPERM},
    {SCMP_SYS(clock_adjtime), EPERM},
    {SCMP_SYS(vhangup), EPERM},
    {SCMP_SYS(fanotify_init), EPERM},
};

/* A system call takes an int where a register has 64 bits, and the kernel looks at
 * the lower 32 alone: a comparison of all 64 is passed by setting a bit above
 * (CVE-2019-10063). Hence the masks. */
#define ARGUMENT_IS(index, value) SCMP_CMP64(index, SCMP_CMP_MASKED_EQ, UINT32_MAX, value)

/* Only these families: AF_VSOCK ignores network namespaces and reaches the
 * enclave's host, AF_PACKET and the other netlink protocols have long lists of
 * holes. */
static int refuse_socket_families(scmp_filter_ctx filter, int call)
{
    /* A filter that allows by default has no "none of these": the families in
     * between are refused one by one, a greater-than rule closes the rest, and
     * with it every value that has a bit above the lower 32. */
    int result = 0;
    for (unsigned family = 0; family <= AF_NETLINK && result == 0; family++)
        if (family != AF_UNIX && family != AF_INET && family != AF_INET6 && family != AF_NETLINK)
            result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EAFNOSUPPORT), call, 1,
                                      ARGUMENT_IS(0, family));
    if (result == 0)
        result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EAFNOSUPPORT), call, 1,
                                  SCMP_A0_64(SCMP_CMP_GT, AF_NETLINK));
    if (result == 0)
        result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPROTONOSUPPORT), call, 2,
                                  SCMP_A0_64(SCMP_CMP_EQ, AF_NETLINK),
                                  SCMP_A2_64(SCMP_CMP_NE, NETLINK_ROUTE));
    return result;
}

static int refuse_namespaces(scmp_filter_ctx filter)
{
    static const scmp_datum_t flags[] = {CLONE_NEWUSER, CLONE_NEWNS,  CLONE_NEWPID,   CLONE_NEWNET,
                                         CLONE_NEWIPC,  CLONE_NEWUTS, CLONE_NEWCGROUP};
    int result = 0;
    for (size_t i = 0; i < sizeof flags / sizeof *flags && result == 0; i++)
        result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                                  SCMP_A0(SCMP_CMP_MASKED_EQ, flags[i], flags[i]));
    return result;
}

/* TIOCSTI types into the terminal of whoever started the build, TIOCLINUX into a
 * console. */
static int refuse_terminal_input(scmp_filter_ctx filter)
{
    int result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
                                  ARGUMENT_IS(1, TIOCSTI));
    if (result == 0)
        result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
                                  ARGUMENT_IS(1, TIOCLINUX));
    return result;
}

/* Calls that were added to Linux after the list above was written are absent to
 * the build, so that a newer kernel opens nothing, and a program finds the same
 * calls on each. The numbers are those of every architecture since 424. */
enum { FIRST_UNKNOWN_CALL = 453, X32_BIT = 0x40000000 };

static const struct sock_filter unknown_calls[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, FIRST_UNKNOWN_CALL, 0, 2),
    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 1, 0), /* left for what follows to kill */
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
};

static int fill(scmp_filter_ctx filter)
{
    /* x86-64 only: the i386 and x32 tables would need rules of their own. */
    int result = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals && result == 0; i++)
        result = seccomp_rule_add(filter, SCMP_ACT_ERRNO((unsigned)refusals[i].reason),
                                  refusals[i].call, 0);
    if (result == 0) result = refuse_socket_families(filter, SCMP_SYS(socket));
    if (result == 0) result = refuse_socket_families(filter, SCMP_SYS(socketpair));
    if (result == 0) result = refuse_namespaces(filter);
    if (result == 0) result = refuse_terminal_input(filter);
    return result;
}

tc_status tc_filter_build_fd(int *ret_fd, struct tc_error *err)
{
    __attribute__((cleanup(release))) scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    TC_AUTO_CLOSE int fd = memfd_create("build-filter", MFD_CLOEXEC);
    if (!filter || fd < 0) return tc_fail(err, TC_SYSTEM, "out of memory for a system call filter");
    int result = fill(filter);
    if (result == 0 && write(fd, unknown_calls, sizeof unknown_calls) != sizeof unknown_calls)
        result = -errno;
    if (result == 0) result = seccomp_export_bpf(filter, fd);
    if (result != 0 || lseek(fd, 0, SEEK_SET) != 0)
        return tc_fail_errno(err, TC_SYSTEM, -result,
                             "cannot write the build's system call filter");
    *ret_fd = TC_TAKE_FD(fd);
    return TC_OK;
}
