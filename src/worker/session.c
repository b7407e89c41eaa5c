/* The session: the process that speaks with the host. It parses the host's
 * bytes, drives unpacking, commands and collection through stages, and tells the
 * monitor the parts of the statement. It holds no secret and no capability; the
 * worst that a host can do with it is to get no report.
 *
 *   HELLO, CREDENTIAL*, BUILD_FILE  ->  limits  ->  source -> unpacker  ->  bind (PCR16)
 *   -> collect commands, vendor, command  ->  outputs hashed  ->  signed
 *   -> members and outputs to the host, hashed again on their way
 *
 * It takes one session and ends; every failure is told to the host as FAIL. */

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "tc_version.h"
#include "worker/buildlog.h"
#include "worker/collect.h"
#include "worker/credentials.h"
#include "worker/environment.h"
#include "worker/monitor_client.h"
#include "worker/netns.h"
#include "worker/run.h"
#include "worker/session_network.h"
#include "worker/stages.h"
#include "worker/unpack.h"

/* How long the host may stand still before the worker gives up. */
enum { HOST_PATIENCE_MS = 120 * 1000, INNER_PATIENCE_MS = 600 * 1000 };
enum { REFUSALS_SIZE = 65536 };

struct session {
    struct tc_channel host, monitor;
    struct tc_spawner spawner;
    const char *const *host_tools;

    struct tc_buf hello_bytes; /* what hello borrows from */
    struct tc_wire_hello hello;
    struct tc_credentials credentials;
    struct tc_buf build_file; /* announced, then found equal in the source */
    struct tc_buildspec spec;
    struct tc_source_received source;
    struct tc_statement statement; /* what the session knows of it */
    struct tc_buildlog log;
    struct tc_signed signed_parts;
    struct tc_session_network network;
};

static void session_free(struct session *session)
{
    tc_channel_done(&session->host);
    tc_channel_done(&session->monitor);
    tc_buf_free(&session->hello_bytes);
    tc_credentials_free(&session->credentials);
    tc_buf_free(&session->build_file);
    tc_buildspec_free(&session->spec);
    tc_source_received_free(&session->source);
    tc_statement_free(&session->statement);
    tc_buildlog_done(&session->log);
    tc_signed_free(&session->signed_parts);
    tc_session_network_done(&session->network);
}

static tc_status say_phase(struct session *session, enum tc_phase phase, struct tc_error *err)
{
    uint8_t byte = (uint8_t)phase;
    return tc_channel_write(&session->host, TC_WIRE_PHASE, (struct tc_span){&byte, 1}, err);
}

static tc_status copy_span(struct tc_span span, struct tc_buf *ret_buf, const char *what,
                           struct tc_error *err)
{
    *ret_buf = tc_buf_new(TC_WIRE_PAYLOAD_MAX);
    tc_buf_add_span(ret_buf, span);
    return tc_buf_check(ret_buf, what, err);
}

/* HELLO and BUILD_FILE: what is wanted and under which limits. */
static tc_status greet(struct session *session, struct tc_error *err)
{
    struct tc_span payload;
    TC_TRY(tc_channel_expect(&session->host, TC_WIRE_HELLO, &payload, err));
    TC_TRY(copy_span(payload, &session->hello_bytes, "HELLO", err));
    TC_TRY(tc_wire_hello_decode(tc_buf_span(&session->hello_bytes), &session->hello, err));
    TC_TRY(tc_credentials_receive(&session->host, &session->credentials, &payload, err));
    TC_TRY(copy_span(payload, &session->build_file, "BUILD_FILE", err));
    TC_TRY(
        tc_buildspec_parse(tc_buf_span(&session->build_file), "build.json", &session->spec, err));
    if (session->hello.git_folder !=
        (session->spec.source_git && session->hello.source == TC_SOURCE_GIT))
        return tc_fail(err, TC_MALFORMED, "HELLO and build.json disagree about source.git");
    TC_TRY(tc_channel_write(&session->host, TC_WIRE_ACCEPT, tc_span_of_text(TC_VERSION), err));
    struct tc_spawner_network plan;
    uint16_t ports[TC_NETNS_PORTS_MAX];
    TC_TRY(tc_session_network_plan(&session->network, &session->spec, ports, &plan, err));
    return tc_spawner_prepare(&session->spawner, &session->spec.limits, &plan, err);
}

