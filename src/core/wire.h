/* The session between host and worker: frames over one stream, both ways.
 *
 *   frame = kind:u8 zero:u8 zero:u8 zero:u8 size:u32 payload      big-endian
 *
 * host -> worker                              worker -> host
 *   HELLO                                       ACCEPT
 *   CREDENTIAL*                                 PHASE*
 *   BUILD_FILE
 *   source (below)
 *   SOURCE_END                                  LOG*            while commands run
 *   (nothing more)                              MEMBER DATA*    each attestation member
 *                                               OUTPUT DATA*    each output, sorted
 *                                               DONE
 *                                               or, at any point instead: FAIL
 *
 * A git source: COMMIT-object, then its tree depth first, each object right
 * where its parent names it, so that the worker checks every id as it comes:
 *   OBJECT(commit) DATA*  OBJECT(tree) DATA*
 *     for each entry, in the order of entry.h:
 *       folder     OBJECT(tree) DATA* ... (recursion)
 *       file, link OBJECT(blob) DATA*   and, when the blob is a git LFS pointer,
 *                  OBJECT(lfs) DATA*    the content that it names
 *       submodule  OBJECT(commit) DATA* OBJECT(tree) ..., or OMITTED
 *   and, where build.json asks for source.git, for each tag that names the commit:
 *   TAG, and for an annotated one OBJECT(tag) DATA*
 * A plain source: ENTRY, and DATA* after each file, in the order of entry.h.
 *
 * BUILD_FILE announces build.json before the source, so that limits stand before
 * the first byte of it is unpacked; the worker goes by the file in the received
 * tree and refuses a source whose file is not the announced one.
 *
 * The number of DATA bytes is exactly the size announced; a DATA frame holds 1
 * to TC_WIRE_DATA_MAX bytes; end of stream is explicit, never a hang-up. An
 * unknown kind, a kind out of its place, a non-zero zero byte, a payload over
 * its kind's cap: the receiver ends the session. */
#ifndef TC_CORE_WIRE_H
#define TC_CORE_WIRE_H

#include "core/digest.h"
#include "core/entry.h"

enum tc_wire_kind {
    TC_WIRE_HELLO = 1,
    TC_WIRE_OBJECT = 2,
    TC_WIRE_ENTRY = 3,
    TC_WIRE_OMITTED = 4,
    TC_WIRE_DATA = 5,
    TC_WIRE_TAG = 6,
    TC_WIRE_SOURCE_END = 7,
    TC_WIRE_BUILD_FILE = 8,
    TC_WIRE_CREDENTIAL = 9, /* credential.h */

    TC_WIRE_ACCEPT = 32,
    TC_WIRE_PHASE = 33,
    TC_WIRE_LOG = 34,
    TC_WIRE_FAIL = 35,
    TC_WIRE_MEMBER = 36,
    TC_WIRE_OUTPUT = 37,
    TC_WIRE_DONE = 38,
};

enum {
    TC_WIRE_VERSION = 3,
    TC_WIRE_HEADER_SIZE = 8,
    TC_WIRE_DATA_MAX = 65536,
    TC_WIRE_PAYLOAD_MAX = TC_WIRE_DATA_MAX, /* of any kind */
    TC_WIRE_NONCE_MAX = 64,
    TC_WIRE_TEXT_MAX = 1024,
    TC_WIRE_BACKEND_MAX = 16,
};

struct tc_wire_header {
    enum tc_wire_kind kind;
    uint32_t size;
};

void tc_wire_header_encode(enum tc_wire_kind kind, uint32_t size,
                           uint8_t out[TC_WIRE_HEADER_SIZE]);
/* Checks the kind, the zero bytes and the kind's cap. */
tc_status tc_wire_header_decode(const uint8_t bytes[TC_WIRE_HEADER_SIZE],
                                struct tc_wire_header *ret_header, struct tc_error *err)
    TC_MUST_USE;

