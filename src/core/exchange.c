/* One line of the transcript: writer, reader, and what must hold of both. The reader
 * takes the values out, checks them, writes them again and compares: a line that our
 * writer would not have written is refused, whatever it is that differs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/entry.h"
#include "core/json.h"
#include "core/jsonw.h"
#include "core/redact_internal.h"
#include "core/statement.h"
#include "core/transcript.h"

enum { FIELD_MAX = 256, LOCATION_MAX = 2048, HOST_MAX = 512, ATTEMPTS_MAX = 1000 };

static const char *const outcomes[] = {NULL, "ok", "denied", "failed", "cut", "opaque", NULL};

void tc_exchange_free(struct tc_exchange *exchange)
{
    if (!exchange) return;
    free(exchange->scheme);
    free(exchange->host);
    free(exchange->address);
    free(exchange->tls);
    free(exchange->ca);
    free(exchange->method);
    free(exchange->url);
    for (size_t i = 0; i < exchange->fields_count; i++) {
        free(exchange->fields[i].name);
        free(exchange->fields[i].value);
    }
    free(exchange->pinned_by);
    free(exchange->reason);
    *exchange = (struct tc_exchange){0};
}

static bool is_answered(const struct tc_exchange *exchange)
{
    return (exchange->outcome == TC_EXCHANGE_OK || exchange->outcome == TC_EXCHANGE_CUT) &&
           exchange->status > 0;
}

bool tc_exchange_has_body(const struct tc_exchange *exchange)
{
    return is_answered(exchange) && exchange->response_size > 0;
}

/* --- fields --- */

/* What tells a reader of the transcript which thing it was that came. */
static bool is_kept(struct tc_span name)
{
    static const char *const names[] = {"cache-control",
                                        "content-digest",
                                        "content-disposition",
                                        "content-encoding",
                                        "content-md5",
                                        "content-range",
                                        "content-type",
                                        "date",
                                        "digest",
                                        "docker-content-digest",
                                        "etag",
                                        "last-modified",
                                        "location",
                                        "repr-digest",
                                        "retry-after",
                                        "server",
                                        "via",
                                        "www-authenticate",
                                        "x-checksum-md5",
                                        "x-checksum-sha1",
                                        "x-checksum-sha256",
                                        NULL};
    for (size_t i = 0; names[i]; i++)
        if (name.size == strlen(names[i]) && starts_like(name, names[i])) return true;
    return false;
}

tc_status tc_exchange_keep_field(struct tc_exchange *exchange, struct tc_span name,
                                 struct tc_span value, struct tc_error *err)
{
    if (!is_kept(name) || exchange->fields_count == TC_EXCHANGE_FIELDS_MAX) return TC_OK;
    char shown[LOCATION_MAX];
    struct tc_error unreadable = {0};
    TC_AUTO_BUF struct tc_buf location = tc_buf_new(65536);
    if (starts_like(name, "location")) {
        if (tc_url_redact(value, &location, &unreadable) != TC_OK)
            value = tc_span_of_text("[unreadable]");
        else
            value = tc_buf_span(&location);
        tc_printable(value, shown, LOCATION_MAX);
    } else {
        tc_printable(value, shown, FIELD_MAX);
    }
    TC_AUTO_FREE char *owned_name = tc_span_to_text(name);
    TC_AUTO_FREE char *owned_value = strdup(shown);
    if (!owned_name || !owned_value)
        return tc_fail(err, TC_SYSTEM, "out of memory for a field of the transcript");
    for (char *c = owned_name; *c; c++)
        *c = (char)lower((uint8_t)*c);
    exchange->fields[exchange->fields_count].name = TC_TAKE(owned_name);
    exchange->fields[exchange->fields_count++].value = TC_TAKE(owned_value);
    return TC_OK;
}

/* --- what must hold --- */

static bool is_plain_text(const char *text, size_t max)
{
    size_t size = strlen(text);
    for (size_t i = 0; i < size; i++)
        if (text[i] <= ' ' || text[i] >= 0x7f) return false;
    return size > 0 && size <= max;
}

static bool is_utf8_text(const char *text)
{
    return !text || tc_is_utf8(tc_span_of_text(text));
}

