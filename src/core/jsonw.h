/* Writing JSON into a tc_buf: compact, keys in the order of the calls, ASCII
 * only (every other character as \uXXXX), so that one value has one spelling
 * and the text is safe on a terminal. Errors are sticky in the buffer. Pure. */
#ifndef TC_CORE_JSONW_H
#define TC_CORE_JSONW_H

#include "base/bytes.h"

struct tc_jsonw {
    struct tc_buf *buf;
    bool comma; /* a value stands before the next one */
};

struct tc_jsonw tc_jsonw_new(struct tc_buf *buf);

/* key is NULL in a list and at the top. */
void tc_jsonw_object(struct tc_jsonw *w, const char *key);
void tc_jsonw_end_object(struct tc_jsonw *w);
void tc_jsonw_array(struct tc_jsonw *w, const char *key);
void tc_jsonw_end_array(struct tc_jsonw *w);
/* text must be UTF-8; other bytes fail the buffer. */
void tc_jsonw_text(struct tc_jsonw *w, const char *key, const char *text);
void tc_jsonw_hex(struct tc_jsonw *w, const char *key, const void *bytes, size_t size);
void tc_jsonw_base64(struct tc_jsonw *w, const char *key, struct tc_span bytes);
void tc_jsonw_u64(struct tc_jsonw *w, const char *key, uint64_t value);
void tc_jsonw_bool(struct tc_jsonw *w, const char *key, bool value);
/* A complete value that this writer wrote before. */
void tc_jsonw_written(struct tc_jsonw *w, const char *key, struct tc_span value);
void tc_jsonw_null(struct tc_jsonw *w, const char *key);

#endif
