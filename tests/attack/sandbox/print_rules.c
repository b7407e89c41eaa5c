/* In a network namespace of its own, gives the kernel our rules or none, and becomes the
 * shell command that it was given: print_rules ours|none COMMAND */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "worker/netns.h"

static bool put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0) (void)close(fd);
    return good;
}

/* As root, or as an ordinary user who is root in there: nft keeps its rights then. */
static bool enter(void)
{
    char users[32], groups[32];
    if (geteuid() == 0) return unshare(CLONE_NEWNET) == 0;
    (void)snprintf(users, sizeof users, "0 %u 1", (unsigned)geteuid());
    (void)snprintf(groups, sizeof groups, "0 %u 1", (unsigned)getegid());
    return unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 && put("/proc/self/setgroups", "deny") &&
           put("/proc/self/uid_map", users) && put("/proc/self/gid_map", groups);
}

int main(int argc, char **argv)
{
    struct tc_error err = {0};
    bool done = true;
    if (argc != 3) return 2;
    if (!enter()) {
        perror("a network namespace");
        return 2;
    }
    if (strcmp(argv[1], "ours") == 0 && (tc_netns_redirect(&done, &err) != TC_OK || !done)) {
        (void)fprintf(stderr, "the kernel refuses the rules: %s\n", err.message);
        return 1;
    }
    (void)execl("/bin/sh", "sh", "-c", argv[2], (char *)NULL);
    return 2;
}