static bool is_listed(const char *path, char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(path, list[i]) == 0) return true;
    return false;
}

static tc_status receive_source(struct session *session, struct tc_error *err)
{
    TC_TRY(say_phase(session, TC_PHASE_RECEIVE, err));
    TC_AUTO_CLOSE int fd = -1;
    TC_TRY(tc_spawner_unpack(&session->spawner, &fd, err));
    struct tc_channel unpacker = {0};
    TC_TRY(tc_channel_init(&unpacker, fd, INNER_PATIENCE_MS, "the unpacker", err));
    const struct tc_source_tap tap = tc_session_network_tap(&session->network);
    tc_status status =
        tc_source_receive(&session->host, &unpacker, &session->hello, &tap, &session->source, err);
    tc_channel_done(&unpacker);
    tc_close_ptr(&fd);
    /* An unpacker that hung up has met a limit, perhaps: stages knows. */
    struct tc_error end = {0};
    if (status == TC_OK || status == TC_PEER) {
        tc_status ended = tc_spawner_unpacked(&session->spawner, &end);
        if (ended != TC_OK && (status == TC_OK || ended == TC_LIMIT)) {
            *err = end;
            return ended;
        }
    }
    TC_TRY(status);

    if (!tc_span_equal(tc_buf_span(&session->build_file), tc_buf_span(&session->source.build_file)))
        return tc_fail(err, TC_REFUSED,
                       "the build file in the source is not the one that the host announced");
    char shown[256];
    for (size_t i = 0; i < session->source.omitted_count; i++)
        if (!is_listed(session->source.omitted[i], session->spec.omitted,
                       session->spec.omitted_count))
            return tc_fail(
                err, TC_REFUSED,
                "the host left out submodule %s, which source.omit of build.json does "
                "not list",
                tc_printable(tc_span_of_text(session->source.omitted[i]), shown, sizeof shown));
    return TC_OK;
}

/* Points into the session's parsed input: encoded at once, never freed. */
static tc_status bind_source(struct session *session, char **environment, size_t environment_count,
                             struct tc_error *err)
{
    const struct tc_wire_hello *hello = &session->hello;
    const struct tc_source_received *received = &session->source;
    const struct tc_buildspec *spec = &session->spec;
    TC_AUTO_FREE char *repository = tc_span_to_text(hello->repository);
    TC_AUTO_FREE char *ref = tc_span_to_text(hello->ref);
    TC_AUTO_FREE char *backend = tc_span_to_text(hello->backend);
    TC_AUTO_FREE char *build_file = tc_span_to_text(hello->build_file);
    if (!repository || !ref || !backend || !build_file)
        return tc_fail(err, TC_SYSTEM, "out of memory");

    struct tc_part_source source = {.kind = hello->source,
                                    .digest = received->summary.digest,
                                    .files = received->summary.files,
                                    .bytes = received->summary.bytes,
                                    .has_commit = received->has_commit,
                                    .commit = received->commit,
                                    .tree = received->tree,
                                    .epoch = received->epoch,
                                    .repository = *repository ? repository : NULL,
                                    .ref = *ref ? ref : NULL,
                                    .backend = *backend ? backend : NULL,
                                    .tags = received->tags,
                                    .tags_count = received->tags_count};
    struct tc_part_recipe recipe = {.build_file = build_file,
                                    .language = spec->language,
                                    .image = spec->image,
                                    .command = spec->command,
                                    .vendor = spec->vendor,
                                    .folder = spec->folder,
                                    .environment = environment,
                                    .environment_count = environment_count,
                                    .outputs = spec->outputs,
                                    .outputs_count = spec->outputs_count,
                                    .limits = spec->limits,
                                    .network = spec->network.mode};
    TC_TRY(tc_sha256_of(tc_buf_span(&received->build_file), &recipe.build_file_digest, err));
    return tc_monitor_bind(&session->monitor, &source, &recipe, hello->nonce, err);
}

static tc_status run_command(struct session *session, const char *text,
                             const char *const *environment, const char *what, struct tc_error *err)
{
    const struct tc_command command = {text, session->spec.folder, environment,
                                       session->network.shown};
    return tc_run_command(&session->spawner, &command, &session->spec.limits, what, &session->log,
                          &session->network.recorder, err);
}

