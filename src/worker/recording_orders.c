#include "worker/recording_orders.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

enum { CREDENTIALS_MAX = TC_CREDENTIALS_MAX, FILES_MAX = TC_BUILDSPEC_LIST_MAX };

static void free_ca(struct tc_recorder_ca *ca)
{
    free(ca->host);
    free(ca->path);
    tc_buf_free(&ca->pem);
}

void tc_recording_orders_done(struct tc_recording_orders *orders)
{
    tc_buildspec_free(&orders->spec);
    for (size_t i = 0; i < orders->ca_count; i++)
        free_ca(&orders->ca[i]);
    free(orders->ca);
    tc_buf_free(&orders->pins_bytes);
    tc_pins_free(orders->pins);
    for (size_t i = 0; i < orders->credentials_count; i++) {
        free(orders->credentials[i].host);
        free(orders->credentials[i].name);
        free(orders->credentials[i].value);
    }
    free(orders->credentials);
    free(orders->repository);
    free(orders->ref);
    *orders = (struct tc_recording_orders){0};
}

static tc_status broken(struct tc_error *err)
{
    return tc_fail(err, TC_MALFORMED, "the session gave the recorder a malformed order");
}

static tc_status text(struct tc_cursor *cursor, size_t max, char **ret_text, struct tc_error *err)
{
    struct tc_span span;
    if (!tc_cursor_block(cursor, max, &span) || span.size == 0 || memchr(span.data, 0, span.size))
        return broken(err);
    char *owned = tc_span_to_text(span);
    if (!owned) return tc_fail(err, TC_SYSTEM, "out of memory");
    *ret_text = owned;
    return TC_OK;
}

static tc_status take_build_file(struct tc_recording_orders *orders, struct tc_span payload,
                                 struct tc_error *err)
{
    if (orders->has_spec) return broken(err);
    TC_TRY(tc_buildspec_parse(payload, "build.json", &orders->spec, err));
    orders->has_spec = true;
    return tc_sha256_of(payload, &orders->build_file_digest, err);
}

/* One file may count for several hosts: it comes once. */
static tc_status take_ca(struct tc_recording_orders *orders, struct tc_span payload,
                         struct tc_error *err)
{
    struct tc_cursor cursor = tc_cursor_of(payload);
    struct tc_span pem;
    struct tc_recorder_ca ca = {.pem = tc_buf_new(TC_RECORDING_CA_MAX)};
    if (orders->ca_count == FILES_MAX) return broken(err);
    struct tc_recorder_ca *grown =
        reallocarray(orders->ca, orders->ca_count + 1, sizeof *orders->ca);
    if (!grown) return tc_fail(err, TC_SYSTEM, "out of memory");
    orders->ca = grown;
    TC_TRY(text(&cursor, TC_RECORDING_FRAME_MAX, &ca.path, err));
    tc_status status = TC_OK;
    if (!tc_cursor_block(&cursor, TC_RECORDING_CA_MAX, &pem) || tc_cursor_left(&cursor) != 0)
        status = broken(err);
    if (status == TC_OK) {
        tc_buf_add_span(&ca.pem, pem);
        status = tc_buf_check(&ca.pem, "a file of network.ca", err);
    }
    if (status == TC_OK) status = tc_sha256_of(pem, &ca.digest, err);
    if (status != TC_OK) {
        free_ca(&ca);
        return status;
    }
    orders->ca[orders->ca_count++] = ca;
    return TC_OK;
}

static tc_status take_pins(struct tc_recording_orders *orders, struct tc_span payload,
                           struct tc_error *err)
{
    if (orders->pins_bytes.max == 0) orders->pins_bytes = tc_buf_new(TC_RECORDING_PINS_MAX);
    tc_buf_add_span(&orders->pins_bytes, payload);
    return tc_buf_check(&orders->pins_bytes, "what the source's lock files name", err);
}

static tc_status take_credential(struct tc_recording_orders *orders, struct tc_span payload,
                                 struct tc_error *err)
{
    struct tc_wire_credential decoded;
    if (orders->credentials_count == CREDENTIALS_MAX) return broken(err);
    TC_TRY(tc_wire_credential_decode(payload, &decoded, err));
    struct tc_credential *grown =
        reallocarray(orders->credentials, orders->credentials_count + 1, sizeof *grown);
    if (!grown) return tc_fail(err, TC_SYSTEM, "out of memory");
    orders->credentials = grown;
    struct tc_credential *credential = &grown[orders->credentials_count++];
    *credential = (struct tc_credential){tc_span_to_text(decoded.host), tc_span_to_text(decoded.name),
                                         tc_span_to_text(decoded.value)};
    if (!credential->host || !credential->name || !credential->value)
        return tc_fail(err, TC_SYSTEM, "out of memory");
    return TC_OK;
}

static tc_status take_witness(struct tc_recording_orders *orders, struct tc_span payload,
                              struct tc_error *err)
{
    struct tc_cursor cursor = tc_cursor_of(payload);
    struct tc_span commit;
    if (orders->repository || orders->ref) return broken(err);
    TC_TRY(text(&cursor, TC_WIRE_TEXT_MAX, &orders->repository, err));
    TC_TRY(text(&cursor, TC_WIRE_TEXT_MAX, &orders->ref, err));
    if (!tc_cursor_take(&cursor, sizeof orders->commit.bytes, &commit) ||
        tc_cursor_left(&cursor) != 0)
        return broken(err);
    memcpy(orders->commit.bytes, commit.data, commit.size);
    return TC_OK;
}

