/* The life of a recorder and its threads. Everything that threads share is under a lock of
 * its own: the books, the pool, the certificates, and here the count of threads and the
 * first reason for which nothing is signed. The three descriptors are events that a poll
 * can wait for beside a connection. */
#include "worker/recorder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sys/eventfd.h>

#include "base/cleanup.h"
#include "worker/recorder_internal.h"

enum {
    STACK_SIZE = 512 << 10,
    LATE_PART = 12,  /* longer in the queue than stall_ms / 12, and a build may have given up; for
                        stall_ms the queue behind it counts as late */
    TOLD_MAX = 1024, /* different refusals without a connection that get a line */
};

/* --- life --- */

static bool make_events(struct tc_recorder *recorder)
{
    recorder->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    recorder->broken_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    recorder->room_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
    return recorder->stop_fd >= 0 && recorder->broken_fd >= 0 && recorder->room_fd >= 0;
}

static void raise_event(int fd, uint64_t count)
{
    ssize_t sent = write(fd, &count, sizeof count);
    (void)sent; /* full is as readable as can be */
}

static tc_status set_up(struct tc_recorder *recorder, struct tc_error *err)
{
    const struct tc_recorder_config *config = recorder->config;
    /* No file of the image configures OpenSSL: it would be one more thing to measure. */
    if (OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) != 1 || !make_events(recorder))
        return tc_fail(err, TC_SYSTEM, "the recorder of the network could not be set up");
    recorder->method = tc_rec_stream_method();
    if (!recorder->method) return tc_fail(err, TC_SYSTEM, "out of memory for the recorder");
    TC_TRY(tc_rec_trust_new(config, &recorder->trust, err));
    TC_TRY(tc_rec_ca_new(&recorder->ca, err));
    if (config->replay) TC_TRY(tc_rec_index_load(recorder, err));
    return tc_rec_book_open(&recorder->book, config->transcript_fd, err);
}

tc_status tc_recorder_new(const struct tc_recorder_config *config,
                          struct tc_recorder **ret_recorder, struct tc_error *err)
{
    struct tc_recorder *recorder = calloc(1, sizeof *recorder);
    if (!recorder) return tc_fail(err, TC_SYSTEM, "out of memory for the recorder");
    recorder->config = config;
    recorder->stall_ms = config->stall_ms > 0 ? config->stall_ms : TC_RECORDER_STALL_MS;
    recorder->stop_fd = recorder->broken_fd = recorder->room_fd = -1;
    (void)pthread_mutex_init(&recorder->lock, NULL);
    (void)pthread_mutex_init(&recorder->pool.lock, NULL);
    (void)pthread_cond_init(&recorder->changed, NULL);
    tc_status status = set_up(recorder, err);
    if (status != TC_OK) {
        tc_recorder_free(recorder);
        return status;
    }
    *ret_recorder = recorder;
    return TC_OK;
}

static void close_fd(int fd)
{
    if (fd >= 0) (void)close(fd);
}

void tc_recorder_free(struct tc_recorder *recorder)
{
    if (!recorder) return;
    (void)pthread_mutex_lock(&recorder->lock);
    recorder->stopping = true;
    raise_event(recorder->stop_fd, 1);
    (void)pthread_cond_broadcast(&recorder->changed);
    while (recorder->active > 0)
        (void)pthread_cond_wait(&recorder->changed, &recorder->lock);
    (void)pthread_mutex_unlock(&recorder->lock);
    tc_rec_pool_empty(&recorder->pool);
    tc_rec_book_done(&recorder->book);
    tc_archive_index_free(recorder->index);
    free(recorder->served);
    tc_rec_ca_free(recorder->ca);
    tc_rec_trust_free(recorder->trust);
    BIO_meth_free(recorder->method);
    close_fd(recorder->stop_fd);
    close_fd(recorder->broken_fd);
    close_fd(recorder->room_fd);
    (void)pthread_cond_destroy(&recorder->changed);
    (void)pthread_mutex_destroy(&recorder->pool.lock);
    (void)pthread_mutex_destroy(&recorder->lock);
    free(recorder);
}

struct tc_span tc_recorder_ca_pem(const struct tc_recorder *recorder)
{
    return tc_rec_ca_pem(recorder->ca);
}

struct tc_span tc_recorder_ca_p12(const struct tc_recorder *recorder)
{
    return tc_rec_ca_p12(recorder->ca);
}

const struct tc_sha256 *tc_recorder_archive(const struct tc_recorder *recorder)
{
    return recorder->index ? &recorder->archive_digest : NULL;
}

/* --- the end of hope --- */

