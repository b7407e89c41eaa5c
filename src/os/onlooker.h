/* Words for whoever looks on: a terminal, a pipe, a socket, a file. Nobody has to read them,
 * and whoever writes them must not wait for anybody who does not.
 *
 * A terminal or a pipe may be ready for a byte and not for all that is to be written; then
 * a write waits, poll(2) or not. Setting O_NONBLOCK would set it for every process that
 * has the same terminal: it is opened again instead, for an open file description of our own. */
#ifndef TC_OS_ONLOOKER_H
#define TC_OS_ONLOOKER_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/bytes.h"

struct tc_onlooker {
    int fd;       /* to wait for POLLOUT */
    bool is_own;  /* opened here, to be closed here */
    bool is_sent; /* a socket */
    size_t most;  /* of one write, where it could not be opened again; 0: any */
};
#define TC_ONLOOKER_NONE                                                                           \
    (struct tc_onlooker)                                                                           \
    {                                                                                              \
        .fd = -1                                                                                   \
    }

/* fd stays the caller's, and open as long as this. */
struct tc_onlooker tc_onlooker_open(int fd);
void tc_onlooker_close(struct tc_onlooker *onlooker);

/* How much was taken, which may be less; -1 with EAGAIN when there is no room now, and
 * with another errno when nobody is there any more. Never waits, never a SIGPIPE of a socket. */
ssize_t tc_onlooker_write(const struct tc_onlooker *onlooker, struct tc_span text);

/* Opens, writes what is taken now, leaves the rest out and closes: for a line now and then,
 * also where no descriptor is left. */
void tc_onlooker_say(int fd, struct tc_span text);

#endif
