/* release.tar: a deterministic pax tar (POSIX.1-2001), reader and writer of one
 * exact form. Members in strictly ascending byte order of their names; regular
 * files only; mtime 0, uid and gid 0, empty user and group names, mode 0644 or
 * 0755; a pax 'x' header with the single record "path" only where the name does
 * not fit the 100-byte field, and "size" only where it passes 8 GiB; two zero
 * blocks at the end and nothing after them (no padding to 10 KiB). GNU tar,
 * bsdtar and Python read it. The reader accepts that form and no other: links,
 * devices, sparse and GNU members, other pax records, repeated names, names
 * that leave the tree and trailing bytes are TC_MALFORMED. Pure: bytes in,
 * bytes out; the caller owns files. */
#ifndef TC_CORE_BUNDLE_H
#define TC_CORE_BUNDLE_H

#include "core/entry.h"

#define TC_BUNDLE_BUILD_FILE "attestation/build.json"
#define TC_BUNDLE_LOG "attestation/build.log"
#define TC_BUNDLE_DOCUMENT "attestation/document.cbor"
#define TC_BUNDLE_ENVELOPE "attestation/envelope.dsse.json"
#define TC_BUNDLE_TRANSCRIPT "attestation/network.jsonl"
#define TC_BUNDLE_STATEMENT "attestation/statement.json"
#define TC_BUNDLE_OUTPUTS "outputs/"

enum {
    TC_BUNDLE_BLOCK = 512,
    TC_BUNDLE_MEMBERS_MAX = 16384,
    TC_BUNDLE_HEADER_MAX = 3 * TC_BUNDLE_BLOCK + 8192, /* of one member, written */
};

struct tc_bundle_member {
    struct tc_span name; /* safe path (entry.h), UTF-8 */
    bool executable;
    uint64_t size; /* at most TC_FILE_SIZE_MAX */
};

/* Appends the header blocks of a member. The caller then writes size bytes and
 * tc_bundle_padding(size) zero bytes. */
tc_status tc_bundle_write_header(const struct tc_bundle_member *member, struct tc_buf *buf,
                                 struct tc_error *err) TC_MUST_USE;
size_t tc_bundle_padding(uint64_t size); /* 0 to 511 */
enum { TC_BUNDLE_END_SIZE = 2 * TC_BUNDLE_BLOCK }; /* zero bytes that end the tar */

/* Push reader: feed it bytes in pieces of any size; it calls back. A callback
 * that returns an error stops it. Constant memory. */
struct tc_bundle_handler {
    void *context;
    tc_status (*begin)(void *context, const struct tc_bundle_member *member, struct tc_error *err);
    tc_status (*data)(void *context, struct tc_span bytes, struct tc_error *err);
    tc_status (*end)(void *context, struct tc_error *err); /* of a member */
};
struct tc_bundle_reader;
struct tc_bundle_reader *tc_bundle_reader_new(const struct tc_bundle_handler *handler) TC_MUST_USE;
void tc_bundle_reader_free(struct tc_bundle_reader *reader); /* accepts NULL */
tc_status tc_bundle_reader_add(struct tc_bundle_reader *reader, struct tc_span bytes,
                               struct tc_error *err) TC_MUST_USE;
/* TC_MALFORMED when the tar is not complete. */
tc_status tc_bundle_reader_finish(struct tc_bundle_reader *reader, struct tc_error *err)
    TC_MUST_USE;

#endif
