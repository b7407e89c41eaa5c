/* The trust store: what goes in comes out, and nothing older or forged goes in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "core/pcr.h"
#include "trust_lab.h"

static void test_empty(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    TC_AUTO_KNOWN struct tc_known *known = NULL;
    assert_ok(tc_truststore_read(f->store, &known, &err));
    assert_int_equal(known->signers_count + known->own_count, 0);
    assert_int_not_equal(access(f->folder, F_OK), 0); /* reading makes nothing */
    TC_AUTO_TRUSTSTORE struct tc_truststore *nowhere = NULL;
    assert_ok(tc_truststore_open(NULL, NULL, &nowhere, &err));
    char id[TC_SHA256_HEX];
    assert_refused(tc_truststore_add_signer(nowhere, tc_buf_span(&f->pem[0]), "k", id, &err),
                   TC_UNAVAILABLE, "XDG_DATA_HOME");
}

static void test_signers_and_lists(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    struct tc_list_update result = {0};
    struct stat info;
    for (int i = 0; i < 3; i++) {
        assert_refused(update(f, i, 1, 1, &result, &err), TC_REFUSED, "nobody here trusts");
        add_signer(f, i);
        add_signer(f, i); /* twice is once */
        assert_ok(update(f, i, 1, 1, &result, &err));
        assert_string_equal(result.signer, f->id[i]);
        assert_true(result.changed);
        assert_int_equal(result.images, 1);
        assert_int_equal(sequence_there(f, i), 1);
        assert_int_equal(stat(path_in(f, "keys/", f->id[i], ".pem"), &info), 0);
        assert_int_equal(info.st_mode & 07777, 0600);
        assert_int_equal(stat(path_in(f, "lists/", f->id[i], ".json"), &info), 0);
        assert_int_equal(info.st_mode & 07777, 0600);
    }
    assert_int_equal(stat(f->folder, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0700);
    TC_AUTO_KNOWN struct tc_known *known = NULL;
    TC_AUTO_TRUST struct tc_trust trust = {0};
    assert_ok(tc_truststore_read(f->store, &known, &err));
    assert_ok(tc_known_to_trust(known, 7, &trust, &err));
    assert_int_equal(trust.lists_count, 3);
    assert_int_equal(trust.min_sequence, 7);
    assert_true(trust.lists[0].vouches);
    assert_ok(tc_truststore_remove(f->store, f->id[1], &err));
    assert_int_not_equal(access(path_in(f, "keys/", f->id[1], ".pem"), F_OK), 0);
    assert_int_not_equal(access(path_in(f, "lists/", f->id[1], ".json"), F_OK), 0);
    assert_refused(tc_truststore_remove(f->store, f->id[1], &err), TC_REFUSED, "no signer");
    assert_refused(update(f, 1, 2, 1, &result, &err), TC_REFUSED, "nobody here trusts");
}

static void test_rollback(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    struct tc_list_update result = {0};
    add_signer(f, 1);
    assert_ok(update(f, 1, 5, 1, &result, &err));
    assert_refused(update(f, 1, 4, 2, &result, &err), TC_REFUSED, "sequence 5 or higher, saw 4");
    assert_refused(update(f, 1, 5, 2, &result, &err), TC_REFUSED, "other content");
    assert_int_equal(sequence_there(f, 1), 5);
    /* Signed anew, the same content: ECDSA signatures differ, the list does not. */
    assert_ok(update(f, 1, 5, 1, &result, &err));
    assert_false(result.changed);
    assert_ok(update(f, 1, 6, 2, &result, &err));
    assert_true(result.changed);
    assert_int_equal(sequence_there(f, 1), 6);
    /* Another signer counts for itself. */
    add_signer(f, 0);
    assert_ok(update(f, 0, 1, 1, &result, &err));
    TC_AUTO_BUF struct tc_buf envelope = signed_list(f, 0, 2, 1);
    assert_refused(
        tc_truststore_update(f->store, tc_buf_span(&envelope), "images.json", 3, &result, &err),
        TC_REFUSED, "--min-list-version");
    assert_int_equal(sequence_there(f, 0), 1);
}

static void test_two_signatures(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    struct tc_list_update result = {0};
    struct tc_imagelist list;
    TC_AUTO_BUF struct tc_buf envelope = {0};
    sample_list(3, &list);
    sample_sign(&list, f->key, 3, &envelope);
    tc_imagelist_free(&list);
    assert_refused(tc_truststore_update(f->store, tc_buf_span(&envelope), "x", 0, &result, &err),
                   TC_REFUSED, "nobody here trusts");
    add_signer(f, 2); /* one of three does */
    assert_ok(tc_truststore_update(f->store, tc_buf_span(&envelope), "x", 0, &result, &err));
    assert_string_equal(result.signer, f->id[2]);
    add_signer(f, 0);
    assert_ok(tc_truststore_update(f->store, tc_buf_span(&envelope), "x", 0, &result, &err));
    assert_true(result.changed);
    assert_int_equal(sequence_there(f, 0), 3);
    /* Older for one of them is older. */
    assert_ok(update(f, 0, 9, 1, &result, &err));
    struct tc_imagelist next;
    TC_AUTO_BUF struct tc_buf later = {0};
    sample_list(4, &next);
    sample_sign(&next, f->key, 3, &later);
    tc_imagelist_free(&next);
    assert_refused(tc_truststore_update(f->store, tc_buf_span(&later), "x", 0, &result, &err),
                   TC_REFUSED, "sequence 9 or higher");
    assert_int_equal(sequence_there(f, 2), 3);
}

static void test_forged(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    struct tc_list_update result = {0};
    for (int i = 0; i < 3; i++) {
        add_signer(f, i);
        TC_AUTO_BUF struct tc_buf good = signed_list(f, i, 1, 1);
        for (size_t at = (size_t)i; at < good.size; at += 3) {
            /* Never taken, whichever character is another. */
            good.data[at] ^= 1;
            tc_status status =
                tc_truststore_update(f->store, tc_buf_span(&good), "x", 0, &result, &err);
            if (status != TC_REFUSED && status != TC_MALFORMED) fail_msg("taken: %zu", at);
            good.data[at] ^= 1;
        }
        assert_int_equal(sequence_there(f, i), 0);
    }
    /* Another key under a trusted one's name. */
    TC_AUTO_BUF struct tc_buf other = signed_list(f, 1, 1, 1);
    char *id = memmem(other.data, other.size, f->id[1], 64);
    assert_non_null(id);
    memcpy(id, f->id[2], 64);
    assert_refused(tc_truststore_update(f->store, tc_buf_span(&other), "x", 0, &result, &err),
                   TC_REFUSED, "changed or forged");
}

static void test_own(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    struct tc_own_image image = {.name = "c"};
    assert_refused(tc_truststore_add_image(f->store, &image, &err), TC_REFUSED, "all zeros");
    assert_ok(tc_pcr_unmeasured(&image.pcr0, &err));
    assert_refused(tc_truststore_add_image(f->store, &image, &err), TC_REFUSED, "not measured");
    for (int i = 9; i > 0; i--) {
        memset(image.pcr0.bytes, i, TC_SHA384_SIZE);
        assert_ok(tc_truststore_add_image(f->store, &image, &err));
        assert_ok(tc_truststore_add_image(f->store, &image, &err));
    }
    (void)snprintf(image.name, sizeof image.name, "rust");
    assert_refused(tc_truststore_add_image(f->store, &image, &err), TC_REFUSED, "already trusted");
    memset(image.pcr0.bytes, 77, TC_SHA384_SIZE);
    assert_ok(tc_truststore_add_image(f->store, &image, &err));
    assert_refused(tc_truststore_remove(f->store, "c", &err), TC_REFUSED, "9 images of your own");
    assert_refused(tc_truststore_remove(f->store, "d\x1b", &err), TC_REFUSED, "d\\x1b is no");
    assert_ok(tc_truststore_remove(f->store, "rust", &err));
    char pcr0[TC_SHA384_HEX];
    memset(pcr0, '0', sizeof pcr0 - 1);
    for (size_t i = 1; i < sizeof pcr0 - 1; i += 2)
        pcr0[i] = '4';
    pcr0[sizeof pcr0 - 1] = '\0';
    assert_ok(tc_truststore_remove(f->store, pcr0, &err));
    TC_AUTO_KNOWN struct tc_known *known = NULL;
    assert_ok(tc_truststore_read(f->store, &known, &err));
    assert_int_equal(known->own_count, 8);
    for (size_t i = 0; i < 8; i++)
        assert_int_not_equal(known->own[i].pcr0.bytes[0], 4);
    struct stat info;
    assert_int_equal(stat(path_in(f, "own.json", "", ""), &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
}

static void test_builtin(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    struct tc_list_update result = {0};
    TC_AUTO_BUF struct tc_buf first = signed_list(f, 0, 5, 0), other = signed_list(f, 0, 5, 1);
    struct tc_trust_builtin builtin = {tc_buf_span(&f->pem[0]), tc_buf_span(&first)};
    tc_truststore_free(f->store);
    assert_ok(tc_truststore_open(f->folder, &builtin, &f->store, &err));
    assert_int_equal(sequence_there(f, 0), 5);
    assert_refused(update(f, 0, 4, 1, &result, &err), TC_REFUSED, "sequence 5 or higher");
    assert_refused(update(f, 0, 5, 1, &result, &err), TC_REFUSED, "other content");
    assert_ok(update(f, 0, 6, 1, &result, &err));
    assert_int_equal(sequence_there(f, 0), 6);

    /* A later release with a later list: the stored one is the older of the two. */
    TC_AUTO_BUF struct tc_buf later = signed_list(f, 0, 8, 2);
    builtin.list = tc_buf_span(&later);
    tc_truststore_free(f->store);
    assert_ok(tc_truststore_open(f->folder, &builtin, &f->store, &err));
    assert_int_equal(sequence_there(f, 0), 8);
    assert_refused(update(f, 0, 7, 1, &result, &err), TC_REFUSED, "sequence 8 or higher");

    /* A signer who says two things under one number is not to be trusted quietly. */
    write_raw(path_in(f, "lists/", f->id[0], ".json"), other.data, other.size);
    builtin.list = tc_buf_span(&first);
    tc_truststore_free(f->store);
    assert_ok(tc_truststore_open(f->folder, &builtin, &f->store, &err));
    TC_AUTO_KNOWN struct tc_known *known = NULL;
    assert_refused(tc_truststore_read(f->store, &known, &err), TC_REFUSED, "other content");

    /* The user may take the program's own signer out, and put it back. */
    assert_ok(tc_truststore_remove(f->store, f->id[0], &err));
    assert_ok(tc_truststore_read(f->store, &known, &err));
    assert_int_equal(known->signers_count, 0);
    assert_refused(update(f, 0, 9, 1, &result, &err), TC_REFUSED, "nobody here trusts");
    add_signer(f, 0);
    assert_int_equal(sequence_there(f, 0), 5);
    tc_known_free(known);
    known = NULL;
    assert_ok(tc_truststore_read(f->store, &known, &err));
    assert_int_equal(known->signers_count, 1);
    assert_true(known->signers[0].builtin);

    /* A program that carries a list it cannot stand for says so. */
    builtin.list = tc_span_of_text("{}");
    tc_truststore_free(f->store);
    assert_ok(tc_truststore_open(f->folder, &builtin, &f->store, &err));
    struct tc_known *none;
    assert_int_equal(tc_truststore_read(f->store, &none, &err), TC_MALFORMED);
}

static void test_given(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    struct tc_list_update result = {0};
    struct tc_own_image own = {.name = "c"};
    memset(own.pcr0.bytes, 9, TC_SHA384_SIZE);
    assert_ok(tc_truststore_add_image(f->store, &own, &err));
    add_signer(f, 0);
    add_signer(f, 1);
    assert_ok(update(f, 0, 5, 1, &result, &err));
    assert_ok(update(f, 1, 2, 1, &result, &err));
    TC_AUTO_SIGNER struct tc_signer stranger = {0}, second = {0};
    sample_signer(tc_buf_span(&f->pem[2]), &stranger);
    sample_signer(tc_buf_span(&f->pem[1]), &second);
    static const struct {
        int by;
        uint64_t sequence;
        size_t images;
        int only; /* 0 none, 1 the second, 2 the stranger */
        uint64_t least;
        const char *problem;
    } cases[] = {
        {0, 5, 1, 0, 0, NULL},
        {0, 6, 2, 0, 6, NULL},
        {0, 6, 2, 0, 7, "--min-list-version"},
        {0, 4, 1, 0, 0, "sequence 5 or higher"},
        {0, 5, 2, 0, 0, "other content"},
        {2, 1, 1, 0, 0, "nobody here trusts"},
        {2, 1, 1, 2, 0, NULL},
        {0, 6, 1, 2, 0, "expected a signature by"}, /* the one that was named, and no other */
        {1, 2, 1, 1, 0, NULL},
        {1, 1, 1, 1, 0, "sequence 2 or higher"}, /* named or not, the store remembers */
        {1, 2, 2, 1, 0, "other content"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TC_AUTO_KNOWN struct tc_known *known = NULL;
        TC_AUTO_TRUST struct tc_trust trust = {0};
        TC_AUTO_BUF struct tc_buf list =
            signed_list(f, cases[i].by, cases[i].sequence, cases[i].images);
        const struct tc_signer *only = cases[i].only == 0   ? NULL
                                       : cases[i].only == 1 ? &second
                                                            : &stranger;
        assert_ok(tc_truststore_read(f->store, &known, &err));
        assert_ok(tc_known_with_list(known, tc_buf_span(&list), "images.json", only, cases[i].least,
                                     &trust, &err));
        assert_int_equal(trust.own_count, 0);
        if (!cases[i].problem) {
            assert_string_equal(trust.problem, "");
            size_t vouching = 0;
            for (size_t j = 0; j < trust.lists_count; j++)
                if (trust.lists[j].vouches) {
                    vouching++;
                    assert_string_equal(trust.lists[j].signer, f->id[cases[i].by]);
                    assert_int_equal(trust.lists[j].list.sequence, cases[i].sequence);
                }
            assert_int_equal(vouching, 1);
            assert_true(trust.lists_count >= 2); /* the others can still revoke */
        } else if (!strstr(trust.problem, cases[i].problem)) {
            fail_msg("case %zu: no \"%s\" in: %s", i, cases[i].problem, trust.problem);
        } else {
            assert_int_equal(trust.lists_count, 0);
        }
    }
    TC_AUTO_KNOWN struct tc_known *known = NULL;
    struct tc_trust trust;
    assert_ok(tc_truststore_read(f->store, &known, &err));
    assert_int_equal(tc_known_with_list(known, tc_span_of_text("{"), "x", NULL, 0, &trust, &err),
                     TC_MALFORMED);
}

static void test_certificate(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    char id[TC_SHA256_HEX];
    TC_AUTO_BUF struct tc_buf pem = {0}, second = {0};
    sample_certificate_pem(f->key[2], &pem);
    sample_certificate_pem(f->key[2], &second);
    assert_ok(tc_truststore_add_signer(f->store, tc_buf_span(&pem), "c.pem", id, &err));
    assert_string_equal(id, f->id[2]);
    struct tc_list_update result;
    assert_ok(update(f, 2, 1, 1, &result, &err));
    /* Neither silently wider nor another certificate in its place. */
    assert_refused(tc_truststore_add_signer(f->store, tc_buf_span(&f->pem[2]), "k.pem", id, &err),
                   TC_REFUSED, "as a certificate's");
    assert_refused(tc_truststore_add_signer(f->store, tc_buf_span(&second), "c.pem", id, &err),
                   TC_REFUSED, "remove it first");
    TC_AUTO_KNOWN struct tc_known *known = NULL;
    TC_AUTO_TRUST struct tc_trust trust = {0};
    assert_ok(tc_truststore_read(f->store, &known, &err));
    assert_ok(tc_known_to_trust(known, 0, &trust, &err));
    assert_int_equal(trust.lists_count, 1);
    assert_true(trust.lists[0].by_certificate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE(test_empty),       STORE(test_signers_and_lists),
        STORE(test_rollback),    STORE(test_two_signatures),
        STORE(test_forged),      STORE(test_own),
        STORE(test_builtin),     STORE(test_given),
        STORE(test_certificate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
