#include "host/qemu_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "host/image_read.h"
#include "host/machine.h"
#include "os/clock.h"
#include "os/files.h"
#include "os/process.h"

#define PROGRAM "qemu-system-x86_64"

enum {
    ASK_PATIENCE_MS = 20000, /* for a program that lists its machines, and its devices */
    LIST_MAX = 65536,
    PIECE = 65536,
};

/* --- the emulator --- */

static tc_status look_in_path(const char *given, char **ret_path, struct tc_error *err)
{
    const char *name = given ? given : PROGRAM;
    const char *folders = getenv("PATH");
    for (const char *at = folders ? folders : ""; *at;) {
        size_t size = strcspn(at, ":");
        char *path;
        struct stat info;
        if (asprintf(&path, "%.*s/%s", (int)size, at, name) < 0)
            return tc_fail(err, TC_SYSTEM, "out of memory");
        if (size > 0 && stat(path, &info) == 0 && S_ISREG(info.st_mode) &&
            access(path, X_OK) == 0) {
            *ret_path = path;
            return TC_OK;
        }
        free(path);
        at += size + (at[size] == ':');
    }
    return tc_fail(err, TC_UNAVAILABLE,
                   given
                       ? "there is no %s in PATH: --emulator names a QEMU for x86-64 there, or by "
                         "its path"
                       : "there is no %s in PATH: apt-get install qemu-system-x86, or name an "
                         "emulator with --emulator",
                   name);
}

tc_status tc_qemu_find(const char *given, char **ret_path, struct tc_error *err)
{
    struct stat info;
    if (!given || !strchr(given, '/')) return look_in_path(given, ret_path, err);
    if (stat(given, &info) != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot find the emulator %s", given);
    if (!S_ISREG(info.st_mode) || access(given, X_OK) != 0)
        return tc_fail(err, TC_UNAVAILABLE, "the emulator %s is no program that this user can run",
                       given);
    *ret_path = strdup(given);
    return *ret_path ? TC_OK : tc_fail(err, TC_SYSTEM, "out of memory");
}

/* What is wrong is told where the list is expected. */
_Noreturn static void run_emulator(const char *const *words, int out, pid_t parent)
{
    struct tc_error err = {0};
    int where = out;
    (void)setsid();
    tc_status status = tc_process_reset_signals(&err);
    if (status == TC_OK) status = tc_process_no_core(&err);
    if (status == TC_OK) status = tc_process_keep(NULL, 0, out, &err);
    if (status == TC_OK) {
        where = STDOUT_FILENO;
        status = tc_process_die_with(parent, &err);
    }
    if (status == TC_OK) {
        (void)execv(words[0], (char *const *)(uintptr_t)words);
        (void)tc_fail(&err, TC_UNAVAILABLE, "%s", strerror(errno));
    }
    (void)dprintf(where, "cannot run it: %s\n", err.message);
    _exit(127);
}

struct tc_qemu_asking tc_qemu_asking(const char *path, int interrupt_fd)
{
    return (struct tc_qemu_asking){path, tc_clock_ms() + ASK_PATIENCE_MS, interrupt_fd};
}

/* Until the end of the list, or of our patience or room. */
static tc_status read_list(const struct tc_qemu_asking *asking, int fd, struct tc_buf *list,
                           struct tc_error *err)
{
    struct pollfd wait[2] = {{.fd = fd, .events = POLLIN},
                             {.fd = asking->interrupt_fd, .events = POLLIN}};
    for (;;) {
        uint8_t piece[4096];
        int64_t left = asking->until_ms - tc_clock_ms();
        int ready = poll(wait, 2, left > 0 ? (int)left : 0);
        if (ready < 0 && errno == EINTR) continue;
        if (ready <= 0) return TC_OK;
        if (wait[1].revents != 0) return tc_fail(err, TC_INTERRUPTED, "interrupted");
        ssize_t got = read(fd, piece, sizeof piece);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0 || list->size + (size_t)got > LIST_MAX) return TC_OK;
        tc_buf_add(list, piece, (size_t)got);
    }
}

