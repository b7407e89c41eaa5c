/* Redirection by nftables: the rules are ours, the program that gives them to the
 * kernel is nft, out of the worker's own root (the first ramdisk in an enclave). A
 * kernel or a machine without it is no failure: then listeners do. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "os/process.h"
#include "worker/netns.h"

#define NFT "/usr/sbin/nft"

/* 1023 is TC_NETNS_PORT. What is meant for the loopback itself is the build's own
 * affair: its servers live there. */
static const char rules[] = "table inet tee_compile {\n"
                            "  chain output {\n"
                            "    type nat hook output priority -100; policy accept;\n"
                            "    ip daddr 127.0.0.0/8 return\n"
                            "    ip6 daddr ::1 return\n"
                            "    meta l4proto tcp redirect to :1023\n"
                            "    udp dport 53 redirect to :53\n"
                            "  }\n"
                            "}\n";

/* It keeps the capabilities that the bounding set of stages leaves it, and none of
 * its descriptors. */
_Noreturn static void become_nft(int rules_fd)
{
    static char *const arguments[] = {(char *)(uintptr_t) "nft", (char *)(uintptr_t) "-f",
                                      (char *)(uintptr_t) "-", NULL};
    static char *const no_environment[] = {NULL};
    struct tc_error err = {0};
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (nowhere >= 0 && tc_process_reset_signals(&err) == TC_OK &&
        tc_process_keep(&rules_fd, 1, nowhere, &err) == TC_OK &&
        dup2(TC_PROCESS_FIRST_FD, STDIN_FILENO) >= 0)
        (void)execve(NFT, arguments, no_environment);
    _exit(EXIT_FAILURE);
}

tc_status tc_netns_redirect(bool *ret_done, struct tc_error *err)
{
    int status;
    pid_t ended;
    *ret_done = false;
    if (access(NFT, X_OK) != 0) return TC_OK;
    TC_AUTO_CLOSE int fd = memfd_create("rules", MFD_CLOEXEC);
    if (fd < 0 || write(fd, rules, sizeof rules - 1) != (ssize_t)(sizeof rules - 1) ||
        lseek(fd, 0, SEEK_SET) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot write the rules of the network");
    pid_t pid = fork();
    if (pid < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot start nft");
    if (pid == 0) become_nft(fd);
    do
        ended = waitpid(pid, &status, 0);
    while (ended < 0 && errno == EINTR);
    if (ended < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot wait for nft");
    *ret_done = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS;
    return TC_OK;
}
