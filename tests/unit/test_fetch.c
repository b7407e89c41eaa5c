/* Fetching, from a server on the loopback that answers by a script and from files:
 * what is taken, what is followed, and what a hostile server cannot make of it. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <curl/curl.h>

#include "assert_ok.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "host/fetch.h"
#include "loopback.h"

/* --- the library's options, of which one test shortens the patience (the linker's --wrap) */

static bool hurry;
static long patience, least; /* as the code under test asks for them; 0: it does not */

CURLcode __real_curl_easy_setopt(CURL *curl, CURLoption option, ...);
CURLcode __wrap_curl_easy_setopt(CURL *curl, CURLoption option, ...);
CURLcode __wrap_curl_easy_setopt(CURL *curl, CURLoption option, ...)
{
    va_list arguments;
    va_start(arguments, option);
    if (option < CURLOPTTYPE_OBJECTPOINT) {
        long number = va_arg(arguments, long);
        va_end(arguments);
        if (option == CURLOPT_LOW_SPEED_LIMIT) least = number;
        if (option == CURLOPT_LOW_SPEED_TIME) patience = number;
        if (option == CURLOPT_LOW_SPEED_TIME && hurry) number = 1;
        return __real_curl_easy_setopt(curl, option, number);
    }
    void *pointer = va_arg(arguments, void *);
    va_end(arguments);
    return __real_curl_easy_setopt(curl, option, pointer);
}

/* --- the server: one connection an answer, then it is gone */

struct server {
    int listener;
    uint16_t port;
    const char *const *answers; /* ended by NULL; %u in one is the port */
    char seen[8][1024];         /* the requests' heads */
    unsigned seen_count;
    pthread_t thread;
};

#define STALL "no answer until the other side gives up"

static void answer_one(struct server *server, int fd, const char *answer)
{
    char *head = server->seen[server->seen_count++], text[4096];
    size_t got = 0;
    while (got < sizeof server->seen[0] - 1 && !strstr(head, "\r\n\r\n")) {
        ssize_t size = read(fd, head + got, sizeof server->seen[0] - 1 - got);
        if (size <= 0) break;
        got += (size_t)size;
        head[got] = '\0';
    }
    const char *mark = strstr(answer, "PORT");
    int size = mark ? snprintf(text, sizeof text, "%.*s%u%s", (int)(mark - answer), answer,
                               server->port, mark + 4)
                    : snprintf(text, sizeof text, "%s", answer);
    if (strcmp(answer, STALL) != 0) {
        (void)send(fd, text, (size_t)size, MSG_NOSIGNAL);
        (void)shutdown(fd, SHUT_WR);
    }
    while (read(fd, text, sizeof text) > 0) {
    }
}

static void *serve(void *context)
{
    struct server *server = context;
    for (size_t i = 0; server->answers[i]; i++) {
        int fd = accept(server->listener, NULL, NULL);
        if (fd < 0) return NULL;
        answer_one(server, fd, server->answers[i]);
        (void)close(fd);
    }
    return NULL;
}

