/* What an archive of a build's network knows of each response: one line of
 * archive.jsonl. The worker writes it but for the body's digest and size, which the host
 * adds when it has the body; a replay binds the digest of the whole file, and every line
 * and body that the host then brings is checked against it. Pure.
 *
 *   {"method":"GET","url":"https://...","request":"HEX","status":200,
 *    "fields":[["Content-Type","text/plain"],...],"sha256":"HEX","size":12}
 *
 * url is as the transcript has it; request is the SHA-256 of the request's body. Fields
 * are those that were delivered, without Set-Cookie and without those whose value is not
 * UTF-8. One value has one spelling. Two lines may have one key (tc_exchange_key): their
 * order is the order of the answers, the last one for whoever asks more often. */
#ifndef TC_CORE_ARCHIVE_H
#define TC_CORE_ARCHIVE_H

#include "core/egress.h"
#include "core/http1.h"

enum {
    TC_ARCHIVED_LINE_MAX = TC_EGRESS_PAYLOAD_MAX, /* it must fit into a frame */
    TC_ARCHIVED_MAX = 1 << 18,                    /* lines of one archive */
    TC_ARCHIVE_INDEX_MAX = 256 << 20,             /* bytes of them */
};

struct tc_archived_field {
    char *name, *value;
};
struct tc_archived { /* owns its texts */
    char *method, *url;
    struct tc_sha256 request;
    unsigned status;
    struct tc_archived_field *fields;
    size_t fields_count;
    struct tc_sha256 digest; /* of the body; of nothing while it is not known */
    uint64_t size;
};
void tc_archived_free(struct tc_archived *archived); /* accepts a zeroed one */

/* The line with its LF. */
tc_status tc_archived_write(const struct tc_archived *archived, struct tc_buf *buf,
                            struct tc_error *err) TC_MUST_USE;
/* Strict: what tc_archived_write would not write is TC_MALFORMED. */
tc_status tc_archived_read(struct tc_span line, struct tc_archived *ret_archived,
                           struct tc_error *err) TC_MUST_USE;

/* Adds the fields of a response's head that an archive keeps. */
tc_status tc_archived_keep(struct tc_archived *archived, const struct tc_http_head *head,
                           struct tc_error *err) TC_MUST_USE;

/* All lines of one archive by their keys and digests. */
struct tc_archive_index;
struct tc_archive_index *tc_archive_index_new(void) TC_MUST_USE; /* NULL: no memory */
void tc_archive_index_free(struct tc_archive_index *index);      /* accepts NULL */
/* Bytes of archive.jsonl in any pieces. */
tc_status tc_archive_index_add(struct tc_archive_index *index, struct tc_span bytes,
                               struct tc_error *err) TC_MUST_USE;
/* After the last piece: the digest of all of them. */
tc_status tc_archive_index_finish(struct tc_archive_index *index, struct tc_sha256 *ret_digest,
                                  struct tc_error *err) TC_MUST_USE;
size_t tc_archive_index_count(const struct tc_archive_index *index);
/* Lines of this key, in their order: count of them (0: none) from *ret_first on. */
size_t tc_archive_index_find(const struct tc_archive_index *index, const struct tc_sha256 *key,
                             size_t *ret_first);
const struct tc_sha256 *tc_archive_index_line(const struct tc_archive_index *index, size_t at);

#endif
