/* Two buffers: while the lanes work on one, the caller fills the other. A round is
 * one piece, and no lane is ever more than one round ahead of another, so the two
 * buffers are all the memory there is. */
#include "os/fanout.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { PIECE = 1 << 18 }; /* two of them stay in a core's own cache */

struct fanout;
struct worker {
    struct fanout *fanout;
    const struct tc_fanout_lane *lane;
    pthread_t thread;
    tc_status status;
    struct tc_error err;
};

struct fanout {
    pthread_mutex_t lock;
    pthread_cond_t begun, done;
    struct tc_span piece; /* of this round; empty: the end */
    unsigned long round;
    size_t working; /* lanes that are not done with the round */
    struct worker workers[TC_FANOUT_MAX];
    size_t started;
};

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct fanout *fanout = worker->fanout;
    unsigned long round = 0;
    for (bool end = false; !end;) {
        (void)pthread_mutex_lock(&fanout->lock);
        while (fanout->round == round)
            (void)pthread_cond_wait(&fanout->begun, &fanout->lock);
        round = fanout->round;
        struct tc_span piece = fanout->piece;
        (void)pthread_mutex_unlock(&fanout->lock);
        end = piece.size == 0;
        if (!end && worker->status == TC_OK)
            worker->status = worker->lane->add(worker->lane->context, piece, &worker->err);
        (void)pthread_mutex_lock(&fanout->lock);
        if (--fanout->working == 0) (void)pthread_cond_signal(&fanout->done);
        (void)pthread_mutex_unlock(&fanout->lock);
    }
    return NULL;
}

static void begin_round(struct fanout *fanout, struct tc_span piece)
{
    (void)pthread_mutex_lock(&fanout->lock);
    fanout->piece = piece;
    fanout->round++;
    fanout->working = fanout->started;
    (void)pthread_cond_broadcast(&fanout->begun);
    (void)pthread_mutex_unlock(&fanout->lock);
}

static void end_round(struct fanout *fanout)
{
    (void)pthread_mutex_lock(&fanout->lock);
    while (fanout->working > 0)
        (void)pthread_cond_wait(&fanout->done, &fanout->lock);
    (void)pthread_mutex_unlock(&fanout->lock);
}

static tc_status fill(int fd, const char *what, uint8_t *buffer, size_t *ret_size,
                      struct tc_error *err)
{
    size_t size = 0;
    while (size < PIECE) {
        ssize_t got = read(fd, buffer + size, PIECE - size);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read %s", what);
        if (got == 0) break;
        size += (size_t)got;
    }
    *ret_size = size;
    return TC_OK;
}

static tc_status first_failure(const struct fanout *fanout, struct tc_error *err)
{
    for (size_t i = 0; i < fanout->started; i++)
        if (fanout->workers[i].status != TC_OK) {
            *err = fanout->workers[i].err;
            return fanout->workers[i].status;
        }
    return TC_OK;
}

static tc_status run(struct fanout *fanout, int fd, const char *what,
                     const struct tc_fanout_lane *own, uint8_t *const buffers[2],
                     struct tc_error *err)
{
    size_t size = 0;
    TC_TRY(fill(fd, what, buffers[0], &size, err));
    for (size_t turn = 0; size > 0; turn ^= 1) {
        struct tc_span piece = {buffers[turn], size};
        begin_round(fanout, piece);
        tc_status status = own->add(own->context, piece, err);
        if (status == TC_OK) status = fill(fd, what, buffers[turn ^ 1], &size, err);
        end_round(fanout); /* before anything is returned: the lanes read the buffer */
        if (status != TC_OK) return status;
        TC_TRY(first_failure(fanout, err));
    }
    return TC_OK;
}

static tc_status start(struct fanout *fanout, const struct tc_fanout_lane *lanes, size_t count,
                       struct tc_error *err)
{
    for (size_t i = 1; i < count; i++) {
        struct worker *worker = &fanout->workers[fanout->started];
        *worker = (struct worker){.fanout = fanout, .lane = &lanes[i]};
        int reason = pthread_create(&worker->thread, NULL, work, worker);
        if (reason != 0) return tc_fail_errno(err, TC_SYSTEM, reason, "cannot start a thread");
        fanout->started++;
    }
    return TC_OK;
}

tc_status tc_fanout(int fd, const char *what, const struct tc_fanout_lane *lanes, size_t count,
                    struct tc_error *err)
{
    if (count == 0 || count > TC_FANOUT_MAX)
        return tc_fail(err, TC_USAGE, "%zu consumers of %s; expected 1 to %d", count, what,
                       TC_FANOUT_MAX);
    TC_AUTO_FREE uint8_t *memory = malloc(2 * (size_t)PIECE);
    TC_AUTO_FREE struct fanout *fanout = calloc(1, sizeof *fanout);
    if (!memory || !fanout) return tc_fail(err, TC_SYSTEM, "out of memory to read %s", what);
    uint8_t *const buffers[2] = {memory, memory + PIECE};
    (void)pthread_mutex_init(&fanout->lock, NULL);
    (void)pthread_cond_init(&fanout->begun, NULL);
    (void)pthread_cond_init(&fanout->done, NULL);
    tc_status status = start(fanout, lanes, count, err);
    if (status == TC_OK) status = run(fanout, fd, what, &lanes[0], buffers, err);
    begin_round(fanout, (struct tc_span){NULL, 0});
    for (size_t i = 0; i < fanout->started; i++)
        (void)pthread_join(fanout->workers[i].thread, NULL);
    (void)pthread_cond_destroy(&fanout->begun);
    (void)pthread_cond_destroy(&fanout->done);
    (void)pthread_mutex_destroy(&fanout->lock);
    return status;
}