/* A command of input.collect: what it prints, kept as said by the build. */
static tc_status collect_one(struct session *session, const struct tc_named_command *wanted,
                             const char *const *environment, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf output = tc_buf_new(TC_COLLECTED_MAX);
    session->log.capture = &output;
    tc_status status =
        run_command(session, wanted->command, environment, "a command of input.collect", err);
    session->log.capture = NULL;
    TC_TRY(status);
    /* As text that is safe to show; what does not fit is said to be missing. */
    TC_AUTO_BUF struct tc_buf said = tc_buf_new(4 * TC_COLLECTED_MAX);
    tc_printable_lines(tc_buf_span(&output), &said);
    static const char cut[] = "\n[cut]\n";
    bool whole = output.size < TC_COLLECTED_MAX && said.size <= TC_COLLECTED_MAX;
    if (!whole) {
        size_t size = TC_COLLECTED_MAX - (sizeof cut - 1);
        while (said.size > size || (said.size > 0 && (said.data[said.size - 1] & 0x80)))
            said.size--;
        tc_buf_add_text(&said, cut);
    }
    TC_AUTO_FREE char *text = tc_buf_take_text(&said);
    if (!text) return tc_fail(err, TC_SYSTEM, "out of memory for what a command said");
    struct tc_collected collected = {wanted->name, wanted->command, text};
    return tc_monitor_collected(&session->monitor, &collected, err);
}

static tc_status run_commands(struct session *session, const char *const *environment,
                              struct tc_error *err)
{
    const struct tc_buildspec *spec = &session->spec;
    if (spec->collect_count > 0) TC_TRY(say_phase(session, TC_PHASE_COLLECT_INFO, err));
    for (size_t i = 0; i < spec->collect_count; i++)
        TC_TRY(collect_one(session, &spec->collect[i], environment, err));
    if (spec->vendor) {
        TC_TRY(say_phase(session, TC_PHASE_VENDOR, err));
        TC_TRY(run_command(session, spec->vendor, environment, "input.vendor", err));
    }
    TC_TRY(say_phase(session, TC_PHASE_COMMAND, err));
    return run_command(session, spec->command, environment, "input.cmd", err);
}

static tc_status announce_member(struct session *session, enum tc_member member, uint64_t size,
                                 struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf payload = tc_buf_new(64);
    struct tc_wire_member head = {member, size};
    tc_wire_member_encode(&head, &payload);
    TC_TRY(tc_buf_check(&payload, "MEMBER", err));
    return tc_channel_write(&session->host, TC_WIRE_MEMBER, tc_buf_span(&payload), err);
}

static tc_status send_member(struct session *session, enum tc_member member, struct tc_span bytes,
                             struct tc_error *err)
{
    TC_TRY(announce_member(session, member, bytes.size, err));
    return tc_channel_write_data(&session->host, bytes, err);
}

static tc_status send_transcript(struct session *session, struct tc_error *err)
{
    TC_TRY(announce_member(session, TC_MEMBER_TRANSCRIPT, session->network.transcript_size, err));
    return tc_session_network_send(&session->network, &session->host, err);
}

static tc_status send_members(struct session *session, struct tc_error *err)
{
    const struct tc_signed *parts = &session->signed_parts;
    TC_TRY(send_member(session, TC_MEMBER_BUILD_FILE, tc_buf_span(&session->build_file), err));
    TC_TRY(send_member(session, TC_MEMBER_DOCUMENT, tc_buf_span(&parts->document), err));
    TC_TRY(send_member(session, TC_MEMBER_ENVELOPE, tc_buf_span(&parts->envelope), err));
    TC_TRY(send_transcript(session, err));
    return send_member(session, TC_MEMBER_STATEMENT, tc_buf_span(&parts->statement), err);
}

