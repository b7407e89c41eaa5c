#include "worker/recording.h"

#include "base/cleanup.h"
#include "worker/parts.h"

void tc_build_ca_free(struct tc_build_ca *ca)
{
    tc_buf_free(&ca->pem);
    tc_buf_free(&ca->p12);
}

static tc_status say(struct tc_channel *recorder, enum tc_recording_kind kind,
                     struct tc_span payload, struct tc_error *err)
{
    tc_status status = tc_ipc_write(recorder, (enum tc_ipc_kind)kind, payload, err);
    if (status != TC_PEER) return status;
    /* What it said before it went explains more than the broken pipe. */
    struct tc_error why = {0};
    if (tc_recording_broken(recorder, &why) != TC_PEER) *err = why;
    return err->status;
}

static tc_status say_buf(struct tc_channel *recorder, enum tc_recording_kind kind,
                         struct tc_buf *frame, struct tc_error *err)
{
    TC_TRY(tc_buf_check(frame, "a message to the recorder", err));
    return say(recorder, kind, tc_buf_span(frame), err);
}

static tc_status hear(struct tc_channel *recorder, enum tc_recording_kind expected,
                      struct tc_buf *frame, struct tc_error *err)
{
    enum tc_ipc_kind kind;
    TC_TRY(tc_ipc_read(recorder, &kind, frame, err));
    if ((enum tc_recording_kind)kind == TC_RECORDING_FAILED)
        return tc_wire_fail_decode(tc_buf_span(frame), err);
    if ((enum tc_recording_kind)kind != expected)
        return tc_fail(err, TC_MALFORMED, "the recorder answered %d where %d was expected",
                       (int)kind, (int)expected);
    return TC_OK;
}

static tc_status say_pins(struct tc_channel *recorder, const struct tc_pins *pins,
                          struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf all = tc_buf_new(TC_RECORDING_PINS_MAX);
    if (!pins) return TC_OK;
    tc_pins_encode(pins, &all);
    TC_TRY(tc_buf_check(&all, "what the source's lock files name", err));
    for (size_t done = 0; done < all.size;) {
        size_t size =
            all.size - done < TC_RECORDING_FRAME_MAX ? all.size - done : TC_RECORDING_FRAME_MAX;
        TC_TRY(say(recorder, TC_RECORDING_PINS, (struct tc_span){all.data + done, size}, err));
        done += size;
    }
    return TC_OK;
}

static tc_status say_files(struct tc_channel *recorder, const struct tc_recording_config *config,
                           struct tc_buf *frame, struct tc_error *err)
{
    for (size_t i = 0; i < config->ca_count; i++) {
        tc_buf_reset(frame);
        tc_buf_add_block(frame, tc_span_of_text(config->ca[i].path));
        tc_buf_add_block(frame, tc_buf_span(&config->ca[i].pem));
        TC_TRY(say_buf(recorder, TC_RECORDING_CA, frame, err));
    }
    TC_TRY(say_pins(recorder, config->pins, err));
    for (size_t i = 0; i < config->credentials_count; i++) {
        const struct tc_credential *credential = &config->credentials[i];
        tc_buf_reset(frame);
        const struct tc_wire_credential encoded = {tc_span_of_text(credential->host),
                                                   tc_span_of_text(credential->name),
                                                   tc_span_of_text(credential->value)};
        tc_wire_credential_encode(&encoded, frame);
        TC_TRY(say_buf(recorder, TC_RECORDING_CREDENTIAL, frame, err));
    }
    return TC_OK;
}

static tc_status say_rest(struct tc_channel *recorder, const struct tc_recording_config *config,
                          struct tc_buf *frame, struct tc_error *err)
{
    if (config->commit && config->repository.size > 0) {
        tc_buf_reset(frame);
        tc_buf_add_block(frame, config->repository);
        tc_buf_add_block(frame, config->ref);
        tc_buf_add(frame, config->commit->bytes, sizeof config->commit->bytes);
        TC_TRY(say_buf(recorder, TC_RECORDING_WITNESS, frame, err));
    }
    if (config->archive)
        TC_TRY(say(recorder, TC_RECORDING_ARCHIVE,
                   (struct tc_span){config->archive->bytes, sizeof config->archive->bytes}, err));
    const uint8_t store = config->store;
    return say(recorder, TC_RECORDING_START, (struct tc_span){&store, 1}, err);
}

tc_status tc_recording_start(struct tc_channel *recorder, const struct tc_recording_config *config,
                             struct tc_build_ca *ret_ca, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf frame = tc_buf_new(TC_RECORDING_FRAME_MAX);
    struct tc_build_ca ca = {tc_buf_new(TC_RECORDING_FRAME_MAX),
                             tc_buf_new(TC_RECORDING_FRAME_MAX)};
    struct tc_span pem, p12;
    TC_TRY(say(recorder, TC_RECORDING_BUILD_FILE, config->build_file, err));
    TC_TRY(say_files(recorder, config, &frame, err));
    TC_TRY(say_rest(recorder, config, &frame, err));
    TC_TRY(hear(recorder, TC_RECORDING_READY, &frame, err));
    struct tc_cursor cursor = tc_cursor_of(tc_buf_span(&frame));
    if (!tc_cursor_block(&cursor, TC_RECORDING_FRAME_MAX, &pem) ||
        !tc_cursor_block(&cursor, TC_RECORDING_FRAME_MAX, &p12) || tc_cursor_left(&cursor) != 0)
        return tc_fail(err, TC_MALFORMED, "the recorder sent no certificate of its own");
    tc_buf_add_span(&ca.pem, pem);
    tc_buf_add_span(&ca.p12, p12);
    if (!tc_buf_ok(&ca.pem) || !tc_buf_ok(&ca.p12)) {
        tc_build_ca_free(&ca);
        return tc_fail(err, TC_SYSTEM, "out of memory for a certificate");
    }
    *ret_ca = ca;
    return TC_OK;
}

tc_status tc_recording_broken(struct tc_channel *recorder, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf frame = tc_buf_new(TC_RECORDING_FRAME_MAX);
    enum tc_ipc_kind kind;
    tc_status status = tc_ipc_read(recorder, &kind, &frame, err);
    if (status != TC_OK) return status;
    if ((enum tc_recording_kind)kind == TC_RECORDING_FAILED)
        return tc_wire_fail_decode(tc_buf_span(&frame), err);
    return tc_fail(err, TC_MALFORMED, "the recorder spoke out of turn");
}

tc_status tc_recording_finish(struct tc_channel *recorder, uint64_t *ret_size, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf frame = tc_buf_new(TC_RECORDING_FRAME_MAX);
    uint64_t size;
    TC_TRY(say(recorder, TC_RECORDING_FINISH, (struct tc_span){0}, err));
    TC_TRY(hear(recorder, TC_RECORDING_TRANSCRIPT, &frame, err));
    struct tc_cursor cursor = tc_cursor_of(tc_buf_span(&frame));
    if (!tc_cursor_u64(&cursor, &size) || tc_cursor_left(&cursor) != 0)
        return tc_fail(err, TC_MALFORMED, "the recorder does not say how long its transcript is");
    *ret_size = size;
    return TC_OK;
}

tc_status tc_recording_piece(struct tc_channel *recorder, struct tc_buf *piece,
                             struct tc_error *err)
{
    TC_TRY(hear(recorder, TC_RECORDING_PIECE, piece, err));
    if (piece->size == 0) return tc_fail(err, TC_MALFORMED, "the recorder sent an empty piece");
    return TC_OK;
}
