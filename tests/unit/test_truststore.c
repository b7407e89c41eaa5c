/* The trust store on disk: what goes in comes out, nothing older or forged goes
 * in, and what somebody left half-written or wrote by hand is never taken for
 * more than it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/evp.h>

#include "base/cleanup.h"
#include "core/pcr.h"
#include "trust_sample.h"
#include "verify/truststore.h"

#define assert_ok(expression)                                                                      \
    do {                                                                                           \
        tc_status status_ = (expression);                                                          \
        if (status_ != TC_OK) fail_msg("%s: %s", #expression, err.message);                        \
    } while (0)

#define assert_refused(expression, status, says)                                                   \
    do {                                                                                           \
        assert_int_equal((expression), (status));                                                  \
        if (!strstr(err.message, (says))) fail_msg("no \"%s\" in: %s", (says), err.message);       \
    } while (0)

struct fixture {
    char base[64], folder[128];
    EVP_PKEY *key[3]; /* ed25519, P-256, P-384 */
    struct tc_buf pem[3];
    char id[3][TC_SHA256_HEX];
    struct tc_truststore *store;
};

static int setup(void **state)
{
    struct tc_error err = {0};
    struct fixture *f = calloc(1, sizeof *f);
    if (!f) return -1;
    (void)snprintf(f->base, sizeof f->base, "/tmp/test-trust-XXXXXX");
    if (!mkdtemp(f->base)) return -1;
    (void)snprintf(f->folder, sizeof f->folder, "%s/data/trust", f->base);
    for (int i = 0; i < 3; i++) {
        f->key[i] = sample_key((enum sample_key_kind)i);
        sample_key_pem(f->key[i], &f->pem[i]);
        struct tc_signer signer;
        sample_signer(tc_buf_span(&f->pem[i]), &signer);
        memcpy(f->id[i], signer.id, sizeof signer.id);
        tc_signer_free(&signer);
    }
    if (tc_truststore_open(f->folder, NULL, &f->store, &err) != TC_OK) return -1;
    *state = f;
    return 0;
}

static int remove_one(const char *path, const struct stat *info, int flag, struct FTW *walk)
{
    (void)info;
    (void)flag;
    (void)walk;
    return remove(path);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    tc_truststore_free(f->store);
    for (int i = 0; i < 3; i++) {
        EVP_PKEY_free(f->key[i]);
        tc_buf_free(&f->pem[i]);
    }
    int result = nftw(f->base, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(f);
    return result;
}

static void add_signer(struct fixture *f, int which)
{
    struct tc_error err = {0};
    char id[TC_SHA256_HEX];
    assert_ok(tc_truststore_add_signer(f->store, tc_buf_span(&f->pem[which]), "key.pem", id, &err));
    assert_string_equal(id, f->id[which]);
}

/* A list by one key; more images make another content. */
static struct tc_buf signed_list(struct fixture *f, int which, uint64_t sequence, size_t images)
{
    struct tc_image all[] = {sample_image("c", 0x10), sample_image("rust", 0x40)};
    struct tc_imagelist list;
    struct tc_buf envelope;
    sample_list_of(sequence, all, images, &list);
    sample_sign(&list, &f->key[which], 1, &envelope);
    tc_imagelist_free(&list);
    return envelope;
}

static tc_status update(struct fixture *f, int which, uint64_t sequence, size_t images,
                        struct tc_list_update *ret, struct tc_error *err)
{
    struct tc_buf envelope = signed_list(f, which, sequence, images);
    tc_status status =
        tc_truststore_update(f->store, tc_buf_span(&envelope), "images.json", 0, ret, err);
    tc_buf_free(&envelope);
    return status;
}

static uint64_t sequence_there(struct fixture *f, int which)
{
    struct tc_error err = {0};
    TC_AUTO_KNOWN struct tc_known *known = NULL;
    assert_ok(tc_truststore_read(f->store, &known, &err));
    for (size_t i = 0; i < known->signers_count; i++)
        if (strcmp(known->signers[i].signer.id, f->id[which]) == 0)
            return known->signers[i].has_list ? known->signers[i].list.sequence : 0;
    fail_msg("no such signer");
    return 0;
}

static char *path_in(struct fixture *f, const char *before, const char *id, const char *after)
{
    static char path[512];
    (void)snprintf(path, sizeof path, "%s/%s%s%s", f->folder, before, id, after);
    return path;
}

static void write_raw(const char *path, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), (ssize_t)size);
    (void)close(fd);
}

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

