#include "cmd/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "base/cleanup.h"

enum { CERTIFICATE_FILE_MAX = 65536 };

static void bio_free(BIO **bio)
{
    BIO_free(*bio);
}

static void x509_free(X509 **certificate)
{
    X509_free(*certificate);
}

tc_status tc_read_certificate(const char *path, struct tc_buf *ret_der, struct tc_error *err)
{
    __attribute__((cleanup(bio_free))) BIO *file = BIO_new_file(path, "r");
    if (!file)
        return tc_fail(err, TC_USAGE, "cannot read the certificate %s: %s", path, strerror(errno));
    TC_AUTO_FREE uint8_t *bytes = malloc(CERTIFICATE_FILE_MAX);
    if (!bytes) return tc_fail(err, TC_SYSTEM, "out of memory");
    int size = BIO_read(file, bytes, CERTIFICATE_FILE_MAX);
    if (size <= 0 || size == CERTIFICATE_FILE_MAX)
        return tc_fail(err, TC_USAGE, "%s is no certificate: expected at most %d bytes", path,
                       CERTIFICATE_FILE_MAX - 1);
    const uint8_t *next = bytes;
    __attribute__((cleanup(x509_free))) X509 *certificate = d2i_X509(NULL, &next, size);
    if (certificate && next != bytes + size)
        return tc_fail(err, TC_USAGE, "%s has bytes behind its certificate: expected one in DER",
                       path);
    if (!certificate) {
        __attribute__((cleanup(bio_free))) BIO *text = BIO_new_mem_buf(bytes, size);
        if (text) certificate = PEM_read_bio_X509(text, NULL, NULL, NULL);
        /* Which of two would be meant? */
        X509 *second = certificate ? PEM_read_bio_X509(text, NULL, NULL, NULL) : NULL;
        ERR_clear_error();
        if (second) {
            X509_free(second);
            return tc_fail(err, TC_USAGE, "%s holds more than one certificate: expected one", path);
        }
    }
    uint8_t *der = NULL;
    int der_size = certificate ? i2d_X509(certificate, &der) : -1;
    if (der_size <= 0)
        return tc_fail(err, TC_USAGE, "%s is no certificate in PEM or DER form", path);
    struct tc_buf buf = tc_buf_new(CERTIFICATE_FILE_MAX);
    tc_buf_add(&buf, der, (size_t)der_size);
    OPENSSL_free(der);
    TC_TRY(tc_buf_check(&buf, path, err));
    *ret_der = buf;
    return TC_OK;
}

tc_status tc_digest_file(const char *path, struct tc_sha256 *ret_digest, struct tc_error *err)
{
    TC_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0)
        return tc_fail_errno(err, TC_USAGE, errno, "cannot read %s", path);
    if (!S_ISREG(info.st_mode)) return tc_fail(err, TC_USAGE, "%s is no regular file", path);
    TC_AUTO_HASH struct tc_hash *hash = tc_hash_new(TC_HASH_SHA256);
    TC_AUTO_FREE uint8_t *piece = malloc(1 << 18);
    if (!hash || !piece) return tc_fail(err, TC_SYSTEM, "out of memory");
    ssize_t got;
    while ((got = read(fd, piece, 1 << 18)) != 0) {
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read %s", path);
        tc_hash_add(hash, piece, (size_t)got);
    }
    return tc_hash_finish(hash, ret_digest->bytes, sizeof ret_digest->bytes, err);
}

tc_status tc_read_policy(const char *path, struct tc_policy *ret_policy, struct tc_error *err)
{
    TC_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return tc_fail_errno(err, TC_USAGE, errno, "cannot read the policy %s", path);
    /* A byte more than it may have, so that the reader sees one that is too long. */
    TC_AUTO_FREE uint8_t *bytes = malloc(TC_POLICY_SIZE_MAX + 1);
    if (!bytes) return tc_fail(err, TC_SYSTEM, "out of memory");
    size_t size = 0;
    while (size <= TC_POLICY_SIZE_MAX) {
        ssize_t got = read(fd, bytes + size, TC_POLICY_SIZE_MAX + 1 - size);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return tc_fail_errno(err, TC_USAGE, errno, "cannot read the policy %s", path);
        if (got == 0) break;
        size += (size_t)got;
    }
    if (tc_policy_parse((struct tc_span){bytes, size}, ret_policy, err) != TC_OK)
        return tc_wrap(err, "%s", path);
    return TC_OK;
}

char *tc_absolute_path(const char *path)
{
    const char *slash = strrchr(path, '/');
    TC_AUTO_FREE char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    TC_AUTO_FREE char *real = folder ? realpath(folder, NULL) : NULL;
    char *result;
    if (!real || asprintf(&result, "%s/%s", real, slash ? slash + 1 : path) < 0) return NULL;
    return result;
}

bool tc_is_same_path(const char *one, const char *other)
{
    TC_AUTO_FREE char *first = tc_absolute_path(one);
    TC_AUTO_FREE char *second = tc_absolute_path(other);
    return first && second && strcmp(first, second) == 0;
}