void tc_recorder_break(struct tc_recorder *recorder, const struct tc_error *reason)
{
    (void)pthread_mutex_lock(&recorder->lock);
    if (!recorder->broken) recorder->reason = *reason;
    recorder->broken = true;
    (void)pthread_mutex_unlock(&recorder->lock);
    raise_event(recorder->broken_fd, 1);
    raise_event(recorder->stop_fd, 1);
}

int tc_recorder_broken_fd(const struct tc_recorder *recorder)
{
    return recorder->broken_fd;
}

void tc_recorder_reason(struct tc_recorder *recorder, struct tc_error *ret_reason)
{
    (void)pthread_mutex_lock(&recorder->lock);
    *ret_reason = recorder->reason;
    (void)pthread_mutex_unlock(&recorder->lock);
}

bool tc_recorder_is_finishing(struct tc_recorder *recorder)
{
    (void)pthread_mutex_lock(&recorder->lock);
    bool finishing = recorder->finishing;
    (void)pthread_mutex_unlock(&recorder->lock);
    return finishing;
}

/* --- connections --- */

static void *serve(void *argument)
{
    struct tc_rec_conn *conn = argument;
    struct tc_recorder *recorder = conn->recorder;
    tc_rec_conn_serve(conn);
    free(conn);
    OPENSSL_thread_stop(); /* whoever waits for this thread may end the process */
    (void)pthread_mutex_lock(&recorder->lock);
    recorder->active--;
    (void)pthread_cond_broadcast(&recorder->changed);
    (void)pthread_mutex_unlock(&recorder->lock);
    return NULL;
}

