/* Two lanes, one a direction, each a buffer between two sockets:
 *
 *   from -- recv --> buffer -- send --> to        EOF at from, buffer empty: to is half-closed
 *
 * poll decides who moves. A hang-up is reported whether asked for or not, and for ever:
 * a socket that has reported one is watched only as long as it has something to do. */
#include "host/egress_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/cleanup.h"

enum { BUFFER_SIZE = 128 * 1024 };

struct lane {
    int from, to;
    uint8_t *buffer;
    size_t start, end;
    bool ended;  /* from has said its last word, or to takes none */
    bool closed; /* to was told */
};

static bool is_empty(const struct lane *lane)
{
    return lane->start == lane->end;
}

/* False: from is broken, and so is all. */
static bool fill(struct lane *lane)
{
    ssize_t got = recv(lane->from, lane->buffer, BUFFER_SIZE, 0);
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    lane->start = 0;
    lane->end = (size_t)got;
    lane->ended = got == 0;
    return true;
}

static void drain(struct lane *lane)
{
    ssize_t sent =
        send(lane->to, lane->buffer + lane->start, lane->end - lane->start, MSG_NOSIGNAL);
    if (sent >= 0) {
        lane->start += (size_t)sent;
    } else if (errno != EAGAIN && errno != EINTR) {
        /* The other lane goes on: a server may answer and not listen any more. */
        lane->start = lane->end = 0;
        lane->ended = lane->closed = true;
    }
}

static bool move(struct lane *lane, short readable)
{
    if (is_empty(lane) && !lane->ended && readable != 0 && !fill(lane)) return false;
    if (!is_empty(lane)) drain(lane);
    if (is_empty(lane) && lane->ended && !lane->closed) {
        (void)shutdown(lane->to, SHUT_WR);
        lane->closed = true;
    }
    return true;
}

static short events_of(const struct lane *out, const struct lane *in)
{
    unsigned events = 0;
    if (is_empty(out) && !out->ended) events |= POLLIN;
    if (!is_empty(in)) events |= POLLOUT;
    return (short)events;
}

static void relay(struct lane *there, struct lane *back, int stop_fd)
{
    bool hung_up[2] = {false, false};
    while (!there->closed || !back->closed) {
        struct pollfd fds[3] = {{.fd = there->from, .events = events_of(there, back)},
                                {.fd = back->from, .events = events_of(back, there)},
                                {.fd = stop_fd, .events = POLLIN}};
        for (size_t i = 0; i < 2; i++)
            if (fds[i].events == 0 && hung_up[i]) fds[i].fd = -1;
        if (poll(fds, 3, -1) < 0) {
            if (errno == EINTR) continue;
            return;
        }
        if (fds[2].revents) return;
        for (size_t i = 0; i < 2; i++)
            if (fds[i].revents & (POLLHUP | POLLERR | POLLNVAL)) hung_up[i] = true;
        if (!move(there, fds[0].revents) || !move(back, fds[1].revents)) return;
        /* Nobody is left to hear an answer, or to be asked. */
        if (hung_up[0] && there->closed) return;
        if (hung_up[1] && back->closed) return;
    }
}

void tc_egress_relay(int one, int other, int stop_fd)
{
    TC_AUTO_FREE uint8_t *memory = malloc((size_t)2 * BUFFER_SIZE);
    if (!memory) return;
    struct lane there = {.from = one, .to = other, .buffer = memory};
    struct lane back = {.from = other, .to = one, .buffer = memory + BUFFER_SIZE};
    relay(&there, &back, stop_fd);
}
