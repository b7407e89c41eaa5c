/* Signing reads an image twice: first to measure, then to copy. Here it is another one
 * by the second time. What signing does otherwise: tests/integration/test_image_eif.py. */
#include <fcntl.h>
#include <openssl/ec.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "eif_sample.h"
#include "host/image_make.h"

/* The image's descriptor, and what is in it once somebody goes back to its start. */
static int image_fd = -1;
static struct tc_buf later;

/* In place of lseek() of the code under test (the linker's --wrap); the name is the
 * linker's. */
off_t __real_lseek64(int fd, off_t offset, int whence);
off_t __wrap_lseek64(int fd, off_t offset, int whence);
off_t __wrap_lseek64(int fd, off_t offset, int whence)
{
    if (fd == image_fd && later.size > 0)
        assert_int_equal(pwrite(fd, later.data, later.size, 0), later.size);
    return __real_lseek64(fd, offset, whence);
}

struct signer {
    EVP_PKEY *key;
    unsigned char *der;
    int der_size;
};

static int set_up(void **state)
{
    struct signer *signer = calloc(1, sizeof *signer);
    X509 *certificate = X509_new();
    if (!signer || !certificate) return -1;
    *state = signer;
    signer->key = EVP_EC_gen("P-384");
    X509_NAME *name = X509_get_subject_name(certificate);
    assert_true(X509_set_version(certificate, 2) &&
                ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1) &&
                X509_gmtime_adj(X509_getm_notBefore(certificate), -3600) &&
                X509_gmtime_adj(X509_getm_notAfter(certificate), 3600) &&
                X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                           (const unsigned char *)"signer", -1, -1, 0) &&
                X509_set_issuer_name(certificate, name) &&
                X509_set_pubkey(certificate, signer->key) &&
                X509_sign(certificate, signer->key, EVP_sha384()) > 0);
    signer->der_size = i2d_X509(certificate, &signer->der);
    X509_free(certificate);
    return signer->der_size > 0 ? 0 : -1;
}

static int tear_down(void **state)
{
    struct signer *signer = *state;
    EVP_PKEY_free(signer->key);
    OPENSSL_free(signer->der);
    free(signer);
    return 0;
}

/* Whether there is a signed image in the end. */
static bool sign(const struct signer *signer, struct tc_error *err)
{
    char folder[] = "/tmp/tc-image-sign.XXXXXX", path[64];
    struct tc_buf image = eif_sample();
    const struct tc_image_signer with = {
        signer->key, {signer->der, (size_t)signer->der_size}, (int64_t)time(NULL), false};
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/signed.eif", folder);
    image_fd = memfd_create("image", MFD_CLOEXEC);
    assert_int_equal(pwrite(image_fd, image.data, image.size, 0), image.size);
    tc_status status = tc_image_sign(image_fd, "the image", &with, path, NULL, err);
    (void)close(image_fd);
    image_fd = -1;
    tc_buf_free(&image);
    bool is_there = unlink(path) == 0;
    assert_int_equal(rmdir(folder), 0); /* nor anything else */
    assert_int_equal(status, is_there ? TC_OK : TC_REFUSED);
    return is_there;
}

static void test_image_that_stays(void **state)
{
    struct tc_error err = {0};
    if (!sign(*state, &err)) fail_msg("%s", err.message);
}

/* Another image that is in order itself, of the same sizes. */
static void test_image_that_changes(void **state)
{
    struct tc_error err = {0};
    later = eif_sample();
    for (uint8_t *at = later.data; at + 6 <= later.data + later.size; at++)
        if (memcmp(at, "KERNEL", 6) == 0) *at = 'k';
    eif_sample_fix_crc(&later);
    assert_false(sign(*state, &err));
    assert_non_null(strstr(err.message, "changed while it was copied"));
    tc_buf_free(&later);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_image_that_stays),
        cmocka_unit_test(test_image_that_changes),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
