/* What the build sees: the toolchain read-only as its root; /build, HOME, /tmp
 * and /dev/shm from the one scratch tmpfs; a /dev of harmless devices, itself
 * read-only; a /proc of its own pid namespace; a loopback and nothing else, on which,
 * unless the build is offline, the recorder listens (netns.h). bwrap
 * makes it from inside an unprivileged uid: started as real root it would keep
 * kernel uid 0, to which /proc/sys belongs. */
#include "worker/sandbox.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "core/entry.h"
#include "core/statement.h"

#define BWRAP "/usr/bin/bwrap"
#define SCRATCH "/scratch"

enum { FILES_MAX = 16 };

void tc_command_encode(const struct tc_command *command, struct tc_buf *buf)
{
    uint32_t count = 0;
    while (command->environment[count])
        count++;
    tc_buf_add_block(buf, tc_span_of_text(command->command));
    tc_buf_add_block(buf, tc_span_of_text(command->folder));
    tc_buf_add_u32(buf, count);
    for (uint32_t i = 0; i < count; i++)
        tc_buf_add_block(buf, tc_span_of_text(command->environment[i]));
    count = 0;
    while (command->files && command->files[count].path)
        count++;
    tc_buf_add_u32(buf, count);
    for (uint32_t i = 0; i < count; i++) {
        tc_buf_add_block(buf, tc_span_of_text(command->files[i].path));
        tc_buf_add_block(buf, command->files[i].content);
    }
}

_Noreturn static void give_up(const char *why)
{
    (void)dprintf(STDERR_FILENO, "tee-compile: the sandbox could not be set up: %s\n", why);
    _exit(TC_SANDBOX_NOT_STARTED);
}

/* The memfd's bytes; mapped, never freed: this process is about to be replaced. */
static struct tc_span map_command(int fd)
{
    struct stat info;
    if (fstat(fd, &info) != 0 || info.st_size <= 0 || info.st_size > TC_COMMAND_MAX)
        give_up("the session sent no command of a possible size");
    void *bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED) give_up(strerror(errno));
    return (struct tc_span){bytes, (size_t)info.st_size};
}

static char *take_text(struct tc_cursor *cursor)
{
    struct tc_span span;
    if (!tc_cursor_block(cursor, TC_COMMAND_MAX, &span) ||
        (span.size > 0 && memchr(span.data, 0, span.size)))
        give_up("the session sent a malformed command");
    char *text = tc_span_to_text(span);
    if (!text) give_up("out of memory");
    return text;
}

struct arguments {
    const char **list;
    size_t count, room;
};

static void add(struct arguments *arguments, const char *word)
{
    if (arguments->count + 1 >= arguments->room) give_up("too many arguments");
    arguments->list[arguments->count++] = word;
}

static void add_all(struct arguments *arguments, const char *const *words)
{
    for (; *words; words++)
        add(arguments, *words);
}

/* --setenv NAME VALUE for each; the list ends up in bwrap's argv. */
static void add_environment(struct arguments *arguments, struct tc_cursor *cursor)
{
    uint32_t count;
    if (!tc_cursor_u32(cursor, &count) || count > TC_ENVIRONMENT_MAX)
        give_up("the session sent a malformed environment");
    for (uint32_t i = 0; i < count; i++) {
        char *entry = take_text(cursor);
        char *value = strchr(entry, '=');
        if (!value || value == entry) give_up("the session sent a malformed environment");
        *value = '\0';
        add(arguments, "--setenv");
        add(arguments, entry);
        add(arguments, value + 1);
    }
}

/* A file of the toolchain is covered only where there is one: its root is read-only,
 * and bwrap could make none. */
static bool has_place(const char *path)
{
    static const char own[] = TC_SHOWN_FOLDER "/";
    char there[128];
    struct stat info;
    if (strncmp(path, own, sizeof own - 1) == 0) return true;
    return snprintf(there, sizeof there, "/toolchain%s", path) < (int)sizeof there &&
           lstat(there, &info) == 0 && S_ISREG(info.st_mode);
}

