/* qemu_session SOCKET PROJECT BUNDLE: the client of `tee-compile build` without
 * its back end. Waits on the unix socket SOCKET, where a vsock device hands over
 * what a guest connects, sends it PROJECT, writes what comes back to BUNDLE and
 * judges nothing. Says "listening" on stdout when the guest may start. Exit
 * status 0 with a whole bundle, 1 otherwise, and then without one. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "host/client.h"
#include "os/tempfile.h"
#include "source/pack.h"

enum { GUEST_PATIENCE_MS = 300 * 1000 };

struct run {
    struct tc_pack *pack;
    struct tc_buildspec spec;
    struct tc_manifest_summary source;
    struct tc_tempfile bundle, log;
    int64_t start;
};

static tc_status send_source(void *context, void *sink,
                             tc_status (*send)(void *sink, enum tc_wire_kind kind,
                                               struct tc_span payload, struct tc_error *err),
                             struct tc_error *err)
{
    struct run *run = context;
    struct tc_pack_sink pack_sink = {sink, send};
    return tc_pack_send(run->pack, &run->spec, &pack_sink, &run->source, err);
}

static int64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Milliseconds since the guest could start, for whoever measures. */
static void say_time(const struct run *run, const char *what, int number)
{
    (void)fprintf(stderr, "at %lld ms: %s %d\n", (long long)(now_ms() - run->start), what, number);
}

static void on_phase(void *context, enum tc_phase phase)
{
    say_time(context, "phase", (int)phase);
}

static void on_log(void *context, struct tc_span bytes)
{
    (void)context;
    (void)fwrite(bytes.data, 1, bytes.size, stderr);
}

static tc_status await_guest(const char *path, int *ret_fd, struct tc_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return tc_fail(err, TC_USAGE, "%s is too long for a socket", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    TC_AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 ||
        listen(fd, 1) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot listen on %s", path);
    (void)puts("listening");
    (void)fflush(stdout);
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    if (poll(&wait, 1, GUEST_PATIENCE_MS) <= 0) return tc_fail(err, TC_PEER, "no guest came");
    int guest = accept(fd, NULL, NULL);
    if (guest < 0) return tc_fail_errno(err, TC_PEER, errno, "no guest came");
    *ret_fd = guest;
    return TC_OK;
}

static tc_status talk(struct run *run, char **argv, struct tc_error *err)
{
    TC_AUTO_CLOSE int guest = -1;
    struct tc_pack_options pack = {.folder = argv[2], .build_file = "build.json"};
    TC_TRY(tc_tempfile_open(argv[3], &run->bundle, err));
    TC_TRY(tc_tempfile_open(argv[3], &run->log, err));
    TC_TRY(tc_pack_open(&pack, &run->pack, err));
    TC_TRY(tc_buildspec_parse(tc_pack_build_file(run->pack), "build.json", &run->spec, err));
    run->start = now_ms();
    TC_TRY(await_guest(argv[1], &guest, err));
    say_time(run, "guest", 1);
    struct tc_client_config config = {.fd = guest,
                                      .interrupt_fd = -1,
                                      .hello = {.source = tc_pack_kind(run->pack),
                                                .nonce = tc_span_of_text("qemu"),
                                                .build_file = tc_span_of_text("build.json")},
                                      .build_file = tc_pack_build_file(run->pack),
                                      .context = run,
                                      .send_source = send_source,
                                      .on_phase = on_phase,
                                      .on_log = on_log,
                                      .log_fd = run->log.fd,
                                      .bundle_fd = run->bundle.fd,
                                      .detached_fd = -1};
    TC_TRY(tc_client_run(&config, err));
    say_time(run, "done", 1);
    return tc_tempfile_commit(&run->bundle, err);
}

int main(int argc, char **argv)
{
    struct tc_error err = {0};
    struct run run = {.bundle = TC_TEMPFILE_NONE, .log = TC_TEMPFILE_NONE};
    if (argc != 4) {
        (void)fputs("usage: qemu_session SOCKET PROJECT BUNDLE\n", stderr);
        return 2;
    }
    tc_status status = talk(&run, argv, &err);
    if (status != TC_OK) (void)fprintf(stderr, "failed: %s\n", err.message);
    tc_pack_close(run.pack);
    tc_buildspec_free(&run.spec);
    tc_tempfile_drop(&run.bundle);
    tc_tempfile_drop(&run.log);
    return status == TC_OK ? 0 : 1;
}
