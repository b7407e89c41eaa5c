/* The host's egress by way of a proxy that this test plays, and the reading of what names
 * one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "egress_net.h"
#include "loopback.h"

static size_t read_head(int fd, char *out, size_t size)
{
    size_t got = 0;
    while (got < 4 || memcmp(out + got - 4, "\r\n\r\n", 4) != 0) {
        assert_true(got + 1 < size);
        read_all(fd, out + got++, 1);
    }
    out[got] = '\0';
    return got;
}

static void test_proxy(void **state)
{
    (void)state;
    char url[64], head[1024], text[TC_EGRESS_TEXT_MAX + 1];
    uint16_t port;
    int listener = listen_here(&port);
    (void)snprintf(url, sizeof url, "http://us%%65r:p%%3Ass@proxy.test:%u/", (unsigned)port);
    struct tc_egress *egress = new_egress(url, "direct.test");
    int fd = open_stream(egress);
    ask_dial(fd, "example.test", 8443);
    int server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    (void)read_head(server, head, sizeof head);
    assert_string_equal(head, "CONNECT example.test:8443 HTTP/1.1\r\nHost: example.test:8443\r\n"
                              "Proxy-Authorization: Basic dXNlcjpwOnNz\r\n\r\n");
    /* The server's first bytes in one piece with the proxy's last; the head in two. */
    write_all(server, "HTTP/1.0 200 Fine\r\nVia: x\r", 26);
    static const char rest[] = "\n\r\n\r\n\r\nSSH-2.0";
    write_all(server, rest, sizeof rest - 1);
    assert_int_equal(read_answer(fd, text), 0);
    assert_string_equal(text, "proxy");
    read_all(fd, text, 11);
    assert_memory_equal(text, "\r\n\r\nSSH-2.0", 11);
    (void)close(server);
    expect_end(fd);
    (void)close(fd);

    static const struct {
        const char *said, *words;
    } no[] = {
        {"HTTP/1.1 407 Who are you\r\nProxy-Authenticate: Basic\r\n\r\n", "\"407 Who are you\""},
        {"HTTP/1.1 502 \x1b[31m\r\n\r\n", "502 \\x1b[31m"},
        {"SSH-2.0-OpenSSH\r\n\r\n", "no HTTP"},
        {"HTTP/1.1\r\n\r\n", "no HTTP"},
        {"HTTP/1.\r 5\r\n\r\n", "\"5\""},
        {"", "hung up"},
        {"HTTP/1.1 200 OK\r\n", "hung up"},
    };
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
        fd = open_stream(egress);
        ask_dial(fd, "example.test", 443);
        server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        (void)read_head(server, head, sizeof head);
        write_all(server, no[i].said, strlen(no[i].said));
        (void)shutdown(server, SHUT_WR);
        assert_int_not_equal(read_answer(fd, text), 0);
        if (!strstr(text, no[i].words)) fail_msg("\"%s\" does not say \"%s\"", text, no[i].words);
        assert_null(strstr(text, "proxy.test"));
        (void)close(server);
        (void)close(fd);
    }
    /* A head without an end. */
    fd = open_stream(egress);
    ask_dial(fd, "example.test", 443);
    server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    (void)read_head(server, head, sizeof head);
    for (char junk[1024] = {'x'}; send(server, junk, sizeof junk, MSG_NOSIGNAL) > 0;) {
    }
    assert_int_not_equal(read_answer(fd, text), 0);
    assert_non_null(strstr(text, "larger than"));
    (void)close(server);
    (void)close(fd);
    /* The proxy may stand here, and is not even asked for what would be its own. */
    expect_refusal(egress, "localhost", "leads to the host itself");
    expect_refusal(egress, "a.localhost", "leads to the host itself");
    /* What needs no proxy goes without. */
    resolved[0] = "127.0.0.1";
    expect_refusal(egress, "direct.test", "leads to the host itself");
    tc_egress_stop(egress);
    (void)close(listener);
}

/* An asker that hangs up does not leave a connection being made behind. */
static void test_asker_gone(void **state)
{
    (void)state;
    char url[64], head[256];
    uint16_t port;
    int proxy = listen_here(&port);
    (void)snprintf(url, sizeof url, "http://proxy.test:%u", (unsigned)port);
    struct tc_egress *egress = new_egress(url, NULL);
    int fd = open_stream(egress);
    ask_dial(fd, "elsewhere.test", 443);
    int server = accept4(proxy, NULL, NULL, SOCK_CLOEXEC);
    (void)read_head(server, head, sizeof head);
    (void)close(fd);
    expect_end(server);
    tc_egress_stop(egress);
    (void)close(server);
    (void)close(proxy);
}

