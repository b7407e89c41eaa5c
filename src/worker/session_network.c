#include "worker/session_network.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/transcript.h"
#include "worker/names.h"
#include "worker/netns.h"

enum { UNREAD_MAX = 16384, REFUSALS_MAX = 8 };

struct refusals {
    char *reasons[REFUSALS_MAX];
    size_t count; /* one more than there is room for: there were more */
};

void tc_session_network_done(struct tc_session_network *network)
{
    for (size_t i = 0; i < network->ca_count; i++) {
        free(network->ca[i].path);
        tc_buf_free(&network->ca[i].pem);
    }
    free(network->ca);
    tc_pins_free(network->pins);
    tc_buf_free(&network->unread);
    tc_build_ca_free(&network->build_ca);
    tc_channel_done(&network->recorder);
}

tc_status tc_session_network_plan(struct tc_session_network *network,
                                  const struct tc_buildspec *spec, uint16_t *ports,
                                  struct tc_spawner_network *ret_plan, struct tc_error *err)
{
    network->spec = spec;
    network->hijacked = spec->network.mode != TC_NETWORK_OFFLINE;
    network->unread = tc_buf_new(UNREAD_MAX);
    struct tc_spawner_network plan = {.hijacked = network->hijacked, .ports = ports};
    for (size_t i = 0; network->hijacked && i < spec->network.opaque_count; i++) {
        if (plan.ports_count == TC_NETNS_PORTS_MAX)
            return tc_fail(err, TC_LIMIT, "network.opaque of build.json names more than %d ports",
                           TC_NETNS_PORTS_MAX);
        ports[plan.ports_count++] = spec->network.opaque[i].port;
    }
    *ret_plan = plan;
    return TC_OK;
}

/* --- what passes of the source --- */

static bool is_ca(const struct tc_session_network *network, struct tc_span path)
{
    const struct tc_network *wanted = &network->spec->network;
    for (size_t i = 0; i < wanted->ca_count; i++)
        if (tc_span_equal(tc_span_of_text(wanted->ca[i].path), path)) return true;
    return false;
}

static void note_unread(struct tc_session_network *network, const char *path, const char *why)
{
    char shown[256];
    tc_buf_add_format(&network->unread, "tee-compile: %s pins no download: %s\n",
                      tc_printable(tc_span_of_text(path), shown, sizeof shown), why);
}

static tc_status wants(void *context, struct tc_span path, uint64_t size, bool *ret_wanted,
                       struct tc_error *err)
{
    struct tc_session_network *network = context;
    char shown[256];
    *ret_wanted = false;
    if (!network->hijacked) return TC_OK;
    if (is_ca(network, path)) {
        if (size > TC_RECORDING_CA_MAX)
            return tc_fail(err, TC_LIMIT,
                           "%s of network.ca has %llu bytes, at most %d are accepted",
                           tc_printable(path, shown, sizeof shown), (unsigned long long)size,
                           TC_RECORDING_CA_MAX);
        *ret_wanted = true;
        return TC_OK;
    }
    TC_AUTO_FREE char *text = tc_span_to_text(path);
    if (!text) return tc_fail(err, TC_SYSTEM, "out of memory");
    if (!tc_pins_wants(text)) return TC_OK;
    if (size > TC_PINS_FILE_MAX)
        note_unread(network, text, "it is too large");
    else if (network->pins_files >= TC_PINS_FILES_MAX)
        note_unread(network, text, "the source has too many lock files");
    else
        *ret_wanted = true;
    return TC_OK;
}

static tc_status keep_ca(struct tc_session_network *network, const char *path,
                         struct tc_span content, struct tc_error *err)
{
    struct tc_recorder_ca *grown =
        reallocarray(network->ca, network->ca_count + 1, sizeof *network->ca);
    if (!grown) return tc_fail(err, TC_SYSTEM, "out of memory");
    network->ca = grown;
    struct tc_recorder_ca *ca = &grown[network->ca_count];
    *ca = (struct tc_recorder_ca){.path = strdup(path), .pem = tc_buf_new(TC_RECORDING_CA_MAX)};
    network->ca_count++;
    tc_buf_add_span(&ca->pem, content);
    if (!ca->path || !tc_buf_ok(&ca->pem)) return tc_fail(err, TC_SYSTEM, "out of memory");
    return TC_OK;
}

