/* Which image signed, and whether it is trusted: every branch of checks_image.c,
 * over whole bundles whose image has PCRs 0x10.., 0x11.., 0x12... */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <unistd.h>

#include <cmocka.h>

#include <openssl/evp.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "trust_sample.h"
#include "verify_lab.h"

static struct tc_sha384 pcr8;
static const struct tc_pcrs_asked *asked; /* by --pcr; NULL: nothing */

static struct tc_verdict judge(sample_change *before, const struct tc_trust *trust, int64_t now)
{
    struct tc_error err = {0};
    int fd = bundle_fd(before, NULL);
    struct tc_verify_options options = {.root = tc_buf_span(&root.der), .trust = trust, .now = now,
                                        .pcrs_asked = asked};
    struct tc_verdict verdict;
    assert_ok(tc_verify_bundle(fd, &options, &verdict, &err));
    (void)close(fd);
    return verdict;
}

/* Refused by image-trust alone, or with image-name where named; says it all. */
static void assert_refused(sample_change *before, const struct tc_trust *trust, bool name_too,
                           const char *const *says)
{
    struct tc_verdict verdict = judge(before, trust, 0);
    assert_int_equal(verdict.kind, TC_VERDICT_REFUSED);
    for (size_t i = 0; i < verdict.checks_count; i++) {
        const struct tc_check *check = &verdict.checks[i];
        bool expected = strcmp(check->name, "image-trust") == 0 ||
                        (name_too && strcmp(check->name, "image-name") == 0);
        if (has_failed(check) != expected)
            fail_msg("%s: expected %s, saw %s", check->name, check->expected, check->seen);
    }
    const char *seen = check_named(&verdict, "image-trust")->seen;
    for (; *says; says++)
        if (!strstr(seen, *says)) fail_msg("no \"%s\" in: %s", *says, seen);
    assert_false(verdict.image.known);
    tc_verdict_free(&verdict);
}
#define SAYS(...) ((const char *const[]){__VA_ARGS__, NULL})

#define PCR0                                                                                       \
    "1010101010101010101010101010101010101010101010101010101010101010"                             \
    "10101010101010101010101010101010"

static void assert_good(sample_change *before, const struct tc_trust *trust, const char *signer)
{
    struct tc_verdict verdict = judge(before, trust, 0);
    if (verdict.kind != TC_VERDICT_DEVELOPMENT) fail_msg("%s", verdict.reason);
    assert_int_equal(check_named(&verdict, "image-trust")->result, TC_CHECK_PASS);
    assert_int_equal(check_named(&verdict, "image-name")->result, TC_CHECK_PASS);
    assert_true(verdict.image.known);
    assert_int_equal(verdict.image.own, signer == NULL);
    if (signer) assert_string_equal(verdict.image.signer, signer);
    assert_int_equal(verdict.warnings_count, 0);
    tc_verdict_free(&verdict);
}

/* A trust set of lists; each call adds one. The signer's id is one letter. */
static void add_list(struct tc_trust *trust, char letter, bool vouches, uint64_t sequence,
                     const struct tc_image *images, size_t count)
{
    struct tc_error err = {0};
    struct tc_signer signer = {0};
    memset(signer.id, letter, sizeof signer.id - 1);
    struct tc_imagelist list;
    sample_list_of(sequence, images, count, &list);
    assert_ok(tc_trust_add(trust, &signer, vouches, &list, &err));
}

static const char *id_of(char letter, char out[TC_SHA256_HEX])
{
    memset(out, letter, TC_SHA256_HEX - 1);
    out[TC_SHA256_HEX - 1] = '\0';
    return out;
}

static void test_good(void **state)
{
    (void)state;
    char id[TC_SHA256_HEX];
    TC_AUTO_TRUST struct tc_trust trust = {0};
    struct tc_image images[] = {sample_image("c", 0x10), sample_image("rust", 0x40)};
    add_list(&trust, 'a', true, 3, images, 2);
    assert_good(NULL, &trust, id_of('a', id));
    struct tc_verdict verdict = judge(NULL, &trust, 0);
    assert_string_equal(verdict.image.name, "c");
    assert_string_equal(verdict.image.version, "1.2");
    assert_int_equal(verdict.image.sequence, 3);
    assert_true(verdict.image.has_recipe);
    assert_non_null(strstr(check_named(&verdict, "image-trust")->seen, "sequence 3"));
    tc_verdict_free(&verdict);
}

