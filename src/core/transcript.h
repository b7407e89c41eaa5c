/* The network transcript, network.jsonl: a header line, then one line an
 * exchange, hash-chained. The chain starts with the SHA-256 of the header line
 * (LF included); each further value is SHA-256(previous || line with its LF).
 * A build without network has the header alone: count 0. */
#ifndef TC_CORE_TRANSCRIPT_H
#define TC_CORE_TRANSCRIPT_H

#include "core/digest.h"

#define TC_TRANSCRIPT_HEADER "{\"type\":\"tee-compile/network/1\"}\n"
enum { TC_TRANSCRIPT_LINE_MAX = 65536 };

struct tc_transcript_summary {
    struct tc_sha256 last;   /* last value of the chain */
    struct tc_sha256 digest; /* of the whole file */
    uint64_t count;          /* exchanges */
};

/* Streaming check of a transcript's bytes. */
struct tc_transcript_reader;
struct tc_transcript_reader *tc_transcript_reader_new(void) TC_MUST_USE; /* NULL: no memory */
void tc_transcript_reader_free(struct tc_transcript_reader *reader);
tc_status tc_transcript_reader_add(struct tc_transcript_reader *reader, struct tc_span bytes,
                                   struct tc_error *err) TC_MUST_USE;
tc_status tc_transcript_reader_finish(struct tc_transcript_reader *reader,
                                      struct tc_transcript_summary *ret, struct tc_error *err)
    TC_MUST_USE;

#endif
