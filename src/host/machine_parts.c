#include "host/machine_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "host/pages.h"
#include "host/vhost.h"
#include "host/vsockdev.h"
#include "os/files.h"
#include "os/message.h"
#include "os/onlooker.h"
#include "os/process.h"
#include "os/vsock.h"

enum {
    FIRST = TC_PROCESS_FIRST_FD,
    PIECE = 4096,
    ECHO_PIECE = 512, /* each byte becomes four characters at most */
    ECHO_MAX = 4 * ECHO_PIECE + 64,
};

/* Ctrl-C is the caller's to handle; when the caller dies, so does this. */
static tc_status settle(const struct tc_machine_part *part, const int *fds, size_t count,
                        int output, struct tc_error *err)
{
    (void)setsid();
    TC_TRY(tc_process_reset_signals(err));
    TC_TRY(tc_process_no_core(err));
    TC_TRY(tc_process_keep(fds, count, output, err));
    return tc_process_die_with(part->parent, err);
}

_Noreturn static void end(tc_status status, const char *who, const struct tc_error *err)
{
    if (status == TC_OK) _exit(EXIT_SUCCESS);
    (void)dprintf(STDERR_FILENO, "%s: %s\n", who, err->message);
    _exit(EXIT_FAILURE);
}

/* --- device --- */

struct ports {
    struct tc_machine_port list[TC_MACHINE_ALL_PORTS];
    size_t count;
};

/* A queue that is full has a reader that does not read: the guest is refused. */
static tc_status hand_to(int dialler, int *ret_fd, struct tc_error *err)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make a socket pair");
    TC_AUTO_CLOSE int guest = ends[0];
    TC_AUTO_CLOSE int host = ends[1];
    TC_TRY(tc_message_send(dialler, "", 1, &host, 1, err));
    *ret_fd = TC_TAKE_FD(guest);
    return TC_OK;
}

static tc_status hand_over(void *context, uint32_t port, int *ret_fd, struct tc_error *err)
{
    struct ports *ports = context;
    for (size_t i = 0; i < ports->count; i++) {
        struct tc_machine_port *place = &ports->list[i];
        if (place->port != port || place->fd < 0) continue;
        TC_TRY(hand_to(place->fd, ret_fd, err));
        /* There is no second one, also before somebody has looked at the first. */
        if (!place->many) tc_close_ptr(&place->fd);
        return TC_OK;
    }
    return tc_fail(err, TC_PEER, "nobody listens on port %u", (unsigned)port);
}

_Noreturn void tc_machine_run_device(const struct tc_machine_part *part, int front_fd,
                                     const struct tc_machine_port *list, size_t count)
{
    struct tc_error err = {0};
    struct ports ports = {.count = count};
    const struct tc_vsockdev_config config = {TC_MACHINE_CID, hand_over, &ports};
    int fds[1 + TC_MACHINE_ALL_PORTS] = {front_fd};
    _Static_assert(1 + TC_MACHINE_ALL_PORTS <= TC_PROCESS_FDS_MAX, "all can be kept");
    for (size_t i = 0; i < count; i++) {
        ports.list[i] = (struct tc_machine_port){list[i].port, FIRST + 1 + (int)i, list[i].many};
        fds[1 + i] = list[i].fd;
    }
    tc_status status = settle(part, fds, 1 + count, part->complaints_fd, &err);
    if (status == TC_OK) status = tc_vsockdev_serve(FIRST, &config, &err);
    end(status, "the vsock device", &err);
}

/* --- listener --- */

/* Handed on as it came: no byte of the guest's goes through this process. */
static void take_stream(const struct tc_vhost_ops *ops, uint32_t cid, int *listener,
                        struct tc_machine_port *place)
{
    struct tc_error ignored = {0};
    TC_AUTO_CLOSE int fd = tc_vhost_accept(ops, cid, listener);
    if (fd < 0) return;
    /* A reader that is gone, or does not read: the stream ends here, and the guest sees it. */
    if (tc_message_send(place->fd, "", 1, &fd, 1, &ignored) != TC_OK || place->many) return;
    tc_close_ptr(&place->fd);
    tc_close_ptr(listener);
}