static void start(struct server *server, const char *const *answers)
{
    memset(server, 0, sizeof *server);
    server->answers = answers;
    server->listener = listen_here(&server->port);
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

/* Also when it still waits for a request that a refusal never sends. */
static void stop(struct server *server)
{
    (void)shutdown(server->listener, SHUT_RDWR);
    assert_int_equal(pthread_join(server->thread, NULL), 0);
    (void)close(server->listener);
}

/* --- fetching into memory */

struct got {
    char text[4096];
    uint64_t size;
    struct tc_sha256 digest;
    char url[256];
};

static tc_status fetch_url(struct got *got, struct tc_fetch fetch, struct tc_error *err)
{
    TC_AUTO_CLOSE int fd = memfd_create("got", MFD_CLOEXEC);
    assert_true(fd >= 0);
    if (fetch.max_size == 0) fetch.max_size = 1000;
    got->size = 99;
    memset(got->text, 0, sizeof got->text);
    tc_status status = tc_fetch_to(&fetch, fd, &got->digest, &got->size, err);
    assert_true(pread(fd, got->text, sizeof got->text - 1, 0) >= 0);
    if (status != TC_OK) assert_int_equal(got->size, 99);
    return status;
}

static tc_status fetch_from(struct server *server, const char *const *answers,
                            struct tc_fetch fetch, struct got *got, struct tc_error *err)
{
    start(server, answers);
    (void)snprintf(got->url, sizeof got->url, "http://who:secret@127.0.0.1:%u/a%%20b.deb?x=1",
                   server->port);
    fetch.url = got->url;
    tc_status status = fetch_url(got, fetch, err);
    stop(server);
    assert_null(strstr(err->message, "secret"));
    return status;
}

static const struct tc_fetch any = {.allow_http = true};

static void test_plain(void **state)
{
    static const char *const answers[] = {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
                                          NULL};
    struct server server;
    struct got got;
    struct tc_error err = {0};
    struct tc_sha256 expected;
    (void)state;
    assert_ok(fetch_from(&server, answers, any, &got, &err));
    assert_string_equal(got.text, "hello");
    assert_int_equal(got.size, 5);
    assert_ok(tc_sha256_of(tc_span_of_text("hello"), &expected, &err));
    assert_memory_equal(got.digest.bytes, expected.bytes, sizeof expected.bytes);
    assert_non_null(strstr(server.seen[0], "GET /a%20b.deb?x=1 HTTP/1.1\r\n"));
    struct tc_fetch fetch = any;
    fetch.expected = &expected;
    assert_ok(fetch_from(&server, answers, fetch, &got, &err));
    expected.bytes[31] ^= 1;
    assert_int_equal(fetch_from(&server, answers, fetch, &got, &err), TC_REFUSED);
    assert_non_null(strstr(err.message, "expected sha256"));
}

static void test_appends(void **state)
{
    static const char *const answers[] = {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew", NULL};
    struct server server;
    struct tc_error err = {0};
    char url[64], text[16] = "";
    TC_AUTO_CLOSE int fd = memfd_create("got", MFD_CLOEXEC);
    (void)state;
    start(&server, answers);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/", server.port);
    assert_int_equal(write(fd, "old ", 4), 4);
    struct tc_fetch fetch = {.url = url, .max_size = 3, .allow_http = true};
    assert_ok(tc_fetch_to(&fetch, fd, NULL, NULL, &err));
    stop(&server);
    assert_int_equal(pread(fd, text, sizeof text - 1, 0), 7);
    assert_string_equal(text, "old new");
}

/* The server's own claim of a size decides nothing. */
static void test_too_large(void **state)
{
    static const char *const announced[] = {"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello!",
                                            NULL};
    static const char *const chunked[] = {
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n3\r\nlo!\r\n0\r\n\r\n",
        NULL};
    static const char *const *const all[] = {announced, chunked};
    struct tc_fetch fetch = any;
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct server server;
        struct got got;
        struct tc_error err = {0};
        fetch.max_size = 5;
        assert_int_equal(fetch_from(&server, all[i], fetch, &got, &err), TC_LIMIT);
        assert_true(strlen(got.text) <= 5);
        fetch.max_size = 6;
        assert_ok(fetch_from(&server, all[i], fetch, &got, &err));
        assert_string_equal(got.text, "hello!");
    }
}

static void test_broken_off(void **state)
{
    static const char *const answers[][2] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", NULL},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", NULL},
        {"HTTP/1.1 200 OK\r\n\r\nhello", NULL}, /* whole or not: nobody can tell */
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", NULL},
        {"", NULL},
        {"nonsense", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct server server;
        struct got got;
        struct tc_error err = {0};
        assert_int_equal(fetch_from(&server, answers[i], any, &got, &err), TC_PEER);
    }
}

