/* The recorder's process: takes its orders from the session, its listeners from
 * stages, and tells the monitor itself what came of it. The session parses the host's
 * bytes; this process parses the network's; neither can speak for the other.
 *
 *   files, pins, credentials, START   ->  listeners taken, READY
 *   (connections, until FINISH)           FAILED as soon as nothing can be signed any more
 *   FINISH                            ->  the transcript's size to the session; network,
 *                                         dependencies and transcript's hash to the
 *                                         monitor; the transcript to the session
 *
 * A build without network gets no START: then the books are empty, and no listener
 * was ever served. */

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "core/buildspec.h"
#include "core/gitrefs.h"
#include "core/resolved.h"
#include "worker/monitor_client.h"
#include "worker/recorder_main.h"
#include "worker/recording.h"
#include "worker/recording_orders.h"
#include "worker/stages.h"

enum { BUNDLE_MAX = 8 << 20 };

struct process {
    const struct tc_recorder_process_config *config;
    struct tc_channel session, monitor;
    struct tc_recording_orders orders;
    struct tc_dialler dialler;
    struct tc_listeners listeners;
    struct tc_buf bundle;
    struct tc_denied denied;
    int transcript_fd;
    struct tc_recorder_config recorder_config;
    struct tc_recorder *recorder; /* NULL: not started */
    struct tc_catcher *catcher;
};

/* A file of the image that stages opened. */
static tc_status read_file(int fd, const char *what, struct tc_buf *buf, struct tc_error *err)
{
    while (fd >= 0) {
        uint8_t piece[16384];
        ssize_t got = read(fd, piece, sizeof piece);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read %s", what);
        if (got == 0) break;
        tc_buf_add(buf, piece, (size_t)got);
        TC_TRY(tc_buf_check(buf, what, err));
    }
    return TC_OK;
}

static tc_status read_denied(struct process *process, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf text = tc_buf_new(TC_DENIED_MAX);
    if (process->config->denied_fd < 0) return TC_OK;
    TC_TRY(read_file(process->config->denied_fd, "/" TC_DENIED_PATH " of the image", &text, err));
    if (tc_denied_read(tc_buf_span(&text), &process->denied, err) != TC_OK)
        return tc_wrap(err, "/" TC_DENIED_PATH " of the image");
    return TC_OK;
}

static tc_status say_ready(struct process *process, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf frame = tc_buf_new(TC_RECORDING_FRAME_MAX);
    tc_buf_add_block(&frame, tc_recorder_ca_pem(process->recorder));
    tc_buf_add_block(&frame, tc_recorder_ca_p12(process->recorder));
    TC_TRY(tc_buf_check(&frame, "the certificate of the build's authority", err));
    return tc_ipc_write(&process->session, (enum tc_ipc_kind)TC_RECORDING_READY,
                        tc_buf_span(&frame), err);
}

/* The host said which archive it has, before the recorder read which it is. */
static tc_status check_archive(const struct process *process, struct tc_error *err)
{
    const struct tc_sha256 *seen = tc_recorder_archive(process->recorder);
    const struct tc_sha256 *announced = &process->orders.archive;
    if (!process->orders.replay) return TC_OK;
    if (seen && memcmp(seen, announced, sizeof *seen) == 0) return TC_OK;
    return tc_fail(err, TC_REFUSED, "the host replays another archive than it announced");
}

/* Reads the ref where the repository is, over a connection that is recorded as any other,
 * and tells the monitor, which compares the commit. */
static tc_status witness(struct process *process, struct tc_error *err)
{
    const struct tc_recording_orders *orders = &process->orders;
    struct tc_git_ref ref;
    if (!orders->repository) return TC_OK;
    TC_AUTO_BUF struct tc_buf url = tc_buf_new(TC_GIT_REPOSITORY_MAX + 64);
    TC_AUTO_BUF struct tc_buf body = tc_buf_new(TC_GIT_REFS_BODY_MAX);
    TC_TRY(tc_git_refs_url(orders->repository, &url, err));
    TC_AUTO_FREE char *text = tc_buf_take_text(&url);
    if (!text) return tc_fail(err, TC_SYSTEM, "out of memory");
    TC_TRY(tc_recorder_get(process->recorder, text, &body, err));
    TC_TRY(tc_git_refs_find(tc_buf_span(&body), orders->ref, &ref, err));
    const struct tc_sha1 *commit = tc_git_ref_commit(&ref);
    if (memcmp(commit, &orders->commit, sizeof *commit) != 0)
        return tc_fail(err, TC_REFUSED,
                       "network.witness of build.json: %s of %s is not the commit of the source; "
                       "push it, or build what is there",
                       orders->ref, orders->repository);
    const struct tc_part_witness part = {orders->repository, orders->ref, *commit};
    return tc_monitor_witness(&process->monitor, &part, err);
}