enum tc_source_kind { TC_SOURCE_GIT = 1, TC_SOURCE_TREE = 2 };

/* Spans of a decoded message borrow from the payload. */
struct tc_wire_hello {
    enum tc_source_kind source;
    bool no_log;
    bool git_folder; /* build.json asks for source.git: tags follow the tree; must match it */
    bool archive;    /* the host keeps each response of the network (egress.h, STORE) */
    bool replay;     /* it answers for the network out of an archive; never both */
    struct tc_sha256 replayed; /* of the archive's index; zero without replay */
    struct tc_span nonce;      /* 0 to TC_WIRE_NONCE_MAX bytes */
    struct tc_span build_file; /* path in the source, "build.json" by default */
    struct tc_span repository; /* claimed by the host; may be empty; UTF-8 */
    struct tc_span ref;        /* the same */
    struct tc_span backend;    /* the same; a word, may be empty */
};
void tc_wire_hello_encode(const struct tc_wire_hello *hello, struct tc_buf *buf);
tc_status tc_wire_hello_decode(struct tc_span payload, struct tc_wire_hello *ret_hello,
                               struct tc_error *err) TC_MUST_USE;

enum tc_object_kind {
    TC_OBJECT_COMMIT = 1,
    TC_OBJECT_TREE = 2,
    TC_OBJECT_BLOB = 3,
    TC_OBJECT_TAG = 4,
    TC_OBJECT_LFS = 5,
};
struct tc_wire_object {
    enum tc_object_kind kind;
    uint64_t size; /* at most TC_FILE_SIZE_MAX */
};
void tc_wire_object_encode(const struct tc_wire_object *object, struct tc_buf *buf);
tc_status tc_wire_object_decode(struct tc_span payload, struct tc_wire_object *ret_object,
                                struct tc_error *err) TC_MUST_USE;

/* name is the part after refs/tags/. A lightweight tag names the commit
 * itself; an annotated one is followed by its tag object. */
struct tc_wire_tag {
    bool annotated;
    struct tc_sha1 id;
    struct tc_span name;
};
void tc_wire_tag_encode(const struct tc_wire_tag *tag, struct tc_buf *buf);
tc_status tc_wire_tag_decode(struct tc_span payload, struct tc_wire_tag *ret_tag,
                             struct tc_error *err) TC_MUST_USE;

enum tc_phase {
    TC_PHASE_RECEIVE = 1,
    TC_PHASE_COLLECT_INFO = 2,
    TC_PHASE_VENDOR = 3,
    TC_PHASE_COMMAND = 4,
    TC_PHASE_OUTPUTS = 5,
    TC_PHASE_SIGN = 6,
    TC_PHASE_SEND = 7,
};

/* The members of attestation/ that the worker sends, in this order. The log is
 * not among them: the host keeps the bytes of the LOG frames. */
enum tc_member {
    TC_MEMBER_BUILD_FILE = 1, /* attestation/build.json */
    TC_MEMBER_DOCUMENT = 2,
    TC_MEMBER_ENVELOPE = 3,
    TC_MEMBER_TRANSCRIPT = 4,
    TC_MEMBER_STATEMENT = 5,
};
struct tc_wire_member {
    enum tc_member member;
    uint64_t size;
};
void tc_wire_member_encode(const struct tc_wire_member *member, struct tc_buf *buf);
tc_status tc_wire_member_decode(struct tc_span payload, struct tc_wire_member *ret_member,
                                struct tc_error *err) TC_MUST_USE;

/* FAIL: the status and a message in UTF-8 of at most TC_WIRE_TEXT_MAX bytes.
 * Decoding sets err to them and returns the status (never TC_OK). */
void tc_wire_fail_encode(const struct tc_error *error, struct tc_buf *buf);
tc_status tc_wire_fail_decode(struct tc_span payload, struct tc_error *err) TC_MUST_USE;

#endif
