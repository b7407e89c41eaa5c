/* The log's redaction: what has to be hidden, and what must not be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "core/redact.h"

enum { OUT_MAX = 1 << 20 };

static struct tc_buf redact(struct tc_span text, size_t piece)
{
    struct tc_redactor *redactor = tc_redactor_new();
    struct tc_buf out = tc_buf_new(OUT_MAX);
    assert_non_null(redactor);
    for (size_t at = 0; at < text.size; at += piece) {
        size_t left = text.size - at;
        tc_redactor_add(redactor, (struct tc_span){text.data + at, left < piece ? left : piece},
                        &out);
    }
    tc_redactor_flush(redactor, &out);
    tc_redactor_free(redactor);
    assert_true(tc_buf_ok(&out));
    return out;
}

/* Feeds text in pieces of every size: where a piece ends must not matter. */
static void expect(const char *text, const char *wanted)
{
    for (size_t piece = 1; piece <= strlen(text); piece++) {
        TC_AUTO_BUF struct tc_buf out = redact(tc_span_of_text(text), piece);
        if (!tc_span_equal(tc_buf_span(&out), tc_span_of_text(wanted)))
            fail_msg("\"%s\" became \"%.*s\", expected \"%s\"", text, (int)out.size,
                     (const char *)out.data, wanted);
    }
}

static void expect_kept(const char *text)
{
    expect(text, text);
}

/* Values with NAME=, NAME: and in headers. */
static void test_names(void **state)
{
    (void)state;
    expect("> Authorization: Bearer abc.def\nnext\n", "> Authorization: [redacted]\nnext\n");
    expect("cookie:a=b; c=d\n", "cookie:[redacted]\n");
    expect("AUTHORIZATION=Bearer abc x\n", "AUTHORIZATION=[redacted] x\n");
    expect("GET /x?token=abc&y=1 z\n", "GET /x?token=[redacted]&y=1 z\n");
    expect("MY_API_KEY='s3cret' make\n", "MY_API_KEY='[redacted]' make\n");
    expect("password: hunter2\n", "password: [redacted]\n");
    expect("password = hunter2\n", "password = [redacted]\n");
    expect("a=b token=\n", "a=b token=\n");
    expect("PASSPHRASE=\"two words\" x", "PASSPHRASE=\"[redacted]\" x");
    expect("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG+bPx\n", "AWS_SECRET_ACCESS_KEY=[redacted]\n");
    expect("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG\n", "aws_secret_access_key = [redacted]\n");
    expect("accessToken=abc apiKey=abc _authToken=abc DB_PASSWORD1=abc tokens=abc\n",
           "accessToken=[redacted] apiKey=[redacted] _authToken=[redacted] DB_PASSWORD1=[redacted] "
           "tokens=[redacted]\n");
    expect("//registry.example.org/:_authToken=abc\n", "//registry.example.org/:_authToken=[redacted]\n");
    expect("X-Amz-Signature=0f0f&a=b\n", "X-Amz-Signature=[redacted]&a=b\n");
    expect("github.token: abc\n", "github.token: [redacted]\n");
}

static void test_json(void **state)
{
    (void)state;
    expect("{\"token\":\"abc\"}", "{\"token\":\"[redacted]\"}");
    expect("{\"password\": \"two words\", \"a\": 1}", "{\"password\": \"[redacted]\", \"a\": 1}");
    expect("{ \"password\"  :  \"q\\\"uote\" , \"a\":1}", "{ \"password\"  :  \"[redacted]\" , \"a\":1}");
    expect("\"Authorization\": \"Bearer abc\", \"a\": 1", "\"Authorization\": \"[redacted]\", \"a\": 1");
    expect("[\"Authorization\", \"Bearer abc\"]", "[\"Authorization\", \"[redacted]\"]");
    expect("[\"--token\", \"abc\", \"x\"]", "[\"--token\", \"[redacted]\", \"x\"]");
    expect("{\"secret\":1234,\"a\":1}", "{\"secret\":[redacted],\"a\":1}");
    expect("{'clientSecret': 'abc'}", "{'clientSecret': '[redacted]'}");
    expect("\"{\\\"token\\\":\\\"abc\\\",\\\"a\\\":1}\"", "\"{\\\"token\\\":\\\"[redacted]\\\",\\\"a\\\":1}\"");
    expect("{\"token\":\"\"}", "{\"token\":\"\"}");
}

