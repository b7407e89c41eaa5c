/* Envelopes and transcripts: what our writer signs verifies, and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "assert_ok.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "core/dsse.h"
#include "core/transcript.h"

/* The specification's own example of a PAE, with our payload type. */
static void test_pae(void **state)
{
    (void)state;
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(1000);
    tc_dsse_pae(TC_DSSE_PAYLOAD_TYPE, tc_span_of_text("hello world"), &buf);
    TC_AUTO_FREE char *text = tc_buf_take_text(&buf);
    assert_string_equal(text, "DSSEv1 28 application/vnd.in-toto+json 11 hello world");
}

static unsigned dsse_kind(const EVP_PKEY *pair)
{
    enum tc_key_kind kind;
    assert_true(tc_key_kind(pair, &kind));
    return kind;
}

/* Form of several signatures by several kinds of keys: each one is judged for
 * itself, and the statement's form stays what it was. */
static const struct tc_dsse_form test_form = {"text/x-test", 4096, 3, TC_KEYS_ALL};

static void test_several(void **state)
{
    (void)state;
    struct tc_error err = {0};
    EVP_PKEY *pairs[] = {EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), EVP_EC_gen("P-256"),
                         EVP_EC_gen("P-384"), EVP_EC_gen("P-521")};
    TC_AUTO_BUF struct tc_buf envelope = tc_buf_new(TC_DSSE_MAX);
    assert_ok(tc_dsse_sign_by(&test_form, pairs, 3, tc_span_of_text("hello"), &envelope, &err));
    struct tc_dsse dsse;
    assert_ok(tc_dsse_read(tc_buf_span(&envelope), "test", &test_form, &dsse, &err));
    assert_int_equal(dsse.signatures_count, 3);
    assert_true(tc_span_equal(tc_buf_span(&dsse.payload), tc_span_of_text("hello")));
    for (size_t i = 0; i < 3; i++) {
        TC_AUTO_BUF struct tc_buf spki = tc_buf_new(TC_PUBKEY_MAX);
        char id[TC_SHA256_HEX];
        assert_ok(tc_key_public(pairs[i], &spki, &err));
        assert_ok(tc_key_id(tc_buf_span(&spki), id, &err));
        assert_true(tc_dsse_names(&dsse, id));
        assert_ok(tc_dsse_check(&dsse, &test_form, tc_buf_span(&spki), &err));
        /* The same bytes as another payload, type or key id are not signed. */
        dsse.payload.data[0] ^= 1;
        assert_int_equal(tc_dsse_check(&dsse, &test_form, tc_buf_span(&spki), &err), TC_REFUSED);
        dsse.payload.data[0] ^= 1;
        struct tc_dsse_form other = test_form;
        other.payload_type = "text/x-other";
        assert_int_equal(tc_dsse_check(&dsse, &other, tc_buf_span(&spki), &err), TC_REFUSED);
        dsse.signatures[i].bytes[dsse.signatures[i].size - 1] ^= 1;
        assert_int_equal(tc_dsse_check(&dsse, &test_form, tc_buf_span(&spki), &err), TC_REFUSED);
        dsse.signatures[i].bytes[dsse.signatures[i].size - 1] ^= 1;
        dsse.signatures[i].key[0] ^= 1;
        assert_int_equal(tc_dsse_check(&dsse, &test_form, tc_buf_span(&spki), &err), TC_REFUSED);
        dsse.signatures[i].key[0] ^= 1;
        /* A kind that the form does not have. */
        other = test_form;
        other.key_kinds = TC_KEYS_ALL & ~dsse_kind(pairs[i]);
        assert_int_equal(tc_dsse_check(&dsse, &other, tc_buf_span(&spki), &err), TC_REFUSED);
    }
    assert_int_equal(tc_dsse_read(tc_buf_span(&envelope), "test", &tc_dsse_statement, &dsse, &err),
                     TC_MALFORMED);
    struct tc_dsse_form fewer = test_form;
    fewer.signatures_max = 2;
    struct tc_dsse unread;
    assert_int_equal(tc_dsse_read(tc_buf_span(&envelope), "test", &fewer, &unread, &err),
                     TC_MALFORMED);
    TC_AUTO_BUF struct tc_buf none = tc_buf_new(TC_DSSE_MAX);
    assert_int_equal(tc_dsse_sign_by(&test_form, &pairs[3], 1, tc_span_of_text("x"), &none, &err),
                     TC_REFUSED);
    tc_buf_reset(&none);
    EVP_PKEY *twice[] = {pairs[0], pairs[0]};
    assert_ok(tc_dsse_sign_by(&test_form, twice, 2, tc_span_of_text("x"), &none, &err));
    assert_int_equal(tc_dsse_read(tc_buf_span(&none), "test", &test_form, &unread, &err),
                     TC_MALFORMED);
    assert_non_null(strstr(err.message, "second time"));
    tc_dsse_free(&dsse);
    for (size_t i = 0; i < 4; i++)
        EVP_PKEY_free(pairs[i]);
}