/* Leftovers of other programs' and our own interrupted writes, and damage. */
static void test_damaged(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    struct tc_list_update result = {0};
    struct tc_known *known;
    add_signer(f, 0);
    add_signer(f, 1);
    assert_ok(update(f, 0, 5, 1, &result, &err));
    write_raw(path_in(f, "keys/.", f->id[2], ".pem.0011223344556677.part"), "half", 4);
    write_raw(path_in(f, "keys/", f->id[2], ".pem.new"), f->pem[2].data, f->pem[2].size);
    write_raw(path_in(f, "lists/.", f->id[1], ".json.0011223344556677.part"), "half", 4);
    write_raw(path_in(f, "keys/README", "", ""), "hello", 5);
    assert_int_equal(sequence_there(f, 0), 5);
    assert_int_equal(sequence_there(f, 1), 0);
    assert_refused(update(f, 2, 5, 1, &result, &err), TC_REFUSED, "nobody here trusts");

    /* Every cut of a stored list is noticed, and stays in the way of an update:
     * nobody knows any more which list was there. */
    TC_AUTO_BUF struct tc_buf list = signed_list(f, 0, 5, 1);
    const char *path = path_in(f, "lists/", f->id[0], ".json");
    for (size_t size = 0; size < list.size; size += 7) {
        write_raw(path, list.data, size);
        assert_int_not_equal(tc_truststore_read(f->store, &known, &err), TC_OK);
        assert_int_not_equal(update(f, 0, 4, 1, &result, &err), TC_OK);
    }
    write_raw(path, list.data, list.size);
    assert_int_equal(sequence_there(f, 0), 5);
    /* The other signer's list under this name. */
    TC_AUTO_BUF struct tc_buf others = signed_list(f, 1, 5, 1);
    write_raw(path, others.data, others.size);
    assert_refused(tc_truststore_read(f->store, &known, &err), TC_REFUSED, "no signature names");
    assert_ok(tc_truststore_remove(f->store, f->id[0], &err)); /* even so */

    path = path_in(f, "keys/", f->id[1], ".pem");
    write_raw(path, f->pem[2].data, f->pem[2].size);
    assert_refused(tc_truststore_read(f->store, &known, &err), TC_REFUSED, "holds another key");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_refused(tc_truststore_read(f->store, &known, &err), TC_USAGE, "symlink");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_refused(tc_truststore_read(f->store, &known, &err), TC_USAGE, "no regular file");
    assert_int_equal(unlink(path), 0);
    path = path_in(f, "own.json", "", "");
    write_raw(path, "{\"type\":\"tee-compile/own-images/1\",\"images\":[", 20);
    assert_int_equal(tc_truststore_read(f->store, &known, &err), TC_MALFORMED);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(truncate(path, 0), -1);
    write_raw(path, "", 0);
    assert_int_equal(truncate(path, (off_t)TC_OWNIMAGES_MAX + 1), 0);
    assert_refused(tc_truststore_read(f->store, &known, &err), TC_USAGE, "larger than");
}