static void name_odd(struct sample_parts *parts)
{
    free(parts->statement.recipe.image);
    parts->statement.recipe.image = strdup("x; rm -rf ~");
}

static void test_unknown(void **state)
{
    (void)state;
    TC_AUTO_TRUST struct tc_trust trust = {0};
    /* No list at all, and one without images: which PCR0, which recipe, which commands. */
    const char *const *none =
        SAYS("PCR0 " PCR0, "no trusted list holds any image", "images/c of tee-compile 0.1.0",
             "tee-compile image trust add --pcr0 " PCR0 " --name c", "--images FILE");
    assert_refused(NULL, NULL, true, none);
    assert_refused(NULL, &trust, true, none);
    add_list(&trust, 'a', true, 1, NULL, 0);
    assert_refused(NULL, &trust, true, none);
    /* An image that shares PCR1 and PCR2 with a trusted one is unknown all the same. */
    struct tc_image image = sample_image("c", 0x10);
    image.pcr[0].bytes[0] ^= 1;
    add_list(&trust, 'b', true, 1, &image, 1);
    assert_refused(NULL, &trust, true,
                   SAYS("PCR0 " PCR0, "is unknown", "none of 1 trusted images"));
    /* What the statement says never becomes part of a command. */
    struct tc_verdict verdict = judge(name_odd, &trust, 0);
    const char *seen = check_named(&verdict, "image-trust")->seen;
    assert_null(strstr(seen, "rm -rf"));
    assert_non_null(strstr(seen, "--name NAME"));
    tc_verdict_free(&verdict);
}

static void test_contradicted(void **state)
{
    (void)state;
    for (unsigned i = 1; i < 3; i++) {
        TC_AUTO_TRUST struct tc_trust trust = {0};
        struct tc_image good = sample_image("c", 0x10), image = good;
        image.pcr[i].bytes[47] ^= 1;
        add_list(&trust, 'a', true, 3, &image, 1);
        char which[8];
        (void)snprintf(which, sizeof which, "PCR%u of", i);
        assert_refused(NULL, &trust, false, SAYS(which, "PCR0 " PCR0, "aaaa, sequence 3"));
        /* Another list that knows better does not help. */
        add_list(&trust, 'b', true, 1, &good, 1);
        assert_refused(NULL, &trust, false, SAYS(which, "aaaa, sequence 3"));
    }
}

static void test_validity(void **state)
{
    (void)state;
    int64_t now = (int64_t)time(NULL);
    struct tc_image good = sample_image("c", 0x10), image = good;
    char id[TC_SHA256_HEX];
    {
        TC_AUTO_TRUST struct tc_trust trust = {0};
        image.valid_until = now - 100;
        add_list(&trust, 'a', true, 3, &image, 1);
        assert_refused(NULL, &trust, false,
                       SAYS("c 1.2", "has expired", "valid until 20", "aaaa, sequence 3", PCR0));
        add_list(&trust, 'b', true, 1, &good, 1);
        assert_good(NULL, &trust, id_of('b', id));
    }
    {
        TC_AUTO_TRUST struct tc_trust trust = {0};
        image = good;
        image.valid_from = now + 100;
        add_list(&trust, 'a', true, 3, &image, 1);
        assert_refused(NULL, &trust, false, SAYS("not yet valid", "valid from 20", PCR0));
    }
    {
        /* By the signed time, not by the reader's clock, which is years later. */
        TC_AUTO_TRUST struct tc_trust trust = {0};
        image = good;
        image.valid_until = now + 1000;
        add_list(&trust, 'a', true, 3, &image, 1);
        struct tc_verdict verdict = judge(NULL, &trust, now + 3 * 365 * 86400);
        assert_int_equal(verdict.kind, TC_VERDICT_DEVELOPMENT);
        tc_verdict_free(&verdict);
    }
    {
        TC_AUTO_TRUST struct tc_trust trust = {0};
        image = good;
        (void)snprintf(image.architecture, sizeof image.architecture, "aarch64");
        add_list(&trust, 'a', true, 3, &image, 1);
        assert_refused(NULL, &trust, false, SAYS("image for aarch64", "says x86_64", PCR0));
    }
}

