#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/cleanup.h"
#include "host/client.h"
#include "os/tempfile.h"
#include "source/pack.h"

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

static tc_status talk(struct run *run, const char *project, const char *bundle,
                      const struct guest *guest, struct tc_error *err)
{
    int fd = -1;
    struct tc_pack_options pack = {.folder = project, .build_file = "build.json"};
    TC_TRY(tc_tempfile_open(bundle, &run->bundle, err));
    TC_TRY(tc_tempfile_open(bundle, &run->log, err));
    TC_TRY(tc_pack_open(&pack, &run->pack, err));
    TC_TRY(tc_buildspec_parse(tc_pack_build_file(run->pack), "build.json", &run->spec, err));
    run->start = now_ms();
    TC_TRY(guest->await(guest->context, &fd, err));
    say_time(run, "guest", 1);
    struct tc_client_config config = {.fd = fd,
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
    tc_client_bound(&run->spec.limits, &config);
    if (guest->greet) guest->greet(guest->context, &config.hello);
    TC_TRY(tc_client_run(&config, err));
    say_time(run, "done", 1);
    return tc_tempfile_commit(&run->bundle, err);
}

tc_status client_build(const char *project, const char *bundle, const struct guest *guest,
                       struct tc_error *err)
{
    struct run run = {.bundle = TC_TEMPFILE_NONE, .log = TC_TEMPFILE_NONE};
    tc_status status = talk(&run, project, bundle, guest, err);
    if (status != TC_OK) (void)fprintf(stderr, "failed: %s\n", err->message);
    tc_pack_close(run.pack);
    tc_buildspec_free(&run.spec);
    tc_tempfile_drop(&run.bundle);
    tc_tempfile_drop(&run.log);
    return status;
}