static tc_status take(void *context, struct tc_span path, struct tc_span content,
                      struct tc_error *err)
{
    struct tc_session_network *network = context;
    struct tc_error why = {0};
    TC_AUTO_FREE char *text = tc_span_to_text(path);
    if (!text) return tc_fail(err, TC_SYSTEM, "out of memory");
    if (is_ca(network, path)) TC_TRY(keep_ca(network, text, content, err));
    if (!tc_pins_wants(text)) return TC_OK;
    if (!network->pins) network->pins = tc_pins_new();
    if (!network->pins) return tc_fail(err, TC_SYSTEM, "out of memory for lock files");
    network->pins_files++;
    if (tc_pins_add(network->pins, text, content, &why) == TC_SYSTEM) {
        *err = why;
        return why.status;
    }
    if (why.status != TC_OK) note_unread(network, text, why.message);
    return TC_OK;
}

struct tc_source_tap tc_session_network_tap(struct tc_session_network *network)
{
    return (struct tc_source_tap){network, wants, take};
}

/* What build.json itself lists is pinned by the source as what a lock file names is. */
static tc_status take_listed(struct tc_session_network *network, struct tc_span build_file,
                             struct tc_error *err)
{
    const struct tc_network *wanted = &network->spec->network;
    struct tc_error why = {0};
    if (wanted->pinned_count == 0) return TC_OK;
    TC_AUTO_FREE char *path = tc_span_to_text(build_file);
    TC_AUTO_FREE struct tc_sha256 *digests = calloc(wanted->pinned_count, sizeof *digests);
    if (!network->pins) network->pins = tc_pins_new();
    if (!path || !digests || !network->pins)
        return tc_fail(err, TC_SYSTEM, "out of memory for what network.pinned lists");
    for (size_t i = 0; i < wanted->pinned_count; i++)
        digests[i] = wanted->pinned[i].digest;
    if (tc_pins_add_listed(network->pins, path, digests, wanted->pinned_count, &why) == TC_SYSTEM) {
        *err = why;
        return why.status;
    }
    if (why.status != TC_OK) note_unread(network, path, why.message);
    return TC_OK;
}

/* --- start and end --- */

static void show_files(struct tc_session_network *network)
{
    static const char resolver[] = "nameserver " TC_NAMES_SERVER "\noptions ndots:1 timeout:5\n";
    struct tc_span pem = tc_buf_span(&network->build_ca.pem);
    const struct tc_command_file files[TC_SHOWN_FILES] = {
        {TC_SHOWN_FOLDER "/ca.pem", pem},
        {TC_SHOWN_FOLDER "/ca.p12", tc_buf_span(&network->build_ca.p12)},
        {"/etc/ssl/certs/ca-certificates.crt", pem},
        {"/etc/pki/tls/certs/ca-bundle.crt", pem},
        {"/etc/resolv.conf", tc_span_of_text(resolver)},
    };
    memcpy(network->shown, files, sizeof files);
}

