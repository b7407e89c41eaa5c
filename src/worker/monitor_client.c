#include "worker/monitor_client.h"

#include "base/cleanup.h"

/* When the monitor has given up, what it said explains more than the broken
 * pipe that a write ran into. */
static tc_status explain(struct tc_channel *monitor, tc_status status, struct tc_error *err)
{
    if (status != TC_PEER) return status;
    TC_AUTO_BUF struct tc_buf reply = tc_buf_new(2 * TC_ERROR_MAX);
    struct tc_error ignored = {0};
    enum tc_ipc_kind kind;
    if (tc_ipc_read(monitor, &kind, &reply, &ignored) == TC_OK && kind == TC_IPC_ERROR)
        return tc_wire_fail_decode(tc_buf_span(&reply), err);
    return status;
}

static tc_status send_part(struct tc_channel *monitor, enum tc_ipc_kind kind, struct tc_buf *part,
                           struct tc_error *err)
{
    TC_TRY(tc_buf_check(part, "a part of the statement", err));
    return explain(monitor, tc_ipc_write(monitor, kind, tc_buf_span(part), err), err);
}

static tc_status take_reply(struct tc_channel *monitor, enum tc_ipc_kind expected,
                            struct tc_buf *reply, struct tc_error *err)
{
    enum tc_ipc_kind kind;
    TC_TRY(tc_ipc_read(monitor, &kind, reply, err));
    if (kind == TC_IPC_ERROR) return tc_wire_fail_decode(tc_buf_span(reply), err);
    if (kind != expected)
        return tc_fail(err, TC_MALFORMED, "the monitor answered %d where %d was expected",
                       (int)kind, (int)expected);
    return TC_OK;
}

tc_status tc_monitor_bind(struct tc_channel *monitor, const struct tc_part_source *source,
                          const struct tc_part_recipe *recipe, struct tc_span nonce,
                          struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf part = tc_buf_new(TC_IPC_PART_MAX);
    tc_part_source_encode(source, &part);
    TC_TRY(send_part(monitor, TC_IPC_SOURCE, &part, err));
    tc_buf_reset(&part);
    tc_part_recipe_encode(recipe, &part);
    TC_TRY(send_part(monitor, TC_IPC_RECIPE, &part, err));
    tc_buf_reset(&part);
    tc_buf_add_span(&part, nonce);
    TC_TRY(send_part(monitor, TC_IPC_NONCE, &part, err));
    tc_buf_reset(&part);
    TC_TRY(send_part(monitor, TC_IPC_BIND, &part, err));
    return take_reply(monitor, TC_IPC_READY, &part, err);
}

tc_status tc_monitor_collected(struct tc_channel *monitor, const struct tc_collected *collected,
                               struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf part = tc_buf_new(TC_IPC_PART_MAX);
    tc_collected_encode(collected, &part);
    return send_part(monitor, TC_IPC_COLLECTED, &part, err);
}

void tc_signed_free(struct tc_signed *signed_parts)
{
    tc_buf_free(&signed_parts->statement);
    tc_buf_free(&signed_parts->envelope);
    tc_buf_free(&signed_parts->document);
}

tc_status tc_monitor_finish(struct tc_channel *monitor, const struct tc_statement *statement,
                            struct tc_signed *ret_signed, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf part = tc_buf_new(TC_IPC_PART_MAX);
    for (size_t i = 0; i < statement->subjects_count; i++) {
        tc_buf_reset(&part);
        tc_subject_encode(&statement->subjects[i], &part);
        TC_TRY(send_part(monitor, TC_IPC_SUBJECT, &part, err));
    }
    tc_buf_reset(&part);
    tc_part_log_encode(&statement->log, &part);
    TC_TRY(send_part(monitor, TC_IPC_LOG, &part, err));
    tc_buf_reset(&part);
    TC_TRY(send_part(monitor, TC_IPC_FINISH, &part, err));

    struct tc_signed result = {.statement = tc_buf_new(TC_IPC_REPLY_MAX),
                               .envelope = tc_buf_new(TC_IPC_REPLY_MAX),
                               .document = tc_buf_new(TC_IPC_REPLY_MAX)};
    tc_status status = take_reply(monitor, TC_IPC_STATEMENT, &result.statement, err);
    if (status == TC_OK) status = take_reply(monitor, TC_IPC_ENVELOPE, &result.envelope, err);
    if (status == TC_OK) status = take_reply(monitor, TC_IPC_DOCUMENT, &result.document, err);
    if (status != TC_OK) {
        tc_signed_free(&result);
        return status;
    }
    *ret_signed = result;
    return TC_OK;
}

tc_status tc_monitor_witness(struct tc_channel *monitor, const struct tc_part_witness *witness,
                             struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf part = tc_buf_new(TC_IPC_PART_MAX);
    tc_part_witness_encode(witness, &part);
    TC_TRY(tc_buf_check(&part, "the witnessed ref", err));
    return tc_ipc_write(monitor, TC_IPC_WITNESS, tc_buf_span(&part), err);
}

tc_status tc_monitor_network(struct tc_channel *monitor, const struct tc_part_network *network,
                             const struct tc_dependency *dependencies, size_t count,
                             const struct tc_part_transcript *transcript, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf part = tc_buf_new(TC_IPC_PART_MAX);
    tc_part_network_encode(network, &part);
    TC_TRY(tc_buf_check(&part, "what the network did", err));
    TC_TRY(tc_ipc_write(monitor, TC_IPC_NETWORK, tc_buf_span(&part), err));
    for (size_t i = 0; i < count; i++) {
        tc_buf_reset(&part);
        tc_dependency_encode(&dependencies[i], &part);
        TC_TRY(tc_buf_check(&part, "a dependency", err));
        TC_TRY(tc_ipc_write(monitor, TC_IPC_DEPENDENCY, tc_buf_span(&part), err));
    }
    tc_buf_reset(&part);
    tc_part_transcript_encode(transcript, &part);
    TC_TRY(tc_buf_check(&part, "the transcript's end", err));
    return tc_ipc_write(monitor, TC_IPC_TRANSCRIPT, tc_buf_span(&part), err);
}