/* --pcr 0 names an image that no list knows, and none that a list speaks against. */
static void test_named_by_pcr(void **state)
{
    (void)state;
    struct tc_pcrs_asked pcrs = {.asked = 1};
    memset(pcrs.value[0].bytes, 0x10, sizeof pcrs.value[0].bytes);
    asked = &pcrs;
    struct tc_verdict verdict = judge(NULL, NULL, 0);
    assert_int_equal(verdict.kind, TC_VERDICT_DEVELOPMENT);
    assert_false(verdict.image.known);
    tc_verdict_free(&verdict);
    struct tc_image image = sample_image("c", 0x10);
    for (int i = 0; i < 3; i++) {
        TC_AUTO_TRUST struct tc_trust trust = {0};
        struct tc_image bad = image;
        char reason[] = "leaked";
        if (i == 0) bad.revoked = bad.revoked_for_all = true, bad.reason = reason;
        if (i == 1) bad.valid_until = (int64_t)time(NULL) - 100;
        if (i == 2) bad.pcr[1].bytes[0] ^= 1;
        add_list(&trust, 'a', true, 3, &bad, 1);
        verdict = judge(NULL, &trust, 0);
        assert_int_equal(verdict.kind, TC_VERDICT_REFUSED);
        assert_int_equal(check_named(&verdict, "image-trust")->result, TC_CHECK_FAIL);
        tc_verdict_free(&verdict);
    }
    /* Nor does it, or the user's own word, make up for a list that is too old. */
    struct tc_own_image own = {.name = "c", .pcr0 = pcrs.value[0]};
    struct tc_trust old = {.min_sequence = 4, .own = &own, .own_count = 1};
    assert_refused(NULL, &old, false, SAYS("sequence 4 or higher", "saw none"));
    asked = NULL;
    assert_refused(NULL, &old, false, SAYS("sequence 4 or higher", "saw none"));
}

static void test_revoked(void **state)
{
    (void)state;
    char id[TC_SHA256_HEX], reason[] = "the kernel\xe2\x80\xae leaked";
    int64_t now = (int64_t)time(NULL);
    struct tc_image good = sample_image("c", 0x10), image = good;
    struct tc_own_image own = {.name = "c", .pcr0 = good.pcr[0]};
    image.revoked = image.revoked_for_all = true;
    image.reason = reason;
    /* Whoever else vouches, in whatever order, and be it the user. */
    for (int order = 0; order < 3; order++) {
        TC_AUTO_TRUST struct tc_trust trust = {0};
        if (order == 1) add_list(&trust, 'b', true, 9, &good, 1);
        add_list(&trust, 'a', order != 2, 3, &image, 1);
        if (order != 1) add_list(&trust, 'b', true, 9, &good, 1);
        trust.own = malloc(sizeof own);
        assert_non_null(trust.own);
        trust.own[0] = own;
        trust.own_count = 1;
        assert_refused(NULL, &trust, false,
                       SAYS("is revoked for all times", "the kernel\\xe2\\x80\\xae leaked",
                            "aaaa, sequence 3", PCR0));
    }
    image.revoked_for_all = false;
    image.revoked_from = now - 100;
    {
        TC_AUTO_TRUST struct tc_trust trust = {0};
        add_list(&trust, 'a', true, 3, &image, 1);
        assert_refused(NULL, &trust, false, SAYS("is revoked from 20", "leaked"));
    }
    {
        /* Signed before the stated time: as good as it was. */
        TC_AUTO_TRUST struct tc_trust trust = {0};
        image.revoked_from = now + 1000;
        add_list(&trust, 'a', true, 3, &image, 1);
        assert_good(NULL, &trust, id_of('a', id));
    }
}

static void test_own(void **state)
{
    (void)state;
    struct tc_image image = sample_image("c", 0x10);
    TC_AUTO_TRUST struct tc_trust trust = {.own = calloc(1, sizeof(struct tc_own_image)),
                                           .own_count = 1};
    assert_non_null(trust.own);
    trust.own[0] = (struct tc_own_image){.name = "c", .pcr0 = image.pcr[0]};
    assert_good(NULL, &trust, NULL);
    trust.own[0].pcr0.bytes[47] ^= 1;
    assert_refused(NULL, &trust, true, SAYS("is unknown", "none of 1 trusted images"));
}