/* Hosts are judged by one, downloads named by the other. */
static bool is_url_of(const struct tc_exchange *exchange)
{
    char port[8] = "";
    size_t scheme = strlen(exchange->scheme), host = strlen(exchange->host);
    const char *url = exchange->url;
    if (exchange->port != (strcmp(exchange->scheme, "https") == 0 ? 443 : 80))
        (void)snprintf(port, sizeof port, ":%u", (unsigned)exchange->port);
    size_t size = strlen(port);
    return strncmp(url, exchange->scheme, scheme) == 0 && strncmp(url + scheme, "://", 3) == 0 &&
           strncmp(url + scheme + 3, exchange->host, host) == 0 &&
           strncmp(url + scheme + 3 + host, port, size) == 0 &&
           strchr("/?*", url[scheme + 3 + host + size]); /* or its end */
}

/* NULL: nothing. Else what is wrong, for behind "an exchange ". */
static const char *connection_problem(const struct tc_exchange *exchange)
{
    static const char *const schemes[] = {"https", "http", "opaque"};
    bool denied = exchange->outcome == TC_EXCHANGE_DENIED;
    bool known = false;
    for (size_t i = 0; exchange->scheme && i < 3; i++)
        known = known || strcmp(exchange->scheme, schemes[i]) == 0;
    if (!exchange->host || !is_plain_text(exchange->host, HOST_MAX))
        return "has no host in printable ASCII";
    if (!known && (exchange->scheme || !denied)) return "has no scheme";
    if (exchange->port == 0 && !denied) return "has no port";
    if (exchange->address && !is_plain_text(exchange->address, HOST_MAX))
        return "has an address that is none";
    if (exchange->tls && !is_plain_text(exchange->tls, 32)) return "has a TLS version that is none";
    if (exchange->has_certificate && !exchange->tls) return "has a certificate without TLS";
    if (exchange->ca &&
        (!exchange->has_certificate || !tc_path_is_safe(tc_span_of_text(exchange->ca))))
        return "has a CA without certificate, or one outside the source";
    if (exchange->tls && (!exchange->scheme || strcmp(exchange->scheme, "https") != 0))
        return "has TLS without https";
    if (exchange->attempts > ATTEMPTS_MAX) return "has too many attempts";
    if (exchange->from_archive && (exchange->attempts > 0 || exchange->address || exchange->tls))
        return "came from the archive and from upstream";
    if (is_answered(exchange) && strcmp(exchange->scheme, "https") == 0 &&
        !exchange->has_certificate && !exchange->from_archive)
        return "was delivered over TLS without a certificate";
    return NULL;
}

static const char *message_problem(const struct tc_exchange *exchange)
{
    bool ok = exchange->outcome == TC_EXCHANGE_OK;
    bool opaque = exchange->scheme && strcmp(exchange->scheme, "opaque") == 0;
    if (!exchange->method != !exchange->url)
        return "has a method without URL, or the other way round";
    if (exchange->method && (!is_plain_text(exchange->method, 64) ||
                             !is_plain_text(exchange->url, TC_DEPENDENCY_URL_MAX)))
        return "has a method or a URL that is not printable ASCII";
    if (exchange->status > 599 || (exchange->status > 0 && exchange->status < 100))
        return "has a status that is none";
    if (exchange->status > 0 && !exchange->method) return "has an answer without a request";
    if (ok && exchange->status == 0) return "was delivered without a status";
    if (is_answered(exchange) && !opaque && !is_url_of(exchange))
        return "has a URL of another scheme, host or port";
    if (exchange->outcome == TC_EXCHANGE_CUT && !exchange->method)
        return "was cut without a request";
    if (exchange->outcome == TC_EXCHANGE_OPAQUE && !opaque)
        return "was relayed unread, and has HTTP";
    if (opaque && (exchange->method || (ok || exchange->outcome == TC_EXCHANGE_CUT)))
        return "was relayed unread, and is said to have been read";
    if (exchange->fields_count > TC_EXCHANGE_FIELDS_MAX ||
        (exchange->fields_count > 0 && exchange->status == 0))
        return "has fields without an answer";
    for (size_t i = 0; i < exchange->fields_count; i++)
        if (!is_plain_text(exchange->fields[i].name, 64) ||
            !is_utf8_text(exchange->fields[i].value))
            return "has a field that is not text";
    if (exchange->request_size > TC_STATEMENT_NUMBER_MAX ||
        exchange->response_size > TC_STATEMENT_NUMBER_MAX)
        return "is larger than 2^53 - 1 bytes";
    if (exchange->pinned_by && (!ok || !is_utf8_text(exchange->pinned_by) ||
                                !tc_path_is_safe(tc_span_of_text(exchange->pinned_by))))
        return "is pinned by what is no file of the source";
    return NULL;
}

