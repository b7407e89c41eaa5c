/* In a network namespace of its own, gives the kernel our rules, or with an argument none,
 * and becomes the shell command that it was given: print_rules ours|none COMMAND */
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "worker/netns.h"

int main(int argc, char **argv)
{
    struct tc_error err = {0};
    bool done = true;
    if (argc != 3) return 2;
    if (unshare(geteuid() == 0 ? CLONE_NEWNET : CLONE_NEWUSER | CLONE_NEWNET) != 0) {
        perror("unshare");
        return 2;
    }
    if (strcmp(argv[1], "ours") == 0 && (tc_netns_redirect(&done, &err) != TC_OK || !done)) {
        (void)fprintf(stderr, "the kernel refuses the rules: %s\n", err.message);
        return 1;
    }
    (void)execl("/bin/sh", "sh", "-c", argv[2], (char *)NULL);
    return 2;
}
