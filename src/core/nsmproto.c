/* Every message is one CBOR item. A request or answer with arguments is a map of
 * one pair, name -> map of arguments; one without arguments is the bare name.
 * The name decides which arguments may follow, each once, all of the required
 * ones. Maps may be of indefinite length on the way back: the firmware writes
 * such maps elsewhere. */
#include "core/nsmproto.h"

#include "core/cbor.h"

static const char *const op_names[] = {
    "DescribePCR", "ExtendPCR", "LockPCR", "DescribeNSM", "Attestation", "GetRandom", NULL,
};
static const char error_name[] = "Error";

enum {
    NAME_MAX_SIZE = 32,
    ARGUMENTS_MAX = 8,
    /* Version numbers and the like: what an u16 of the NSM's API holds. */
    SMALL_MAX = UINT16_MAX,
};

static const char *name_of(enum tc_nsm_op op)
{
    return op_names[op - TC_NSM_DESCRIBE_PCR];
}

static bool op_of_name(struct tc_span name, enum tc_nsm_op *ret_op)
{
    for (unsigned i = 0; op_names[i]; i++) {
        if (!tc_span_equal(name, tc_span_of_text(op_names[i]))) continue;
        *ret_op = (enum tc_nsm_op)(TC_NSM_DESCRIBE_PCR + i);
        return true;
    }
    return false;
}

/* --- arguments: one list of names for both directions --- */

enum argument {
    INDEX,
    DATA,
    USER_DATA,
    NONCE,
    PUBLIC_KEY,
    LOCK,
    DOCUMENT,
    RANDOM,
    MODULE_ID,
    MAX_PCRS,
    LOCKED_PCRS,
    DIGEST,
    VERSION_MAJOR,
    VERSION_MINOR,
    VERSION_PATCH,
    ARGUMENTS,
};
static const char *const argument_names[ARGUMENTS + 1] = {
    "index",       "data",   "user_data",     "nonce",         "public_key",
    "lock",        "document", "random",      "module_id",     "max_pcrs",
    "locked_pcrs", "digest", "version_major", "version_minor", "version_patch", NULL,
};

#define BIT(argument) (UINT32_C(1) << (argument))

/* Indexed by op - 1. Required and allowed are the same but for Attestation,
 * whose arguments may be left out as well as null. */
struct shape {
    uint32_t required, allowed;
};
static const struct shape request_shapes[] = {
    {BIT(INDEX), BIT(INDEX)},
    {BIT(INDEX) | BIT(DATA), BIT(INDEX) | BIT(DATA)},
    {BIT(INDEX), BIT(INDEX)},
    {0, 0},
    {0, BIT(USER_DATA) | BIT(NONCE) | BIT(PUBLIC_KEY)},
    {0, 0},
};
#define DESCRIPTION                                                                                \
    (BIT(MODULE_ID) | BIT(MAX_PCRS) | BIT(LOCKED_PCRS) | BIT(DIGEST) | BIT(VERSION_MAJOR) |        \
     BIT(VERSION_MINOR) | BIT(VERSION_PATCH))
static const struct shape response_shapes[] = {
    {BIT(DATA) | BIT(LOCK), BIT(DATA) | BIT(LOCK)},
    {BIT(DATA), BIT(DATA)},
    {0, 0},
    {DESCRIPTION, DESCRIPTION},
    {BIT(DOCUMENT), BIT(DOCUMENT)},
    {BIT(RANDOM), BIT(RANDOM)},
};

/* Reads the map of arguments that shape asks for. read is called with the
 * cursor at each value. */
typedef tc_status (*argument_reader)(struct tc_cursor *cursor, enum argument argument, void *result,
                                     struct tc_error *err);

static tc_status read_arguments(struct tc_cursor *cursor, const char *what, struct shape shape,
                                argument_reader read, void *result, struct tc_error *err)
{
    struct tc_cbor_map map = {0};
    uint32_t seen = 0;
    TC_TRY(tc_cbor_map(cursor, what, ARGUMENTS_MAX, TC_CBOR_MAY_BE_INDEFINITE, &map, err));
    for (;;) {
        bool more = false;
        size_t argument = ARGUMENTS;
        TC_TRY(tc_cbor_map_next(cursor, &map, &more, err));
        if (!more) break;
        TC_TRY(tc_cbor_key(cursor, what, argument_names, &seen, &argument, err));
        if (!(shape.allowed >> argument & 1))
            return tc_fail(err, TC_MALFORMED, "%s: argument %s does not belong here", what,
                           argument_names[argument]);
        TC_TRY(read(cursor, (enum argument)argument, result, err));
    }
    for (unsigned i = 0; i < ARGUMENTS; i++)
        if (shape.required >> i & ~(seen >> i) & 1)
            return tc_fail(err, TC_MALFORMED, "%s: argument %s is missing", what,
                           argument_names[i]);
    return TC_OK;
}

