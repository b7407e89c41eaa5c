#include "host/client.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "core/bundle.h"
#include "core/statement.h"
#include "os/channel.h"
#include "os/files.h"

/* A build may be silent for as long as its own limit allows, which the worker
 * keeps, and the caller's patience beyond that; the source and the result have to flow. */
enum { FLOW_PATIENCE_MS = 120 * 1000, DOCUMENT_MAX = 1 << 20 };

struct client {
    const struct tc_client_config *config;
    struct tc_channel worker;
    uint64_t log_size;
};

static tc_status check_interrupt(const struct client *client, struct tc_error *err)
{
    struct pollfd fd = {.fd = client->config->interrupt_fd, .events = POLLIN};
    if (poll(&fd, 1, 0) > 0) return tc_fail(err, TC_INTERRUPTED, "interrupted");
    return TC_OK;
}

static tc_status send_frame(void *sink, enum tc_wire_kind kind, struct tc_span payload,
                            struct tc_error *err)
{
    struct client *client = sink;
    TC_TRY(check_interrupt(client, err));
    return tc_channel_write(&client->worker, kind, payload, err);
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

static tc_status greet_and_send(struct client *client, struct tc_error *err)
{
    const struct tc_client_config *config = client->config;
    TC_AUTO_BUF struct tc_buf hello = tc_buf_new(TC_WIRE_PAYLOAD_MAX);
    tc_wire_hello_encode(&config->hello, &hello);
    TC_TRY(tc_buf_check(&hello, "HELLO", err));
    TC_TRY(tc_channel_write(&client->worker, TC_WIRE_HELLO, tc_buf_span(&hello), err));
    TC_TRY(send_credentials(client, err));
    TC_TRY(tc_channel_write(&client->worker, TC_WIRE_BUILD_FILE, config->build_file, err));
    struct tc_span version;
    TC_TRY(tc_channel_expect(&client->worker, TC_WIRE_ACCEPT, &version, err));
    return config->send_source(config->context, client, send_frame, err);
}

/* What the worker said before it hung up explains more than a broken pipe. */
static tc_status explain_hangup(struct client *client, tc_status status, struct tc_error *err)
{
    struct tc_error before = *err;
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

/* Frames of the build up to the first member, whose payload it returns. */
static tc_status follow_build(struct client *client, struct tc_span *ret_member,
                              struct tc_error *err)
{
    const struct tc_client_config *config = client->config;
    for (;;) {
        enum tc_wire_kind kind;
        struct tc_span payload;
        TC_TRY(tc_channel_read(&client->worker, &kind, &payload, err));
        if (kind == TC_WIRE_LOG) {
            TC_TRY(tc_write_all(config->log_fd, payload, "the log", err));
            client->log_size += payload.size;
            config->on_log(config->context, payload);
        } else if (kind == TC_WIRE_PHASE) {
            config->on_phase(config->context, (enum tc_phase)payload.data[0]);
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
    TC_TRY(write_header(client, false, tc_span_of_text(TC_BUNDLE_LOG), false, client->log_size,
                        err));
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
        {TC_MEMBER_TRANSCRIPT, TC_BUNDLE_TRANSCRIPT, TC_FILE_SIZE_MAX},
        {TC_MEMBER_STATEMENT, TC_BUNDLE_STATEMENT, TC_STATEMENT_MAX},
    };
    struct tc_span payload = first;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct tc_wire_member member;
        if (i > 0) TC_TRY(tc_channel_expect(&client->worker, TC_WIRE_MEMBER, &payload, err));
        TC_TRY(tc_wire_member_decode(payload, &member, err));
        if (member.member != table[i].member || member.size > table[i].max)
            return tc_fail(err, TC_MALFORMED, "the worker sent member %d of %llu bytes out of place",
                           (int)member.member, (unsigned long long)member.size);
        if (member.member == TC_MEMBER_DOCUMENT && client->config->sign) {
            TC_TRY(take_document(client, table[i].name, member.size, err));
            continue;
        }
        TC_TRY(write_header(client, false, tc_span_of_text(table[i].name), false, member.size, err));
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
        if (kind == TC_WIRE_PHASE) continue;
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
        TC_TRY(write_header(client, true, tc_buf_span(&name), entry.executable, size, err));
        TC_TRY(copy_data(client, true, size, err));
    }
}

static tc_status run(struct client *client, struct tc_error *err)
{
    static const uint8_t zeros[TC_BUNDLE_END_SIZE];
    tc_status status = greet_and_send(client, err);
    if (status != TC_OK) return explain_hangup(client, status, err);
    struct tc_span first = {0};
    client->worker.patience_ms =
        client->config->build_patience_ms > 0 ? client->config->build_patience_ms : -1;
    TC_TRY(follow_build(client, &first, err));
    client->worker.patience_ms = FLOW_PATIENCE_MS;
    TC_TRY(take_members(client, first, err));
    TC_TRY(take_outputs(client, err));
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