_Noreturn void tc_machine_run_listener(const struct tc_machine_part *part,
                                       const struct tc_vhost_ops *ops, uint32_t cid,
                                       const int *listeners, const struct tc_machine_port *list,
                                       size_t count)
{
    struct tc_error err = {0};
    struct tc_machine_port ports[TC_MACHINE_ALL_PORTS];
    struct pollfd wait[TC_MACHINE_ALL_PORTS];
    int fds[2 * TC_MACHINE_ALL_PORTS];
    nfds_t kept = 0;
    _Static_assert(2 * TC_MACHINE_ALL_PORTS <= TC_PROCESS_FDS_MAX, "all can be kept");
    for (size_t i = 0; i < count; i++) {
        if (listeners[i] < 0) continue;
        fds[2 * kept] = listeners[i];
        fds[2 * kept + 1] = list[i].fd;
        wait[kept] = (struct pollfd){.fd = FIRST + 2 * (int)kept, .events = POLLIN};
        ports[kept] =
            (struct tc_machine_port){list[i].port, FIRST + 2 * (int)kept + 1, list[i].many};
        kept++;
    }
    tc_status status = settle(part, fds, 2 * kept, part->complaints_fd, &err);
    while (status == TC_OK) {
        int ready = poll(wait, kept, -1);
        if (ready < 0 && errno != EINTR)
            status = tc_fail_errno(&err, TC_SYSTEM, errno, "cannot wait for the guest");
        for (nfds_t i = 0; ready > 0 && i < kept; i++)
            if (wait[i].revents != 0) take_stream(ops, cid, &wait[i].fd, &ports[i]);
    }
    end(status, "the vsock listener", &err);
}

/* --- servers --- */

/* TC_PEER: the guest did not come, and will not. */
static tc_status await_stream(int *ret_fd, struct tc_error *err)
{
    char byte;
    return tc_message_receive(FIRST, &byte, 1, ret_fd, 1, NULL, err);
}

_Noreturn void tc_machine_run_pages(const struct tc_machine_part *part, int dialler, int file_fd)
{
    struct tc_error err = {0};
    const int fds[2] = {dialler, file_fd};
    int fd = -1;
    tc_status status = settle(part, fds, 2, part->complaints_fd, &err);
    if (status == TC_OK) status = await_stream(&fd, &err);
    if (status == TC_OK) status = tc_pages_serve(fd, FIRST + 1, &err);
    /* A guest that ends hangs up wherever it is. */
    end(status == TC_PEER ? TC_OK : status, "the page server", &err);
}

_Noreturn void tc_machine_run_heartbeat(const struct tc_machine_part *part, int dialler)
{
    struct tc_error err = {0};
    unsigned char byte;
    int fd = -1;
    tc_status status = settle(part, &dialler, 1, part->complaints_fd, &err);
    if (status == TC_OK) status = await_stream(&fd, &err);
    if (status == TC_OK && recv(fd, &byte, 1, 0) == 1) (void)send(fd, &byte, 1, MSG_NOSIGNAL);
    end(status == TC_PEER ? TC_OK : status, "the heartbeat", &err);
}

/* What was said last explains an end: of a flood it is kept beside the beginning. */
struct tail {
    uint8_t bytes[TC_MACHINE_CONSOLE_TAIL];
    size_t at; /* where the next byte goes */
    uint64_t dropped;
};

static void keep_tail(struct tail *tail, struct tc_span bytes)
{
    for (size_t i = 0; i < bytes.size; i++) {
        tail->bytes[tail->at] = bytes.data[i];
        tail->at = (tail->at + 1) % sizeof tail->bytes;
    }
    tail->dropped += bytes.size;
}

