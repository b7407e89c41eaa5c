/* What session and stages say to one another: structs of fixed size, integers in
 * checked ranges, descriptors beside them. See spawner.h for who does what. */
#ifndef TC_WORKER_REQUESTS_H
#define TC_WORKER_REQUESTS_H

#include <stdint.h>

#include "worker/netns.h"

enum tc_request_kind {
    TC_REQUEST_PREPARE = 1, /* limits, network */
    TC_REQUEST_UNPACK,      /* fd: the unpacker's end of a stream socket */
    TC_REQUEST_UNPACKED,    /* answered when the unpacker is gone */
    TC_REQUEST_COMMAND,     /* fds: the command (sandbox.h), the log; answered twice:
                               at once, and with TC_REPLY_ENDED when all is dead */
    TC_REQUEST_KILL,        /* not answered: the COMMAND's end is */
    TC_REQUEST_COLLECT,     /* fd: the collector's end */
};

struct tc_request {
    uint32_t kind;
    uint32_t reserved;
    uint64_t timeout, memory, disk, processes; /* PREPARE */
    uint32_t hijacked;                         /* PREPARE, as the next two: 0 or 1 */
    uint32_t ports_count;
    uint16_t ports[TC_NETNS_PORTS_MAX];
};

enum { TC_REPLY_TEXT = TC_ERROR_MAX };

struct tc_reply {
    uint32_t kind;   /* of the request */
    uint32_t status; /* tc_status */
    uint32_t end;    /* enum tc_run_end, when a command ended, else 0 */
    int32_t code;    /* exit status or signal */
    int64_t started, finished;
    char text[TC_REPLY_TEXT]; /* of a failure; NUL-terminated */
};

#endif
