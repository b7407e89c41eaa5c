/* The relying party: judges a bundle offline, and (attestation.h, included
 * here) a bare document; the one header of the verifier. No global state, thread-safe,
 * bounded memory; reads the bundle once from start to end. Every check ends in
 * the list with what was expected and what was seen; the first thing that is
 * wrong with evidence does not hide the others where they can still be judged. */
#ifndef TC_VERIFY_VERIFY_H
#define TC_VERIFY_VERIFY_H

#include "core/nitrodoc.h"
#include "core/policy.h"
#include "core/statement.h"
#include "core/transcript.h"
#include "verify/attestation.h" /* bare documents: part of the library's one header */
#include "verify/trust.h"

enum tc_check_result {
    TC_CHECK_PASS,
    TC_CHECK_FAIL,
    TC_CHECK_NOT_ASKED, /* what the caller gave nothing to compare with */
    TC_CHECK_ALLOWED,   /* would fail, but an --allow option accepts it */
    TC_CHECK_NOT_JUDGED, /* what it needs is missing or cannot be read: never a yes */
};
struct tc_check {
    const char *name; /* stable: "document", "chain", "statement", "pcr16", ... */
    enum tc_check_result result;
    char *expected, *seen; /* owned, printable */
};

enum tc_verdict_kind {
    TC_VERDICT_AUTHENTIC,   /* exit 0: every check passed; hardware */
    TC_VERDICT_DEVELOPMENT, /* exit 0: every check passed, but the root is one named by --root, or
                               the enclave ran in debug mode, which its host can read; or the live
                               bundle that a replayed one stands on came to no more than that */
    TC_VERDICT_REFUSED,     /* exit 1 */
    TC_VERDICT_UNDECIDED,   /* exit 2: it could not be read, or something was not judged */
};

struct tc_artifact {
    const char *path;
    struct tc_sha256 digest; /* computed by the caller */
};

/* PCR values that the caller compares with (--pcr). */
struct tc_pcrs_asked {
    uint32_t asked; /* bit i: value[i] is given */
    struct tc_sha384 value[TC_NITRODOC_PCRS];
};

/* A live bundle that was verified, to judge a replayed one by (live.c). */
struct tc_live;

struct tc_verify_options {
    struct tc_span root;    /* DER; the AWS root when empty */
    bool allow_unmeasured;
    bool allow_debug;
    bool allow_unauthenticated; /* what came without TLS, or was relayed unread */
    bool allow_replayed;
    bool transcript_alone; /* nobody asks for the outputs, which may be missing */
    const struct tc_live *live; /* borrowed; NULL: none. Each answer must be in it */
    const char *live_problem;   /* why the live bundle counts for nothing; NULL: it does */
    /* Gets each exchange of the transcript as it passes, before the verdict is known. NULL:
     * nobody asks. */
    void *tell_context;
    tc_status (*tell)(void *context, const struct tc_exchange *exchange, struct tc_error *err);
    const struct tc_artifact *artifacts;
    size_t artifacts_count;
    bool compare_source;
    struct tc_sha256 source; /* digest of --source, computed by the caller */
    /* In place of source: computes it once the statement is known, which says what
     * kind of source it was and where its build file is. NULL: source holds. A
     * failure leaves the check not judged. */
    void *source_context;
    tc_status (*source_digest)(void *context, const struct tc_statement *statement,
                               struct tc_sha256 *ret_digest, struct tc_error *err);
    /* Asked between pieces of the bundle; an error ends the reading. NULL: nobody asks. */
    void *go_on_context;
    tc_status (*go_on)(void *context, struct tc_error *err);
    const char *commit;      /* hex, 40 digits; NULL: not asked */
    bool compare_nonce;
    struct tc_span nonce;
    const struct tc_pcrs_asked *pcrs_asked; /* NULL: none */
    bool compare_age;
    uint64_t max_age; /* seconds */
    int64_t now;      /* seconds since the epoch, by the caller's clock; 0: no clock */
    const struct tc_trust *trust; /* borrowed; NULL: no list and no image is trusted */
    const struct tc_policy *policy; /* NULL: none */
    /* Receives each output's bytes as they pass, before the verdict is known;
     * the caller keeps them only if it is good. NULL: nobody wants them. */
    void *extract_context;
    tc_status (*extract_begin)(void *context, const char *path, bool executable,
                               struct tc_error *err);
    tc_status (*extract_data)(void *context, struct tc_span bytes, struct tc_error *err);
    tc_status (*extract_end)(void *context, struct tc_error *err);
};