/* The descriptor that bwrap reads the file from, which it closes. */
static const char *hold(struct tc_span content)
{
    char *number;
    int fd = memfd_create("file", 0);
    if (fd < 0 || write(fd, content.data, content.size) != (ssize_t)content.size ||
        lseek(fd, 0, SEEK_SET) != 0 || asprintf(&number, "%d", fd) < 0)
        give_up("a file could not be made for it");
    return number;
}

static void add_files(struct arguments *arguments, struct tc_cursor *cursor)
{
    uint32_t count;
    struct tc_span content;
    if (!tc_cursor_u32(cursor, &count) || count > FILES_MAX)
        give_up("the session sent malformed files");
    for (uint32_t i = 0; i < count; i++) {
        char *path = take_text(cursor);
        if (!tc_cursor_block(cursor, TC_COMMAND_MAX, &content))
            give_up("the session sent malformed files");
        if (!has_place(path)) continue;
        add(arguments, "--perms");
        add(arguments, "0444");
        add(arguments, "--ro-bind-data");
        add(arguments, hold(content));
        add(arguments, path);
    }
}

static const char *working_folder(const char *folder)
{
    char *path;
    if (strcmp(folder, ".") == 0) return TC_BUILD_FOLDER;
    if (!tc_path_is_safe(tc_span_of_text(folder))) give_up("input.dir leaves the source");
    if (asprintf(&path, TC_BUILD_FOLDER "/%s", folder) < 0) give_up("out of memory");
    return path;
}

_Noreturn void tc_sandbox_exec(int command_fd, int filter_fd, int status_fd, bool network)
{
    static const char *const world[] = {
        BWRAP, "--unshare-user", "--disable-userns", "--unshare-pid", "--unshare-ipc",
        "--unshare-uts", "--unshare-cgroup", "--hostname", TC_BUILD_HOSTNAME, "--die-with-parent",
        "--new-session", "--uid", "1000", "--gid", "1000", "--cap-drop", "ALL", "--ro-bind",
        "/toolchain", "/", "--bind", SCRATCH "/build", TC_BUILD_FOLDER, "--bind", SCRATCH "/home",
        TC_BUILD_HOME, "--bind", SCRATCH "/tmp", "/tmp",
        /* IPC and pid namespaces own some of /proc/sys, and with it the build does. */
        "--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys",
        /* Anybody may set triggers there, where the kernel counts pressure at all. */
        "--ro-bind-try", "/proc/pressure", "/proc/pressure", "--dev", "/dev", "--bind",
        SCRATCH "/shm", "/dev/shm", "--clearenv", NULL};
    struct tc_cursor cursor = tc_cursor_of(map_command(command_fd));
    struct arguments arguments = {.room = 128 + 3 * TC_ENVIRONMENT_MAX + 5 * FILES_MAX};
    arguments.list = calloc(arguments.room, sizeof *arguments.list);
    if (!arguments.list) give_up("out of memory");
    char filter[16], status[16];
    (void)snprintf(filter, sizeof filter, "%d", filter_fd);
    (void)snprintf(status, sizeof status, "%d", status_fd);

    add_all(&arguments, world);
    if (!network) add(&arguments, "--unshare-net");
    const char *command = take_text(&cursor);
    const char *folder = working_folder(take_text(&cursor));
    add_environment(&arguments, &cursor);
    add_files(&arguments, &cursor);
    if (tc_cursor_left(&cursor) != 0) give_up("the session sent a malformed command");
    const char *const rest[] = {
        "--remount-ro", "/dev",     "--seccomp", filter,  "--json-status-fd",
        status,         "--chdir",  folder,      "--",    "/bin/bash",
        "-euo",         "pipefail", "-c",        command, NULL};
    add_all(&arguments, rest);

    static char *const no_environment[] = {NULL};
    (void)execve(BWRAP, (char *const *)(uintptr_t)arguments.list, no_environment);
    give_up(errno == ENOENT ? "there is no " BWRAP ": install bubblewrap" : strerror(errno));
}

bool tc_sandbox_has_run(struct tc_span status)
{
    static const char word[] = "\"exit-code\"";
    return status.size > 0 && memmem(status.data, status.size, word, sizeof word - 1) != NULL;
}
