#include "network_sample.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "core/resolved.h"

static void must_be_ok(tc_status status, const struct tc_error *err)
{
    if (status == TC_OK) return;
    (void)fprintf(stderr, "%s\n", err->message);
    abort();
}

static char *copy(const char *text)
{
    char *result = text ? strdup(text) : NULL;
    if (text && !result) abort();
    return result;
}

static void add_field(struct tc_exchange *exchange, const char *name, const char *value)
{
    if (!value) return;
    exchange->fields[exchange->fields_count].name = copy(name);
    exchange->fields[exchange->fields_count++].value = copy(value);
}

static void make_exchange(const struct sample_answer *answer, uint64_t sequence, bool archive,
                          struct tc_exchange *ret_exchange)
{
    bool opaque = strcmp(answer->scheme, "opaque") == 0, tls = strcmp(answer->scheme, "https") == 0;
    enum tc_exchange_outcome outcome = opaque           ? TC_EXCHANGE_OPAQUE
                                       : answer->cut    ? TC_EXCHANGE_CUT
                                       : answer->failed ? TC_EXCHANGE_FAILED
                                                        : TC_EXCHANGE_OK;
    struct tc_exchange exchange = {.sequence = sequence,
                                   .time = 1767323045,
                                   .outcome = outcome,
                                   .scheme = copy(answer->scheme),
                                   .host = copy(answer->host),
                                   .port = opaque ? 22
                                           : tls  ? 443
                                                  : 80,
                                   .response_size = answer->digest ? 5 : 0,
                                   .from_archive = archive,
                                   .attempts = archive ? 0 : 1};
    if (!archive) exchange.address = copy("192.0.2.1");
    if (tls && !archive) {
        exchange.tls = copy("TLSv1.3");
        exchange.has_certificate = true;
        exchange.ca = copy(answer->ca);
    }
    if (answer->failed) exchange.reason = copy("it hung up");
    if (!opaque && !answer->failed) {
        char url[256];
        (void)snprintf(url, sizeof url, "%s://%s%s", answer->scheme, answer->host, answer->path);
        exchange.method = copy("GET");
        exchange.url = copy(url);
        exchange.status = answer->status ? answer->status : answer->digest ? 200 : 404;
        add_field(&exchange, "location", answer->location);
        add_field(&exchange, "date", answer->date);
        memset(exchange.request_digest.bytes, answer->question, TC_SHA256_SIZE);
        memset(exchange.response_digest.bytes, answer->digest, TC_SHA256_SIZE);
        exchange.pinned_by = copy(answer->pinned_by);
    }
    *ret_exchange = exchange;
}

static void write_transcript(struct sample_parts *parts, const struct sample_answer *answers,
                             size_t count, bool archive, struct tc_resolved *resolved)
{
    struct tc_error err = {0};
    tc_buf_reset(&parts->transcript);
    tc_buf_free(&parts->transcript);
    parts->transcript = tc_buf_new(32 << 20);
    tc_buf_add_text(&parts->transcript, TC_TRANSCRIPT_HEADER);
    for (size_t i = 0; i < count; i++) {
        struct tc_exchange exchange;
        make_exchange(&answers[i], i + 1, archive, &exchange);
        must_be_ok(tc_exchange_write(&exchange, &parts->transcript, &err), &err);
        if (resolved) must_be_ok(tc_resolved_add(resolved, &exchange, &err), &err);
        tc_exchange_free(&exchange);
    }
    struct tc_transcript_reader *reader = tc_transcript_reader_new();
    struct tc_transcript_summary summary;
    must_be_ok(tc_transcript_reader_add(reader, tc_buf_span(&parts->transcript), &err), &err);
    must_be_ok(tc_transcript_reader_finish(reader, &summary, &err), &err);
    tc_transcript_reader_free(reader);
    parts->statement.transcript =
        (struct tc_part_transcript){summary.last, summary.count, summary.digest};
}

void sample_transcript(struct sample_parts *parts, const struct sample_answer *answers,
                       size_t count, bool archive)
{
    write_transcript(parts, answers, count, archive, NULL);
}

void sample_network(struct sample_parts *parts, const struct sample_answer *answers, size_t count,
                    bool archive)
{
    struct tc_error err = {0};
    struct tc_statement *statement = &parts->statement;
    struct tc_resolved *resolved = tc_resolved_new();
    if (!resolved) abort();
    statement->recipe.network = TC_NETWORK_RECORD;
    statement->network.hijack = TC_HIJACK_NFTABLES;
    statement->network.replayed = archive;
    if (archive) memset(statement->network.archive.bytes, 0xaf, TC_SHA256_SIZE);
    write_transcript(parts, answers, count, archive, resolved);
    must_be_ok(tc_resolved_finish(resolved, &statement->network, &statement->dependencies,
                                  &statement->dependencies_count, &err),
               &err);
    tc_resolved_free(resolved);
}
