/* Which back end runs a build. */
#ifndef TC_CMD_BACKENDS_H
#define TC_CMD_BACKENDS_H

#include "host/backend.h"

/* All there are, NULL at the end. */
extern const struct tc_backend *const tc_backends[];

/* Is it one of them, or "auto"? TC_USAGE with the names there are. */
tc_status tc_backend_check_name(const char *name, struct tc_error *err) TC_MUST_USE;

struct tc_backend_choice {
    const struct tc_backend *backend;
    /* Why this one; "" where it was named. What was found wanting stands in it. */
    char because[TC_ERROR_MAX];
    bool weaker; /* an enclave's driver is here, and not used: worth a warning */
};

/* name: a back end's, or "auto": the one whose worker the hardware attests if it can
 * start here, else the local one. One that is named is taken, whatever it can. Without
 * an image only the local one runs a build. */
tc_status tc_backend_choose(const char *name, bool host_image, struct tc_backend_choice *ret_choice,
                            struct tc_error *err) TC_MUST_USE;

#endif
