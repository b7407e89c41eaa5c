#include "worker/buildlog.h"

#include "base/text.h"

tc_status tc_buildlog_init(struct tc_buildlog *log, struct tc_channel *host, uint64_t limit,
                           struct tc_error *err)
{
    *log = (struct tc_buildlog){.host = host,
                                .redactor = tc_redactor_new(),
                                .hash = tc_hash_new(TC_HASH_SHA256),
                                .ready = tc_buf_new(8 * TC_WIRE_DATA_MAX),
                                .limit = limit};
    if (log->redactor && log->hash) return TC_OK;
    tc_buildlog_done(log);
    return tc_fail(err, TC_SYSTEM, "out of memory for the build's log");
}

void tc_buildlog_done(struct tc_buildlog *log)
{
    tc_redactor_free(log->redactor);
    tc_hash_free(log->hash);
    tc_buf_free(&log->ready);
    log->redactor = NULL;
    log->hash = NULL;
}

static tc_status send_ready(struct tc_buildlog *log, struct tc_error *err)
{
    TC_TRY(tc_buf_check(&log->ready, "a piece of the redacted log", err));
    struct tc_span rest = tc_buf_span(&log->ready);
    tc_hash_add(log->hash, rest.data, rest.size);
    log->size += rest.size;
    if (log->capture) {
        size_t room = log->capture->max - log->capture->size;
        tc_buf_add(log->capture, rest.data, rest.size < room ? rest.size : room);
    }
    while (rest.size > 0) {
        size_t size = rest.size < TC_WIRE_DATA_MAX ? rest.size : TC_WIRE_DATA_MAX;
        TC_TRY(tc_channel_write(log->host, TC_WIRE_LOG, (struct tc_span){rest.data, size}, err));
        rest.data += size;
        rest.size -= size;
    }
    tc_buf_reset(&log->ready);
    return TC_OK;
}

tc_status tc_buildlog_add(struct tc_buildlog *log, struct tc_span bytes, struct tc_error *err)
{
    char most[16];
    bool fits = bytes.size <= log->limit - log->raw;
    if (!fits) bytes.size = (size_t)(log->limit - log->raw);
    log->raw += bytes.size;
    tc_redactor_add(log->redactor, bytes, &log->ready);
    TC_TRY(send_ready(log, err));
    if (!fits)
        return tc_fail(err, TC_LIMIT,
                       "the build wrote more log than limits.log allows (%s): nothing is signed; "
                       "make it quieter or raise limits.log",
                       tc_human_size(log->limit, most));
    return TC_OK;
}

tc_status tc_buildlog_flush(struct tc_buildlog *log, struct tc_error *err)
{
    tc_redactor_flush(log->redactor, &log->ready);
    return send_ready(log, err);
}

tc_status tc_buildlog_finish(struct tc_buildlog *log, struct tc_part_log *ret_part,
                             struct tc_error *err)
{
    struct tc_part_log part = {.present = true, .size = log->size};
    TC_TRY(tc_hash_finish(log->hash, part.digest.bytes, sizeof part.digest.bytes, err));
    *ret_part = part;
    return TC_OK;
}