/* The first word of one of its lines. */
static bool has_machine(struct tc_span list, const char *name)
{
    size_t size = strlen(name);
    for (size_t at = 0; at + size < list.size; at++)
        if ((at == 0 || list.data[at - 1] == '\n') && memcmp(list.data + at, name, size) == 0 &&
            list.data[at + size] == ' ')
            return true;
    return false;
}

/* What it prints when it is started with these words, of which the first is its path. */
static tc_status ask(const struct tc_qemu_asking *asking, const char *const *words,
                     struct tc_buf *list, struct tc_error *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make a pipe");
    TC_AUTO_CLOSE int in = ends[0];
    TC_AUTO_CLOSE int out = ends[1];
    pid_t parent = getpid(), pid = fork();
    if (pid < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot start %s", words[0]);
    if (pid == 0) run_emulator(words, out, parent);
    tc_close_ptr(&out);
    tc_status status = read_list(asking, in, list, err);
    (void)tc_process_end(&pid);
    TC_TRY(status);
    return tc_buf_check(list, "the emulator's list", err);
}

static struct tc_qemu_machines find_machines(const struct tc_buf *list)
{
    return (struct tc_qemu_machines){.nitro = has_machine(tc_buf_span(list), "nitro-enclave"),
                                     .microvm = has_machine(tc_buf_span(list), "microvm")};
}

tc_status tc_qemu_ask(const struct tc_qemu_asking *asking, struct tc_qemu_machines *ret_machines,
                      struct tc_error *err)
{
    const char *path = asking->path;
    const char *const confined[] = {path, "-sandbox", TC_MACHINE_SANDBOX, "-M", "help", NULL};
    const char *const plain[] = {path, "-M", "help", NULL};
    TC_AUTO_BUF struct tc_buf list = tc_buf_new(LIST_MAX);
    TC_TRY(ask(asking, confined, &list, err));
    struct tc_qemu_machines machines = find_machines(&list);
    machines.sandbox = machines.nitro || machines.microvm;
    if (!machines.sandbox) { /* an option that it does not know ends it */
        tc_buf_reset(&list);
        TC_TRY(ask(asking, plain, &list, err));
        machines = find_machines(&list);
    }
    if (list.size == 0)
        return tc_fail(err, TC_UNAVAILABLE,
                       "%s -M help printed nothing: expected the machines of a QEMU for x86_64, "
                       "within 20 s; something ended it, or it is another program",
                       path);
    if (!machines.nitro && !machines.microvm) {
        char said[TC_ERROR_MAX / 2];
        return tc_fail(err, TC_UNAVAILABLE,
                       "%s -M help names neither nitro-enclave nor microvm: expected a QEMU for "
                       "x86_64; it said: %s",
                       path, tc_last_words(list.data, list.size, said, sizeof said));
    }
    *ret_machines = machines;
    return TC_OK;
}

/* Of a device that it does not have it lists no options. */
bool tc_qemu_has_vhost(const struct tc_qemu_asking *asking)
{
    static const char option[] = "vhostfd=";
    const char *const words[] = {asking->path, "-device", "vhost-vsock-device,help", NULL};
    struct tc_error ignored = {0};
    TC_AUTO_BUF struct tc_buf list = tc_buf_new(LIST_MAX);
    return ask(asking, words, &list, &ignored) == TC_OK && list.size > 0 &&
           memmem(list.data, list.size, option, sizeof option - 1) != NULL;
}

/* --- the image --- */

void tc_qemu_image_done(struct tc_qemu_image *image)
{
    tc_close_ptr(&image->kernel_fd);
    tc_close_ptr(&image->ramdisk_fd);
}

struct copying {
    struct tc_qemu_image image;
    enum tc_eif_kind kind;
};

static tc_status begin_section(void *context, const struct tc_eif_section *section,
                               struct tc_error *err)
{
    struct copying *copying = context;
    (void)err;
    copying->kind = section->kind;
    if (section->kind == TC_EIF_RAMDISK) copying->image.ramdisks_size += section->size;
    return TC_OK;
}

static tc_status copy_data(void *context, struct tc_span bytes, struct tc_error *err)
{
    const struct copying *copying = context;
    if (copying->kind == TC_EIF_KERNEL)
        return tc_write_all(copying->image.kernel_fd, bytes, "the kernel", err);
    if (copying->kind == TC_EIF_RAMDISK)
        return tc_write_all(copying->image.ramdisk_fd, bytes, "the ramdisks", err);
    return TC_OK;
}

static tc_status end_section(void *context, struct tc_error *err)
{
    (void)context;
    (void)err;
    return TC_OK;
}

static tc_status copy_image(int fd, struct copying *copying, struct tc_eif_reader *reader,
                            struct tc_error *err)
{
    TC_AUTO_FREE uint8_t *piece = malloc(PIECE);
    copying->image.kernel_fd = memfd_create("kernel", MFD_CLOEXEC);
    copying->image.ramdisk_fd = memfd_create("ramdisks", MFD_CLOEXEC);
    if (!piece || copying->image.kernel_fd < 0 || copying->image.ramdisk_fd < 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make files in memory");
    for (off_t at = 0;;) {
        ssize_t got = pread(fd, piece, PIECE, at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read the image");
        if (got == 0) break;
        TC_TRY(tc_eif_reader_add(reader, (struct tc_span){piece, (size_t)got}, err));
        at += got;
    }
    return tc_eif_reader_finish(reader, err);
}

tc_status tc_qemu_image_open(const struct tc_imagefile *image, struct tc_qemu_image *ret_image,
                             struct tc_error *err)
{
    struct copying copying = {.image = TC_QEMU_IMAGE_NONE};
    const struct tc_eif_handler handler = {
        .context = &copying, .begin = begin_section, .data = copy_data, .end = end_section};
    struct tc_eif_reader *reader = tc_eif_reader_new(&handler, TC_EIF_CRC_CHECKED);
    if (!reader) return tc_fail(err, TC_SYSTEM, "out of memory");
    tc_status status = copy_image(image->eif_fd, &copying, reader, err);
    tc_eif_reader_free(reader);
    if (status == TC_OK)
        *ret_image = copying.image;
    else
        tc_qemu_image_done(&copying.image);
    return status == TC_OK ? TC_OK : tc_wrap(err, "the image");
}

/* --- memory --- */

#define MIB ((uint64_t)1 << 20)

/* The kernel, worker and recorder; pages of the toolchain; the ramdisks as they come,
 * and unpacked into a file system that may take half of all there is; and the kernel's
 * own books, a 64th of it. */
uint64_t tc_qemu_memory(uint64_t build, uint64_t ramdisks)
{
    uint64_t size = build + build / 32 + 256 * MIB + 2 * ramdisks;
    if (size < 4 * ramdisks) size = 4 * ramdisks;
    return (size + 2 * MIB - 1) / (2 * MIB) * (2 * MIB);
}

static bool read_available(uint64_t *ret_bytes)
{
    FILE *file = fopen("/proc/meminfo", "re");
    if (!file) return false;
    static const char name[] = "MemAvailable:";
    char line[256];
    unsigned long long kilobytes = 0;
    while (kilobytes == 0 && fgets(line, sizeof line, file))
        if (strncmp(line, name, sizeof name - 1) == 0)
            kilobytes = strtoull(line + sizeof name - 1, NULL, 10);
    (void)fclose(file);
    if (kilobytes > 0) *ret_bytes = (uint64_t)kilobytes * 1024;
    return kilobytes > 0;
}

tc_status tc_qemu_memory_check(uint64_t size, struct tc_error *err)
{
    uint64_t there = 0;
    char wanted[16], seen[16];
    if (!read_available(&there))
        return tc_fail(err, TC_UNAVAILABLE, "the kernel does not say how much memory is available");
    if (there >= size) return TC_OK;
    return tc_fail(
        err, TC_UNAVAILABLE,
        "the machine would have %s of memory (limits.memory and limits.disk of build.json, "
        "and what the image needs), but only %s are available: lower the limits",
        tc_human_size(size, wanted), tc_human_size(there, seen));
}
