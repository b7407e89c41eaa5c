/* Who names the file of an image, and who speaks against it: tc_trust_ask, of an image
 * "c" with PCRs 0x10.., 0x11.., 0x12... */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "trust_sample.h"
#include "verify/trust.h"

enum { NOW = 1800000000 }; /* in 2027 */

static char said[TC_ERROR_MAX];

static void add_list(struct tc_trust *trust, char letter, bool vouches, uint64_t sequence,
                     struct tc_image image)
{
    struct tc_error err = {0};
    struct tc_signer signer = {0};
    struct tc_imagelist list;
    memset(signer.id, letter, sizeof signer.id - 1);
    sample_list_of(sequence, &image, 1, &list);
    assert_int_equal(tc_trust_add(trust, &signer, vouches, &list, &err), TC_OK);
}

static enum tc_trust_answer ask_at(const struct tc_trust *trust, const struct tc_sha384 *pcr8,
                                   int64_t now)
{
    struct tc_image image = sample_image("c", 0x10);
    const struct tc_trust_question question = {image.pcr, pcr8, "c", &image.recipe};
    return tc_trust_ask(trust, &question, now, said, sizeof said);
}

static enum tc_trust_answer ask(const struct tc_trust *trust)
{
    return ask_at(trust, NULL, NOW);
}

static void assert_says(const char *word)
{
    if (!strstr(said, word)) fail_msg("no \"%s\" in: %s", word, said);
}

static struct tc_image revoked(char *reason)
{
    struct tc_image image = sample_image("c", 0x10);
    image.revoked = image.revoked_for_all = true;
    image.reason = reason;
    return image;
}

static void test_named(void **state)
{
    (void)state;
    TC_AUTO_TRUST struct tc_trust trust = {.min_sequence = 3};
    struct tc_image good = sample_image("c", 0x10);
    assert_int_equal(ask(&trust), TC_TRUST_UNKNOWN);
    assert_says("no list that you trust names it");
    add_list(&trust, 'a', false, 9, good); /* may not vouch */
    add_list(&trust, 'b', true, 2, good);  /* too old */
    add_list(&trust, 'c', true, 9, sample_image("c", 0x11));
    assert_int_equal(ask(&trust), TC_TRUST_UNKNOWN);
    add_list(&trust, 'd', true, 3, good);
    assert_int_equal(ask(&trust), TC_TRUST_NAMED);
    assert_says("c 1.2, by the list of dddd");
    assert_int_equal(ask_at(&trust, NULL, good.valid_from), TC_TRUST_NAMED);
    assert_int_equal(ask_at(&trust, NULL, good.valid_from - 1), TC_TRUST_UNKNOWN);
    assert_int_equal(ask_at(&trust, NULL, good.valid_until), TC_TRUST_NAMED);
    assert_int_equal(ask_at(&trust, NULL, good.valid_until + 1), TC_TRUST_UNKNOWN);
}

/* By any list, whoever else vouches and in whatever order; by one that may not vouch. */
static void test_revoked(void **state)
{
    (void)state;
    char reason[] = "a key\x1b leaked";
    struct tc_image good = sample_image("c", 0x10), other = good;
    other.recipe.bytes[0] ^= 1;
    for (int i = 0; i < 8; i++) {
        TC_AUTO_TRUST struct tc_trust trust = {.own = calloc(1, sizeof(struct tc_own_image)),
                                               .own_count = 1};
        assert_non_null(trust.own);
        trust.own[0] = (struct tc_own_image){.name = "c", .pcr0 = good.pcr[0]};
        struct tc_image first = i & 2 ? good : other;
        if (i & 1) add_list(&trust, 'a', true, 9, first);
        add_list(&trust, 'b', (i & 4) != 0, 1, revoked(reason));
        if (!(i & 1)) add_list(&trust, 'a', true, 9, first);
        assert_int_equal(ask(&trust), TC_TRUST_REVOKED);
        assert_says("revoked by the list of bbbb");
        assert_says("a key\\x1b leaked");
    }
    TC_AUTO_TRUST struct tc_trust trust = {0};
    struct tc_image later = revoked(reason);
    later.revoked_for_all = false;
    later.revoked_from = NOW;
    add_list(&trust, 'a', true, 1, later);
    assert_int_equal(ask_at(&trust, NULL, NOW - 1), TC_TRUST_NAMED);
    assert_int_equal(ask(&trust), TC_TRUST_REVOKED);
}

static void test_against(void **state)
{
    (void)state;
    struct tc_image good = sample_image("c", 0x10);
    static const char *const words[] = {"PCR1", "PCR2", "the image's name", "the image's recipe"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        TC_AUTO_TRUST struct tc_trust trust = {0};
        struct tc_image bad = good;
        if (i == 0) bad.pcr[1].bytes[47] ^= 1;
        if (i == 1) bad.pcr[2].bytes[47] ^= 1;
        if (i == 2) (void)snprintf(bad.name, sizeof bad.name, "rust");
        if (i == 3) bad.recipe.bytes[31] ^= 1;
        add_list(&trust, 'a', true, 1, good);
        add_list(&trust, 'b', false, 1, bad);
        assert_int_equal(ask(&trust), TC_TRUST_NAMED);
        trust.lists[1].vouches = true;
        assert_int_equal(ask(&trust), TC_TRUST_AGAINST);
        assert_says(words[i]);
        assert_says("bbbb");
    }
}

static void test_own(void **state)
{
    (void)state;
    struct tc_image good = sample_image("c", 0x10);
    struct tc_own_image own = {.name = "mine", .version = "7", .pcr0 = good.pcr[0]};
    struct tc_trust trust = {.own = &own, .own_count = 1, .min_sequence = 9};
    assert_int_equal(ask(&trust), TC_TRUST_NAMED);
    assert_says("mine 7, by your own word");
    own.recipe = good.recipe;
    own.has_recipe = true;
    assert_int_equal(ask(&trust), TC_TRUST_NAMED);
    own.recipe.bytes[31] ^= 1;
    assert_int_equal(ask(&trust), TC_TRUST_AGAINST);
    assert_says("not the one you gave");
    own.pcr0.bytes[47] ^= 1;
    assert_int_equal(ask(&trust), TC_TRUST_UNKNOWN);
}

/* A list by a certificate speaks of images that were signed with it, and of no others. */
static void test_certificate(void **state)
{
    (void)state;
    char reason[] = "x";
    TC_AUTO_TRUST struct tc_trust trust = {0};
    struct tc_sha384 pcr8 = {{1}}, other = {{2}};
    add_list(&trust, 'a', true, 1, revoked(reason));
    trust.lists[0].by_certificate = true;
    trust.lists[0].pcr8 = pcr8;
    assert_int_equal(ask(&trust), TC_TRUST_UNKNOWN);
    assert_int_equal(ask_at(&trust, &other, NOW), TC_TRUST_UNKNOWN);
    assert_int_equal(ask_at(&trust, &pcr8, NOW), TC_TRUST_REVOKED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_named),       cmocka_unit_test(test_revoked),
        cmocka_unit_test(test_against),     cmocka_unit_test(test_own),
        cmocka_unit_test(test_certificate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
