#include "host/machine_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "host/pages.h"
#include "host/vsockdev.h"
#include "os/files.h"
#include "os/message.h"
#include "os/process.h"

enum { FIRST = TC_PROCESS_FIRST_FD, PIECE = 4096 };

/* Ctrl-C is the caller's to handle; when the caller dies, so does this. */
static tc_status settle(const struct tc_machine_part *part, const int *fds, size_t count,
                        int output, struct tc_error *err)
{
    (void)setsid();
    TC_TRY(tc_process_reset_signals(err));
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
static tc_status hand_one_of_many(int dialler, int *ret_fd, struct tc_error *err)
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
        if (place->many) return hand_one_of_many(place->fd, ret_fd, err);
        *ret_fd = TC_TAKE_FD(place->fd);
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

/* --- servers --- */

_Noreturn void tc_machine_run_pages(const struct tc_machine_part *part, int fd, int file_fd)
{
    struct tc_error err = {0};
    const int fds[2] = {fd, file_fd};
    tc_status status = settle(part, fds, 2, part->complaints_fd, &err);
    if (status == TC_OK) status = tc_pages_serve(FIRST, FIRST + 1, &err);
    end(status, "the page server", &err);
}

_Noreturn void tc_machine_run_heartbeat(const struct tc_machine_part *part, int fd)
{
    struct tc_error err = {0};
    unsigned char byte;
    tc_status status = settle(part, &fd, 1, part->complaints_fd, &err);
    if (status == TC_OK && recv(FIRST, &byte, 1, 0) == 1) (void)send(FIRST, &byte, 1, MSG_NOSIGNAL);
    end(status, "the heartbeat", &err);
}

_Noreturn void tc_machine_run_console(const struct tc_machine_part *part, int pipe_fd, int log_fd)
{
    struct tc_error err = {0};
    const int fds[2] = {pipe_fd, log_fd};
    uint8_t bytes[PIECE];
    size_t room = TC_MACHINE_CONSOLE_MAX;
    tc_status status = settle(part, fds, 2, part->complaints_fd, &err);
    while (status == TC_OK) {
        ssize_t got = read(FIRST, bytes, sizeof bytes);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        /* Read on when the file is full: the guest must not wait for it. */
        size_t size = (size_t)got < room ? (size_t)got : room;
        room -= size;
        status = tc_write_all(FIRST + 1, (struct tc_span){bytes, size}, "the console's log", &err);
    }
    end(status, "the console", &err);
}

/* --- emulator --- */

_Noreturn void tc_machine_run_emulator(const struct tc_machine_part *part,
                                       const struct tc_machine_config *config, int vhost_fd,
                                       int console_fd)
{
    enum { ARGUMENTS = 24 };
    struct tc_error err = {0};
    char memory[32], vhost[48];
    const char *arguments[ARGUMENTS];
    size_t count = 0;
    (void)snprintf(memory, sizeof memory, "%lluB", (unsigned long long)config->memory);
    (void)snprintf(vhost, sizeof vhost, "socket,id=c,fd=%d", FIRST);
    const char *const fixed[] = {config->emulator, "-M", "nitro-enclave,vsock=c,id=tee-compile",
                                 "-accel", "tcg", "-m", memory, "-kernel", config->image,
                                 /* Behind the image's own command line and not measured: the
                                  * restart that this machine knows how to do. */
                                 "-append", "reboot=t", "-display", "none", "-monitor", "none",
                                 "-serial", "stdio", "-no-reboot", "-chardev", vhost};
    _Static_assert(sizeof fixed / sizeof *fixed + 3 <= ARGUMENTS, "all arguments have a place");
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        arguments[count++] = fixed[i];
    if (config->firmware) {
        arguments[count++] = "-L";
        arguments[count++] = config->firmware;
    }
    arguments[count] = NULL;
    tc_status status = settle(part, &vhost_fd, 1, console_fd, &err);
    if (status == TC_OK) {
        (void)execv(config->emulator, (char *const *)(uintptr_t)arguments);
        status = tc_fail_errno(&err, TC_UNAVAILABLE, errno, "cannot run %s", config->emulator);
    }
    end(status, "the emulator", &err);
}