struct signed_text {
    struct tc_buf envelope, spki;
};

static void sign(const char *payload, struct signed_text *ret)
{
    struct tc_error err = {0};
    struct tc_build_key *key;
    assert_ok(tc_build_key_new(&key, &err));
    ret->envelope = tc_buf_new(TC_DSSE_MAX);
    ret->spki = tc_buf_new(TC_DSSE_KEY_MAX);
    assert_ok(tc_build_key_public(key, &ret->spki, &err));
    assert_ok(tc_dsse_sign(key, tc_span_of_text(payload), &ret->envelope, &err));
    tc_build_key_free(key);
}

static tc_status verify(const struct tc_buf *envelope, const char *payload,
                        const struct tc_buf *spki)
{
    struct tc_error err = {0};
    return tc_dsse_verify(tc_buf_span(envelope), tc_span_of_text(payload), tc_buf_span(spki), &err);
}

static void test_signed(void **state)
{
    (void)state;
    static const char payload[] = "{\"a\":1}";
    struct signed_text mine, other;
    sign(payload, &mine);
    sign(payload, &other);
    assert_int_equal(verify(&mine.envelope, payload, &mine.spki), TC_OK);
    assert_int_equal(verify(&mine.envelope, payload, &other.spki), TC_REFUSED);
    assert_int_equal(verify(&mine.envelope, "{\"a\":2}", &mine.spki), TC_REFUSED);
    assert_int_equal(verify(&mine.envelope, "", &mine.spki), TC_REFUSED);
    for (size_t i = 0; i < mine.envelope.size; i++) {
        mine.envelope.data[i] ^= 1;
        if (verify(&mine.envelope, payload, &mine.spki) == TC_OK)
            fail_msg("byte %zu can be changed", i);
        mine.envelope.data[i] ^= 1;
    }
    for (size_t i = 0; i < mine.spki.size; i++) {
        mine.spki.data[i] ^= 1;
        if (verify(&mine.envelope, payload, &mine.spki) == TC_OK)
            fail_msg("byte %zu of the key can be changed", i);
        mine.spki.data[i] ^= 1;
    }
    tc_buf_add_text(&mine.spki, "x");
    assert_int_equal(verify(&mine.envelope, payload, &mine.spki), TC_REFUSED);
    tc_buf_free(&mine.envelope);
    tc_buf_free(&mine.spki);
    tc_buf_free(&other.envelope);
    tc_buf_free(&other.spki);
}

static void test_forms(void **state)
{
    (void)state;
    struct signed_text mine;
    sign("{}", &mine);
    TC_AUTO_FREE char *text = NULL;
    tc_buf_add_u8(&mine.envelope, 0);
    text = strdup((const char *)mine.envelope.data);
    char *signature = strstr(text, "{\"keyid\"");
    assert_non_null(signature);
    size_t size = strlen(signature) - strlen("]}");
    TC_AUTO_BUF struct tc_buf changed = tc_buf_new(TC_DSSE_MAX);
    /* The signature twice: which of them counts nobody should have to ask. */
    tc_buf_add(&changed, text, strlen(text) - strlen("]}"));
    tc_buf_add_text(&changed, ",");
    tc_buf_add(&changed, signature, size);
    tc_buf_add_text(&changed, "]}");
    assert_int_equal(verify(&changed, "{}", &mine.spki), TC_MALFORMED);
    /* Nor a second one by somebody else: only lists of images have several. */
    uint8_t *digit = &changed.data[strlen(text) - strlen("]}") + strlen(",{\"keyid\":\"")];
    *digit = *digit == '0' ? '1' : '0';
    assert_int_equal(verify(&changed, "{}", &mine.spki), TC_MALFORMED);
    tc_buf_reset(&changed);
    tc_buf_add(&changed, text, (size_t)(signature - text));
    tc_buf_add_text(&changed, "]}");
    assert_int_equal(verify(&changed, "{}", &mine.spki), TC_MALFORMED);
    tc_buf_reset(&changed);
    tc_buf_add_text(&changed, "{\"more\":1,");
    tc_buf_add_text(&changed, text + 1);
    assert_int_equal(verify(&changed, "{}", &mine.spki), TC_MALFORMED);
    tc_buf_free(&mine.envelope);
    tc_buf_free(&mine.spki);
}