/* The name at the start, bare or as the one key of a map; *ret_bare says which.
 * *ret_map is then to be closed with close_message. */
static tc_status open_message(struct tc_cursor *cursor, const char *what, struct tc_span *ret_name,
                              bool *ret_bare, struct tc_cbor_map *ret_map, struct tc_error *err)
{
    bool bare = tc_cbor_next_is(cursor, TC_CBOR_TEXT), more = false;
    if (!bare) {
        TC_TRY(tc_cbor_map(cursor, what, 1, TC_CBOR_MAY_BE_INDEFINITE, ret_map, err));
        TC_TRY(tc_cbor_map_next(cursor, ret_map, &more, err));
        if (!more) return tc_fail(err, TC_MALFORMED, "%s: an empty map", what);
    }
    TC_TRY(tc_cbor_text(cursor, what, NAME_MAX_SIZE, ret_name, err));
    *ret_bare = bare;
    return TC_OK;
}

static tc_status close_message(struct tc_cursor *cursor, const char *what, bool bare,
                               struct tc_cbor_map *map, struct tc_error *err)
{
    bool more = false;
    if (!bare) TC_TRY(tc_cbor_map_next(cursor, map, &more, err));
    return tc_cbor_end(cursor, what, err);
}

static void add_argument(struct tc_buf *buf, enum argument argument)
{
    tc_cbor_add_name(buf, argument_names[argument]);
}

static void add_bytes_or_null(struct tc_buf *buf, enum argument argument, bool present,
                              struct tc_span span)
{
    add_argument(buf, argument);
    if (present)
        tc_cbor_add_bytes(buf, span);
    else
        tc_cbor_add_null(buf);
}

static void open_arguments(struct tc_buf *buf, enum tc_nsm_op op, size_t count)
{
    tc_cbor_add_map(buf, 1);
    tc_cbor_add_name(buf, name_of(op));
    tc_cbor_add_map(buf, count);
}

/* --- requests --- */

void tc_nsm_request_encode(const struct tc_nsm_request *request, struct tc_buf *buf)
{
    switch (request->op) {
    case TC_NSM_DESCRIBE_PCR:
    case TC_NSM_LOCK_PCR:
        open_arguments(buf, request->op, 1);
        add_argument(buf, INDEX);
        tc_cbor_add_unsigned(buf, request->index);
        return;
    case TC_NSM_EXTEND_PCR:
        open_arguments(buf, request->op, 2);
        add_argument(buf, INDEX);
        tc_cbor_add_unsigned(buf, request->index);
        add_argument(buf, DATA);
        tc_cbor_add_bytes(buf, request->data);
        return;
    case TC_NSM_ATTESTATION:
        open_arguments(buf, request->op, 3);
        add_bytes_or_null(buf, USER_DATA, request->has_user_data, request->user_data);
        add_bytes_or_null(buf, NONCE, request->has_nonce, request->nonce);
        add_bytes_or_null(buf, PUBLIC_KEY, request->has_public_key, request->public_key);
        return;
    case TC_NSM_DESCRIBE_NSM:
    case TC_NSM_GET_RANDOM: tc_cbor_add_name(buf, name_of(request->op)); return;
    }
}

static tc_status read_request_argument(struct tc_cursor *cursor, enum argument argument,
                                       void *result, struct tc_error *err)
{
    struct tc_nsm_request *request = result;
    if (argument == INDEX)
        return tc_cbor_unsigned(cursor, "index", SMALL_MAX, &request->index, err);
    if (argument == DATA)
        return tc_cbor_bytes(cursor, "data", TC_NSM_REQUEST_MAX, &request->data, err);
    if (argument == USER_DATA)
        return tc_cbor_bytes_or_null(cursor, "user_data", TC_NSM_REQUEST_MAX,
                                     &request->has_user_data, &request->user_data, err);
    if (argument == NONCE)
        return tc_cbor_bytes_or_null(cursor, "nonce", TC_NSM_REQUEST_MAX, &request->has_nonce,
                                     &request->nonce, err);
    return tc_cbor_bytes_or_null(cursor, "public_key", TC_NSM_REQUEST_MAX,
                                 &request->has_public_key, &request->public_key, err);
}