static tc_status take_archive(struct tc_recording_orders *orders, struct tc_span payload,
                              struct tc_error *err)
{
    if (orders->replay || payload.size != sizeof orders->archive.bytes) return broken(err);
    memcpy(orders->archive.bytes, payload.data, payload.size);
    orders->replay = true;
    return TC_OK;
}

/* From one entry a file to one a host, as the recorder wants it. */
static tc_status spread_ca(struct tc_recording_orders *orders, struct tc_error *err)
{
    const struct tc_network *network = &orders->spec.network;
    struct tc_recorder_ca *spread = calloc(network->ca_count + 1, sizeof *spread);
    size_t done = 0;
    tc_status status = TC_OK;
    if (!spread) return tc_fail(err, TC_SYSTEM, "out of memory");
    for (; status == TC_OK && done < network->ca_count; done++) {
        const struct tc_recorder_ca *file = NULL;
        struct tc_recorder_ca *ca = &spread[done];
        for (size_t i = 0; i < orders->ca_count && !file; i++)
            if (strcmp(orders->ca[i].path, network->ca[done].path) == 0) file = &orders->ca[i];
        if (!file) {
            status = tc_fail(err, TC_REFUSED,
                             "network.ca of build.json names %s for %s, and the source has no such "
                             "file",
                             network->ca[done].path, network->ca[done].host);
            break;
        }
        ca->host = strdup(network->ca[done].host);
        ca->path = strdup(file->path);
        ca->pem = tc_buf_new(TC_RECORDING_CA_MAX);
        tc_buf_add_span(&ca->pem, tc_buf_span(&file->pem));
        ca->digest = file->digest;
        if (!ca->host || !ca->path || !tc_buf_ok(&ca->pem))
            status = tc_fail(err, TC_SYSTEM, "out of memory");
    }
    if (status != TC_OK) {
        for (size_t i = 0; i < network->ca_count; i++)
            free_ca(&spread[i]);
        free(spread);
        return status;
    }
    for (size_t i = 0; i < orders->ca_count; i++)
        free_ca(&orders->ca[i]);
    free(orders->ca);
    orders->ca = spread;
    orders->ca_count = network->ca_count;
    return TC_OK;
}

static tc_status take_start(struct tc_recording_orders *orders, struct tc_span payload,
                            struct tc_error *err)
{
    if (!orders->has_spec || payload.size != 1 || payload.data[0] > 1) return broken(err);
    if (orders->spec.network.mode == TC_NETWORK_OFFLINE)
        return tc_fail(err, TC_REFUSED, "build.json asks for no network");
    orders->store = payload.data[0] == 1;
    TC_TRY(spread_ca(orders, err));
    if (orders->pins_bytes.size > 0)
        TC_TRY(tc_pins_decode(tc_buf_span(&orders->pins_bytes), &orders->pins, err));
    tc_buf_free(&orders->pins_bytes);
    orders->complete = true;
    return TC_OK;
}

tc_status tc_recording_orders_take(struct tc_recording_orders *orders, enum tc_recording_kind kind,
                                   struct tc_span payload, struct tc_error *err)
{
    if (orders->complete) return broken(err);
    switch (kind) {
    case TC_RECORDING_BUILD_FILE: return take_build_file(orders, payload, err);
    case TC_RECORDING_CA: return take_ca(orders, payload, err);
    case TC_RECORDING_PINS: return take_pins(orders, payload, err);
    case TC_RECORDING_CREDENTIAL: return take_credential(orders, payload, err);
    case TC_RECORDING_WITNESS: return take_witness(orders, payload, err);
    case TC_RECORDING_ARCHIVE: return take_archive(orders, payload, err);
    case TC_RECORDING_START: return take_start(orders, payload, err);
    case TC_RECORDING_FINISH:
    case TC_RECORDING_READY:
    case TC_RECORDING_FAILED:
    case TC_RECORDING_TRANSCRIPT:
    case TC_RECORDING_PIECE: break;
    }
    return broken(err);
}

static int by_host(const void *a, const void *b)
{
    return strcmp(((const struct tc_extra_ca *)a)->host, ((const struct tc_extra_ca *)b)->host);
}

tc_status tc_recording_orders_describe(const struct tc_recording_orders *orders,
                                       struct tc_part_network *network, struct tc_error *err)
{
    network->build_file = orders->build_file_digest;
    network->replayed = orders->replay;
    network->archive = orders->archive;
    if (orders->ca_count == 0) return TC_OK;
    network->ca = calloc(orders->ca_count, sizeof *network->ca);
    if (!network->ca) return tc_fail(err, TC_SYSTEM, "out of memory");
    for (size_t i = 0; i < orders->ca_count; i++) {
        struct tc_extra_ca *ca = &network->ca[network->ca_count++];
        *ca = (struct tc_extra_ca){strdup(orders->ca[i].host), strdup(orders->ca[i].path),
                                   orders->ca[i].digest};
        if (!ca->host || !ca->path) return tc_fail(err, TC_SYSTEM, "out of memory");
    }
    qsort(network->ca, network->ca_count, sizeof *network->ca, by_host);
    return TC_OK;
}
