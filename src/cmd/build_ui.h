/* What a person sees of a build: phases with their times and the live log, on
 * stderr. The log is the build's own text and is escaped before it reaches a
 * terminal. */
#ifndef TC_CMD_BUILD_UI_H
#define TC_CMD_BUILD_UI_H

#include <stdint.h>
#include <stdio.h>

#include "core/wire.h"
#include "host/backend.h"
#include "host/imagefile.h"
#include "os/onlooker.h"
#include "source/pack.h"
#include "verify/verify.h"

struct tc_build_ui {
    struct tc_onlooker out;
    bool colour;
    int interrupt_fd; /* readable: the user wants to stop; -1: none */
    int64_t started_ms, phase_ms;
    bool phase_open;  /* a phase runs, its time is still to be printed */
    bool line_open;   /* the log has begun a line */
};

void tc_build_ui_init(struct tc_build_ui *ui, FILE *out); /* which stays open as long as this */
void tc_build_ui_free(struct tc_build_ui *ui);
void tc_build_ui_source(struct tc_build_ui *ui, const struct tc_pack *pack, const char *folder);
void tc_build_ui_image(struct tc_build_ui *ui, const struct tc_imagefile *image); /* NULL: host */
/* because: why this back end; "": it was named. */
void tc_build_ui_start(struct tc_build_ui *ui, const struct tc_backend *backend, bool debug,
                       const char *because);
void tc_build_ui_phase(struct tc_build_ui *ui, enum tc_phase phase);
void tc_build_ui_log(struct tc_build_ui *ui, struct tc_span bytes);
void tc_build_ui_warn(struct tc_build_ui *ui, const char *text);
void tc_build_ui_end(struct tc_build_ui *ui); /* closes an open line */

struct tc_build_made {
    const char *bundle, *detached, *extract; /* paths; NULL: not made, but not bundle and detached both */
    const char *root; /* the development root that signed; NULL: the hardware did */
    bool debug;       /* in an enclave that its host can read */
    bool root_created;
};
/* What was made and the command that checks it. */
void tc_build_ui_done(struct tc_build_ui *ui, const struct tc_verdict *verdict,
                      const struct tc_build_made *made);

#endif