static tc_status check(const struct tc_exchange *exchange, struct tc_error *err)
{
    const char *problem = NULL;
    int64_t last;
    bool wants_reason =
        exchange->outcome == TC_EXCHANGE_DENIED || exchange->outcome == TC_EXCHANGE_FAILED;
    if (exchange->sequence == 0 || exchange->sequence > TC_STATEMENT_NUMBER_MAX)
        problem = "has no number";
    else if (!tc_parse_time("9999-12-31T23:59:59Z", &last) || exchange->time < 0 ||
             exchange->time > last)
        problem = "has no time";
    else if (exchange->outcome < TC_EXCHANGE_OK || exchange->outcome > TC_EXCHANGE_OPAQUE)
        problem = "has no outcome";
    else if (wants_reason != (exchange->reason != NULL) && exchange->outcome != TC_EXCHANGE_CUT &&
             exchange->outcome != TC_EXCHANGE_OPAQUE)
        problem =
            wants_reason ? "did not come to pass for no reason" : "was delivered with a reason";
    else if (!is_utf8_text(exchange->reason))
        problem = "has a reason that is not UTF-8";
    if (!problem) problem = connection_problem(exchange);
    if (!problem) problem = message_problem(exchange);
    if (!problem) return TC_OK;
    return tc_fail(err, TC_MALFORMED, "an exchange of the transcript %s", problem);
}

/* --- the writer --- */

static void write_optional(struct tc_jsonw *w, const char *key, const char *text)
{
    if (text) tc_jsonw_text(w, key, text);
}

static void write_tls(struct tc_jsonw *w, const struct tc_exchange *exchange)
{
    if (!exchange->tls) return;
    tc_jsonw_object(w, "tls");
    tc_jsonw_text(w, "version", exchange->tls);
    if (exchange->has_certificate) {
        tc_jsonw_hex(w, "certificate", exchange->certificate.bytes, TC_SHA256_SIZE);
        tc_jsonw_hex(w, "anchor", exchange->anchor.bytes, TC_SHA256_SIZE);
    }
    write_optional(w, "ca", exchange->ca);
    tc_jsonw_end_object(w);
}

/* digest: NULL for what was not read. */
static void write_body(struct tc_jsonw *w, const char *key, const struct tc_sha256 *digest,
                       uint64_t size)
{
    tc_jsonw_object(w, key);
    if (digest) tc_jsonw_hex(w, "sha256", digest->bytes, TC_SHA256_SIZE);
    tc_jsonw_u64(w, "size", size);
    tc_jsonw_end_object(w);
}

static void write_fields(struct tc_jsonw *w, const struct tc_exchange *exchange)
{
    tc_jsonw_array(w, "fields");
    for (size_t i = 0; i < exchange->fields_count; i++) {
        tc_jsonw_array(w, NULL);
        tc_jsonw_text(w, NULL, exchange->fields[i].name);
        tc_jsonw_text(w, NULL, exchange->fields[i].value);
        tc_jsonw_end_array(w);
    }
    tc_jsonw_end_array(w);
}