static void test_proxy_is_read_strictly(void **state)
{
    (void)state;
    static const struct {
        const char *url, *host;
        unsigned port;
    } good[] = {
        {"http://proxy.example:3128", "proxy.example", 3128},
        {"proxy.example:3128", "proxy.example", 3128},
        {"HTTP://proxy.example/", "proxy.example", 80},
        {"http://[2001:db8::1]:8080", "2001:db8::1", 8080},
        {"http://[2001:db8::1]", "2001:db8::1", 80},
        {"http://user@192.0.2.1:1", "192.0.2.1", 1},
        {"http://a:b@c@proxy:65535", "proxy", 65535},
    };
    static const char *const bad[] = {
        "https://proxy:1",  "socks5://proxy:1",    "http://",
        "http://proxy:0",   "http://proxy:65536",  "http://proxy:",
        "http://proxy:1x",  "http://proxy/path",   "http://proxy?x",
        "http://[::1",      "http://[::1]x",       "http://a%0ab@proxy",
        "http://a%4@proxy", "http://a%zz@proxy",   "http://pro xy",
        "http://:80",       "http://pr\xc3\xb6xy", "",
    };
    struct tc_error err = {0};
    struct tc_proxy proxy;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(tc_proxy_parse(good[i].url, NULL, &proxy, &err), TC_OK);
        assert_string_equal(proxy.host, good[i].host);
        assert_int_equal(proxy.port, good[i].port);
        tc_proxy_done(&proxy);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (tc_proxy_parse(bad[i], NULL, &proxy, &err) != TC_USAGE) fail_msg("%s was read", bad[i]);
    assert_int_equal(tc_proxy_parse("http://u:secret%zz@p", NULL, &proxy, &err), TC_USAGE);
    assert_null(strstr(err.message, "secret"));

    static const struct {
        const char *except, *name;
        bool covered;
    } cases[] = {
        {NULL, "a.example", true},           {"", "a.example", true},
        {"*", "a.example", false},           {"b.example,a.example", "a.example", false},
        {"a.example", "x.a.example", false}, {".a.example", "x.a.example", false},
        {".a.example", "a.example", false},  {"a.example", "ba.example", true},
        {"A.Example", "a.example", false},   {"a.example:443", "a.example", false},
        {"a.example:80", "a.example", true}, {" b , a.example ", "a.example", false},
        {"x.a.example", "a.example", true},  {".,,:443", "a.example", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(tc_proxy_parse("proxy", cases[i].except, &proxy, &err), TC_OK);
        if (tc_proxy_covers(&proxy, cases[i].name, 443) != cases[i].covered)
            fail_msg("%s and \"%s\"", cases[i].name, cases[i].except);
        tc_proxy_done(&proxy);
    }
    proxy = (struct tc_proxy){0};
    assert_false(tc_proxy_covers(&proxy, "a.example", 443));

    static const char *const names[] = {"https_proxy", "HTTPS_PROXY", "all_proxy",
                                        "ALL_PROXY",   "no_proxy",    "NO_PROXY"};
    for (size_t i = 0; i < 6; i++)
        (void)unsetenv(names[i]);
    assert_int_equal(tc_proxy_of_environment(&proxy, &err), TC_OK);
    assert_null(proxy.host);
    for (size_t i = 4; i-- > 0;) {
        char url[32];
        (void)snprintf(url, sizeof url, "http://p%zu:80", i);
        assert_int_equal(setenv(names[i], url, 1), 0);
        assert_int_equal(setenv("no_proxy", i == 0 ? "x" : "", 1), 0);
        assert_int_equal(tc_proxy_of_environment(&proxy, &err), TC_OK);
        assert_memory_equal(proxy.host, url + 7, 2);
        assert_true((proxy.except != NULL) == (i == 0));
        tc_proxy_done(&proxy);
    }
    for (size_t i = 0; i < 6; i++)
        (void)unsetenv(names[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_proxy),
        cmocka_unit_test(test_asker_gone),
        cmocka_unit_test(test_proxy_is_read_strictly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
