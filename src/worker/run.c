#include "worker/run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "worker/recording.h"

enum { PIPE, SPAWNER, HOST, RECORDER, SOURCES };

enum piece { PIECE_SOME, PIECE_NONE, PIECE_END };

/* Reads one piece of output, so that a command that writes without end cannot
 * keep the others from being served. */
static tc_status take_piece(int fd, struct tc_buildlog *log, enum piece *ret_piece,
                            struct tc_error *err)
{
    uint8_t bytes[16384];
    ssize_t got = read(fd, bytes, sizeof bytes);
    if (got < 0 && errno != EAGAIN && errno != EINTR)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read the command's output");
    if (got > 0) TC_TRY(tc_buildlog_add(log, (struct tc_span){bytes, (size_t)got}, err));
    *ret_piece = got > 0 || (got < 0 && errno == EINTR) ? PIECE_SOME
                 : got < 0                              ? PIECE_NONE
                                                        : PIECE_END;
    return TC_OK;
}

/* Carries output until stages has something to say. A failure here leaves the
 * command running: the caller kills it. */
static tc_status carry(struct tc_spawner *spawner, struct tc_channel *recorder, int fd,
                       struct tc_buildlog *log, struct tc_error *err)
{
    struct pollfd fds[SOURCES] = {
        [PIPE] = {.fd = fd, .events = POLLIN},
        [SPAWNER] = {.fd = tc_spawner_fd(spawner), .events = POLLIN},
        [HOST] = {.fd = log->host->fd, .events = POLLIN | POLLRDHUP},
        [RECORDER] = {.fd = recorder ? recorder->fd : -1, .events = POLLIN}};
    for (;;) {
        if (poll(fds, SOURCES, -1) < 0) {
            if (errno == EINTR) continue;
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot wait for the command");
        }
        if (fds[PIPE].revents) {
            enum piece piece;
            TC_TRY(take_piece(fd, log, &piece, err));
            if (piece == PIECE_END) fds[PIPE].fd = -1;
        }
        /* After the source the host has nothing more to say: a byte from it is
         * as much the end of the session as a hang-up. */
        if (fds[HOST].revents)
            return tc_fail(err, TC_PEER,
                           "the host hung up, or spoke out of turn, during the build");
        /* Before stages is heard, which may only say that it ended a broken session. */
        if (fds[RECORDER].revents) return tc_recording_broken(recorder, err);
        if (fds[SPAWNER].revents) return TC_OK;
    }
}

tc_status tc_run_command(struct tc_spawner *spawner, const struct tc_command *command,
                         const struct tc_limits *limits, const char *what, struct tc_buildlog *log,
                         struct tc_channel *recorder, struct tc_error *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make a pipe for the command's output");
    TC_AUTO_CLOSE int output = ends[0];
    TC_AUTO_CLOSE int input = ends[1];
    if (fcntl(output, F_SETFL, O_NONBLOCK) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make the log pipe non-blocking");
    TC_TRY(tc_spawner_start(spawner, command, input, err));
    tc_close_ptr(&input);

    tc_status status = carry(spawner, recorder, output, log, err);
    if (status != TC_OK) {
        /* The reason stands in err; the result of the killed command is read so
         * that nothing of it runs on, whatever it says. */
        struct tc_error ignored = {0};
        struct tc_run_result result;
        if (tc_spawner_kill(spawner, &ignored) == TC_OK)
            (void)!tc_spawner_finish(spawner, &result, &ignored);
        return status;
    }
    struct tc_run_result result;
    TC_TRY(tc_spawner_finish(spawner, &result, err));
    /* Every writer is dead: what they wrote is all there, and ends. A pipe that
     * does not end has a writer that outlived the build, or lies in the queue of a
     * socket that only itself refers to until the kernel collects such garbage,
     * which Linux 6.10 and later do behind the back of the last close. */
    enum piece piece = PIECE_SOME;
    while (piece == PIECE_SOME)
        TC_TRY(take_piece(output, log, &piece, err));
    if (piece != PIECE_END)
        return tc_fail(err, TC_REFUSED, "%s ended, but something still holds its output", what);
    TC_TRY(tc_buildlog_flush(log, err));
    return tc_run_result_check(&result, limits, what, err);
}
