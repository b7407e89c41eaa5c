#include "host/client.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/bundle.h"
#include "core/statement.h"
#include "core/transcript.h"
#include "os/channel.h"
#include "os/clock.h"
#include "os/files.h"

/* A build may be silent for as long as it may take; the source and the result have to flow,
 * and each as a whole at more than a trickle. */
enum {
    FLOW_PATIENCE_MS = 120 * 1000,
    FLOW_START_MS = 300 * 1000,
    FLOW_BYTES_PER_MS = 64,
    MARGIN_S = 300,
    /* For each byte of the log: what is hidden is shown as a word, and whatever is hidden
     * has another byte beside it that is not. */
    HIDING = 6,
    LOG_MARGIN = 1 << 20,
    PHASES_MAX = 64, /* more than there are */
    DOCUMENT_MAX = 1 << 20,
};
/* As many lines as are recorded. */
#define TRANSCRIPT_MAX ((uint64_t)TC_TRANSCRIPT_LINE_MAX << 18)

struct client {
    const struct tc_client_config *config;
    struct tc_channel worker;
    uint64_t source_size; /* sent */
    int64_t source_ms;    /* waited for the worker to take that */
    uint64_t log_size, outputs_size;
    unsigned phases, outputs;
};

static tc_status check_interrupt(const struct client *client, struct tc_error *err)
{
    struct pollfd fd = {.fd = client->config->interrupt_fd, .events = POLLIN};
    if (poll(&fd, 1, 0) > 0) return tc_fail(err, TC_INTERRUPTED, "interrupted");
    return TC_OK;
}

/* For as much as is sent or comes now. */
static void allow_time(struct client *client, uint64_t size)
{
    client->worker.until_ms += (int64_t)(size / FLOW_BYTES_PER_MS);
}

static bool is_late(const struct client *client, tc_status status)
{
    return status == TC_PEER && tc_clock_ms() >= client->worker.until_ms;
}

static tc_status send_frame(void *sink, enum tc_wire_kind kind, struct tc_span payload,
                            struct tc_error *err)
{
    struct client *client = sink;
    TC_TRY(check_interrupt(client, err));
    /* How long the source takes to be read is no fault of the worker's. */
    int64_t start_ms = tc_clock_ms();
    client->source_size += TC_WIRE_HEADER_SIZE + payload.size;
    client->worker.until_ms = start_ms + FLOW_START_MS - client->source_ms;
    allow_time(client, client->source_size);
    tc_status status = tc_channel_write(&client->worker, kind, payload, err);
    client->source_ms += tc_clock_ms() - start_ms;
    return status;
}

static tc_status send_credentials(struct client *client, struct tc_error *err)
{
    const struct tc_client_config *config = client->config;
    TC_AUTO_BUF struct tc_buf payload = tc_buf_new(TC_CREDENTIAL_MAX);
    tc_status status = TC_OK;
    for (size_t i = 0; i < config->credentials_count && status == TC_OK; i++) {
        tc_buf_reset(&payload);
        tc_wire_credential_encode(&config->credentials[i], &payload);
        status = tc_buf_check(&payload, "CREDENTIAL", err);
        if (status == TC_OK)
            status = tc_channel_write(&client->worker, TC_WIRE_CREDENTIAL, tc_buf_span(&payload), err);
    }
    if (payload.data) explicit_bzero(payload.data, payload.allocated);
    return status;
}

static tc_status greet(struct client *client, struct tc_error *err)
{
    const struct tc_client_config *config = client->config;
    TC_AUTO_BUF struct tc_buf hello = tc_buf_new(TC_WIRE_PAYLOAD_MAX);
    tc_wire_hello_encode(&config->hello, &hello);
    TC_TRY(tc_buf_check(&hello, "HELLO", err));
    client->worker.until_ms = tc_clock_ms() + FLOW_START_MS;
    TC_TRY(tc_channel_write(&client->worker, TC_WIRE_HELLO, tc_buf_span(&hello), err));
    TC_TRY(send_credentials(client, err));
    TC_TRY(tc_channel_write(&client->worker, TC_WIRE_BUILD_FILE, config->build_file, err));
    struct tc_span version;
    client->worker.until_ms = tc_clock_ms() + FLOW_PATIENCE_MS;
    return tc_channel_expect(&client->worker, TC_WIRE_ACCEPT, &version, err);
}

