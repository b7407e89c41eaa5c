/* What commands trust: the user's trust store and what this program carries. */
#ifndef TC_CMD_TRUST_H
#define TC_CMD_TRUST_H

#include "verify/truststore.h"

/* $XDG_DATA_HOME/tee-compile/trust, else $HOME/.local/share/tee-compile/trust;
 * without either an empty store that nothing can be put into. */
tc_status tc_open_trust(struct tc_truststore **ret_store, struct tc_error *err) TC_MUST_USE;

/* A list of at most TC_IMAGELIST_ENVELOPE_MAX bytes; a PEM file of a signer. */
tc_status tc_read_list_file(const char *path, struct tc_buf *ret_content, struct tc_error *err)
    TC_MUST_USE;
tc_status tc_read_signer_file(const char *path, struct tc_buf *ret_pem, struct tc_error *err)
    TC_MUST_USE;

/* 1 to 2^53 - 1. */
bool tc_parse_list_version(const char *text, uint64_t *ret_version) TC_MUST_USE;

/* Options of commands that judge images. */
struct tc_trust_request {
    const char *images;     /* --images; NULL: what is in the store */
    const char *images_key; /* --images-key; only with images */
    uint64_t min_version;   /* --min-list-version; 0: not asked */
};
tc_status tc_load_trust(const struct tc_trust_request *request, struct tc_trust *ret_trust,
                        struct tc_error *err) TC_MUST_USE;

#endif