static tc_status write_tail(int fd, const struct tail *tail, struct tc_error *err)
{
    static const char what[] = "the console's log";
    bool is_full = tail->dropped >= sizeof tail->bytes; /* begins where the next byte would go */
    if (tail->dropped > sizeof tail->bytes &&
        dprintf(fd, "\n[%llu bytes are left out here]\n",
                (unsigned long long)(tail->dropped - sizeof tail->bytes)) < 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot write %s", what);
    if (is_full)
        TC_TRY(tc_write_all(fd,
                            (struct tc_span){tail->bytes + tail->at, sizeof tail->bytes - tail->at},
                            what, err));
    return tc_write_all(fd, (struct tc_span){tail->bytes, tail->at}, what, err);
}

/* Whoever looks on at the console. */
struct viewer {
    struct tc_onlooker onlooker;
    uint8_t rest[ECHO_MAX]; /* begun and not yet taken as a whole */
    size_t rest_size;
    uint64_t dropped; /* bytes left out since */
};

/* False: it is not all taken yet. */
static bool show_rest(struct viewer *viewer)
{
    if (viewer->rest_size == 0) return true;
    ssize_t taken =
        tc_onlooker_write(&viewer->onlooker, (struct tc_span){viewer->rest, viewer->rest_size});
    if (taken <= 0) return false;
    viewer->rest_size -= (size_t)taken;
    memmove(viewer->rest, viewer->rest + taken, viewer->rest_size);
    return viewer->rest_size == 0;
}

/* One piece. It is taken, or kept as the rest, or left out as a whole. */
static void show(struct viewer *viewer, struct tc_span bytes)
{
    TC_AUTO_BUF struct tc_buf text = tc_buf_new(ECHO_MAX);
    if (viewer->dropped > 0)
        tc_buf_add_format(&text, "\n[%llu bytes are left out here]\n",
                          (unsigned long long)viewer->dropped);
    tc_printable_lines(bytes, &text);
    ssize_t taken = -1;
    if (show_rest(viewer) && tc_buf_ok(&text))
        taken = tc_onlooker_write(&viewer->onlooker, tc_buf_span(&text));
    if (taken <= 0) {
        viewer->dropped += bytes.size;
        return;
    }
    viewer->dropped = 0;
    viewer->rest_size = text.size - (size_t)taken;
    memcpy(viewer->rest, text.data + taken, viewer->rest_size);
}

/* Changes bytes. What is not taken at once is left out, and that is said as soon as it can be. */
static void echo(struct viewer *viewer, uint8_t *bytes, size_t size)
{
    size = tc_drop_returns(bytes, size);
    for (size_t at = 0; at < size; at += ECHO_PIECE) {
        size_t piece = size - at < ECHO_PIECE ? size - at : ECHO_PIECE;
        show(viewer, (struct tc_span){bytes + at, piece});
    }
}

_Noreturn void tc_machine_run_console(const struct tc_machine_part *part, int pipe_fd, int log_fd,
                                      int echo_fd)
{
    struct tc_error err = {0};
    const int fds[3] = {pipe_fd, log_fd, echo_fd};
    struct viewer viewer = {.onlooker = TC_ONLOOKER_NONE};
    uint8_t end_of_line = '\n', last = end_of_line;
    uint8_t bytes[PIECE];
    struct tail tail = {.at = 0};
    size_t room = TC_MACHINE_CONSOLE_MAX;
    tc_status status = settle(part, fds, echo_fd >= 0 ? 3 : 2, part->complaints_fd, &err);
    if (status != TC_OK) end(status, "the console", &err);
    (void)signal(SIGPIPE, SIG_IGN); /* who looked on may go */
    if (echo_fd >= 0) viewer.onlooker = tc_onlooker_open(FIRST + 2);
    for (;;) {
        ssize_t got = read(FIRST, bytes, sizeof bytes);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        /* Read on whatever becomes of the file, a full disk included: the guest must
         * not wait for it. */
        size_t size = (size_t)got < room ? (size_t)got : room;
        room -= size;
        if (status == TC_OK)
            status =
                tc_write_all(FIRST + 1, (struct tc_span){bytes, size}, "the console's log", &err);
        keep_tail(&tail, (struct tc_span){bytes + size, (size_t)got - size});
        last = bytes[got - 1];
        if (echo_fd >= 0) echo(&viewer, bytes, (size_t)got);
    }
    /* The caller's own words begin a line. */
    if (echo_fd >= 0 && (last != end_of_line || viewer.dropped > 0)) echo(&viewer, &end_of_line, 1);
    (void)show_rest(&viewer);
    if (status == TC_OK) status = write_tail(FIRST + 1, &tail, &err);
    end(status, "the console", &err);
}

/* --- emulator --- */

/* The kernel takes the counters of several processors for one clock only of this vendor. */
#define EMULATED "max,vendor=GenuineIntel"

/* Its descriptors, in the order in which they are kept. */
enum { VHOST = FIRST, IMAGE, RAMDISK };

struct words {
    const char *list[64];
    size_t count;
};

static void add(struct words *words, const char *option, const char *value)
{
    const char *const both[] = {option, value};
    for (size_t i = 0; i < 2; i++)
        if (both[i] && words->count + 1 < sizeof words->list / sizeof *words->list)
            words->list[words->count++] = both[i];
}

/* How fast the counter of an emulated processor runs, in kHz: as fast as the real one.
 * The guest cannot find out, and its clock would fall behind. 0: not known. */
static unsigned measure_counter(void)
{
#ifdef __x86_64__
    enum { SPAN_NS = 20000000 };
    struct timespec start, now;
    (void)clock_gettime(CLOCK_MONOTONIC_RAW, &start);
    uint64_t first = __builtin_ia32_rdtsc(), last;
    int64_t spent;
    do {
        (void)clock_gettime(CLOCK_MONOTONIC_RAW, &now);
        last = __builtin_ia32_rdtsc();
        spent = (int64_t)(now.tv_sec - start.tv_sec) * 1000000000 + now.tv_nsec - start.tv_nsec;
    } while (spent < SPAN_NS);
    return (unsigned)((last - first) * 1000000 / (uint64_t)spent);
#else
    return 0;
#endif
}

/* Stands behind the image's own command line and is not measured. reboot=t is the restart
 * that these machines know how to do. */
static void name_ending(bool kvm, char *out, size_t size)
{
    unsigned khz = kvm ? 0 : measure_counter();
    if (khz > 0)
        (void)snprintf(out, size, "reboot=t tsc_early_khz=%u", khz);
    else
        (void)snprintf(out, size, "reboot=t");
}

static void add_nitro(struct words *words, const struct tc_machine_config *config,
                      const char *ending)
{
    add(words, "-M", "nitro-enclave,vsock=c,id=tee-compile");
    add(words, "-cpu", config->kvm ? "host" : EMULATED);
    add(words, "-kernel", "/proc/self/fd/4");
    add(words, "-append", ending);
}

/* The texts that the words point into. */
struct room {
    char memory[32], cpus[16], device[64], ending[48];
    char *backend, *cmdline;
};

#define MICROVM "microvm,acpi=off,pic=on,pit=on,rtc=on,isa-serial=on,auto-kernel-cmdline=on"

/* Without ACPI the machine names its devices on the kernel's command line, as an
 * enclave's does. For our device its memory has to be one that another process can map; the
 * kernel's finds it where it is. */
static void add_microvm(struct words *words, const struct tc_machine_config *config,
                        bool has_kernels, struct room *room)
{
    add(words, "-M", has_kernels ? MICROVM : MICROVM ",memory-backend=memory");
    if (!has_kernels && asprintf(&room->backend, "memory-backend-memfd,id=memory,share=on,size=%s",
                                 room->memory) >= 0)
        add(words, "-object", room->backend);
    add(words, "-cpu", config->kvm ? "host" : EMULATED);
    add(words, "-kernel", "/proc/self/fd/4");
    add(words, "-initrd", "/proc/self/fd/5");
    if (asprintf(&room->cmdline, "%s %s", config->cmdline, room->ending) >= 0)
        add(words, "-append", room->cmdline);
    add(words, "-global", "virtio-mmio.force-legacy=false");
    add(words, "-device", has_kernels ? room->device : "vhost-user-vsock-device,chardev=c");
}

_Noreturn void tc_machine_run_emulator(const struct tc_machine_part *part,
                                       const struct tc_machine_config *config,
                                       const struct tc_machine_vsock *vsock, int console_fd)
{
    struct tc_error err = {0};
    struct room room = {.backend = NULL, .cmdline = NULL};
    struct words words = {.count = 0};
    bool is_microvm = config->kind == TC_MACHINE_MICROVM;
    bool has_kernels = vsock->cid != 0;
    const int fds[] = {vsock->fd, is_microvm ? config->kernel_fd : config->image_fd,
                       config->ramdisk_fd};
    _Static_assert(VHOST == 3 && IMAGE == 4 && RAMDISK == 5, "the paths below name these");
    (void)snprintf(room.memory, sizeof room.memory, "%lluB", (unsigned long long)config->memory);
    (void)snprintf(room.cpus, sizeof room.cpus, "%u", config->cpus);
    if (has_kernels)
        (void)snprintf(room.device, sizeof room.device,
                       "vhost-vsock-device,guest-cid=%u,vhostfd=%d", (unsigned)vsock->cid, VHOST);
    else
        (void)snprintf(room.device, sizeof room.device, "socket,id=c,fd=%d", VHOST);
    name_ending(config->kvm, room.ending, sizeof room.ending);
    add(&words, config->emulator, "-no-user-config");
    add(&words, "-nodefaults", NULL);
    if (config->has_sandbox) add(&words, "-sandbox", TC_MACHINE_SANDBOX);
    add(&words, "-accel", config->kvm ? "kvm" : "tcg");
    add(&words, "-m", room.memory);
    add(&words, "-smp", room.cpus);
    if (!has_kernels) add(&words, "-chardev", room.device);
    if (is_microvm)
        add_microvm(&words, config, has_kernels, &room);
    else
        add_nitro(&words, config, room.ending);
    add(&words, "-display", "none");
    add(&words, "-monitor", "none");
    add(&words, "-serial", "stdio");
    add(&words, "-no-reboot", NULL);
    if (config->firmware) add(&words, "-L", config->firmware);
    words.list[words.count] = NULL;
    tc_status status = settle(part, fds, is_microvm ? 3 : 2, console_fd, &err);
    if (status == TC_OK) {
        (void)execv(config->emulator, (char *const *)(uintptr_t)words.list);
        status = tc_fail_errno(&err, TC_UNAVAILABLE, errno, "cannot run %s", config->emulator);
    }
    end(status, "the emulator", &err);
}
