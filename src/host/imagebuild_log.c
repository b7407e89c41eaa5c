/* What the scripts say, and the file that a failed build leaves of it.
 *
 * A script's output comes through a pipe, and a thread writes it down: no more of a
 * step than its share, so that a recipe cannot fill the disk with words, and the rest
 * of a long output is still read, so that whoever writes it does not wait for ever. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "host/imagebuild_internal.h"
#include "os/files.h"
#include "os/tempfile.h"

enum { STEP_MAX = 64 << 20, PIECE = 1 << 16, NAMES_MAX = 10, LAST_MAX = 300 };

/* The first line of a log: a file without it is somebody else's. */
static const char mark[] = "--- tee-compile image build: the log of a failed build\n";

struct pump {
    int from_fd, log_fd;
};

static void *pump_run(void *context)
{
    const struct pump *pump = context;
    static const char cut[] = "\n--- the rest of this step's output is left out\n";
    struct tc_error ignored = {0};
    uint8_t piece[PIECE];
    size_t left = STEP_MAX;
    for (bool said = false;;) {
        ssize_t got = read(pump->from_fd, piece, sizeof piece);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return NULL;
        size_t part = (size_t)got < left ? (size_t)got : left;
        (void)!tc_write_all(pump->log_fd, (struct tc_span){piece, part}, "the log", &ignored);
        left -= part;
        if (part < (size_t)got && !said)
            (void)!tc_write_all(pump->log_fd, tc_span_of_text(cut), "the log", &ignored);
        said = said || part < (size_t)got;
    }
}

/* Signals are for the thread that waits for them. */
static int start_pump(pthread_t *thread, struct pump *pump)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, &before);
    int reason = pthread_create(thread, NULL, pump_run, pump);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return reason;
}

tc_status tc_making_run(const struct tc_making *making, struct tc_room *room,
                        const char *const *command, struct tc_error *err)
{
    int ends[2];
    pthread_t thread;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make a pipe");
    TC_AUTO_CLOSE int from = ends[0];
    TC_AUTO_CLOSE int to = ends[1];
    struct pump pump = {from, making->log_fd};
    /* A script may open its /dev/stderr by name. */
    if (geteuid() == 0 && fchown(to, (uid_t)making->owner, (gid_t)making->owner) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot give the log's pipe away");
    int reason = start_pump(&thread, &pump);
    if (reason != 0) return tc_fail_errno(err, TC_SYSTEM, reason, "cannot start a thread");
    room->log_fd = to;
    tc_status status = tc_room_run(room, command, err);
    tc_close_ptr(&to); /* nobody of the room lives, so this is the last one */
    (void)pthread_join(thread, NULL);
    return status;
}

/* --- a failed build's --- */

/* Nothing is there, or a log of an earlier failure. */
static bool is_ours(const char *path)
{
    char line[sizeof mark];
    struct stat info;
    if (lstat(path, &info) != 0) return errno == ENOENT;
    TC_AUTO_CLOSE int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    return fd >= 0 && S_ISREG(info.st_mode) &&
           read(fd, line, sizeof mark - 1) == (ssize_t)sizeof mark - 1 &&
           memcmp(line, mark, sizeof mark - 1) == 0;
}

/* NAME.log, else NAME.1.log and so on; owned; NULL: none. */
static char *find_name(const char *stem)
{
    for (int i = 0; i < NAMES_MAX; i++) {
        TC_AUTO_FREE char *path = NULL;
        if ((i == 0 ? asprintf(&path, "%s.log", stem) : asprintf(&path, "%s.%d.log", stem, i)) < 0)
            return NULL;
        if (is_ours(path)) return TC_TAKE(path);
    }
    return NULL;
}

/* What was said last is most often why: into out, printable; empty when there is nothing. */
static void last_line(int log_fd, char out[LAST_MAX])
{
    uint8_t piece[4096];
    off_t end = lseek(log_fd, 0, SEEK_END);
    off_t from = end > (off_t)sizeof piece ? end - (off_t)sizeof piece : 0;
    ssize_t got = end > 0 ? pread(log_fd, piece, sizeof piece, from) : 0;
    size_t size = got > 0 ? (size_t)got : 0;
    while (size > 0 && (piece[size - 1] == '\n' || piece[size - 1] == ' '))
        size--;
    size_t begin = size;
    while (begin > 0 && piece[begin - 1] != '\n')
        begin--;
    (void)tc_printable((struct tc_span){piece + begin, size - begin}, out, LAST_MAX);
}

void tc_making_keep_log(const struct tc_making *making, struct tc_error *err)
{
    char last[LAST_MAX];
    TC_AUTO_FREE char *stem = NULL, *path = NULL;
    TC_AUTO_TEMPFILE struct tc_tempfile file = TC_TEMPFILE_NONE;
    struct tc_error ignored = {0};
    uint8_t piece[PIECE];
    off_t at = 0;
    if (making->log_fd < 0 || tc_making_stem(making->wanted->output, &stem, &ignored) != TC_OK)
        return;
    path = find_name(stem);
    if (!path || tc_tempfile_open(path, &file, &ignored) != TC_OK ||
        tc_write_all(file.fd, tc_span_of_text(mark), path, &ignored) != TC_OK)
        return;
    for (ssize_t got; (got = pread(making->log_fd, piece, sizeof piece, at)) > 0; at += got)
        if (tc_write_all(file.fd, (struct tc_span){piece, (size_t)got}, path, &ignored) != TC_OK)
            return;
    if (at == 0 || tc_tempfile_commit(&file, &ignored) != TC_OK) return;
    last_line(making->log_fd, last);
    size_t used = strlen(err->message);
    (void)snprintf(err->message + used, sizeof err->message - used,
                   "; its log is %s, which ends with: %s", path, last);
}
