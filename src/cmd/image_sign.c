#include "cmd/image_sign.h"

#include <sys/stat.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <string.h>

#include "base/cleanup.h"
#include "cmd/trust.h"
#include "os/files.h"
#include "os/tempfile.h"

struct pairs {
    EVP_PKEY *pairs[TC_DSSE_SIGNATURES_MAX];
    size_t count;
};

static void pairs_free(struct pairs *pairs)
{
    for (size_t i = 0; i < pairs->count; i++)
        EVP_PKEY_free(pairs->pairs[i]);
}

static void bio_free(BIO **bio)
{
    BIO_free(*bio);
}

/* The library reads the key, and asks on the terminal for a pass phrase when it
 * has one; its bytes come nowhere near this program's own buffers. */
static tc_status read_pair(const char *path, EVP_PKEY **ret_pair, struct tc_error *err)
{
    __attribute__((cleanup(bio_free))) BIO *file = BIO_new_file(path, "r");
    EVP_PKEY *pair = file ? PEM_read_bio_PrivateKey(file, NULL, NULL, NULL) : NULL;
    enum tc_key_kind kind;
    ERR_clear_error();
    if (!file) return tc_fail(err, TC_UNAVAILABLE, "cannot open the key %s", path);
    if (!pair) return tc_fail(err, TC_USAGE, "%s holds no private key in PEM form, or the pass phrase was not the one",
                       path);
    if (!tc_key_kind(pair, &kind)) {
        EVP_PKEY_free(pair);
        return tc_fail(err, TC_USAGE, "the key %s must be an ed25519, P-256 or P-384 key", path);
    }
    *ret_pair = pair;
    return TC_OK;
}

static tc_status read_draft(const char *path, struct tc_imagelist *ret_list, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf draft = {0};
    TC_TRY(tc_read_list_file(path, &draft, err));
    return tc_imagelist_read(tc_buf_span(&draft), path, TC_IMAGELIST_DRAFT, ret_list, err);
}

/* What a user's program would do with it, by the public keys alone. */
static tc_status check_result(struct tc_span envelope, const struct pairs *pairs, const char *name,
                              struct tc_sign_result *result, struct tc_error *err)
{
    TC_AUTO_DSSE struct tc_dsse dsse = {0};
    TC_AUTO_IMAGELIST struct tc_imagelist list = {0};
    TC_TRY(tc_dsse_read(envelope, name, &tc_imagelist_form, &dsse, err));
    for (size_t i = 0; i < pairs->count; i++) {
        TC_AUTO_BUF struct tc_buf spki = tc_buf_new(TC_PUBKEY_MAX);
        TC_TRY(tc_key_public(pairs->pairs[i], &spki, err));
        TC_TRY(tc_key_id(tc_buf_span(&spki), result->ids[i], err));
        TC_TRY(tc_dsse_check(&dsse, &tc_imagelist_form, tc_buf_span(&spki), err));
    }
    TC_TRY(tc_imagelist_read(tc_buf_span(&dsse.payload), name, TC_IMAGELIST_SIGNED, &list, err));
    result->sequence = list.sequence;
    result->images = list.images_count;
    return TC_OK;
}

/* The list takes the place of what has its name: never of what it is made from. */
static tc_status check_output(const struct tc_sign_request *request, struct tc_error *err)
{
    struct stat output, input;
    if (stat(request->output, &output) != 0) return TC_OK;
    for (size_t i = 0; i <= request->keys_count; i++) {
        const char *path = i < request->keys_count ? request->keys[i] : request->draft;
        if (stat(path, &input) == 0 && input.st_dev == output.st_dev && input.st_ino == output.st_ino)
            return tc_fail(err, TC_USAGE, "--output %s is %s: name another file", request->output,
                           i < request->keys_count ? "a key" : "the draft");
    }
    return TC_OK;
}

tc_status tc_sign_images(const struct tc_sign_request *request, struct tc_sign_result *ret_result,
                         struct tc_error *err)
{
    TC_CLEANUP(pairs_free) struct pairs pairs = {0};
    TC_AUTO_IMAGELIST struct tc_imagelist list = {0};
    TC_AUTO_BUF struct tc_buf payload = tc_buf_new(TC_IMAGELIST_MAX);
    TC_AUTO_BUF struct tc_buf envelope = tc_buf_new(TC_IMAGELIST_ENVELOPE_MAX);
    TC_AUTO_TEMPFILE struct tc_tempfile file = TC_TEMPFILE_NONE;
    struct tc_sign_result result = {0};
    TC_TRY(check_output(request, err));
    TC_TRY(read_draft(request->draft, &list, err));
    for (size_t i = 0; i < request->keys_count; i++) {
        TC_TRY(read_pair(request->keys[i], &pairs.pairs[i], err));
        pairs.count = i + 1;
    }
    TC_TRY(tc_imagelist_write(&list, &payload, err));
    TC_TRY(tc_dsse_sign_by(&tc_imagelist_form, pairs.pairs, pairs.count, tc_buf_span(&payload),
                           &envelope, err));
    TC_TRY(check_result(tc_buf_span(&envelope), &pairs, request->output, &result, err));
    TC_TRY(tc_tempfile_open(request->output, &file, err));
    TC_TRY(tc_write_all(file.fd, tc_buf_span(&envelope), request->output, err));
    TC_TRY(tc_tempfile_commit(&file, err));
    *ret_result = result;
    return TC_OK;
}
