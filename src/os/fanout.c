/* A ring of pieces. The caller fills them in order and works as the first lane;
 * each other lane takes every piece at its own pace, and the caller waits only for
 * the one that is a whole ring behind. The ring is all the memory there is.
 *
 * A lane that fails stops working, the caller stops reading, and the others finish
 * the pieces that are there: so which error comes first does not depend on who was
 * faster. */
#include "os/fanout.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"

/* Small enough that a piece is still in the processor's cache when it is worked on. */
enum { PIECE = 1 << 16, RING = 16 };

struct fanout;
struct worker {
    struct fanout *fanout;
    const struct tc_fanout_lane *lane;
    pthread_t thread;
    size_t done; /* pieces taken; the lock guards it */
    tc_status status;
    struct tc_error err;
    size_t failed_at; /* the piece, where status says so */
};

struct fanout {
    pthread_mutex_t lock;
    pthread_cond_t filled, taken;
    uint8_t *memory;
    size_t sizes[RING];
    size_t count; /* pieces filled so far */
    bool ended, failed;
    struct worker workers[TC_FANOUT_MAX]; /* the first has no thread: the caller */
    size_t started;
};

static void take_piece(struct worker *worker, size_t index)
{
    const struct fanout *fanout = worker->fanout;
    struct tc_span piece = {fanout->memory + index % RING * PIECE, fanout->sizes[index % RING]};
    if (worker->status != TC_OK) return;
    worker->status = worker->lane->add(worker->lane->context, piece, &worker->err);
    worker->failed_at = index;
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct fanout *fanout = worker->fanout;
    (void)pthread_mutex_lock(&fanout->lock);
    for (;;) {
        while (worker->done == fanout->count && !fanout->ended)
            (void)pthread_cond_wait(&fanout->filled, &fanout->lock);
        if (worker->done == fanout->count) break;
        (void)pthread_mutex_unlock(&fanout->lock);
        take_piece(worker, worker->done);
        (void)pthread_mutex_lock(&fanout->lock);
        worker->done++;
        if (worker->status != TC_OK) fanout->failed = true;
        (void)pthread_cond_signal(&fanout->taken);
    }
    (void)pthread_mutex_unlock(&fanout->lock);
    return NULL;
}

static bool is_full(const struct fanout *fanout)
{
    for (size_t i = 1; i <= fanout->started; i++)
        if (fanout->count - fanout->workers[i].done == RING) return true;
    return false;
}

/* Waits for room; false when a lane has failed. */
static bool await_room(struct fanout *fanout)
{
    (void)pthread_mutex_lock(&fanout->lock);
    while (!fanout->failed && is_full(fanout))
        (void)pthread_cond_wait(&fanout->taken, &fanout->lock);
    bool go_on = !fanout->failed;
    (void)pthread_mutex_unlock(&fanout->lock);
    return go_on;
}

static void announce(struct fanout *fanout, size_t size)
{
    (void)pthread_mutex_lock(&fanout->lock);
    if (size == 0) {
        fanout->ended = true;
    } else {
        fanout->sizes[fanout->count % RING] = size;
        fanout->count++;
    }
    (void)pthread_cond_broadcast(&fanout->filled);
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

static tc_status run(struct fanout *fanout, int fd, const char *what, struct tc_error *err)
{
    struct worker *own = &fanout->workers[0];
    for (size_t index = 0; own->status == TC_OK && await_room(fanout); index++) {
        size_t size = 0;
        TC_TRY(fill(fd, what, fanout->memory + index % RING * PIECE, &size, err));
        if (size == 0) break;
        announce(fanout, size);
        take_piece(own, index);
    }
    return TC_OK;
}

static tc_status start(struct fanout *fanout, const struct tc_fanout_lane *lanes, size_t count,
                       struct tc_error *err)
{
    for (size_t i = 0; i < count; i++) {
        struct worker *worker = &fanout->workers[i];
        worker->fanout = fanout;
        worker->lane = &lanes[i];
        if (i == 0) continue;
        int reason = pthread_create(&worker->thread, NULL, work, worker);
        if (reason != 0) return tc_fail_errno(err, TC_SYSTEM, reason, "cannot start a thread");
        fanout->started++;
    }
    return TC_OK;
}

/* Of the earliest piece that a lane failed at, by the first lane that did. */
static const struct worker *first_failure(const struct fanout *fanout)
{
    const struct worker *first = NULL;
    for (size_t i = 0; i <= fanout->started; i++) {
        const struct worker *worker = &fanout->workers[i];
        if (worker->status != TC_OK && (!first || worker->failed_at < first->failed_at))
            first = worker;
    }
    return first;
}

tc_status tc_fanout(int fd, const char *what, const struct tc_fanout_lane *lanes, size_t count,
                    struct tc_error *err)
{
    if (count == 0 || count > TC_FANOUT_MAX)
        return tc_fail(err, TC_USAGE, "%zu consumers of %s; expected 1 to %d", count, what,
                       TC_FANOUT_MAX);
    TC_AUTO_FREE uint8_t *memory = malloc(RING * (size_t)PIECE);
    TC_AUTO_FREE struct fanout *fanout = calloc(1, sizeof *fanout);
    if (!memory || !fanout) return tc_fail(err, TC_SYSTEM, "out of memory to read %s", what);
    fanout->memory = memory;
    (void)pthread_mutex_init(&fanout->lock, NULL);
    (void)pthread_cond_init(&fanout->filled, NULL);
    (void)pthread_cond_init(&fanout->taken, NULL);
    tc_status status = start(fanout, lanes, count, err);
    if (status == TC_OK) status = run(fanout, fd, what, err);
    announce(fanout, 0);
    for (size_t i = 1; i <= fanout->started; i++)
        (void)pthread_join(fanout->workers[i].thread, NULL);
    (void)pthread_cond_destroy(&fanout->filled);
    (void)pthread_cond_destroy(&fanout->taken);
    (void)pthread_mutex_destroy(&fanout->lock);
    const struct worker *failure = first_failure(fanout);
    if (!failure) return status;
    *err = failure->err;
    return failure->status;
}
