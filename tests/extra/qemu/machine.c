/* qemu_machine EMULATOR FIRMWARE IMAGE MEMORY CONSOLE PAGES PROJECT BUNDLE
 * [archive=FILE|replay=FILE]: one build in a machine that the project's launcher starts.
 * PAGES is the toolchain's file, "-" for none, or "socket:PATH" of a page server of the
 * test's own. The network is what `tee-compile build` gives, with the proxy of the
 * environment; SIGUSR1 ends it, whatever is under way. Exit status 0 with a whole bundle,
 * 1 without one; 3 when the machine did not end by itself. The machine's own complaint, if
 * it has one, is a line on stderr. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "client.h"
#include "cmd/build_network.h"
#include "host/machine.h"
#include "os/message.h"
#include "os/vsock.h"

enum { END_PATIENCE_MS = 600 * 1000 };

static const char socket_prefix[] = "socket:";

struct relay {
    int dialler_fd, server_fd;
};

struct start {
    struct tc_machine_config config;
    struct tc_machine *machine;
    struct tc_build_network network;
    pthread_t keeper;
    struct relay relay;
};

static tc_status start(void *context, int *ret_fd, struct tc_error *err)
{
    struct start *start = context;
    TC_TRY(tc_machine_start(&start->config, &start->machine, err));
    return tc_machine_await(start->machine, END_PATIENCE_MS, -1, ret_fd, err);
}

static void greet(void *context, struct tc_wire_hello *hello)
{
    const struct start *start = context;
    tc_build_network_greet(&start->network, hello);
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    TC_AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || strlen(path) >= sizeof address.sun_path) return -1;
    memcpy(address.sun_path, path, strlen(path) + 1);
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) return -1;
    return TC_TAKE_FD(fd);
}

/* A piece, if there is one. false: the stream is at its end. */
static bool copy_piece(struct pollfd *from, int target)
{
    char bytes[65536];
    if (from->revents == 0) return true;
    ssize_t got = recv(from->fd, bytes, sizeof bytes, 0);
    return got > 0 && send(target, bytes, (size_t)got, MSG_NOSIGNAL) == got;
}

/* Both ways, between the guest's stream and the server that was named. */
static void *copy_pages(void *argument)
{
    const struct relay *relay = argument;
    struct tc_error err = {0};
    char byte;
    struct pollfd fds[2] = {{-1, POLLIN, 0}, {relay->server_fd, POLLIN, 0}};
    if (tc_message_receive(relay->dialler_fd, &byte, 1, &fds[0].fd, 1, NULL, &err) == TC_OK)
        while (poll(fds, 2, -1) > 0 && copy_piece(&fds[0], fds[1].fd) &&
               copy_piece(&fds[1], fds[0].fd)) {
        }
    tc_close_ptr(&fds[0].fd);
    (void)shutdown(relay->server_fd, SHUT_RDWR);
    return NULL;
}

static bool set_pages(struct start *start, const char *pages, struct tc_machine_port *port)
{
    if (strncmp(pages, socket_prefix, sizeof socket_prefix - 1) == 0) {
        int ends[2];
        pthread_t thread;
        start->relay.server_fd = connect_to(pages + sizeof socket_prefix - 1);
        if (start->relay.server_fd < 0 ||
            socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
            return false;
        *port = (struct tc_machine_port){.port = TC_VSOCK_PORT_PAGES, .fd = ends[0]};
        start->relay.dialler_fd = ends[1];
        start->config.ports = port;
        start->config.ports_count = 1;
        /* Ends with this program at the latest. */
        return pthread_create(&thread, NULL, copy_pages, &start->relay) == 0 &&
               pthread_detach(thread) == 0;
    }
    if (strcmp(pages, "-") == 0) return true;
    start->config.pages_fd = open(pages, O_RDONLY | O_CLOEXEC);
    return start->config.pages_fd >= 0;
}

/* --- network --- */

static bool read_option(const char *option, struct tc_build_options *options)
{
    if (strncmp(option, "archive=", 8) == 0)
        options->archive = option + 8;
    else if (strncmp(option, "replay=", 7) == 0)
        options->replay = option + 7;
    else
        return false;
    return true;
}

static void *keep_network(void *argument)
{
    struct start *start = argument;
    sigset_t set;
    int number;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGUSR1);
    (void)sigwait(&set, &number);
    tc_build_network_stop(&start->network);
    return NULL;
}