static void name_image(struct sample_parts *parts)
{
    free(parts->statement.recipe.image);
    parts->statement.recipe.image = strdup("rust");
}

static void test_name(void **state)
{
    (void)state;
    char id[TC_SHA256_HEX];
    struct tc_image image = sample_image("c", 0x10);
    TC_AUTO_TRUST struct tc_trust trust = {0};
    add_list(&trust, 'a', true, 3, &image, 1);
    struct tc_verdict verdict = judge(name_image, &trust, 0);
    assert_int_equal(verdict.kind, TC_VERDICT_REFUSED);
    assert_int_equal(check_named(&verdict, "image-trust")->result, TC_CHECK_PASS);
    const struct tc_check *check = check_named(&verdict, "image-name");
    assert_int_equal(check->result, TC_CHECK_FAIL);
    assert_non_null(strstr(check->expected, "the image rust, as build.json names it (image)"));
    assert_non_null(strstr(check->seen, "the image c"));
    tc_verdict_free(&verdict);
    /* Where the user calls it differently, the asked name is found. */
    trust.own = calloc(1, sizeof *trust.own);
    assert_non_null(trust.own);
    trust.own[trust.own_count++] = (struct tc_own_image){.name = "rust", .pcr0 = image.pcr[0]};
    assert_good(name_image, &trust, NULL);
    assert_good(NULL, &trust, id_of('a', id));
}

/* What the image says of itself is measured, and so is what an entry must say of it. */
static void test_text(void **state)
{
    (void)state;
    char id[TC_SHA256_HEX];
    struct tc_image good = sample_image("c", 0x10), rust = sample_image("rust", 0x10), other = good;
    other.recipe.bytes[31] ^= 1;
    const struct {
        struct tc_image *image;
        const char *says;
    } cases[] = {{&rust, "but the image calls itself c"}, {&other, "recipe is not the entry's"}};
    for (size_t i = 0; i < 2; i++) {
        TC_AUTO_TRUST struct tc_trust trust = {0};
        add_list(&trust, 'a', true, 3, cases[i].image, 1);
        assert_refused(NULL, &trust, i == 0, SAYS(cases[i].says, "aaaa, sequence 3", PCR0));
        /* Another list that knows better does not help. */
        add_list(&trust, 'b', true, 1, &good, 1);
        assert_refused(NULL, &trust, i == 0, SAYS(cases[i].says, "aaaa, sequence 3"));
        /* One that may not vouch may not do this either. */
        trust.lists[0].vouches = false;
        assert_good(NULL, &trust, id_of('b', id));
    }
    TC_AUTO_TRUST struct tc_trust trust = {.own = calloc(1, sizeof(struct tc_own_image)),
                                           .own_count = 1};
    assert_non_null(trust.own);
    trust.own[0] = (struct tc_own_image){
        .name = "c", .pcr0 = good.pcr[0], .has_recipe = true, .recipe = good.recipe};
    assert_good(NULL, &trust, NULL);
    trust.own[0].recipe = other.recipe;
    assert_refused(NULL, &trust, false, SAYS("by your own word", "not the one you gave", PCR0));
    add_list(&trust, 'a', true, 3, &good, 1);
    assert_refused(NULL, &trust, false, SAYS("by your own word", "not the one you gave"));
}

static void sign_image(struct sample_parts *parts)
{
    parts->pcr8 = pcr8;
}

