/* Who may do what inside the worker.
 *
 *   process    inner uid  holds                           reads bytes of
 *   stages     0          capabilities of the enclave     nobody (fixed-size requests)
 *   monitor    2          NSM handle, build key           the session (typed values)
 *   session    1          host socket                     the host, the collector, the log
 *   recorder   3          listeners, streams to the host  the build's connections, the network
 *   unpacker   1000       /build, before any command      the session
 *   sandbox    1000       nothing                         build.json's command: hostile
 *   collector  1000       /build, after the last command  the build's files
 *
 * `stages` is PID 1 of the worker. It does every privileged step: mounts,
 * cgroup, change of uid, kill. After start it only serves the requests below,
 * which are structs of fixed size with integers in checked ranges and
 * descriptors beside them; it parses nothing. It tells the monitor itself, over
 * a pipe that nobody else holds, how the commands ended, so that the session
 * cannot claim a clean run for a build that was killed or ran out of something.
 *
 * Order that stages enforces: PREPARE once, UNPACK once, COMMAND any number of
 * times, COLLECT once. After each COMMAND and before COLLECT every process of
 * the build's uid is killed and reaped. Whatever comes out of order, or twice,
 * ends the worker. */
#ifndef TC_WORKER_SPAWNER_H
#define TC_WORKER_SPAWNER_H

#include "core/buildspec.h"

enum {
    TC_UID_STAGES = 0,
    TC_UID_SESSION = 1,
    TC_UID_MONITOR = 2,
    TC_UID_RECORDER = 3,
    TC_UID_BUILD = 1000,
};

/* How the command's world looks; a constant of the worker, part of what the
 * measurement covers. */
#define TC_BUILD_FOLDER "/build"
#define TC_BUILD_HOME "/home/build"
#define TC_SHOWN_FOLDER "/dev/tee-compile" /* what the worker shows the build besides */
#define TC_BUILD_HOSTNAME "tee-compile"
#define TC_BUILD_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define TC_BUILD_EPOCH_DEFAULT ((int64_t)315532800) /* 1980-01-01, for zip's sake */

/* What the platform (launcher, or PID 1's mounts in an enclave) has put in
 * place before stages starts:
 *   /toolchain  the toolchain's root, read-only, with the empty folders build,
 *               home/build, tmp, proc and dev, and bash; its trust anchors at
 *               TC_TOOLCHAIN_ANCHORS, or none, and what no server may show
 *               (core/denied.h) at TC_DENIED_PATH, or nothing
 *   /image      what the image says of itself (core/imagetext.h), a file readable
 *               to all; not there when the toolchain is not a measured one
 *   /scratch    an empty folder, owned by inner uid 0; stages mounts a tmpfs
 *   /cgroup     cgroup v2 folder delegated to the worker, or a folder with
 *               memory/ and pids/ of v1
 *   bwrap       at /usr/bin/bwrap, with its libraries, and the empty folder /tmp
 *               on which it puts the new root together
 *   /proc       of the worker's own pid namespace */

#define TC_WORKER_IMAGE "/image"
#define TC_TOOLCHAIN "/toolchain"
#define TC_TOOLCHAIN_ANCHORS "/toolchain/etc/ssl/certs/ca-certificates.crt"

/* How a command ended. clean means: exit status below, no limit reached, no
 * OOM kill, nothing refused to fork, every process dead. */
enum tc_run_end {
    TC_RUN_EXITED = 1,    /* status holds the exit status */
    TC_RUN_SIGNALED,      /* status holds the signal */
    TC_RUN_TIMEOUT,       /* limits.timeout reached */
    TC_RUN_OUT_OF_MEMORY, /* the kernel killed, or refused memory; memory or disk limit */
    TC_RUN_OUT_OF_PROCESSES,
    TC_RUN_KILLED,        /* tc_spawner_kill, e.g. for limits.log */
    TC_RUN_NOT_STARTED,   /* the sandbox could not be set up */
};
struct tc_run_result {
    enum tc_run_end end;
    int status;
    int64_t started, finished; /* wall clock, seconds since the epoch */
};

