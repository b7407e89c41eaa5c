#include "trust_lab.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "folder.h"

int set_up(void **state)
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

int tear_down(void **state)
{
    struct fixture *f = *state;
    tc_truststore_free(f->store);
    for (int i = 0; i < 3; i++) {
        EVP_PKEY_free(f->key[i]);
        tc_buf_free(&f->pem[i]);
    }
    int result = remove_folder(f->base);
    free(f);
    return result;
}

void add_signer(struct fixture *f, int which)
{
    struct tc_error err = {0};
    char id[TC_SHA256_HEX];
    assert_ok(tc_truststore_add_signer(f->store, tc_buf_span(&f->pem[which]), "key.pem", id, &err));
    assert_string_equal(id, f->id[which]);
}

struct tc_buf signed_list(struct fixture *f, int which, uint64_t sequence, size_t images)
{
    struct tc_image all[] = {sample_image("c", 0x10), sample_image("rust", 0x40)};
    struct tc_imagelist list;
    struct tc_buf envelope;
    sample_list_of(sequence, all, images, &list);
    sample_sign(&list, &f->key[which], 1, &envelope);
    tc_imagelist_free(&list);
    return envelope;
}

tc_status update(struct fixture *f, int which, uint64_t sequence, size_t images,
                 struct tc_list_update *ret, struct tc_error *err)
{
    struct tc_buf envelope = signed_list(f, which, sequence, images);
    tc_status status =
        tc_truststore_update(f->store, tc_buf_span(&envelope), "images.json", 0, ret, err);
    tc_buf_free(&envelope);
    return status;
}

uint64_t sequence_there(struct fixture *f, int which)
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

char *path_in(struct fixture *f, const char *before, const char *id, const char *after)
{
    static char path[512];
    (void)snprintf(path, sizeof path, "%s/%s%s%s", f->folder, before, id, after);
    return path;
}

void write_raw(const char *path, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), (ssize_t)size);
    (void)close(fd);
}
