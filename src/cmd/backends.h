/* Which back end runs a build. */
#ifndef TC_CMD_BACKENDS_H
#define TC_CMD_BACKENDS_H

#include "core/buildspec.h"
#include "host/backend.h"

/* All there are, NULL at the end. */
extern const struct tc_backend *const tc_backends[];

/* Is it one of them, or "auto"? TC_USAGE with the names there are. */
tc_status tc_backend_check_name(const char *name, struct tc_error *err) TC_MUST_USE;

/* The one of that name; TC_USAGE with the names there are. */
tc_status tc_backend_find(const char *name, const struct tc_backend **ret_backend,
                          struct tc_error *err) TC_MUST_USE;

struct tc_backend_choice {
    const struct tc_backend *backend;
    /* Why this one; "" where it was named. What was found wanting stands in it. */
    char because[TC_ERROR_MAX];
    bool weaker; /* an enclave's driver is here, and not used: worth a warning */
};

/* Of this build with an image, and of one with the limits that a build.json has that
 * does not name any. */
struct tc_need tc_backend_need(const struct tc_imagefile *image, const struct tc_limits *limits,
                               unsigned cpus);
struct tc_need tc_backend_usual_need(void);

/* Can it run a build with an image? */
bool tc_probe_takes_images(const struct tc_probe *probe);

/* name: a back end's, or "auto": the one whose worker the hardware attests if it can
 * start here for what is needed, else the local one. need NULL: a build without an image,
 * which only the local one runs. One that is named is taken, whatever it can; but where
 * the local one is taken for an image and cannot run any: TC_UNAVAILABLE, with the fix
 * and whether qemu can. */
tc_status tc_backend_choose(const char *name, const struct tc_need *need,
                            struct tc_backend_choice *ret_choice, struct tc_error *err) TC_MUST_USE;

#endif