/* What the worker said before it hung up explains more than a broken pipe. */
static tc_status explain_hangup(struct client *client, tc_status status, struct tc_error *err)
{
    struct tc_error before = *err;
    client->worker.until_ms = tc_clock_ms() + FLOW_PATIENCE_MS;
    while (status == TC_PEER) {
        enum tc_wire_kind kind;
        struct tc_span payload;
        if (tc_channel_read(&client->worker, &kind, &payload, err) != TC_OK) {
            *err = before;
            return status;
        }
        if (kind == TC_WIRE_FAIL) return tc_wire_fail_decode(payload, err);
    }
    return status;
}

/* Who is late says nothing more that would be worth a wait. */
static tc_status send_source(struct client *client, struct tc_error *err)
{
    const struct tc_client_config *config = client->config;
    tc_status status = config->send_source(config->context, client, send_frame, err);
    if (!is_late(client, status)) return explain_hangup(client, status, err);
    return tc_fail(err, TC_PEER,
                   "the worker takes the source too slowly: expected %d s and one more for each "
                   "%d KiB at most; it hangs, or does not want to begin",
                   FLOW_START_MS / 1000, FLOW_BYTES_PER_MS * 1000 / 1024);
}

/* --- bounds --- */

void tc_client_bound(const struct tc_limits *limits, struct tc_client_config *config)
{
    config->log_max = HIDING * limits->log + LOG_MARGIN;
    config->outputs_max = limits->memory + limits->disk;
    config->build_max_ms = ((int64_t)limits->timeout + MARGIN_S) * 1000;
}

static void start_build_clock(struct client *client)
{
    client->worker.until_ms = tc_clock_ms() + client->config->build_max_ms;
    client->worker.patience_ms = -1;
}

static tc_status explain_time(const struct client *client, tc_status status, struct tc_error *err)
{
    if (!is_late(client, status)) return status;
    return tc_fail(err, TC_PEER,
                   "the worker was not done within %lld s, which is limits.timeout of build.json "
                   "and a margin: it hangs, or does not keep its limit",
                   (long long)(client->config->build_max_ms / 1000));
}

static tc_status count_log(struct client *client, size_t size, struct tc_error *err)
{
    char most[16];
    if (size > client->config->log_max - client->log_size)
        return tc_fail(err, TC_PEER,
                       "the worker sent more log than limits.log of build.json allows, which it "
                       "has to keep (%s with a margin): it is not to be trusted",
                       tc_human_size(client->config->log_max, most));
    client->log_size += size;
    return TC_OK;
}

static tc_status count_phase(struct client *client, enum tc_phase phase, struct tc_error *err)
{
    if (client->phases++ >= PHASES_MAX)
        return tc_fail(err, TC_MALFORMED, "the worker began more than %d phases", PHASES_MAX);
    client->config->on_phase(client->config->context, phase);
    return TC_OK;
}

static tc_status count_output(struct client *client, uint64_t size, struct tc_error *err)
{
    char most[16];
    if (client->outputs++ >= TC_SUBJECTS_MAX)
        return tc_fail(err, TC_MALFORMED, "the worker sent more than %d outputs", TC_SUBJECTS_MAX);
    if (size > client->config->outputs_max - client->outputs_size)
        return tc_fail(err, TC_PEER,
                       "the worker announced more outputs than limits.memory and limits.disk of "
                       "build.json allow, which it has to keep (%s): it is not to be trusted",
                       tc_human_size(client->config->outputs_max, most));
    client->outputs_size += size;
    allow_time(client, size);
    return TC_OK;
}

/* --- the build --- */

/* Frames of the build up to the first member, whose payload it returns. */
static tc_status follow_build(struct client *client, struct tc_span *ret_member,
                              struct tc_error *err)
{
    const struct tc_client_config *config = client->config;
    bool is_hashing = false;
    start_build_clock(client);
    for (;;) {
        enum tc_wire_kind kind;
        struct tc_span payload;
        tc_status status = tc_channel_read(&client->worker, &kind, &payload, err);
        if (status != TC_OK) return explain_time(client, status, err);
        if (kind == TC_WIRE_LOG) {
            TC_TRY(count_log(client, payload.size, err));
            TC_TRY(tc_write_all(config->log_fd, payload, "the log", err));
            config->on_log(config->context, payload);
        } else if (kind == TC_WIRE_PHASE) {
            TC_TRY(count_phase(client, (enum tc_phase)payload.data[0], err));
            if (payload.data[0] == TC_PHASE_OUTPUTS && !is_hashing) start_build_clock(client);
            is_hashing = is_hashing || payload.data[0] == TC_PHASE_OUTPUTS;
        } else if (kind == TC_WIRE_FAIL) {
            return tc_wire_fail_decode(payload, err);
        } else if (kind == TC_WIRE_MEMBER) {
            *ret_member = payload;
            return TC_OK;
        } else {
            return tc_fail(err, TC_MALFORMED, "the worker sent frame kind %d during the build",
                           (int)kind);
        }
    }
}

