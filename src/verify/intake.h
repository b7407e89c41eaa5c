/* Takes a bundle in, once and from start to end: keeps the small members, hashes
 * the large ones, and compares outputs with the statement, which stands before
 * them in a bundle's order. It judges nothing; it says what is there. */
#ifndef TC_VERIFY_INTAKE_H
#define TC_VERIFY_INTAKE_H

#include "verify/traffic.h"

struct tc_intake_file { /* a member that is only hashed */
    bool present;
    struct tc_sha256 digest;
    uint64_t size;
};

enum tc_output_state {
    TC_OUTPUT_ABSENT = 0,
    TC_OUTPUT_GOOD,
    TC_OUTPUT_BAD, /* other bytes, size or mode than the statement's */
};

struct tc_intake {
    bool has_document, has_envelope, has_statement, has_transcript; /* the member is there */
    struct tc_buf document, envelope, statement_json;
    struct tc_intake_file build_file, log;

    bool statement_read; /* statement holds what the bytes say */
    struct tc_statement statement;
    struct tc_error statement_error; /* else why not */

    bool transcript_read;
    struct tc_transcript_summary transcript;
    struct tc_error transcript_error;
    struct tc_traffic traffic; /* holds once the transcript is read */

    enum tc_output_state *outputs; /* one a subject, once the statement is read */
    size_t outputs_count;          /* members below outputs/ */
    size_t problems;               /* outputs that are bad or that no subject names */
    char first_problem[256];       /* printable */
    size_t strangers;              /* members that have no place in a bundle */
    char first_stranger[256];      /* printable */

    /* what the run needs while it lasts */
    const struct tc_verify_options *options;
    struct tc_hash *hash;
    struct tc_transcript_reader *transcript_reader;
    int member;
    struct tc_subject *subject; /* of the output at hand; NULL: none names it, or its size differs */
    bool executable;
    uint64_t size;
};

/* TC_MALFORMED: no bundle, or a broken one; TC_REFUSED: a large member that no bundle
 * can have, read no further; TC_SYSTEM: it cannot be read. Even
 * then the intake holds what came before and must be freed. options may be NULL. */
tc_status tc_intake_read(int fd, const struct tc_verify_options *options, struct tc_intake *intake,
                         struct tc_error *err) TC_MUST_USE;
void tc_intake_free(struct tc_intake *intake);

#endif