/* Hash, sign, ship. Every process of the build is dead by now. */
static tc_status deliver(struct session *session, struct tc_error *err)
{
    TC_TRY(say_phase(session, TC_PHASE_OUTPUTS, err));
    TC_AUTO_CLOSE int fd = -1;
    TC_TRY(tc_spawner_collect(&session->spawner, &fd, err));
    struct tc_channel collector = {0};
    TC_TRY(tc_channel_init(&collector, fd, INNER_PATIENCE_MS, "the collector", err));
    TC_AUTO_BUF struct tc_buf warnings = tc_buf_new(16384);
    tc_status status = tc_collect_hash(&collector, (const char *const *)session->spec.outputs,
                                       session->spec.outputs_count,
                                       session->spec.limits.memory + session->spec.limits.disk,
                                       &session->statement, &warnings, err);
    if (status == TC_OK && warnings.size > 0)
        status = tc_buildlog_add(&session->log, tc_buf_span(&warnings), err);
    if (status == TC_OK) status = tc_buildlog_flush(&session->log, err);
    if (status == TC_OK) status = tc_buildlog_finish(&session->log, &session->statement.log, err);
    if (status == TC_OK && session->hello.no_log) session->statement.log = (struct tc_part_log){0};
    if (status == TC_OK) status = say_phase(session, TC_PHASE_SIGN, err);
    if (status == TC_OK)
        status =
            tc_monitor_finish(&session->monitor, &session->statement, &session->signed_parts, err);
    if (status == TC_OK) status = say_phase(session, TC_PHASE_SEND, err);
    if (status == TC_OK) status = send_members(session, err);
    if (status == TC_OK)
        status = tc_collect_ship(&collector, &session->statement, &session->host, err);
    tc_channel_done(&collector);
    return status;
}

/* What lock files did not say stands in the log, before the first command. */
static tc_status start_network(struct session *session, struct tc_error *err)
{
    const struct tc_session_network_wishes wishes = {
        .credentials = session->credentials.list,
        .credentials_count = session->credentials.count,
        .store = session->hello.archive,
        .archive = session->hello.replay ? &session->hello.replayed : NULL,
        .build_file = session->hello.build_file,
        .repository = session->hello.repository,
        .ref = session->hello.ref,
        .commit = session->source.has_commit ? &session->source.commit : NULL,
    };
    TC_TRY(tc_session_network_start(&session->network, tc_buf_span(&session->source.build_file),
                                    &wishes, err));
    return tc_buildlog_add(&session->log, tc_buf_span(&session->network.unread), err);
}

static void say_refusals(struct session *session)
{
    TC_AUTO_BUF struct tc_buf lines = tc_buf_new(REFUSALS_SIZE);
    struct tc_error ignored = {0};
    tc_session_network_refusals(&session->network, &lines);
    (void)!tc_buildlog_add(&session->log, tc_buf_span(&lines), &ignored);
}

static tc_status run_session(struct session *session, struct tc_error *err)
{
    TC_TRY(greet(session, err));
    TC_TRY(receive_source(session, err));
    TC_TRY(tc_buildlog_init(&session->log, &session->host, session->spec.limits.log, err));

    char **environment;
    size_t environment_count;
    TC_TRY(tc_environment_build(&session->spec, session->source.epoch, session->host_tools,
                                &environment, &environment_count, err));
    tc_status status = start_network(session, err);
    if (status == TC_OK) status = bind_source(session, environment, environment_count, err);
    if (status == TC_OK) status = run_commands(session, (const char *const *)environment, err);
    tc_string_list_free(environment, environment_count);
    if (status == TC_BUILD) say_refusals(session);
    TC_TRY(status);
    TC_TRY(tc_session_network_finish(&session->network, err));
    TC_TRY(deliver(session, err));
    return tc_channel_write(&session->host, TC_WIRE_DONE, (struct tc_span){0}, err);
}

int tc_session_main(const struct tc_session_config *config)
{
    struct tc_error err = {0};
    struct session session = {.spawner = {config->spawner_fd}, .host_tools = config->host_tools};
    tc_status status =
        tc_channel_init(&session.host, config->host_fd, HOST_PATIENCE_MS, "the host", &err);
    session.host.piece = config->host_piece;
    if (status == TC_OK)
        status = tc_channel_init(&session.monitor, config->monitor_fd, INNER_PATIENCE_MS,
                                 "the monitor", &err);
    if (status == TC_OK)
        status = tc_channel_init(&session.network.recorder, config->recorder_fd, INNER_PATIENCE_MS,
                                 "the recorder", &err);
    if (status == TC_OK) status = run_session(&session, &err);
    if (status != TC_OK && session.host.payload) {
        TC_AUTO_BUF struct tc_buf failure = tc_buf_new(2 * TC_ERROR_MAX);
        struct tc_error ignored = {0};
        if (session.log.redactor) (void)!tc_buildlog_flush(&session.log, &ignored);
        tc_wire_fail_encode(&err, &failure);
        (void)!tc_channel_write(&session.host, TC_WIRE_FAIL, tc_buf_span(&failure), &ignored);
    }
    session_free(&session);
    return status == TC_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
