/* The real stages with a scripted session, and with an unpacker, a collector and
 * a monitor that only do enough to show what stages does with them. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "script.h"
#include "worker/collect.h"
#include "worker/spawner.h"
#include "worker/stages.h"
#include "worker/unpack.h"

static const char *const environment[] = {"HOME=/home/build", "LC_ALL=C.UTF-8",
                                          "PATH=" TC_BUILD_PATH, "TZ=UTC0", NULL};

#define SPAN(text)                                                                                 \
    {                                                                                              \
        (const uint8_t *)(text), sizeof(text) - 1                                                  \
    }
static const struct tc_command_file files[] = {
    {TC_SHOWN_FOLDER "/ca.pem", SPAN("shown\n")},
    {"/etc/resolv.conf", SPAN("nameserver 198.18.0.1\n")},
    {"/etc/passwd", SPAN("build:x:1000:1000:covered:/home/build:/bin/bash\n")},
    {"/etc/there-is-none", SPAN("nobody sees it\n")},
    {0},
};

static bool read_all(int fd, void *out, size_t size)
{
    uint8_t *next = out;
    while (size > 0) {
        ssize_t got = read(fd, next, size);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        next += got;
        size -= (size_t)got;
    }
    return true;
}

/* --- unpacker and collector: one file in, names and contents of out* out --- */

