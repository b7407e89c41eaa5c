/* A key and a self-signed certificate in one folder. The certificate is written
 * last, under a lock and by rename, so its presence means that the pair is
 * whole: whoever comes second finds it, whoever is cut off leaves nothing that
 * counts. A pair that exists is never replaced, since other people may have
 * named that root as trusted. */
#include "host/devroot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <sys/file.h>
#include <sys/stat.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "host/devattest.h"
#include "os/files.h"

#define KEY_NAME "development-root.key"
#define CERTIFICATE_NAME "development-root.pem"
#define LOCK_NAME "development-root.lock"

enum {
    PEM_MAX = 16384,
    DAY = 24 * 3600,
    YEARS_VALID = 20,
};

static void free_bio(BIO **bio)
{
    BIO_free_all(*bio);
}

static tc_status join(const char *folder, const char *name, char **ret_path, struct tc_error *err)
{
    char *path = NULL;
    if (asprintf(&path, "%s/%s", folder, name) < 0)
        return tc_fail(err, TC_SYSTEM, "out of memory for a path");
    *ret_path = path;
    return TC_OK;
}

tc_status tc_devroot_folder(char **ret_path, struct tc_error *err)
{
    const char *data = getenv("XDG_DATA_HOME");
    const char *home = getenv("HOME");
    /* The XDG rule: a path that is not absolute counts as not set. */
    if (data && data[0] == '/') return join(data, "tee-compile", ret_path, err);
    if (home && home[0] == '/') return join(home, ".local/share/tee-compile", ret_path, err);
    return tc_fail(err, TC_UNAVAILABLE,
                   "no place for the development root: set HOME or XDG_DATA_HOME to an absolute "
                   "path");
}

/* mkdir -p; the last folder is 0700. */
static tc_status make_folders(const char *folder, struct tc_error *err)
{
    char *path TC_AUTO_FREE = strdup(folder);
    if (!path) return tc_fail(err, TC_SYSTEM, "out of memory for a path");
    for (char *slash = strchr(path + (*path == '/'), '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0755) != 0 && errno != EEXIST)
            return tc_fail_errno(err, TC_UNAVAILABLE, errno,
                                 "cannot make the folder %s for the development root; set "
                                 "XDG_DATA_HOME to a place that can be written",
                                 path);
        *slash = '/';
    }
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot make the folder %s; set XDG_DATA_HOME to a place that can be "
                             "written", folder);
    return TC_OK;
}

static tc_status open_folder(const char *folder, int *ret_fd, struct tc_error *err)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open %s", folder);
    *ret_fd = fd;
    return TC_OK;
}