static tc_status write_both(const struct client *client, bool is_output, struct tc_span bytes,
                            struct tc_error *err)
{
    const struct tc_client_config *config = client->config;
    if (config->bundle_fd >= 0) TC_TRY(tc_write_all(config->bundle_fd, bytes, "the bundle", err));
    if (config->detached_fd >= 0 && !is_output)
        TC_TRY(tc_write_all(config->detached_fd, bytes, "the detached bundle", err));
    return TC_OK;
}

static tc_status write_header(const struct client *client, bool is_output, struct tc_span name,
                              bool executable, uint64_t size, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf header = tc_buf_new(TC_BUNDLE_HEADER_MAX);
    struct tc_bundle_member member = {name, executable, size};
    TC_TRY(tc_bundle_write_header(&member, &header, err));
    return write_both(client, is_output, tc_buf_span(&header), err);
}

static tc_status write_padding(const struct client *client, bool is_output, uint64_t size,
                               struct tc_error *err)
{
    static const uint8_t zeros[TC_BUNDLE_BLOCK];
    return write_both(client, is_output, (struct tc_span){zeros, tc_bundle_padding(size)}, err);
}

/* size bytes of DATA frames into the bundle, padded. */
static tc_status copy_data(struct client *client, bool is_output, uint64_t size,
                           struct tc_error *err)
{
    for (uint64_t left = size; left > 0;) {
        struct tc_span data;
        TC_TRY(check_interrupt(client, err));
        TC_TRY(tc_channel_expect(&client->worker, TC_WIRE_DATA, &data, err));
        if (data.size > left)
            return tc_fail(err, TC_MALFORMED, "the worker sent more bytes than it announced");
        TC_TRY(write_both(client, is_output, data, err));
        left -= data.size;
    }
    return write_padding(client, is_output, size, err);
}

/* A small member as a whole; signed by the caller it has another size. */
static tc_status take_document(struct client *client, const char *name, uint64_t size,
                               struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf received = tc_buf_new(DOCUMENT_MAX);
    TC_AUTO_BUF struct tc_buf document = tc_buf_new(DOCUMENT_MAX);
    while (received.size < size) {
        struct tc_span data;
        TC_TRY(tc_channel_expect(&client->worker, TC_WIRE_DATA, &data, err));
        tc_buf_add_span(&received, data);
        TC_TRY(tc_buf_check(&received, "the document", err));
    }
    if (received.size > size)
        return tc_fail(err, TC_MALFORMED, "the worker sent more bytes than it announced");
    TC_TRY(client->config->sign(client->config->context, tc_buf_span(&received), &document, err));
    TC_TRY(tc_buf_check(&document, "the signed document", err));
    TC_TRY(write_header(client, false, tc_span_of_text(name), false, document.size, err));
    TC_TRY(write_both(client, false, tc_buf_span(&document), err));
    return write_padding(client, false, document.size, err);
}

