/* user_data of the NSM document: a small JSON map of at most 512 bytes,
 *   {"type":"tee-compile/build/1","statement":"<sha256>","input":"<sha256>",
 *    "output":"<sha256>","commit":"<sha1>"}
 * with these keys in this order, no white space, commit absent when the source
 * carries none. Any other bytes are refused. */
#ifndef TC_CORE_USERDATA_H
#define TC_CORE_USERDATA_H

#include "core/digest.h"

struct tc_userdata {
    struct tc_sha256 statement; /* of the statement's bytes */
    struct tc_sha256 input;     /* source digest */
    struct tc_sha256 output;    /* tc_statement_output_digest */
    bool has_commit;
    struct tc_sha1 commit;
};
void tc_userdata_write(const struct tc_userdata *data, struct tc_buf *buf);
tc_status tc_userdata_read(struct tc_span bytes, struct tc_userdata *ret_data,
                           struct tc_error *err) TC_MUST_USE;

#endif