/* text with the one place of `from` replaced. */
static void replace(const char *text, const char *from, const char *to, struct tc_buf *ret)
{
    const char *at = strstr(text, from);
    assert_non_null(at);
    tc_buf_reset(ret);
    tc_buf_add(ret, text, (size_t)(at - text));
    tc_buf_add_text(ret, to);
    tc_buf_add_text(ret, at + strlen(from));
}

/* What the protocol leaves to the signer: a hint that may be missing, and the
 * alphabet. The payload is chosen so that its base64 differs between the two. */
static void test_other_tools(void **state)
{
    (void)state;
    static const char payload[] = "\"?~?~>>>\"";
    struct signed_text mine;
    char hint[128], id[TC_SHA256_HEX];
    sign(payload, &mine);
    tc_buf_add_u8(&mine.envelope, 0);
    const char *text = (const char *)mine.envelope.data;
    const char *start = strstr(text, "\"keyid\":\"");
    assert_non_null(start);
    memcpy(id, start + 9, sizeof id - 1);
    id[sizeof id - 1] = '\0';
    TC_AUTO_BUF struct tc_buf changed = tc_buf_new(TC_DSSE_MAX);
    (void)snprintf(hint, sizeof hint, "\"keyid\":\"%s\",", id);
    replace(text, hint, "", &changed);
    assert_int_equal(verify(&changed, payload, &mine.spki), TC_OK);
    replace(text, hint, "\"keyid\":\"\",", &changed);
    assert_int_equal(verify(&changed, payload, &mine.spki), TC_OK);
    replace(text, hint, "\"keyid\":\"00\",", &changed);
    assert_int_equal(verify(&changed, payload, &mine.spki), TC_REFUSED);
    replace(text, hint, "\"keyid\":null,", &changed);
    assert_int_equal(verify(&changed, payload, &mine.spki), TC_MALFORMED);

    replace(text, "\"Ij9+P34+Pj4i\"", "\"Ij9-P34-Pj4i\"", &changed);
    assert_int_equal(verify(&changed, payload, &mine.spki), TC_OK);
    replace(text, "\"Ij9+P34+Pj4i\"", "\"Ij9-P34+Pj4i\"", &changed);
    assert_int_equal(verify(&changed, payload, &mine.spki), TC_MALFORMED);
    replace(text, "\"Ij9+P34+Pj4i\"", "\"Ij9-P34-Pj4\"", &changed);
    assert_int_equal(verify(&changed, payload, &mine.spki), TC_MALFORMED);
    tc_buf_free(&mine.envelope);
    tc_buf_free(&mine.spki);
}

/* A key of another curve is refused before it verifies anything. */
static void test_other_curve(void **state)
{
    (void)state;
    struct signed_text mine;
    sign("{}", &mine);
    EVP_PKEY *key = EVP_EC_gen("P-384");
    assert_non_null(key);
    uint8_t *der = NULL;
    int size = i2d_PUBKEY(key, &der);
    assert_true(size > 0);
    struct tc_error err = {0};
    assert_int_equal(tc_dsse_verify(tc_buf_span(&mine.envelope), tc_span_of_text("{}"),
                                    (struct tc_span){der, (size_t)size}, &err),
                     TC_REFUSED);
    assert_non_null(strstr(err.message, "P-256"));
    OPENSSL_free(der);
    EVP_PKEY_free(key);
    tc_buf_free(&mine.envelope);
    tc_buf_free(&mine.spki);
}

/* The same key with its length spelled longer, as BER allows and DER does not. */
static void test_other_spelling(void **state)
{
    (void)state;
    struct tc_error err = {0};
    struct signed_text mine;
    sign("{}", &mine);
    assert_int_equal(mine.spki.data[0], 0x30);
    assert_true(mine.spki.data[1] < 0x80);
    TC_AUTO_BUF struct tc_buf longer = tc_buf_new(TC_DSSE_KEY_MAX);
    tc_buf_add_u8(&longer, 0x30);
    tc_buf_add_u8(&longer, 0x81);
    tc_buf_add(&longer, mine.spki.data + 1, mine.spki.size - 1);
    assert_int_equal(tc_dsse_verify(tc_buf_span(&mine.envelope), tc_span_of_text("{}"),
                                    tc_buf_span(&longer), &err),
                     TC_REFUSED);
    assert_non_null(strstr(err.message, "not a P-256 key in DER"));
    tc_buf_free(&mine.envelope);
    tc_buf_free(&mine.spki);
}