static void test_options(void **state)
{
    (void)state;
    expect("+ tool --password x y\n", "+ tool --password [redacted] y\n");
    expect("tool --token=x y\n", "tool --token=[redacted] y\n");
    expect("tool --token 'x y' z\n", "tool --token '[redacted]' z\n");
    expect("tool -token x\n", "tool -token [redacted]\n");
    expect("tool --password --verbose\n", "tool --password --verbose\n");
    expect("curl -u user:pass https://a\n", "curl -u [redacted] https://a\n");
    expect("curl -u 'user:pass word' https://a\n", "curl -u '[redacted]' https://a\n");
    expect("curl --user user:pass https://a\n", "curl --user [redacted] https://a\n");
    expect("curl --user=user:pass https://a\n", "curl --user=[redacted] https://a\n");
    expect("curl -uuser:pass https://a\n", "curl -u[redacted] https://a\n");
}

static void test_urls(void **state)
{
    (void)state;
    expect("git clone https://user:pw@example.org/x\n", "git clone https://[redacted]@example.org/x\n");
    expect("https://user:p@ss@host/a@b c\n", "https://[redacted]@host/a@b c\n");
    expect("https://user:p@s@s@host", "https://[redacted]@host");
    expect("'https://user:p;s&s@host'", "'https://[redacted]@host'");
    expect("a://b:c@d e://f:g@h\n", "a://[redacted]@d e://[redacted]@h\n");
    expect_kept("https://example.org/a@b\n");
    expect_kept("https://example.org:8080/ and me@example.org\n");
    expect_kept("git@github.com:owner/name.git\n");
}

#define TWENTY "0123456789abcdefghij"
#define FORTY TWENTY TWENTY

static void test_tokens(void **state)
{
    (void)state;
    static const char *const tokens[] = {
        "ghp_" FORTY, "gho_" FORTY, "ghs_" FORTY, "ghu_" FORTY, "ghp_" TWENTY,
        "github_pat_11ABCDEFG0123456789_" FORTY, "glpat-" TWENTY, "npm_" FORTY,
        "pypi-AgEIcHlwaS5vcmc" FORTY, "xoxb-123456789012-" TWENTY,
        "AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln-_0",
    };
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        char text[256];
        (void)snprintf(text, sizeof text, "a %s b\n", tokens[i]);
        expect(text, "a [redacted] b\n");
        (void)snprintf(text, sizeof text, "[\"%s\"]", tokens[i]);
        expect(text, "[\"[redacted]\"]");
        (void)snprintf(text, sizeof text, "x:%s", tokens[i]);
        expect(text, "x:[redacted]");
    }
    expect("Bearer abcdefghijklmnop\n", "Bearer [redacted]\n");
}

static void test_keys(void **state)
{
    (void)state;
    expect("a\n-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIE+/=\nab==\n"
           "-----END RSA PRIVATE KEY-----\nb c\n",
           "a\n[redacted]\n[redacted]\n\n[redacted]\n[redacted]\n[redacted]\nb c\n");
    expect("12:00 -----BEGIN PRIVATE KEY-----\n12:01 MIIE\n12:02 -----END PRIVATE KEY----- x\nok ok\n",
           "12:00 [redacted]\n[redacted]\n[redacted] x\nok ok\n");
    expect("9 -----BEGIN PRIVATE KEY-----\n10 " FORTY "\n-----END PRIVATE KEY-----\n",
           "9 [redacted]\n[redacted]\n[redacted]\n");
    expect("{\"k\":\"-----BEGIN EC PRIVATE KEY-----\\nMIIE\\n-----END EC PRIVATE KEY-----\\n\", \"a\":1}\n",
           "{\"k\":\"[redacted]\\n\", \"a\":1}\n");
    expect("-----BEGIN OPENSSH PRIVATE KEY-----\r\nb3Bl\r\n-----END OPENSSH PRIVATE KEY-----\r\nx y\r\n",
           "[redacted]\n[redacted]\n[redacted]\r\nx y\r\n");
    expect("-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQ\n=ab12\n-----END PGP PRIVATE KEY BLOCK-----\n",
           "[redacted]\n\n[redacted]\n[redacted]\n[redacted]\n");
    /* What only speaks of a key hides nothing of what follows. */
    expect("found -----BEGIN PRIVATE KEY----- here\nall is well\n", "found [redacted]\nall is well\n");
    expect_kept("-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----\n");
    expect_kept("-----BEGIN PRIVATE KEY\nMIIE\n");
}