static tc_status write_log(struct client *client, struct tc_error *err)
{
    const struct tc_client_config *config = client->config;
    if (lseek(config->log_fd, 0, SEEK_SET) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read the log back");
    TC_TRY(
        write_header(client, false, tc_span_of_text(TC_BUNDLE_LOG), false, client->log_size, err));
    uint8_t bytes[16384];
    for (uint64_t left = client->log_size; left > 0;) {
        ssize_t got = read(config->log_fd, bytes, left < sizeof bytes ? left : sizeof bytes);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return tc_fail(err, TC_SYSTEM, "cannot read the log back");
        TC_TRY(write_both(client, false, (struct tc_span){bytes, (size_t)got}, err));
        left -= (uint64_t)got;
    }
    return write_padding(client, false, client->log_size, err);
}

/* The members in the order that the wire fixes, which is that of their names. */
static tc_status take_members(struct client *client, struct tc_span first, struct tc_error *err)
{
    static const struct {
        enum tc_member member;
        const char *name;
        uint64_t max;
    } table[] = {
        {TC_MEMBER_BUILD_FILE, TC_BUNDLE_BUILD_FILE, TC_BUILDSPEC_SIZE_MAX},
        {TC_MEMBER_DOCUMENT, TC_BUNDLE_DOCUMENT, DOCUMENT_MAX},
        {TC_MEMBER_ENVELOPE, TC_BUNDLE_ENVELOPE, 2 * TC_STATEMENT_MAX},
        {TC_MEMBER_TRANSCRIPT, TC_BUNDLE_TRANSCRIPT, TRANSCRIPT_MAX},
        {TC_MEMBER_STATEMENT, TC_BUNDLE_STATEMENT, TC_STATEMENT_MAX},
    };
    struct tc_span payload = first;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct tc_wire_member member;
        if (i > 0) TC_TRY(tc_channel_expect(&client->worker, TC_WIRE_MEMBER, &payload, err));
        TC_TRY(tc_wire_member_decode(payload, &member, err));
        if (member.member != table[i].member || member.size > table[i].max)
            return tc_fail(err, TC_MALFORMED,
                           "the worker sent member %d of %llu bytes out of place",
                           (int)member.member, (unsigned long long)member.size);
        allow_time(client, member.size);
        if (member.member == TC_MEMBER_DOCUMENT && client->config->sign) {
            TC_TRY(take_document(client, table[i].name, member.size, err));
            continue;
        }
        TC_TRY(
            write_header(client, false, tc_span_of_text(table[i].name), false, member.size, err));
        TC_TRY(copy_data(client, false, member.size, err));
        if (table[i].member == TC_MEMBER_BUILD_FILE && !client->config->hello.no_log)
            TC_TRY(write_log(client, err));
    }
    return TC_OK;
}

static tc_status take_outputs(struct client *client, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf name = tc_buf_new(sizeof TC_BUNDLE_OUTPUTS + TC_PATH_MAX);
    for (;;) {
        enum tc_wire_kind kind;
        struct tc_span payload;
        struct tc_entry entry;
        TC_TRY(tc_channel_read(&client->worker, &kind, &payload, err));
        if (kind == TC_WIRE_DONE) return TC_OK;
        if (kind == TC_WIRE_FAIL) return tc_wire_fail_decode(payload, err);
        if (kind == TC_WIRE_PHASE) {
            TC_TRY(count_phase(client, (enum tc_phase)payload.data[0], err));
            continue;
        }
        if (kind != TC_WIRE_OUTPUT)
            return tc_fail(err, TC_MALFORMED, "the worker sent frame kind %d among the outputs",
                           (int)kind);
        TC_TRY(tc_entry_decode(payload, &entry, err));
        if (entry.kind != TC_ENTRY_FILE)
            return tc_fail(err, TC_MALFORMED, "the worker sent an output that is no file");
        tc_buf_reset(&name);
        tc_buf_add_text(&name, TC_BUNDLE_OUTPUTS);
        tc_buf_add_span(&name, entry.path);
        TC_TRY(tc_buf_check(&name, "an output's name", err));
        uint64_t size = entry.size;
        TC_TRY(count_output(client, size, err));
        TC_TRY(write_header(client, true, tc_buf_span(&name), entry.executable, size, err));
        TC_TRY(copy_data(client, true, size, err));
    }
}

static tc_status run(struct client *client, struct tc_error *err)
{
    static const uint8_t zeros[TC_BUNDLE_END_SIZE];
    tc_status status = greet(client, err);
    if (status != TC_OK) return explain_hangup(client, status, err);
    TC_TRY(send_source(client, err));
    struct tc_span first = {0};
    TC_TRY(follow_build(client, &first, err));
    client->worker.patience_ms = FLOW_PATIENCE_MS;
    client->worker.until_ms = tc_clock_ms() + FLOW_START_MS;
    status = take_members(client, first, err);
    if (status == TC_OK) status = take_outputs(client, err);
    if (is_late(client, status))
        return tc_fail(err, TC_PEER,
                       "the worker sends what it built too slowly: expected %d s and one more for "
                       "each %d KiB at most; it hangs, or does not want to end",
                       FLOW_START_MS / 1000, FLOW_BYTES_PER_MS * 1000 / 1024);
    TC_TRY(status);
    return write_both(client, false, (struct tc_span){zeros, sizeof zeros}, err);
}

tc_status tc_client_run(const struct tc_client_config *config, struct tc_error *err)
{
    struct client client = {.config = config};
    TC_TRY(tc_channel_init(&client.worker, config->fd, FLOW_PATIENCE_MS, "the worker", err));
    client.worker.interrupt_fd = config->interrupt_fd;
    tc_status status = run(&client, err);
    tc_channel_done(&client.worker);
    return status;
}