static void write_line(const struct tc_exchange *exchange, struct tc_buf *buf)
{
    struct tc_jsonw w = tc_jsonw_new(buf);
    char time[TC_TIME_TEXT_SIZE];
    bool opaque = exchange->outcome == TC_EXCHANGE_OPAQUE;
    tc_format_time(exchange->time, time);
    tc_jsonw_object(&w, NULL);
    tc_jsonw_u64(&w, "sequence", exchange->sequence);
    tc_jsonw_text(&w, "time", time);
    tc_jsonw_text(&w, "outcome", outcomes[exchange->outcome]);
    write_optional(&w, "scheme", exchange->scheme);
    tc_jsonw_text(&w, "host", exchange->host);
    if (exchange->port > 0) tc_jsonw_u64(&w, "port", exchange->port);
    write_optional(&w, "address", exchange->address);
    write_tls(&w, exchange);
    write_optional(&w, "method", exchange->method);
    write_optional(&w, "url", exchange->url);
    if (exchange->method || opaque)
        write_body(&w, "request", opaque ? NULL : &exchange->request_digest,
                   exchange->request_size);
    if (exchange->status > 0) tc_jsonw_u64(&w, "status", exchange->status);
    if (exchange->fields_count > 0) write_fields(&w, exchange);
    if (exchange->status > 0 || opaque)
        write_body(&w, "response", opaque ? NULL : &exchange->response_digest,
                   exchange->response_size);
    if (exchange->attempts > 0) tc_jsonw_u64(&w, "attempts", exchange->attempts);
    if (exchange->from_archive) tc_jsonw_text(&w, "origin", "archive");
    write_optional(&w, "pinnedBy", exchange->pinned_by);
    write_optional(&w, "reason", exchange->reason);
    tc_jsonw_end_object(&w);
    tc_buf_add_u8(buf, '\n');
}

tc_status tc_exchange_write(const struct tc_exchange *exchange, struct tc_buf *buf,
                            struct tc_error *err)
{
    TC_TRY(check(exchange, err));
    TC_AUTO_BUF struct tc_buf line = tc_buf_new(TC_TRANSCRIPT_LINE_MAX);
    write_line(exchange, &line);
    TC_TRY(tc_buf_check(&line, "a line of the transcript", err));
    tc_buf_add_span(buf, tc_buf_span(&line));
    return tc_buf_check(buf, "the transcript", err);
}

/* --- the reader --- */

static tc_status take_text(const struct tc_json *top, const char *key, char **ret_text,
                           struct tc_error *err)
{
    struct tc_json value;
    if (!tc_json_find(top, key, &value)) return TC_OK;
    return tc_json_copy(&value, TC_TRANSCRIPT_LINE_MAX, ret_text, err);
}

static tc_status take_number(const struct tc_json *top, const char *key, uint64_t max,
                             uint64_t *ret_value, struct tc_error *err)
{
    struct tc_json value;
    if (!tc_json_find(top, key, &value)) return TC_OK;
    return tc_json_u64(&value, max, ret_value, err);
}

static tc_status take_digest(const struct tc_json *top, const char *key,
                             struct tc_sha256 *ret_digest, struct tc_error *err)
{
    struct tc_json value;
    if (!tc_json_find(top, key, &value)) return TC_OK;
    return tc_json_hex(&value, ret_digest->bytes, sizeof ret_digest->bytes, err);
}

static tc_status take_body(const struct tc_json *top, const char *key, struct tc_sha256 *ret_digest,
                           uint64_t *ret_size, struct tc_error *err)
{
    struct tc_json at;
    if (!tc_json_find(top, key, &at)) return TC_OK;
    TC_TRY(tc_json_object(&at, err));
    TC_TRY(take_digest(&at, "sha256", ret_digest, err));
    return take_number(&at, "size", TC_STATEMENT_NUMBER_MAX, ret_size, err);
}

static tc_status take_tls(const struct tc_json *top, struct tc_exchange *exchange,
                          struct tc_error *err)
{
    struct tc_json at, value;
    if (!tc_json_find(top, "tls", &at)) return TC_OK;
    TC_TRY(tc_json_object(&at, err));
    TC_TRY(take_text(&at, "version", &exchange->tls, err));
    exchange->has_certificate = tc_json_find(&at, "certificate", &value);
    TC_TRY(take_digest(&at, "certificate", &exchange->certificate, err));
    TC_TRY(take_digest(&at, "anchor", &exchange->anchor, err));
    return take_text(&at, "ca", &exchange->ca, err);
}

static tc_status take_fields(const struct tc_json *top, struct tc_exchange *exchange,
                             struct tc_error *err)
{
    struct tc_json list;
    size_t count, parts;
    if (!tc_json_find(top, "fields", &list)) return TC_OK;
    TC_TRY(tc_json_array(&list, TC_EXCHANGE_FIELDS_MAX, &count, err));
    for (size_t i = 0; i < count; i++) {
        struct tc_json pair = tc_json_at(&list, i);
        TC_TRY(tc_json_array(&pair, 2, &parts, err));
        if (parts != 2) return tc_json_fail(&pair, err, "must be a name and a value");
        struct tc_json name = tc_json_at(&pair, 0), value = tc_json_at(&pair, 1);
        exchange->fields_count = i + 1;
        TC_TRY(tc_json_copy(&name, TC_TRANSCRIPT_LINE_MAX, &exchange->fields[i].name, err));
        TC_TRY(tc_json_copy(&value, TC_TRANSCRIPT_LINE_MAX, &exchange->fields[i].value, err));
    }
    return TC_OK;
}

