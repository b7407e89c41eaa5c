/* What a failed build leaves for whoever looks why: its log and a machine's console, under
 * names that the message gives. */
#ifndef TC_CMD_BUILD_LOGS_H
#define TC_CMD_BUILD_LOGS_H

#include <stdbool.h>

#include "os/tempfile.h"

/* What stands there already is cut for it, at most to a quarter of what a message holds. */
void tc_build_add_to_message(struct tc_error *err, const char *before, const char *text);

struct tc_build_logs {
    struct tc_tempfile *log, *console; /* not open where there is none */
    const char *log_path, *console_path;
    bool enclave;              /* of hardware, which keeps its console to itself... */
    bool debug;                /* ... but in debug mode: then it was on stderr */
    bool has_log, has_console; /* kept: set below */
};

/* Names what says something, and tells in err where it is. */
void tc_build_keep_logs(struct tc_build_logs *logs, struct tc_error *err);

/* What an earlier build left under such a name would be taken for this one's: removes it. */
void tc_build_drop_old(const char *path);

#endif