static tc_status start(struct process *process, struct tc_error *err)
{
    const struct tc_recording_orders *orders = &process->orders;
    TC_TRY(tc_listeners_receive(process->config->stages_fd, &process->listeners, err));
    TC_TRY(
        read_file(process->config->bundle_fd, "the image's trust anchors", &process->bundle, err));
    TC_TRY(read_denied(process, err));
    process->transcript_fd = memfd_create("network.jsonl", MFD_CLOEXEC);
    if (process->transcript_fd < 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make the transcript");
    process->recorder_config = (struct tc_recorder_config){
        .network = &orders->spec.network,
        .bundle = tc_buf_span(&process->bundle),
        .denied = &process->denied,
        .ca = orders->ca,
        .ca_count = orders->ca_count,
        .pins = orders->pins,
        .credentials = orders->credentials,
        .credentials_count = orders->credentials_count,
        .link = {tc_dialler_open, &process->dialler, process->config->piece},
        .transcript_fd = process->transcript_fd,
        .archive = orders->store,
        .replay = orders->replay,
    };
    TC_TRY(tc_recorder_new(&process->recorder_config, &process->recorder, err));
    TC_TRY(check_archive(process, err));
    TC_TRY(witness(process, err));
    TC_TRY(tc_catcher_start(&process->listeners, process->recorder, &process->catcher, err));
    return say_ready(process, err);
}

/* Until the session has something to say. */
static tc_status await_session(struct process *process, struct tc_error *err)
{
    struct pollfd fds[2] = {
        {.fd = process->session.fd, .events = POLLIN},
        {.fd = process->recorder ? tc_recorder_broken_fd(process->recorder) : -1,
         .events = POLLIN}};
    for (;;) {
        if (poll(fds, 2, -1) < 0) {
            if (errno == EINTR) continue;
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot wait");
        }
        if (fds[1].revents) {
            tc_recorder_reason(process->recorder, err);
            return err->status != TC_OK ? err->status
                                        : tc_fail(err, TC_SYSTEM, "the recorder broke");
        }
        if (fds[0].revents) return TC_OK;
    }
}

static tc_status take_orders(struct process *process, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf frame = tc_buf_new(TC_RECORDING_FRAME_MAX);
    for (;;) {
        enum tc_ipc_kind kind;
        TC_TRY(await_session(process, err));
        TC_TRY(tc_ipc_read(&process->session, &kind, &frame, err));
        enum tc_recording_kind order = (enum tc_recording_kind)kind;
        if (order == TC_RECORDING_FINISH) return TC_OK;
        if (process->recorder)
            return tc_fail(err, TC_REFUSED, "the session gave order %d to a recorder that runs",
                           (int)kind);
        TC_TRY(tc_recording_orders_take(&process->orders, order, tc_buf_span(&frame), err));
        if (order == TC_RECORDING_START) TC_TRY(start(process, err));
    }
}

/* --- the end --- */

static tc_status close_books(struct process *process, struct tc_transcript_summary *ret_summary,
                             struct tc_error *err)
{
    if (process->recorder) {
        TC_TRY(tc_catcher_stop(TC_TAKE(process->catcher), err));
        return tc_recorder_finish(process->recorder, ret_summary, err);
    }
    process->transcript_fd = memfd_create("network.jsonl", MFD_CLOEXEC);
    struct tc_span header = tc_span_of_text(TC_TRANSCRIPT_HEADER);
    struct tc_transcript_summary summary = {0};
    if (process->transcript_fd < 0 ||
        write(process->transcript_fd, header.data, header.size) != (ssize_t)header.size)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot write an empty transcript");
    TC_TRY(tc_sha256_of(header, &summary.last, err));
    summary.digest = summary.last;
    *ret_summary = summary;
    return TC_OK;
}

typedef tc_status piece_fn(void *context, struct tc_span piece, struct tc_error *err);

/* The transcript once more from its file. */
static tc_status read_transcript(struct process *process, piece_fn *tell, void *context,
                                 uint64_t *ret_size, struct tc_error *err)
{
    static const size_t room = 64 << 10;
    TC_AUTO_FREE uint8_t *piece = malloc(room);
    uint64_t size = 0;
    if (!piece) return tc_fail(err, TC_SYSTEM, "out of memory");
    for (;;) {
        ssize_t got = pread(process->transcript_fd, piece, room, (off_t)size);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read the transcript back");
        if (got == 0) break;
        TC_TRY(tell(context, (struct tc_span){piece, (size_t)got}, err));
        size += (uint64_t)got;
    }
    *ret_size = size;
    return TC_OK;
}

static tc_status add_piece(void *context, struct tc_span piece, struct tc_error *err)
{
    return tc_transcript_reader_add(context, piece, err);
}

static tc_status add_exchange(void *context, const struct tc_exchange *exchange,
                              struct tc_error *err)
{
    return tc_resolved_add(context, exchange, err);
}

static tc_status send_piece(void *context, struct tc_span piece, struct tc_error *err)
{
    return tc_ipc_write(context, (enum tc_ipc_kind)TC_RECORDING_PIECE, piece, err);
}

/* What the lines come to, read as a verifier reads them: a transcript that it would not
 * take is found here, and nothing is signed. */
static tc_status resolve(struct process *process, const struct tc_transcript_summary *summary,
                         struct tc_part_network *network, struct tc_dependency **ret_list,
                         size_t *ret_count, uint64_t *ret_size, struct tc_error *err)
{
    struct tc_transcript_summary seen;
    struct tc_resolved *resolved = tc_resolved_new();
    struct tc_transcript_reader *reader = tc_transcript_reader_new();
    tc_status status = !resolved || !reader ? tc_fail(err, TC_SYSTEM, "out of memory") : TC_OK;
    if (status == TC_OK) {
        tc_transcript_reader_tell(reader, add_exchange, resolved);
        status = read_transcript(process, add_piece, reader, ret_size, err);
    }
    if (status == TC_OK) status = tc_transcript_reader_finish(reader, &seen, err);
    if (status == TC_OK && memcmp(&seen.last, &summary->last, sizeof seen.last) != 0)
        status = tc_fail(err, TC_SYSTEM, "the transcript is not what was written");
    if (status == TC_OK) status = tc_resolved_finish(resolved, network, ret_list, ret_count, err);
    tc_transcript_reader_free(reader);
    tc_resolved_free(resolved);
    return status;
}

static tc_status finish(struct process *process, struct tc_error *err)
{
    struct tc_transcript_summary summary = {0};
    struct tc_part_network network = {0};
    struct tc_dependency *list = NULL;
    size_t count = 0;
    uint64_t size = 0;
    TC_TRY(close_books(process, &summary, err));
    tc_status status = TC_OK;
    if (process->recorder) {
        network.hijack = process->listeners.hijack;
        status = tc_recording_orders_describe(&process->orders, &network, err);
        const struct tc_sha256 *archive = tc_recorder_archive(process->recorder);
        if (archive) network.archive = *archive;
        network.has_denied = process->config->denied_fd >= 0;
        network.denied_count = process->denied.count;
        network.denied = process->denied.digest;
    }
    if (status == TC_OK) status = resolve(process, &summary, &network, &list, &count, &size, err);
    TC_AUTO_BUF struct tc_buf frame = tc_buf_new(sizeof size);
    tc_buf_add_u64(&frame, size);
    if (status == TC_OK) status = tc_buf_check(&frame, "the transcript's size", err);
    if (status == TC_OK)
        status = tc_ipc_write(&process->session, (enum tc_ipc_kind)TC_RECORDING_TRANSCRIPT,
                              tc_buf_span(&frame), err);
    const struct tc_part_transcript transcript = {summary.last, summary.count, summary.digest};
    if (status == TC_OK)
        status = tc_monitor_network(&process->monitor, &network, list, count, &transcript, err);
    if (status == TC_OK)
        status = read_transcript(process, send_piece, &process->session, &size, err);
    tc_dependencies_free(list, count);
    tc_part_network_free(&network);
    return status;
}

static void process_done(struct process *process)
{
    struct tc_error ignored = {0};
    (void)!tc_catcher_stop(process->catcher, &ignored);
    tc_recorder_free(process->recorder);
    tc_recording_orders_done(&process->orders);
    tc_buf_free(&process->bundle);
    tc_denied_free(&process->denied);
    tc_close_ptr(&process->transcript_fd);
    tc_channel_done(&process->session);
    tc_channel_done(&process->monitor);
}

int tc_recorder_main(const struct tc_recorder_process_config *config)
{
    struct tc_error err = {0};
    struct process process = {
        .config = config,
        .dialler = {config->dialler_fd, config->parent, config->port_shift},
        .bundle = tc_buf_new(BUNDLE_MAX),
        .transcript_fd = -1,
    };
    tc_status status =
        tc_channel_init(&process.session, config->session_fd, -1, "the session", &err);
    if (status == TC_OK)
        status = tc_channel_init(&process.monitor, config->monitor_fd, -1, "the monitor", &err);
    if (status == TC_OK) status = take_orders(&process, &err);
    if (status == TC_OK) status = finish(&process, &err);
    if (status != TC_OK && process.session.payload) {
        TC_AUTO_BUF struct tc_buf failure = tc_buf_new(2 * TC_ERROR_MAX);
        struct tc_error ignored = {0};
        tc_wire_fail_encode(&err, &failure);
        (void)!tc_ipc_write(&process.session, (enum tc_ipc_kind)TC_RECORDING_FAILED,
                            tc_buf_span(&failure), &ignored);
        /* Threads may still hold what the build waits for: the end of the process frees it. */
        _exit(EXIT_FAILURE);
    }
    process_done(&process);
    return status == TC_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
