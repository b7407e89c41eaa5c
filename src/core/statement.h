/* The report itself: an in-toto Statement v1 whose predicate is SLSA v1
 * provenance (https://in-toto.io/Statement/v1, https://slsa.dev/provenance/v1).
 * Writer and reader stand together here. The monitor fills the parts, each one
 * once; the verifier reads the bytes that were signed and never writes them
 * again. The shape of the JSON is in docs/formats.md. */
#ifndef TC_CORE_STATEMENT_H
#define TC_CORE_STATEMENT_H

#include "core/buildspec.h"
#include "core/entry.h"
#include "core/imagetext.h"
#include "core/wire.h"

#define TC_STATEMENT_TYPE "https://in-toto.io/Statement/v1"
#define TC_PREDICATE_TYPE "https://slsa.dev/provenance/v1"
#define TC_BUILD_TYPE "urn:tee-compile:build:1"
#define TC_BUILDER_ID "urn:tee-compile:worker:1"

/* The largest number in a statement: larger ones are not the same in every reader
 * of JSON, many of which know only doubles. */
#define TC_STATEMENT_NUMBER_MAX (((uint64_t)1 << 53) - 1)

enum {
    TC_STATEMENT_MAX = 16 << 20,  /* bytes of the JSON */
    TC_STATEMENT_VALUES_MAX = 400000, /* JSON values, for the readers */
    TC_SUBJECTS_MAX = 10000,      /* outputs of one build */
    TC_COLLECTED_MAX = 4096,      /* bytes kept of one collected output */
    TC_TAGS_MAX = 64,
    TC_ENVIRONMENT_MAX = 512,
    TC_VERSION_TEXT_MAX = 64,
    TC_DEPENDENCIES_MAX = 16384,    /* different bodies that one build was given */
    TC_DEPENDENCY_URL_MAX = 32768,  /* bytes */
    TC_UNAUTHENTICATED_MAX = 1024,  /* hosts of one list */
};

/* Each struct below owns its strings; counts go with their arrays. */

struct tc_part_source { /* set after unpacking */
    enum tc_source_kind kind;
    struct tc_sha256 digest; /* manifest.h */
    uint64_t files;
    uint64_t bytes;
    bool has_commit; /* only for a clean git source */
    struct tc_sha1 commit;
    struct tc_sha1 tree;
    int64_t epoch;     /* SOURCE_DATE_EPOCH */
    char *repository;  /* claimed, may be NULL */
    char *ref;         /* claimed, may be NULL */
    char *backend;     /* the same: what the host says that it started the worker with */
    char **tags;       /* "name id", chosen by the builder; only with source.git */
    size_t tags_count;
};

struct tc_part_recipe { /* from build.json of the received tree */
    char *build_file;   /* its path */
    struct tc_sha256 build_file_digest;
    char *language;
    char *image; /* may be NULL */
    char *command;
    char *vendor; /* may be NULL */
    char *folder;
    char **environment; /* complete, as the command sees it, sorted */
    size_t environment_count;
    char **outputs; /* the patterns */
    size_t outputs_count;
    struct tc_limits limits;
    enum tc_network_mode network;
};

struct tc_collected { /* information asked for by input.collect, said by the build */
    char *name;
    char *command;
    char *output; /* UTF-8, escaped where it was not, cut at TC_COLLECTED_MAX */
};

struct tc_subject {
    char *path; /* as in build.json, safe, UTF-8 */
    bool executable;
    uint64_t size;
    struct tc_sha256 digest;
};

struct tc_part_log {
    bool present; /* false with --no-log */
    struct tc_sha256 digest;
    uint64_t size;
};

/* How the connections of the build come to the recorder. */
enum tc_hijack {
    TC_HIJACK_NONE = 0, /* not at all: the build was offline */
    TC_HIJACK_NFTABLES, /* every TCP port is redirected */
    TC_HIJACK_ANYIP,    /* listeners on the usual ports; others are closed */
};

struct tc_extra_ca {         /* a trust anchor of the source that counted for one host */
    char *host;              /* as in build.json: a name, or "*." and one */
    char *path;              /* in the source */
    struct tc_sha256 digest; /* of the file */
};

struct tc_part_network {         /* of the recorder, never of the session; zeroed: offline */
    struct tc_sha256 build_file; /* of the build.json whose rules it kept; the monitor compares
                                    it, it is written nowhere */
    enum tc_hijack hijack;
    bool replayed;            /* answers came from an archive of the host and from nowhere else */
    struct tc_sha256 archive; /* of its archive.jsonl, when replayed */
    bool has_denied;          /* the toolchain has a deny list (core/denied.h) */
    uint64_t denied_count;    /* its entries, and the digest of its text; else zero */
    struct tc_sha256 denied;
    struct tc_extra_ca *ca;   /* all of build.json, sorted by host, no two alike */
    size_t ca_count;
    char **plain_http; /* hosts that answered without TLS; sorted, no two alike */
    size_t plain_http_count;
    char **opaque; /* "host:port" that was relayed unread; the same */
    size_t opaque_count;
};