/* The entry that makes the image trusted. */
struct tc_image_fact {
    bool known; /* else nothing below holds */
    char name[TC_IMAGE_NAME_MAX + 1];
    char version[TC_IMAGE_NAME_MAX + 1]; /* may be empty for the user's own */
    struct tc_sha384 pcr0;
    bool has_recipe;
    struct tc_sha256 recipe;
    bool own; /* the user's own word; else by a list: */
    char signer[TC_SHA256_HEX];
    uint64_t sequence;
    int64_t issued, next_update;
    bool stale; /* next_update is past */
};

enum { TC_WARNINGS_MAX = 16 };

struct tc_verdict {
    enum tc_verdict_kind kind;
    bool hardware;  /* only for the pinned AWS root, of the live bundle too where one counts */
    bool weak_live; /* why it is not, though its own signer is AWS: the live bundle is none */
    struct tc_check *checks;
    size_t checks_count;
    struct tc_statement statement; /* zeroed when it could not be read */
    bool have_statement;
    uint64_t signed_at; /* milliseconds, the document's; 0 when it could not be read */
    char reason[TC_ERROR_MAX]; /* of the first failure, else of the first check not judged */
    bool reason_is_weak;       /* the latter */
    struct tc_image_fact image;
    char *warnings[TC_WARNINGS_MAX]; /* owned, printable; refuse nothing */
    size_t warnings_count;
};
void tc_verdict_free(struct tc_verdict *verdict);

/* fd is read from where it stands to its end. Always fills ret_verdict; the
 * status is TC_OK for any verdict and an error only when memory ran out. */
tc_status tc_verify_bundle(int fd, const struct tc_verify_options *options,
                           struct tc_verdict *ret_verdict, struct tc_error *err) TC_MUST_USE;

/* Verifies a bundle by the trust in options (root, images, PCRs, what is allowed of the
 * enclave); what they compare with is not asked of it. TC_REFUSED: it is not good, or
 * itself replayed; TC_UNAVAILABLE: it could not be read. */
tc_status tc_live_read(int fd, const struct tc_verify_options *options, struct tc_live **ret_live,
                       struct tc_error *err) TC_MUST_USE;
void tc_live_free(struct tc_live *live); /* accepts NULL */

/* One row of what a transcript comes to. Owned. */
struct tc_host_traffic {
    char *host;         /* "(others)" for those that found no room */
    uint64_t exchanges; /* attempts that were denied or failed among them */
    uint64_t bytes;     /* of the bodies that came from there */
    uint64_t bodies, pinned; /* of them by a file of the source */
    uint64_t denied;
    bool plain_http, opaque; /* one time at least */
};
enum { TC_TRAFFIC_HOSTS_MAX = 256 };
void tc_host_traffic_free(struct tc_host_traffic *hosts, size_t count); /* accepts NULL */

/* What a bundle says, trusting nothing: reads statement and document without
 * judging them. */
struct tc_bundle_view {
    struct tc_statement statement;
    struct tc_buf statement_json;
    struct tc_buf document;
    bool detached; /* no outputs in it */
    struct tc_host_traffic *hosts; /* of its transcript, most bytes first */
    size_t hosts_count;
    struct tc_error transcript_error; /* status TC_OK: it could be read */
};
void tc_bundle_view_free(struct tc_bundle_view *view);
tc_status tc_bundle_view_read(int fd, struct tc_bundle_view *ret_view, struct tc_error *err)
    TC_MUST_USE;

#endif
