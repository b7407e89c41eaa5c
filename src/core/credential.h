/* A credential for one host: a field that the worker adds to each request for that name, and
 * to no other. The build's host brings it in a CREDENTIAL frame (wire.h); it is used
 * upstream only, never given to the build and never written down. Pure.
 *
 *   credential = block host, block name, block value       block: u32 length, bytes
 *
 * What would change how a request is read (Host, framing, what Connection rules) is no
 * credential: the host could make one request out of two. */
#ifndef TC_CORE_CREDENTIAL_H
#define TC_CORE_CREDENTIAL_H

#include "core/egress.h"

enum {
    TC_CREDENTIALS_MAX = 64, /* of one build */
    TC_CREDENTIAL_NAME_MAX = 64,
    TC_CREDENTIAL_VALUE_MAX = 8192,
    TC_CREDENTIAL_MAX = 3 * 4 + TC_HOST_NAME_MAX + TC_CREDENTIAL_NAME_MAX + TC_CREDENTIAL_VALUE_MAX,
};

struct tc_credential { /* one that is kept; owns its texts */
    char *host, *name, *value;
};

struct tc_wire_credential { /* borrows */
    struct tc_span host;    /* tc_host_name_is_good */
    struct tc_span name;    /* a token */
    struct tc_span value;   /* visible characters of ASCII with single spaces or tabs between */
};

/* No message of these holds a value. TC_REFUSED: it is none of the above. */
tc_status tc_wire_credential_check(const struct tc_wire_credential *credential,
                                   struct tc_error *err) TC_MUST_USE;

void tc_wire_credential_encode(const struct tc_wire_credential *credential, struct tc_buf *buf);
/* Checked. */
tc_status tc_wire_credential_decode(struct tc_span payload,
                                    struct tc_wire_credential *ret_credential, struct tc_error *err)
    TC_MUST_USE;

/* The one line of a credential's file: "Name: value", with or without a line's end.
 * TC_MALFORMED for anything else. Not checked. */
tc_status tc_wire_credential_read_line(struct tc_span text, struct tc_span *ret_name,
                                       struct tc_span *ret_value, struct tc_error *err) TC_MUST_USE;

#endif
