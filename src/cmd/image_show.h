/* What `image inspect`, `image measure` and `image sign` print of an image. Its
 * text is foreign and is escaped. */
#ifndef TC_CMD_IMAGE_SHOW_H
#define TC_CMD_IMAGE_SHOW_H

#include <stdio.h>

#include "host/image_read.h"
#include "host/imagefile.h"

struct tc_image_show {
    const char *name;           /* as the user gave it */
    bool everything;            /* sections, command line, metadata, certificate */
    struct tc_span certificate; /* DER of --cert; empty: not given */
    int64_t now;                /* for a certificate's validity */
    const struct tc_imagefile_says *says; /* what it says of itself; NULL: not asked */
};

/* Prints, and says in *ret_good whether every check passed. */
tc_status tc_image_show_text(FILE *stream, const struct tc_image_show *show,
                             const struct tc_image_facts *facts, bool *ret_good,
                             struct tc_error *err) TC_MUST_USE;
tc_status tc_image_show_json(FILE *stream, const struct tc_image_show *show,
                             const struct tc_image_facts *facts, bool *ret_good,
                             struct tc_error *err) TC_MUST_USE;
/* The JSON of a file that is no image: one failed check, "format". */
tc_status tc_image_show_malformed(FILE *stream, const struct tc_error *reason, struct tc_error *err)
    TC_MUST_USE;

#endif