static tc_status open_network(struct start *start, const struct tc_build_options *options,
                              struct tc_error *err)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGUSR1);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    TC_TRY(tc_build_network_open(options, false, &start->network, err));
    start->config.egress = start->network.egress;
    if (pthread_create(&start->keeper, NULL, keep_network, start) == 0) return TC_OK;
    tc_build_network_done(&start->network);
    return tc_fail(err, TC_SYSTEM, "cannot start a thread");
}

static int build(struct start *context, const char *project, const char *bundle)
{
    struct tc_error err = {0};
    const struct guest guest = {start, greet, context};
    int status = client_build(project, bundle, &guest, &err) == TC_OK ? 0 : 1;
    if (context->machine && tc_machine_wait(context->machine, END_PATIENCE_MS, -1, &err) != TC_OK) {
        (void)fprintf(stderr, "qemu_machine: %s\n", err.message);
        status = 3;
    }
    if (tc_machine_stop(context->machine, &err) != TC_OK)
        (void)fprintf(stderr, "qemu_machine: %s\n", err.message);
    (void)pthread_kill(context->keeper, SIGUSR1);
    (void)pthread_join(context->keeper, NULL);
    struct tc_tempfile archive = TC_TEMPFILE_NONE;
    if (status == 0 && (tc_build_network_finish(&context->network, &archive, &err) != TC_OK ||
                        tc_tempfile_commit_all(&archive, 1, &err) != TC_OK)) {
        (void)fprintf(stderr, "qemu_machine: %s\n", err.message);
        status = 1;
    }
    tc_tempfile_drop(&archive);
    return status;
}

int main(int argc, char **argv)
{
    struct tc_error err = {0};
    struct tc_machine_port port = {.fd = -1};
    struct tc_build_options options = {0};
    struct start context = {0};
    uint64_t memory = 0;
    if (argc < 9 || argc > 10 || !tc_parse_size(argv[4], &memory) ||
        (argc == 10 && !read_option(argv[9], &options))) {
        (void)fputs(
            "usage: qemu_machine EMULATOR FIRMWARE IMAGE MEMORY CONSOLE PAGES PROJECT BUNDLE "
            "[archive=FILE|replay=FILE]\n",
            stderr);
        return 2;
    }
    context.config = (struct tc_machine_config){
        .emulator = argv[1],
        .firmware = argv[2],
        .kind = TC_MACHINE_NITRO,
        .cpus = 1,
        .memory = memory,
        .image_fd = open(argv[3], O_RDONLY | O_CLOEXEC),
        .kernel_fd = -1,
        .ramdisk_fd = -1,
        .pages_fd = -1,
        .console_fd = open(argv[5], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)};
    if (context.config.image_fd < 0 || context.config.console_fd < 0) {
        (void)fputs("qemu_machine: cannot open the image or the console's log\n", stderr);
        return 2;
    }
    if (!set_pages(&context, argv[6], &port)) {
        (void)fprintf(stderr, "qemu_machine: cannot open %s\n", argv[6]);
        return 2;
    }
    if (open_network(&context, &options, &err) != TC_OK) {
        (void)fprintf(stderr, "qemu_machine: %s\n", err.message);
        return 2;
    }
    int status = build(&context, argv[7], argv[8]);
    tc_build_network_done(&context.network);
    tc_close_ptr(&port.fd);
    return status;
}