tc_status tc_nsm_request_decode(struct tc_span bytes, struct tc_nsm_request *ret_request,
                                struct tc_error *err)
{
    static const char what[] = "request to the NSM";
    struct tc_cursor cursor = tc_cursor_of(bytes);
    struct tc_nsm_request request = {.op = TC_NSM_DESCRIBE_NSM};
    struct tc_cbor_map map = {0};
    struct tc_span name = {NULL, 0};
    bool bare = false;
    if (bytes.size > TC_NSM_REQUEST_MAX)
        return tc_fail(err, TC_MALFORMED, "%s: %zu bytes; at most %d are accepted", what,
                       bytes.size, TC_NSM_REQUEST_MAX);
    TC_TRY(open_message(&cursor, what, &name, &bare, &map, err));
    if (!op_of_name(name, &request.op))
        return tc_fail(err, TC_MALFORMED, "%s: of an unknown name", what);
    struct shape shape = request_shapes[request.op - TC_NSM_DESCRIBE_PCR];
    if (bare != (shape.allowed == 0))
        return tc_fail(err, TC_MALFORMED, "%s: %s %s", what, name_of(request.op),
                       bare ? "lacks its arguments" : "takes no arguments");
    if (!bare)
        TC_TRY(read_arguments(&cursor, what, shape, read_request_argument, &request, err));
    TC_TRY(close_message(&cursor, what, bare, &map, err));
    *ret_request = request;
    return TC_OK;
}

/* --- responses --- */

static void add_description(const struct tc_nsm_response *response, struct tc_buf *buf)
{
    open_arguments(buf, TC_NSM_DESCRIBE_NSM, 7);
    add_argument(buf, VERSION_MAJOR);
    tc_cbor_add_unsigned(buf, 1);
    add_argument(buf, VERSION_MINOR);
    tc_cbor_add_unsigned(buf, 0);
    add_argument(buf, VERSION_PATCH);
    tc_cbor_add_unsigned(buf, 0);
    add_argument(buf, MODULE_ID);
    tc_cbor_add_text(buf, response->module_id);
    add_argument(buf, MAX_PCRS);
    tc_cbor_add_unsigned(buf, response->max_pcrs);
    add_argument(buf, LOCKED_PCRS);
    tc_cbor_add_array(buf, (size_t)__builtin_popcount(response->locked_pcrs));
    for (unsigned i = 0; i < TC_NITRODOC_PCRS; i++)
        if (response->locked_pcrs >> i & 1) tc_cbor_add_unsigned(buf, i);
    add_argument(buf, DIGEST);
    tc_cbor_add_name(buf, "SHA384");
}

void tc_nsm_response_encode(const struct tc_nsm_response *response, struct tc_buf *buf)
{
    if (response->error.size > 0) {
        tc_cbor_add_map(buf, 1);
        tc_cbor_add_name(buf, error_name);
        tc_cbor_add_text(buf, response->error);
        return;
    }
    switch (response->op) {
    case TC_NSM_DESCRIBE_PCR:
        open_arguments(buf, response->op, 2);
        add_argument(buf, LOCK);
        tc_cbor_add_bool(buf, response->lock);
        add_argument(buf, DATA);
        tc_cbor_add_bytes(buf, response->data);
        return;
    case TC_NSM_EXTEND_PCR:
    case TC_NSM_ATTESTATION:
    case TC_NSM_GET_RANDOM:
        open_arguments(buf, response->op, 1);
        add_argument(buf, response->op == TC_NSM_EXTEND_PCR    ? DATA
                          : response->op == TC_NSM_ATTESTATION ? DOCUMENT
                                                               : RANDOM);
        tc_cbor_add_bytes(buf, response->data);
        return;
    case TC_NSM_LOCK_PCR: tc_cbor_add_name(buf, name_of(response->op)); return;
    case TC_NSM_DESCRIBE_NSM: add_description(response, buf); return;
    }
}

static tc_status read_locked(struct tc_cursor *cursor, uint32_t *ret_mask, struct tc_error *err)
{
    size_t count = 0;
    uint32_t mask = 0;
    TC_TRY(tc_cbor_array(cursor, "locked_pcrs", TC_NITRODOC_PCRS, &count, err));
    for (size_t i = 0; i < count; i++) {
        uint64_t index = 0;
        TC_TRY(tc_cbor_unsigned(cursor, "locked_pcrs", TC_NITRODOC_PCRS - 1, &index, err));
        if (mask >> index & 1) return tc_fail(err, TC_MALFORMED, "locked_pcrs: an index twice");
        mask |= UINT32_C(1) << index;
    }
    *ret_mask = mask;
    return TC_OK;
}

