/* The project's own signer of lists and its first list, as this release carries
 * them: the files trust/list-key.pem and trust/images.json, put into the program
 * when it is built (script/embed). SECURITY.md says how the key is kept. */
#ifndef TC_VERIFY_PROJECT_TRUST_H
#define TC_VERIFY_PROJECT_TRUST_H

#include "base/bytes.h"

struct tc_span tc_project_list_key(void); /* PEM */
struct tc_span tc_project_list(void);     /* the signed list */

#endif
