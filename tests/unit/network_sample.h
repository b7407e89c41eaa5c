/* Bundles of builds with a network, on top of bundle_sample.h. */
#ifndef TC_TESTS_NETWORK_SAMPLE_H
#define TC_TESTS_NETWORK_SAMPLE_H

#include "bundle_sample.h"
#include "core/transcript.h"

/* One answer, by its few words: "https", "http" or "opaque"; the path of its URL at
 * host; pinned_by may be NULL. digest fills the response's, whose size is 5 (0: no body). */
struct sample_answer {
    const char *scheme, *host, *path;
    uint8_t digest;
    const char *pinned_by;
    unsigned status;      /* 0: 200 with a body, else 404 */
    const char *location; /* NULL: none */
    const char *date;     /* the same */
    uint8_t question;     /* fills the request's digest */
    bool cut;             /* by the build */
    bool failed;          /* no answer came */
    const char *ca;       /* path in the source; NULL: an anchor of the image */
};

/* Makes the statement and the transcript those of a build that got these answers, in mode
 * "record"; archive: replayed from one. For a sample_change before the signing. */
void sample_network(struct sample_parts *parts, const struct sample_answer *answers, size_t count,
                    bool archive);

/* Writes the exchanges anew: transcript, count, last and digest; nothing else changes. */
void sample_transcript(struct sample_parts *parts, const struct sample_answer *answers,
                       size_t count, bool archive);

#endif