int tc_unpack_main(int fd, int root_fd)
{
    char byte;
    int file = openat(root_fd, "source.txt", O_WRONLY | O_CREAT | O_EXCL, 0644);
    bool good = file >= 0 && write(file, "source\n", 7) == 7;
    return good && read(fd, &byte, 1) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int tc_collect_main(int fd, int root_fd)
{
    char text[256];
    int file = openat(root_fd, "out", O_RDONLY | O_NOFOLLOW);
    if (file < 0) {
        (void)dprintf(fd, "no out\n");
    } else {
        /* Twice, as the real one does: a build that outlived its end shows. */
        for (int pass = 0; pass < 2; pass++) {
            ssize_t got = pread(file, text, sizeof text - 1, 0);
            if (got < 0) got = 0;
            text[got] = '\0';
            (void)dprintf(fd, "out: %s\n", text);
        }
    }
    (void)dprintf(fd, "socket %s\n", socket(AF_UNIX, SOCK_STREAM, 0) < 0 ? "refused" : "ALLOWED");
    (void)dprintf(fd, "fork %s\n", fork() < 0 ? "refused" : "ALLOWED");
    return EXIT_SUCCESS;
}

/* --- monitor --- */

int tc_monitor_main(const struct tc_monitor_config *config)
{
    struct tc_verdict_message message;
    char verdicts[64];
    size_t count = 0;
    char byte;
    /* 'q': what have you heard; 'd': die; end of stream: done. */
    while (read(config->session_fd, &byte, 1) == 1) {
        if (byte == 'd') return EXIT_FAILURE;
        while (count < sizeof verdicts - 1 &&
               recv(config->stages_fd, &message, sizeof message, MSG_DONTWAIT) == sizeof message)
            verdicts[count++] = message.clean == 1 ? '1' : '0';
        verdicts[count] = '\n';
        if (write(config->session_fd, verdicts, count + 1) < 0) return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

/* --- session --- */

/* Not dprintf: its buffer is the script's business, its lines are the harness's. */
static void say(int fd, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(int fd, const char *format, ...)
{
    char line[2048];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (size > 0 && write(fd, line, (size_t)size) < 0) _exit(EXIT_FAILURE);
}

static bool failed(int fd, const char *what, tc_status status, const struct tc_error *err)
{
    if (status == TC_OK) return false;
    say(fd, "FAIL %s %s: %s\n", what, tc_status_name(status), err->message);
    return true;
}

static void ask_monitor(const struct tc_session_config *config)
{
    char line[80];
    if (write(config->monitor_fd, "q", 1) != 1) return;
    ssize_t got = read(config->monitor_fd, line, sizeof line - 1);
    if (got <= 0) return;
    line[got] = '\0';
    say(config->host_fd, "VERDICTS %s", line);
}

static bool run(const struct tc_session_config *config, const struct script_head *head,
                const char *text)
{
    struct tc_error err = {0};
    struct tc_spawner spawner = {config->spawner_fd};
    const char *folder = head->misbehave == SCRIPT_NO_FOLDER ? "missing" : ".";
    struct tc_command command = {text, folder, environment, files};
    struct tc_run_result result;
    char piece[4096];
    uint64_t seen = 0;
    bool killed = false;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return false;
    if (failed(config->host_fd, "start", tc_spawner_start(&spawner, &command, ends[1], &err), &err))
        return false;
    (void)close(ends[1]);
    if (head->misbehave == SCRIPT_SESSION_DIES) _exit(EXIT_FAILURE);
    if (head->misbehave == SCRIPT_MONITOR_DIES && write(config->monitor_fd, "d", 1) != 1)
        return false;
    for (;;) {
        ssize_t got = read(ends[0], piece, sizeof piece);
        if (got <= 0) break;
        seen += (uint64_t)got;
        if (seen <= head->log && write(config->host_fd, piece, (size_t)got) < 0) return false;
        /* Once: a command that has ended meanwhile cannot be killed again. */
        if (seen > head->log && !killed && tc_spawner_kill(&spawner, &err) != TC_OK) return false;
        killed = seen > head->log;
    }
    (void)close(ends[0]);
    if (failed(config->host_fd, "finish", tc_spawner_finish(&spawner, &result, &err), &err))
        return false;
    say(config->host_fd, "\nEND %d STATUS %d\n", (int)result.end, result.status);
    return true;
}

static void probe_filter(int fd)
{
    say(fd, "open %s\n", open("/proc/self/status", O_RDONLY) < 0 ? "refused" : "ALLOWED");
    say(fd, "fork %s\n", fork() < 0 ? "refused" : "ALLOWED");
    say(fd, "socket %s\n", socket(AF_UNIX, SOCK_STREAM, 0) < 0 ? "refused" : "ALLOWED");
    say(fd, "inet pair %s\n",
        socketpair(AF_INET, SOCK_STREAM, 0, (int[2]){0}) < 0 ? "refused" : "ALLOWED");
    say(fd, "ptrace %s\n", ptrace(PTRACE_TRACEME, 0, 0, 0) < 0 ? "refused" : "ALLOWED");
    say(fd, "kill %s\n", kill(-1, 0) < 0 ? "refused" : "ALLOWED");
    char *const nothing[] = {NULL};
    say(fd, "exec %s\n", execve("/usr/bin/true", nothing, nothing) < 0 ? "refused" : "ALLOWED");
    for (int other = 3; other < 64; other++) {
        struct stat info;
        if (fstat(other, &info) == 0) say(fd, "fd %d\n", other);
    }
}

/* What the recorder finds that it may do. */
static void probe_recorder(int fd, int recorder_fd)
{
    char text[2048];
    if (write(recorder_fd, "p", 1) != 1) return;
    ssize_t got = recv(recorder_fd, text, sizeof text - 1, 0);
    text[got > 0 ? got : 0] = '\0';
    say(fd, "RECORDER\n%s", text);
}

static bool collect(const struct tc_session_config *config)
{
    struct tc_error err = {0};
    struct tc_spawner spawner = {config->spawner_fd};
    char piece[4096];
    int fd;
    if (failed(config->host_fd, "collect", tc_spawner_collect(&spawner, &fd, &err), &err))
        return false;
    ssize_t got;
    while ((got = read(fd, piece, sizeof piece)) > 0)
        if (write(config->host_fd, piece, (size_t)got) < 0) return false;
    (void)close(fd);
    return true;
}

static bool unpack(const struct tc_session_config *config)
{
    struct tc_error err = {0};
    struct tc_spawner spawner = {config->spawner_fd};
    int fd;
    if (failed(config->host_fd, "unpack", tc_spawner_unpack(&spawner, &fd, &err), &err))
        return false;
    (void)close(fd);
    return !failed(config->host_fd, "unpacked", tc_spawner_unpacked(&spawner, &err), &err);
}

int tc_session_main(const struct tc_session_config *config)
{
    static char texts[SCRIPT_COMMANDS_MAX][SCRIPT_TEXT_MAX];
    struct script_head head;
    struct tc_error err = {0};
    struct tc_spawner spawner = {config->spawner_fd};
    if (!read_all(config->host_fd, &head, sizeof head) || head.commands > SCRIPT_COMMANDS_MAX)
        return EXIT_FAILURE;
    for (uint32_t i = 0; i < head.commands; i++) {
        uint32_t size;
        if (!read_all(config->host_fd, &size, sizeof size) || size >= SCRIPT_TEXT_MAX ||
            !read_all(config->host_fd, texts[i], size))
            return EXIT_FAILURE;
    }
    if (head.misbehave == SCRIPT_SESSION_PROBES) {
        probe_filter(config->host_fd);
        probe_recorder(config->host_fd, config->recorder_fd);
    }
    if (head.misbehave == SCRIPT_COMMAND_FIRST) (void)run(config, &head, texts[0]);
    struct tc_limits limits = {head.timeout, head.memory, head.disk, 65536, head.processes};
    const uint16_t port = (uint16_t)head.network;
    const struct tc_spawner_network network = {head.network != 0, &port, head.network != 0};
    if (failed(config->host_fd, "prepare", tc_spawner_prepare(&spawner, &limits, &network, &err),
               &err) ||
        !unpack(config))
        return EXIT_FAILURE;
    bool good = true;
    for (uint32_t i = 0; i < head.commands && good; i++)
        good = run(config, &head, texts[i]);
    ask_monitor(config);
    if (good) good = collect(config);
    if (good && head.misbehave == SCRIPT_COLLECT_TWICE) good = collect(config);
    if (good) say(config->host_fd, "DONE\n");
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
