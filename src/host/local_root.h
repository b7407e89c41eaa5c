/* The root file system of a local worker, as src/worker/spawner.h wants it. */
#ifndef TC_HOST_LOCAL_ROOT_H
#define TC_HOST_LOCAL_ROOT_H

#include "base/bytes.h"

/* In the client: can the build be shown this folder at its own path? TC_USAGE says
 * why not. */
tc_status tc_local_root_check_tool(const char *tool, struct tc_error *err) TC_MUST_USE;

struct tc_local_root {
    /* An image: its file system as a detached mount (borrowed), or at a path; and what
     * it says of itself. -1 and NULL: the machine's own toolchain. */
    int image_fd;
    const char *image_path;
    struct tc_span image_text;
    const char *const *host_tools; /* absolute folders; may be NULL */
    const char *memory_cgroup, *pids_cgroup; /* pids_cgroup NULL: version 2 */
};

/* In a process with capabilities over its own new mount and pid namespaces:
 * assembles the root, moves into it and lets go of the old one. From then on
 * nothing of the machine is there but /usr, parts of /etc, six devices, the
 * host tools (all read-only) and the worker's own control groups; with an image,
 * whose file system is the toolchain, /usr is only the worker's, for bwrap. */
tc_status tc_local_root_enter(const struct tc_local_root *root, struct tc_error *err) TC_MUST_USE;

#endif