/* Nothing but 200 is the file, and no other answer's body gets into it. */
static void test_other_answers(void **state)
{
    static const char *const codes[] = {
        "404 Not Found",       "410 Gone",    "403 Forbidden",   "500 Oops",
        "206 Partial Content", "203 Altered", "304 Not Modified"};
    (void)state;
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        struct server server;
        struct got got;
        struct tc_error err = {0};
        char answer[128];
        const char *const answers[] = {answer, NULL};
        (void)snprintf(answer, sizeof answer, "HTTP/1.1 %s\r\nContent-Length: 4\r\n\r\nbody",
                       codes[i]);
        assert_int_equal(fetch_from(&server, answers, any, &got, &err), TC_UNAVAILABLE);
        assert_string_equal(got.text, "");
        assert_non_null(strstr(err.message, (char[]){codes[i][0], codes[i][1], codes[i][2], '\0'}));
    }
}

static void test_redirects(void **state)
{
#define TO(place) "HTTP/1.1 302 Found\r\nLocation: " place "\r\nContent-Length: 4\r\n\r\nmove"
#define ARRIVED "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    static const char *const five[] = {
        TO("/1"), TO("http://127.0.0.1:PORT/2"), TO("3"), TO("/4"), TO("/5"), ARRIVED, NULL};
    static const char *const six[] = {TO("/1"), TO("/2"), TO("/3"), TO("/4"),
                                      TO("/5"), TO("/6"), ARRIVED,  NULL};
    static const char *const file[] = {TO("file:///etc/passwd"), NULL};
    static const char *const ftp[] = {TO("ftp://127.0.0.1:PORT/"), NULL};
    struct server server;
    struct got got;
    struct tc_error err = {0};
    (void)state;
    assert_ok(fetch_from(&server, five, any, &got, &err));
    assert_string_equal(got.text, "hello");
    assert_int_equal(server.seen_count, 6);
    assert_non_null(strstr(server.seen[5], "GET /5 "));
    /* A password goes nowhere but where it was given for. */
    assert_non_null(strstr(server.seen[0], "Authorization"));
    assert_null(strstr(server.seen[2], "Authorization"));
    assert_int_equal(fetch_from(&server, six, any, &got, &err), TC_REFUSED);
    assert_string_equal(got.text, "");
    assert_int_equal(fetch_from(&server, file, any, &got, &err), TC_REFUSED);
    assert_string_equal(got.text, "");
    assert_int_equal(fetch_from(&server, ftp, any, &got, &err), TC_REFUSED);
}

static void test_schemes(void **state)
{
    static const char *const none[] = {NULL};
    static const char *const bad[] = {"ftp://127.0.0.1/",  "gopher://127.0.0.1/", "/etc/passwd", "",
                                      "scp://127.0.0.1/x", "ldap://127.0.0.1",    "httpx://a"};
    struct server server;
    struct got got;
    struct tc_error err = {0};
    (void)state;
    assert_int_equal(fetch_from(&server, none, (struct tc_fetch){0}, &got, &err), TC_USAGE);
    assert_non_null(strstr(err.message, "give https"));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct tc_fetch fetch = {.url = bad[i], .allow_http = true};
        assert_int_equal(fetch_url(&got, fetch, &err), TC_USAGE);
    }
    /* The listener of the first is closed by now. */
    assert_int_equal(fetch_url(&got, (struct tc_fetch){.url = got.url, .allow_http = true}, &err),
                     TC_UNAVAILABLE);
    assert_null(strstr(err.message, "secret"));
}

static tc_status end_at_once(void *context, uint64_t done, uint64_t total, struct tc_error *err)
{
    (void)context;
    (void)done;
    (void)total;
    return tc_fail(err, TC_INTERRUPTED, "enough");
}

static tc_status count(void *context, uint64_t done, uint64_t total, struct tc_error *err)
{
    (void)err;
    uint64_t *last = context;
    assert_true(total == 0 || done <= total);
    assert_true(done >= *last);
    *last = done;
    return TC_OK;
}

