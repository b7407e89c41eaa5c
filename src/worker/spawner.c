#include "worker/spawner.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "os/message.h"
#include "worker/requests.h"
#include "worker/sandbox.h"

static tc_status receive_reply(struct tc_spawner *spawner, enum tc_request_kind kind,
                               struct tc_reply *ret_reply, struct tc_error *err)
{
    struct tc_reply reply = {0};
    TC_TRY(tc_message_receive(spawner->fd, &reply, sizeof reply, NULL, 0, NULL, err));
    reply.text[sizeof reply.text - 1] = '\0';
    if (reply.kind != (uint32_t)kind || reply.status > TC_SYSTEM)
        return tc_fail(err, TC_MALFORMED, "stages answered another request than was asked");
    if (reply.status != TC_OK) return tc_fail(err, (tc_status)reply.status, "%s", reply.text);
    *ret_reply = reply;
    return TC_OK;
}

static tc_status ask(struct tc_spawner *spawner, const struct tc_request *request, const int *fds,
                     size_t fds_count, struct tc_error *err)
{
    struct tc_reply reply = {0};
    TC_TRY(tc_message_send(spawner->fd, request, sizeof *request, fds, fds_count, err));
    return receive_reply(spawner, (enum tc_request_kind)request->kind, &reply, err);
}

tc_status tc_spawner_prepare(struct tc_spawner *spawner, const struct tc_limits *limits,
                             const struct tc_spawner_network *network, struct tc_error *err)
{
    struct tc_request request = {.kind = TC_REQUEST_PREPARE,
                                 .timeout = limits->timeout,
                                 .memory = limits->memory,
                                 .disk = limits->disk,
                                 .processes = limits->processes,
                                 .hijacked = network->hijacked,
                                 .ports_count = (uint32_t)network->ports_count};
    if (network->ports_count > TC_NETNS_PORTS_MAX)
        return tc_fail(err, TC_LIMIT, "more than %d ports of a build", TC_NETNS_PORTS_MAX);
    for (size_t i = 0; i < network->ports_count; i++)
        request.ports[i] = network->ports[i];
    return ask(spawner, &request, NULL, 0, err);
}

/* Starts a helper on one end of a new stream and keeps the other. */
static tc_status start_on_stream(struct tc_spawner *spawner, enum tc_request_kind kind, int *ret_fd,
                                 struct tc_error *err)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make a stream inside the worker");
    TC_AUTO_CLOSE int ours = ends[0];
    TC_AUTO_CLOSE int theirs = ends[1];
    struct tc_request request = {.kind = kind};
    TC_TRY(ask(spawner, &request, &theirs, 1, err));
    *ret_fd = TC_TAKE_FD(ours);
    return TC_OK;
}

tc_status tc_spawner_unpack(struct tc_spawner *spawner, int *ret_fd, struct tc_error *err)
{
    return start_on_stream(spawner, TC_REQUEST_UNPACK, ret_fd, err);
}

tc_status tc_spawner_collect(struct tc_spawner *spawner, int *ret_fd, struct tc_error *err)
{
    return start_on_stream(spawner, TC_REQUEST_COLLECT, ret_fd, err);
}

tc_status tc_spawner_unpacked(struct tc_spawner *spawner, struct tc_error *err)
{
    struct tc_request request = {.kind = TC_REQUEST_UNPACKED};
    return ask(spawner, &request, NULL, 0, err);
}

tc_status tc_spawner_start(struct tc_spawner *spawner, const struct tc_command *command, int log_fd,
                           struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf encoded = tc_buf_new(TC_COMMAND_MAX);
    tc_command_encode(command, &encoded);
    TC_TRY(tc_buf_check(&encoded, "the command and its environment", err));
    TC_AUTO_CLOSE int memory = memfd_create("command", MFD_CLOEXEC);
    if (memory < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot hand over the command");
    for (size_t done = 0; done < encoded.size;) {
        ssize_t written = write(memory, encoded.data + done, encoded.size - done);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot hand over the command");
        done += (size_t)written;
    }
    struct tc_request request = {.kind = TC_REQUEST_COMMAND};
    int fds[2] = {memory, log_fd};
    return ask(spawner, &request, fds, 2, err);
}

int tc_spawner_fd(const struct tc_spawner *spawner)
{
    return spawner->fd;
}

tc_status tc_spawner_kill(struct tc_spawner *spawner, struct tc_error *err)
{
    struct tc_request request = {.kind = TC_REQUEST_KILL};
    return tc_message_send(spawner->fd, &request, sizeof request, NULL, 0, err);
}

tc_status tc_spawner_finish(struct tc_spawner *spawner, struct tc_run_result *ret_result,
                            struct tc_error *err)
{
    struct tc_reply reply = {0};
    TC_TRY(receive_reply(spawner, TC_REQUEST_COMMAND, &reply, err));
    if (reply.end < TC_RUN_EXITED || reply.end > TC_RUN_NOT_STARTED)
        return tc_fail(err, TC_MALFORMED, "stages does not say how the command ended");
    *ret_result = (struct tc_run_result){(enum tc_run_end)reply.end, reply.code, reply.started,
                                         reply.finished};
    return TC_OK;
}

tc_status tc_run_result_check(const struct tc_run_result *result, const struct tc_limits *limits,
                              const char *what, struct tc_error *err)
{
    char memory[16], disk[16];
    switch (result->end) {
    case TC_RUN_EXITED:
        if (result->status == 0) return TC_OK;
        return tc_fail(err, TC_BUILD, "%s failed with exit status %d", what, result->status);
    case TC_RUN_SIGNALED:
        return tc_fail(err, TC_BUILD, "%s was ended by signal %d", what, result->status);
    case TC_RUN_TIMEOUT:
        return tc_fail(err, TC_LIMIT,
                       "%s ran into limits.timeout (%llu seconds for all commands together): "
                       "nothing is signed; raise it in build.json",
                       what, (unsigned long long)limits->timeout);
    case TC_RUN_OUT_OF_MEMORY:
        return tc_fail(err, TC_LIMIT,
                       "%s ran out of memory or disk (limits.memory %s and limits.disk %s, counted "
                       "together): nothing is signed, whatever its exit status; raise them in "
                       "build.json",
                       what, tc_human_size(limits->memory, memory),
                       tc_human_size(limits->disk, disk));
    case TC_RUN_OUT_OF_PROCESSES:
        return tc_fail(err, TC_LIMIT,
                       "%s ran into limits.processes (%llu): nothing is signed, whatever its exit "
                       "status; raise it in build.json",
                       what, (unsigned long long)limits->processes);
    case TC_RUN_KILLED: return tc_fail(err, TC_LIMIT, "%s was ended by the worker", what);
    case TC_RUN_NOT_STARTED:
        return tc_fail(err, TC_UNAVAILABLE, "%s could not be started; the log says why", what);
    }
    return tc_fail(err, TC_SYSTEM, "%s ended in a way that nobody knows", what);
}