static tc_status start(struct tc_rec_conn *conn, struct tc_error *err)
{
    pthread_attr_t attributes;
    pthread_t thread;
    int reason = pthread_attr_init(&attributes);
    if (reason == 0) {
        (void)pthread_attr_setstacksize(&attributes, STACK_SIZE);
        (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        reason = pthread_create(&thread, &attributes, serve, conn);
        (void)pthread_attr_destroy(&attributes);
    }
    if (reason != 0) return tc_fail_errno(err, TC_SYSTEM, reason, "cannot start a thread");
    return TC_OK;
}

/* Waits for a place; false: the recorder ends. */
static bool take_place(struct tc_recorder *recorder, bool *ret_late)
{
    int64_t since = tc_clock_ms();
    (void)pthread_mutex_lock(&recorder->lock);
    bool full = recorder->active >= TC_RECORDER_CONNECTIONS;
    if (full) raise_event(recorder->room_fd, 1);
    while (recorder->active >= TC_RECORDER_CONNECTIONS && !recorder->stopping && !recorder->broken)
        (void)pthread_cond_wait(&recorder->changed, &recorder->lock);
    int64_t now = tc_clock_ms();
    if (full && now - since > recorder->stall_ms / LATE_PART)
        recorder->late_until = now + recorder->stall_ms;
    *ret_late = now < recorder->late_until;
    bool good = !recorder->stopping && !recorder->finishing && !recorder->broken;
    if (good) recorder->active++;
    (void)pthread_mutex_unlock(&recorder->lock);
    return good;
}

static void leave_place(struct tc_recorder *recorder)
{
    (void)pthread_mutex_lock(&recorder->lock);
    recorder->active--;
    (void)pthread_cond_broadcast(&recorder->changed);
    (void)pthread_mutex_unlock(&recorder->lock);
}

tc_status tc_recorder_take(struct tc_recorder *recorder, int fd, const char *name,
                           const char *address, uint16_t port, struct tc_error *err)
{
    bool late = false;
    struct tc_rec_conn *conn = calloc(1, sizeof *conn);
    if (!conn || (name[0] && !tc_host_name_is_good(tc_span_of_text(name))) ||
        !take_place(recorder, &late)) {
        free(conn);
        (void)close(fd);
        return tc_fail(err, TC_REFUSED, "the recorder takes no connection to \"%s\" any more",
                       name);
    }
    conn->recorder = recorder;
    conn->fd = fd;
    conn->port = port;
    conn->late = late;
    (void)snprintf(conn->name, sizeof conn->name, "%s", name);
    (void)snprintf(conn->address, sizeof conn->address, "%s", address);
    if (start(conn, err) == TC_OK) return TC_OK;
    leave_place(recorder);
    free(conn);
    (void)close(fd);
    /* A build must not be able to see that it is short of something. */
    tc_recorder_break(recorder, err);
    return err->status;
}

/* --- refusals without a connection --- */

/* Was this not told yet? Each thing gets one line, and only so many things do. */
static bool is_news(struct tc_rec_book *book, const struct tc_sha256 *digest)
{
    if (!book->told) book->told = calloc(TOLD_MAX, sizeof *book->told);
    if (!book->told || book->told_count == TOLD_MAX) return false;
    for (size_t i = 0; i < book->told_count; i++)
        if (memcmp(book->told[i].bytes, digest->bytes, sizeof digest->bytes) == 0) return false;
    book->told[book->told_count++] = *digest;
    return true;
}

void tc_recorder_deny(struct tc_recorder *recorder, const char *what, const char *why)
{
    struct tc_error err = {0};
    struct tc_sha256 digest = {0};
    struct tc_buf buf TC_AUTO_BUF = tc_buf_new(4096);
    tc_buf_add_format(&buf, "%s\n%s", what, why);
    if (tc_sha256_of(tc_buf_span(&buf), &digest, &err) != TC_OK) return;
    (void)pthread_mutex_lock(&recorder->book.lock);
    bool news = is_news(&recorder->book, &digest);
    (void)pthread_mutex_unlock(&recorder->book.lock);
    if (!news) return;
    struct tc_exchange record = {.time = (int64_t)time(NULL),
                                 .outcome = TC_EXCHANGE_DENIED,
                                 .host = strdup(what),
                                 .reason = strdup(why)};
    if (tc_rec_book_add(&recorder->book, &record, &err) != TC_OK) tc_recorder_break(recorder, &err);
    tc_exchange_free(&record);
}

/* --- the worker's own question --- */

static tc_status split_url(const char *url, char *host, size_t size, uint16_t *ret_port,
                           const char **ret_path, struct tc_error *err)
{
    static const char scheme[] = "https://";
    unsigned long port = 443;
    const char *start = url + sizeof scheme - 1, *end = NULL;
    if (strncmp(url, scheme, sizeof scheme - 1) != 0)
        return tc_fail(err, TC_USAGE, "%s: expected a URL that begins with https://", url);
    size_t length = strcspn(start, ":/");
    if (start[length] == ':') {
        char *after = NULL;
        errno = 0;
        port = strtoul(start + length + 1, &after, 10);
        end = after;
    } else {
        end = start + length;
    }
    if (length == 0 || length >= size || port == 0 || port > UINT16_MAX || *end != '/' ||
        !tc_host_name_is_good((struct tc_span){(const uint8_t *)start, length}))
        return tc_fail(err, TC_USAGE,
                       "%s: expected https://NAME[:PORT]/PATH with a name of DNS in "
                       "lower case",
                       url);
    memcpy(host, start, length);
    host[length] = '\0';
    *ret_port = (uint16_t)port;
    *ret_path = end;
    return TC_OK;
}

tc_status tc_recorder_get(struct tc_recorder *recorder, const char *url, struct tc_buf *buf,
                          struct tc_error *err)
{
    struct tc_buf head TC_AUTO_BUF = tc_buf_new(TC_HTTP_HEAD_MAX);
    char host[TC_HOST_NAME_MAX + 1];
    const char *path = "";
    uint16_t port = 0;
    if (recorder->config->replay)
        return tc_fail(err, TC_REFUSED,
                       "%s: a replay asks nobody: build with the network, or without "
                       "network.witness of build.json",
                       url);
    TC_TRY(split_url(url, host, sizeof host, &port, &path, err));
    tc_buf_add_format(&head, "GET %s HTTP/1.1\r\nHost: %s", path, host);
    if (port != 443) tc_buf_add_format(&head, ":%u", (unsigned)port);
    tc_buf_add_text(&head, "\r\nUser-Agent: git/2 (tee-compile)\r\nAccept: */*\r\n\r\n");
    TC_TRY(tc_buf_check(&head, "a URL", err));
    struct tc_rec_target target = {host, port, true};
    return tc_rec_ask_own(recorder, &target, tc_buf_span(&head), buf, err);
}

/* --- the end --- */

tc_status tc_recorder_finish(struct tc_recorder *recorder,
                             struct tc_transcript_summary *ret_summary, struct tc_error *err)
{
    (void)pthread_mutex_lock(&recorder->lock);
    recorder->finishing = true;
    raise_event(recorder->room_fd, 1);
    while (recorder->active > 0)
        (void)pthread_cond_wait(&recorder->changed, &recorder->lock);
    bool broken = recorder->broken;
    if (broken) *err = recorder->reason;
    (void)pthread_mutex_unlock(&recorder->lock);
    if (broken) return tc_wrap(err, "the build's network failed");
    return tc_rec_book_close(&recorder->book, ret_summary, err);
}
