/* An attestation document on stdout, as text or as JSON. Whatever it says is
 * escaped. */
#ifndef TC_CMD_PRINT_DOCUMENT_H
#define TC_CMD_PRINT_DOCUMENT_H

#include "cmd/print.h"

/* Everything the document says, after the notice. */
tc_status tc_print_document(FILE *stream, const struct tc_attestation *read, const char *notice,
                            struct tc_error *err) TC_MUST_USE;

/* The verdict on it and its checks. name is what the user called it. */
tc_status tc_print_document_verdict(FILE *stream, const struct tc_verdict *verdict,
                                    const char *name, struct tc_error *err) TC_MUST_USE;

/* One object: verdict, checks, "document" where it could be decoded. Without a
 * verdict (NULL) it is "undecided", as of everything that is only shown, and the
 * notice says so. */
tc_status tc_print_document_json(FILE *stream, const struct tc_attestation *read,
                                 const struct tc_verdict *verdict, const char *notice,
                                 struct tc_error *err) TC_MUST_USE;

#endif
