/* What sandbox_run and its scripted session say to one another. */
#ifndef TC_TEST_SCRIPT_H
#define TC_TEST_SCRIPT_H

#include <stdint.h>

enum { SCRIPT_TEXT_MAX = 262144, SCRIPT_COMMANDS_MAX = 16 };

struct script_head {
    uint64_t timeout, memory, disk, processes;
    uint64_t log; /* the session kills a command that writes more */
    uint32_t commands;
    uint32_t misbehave; /* enum script_misbehaviour */
    uint64_t network;   /* 0: offline; else hijacked, with this port as a further one */
};
/* then for each command: u32 size in the machine's order, bytes */

enum script_misbehaviour {
    SCRIPT_WELL = 0,
    SCRIPT_COMMAND_FIRST, /* COMMAND before PREPARE */
    SCRIPT_COLLECT_TWICE,
    SCRIPT_SESSION_PROBES, /* the session tries what its filter forbids */
    SCRIPT_MONITOR_DIES,   /* while the first command runs */
    SCRIPT_SESSION_DIES,   /* likewise */
    SCRIPT_NO_FOLDER,      /* a command in a folder that is not there */
};

#endif