/* The session's side. Not thread-safe. */
struct tc_spawner {
    int fd; /* SEQPACKET to stages; borrowed */
};

/* What the build's network is: none, or one whose connections end at the recorder
 * (netns.h), to which stages sends the listeners. */
struct tc_spawner_network {
    bool hijacked;
    const uint16_t *ports; /* further ones to listen on, at most TC_NETNS_PORTS_MAX */
    size_t ports_count;
};

/* Sets the limits and the network for the rest of the session: cgroup memory (memory + disk:
 * tmpfs pages count there), swap 0, processes; the scratch tmpfs is larger than
 * the cgroup allows, so that a full disk is an OOM kill, which cannot be hidden
 * from the statement as ENOSPC in a probe could. TC_UNAVAILABLE when the
 * machine has less memory available than memory + disk. */
tc_status tc_spawner_prepare(struct tc_spawner *spawner, const struct tc_limits *limits,
                             const struct tc_spawner_network *network, struct tc_error *err)
    TC_MUST_USE;

/* Starts the unpacker (worker/unpack.h) or the collector (worker/collect.h) on
 * the other end of a new stream socket; ret_fd is owned. */
tc_status tc_spawner_unpack(struct tc_spawner *spawner, int *ret_fd, struct tc_error *err)
    TC_MUST_USE;
tc_status tc_spawner_collect(struct tc_spawner *spawner, int *ret_fd, struct tc_error *err)
    TC_MUST_USE;

/* After the unpacker said DONE: waits until it is gone and says whether it ran
 * into a limit. */
tc_status tc_spawner_unpacked(struct tc_spawner *spawner, struct tc_error *err) TC_MUST_USE;

/* Starts one command. Its stdout and stderr are log_fd (the write end of a
 * pipe, borrowed: stages duplicates it), its stdin is /dev/null. The command is
 * run by `bash -euo pipefail -c` in /build/<folder>. environment is complete
 * (NULL-terminated, sorted). Returns as soon as it runs. */
struct tc_command {
    const char *command;
    const char *folder;
    const char *const *environment;
    const struct tc_command_file *files; /* shown to the command; ends with a NULL path */
};
/* Below /dev/tee-compile, or in place of a file that the toolchain has; where it has
 * none, such a file is left out. */
struct tc_command_file {
    const char *path;
    struct tc_span content;
};
tc_status tc_spawner_start(struct tc_spawner *spawner, const struct tc_command *command, int log_fd,
                           struct tc_error *err) TC_MUST_USE;
/* Readable fd: call tc_spawner_finish. */
int tc_spawner_fd(const struct tc_spawner *spawner);
/* Kills the running command; its result (TC_RUN_KILLED) still has to be read. */
tc_status tc_spawner_kill(struct tc_spawner *spawner, struct tc_error *err) TC_MUST_USE;
/* Blocks until the command's last process is dead. */
tc_status tc_spawner_finish(struct tc_spawner *spawner, struct tc_run_result *ret_result,
                            struct tc_error *err) TC_MUST_USE;

/* "the build ran out of memory: limits.memory is 2.0 GiB ..." for people. */
tc_status tc_run_result_check(const struct tc_run_result *result, const struct tc_limits *limits,
                              const char *what, struct tc_error *err) TC_MUST_USE;

/* stages -> monitor, one fixed-size message after each COMMAND (and one after
 * UNPACK), over a SEQPACKET socket of their own. */
enum { TC_VERDICT_UNPACKED = 1, TC_VERDICT_COMMAND = 2 };
struct tc_verdict_message {
    uint32_t kind;
    uint32_t clean; /* 1: exited 0, no limit reached, every process dead */
    int64_t started, finished;
};

#endif