static tc_status read_response_argument(struct tc_cursor *cursor, enum argument argument,
                                        void *result, struct tc_error *err)
{
    struct tc_nsm_response *response = result;
    struct tc_span digest = {NULL, 0};
    uint64_t version = 0;
    switch (argument) {
    case LOCK: return tc_cbor_bool(cursor, "lock", &response->lock, err);
    case DATA: return tc_cbor_bytes(cursor, "data", TC_PCR_SIZE, &response->data, err);
    case DOCUMENT:
        return tc_cbor_bytes(cursor, "document", TC_NSM_RESPONSE_MAX, &response->data, err);
    case RANDOM: return tc_cbor_bytes(cursor, "random", TC_NSM_RESPONSE_MAX, &response->data, err);
    case MODULE_ID:
        return tc_cbor_text(cursor, "module_id", TC_NITRODOC_MODULE_MAX, &response->module_id, err);
    case MAX_PCRS: return tc_cbor_unsigned(cursor, "max_pcrs", SMALL_MAX, &response->max_pcrs, err);
    case LOCKED_PCRS: return read_locked(cursor, &response->locked_pcrs, err);
    case DIGEST:
        TC_TRY(tc_cbor_text(cursor, "digest", NAME_MAX_SIZE, &digest, err));
        if (!tc_span_equal(digest, tc_span_of_text("SHA384")))
            return tc_fail(err, TC_MALFORMED, "digest: expected SHA384");
        return TC_OK;
    case VERSION_MAJOR:
    case VERSION_MINOR:
    case VERSION_PATCH: return tc_cbor_unsigned(cursor, "version", SMALL_MAX, &version, err);
    case INDEX:
    case USER_DATA:
    case NONCE:
    case PUBLIC_KEY:
    case ARGUMENTS: break;
    }
    return tc_fail(err, TC_MALFORMED, "answer of the NSM: an argument of a request");
}

/* What CBOR cannot say about a well-formed answer. */
static tc_status check_response(const struct tc_nsm_response *response, struct tc_error *err)
{
    bool is_pcr = response->op == TC_NSM_DESCRIBE_PCR || response->op == TC_NSM_EXTEND_PCR;
    bool is_data = response->op == TC_NSM_ATTESTATION || response->op == TC_NSM_GET_RANDOM;
    if (is_pcr && response->data.size != TC_PCR_SIZE)
        return tc_fail(err, TC_MALFORMED, "answer of the NSM: a PCR of %zu bytes; expected %d",
                       response->data.size, TC_PCR_SIZE);
    if (is_data && response->data.size == 0)
        return tc_fail(err, TC_MALFORMED, "answer of the NSM: %s of no bytes",
                       name_of(response->op));
    return TC_OK;
}

tc_status tc_nsm_response_decode(struct tc_span bytes, enum tc_nsm_op expected,
                                 struct tc_nsm_response *ret_response, struct tc_error *err)
{
    static const char what[] = "answer of the NSM";
    struct tc_cursor cursor = tc_cursor_of(bytes);
    struct tc_nsm_response response = {.op = expected};
    struct tc_cbor_map map = {0};
    struct tc_span name = {NULL, 0};
    bool bare = false;
    if (bytes.size > TC_NSM_RESPONSE_MAX)
        return tc_fail(err, TC_MALFORMED, "%s: %zu bytes; at most %d are accepted", what,
                       bytes.size, TC_NSM_RESPONSE_MAX);
    TC_TRY(open_message(&cursor, what, &name, &bare, &map, err));
    if (!bare && tc_span_equal(name, tc_span_of_text(error_name))) {
        TC_TRY(tc_cbor_text(&cursor, what, NAME_MAX_SIZE, &response.error, err));
        if (response.error.size == 0) return tc_fail(err, TC_MALFORMED, "%s: nameless error", what);
    } else {
        struct shape shape = response_shapes[expected - TC_NSM_DESCRIBE_PCR];
        if (!tc_span_equal(name, tc_span_of_text(name_of(expected))) ||
            bare != (shape.allowed == 0))
            return tc_fail(err, TC_MALFORMED, "%s: not one to %s", what, name_of(expected));
        if (!bare)
            TC_TRY(read_arguments(&cursor, what, shape, read_response_argument, &response, err));
        TC_TRY(check_response(&response, err));
    }
    TC_TRY(close_message(&cursor, what, bare, &map, err));
    *ret_response = response;
    return TC_OK;
}