tc_status tc_session_network_start(struct tc_session_network *network, struct tc_span build_file,
                                   const struct tc_session_network_wishes *wishes,
                                   struct tc_error *err)
{
    if (!network->hijacked) return TC_OK;
    /* A replay proves no origin: what is claimed stays claimed. */
    bool witness = network->spec->network.witness && !wishes->archive;
    if (network->spec->network.witness && !witness)
        tc_buf_add_text(&network->unread, "tee-compile: a replay asks no repository: its ref is "
                                          "claimed, and not witnessed\n");
    if (witness && (!wishes->commit || wishes->repository.size == 0 || wishes->ref.size == 0))
        return tc_fail(
            err, TC_REFUSED,
            "network.witness of build.json needs a clean commit on a branch, and a remote "
            "named origin whose https URL the worker can ask");
    TC_TRY(take_listed(network, wishes->build_file, err));
    if (network->pins) tc_pins_ready(network->pins);
    struct tc_recording_config config = {
        .build_file = build_file,
        .ca = network->ca,
        .ca_count = network->ca_count,
        .pins = network->pins,
        .credentials = wishes->credentials,
        .credentials_count = wishes->credentials_count,
        .store = wishes->store,
        .archive = wishes->archive,
        .repository = wishes->repository,
        .ref = wishes->ref,
        .commit = witness ? wishes->commit : NULL,
    };
    TC_TRY(tc_recording_start(&network->recorder, &config, &network->build_ca, err));
    show_files(network);
    return TC_OK;
}

tc_status tc_session_network_finish(struct tc_session_network *network, struct tc_error *err)
{
    return tc_recording_finish(&network->recorder, &network->transcript_size, err);
}

static tc_status add_refusal(void *context, const struct tc_exchange *exchange,
                             struct tc_error *err)
{
    struct refusals *refusals = context;
    if (exchange->outcome != TC_EXCHANGE_DENIED || refusals->count > REFUSALS_MAX) return TC_OK;
    for (size_t i = 0; i < refusals->count && i < REFUSALS_MAX; i++)
        if (strcmp(refusals->reasons[i], exchange->reason) == 0) return TC_OK;
    if (refusals->count < REFUSALS_MAX) {
        char *copy = strdup(exchange->reason);
        if (!copy) return tc_fail(err, TC_SYSTEM, "out of memory for refusals");
        refusals->reasons[refusals->count] = copy;
    }
    refusals->count++;
    return TC_OK;
}

static tc_status read_refusals(struct tc_session_network *network, struct refusals *refusals,
                               struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf piece = tc_buf_new(TC_RECORDING_FRAME_MAX);
    TC_TRY(tc_session_network_finish(network, err));
    struct tc_transcript_reader *reader = tc_transcript_reader_new();
    tc_status status = reader ? TC_OK : tc_fail(err, TC_SYSTEM, "out of memory for refusals");
    if (reader) tc_transcript_reader_tell(reader, add_refusal, refusals);
    for (uint64_t left = network->transcript_size; status == TC_OK && left > 0;
         left -= piece.size) {
        status = tc_recording_piece(&network->recorder, &piece, err);
        if (status == TC_OK && piece.size > left)
            status = tc_fail(err, TC_MALFORMED, "the recorder sent more than its transcript");
        if (status == TC_OK) status = tc_transcript_reader_add(reader, tc_buf_span(&piece), err);
    }
    tc_transcript_reader_free(reader);
    return status;
}

void tc_session_network_refusals(struct tc_session_network *network, struct tc_buf *buf)
{
    struct refusals refusals = {.count = 0};
    struct tc_error ignored = {0};
    if (!network->hijacked) return;
    (void)!read_refusals(network, &refusals, &ignored);
    for (size_t i = 0; i < refusals.count && i < REFUSALS_MAX; i++) {
        tc_buf_add_format(buf, "tee-compile: refused: %s\n", refusals.reasons[i]);
        free(refusals.reasons[i]);
    }
    if (refusals.count > REFUSALS_MAX)
        tc_buf_add_text(buf, "tee-compile: refused: more, not shown\n");
}

tc_status tc_session_network_send(struct tc_session_network *network, struct tc_channel *host,
                                  struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf piece = tc_buf_new(TC_RECORDING_FRAME_MAX);
    for (uint64_t left = network->transcript_size; left > 0; left -= piece.size) {
        TC_TRY(tc_recording_piece(&network->recorder, &piece, err));
        if (piece.size > left)
            return tc_fail(err, TC_MALFORMED, "the recorder sent more than its transcript");
        TC_TRY(tc_channel_write_data(host, tc_buf_span(&piece), err));
    }
    return TC_OK;
}