static void test_progress(void **state)
{
    static const char *const answers[] = {ARRIVED, NULL};
    static const char *const stalled[] = {STALL, NULL};
    struct server server;
    struct got got;
    struct tc_error err = {0};
    struct tc_fetch fetch = any;
    uint64_t last = 0;
    (void)state;
    fetch.on_progress = end_at_once;
    assert_int_equal(fetch_from(&server, answers, fetch, &got, &err), TC_INTERRUPTED);
    assert_string_equal(err.message, "enough");
    assert_int_equal(fetch_from(&server, stalled, fetch, &got, &err), TC_INTERRUPTED);
    fetch.on_progress = count;
    fetch.context = &last;
    assert_ok(fetch_from(&server, answers, fetch, &got, &err));
    assert_int_equal(last, 5);
}

static tc_status end_if_nothing_else_does(void *context, uint64_t done, uint64_t total,
                                          struct tc_error *err)
{
    (void)context;
    (void)done;
    (void)total;
    if (patience > 0 && least > 0) return TC_OK;
    return tc_fail(err, TC_INTERRUPTED, "it would wait for ever");
}

/* A server that says nothing is not waited for without end, and nobody has to come and
 * interrupt it. */
static void test_stall(void **state)
{
    static const char *const stalled[] = {STALL, NULL};
    struct server server;
    struct got got;
    struct tc_error err = {0};
    struct tc_fetch fetch = any;
    (void)state;
    fetch.on_progress = end_if_nothing_else_does;
    patience = least = 0;
    hurry = true;
    tc_status status = fetch_from(&server, stalled, fetch, &got, &err);
    hurry = false;
    if (status != TC_PEER || !strstr(err.message, "broke off")) fail_msg("%s", err.message);
    assert_in_range(patience, 10, 120);
}

static void test_files(void **state)
{
    char folder[] = "/tmp/tc-fetch.XXXXXX", path[64], url[128];
    struct got got;
    struct tc_error err = {0};
    (void)state;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/a b", folder);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "hello", 5), 5);
    (void)close(fd);
    (void)snprintf(url, sizeof url, "file://%s/a%%20b", folder);
    assert_ok(fetch_url(&got, (struct tc_fetch){.url = url}, &err));
    assert_string_equal(got.text, "hello");
    (void)snprintf(url, sizeof url, "file:%s/a%%20b", folder);
    assert_ok(fetch_url(&got, (struct tc_fetch){.url = url}, &err));
    (void)snprintf(url, sizeof url, "file://localhost%s/a%%20b", folder);
    assert_ok(fetch_url(&got, (struct tc_fetch){.url = url}, &err));
    assert_int_equal(fetch_url(&got, (struct tc_fetch){.url = url, .max_size = 4}, &err), TC_LIMIT);
    assert_int_equal(
        fetch_url(&got, (struct tc_fetch){.url = url, .on_progress = end_at_once}, &err),
        TC_INTERRUPTED);
    (void)snprintf(url, sizeof url, "file://other.example%s/a%%20b", folder);
    assert_int_equal(fetch_url(&got, (struct tc_fetch){.url = url}, &err), TC_USAGE);
    (void)snprintf(url, sizeof url, "file://%s", folder);
    assert_int_equal(fetch_url(&got, (struct tc_fetch){.url = url}, &err), TC_UNAVAILABLE);
    (void)snprintf(url, sizeof url, "file://%s/none", folder);
    assert_int_equal(fetch_url(&got, (struct tc_fetch){.url = url}, &err), TC_UNAVAILABLE);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0); /* would be waited for without end */
    (void)snprintf(url, sizeof url, "file://%s/a%%20b", folder);
    assert_int_equal(fetch_url(&got, (struct tc_fetch){.url = url}, &err), TC_UNAVAILABLE);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),         cmocka_unit_test(test_appends),
        cmocka_unit_test(test_too_large),     cmocka_unit_test(test_broken_off),
        cmocka_unit_test(test_other_answers), cmocka_unit_test(test_redirects),
        cmocka_unit_test(test_schemes),       cmocka_unit_test(test_progress),
        cmocka_unit_test(test_stall),         cmocka_unit_test(test_files),
    };
    /* The machine's own proxy is not what is tested. */
    (void)setenv("no_proxy", "127.0.0.1", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