struct tc_part_witness { /* of the recorder: it read the ref itself over verified TLS */
    char *repository;    /* NULL: it did not; https URL */
    char *ref;
    struct tc_sha1 commit; /* that the ref named; the monitor compares it, it is written nowhere */
};

struct tc_dependency { /* a body that the build was given: one for a URL and digest */
    char *url;         /* as in the transcript */
    struct tc_sha256 digest;
    uint64_t size;
    bool from_archive;
    bool unauthenticated; /* by plain HTTP, one time at least */
    char *pinned_by; /* the file of the source that names the digest; NULL: none */
};

struct tc_part_transcript {
    struct tc_sha256 last; /* transcript.h */
    uint64_t count;
    struct tc_sha256 digest; /* of network.jsonl */
};

struct tc_part_platform { /* asked from the NSM by the monitor itself */
    struct tc_sha384 pcr[3];
    bool measured; /* false when PCR0 is the constant of an unmeasured toolchain */
    unsigned cpus;
    char architecture[16]; /* "x86_64" */
    char version[TC_VERSION_TEXT_MAX]; /* of tee-compile */
    uint8_t invocation[16];            /* random, from the NSM */
};

struct tc_part_image { /* of the image's text (imagetext.h); nothing unless measured */
    char *name;
    struct tc_sha256 recipe;
    struct tc_image_package *packages;
    size_t packages_count;
};

struct tc_statement {
    struct tc_part_platform platform;
    struct tc_part_image image;
    struct tc_part_source source;
    struct tc_part_recipe recipe;
    uint8_t nonce[TC_WIRE_NONCE_MAX];
    size_t nonce_size;
    struct tc_collected *collected;
    size_t collected_count;
    struct tc_subject *subjects; /* sorted by path, no two alike */
    size_t subjects_count;
    struct tc_part_log log;
    struct tc_part_network network;
    struct tc_part_witness witness;
    struct tc_dependency *dependencies; /* sorted by URL, then digest; no two alike */
    size_t dependencies_count;
    struct tc_part_transcript transcript;
    int64_t started;  /* seconds since the epoch, of the first command */
    int64_t finished; /* when the last process of the build was dead */
};
#define TC_AUTO_STATEMENT TC_CLEANUP(tc_statement_free)

void tc_part_source_free(struct tc_part_source *part);
void tc_part_recipe_free(struct tc_part_recipe *part);
void tc_part_image_free(struct tc_part_image *part);
void tc_part_network_free(struct tc_part_network *part);
void tc_part_witness_free(struct tc_part_witness *part);
void tc_dependencies_free(struct tc_dependency *list, size_t count); /* accepts NULL */
void tc_statement_free(struct tc_statement *statement); /* accepts NULL and a zeroed one */

/* Writes the JSON: compact, keys in a fixed order, one byte string for one
 * statement. TC_LIMIT past TC_STATEMENT_MAX. */
tc_status tc_statement_write(const struct tc_statement *statement, struct tc_buf *buf,
                             struct tc_error *err) TC_MUST_USE;

/* Everything a statement must be whoever made it: safe paths, order, bounds.
 * The writer asks it before it writes and the reader after it has read. */
tc_status tc_statement_check(const struct tc_statement *statement, struct tc_error *err)
    TC_MUST_USE;

/* Reads it strictly: unknown types, missing or unknown fields, bad digests,
 * unsorted or repeated subjects are TC_MALFORMED. */
tc_status tc_statement_read(struct tc_span json, struct tc_statement *ret_statement,
                            struct tc_error *err) TC_MUST_USE;

/* May an output have this name? A safe path (entry.h) in UTF-8 without control
 * characters, so that it stands in a tar, on a terminal and in a line. The
 * writer, the reader and the bundle refuse other names. */
bool tc_output_name_is_good(struct tc_span name) TC_MUST_USE;

/* The output digest: SHA-256 over what `sha256sum` prints for the subjects in
 * order ("<hex>  <path>\n"; a path with a backslash as sha256sum escapes it). */
tc_status tc_statement_output_digest(const struct tc_statement *statement,
                                     struct tc_sha256 *ret_digest, struct tc_error *err)
    TC_MUST_USE;

/* What PCR16 is extended with before the command (DESIGN: bound before the
 * build): SHA-384 over the source digest, the build file's path and digest,
 * the limits and the nonce, in the text form that docs/formats.md gives. */
tc_status tc_statement_binding(const struct tc_statement *statement, struct tc_sha384 *ret_binding,
                               struct tc_error *err) TC_MUST_USE;

#endif