static tc_status take_lock(int folder_fd, int *ret_fd, struct tc_error *err)
{
    int fd TC_AUTO_CLOSE =
        openat(folder_fd, LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open " LOCK_NAME);
    while (flock(fd, LOCK_EX) != 0)
        if (errno != EINTR)
            return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot lock " LOCK_NAME);
    *ret_fd = TC_TAKE_FD(fd);
    return TC_OK;
}

/* Written beside and renamed. Called under the lock. */
static tc_status write_file(int folder_fd, const char *name, mode_t mode, BIO *content,
                            struct tc_error *err)
{
    char temporary[64];
    char *data = NULL;
    long size = BIO_get_mem_data(content, &data);
    (void)snprintf(temporary, sizeof temporary, "%s.new", name);
    (void)unlinkat(folder_fd, temporary, 0);
    int fd TC_AUTO_CLOSE =
        openat(folder_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0) return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot create %s", temporary);
    TC_TRY(tc_write_all(fd, (struct tc_span){(const uint8_t *)data, (size_t)size}, name, err));
    if (fsync(fd) != 0 || renameat(folder_fd, temporary, folder_fd, name) != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot store %s", name);
    return TC_OK;
}

static tc_status make_root(int folder_fd, struct tc_error *err)
{
    EVP_PKEY *key TC_CLEANUP(tc_devcert_free_key) = NULL;
    X509 *certificate TC_CLEANUP(tc_devcert_free) = NULL;
    TC_TRY(tc_devcert_key(&key, err));
    int64_t now = time(NULL);
    const struct tc_devcert_spec spec = {
        .name = "tee-compile development root - NOT A TEE",
        .key = key,
        .from = now - DAY, /* a clock that is set back a little must not matter */
        .until = now + (int64_t)YEARS_VALID * 365 * DAY,
        .ca = true,
        .path_length = 1,
    };
    TC_TRY(tc_devcert_make(&spec, &certificate, err));
    BIO *key_text TC_CLEANUP(free_bio) = BIO_new(BIO_s_secmem());
    BIO *text TC_CLEANUP(free_bio) = BIO_new(BIO_s_mem());
    if (!key_text || !text ||
        PEM_write_bio_PKCS8PrivateKey(key_text, key, NULL, NULL, 0, NULL, NULL) != 1 ||
        PEM_write_bio_X509(text, certificate) != 1) {
        ERR_clear_error();
        return tc_fail(err, TC_SYSTEM, "the development root could not be written as PEM");
    }
    TC_TRY(write_file(folder_fd, KEY_NAME, 0600, key_text, err));
    return write_file(folder_fd, CERTIFICATE_NAME, 0644, text, err);
}

tc_status tc_devroot_ensure(const char *folder, char **ret_pem_path, bool *ret_created,
                            struct tc_error *err)
{
    int folder_fd TC_AUTO_CLOSE = -1;
    int lock_fd TC_AUTO_CLOSE = -1;
    char *path TC_AUTO_FREE = NULL;
    struct tc_devcert_issuer root = {0};
    TC_TRY(make_folders(folder, err));
    TC_TRY(open_folder(folder, &folder_fd, err));
    TC_TRY(take_lock(folder_fd, &lock_fd, err));
    TC_TRY(join(folder, CERTIFICATE_NAME, &path, err));
    bool create = faccessat(folder_fd, CERTIFICATE_NAME, F_OK, AT_SYMLINK_NOFOLLOW) != 0;
    if (create && errno != ENOENT)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot look at %s", path);
    if (create) TC_TRY(make_root(folder_fd, err));
    TC_TRY(tc_devroot_load(folder, &root, err));
    tc_devroot_done(&root);
    *ret_pem_path = TC_TAKE(path);
    *ret_created = create;
    return TC_OK;
}

/* --- loading --- */

static tc_status read_file(int folder_fd, const char *name, bool secret, struct tc_buf *buf,
                           struct tc_error *err)
{
    uint8_t block[4096];
    struct stat info;
    int fd TC_AUTO_CLOSE = openat(folder_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &info) != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno,
                             "cannot read %s; remove " CERTIFICATE_NAME
                             " to have a new development root made",
                             name);
    if (secret && (info.st_mode & 077) != 0)
        return tc_fail(err, TC_USAGE, "%s may be read by others; chmod 600 it, or remove both "
                       "files to have a new root made", name);
    for (;;) {
        ssize_t got = read(fd, block, sizeof block);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot read %s", name);
        if (got == 0) return tc_buf_check(buf, name, err);
        tc_buf_add(buf, block, (size_t)got);
    }
}

/* The key must not stay in freed memory. */
static void free_secret(struct tc_buf *buf)
{
    if (buf->data) OPENSSL_cleanse(buf->data, buf->allocated);
    tc_buf_free(buf);
}

static tc_status read_pair(int folder_fd, struct tc_devcert_issuer *root, struct tc_error *err)
{
    struct tc_buf key TC_CLEANUP(free_secret) = tc_buf_new(PEM_MAX);
    struct tc_buf certificate TC_AUTO_BUF = tc_buf_new(PEM_MAX);
    TC_TRY(read_file(folder_fd, CERTIFICATE_NAME, false, &certificate, err));
    TC_TRY(read_file(folder_fd, KEY_NAME, true, &key, err));
    BIO *key_text TC_CLEANUP(free_bio) = BIO_new_mem_buf(key.data, (int)key.size);
    BIO *text TC_CLEANUP(free_bio) = BIO_new_mem_buf(certificate.data, (int)certificate.size);
    if (key_text && text) {
        /* The empty passphrase keeps libcrypto from asking on the terminal. */
        static char no_passphrase[] = "";
        root->key = PEM_read_bio_PrivateKey(key_text, NULL, NULL, no_passphrase);
        root->certificate = PEM_read_bio_X509(text, NULL, NULL, NULL);
    }
    bool pair = root->key && root->certificate &&
                X509_check_private_key(root->certificate, root->key) == 1;
    ERR_clear_error();
    if (!pair)
        return tc_fail(err, TC_UNAVAILABLE,
                       KEY_NAME " and " CERTIFICATE_NAME " are not a pair; remove both to have a "
                       "new development root made");
    return TC_OK;
}

void tc_devroot_done(struct tc_devcert_issuer *root)
{
    tc_devcert_free_key(&root->key);
    tc_devcert_free(&root->certificate);
}

tc_status tc_devroot_load(const char *folder, struct tc_devcert_issuer *ret_root,
                          struct tc_error *err)
{
    int folder_fd TC_AUTO_CLOSE = -1;
    struct tc_devcert_issuer root TC_CLEANUP(tc_devroot_done) = {0};
    if (open_folder(folder, &folder_fd, err) != TC_OK || read_pair(folder_fd, &root, err) != TC_OK)
        return tc_wrap(err, "%s", folder);
    ret_root->key = TC_TAKE(root.key);
    ret_root->certificate = TC_TAKE(root.certificate);
    return TC_OK;
}
