/* Which image a build uses: --image, else build.json's "image", else its "language". */
#ifndef TC_CMD_IMAGE_CHOICE_H
#define TC_CMD_IMAGE_CHOICE_H

#include "core/buildspec.h"
#include "host/imagecheck.h"
#include "verify/trust.h"

struct tc_image_choice {
    bool host;                /* the machine's own toolchain; else: */
    struct tc_imagefile file; /* its file system is being checked: */
    struct tc_imagecheck *check;
};
#define TC_IMAGE_CHOICE_NONE                                                                       \
    (struct tc_image_choice)                                                                       \
    {                                                                                              \
        .file = {.eif_fd = -1, .root_fd = -1 }                                                     \
    }
void tc_image_choice_done(struct tc_image_choice *choice);

/* The images that the project has recipes for (images/NAME), and a build file can name as
 * its language. NULL ends them. */
extern const char *const tc_image_recipes[];

/* option: "host", a name or a PCR0 of the store, or the path of an .eif (a word with a
 * slash, or with that ending); NULL: as spec says, which names no paths. TC_UNAVAILABLE
 * for an image that is not there: the message has the commands that make or fetch it.
 * TC_REFUSED also for one that a trusted list speaks against. */
tc_status tc_image_choose(const char *option, const struct tc_buildspec *spec,
                          struct tc_image_choice *ret_choice, struct tc_error *err) TC_MUST_USE;

/* Waits until the image's check has ended well. */
tc_status tc_image_choice_await(struct tc_image_choice *choice, int interrupt_fd,
                                struct tc_error *err) TC_MUST_USE;

/* What becomes of a build with that status, and its message in err, once the image's
 * check has ended, which is waited for: the same, or the check's own failure. A bad image
 * explains what else went wrong, and what it made is given to nobody. */
tc_status tc_image_choice_judge(struct tc_image_choice *choice, tc_status status, int interrupt_fd,
                                struct tc_error *err) TC_MUST_USE;

/* "host", or the name that the image has for itself. */
const char *tc_image_choice_name(const struct tc_image_choice *choice);

/* What does trust say of the file, now? As tc_trust_ask. */
enum tc_trust_answer tc_image_ask_trust(const struct tc_trust *trust,
                                        const struct tc_imagefile *image, char *out, size_t size)
    TC_MUST_USE;

#endif