static void test_open_to_others(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    struct tc_known *known;
    add_signer(f, 0);
    char *path = path_in(f, "keys", "", "");
    assert_int_equal(chmod(path, 0770), 0);
    assert_refused(tc_truststore_read(f->store, &known, &err), TC_UNAVAILABLE, "others can write");
    assert_int_equal(chmod(path, 0755), 0);
    assert_int_equal(sequence_there(f, 0), 0);
    /* A file in it, for all that the folder is closed. */
    char key[512];
    (void)snprintf(key, sizeof key, "%s", path_in(f, "keys/", f->id[0], ".pem"));
    assert_int_equal(chmod(key, 0622), 0);
    assert_refused(tc_truststore_read(f->store, &known, &err), TC_UNAVAILABLE, "others can write");
    assert_int_equal(chmod(key, 0600), 0);
    if (geteuid() == 0) { /* nobody else can give it to another user */
        assert_int_equal(chown(key, 12345, (gid_t)-1), 0);
        assert_refused(tc_truststore_read(f->store, &known, &err), TC_UNAVAILABLE, "user 12345");
        assert_int_equal(chown(key, 0, (gid_t)-1), 0);
        path = path_in(f, "keys", "", "");
        assert_int_equal(chown(path, 12345, (gid_t)-1), 0);
        assert_refused(tc_truststore_read(f->store, &known, &err), TC_UNAVAILABLE, "user 12345");
        assert_int_equal(chown(path, 0, (gid_t)-1), 0);
    }
    path = path_in(f, "keys", "", "");
    assert_int_equal(chmod(f->folder, 0777), 0);
    struct tc_truststore *store;
    assert_refused(tc_truststore_open(f->folder, NULL, &store, &err), TC_UNAVAILABLE,
                   "others can write");
    /* A folder that is a link to another place. */
    assert_int_equal(chmod(f->folder, 0700), 0);
    char elsewhere[256];
    (void)snprintf(elsewhere, sizeof elsewhere, "%s/keys", f->base);
    assert_int_equal(rename(path, elsewhere), 0);
    assert_int_equal(symlink(elsewhere, path), 0);
    assert_int_equal(tc_truststore_read(f->store, &known, &err), TC_UNAVAILABLE);
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

enum { PROCESSES = 8, ROUNDS = 6 };

/* Many processes bring lists in any order, and images of their own: at the end
 * the highest list is there, every image is, and no reader ever saw a broken
 * store or a list older than one that it had seen. */
static void bring(struct fixture *f, int number)
{
    struct tc_error err = {0};
    struct tc_truststore *store;
    uint64_t seen = 0;
    if (tc_truststore_open(f->folder, NULL, &store, &err) != TC_OK) _exit(1);
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t sequence = (uint64_t)(1 + (number * 5 + round * 7) % (PROCESSES * ROUNDS));
        struct tc_buf envelope = signed_list(f, 0, sequence, 2);
        struct tc_list_update result;
        tc_status status =
            tc_truststore_update(store, tc_buf_span(&envelope), "x", 0, &result, &err);
        tc_buf_free(&envelope);
        if (status != TC_OK && status != TC_REFUSED) _exit(2);
        struct tc_own_image image = {.name = "c"};
        memset(image.pcr0.bytes, 1 + number, TC_SHA384_SIZE);
        image.pcr0.bytes[0] = (uint8_t)(1 + round);
        if (tc_truststore_add_image(store, &image, &err) != TC_OK) _exit(3);
        struct tc_known *known;
        if (tc_truststore_read(store, &known, &err) != TC_OK) _exit(4);
        if (known->signers[0].list.sequence < seen) _exit(5);
        seen = known->signers[0].list.sequence;
        if (status == TC_OK && seen < sequence) _exit(6);
        tc_known_free(known);
    }
    tc_truststore_free(store);
    _exit(0);
}

static void test_at_once(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    pid_t children[PROCESSES];
    add_signer(f, 0);
    uint64_t highest = 0;
    for (int i = 0; i < PROCESSES; i++) {
        for (int round = 0; round < ROUNDS; round++) {
            uint64_t sequence = (uint64_t)(1 + (i * 5 + round * 7) % (PROCESSES * ROUNDS));
            if (sequence > highest) highest = sequence;
        }
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0) bring(f, i);
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    assert_int_equal(sequence_there(f, 0), highest);
    TC_AUTO_KNOWN struct tc_known *known = NULL;
    assert_ok(tc_truststore_read(f->store, &known, &err));
    assert_int_equal(known->own_count, PROCESSES * ROUNDS);
}

#define with_store(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_store(test_empty),       with_store(test_signers_and_lists),
        with_store(test_rollback),    with_store(test_two_signatures),
        with_store(test_forged),      with_store(test_own),
        with_store(test_builtin),     with_store(test_given),
        with_store(test_damaged),     with_store(test_open_to_others),
        with_store(test_certificate), with_store(test_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