static void test_certificate(void **state)
{
    (void)state;
    struct tc_error err = {0};
    EVP_PKEY *key = sample_key(SAMPLE_P384);
    TC_AUTO_BUF struct tc_buf pem = {0}, other_pem = {0};
    TC_AUTO_SIGNER struct tc_signer signer = {0}, other = {0};
    sample_certificate_pem(key, &pem);
    sample_certificate_pem(key, &other_pem); /* another certificate of the same key */
    sample_signer(tc_buf_span(&pem), &signer);
    sample_signer(tc_buf_span(&other_pem), &other);
    assert_string_equal(signer.id, other.id);
    TC_AUTO_TRUST struct tc_trust trust = {0};
    struct tc_imagelist list;
    sample_list(3, &list);
    assert_ok(tc_trust_add(&trust, &signer, true, &list, &err));
    pcr8 = signer.pcr8;
    assert_good(sign_image, &trust, signer.id);
    assert_refused(NULL, &trust, true, SAYS("not signed with the list's certificate", "expected PCR8"));
    pcr8 = other.pcr8;
    assert_refused(sign_image, &trust, true, SAYS("not signed with the list's certificate", "expected PCR8"));
    /* Nor does it revoke or go stale for images that are not its own. */
    char id[TC_SHA256_HEX], reason[] = "x";
    struct tc_image good = sample_image("c", 0x10), revoked = good;
    revoked.revoked = revoked.revoked_for_all = true;
    revoked.reason = reason;
    sample_list_of(4, &revoked, 1, &list);
    assert_ok(tc_trust_add(&trust, &signer, true, &list, &err));
    add_list(&trust, 'a', true, 1, &good, 1);
    assert_good(NULL, &trust, id_of('a', id));
    pcr8 = signer.pcr8;
    assert_refused(sign_image, &trust, false, SAYS("revoked for all times"));
    EVP_PKEY_free(key);
}

static void test_old_lists(void **state)
{
    (void)state;
    struct tc_image good = sample_image("c", 0x10), revoked = good;
    char id[TC_SHA256_HEX], reason[] = "x";
    TC_AUTO_TRUST struct tc_trust trust = {.min_sequence = 4};
    add_list(&trust, 'a', true, 3, &good, 1);
    assert_refused(NULL, &trust, false,
                   SAYS("older than --min-list-version 4 allows", "aaaa, sequence 3", PCR0));
    add_list(&trust, 'b', true, 4, &good, 1);
    assert_good(NULL, &trust, id_of('b', id));
    revoked.revoked = revoked.revoked_for_all = true;
    revoked.reason = reason;
    add_list(&trust, 'c', true, 1, &revoked, 1);
    assert_refused(NULL, &trust, false, SAYS("revoked", "cccc, sequence 1"));
}

static void test_stale(void **state)
{
    (void)state;
    struct tc_image good = sample_image("c", 0x10);
    TC_AUTO_TRUST struct tc_trust trust = {0};
    add_list(&trust, 'a', true, 3, &good, 1);
    int64_t due = trust.lists[0].list.next_update;
    struct tc_verdict verdict = judge(NULL, &trust, due);
    assert_int_equal(verdict.warnings_count, 0);
    assert_false(verdict.image.stale);
    tc_verdict_free(&verdict);
    verdict = judge(NULL, &trust, due + 1);
    assert_int_equal(verdict.kind, TC_VERDICT_DEVELOPMENT); /* still used */
    assert_true(verdict.image.stale);
    assert_int_equal(verdict.warnings_count, 1);
    assert_non_null(strstr(verdict.warnings[0], "aaaa, sequence 3, is stale"));
    assert_non_null(strstr(verdict.warnings[0], "2036-01-01T00:00:00Z"));
    tc_verdict_free(&verdict);
}

static void test_not_vouching(void **state)
{
    (void)state;
    struct tc_image good = sample_image("c", 0x10);
    TC_AUTO_TRUST struct tc_trust trust = {0};
    add_list(&trust, 'a', false, 3, &good, 1);
    assert_refused(NULL, &trust, true, SAYS("is unknown"));
}

/* A list that the user gave and that is refused: nothing else stands in for it. */
static void test_problem(void **state)
{
    (void)state;
    struct tc_image good = sample_image("c", 0x10);
    TC_AUTO_TRUST struct tc_trust trust = {0};
    add_list(&trust, 'a', true, 3, &good, 1);
    (void)snprintf(trust.problem, sizeof trust.problem, "images.json is older");
    assert_refused(NULL, &trust, true, SAYS("images.json is older"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),         cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_contradicted), cmocka_unit_test(test_validity),
        cmocka_unit_test(test_named_by_pcr), cmocka_unit_test(test_revoked),      cmocka_unit_test(test_own),
        cmocka_unit_test(test_name),         cmocka_unit_test(test_text),
        cmocka_unit_test(test_certificate),
        cmocka_unit_test(test_old_lists),    cmocka_unit_test(test_stale),
        cmocka_unit_test(test_not_vouching), cmocka_unit_test(test_problem),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
