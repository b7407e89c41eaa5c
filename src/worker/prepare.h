/* The limits of the build, before anything of it runs. */
#ifndef TC_WORKER_PREPARE_H
#define TC_WORKER_PREPARE_H

#include "core/buildspec.h"
#include "os/cgroup.h"

enum { TC_SANDBOX_TASKS = 2 }; /* bwrap and the PID 1 that it leaves in the sandbox */

/* Sets the cgroup's limits and mounts the scratch file system with the folders
 * of the build's uid. TC_UNAVAILABLE when the machine cannot give what the limits
 * promise; *ret_build_folder is owned. */
tc_status tc_prepare(const struct tc_cgroup *cgroup, const struct tc_limits *limits,
                     int *ret_build_folder, struct tc_error *err) TC_MUST_USE;

#endif