static tc_status take_head(const struct tc_json *top, struct tc_exchange *exchange,
                           struct tc_error *err)
{
    struct tc_json value;
    const char *text;
    TC_TRY(take_number(top, "sequence", TC_STATEMENT_NUMBER_MAX, &exchange->sequence, err));
    TC_TRY(tc_json_get(top, "time", &value, err));
    TC_TRY(tc_json_string(&value, TC_TIME_TEXT_SIZE, &text, err));
    if (!tc_parse_time(text, &exchange->time))
        return tc_json_fail(&value, err, "must be a time like 2026-01-02T03:04:05Z");
    TC_TRY(tc_json_get(top, "outcome", &value, err));
    TC_TRY(tc_json_string(&value, 16, &text, err));
    for (size_t i = 1; outcomes[i]; i++)
        if (strcmp(outcomes[i], text) == 0) exchange->outcome = (enum tc_exchange_outcome)i;
    return TC_OK;
}

static tc_status take_all(const struct tc_json *top, struct tc_exchange *exchange,
                          struct tc_error *err)
{
    uint64_t port = 0, status = 0, attempts = 0;
    struct tc_json value;
    TC_TRY(tc_json_object(top, err));
    TC_TRY(take_head(top, exchange, err));
    TC_TRY(take_text(top, "scheme", &exchange->scheme, err));
    TC_TRY(take_text(top, "host", &exchange->host, err));
    TC_TRY(take_number(top, "port", UINT16_MAX, &port, err));
    TC_TRY(take_text(top, "address", &exchange->address, err));
    TC_TRY(take_tls(top, exchange, err));
    TC_TRY(take_text(top, "method", &exchange->method, err));
    TC_TRY(take_text(top, "url", &exchange->url, err));
    TC_TRY(take_body(top, "request", &exchange->request_digest, &exchange->request_size, err));
    TC_TRY(take_number(top, "status", 599, &status, err));
    TC_TRY(take_fields(top, exchange, err));
    TC_TRY(take_body(top, "response", &exchange->response_digest, &exchange->response_size, err));
    TC_TRY(take_number(top, "attempts", ATTEMPTS_MAX, &attempts, err));
    exchange->from_archive = tc_json_find(top, "origin", &value);
    TC_TRY(take_text(top, "pinnedBy", &exchange->pinned_by, err));
    TC_TRY(take_text(top, "reason", &exchange->reason, err));
    exchange->port = (uint16_t)port;
    exchange->status = (unsigned)status;
    exchange->attempts = (unsigned)attempts;
    return TC_OK;
}

static tc_status read_line(const struct tc_json *top, struct tc_span line,
                           struct tc_exchange *exchange, struct tc_error *err)
{
    TC_TRY(take_all(top, exchange, err));
    TC_TRY(check(exchange, err));
    TC_AUTO_BUF struct tc_buf again = tc_buf_new(TC_TRANSCRIPT_LINE_MAX);
    write_line(exchange, &again);
    if (tc_buf_ok(&again) && tc_span_equal(tc_buf_span(&again), line)) return TC_OK;
    return tc_fail(err, TC_MALFORMED,
                   "the line is not spelled as the recorder spells it, or has a key that it does "
                   "not know");
}

tc_status tc_exchange_read(struct tc_span line, struct tc_exchange *ret_exchange,
                           struct tc_error *err)
{
    TC_AUTO_JSON struct tc_json_text *text = NULL;
    TC_TRY(tc_json_parse(line, "the line", TC_TRANSCRIPT_LINE_MAX, &text, err));
    struct tc_json top = tc_json_top(text, "the line");
    struct tc_exchange exchange = {0};
    tc_status status = read_line(&top, line, &exchange, err);
    if (status != TC_OK) {
        tc_exchange_free(&exchange);
        return status;
    }
    *ret_exchange = exchange;
    return TC_OK;
}