static tc_status read_transcript(const char *text, size_t piece, struct tc_transcript_summary *ret)
{
    struct tc_error err = {0};
    struct tc_transcript_reader *reader = tc_transcript_reader_new();
    assert_non_null(reader);
    struct tc_span bytes = tc_span_of_text(text);
    tc_status status = TC_OK;
    while (status == TC_OK && bytes.size > 0) {
        size_t now = bytes.size < piece ? bytes.size : piece;
        status = tc_transcript_reader_add(reader, (struct tc_span){bytes.data, now}, &err);
        bytes.data += now;
        bytes.size -= now;
    }
    if (status == TC_OK) status = tc_transcript_reader_finish(reader, ret, &err);
    tc_transcript_reader_free(reader);
    return status;
}

#define DENIED(number)                                                                             \
    "{\"sequence\":" number ",\"time\":\"2026-01-02T03:04:05Z\",\"outcome\":\"denied\","           \
    "\"host\":\"a.example.org\",\"reason\":\"no\"}\n"

static void test_transcript(void **state)
{
    (void)state;
    static const char text[] = TC_TRANSCRIPT_HEADER DENIED("1") DENIED("2");
    struct tc_transcript_summary summary;
    for (size_t piece = 1; piece < sizeof text; piece++) {
        assert_int_equal(read_transcript(text, piece, &summary), TC_OK);
        assert_int_equal(summary.count, 2);
        char hex[TC_SHA256_HEX];
        /* Computed with Python's hashlib by the recipe of docs/formats.md. */
        tc_hex((struct tc_span){summary.last.bytes, sizeof summary.last.bytes}, hex);
        assert_string_equal(hex,
                            "39d6e6dfb5ae76e78c7d4c0d3611b3f4b0e7f865574fe4399b032d9d0c553dfc");
        tc_hex((struct tc_span){summary.digest.bytes, sizeof summary.digest.bytes}, hex);
        assert_string_equal(hex,
                            "8219c362f7a7134bcfd9fc954093478187f290beb0d2e670e09d327bc5e6af29");
    }
    assert_int_equal(read_transcript(TC_TRANSCRIPT_HEADER, 7, &summary), TC_OK);
    assert_int_equal(summary.count, 0);
    assert_memory_equal(summary.last.bytes, summary.digest.bytes, sizeof summary.last.bytes);

    static const char *const bad[] = {"",
                                      "{}",
                                      "{}\n",
                                      "{\"type\":\"tee-compile/network/2\"}\n",
                                      TC_TRANSCRIPT_HEADER "{}",
                                      TC_TRANSCRIPT_HEADER "\n",
                                      TC_TRANSCRIPT_HEADER "[]\n",
                                      TC_TRANSCRIPT_HEADER "{}{}\n",
                                      TC_TRANSCRIPT_HEADER "{\"a\":1,\"a\":1}\n",
                                      TC_TRANSCRIPT_HEADER DENIED("2"),
                                      TC_TRANSCRIPT_HEADER DENIED("1") DENIED("1"),
                                      TC_TRANSCRIPT_HEADER " " DENIED("1")};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (read_transcript(bad[i], 64, &summary) != TC_MALFORMED) fail_msg("%s", bad[i]);

    TC_AUTO_BUF struct tc_buf line = tc_buf_new(2 * TC_TRANSCRIPT_LINE_MAX);
    tc_buf_add_text(&line, TC_TRANSCRIPT_HEADER);
    for (int i = 0; i <= TC_TRANSCRIPT_LINE_MAX; i++)
        tc_buf_add_text(&line, " ");
    TC_AUTO_FREE char *long_text = tc_buf_take_text(&line);
    assert_int_equal(read_transcript(long_text, 1000, &summary), TC_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pae),         cmocka_unit_test(test_several),
        cmocka_unit_test(test_signed),
        cmocka_unit_test(test_forms),       cmocka_unit_test(test_other_curve),
        cmocka_unit_test(test_other_spelling), cmocka_unit_test(test_other_tools),
        cmocka_unit_test(test_transcript),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
