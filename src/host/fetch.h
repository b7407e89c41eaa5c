/* Fetches one file by its URL. What comes back is hostile until its digest has been
 * compared; who asks knows the digest, or judges the bytes by what they are. */
#ifndef TC_HOST_FETCH_H
#define TC_HOST_FETCH_H

#include "core/digest.h"

struct tc_fetch {
    const char *url;    /* https: and file:; http: only with allow_http */
    uint64_t max_size;  /* bytes; more is TC_LIMIT, whatever the server announces */
    bool allow_http;    /* for bytes whose digest is known beforehand */
    const struct tc_sha256 *expected; /* TC_REFUSED unless it is that; may be NULL */
    void *context;
    /* total 0: not known. A failure ends the transfer and is passed on. May be NULL. */
    tc_status (*on_progress)(void *context, uint64_t done, uint64_t total, struct tc_error *err);
};

/* Streams it into fd from where fd is, hashing on the way; ret_digest and ret_size
 * may be NULL. TC_UNAVAILABLE: no such file, or the server cannot be reached; the
 * message names the URL without what stands before an "@" in it. Redirects are
 * followed, at most 5 and never from https to http. What was written before a
 * failure is the caller's to throw away. */
tc_status tc_fetch_to(const struct tc_fetch *fetch, int fd, struct tc_sha256 *ret_digest,
                      uint64_t *ret_size, struct tc_error *err) TC_MUST_USE;

#endif
