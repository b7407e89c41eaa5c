#include "cmd/build_logs.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where a log is must not fall off behind words that a guest may have chosen. */
void tc_build_add_to_message(struct tc_error *err, const char *before, const char *text)
{
    static const char cut[] = "...";
    enum { SIZE = sizeof err->message, LEAST = SIZE / 4 };
    size_t used = strlen(err->message), added = strlen(before) + strlen(text);
    if (used + added >= SIZE) {
        size_t room = added + sizeof cut + LEAST <= SIZE ? SIZE - sizeof cut - added : LEAST;
        if (used > room) used = room;
        while (used > 0 && (err->message[used] & 0xc0) == 0x80) /* not half a character */
            used--;
        used += (size_t)snprintf(err->message + used, SIZE - used, "%s", cut);
    }
    (void)snprintf(err->message + used, SIZE - used, "%s%.*s", before, (int)SIZE, text);
}

/* It says something, and has its name now. */
static bool keep(struct tc_tempfile *file)
{
    struct tc_error ignored = {0};
    return file->fd >= 0 && lseek(file->fd, 0, SEEK_END) > 0 &&
           tc_tempfile_commit(file, &ignored) == TC_OK;
}

/* What a machine said, where the build's own command is not what failed. */
static void keep_console(struct tc_build_logs *logs, struct tc_error *err)
{
    if (err->status == TC_BUILD) return;
    logs->has_console = keep(logs->console);
    if (logs->has_console)
        tc_build_add_to_message(err, "; the machine's console is in ", logs->console_path);
    bool worker = err->status == TC_PEER || err->status == TC_MALFORMED;
    if (logs->enclave && worker)
        tc_build_add_to_message(err, "; ",
                                logs->debug ? "what its console said is above"
                                            : "an enclave shows its console with --debug alone");
}

/* A log that says something outlives a failed build. */
static void keep_log(struct tc_build_logs *logs, struct tc_error *err)
{
    if (logs->log->fd < 0) return;
    bool ran = err->status == TC_BUILD || err->status == TC_LIMIT;
    if (ran && lseek(logs->log->fd, 0, SEEK_END) <= 0)
        tc_build_add_to_message(err, "; ", "the build printed nothing: there is no log");
    else if ((logs->has_log = keep(logs->log)))
        tc_build_add_to_message(err, "; the build's log is in ", logs->log_path);
}

void tc_build_keep_logs(struct tc_build_logs *logs, struct tc_error *err)
{
    keep_console(logs, err);
    keep_log(logs, err);
}

void tc_build_drop_old(const char *path)
{
    struct stat info;
    if (lstat(path, &info) == 0 && S_ISREG(info.st_mode)) (void)unlink(path);
}