static void test_kept(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "no line end",
        "gcc -O2 -u main -u _start -fno-common -o app main.c\n",
        "ld -u symbol --undefined=x -Wl,-u,y\n",
        "sort -u names; date -u +%s; docker run -u 1000:1000 image; tool -u foo::bar\n",
        "chown -u user /a:b\n",
        "cl -utf-8: x\n",
        "src/token.c:12:5: error: expected ';' before 'x'\n",
        "src/token.c: In function 'lex':\n",
        "cc -c lib/password.c -o obj/password.o\n",
        "PASSWORD_FILE=/run/x tool --token-file /run/y --password-stdin z --token-url https://a/b\n",
        "the password is too short; enter your password:\n",
        "a token, a secret and a password\n",
        "if (token == END || token >= x || token != y) Token::Kind k; t := token\n",
        "tokenizer=fast tokenize: yes secretary=me\n",
        "commit 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n",
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  out\n",
        "npm_config_registry=https://r.example.org npm_lifecycle_event=build npm_package_name\n",
        "npm_config_cache/some/very/long/path/that/goes/on\n",
        "pypi-publish-something-rather-long-0.1\n",
        "ghp_short AKIA AKIAIOSFODNN7 AKIAIOSFODNN7EXAMPLES eyJ eyJhbGciOiJIUzI1NiJ9 eyJhbGciOi.x\n",
        "PWD=/build HOME=/home/build author: me\n",
        "Bearer of news\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        expect_kept(texts[i]);
}

/* A line that is cut: what was being hidden stays hidden. */
static void test_long_lines(void **state)
{
    (void)state;
    static const struct {
        const char *start, *end, *rest;
    } cases[] = {{"Cookie: ", "", ""},
                 {"token=", " x", " x"},
                 {"\"token\": \"a b", "\" x", "\" x"},
                 {"-----BEGIN PRIVATE KEY-----\n", "\n-----END PRIVATE KEY-----", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TC_AUTO_BUF struct tc_buf text = tc_buf_new(OUT_MAX);
        tc_buf_add_text(&text, cases[i].start);
        for (size_t j = 0; j < 3 * (size_t)TC_REDACT_LINE_MAX; j++)
            tc_buf_add_u8(&text, 'S');
        tc_buf_add_text(&text, cases[i].end);
        tc_buf_add_text(&text, "\nnext line\n");
        TC_AUTO_BUF struct tc_buf whole = redact(tc_buf_span(&text), text.size);
        TC_AUTO_BUF struct tc_buf pieces = redact(tc_buf_span(&text), 1000);
        assert_true(tc_span_equal(tc_buf_span(&whole), tc_buf_span(&pieces)));
        assert_null(memmem(whole.data, whole.size, "SS", 2));
        assert_non_null(memmem(whole.data, whole.size, "\nnext line\n", 11));
        if (cases[i].rest && *cases[i].rest)
            assert_non_null(memmem(whole.data, whole.size, cases[i].rest, strlen(cases[i].rest)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names), cmocka_unit_test(test_json),   cmocka_unit_test(test_options),
        cmocka_unit_test(test_urls),  cmocka_unit_test(test_tokens), cmocka_unit_test(test_keys),
        cmocka_unit_test(test_kept),  cmocka_unit_test(test_long_lines)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
