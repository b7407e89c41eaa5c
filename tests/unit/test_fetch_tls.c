/* Fetching by https, from a server on the loopback with a certificate of its own. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "base/cleanup.h"
#include "host/fetch.h"
#include "loopback.h"

/* --- the server: one certificate, one answer */

struct server {
    EVP_PKEY *key;
    X509 *certificate;
    char pem[64]; /* path of the certificate */
    int listener;
    uint16_t port;
    const char *answer;
    bool cut; /* end the connection as somebody else on the wire would */
    pthread_t thread;
};

static void make_certificate(struct server *server)
{
    server->key = EVP_EC_gen("P-256");
    server->certificate = X509_new();
    assert_non_null(server->key);
    X509 *c = server->certificate;
    X509_NAME *name = X509_get_subject_name(c);
    assert_true(X509_set_version(c, 2) && ASN1_INTEGER_set(X509_get_serialNumber(c), 1));
    assert_true(X509_gmtime_adj(X509_getm_notBefore(c), -60) &&
                X509_gmtime_adj(X509_getm_notAfter(c), 3600));
    assert_true(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                           (const unsigned char *)"loopback", -1, -1, 0));
    assert_true(X509_set_issuer_name(c, name) && X509_set_pubkey(c, server->key));
    X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "IP:127.0.0.1");
    assert_non_null(names);
    assert_true(X509_add_ext(c, names, -1));
    X509_EXTENSION_free(names);
    assert_true(X509_sign(c, server->key, EVP_sha256()) > 0);
    (void)snprintf(server->pem, sizeof server->pem, "/tmp/tc-tls.XXXXXX");
    int fd = mkstemp(server->pem);
    FILE *file = fdopen(fd, "w");
    assert_non_null(file);
    assert_true(PEM_write_X509(file, c));
    assert_int_equal(fclose(file), 0);
}

static void *serve(void *context)
{
    struct server *server = context;
    char text[4096];
    int fd = accept(server->listener, NULL, NULL), got;
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    (void)SSL_CTX_use_PrivateKey(tls, server->key);
    (void)SSL_CTX_use_certificate(tls, server->certificate);
    SSL *ssl = SSL_new(tls);
    (void)SSL_set_fd(ssl, fd);
    if (SSL_accept(ssl) == 1 && (got = SSL_read(ssl, text, sizeof text)) > 0) {
        (void)SSL_write(ssl, server->answer, (int)strlen(server->answer));
        if (!server->cut) (void)SSL_shutdown(ssl);
    }
    SSL_free(ssl);
    SSL_CTX_free(tls);
    (void)shutdown(fd, SHUT_WR);
    while (read(fd, text, sizeof text) > 0) {
    }
    (void)close(fd);
    return NULL;
}

static void start(struct server *server, const char *answer, bool cut)
{
    server->answer = answer;
    server->cut = cut;
    server->listener = listen_here(&server->port);
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static tc_status fetch(struct server *server, const char *host, const char *answer, bool cut,
                       bool allow_http, char text[64], struct tc_error *err)
{
    char url[64];
    TC_AUTO_CLOSE int fd = memfd_create("got", MFD_CLOEXEC);
    start(server, answer, cut);
    (void)snprintf(url, sizeof url, "https://%s:%u/x", host, server->port);
    struct tc_fetch wanted = {.url = url, .max_size = 60, .allow_http = allow_http};
    tc_status status = tc_fetch_to(&wanted, fd, NULL, NULL, err);
    assert_int_equal(pthread_join(server->thread, NULL), 0);
    (void)close(server->listener);
    memset(text, 0, 64);
    assert_true(pread(fd, text, 63, 0) >= 0);
    return status;
}

static void test_tls(void **state)
{
    static const char hello[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    static const char part[] = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello";
    static const char open_end[] = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello";
    static const char to_http[] =
        "HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    struct server server = {.listener = -1}, other = {.listener = -1};
    struct tc_error err = {0};
    char text[64];
    (void)state;
    make_certificate(&server);
    make_certificate(&other);
    assert_int_equal(setenv("SSL_CERT_FILE", server.pem, 1), 0);
    if (fetch(&server, "127.0.0.1", hello, false, false, text, &err) != TC_OK)
        fail_msg("%s", err.message);
    assert_string_equal(text, "hello");
    /* A certificate that nobody vouches for, and one for another name. */
    assert_int_equal(setenv("SSL_CERT_FILE", other.pem, 1), 0);
    assert_int_equal(fetch(&server, "127.0.0.1", hello, false, true, text, &err), TC_REFUSED);
    assert_string_equal(text, "");
    assert_int_equal(setenv("SSL_CERT_FILE", server.pem, 1), 0);
    assert_int_equal(fetch(&server, "localhost", hello, false, true, text, &err), TC_REFUSED);
    assert_string_equal(text, "");
    /* Whatever may be taken by http, https never becomes it. */
    assert_int_equal(fetch(&server, "127.0.0.1", to_http, false, true, text, &err), TC_REFUSED);
    assert_non_null(strstr(err.message, "from https to http://127.0.0.1:1/"));
    /* An end that somebody else on the wire can make. */
    assert_int_equal(fetch(&server, "127.0.0.1", open_end, false, false, text, &err), TC_PEER);
    assert_int_equal(fetch(&server, "127.0.0.1", open_end, true, false, text, &err), TC_PEER);
    assert_int_equal(fetch(&server, "127.0.0.1", part, true, false, text, &err), TC_PEER);
    for (int i = 0; i < 2; i++) {
        struct server *one = i == 0 ? &server : &other;
        assert_int_equal(unlink(one->pem), 0);
        X509_free(one->certificate);
        EVP_PKEY_free(one->key);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tls)};
    (void)setenv("no_proxy", "127.0.0.1,localhost", 1);
    (void)signal(SIGPIPE, SIG_IGN); /* the server's, when it is refused */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
