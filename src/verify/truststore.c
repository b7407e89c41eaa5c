/* Opening the store and reading what is in it. */
#include "verify/truststore.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "os/readfile.h"
#include "verify/truststore_internal.h"

enum { ID_SIZE = TC_SHA256_HEX - 1 };

tc_status tc_truststore_path(const struct tc_truststore *store, const char *name, char **ret_path,
                             struct tc_error *err)
{
    char *path;
    if (asprintf(&path, "%s/%s", store->folder ? store->folder : ".", name) < 0)
        return tc_fail(err, TC_SYSTEM, "out of memory for a path");
    *ret_path = path;
    return TC_OK;
}

bool tc_truststore_is_id(const char *text)
{
    return strlen(text) == ID_SIZE && strspn(text, "0123456789abcdef") == ID_SIZE;
}

/* Whoever can write there can say whom the user trusts. */
tc_status tc_truststore_check_folder(int fd, const char *path, struct tc_error *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot look at %s", path);
    if (info.st_uid != geteuid() && info.st_uid != 0)
        return tc_fail(err, TC_UNAVAILABLE, "%s belongs to user %u; it must be yours or root's",
                       path, (unsigned)info.st_uid);
    if (info.st_mode & (S_IWGRP | S_IWOTH))
        return tc_fail(err, TC_UNAVAILABLE, "others can write to %s: chmod go-w it", path);
    return TC_OK;
}

static tc_status open_folder(struct tc_truststore *store, const char *folder, struct tc_error *err)
{
    store->folder = strdup(folder);
    if (!store->folder) return tc_fail(err, TC_SYSTEM, "out of memory for the trust store");
    store->fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (store->fd < 0 && errno == ENOENT) return TC_OK;
    if (store->fd < 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open the trust store %s", folder);
    return tc_truststore_check_folder(store->fd, folder, err);
}

tc_status tc_truststore_open(const char *folder, const struct tc_trust_builtin *builtin,
                             struct tc_truststore **ret_store, struct tc_error *err)
{
    struct tc_truststore *store = calloc(1, sizeof *store);
    if (!store) return tc_fail(err, TC_SYSTEM, "out of memory for the trust store");
    store->fd = -1;
    if (builtin) store->builtin = *builtin;
    tc_status status = folder ? open_folder(store, folder, err) : TC_OK;
    if (status == TC_OK)
        *ret_store = store;
    else
        tc_truststore_free(store);
    return status;
}

void tc_truststore_free(struct tc_truststore *store)
{
    if (!store) return;
    tc_close_ptr(&store->fd);
    free(store->folder);
    free(store);
}

void tc_truststore_free_ptr(struct tc_truststore **store)
{
    tc_truststore_free(*store);
    *store = NULL;
}

tc_status tc_truststore_subfolder(const struct tc_truststore *store, const char *name, bool make,
                                  int *ret_fd, struct tc_error *err)
{
    TC_AUTO_FREE char *path = NULL;
    TC_TRY(tc_truststore_path(store, name, &path, err));
    if (make && mkdirat(store->fd, name, 0700) != 0 && errno != EEXIST)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot make %s", path);
    TC_AUTO_CLOSE int fd =
        store->fd < 0 ? -1
                      : openat(store->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (store->fd < 0 || (fd < 0 && errno == ENOENT && !make)) {
        *ret_fd = -1;
        return TC_OK;
    }
    if (fd < 0) return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open %s", path);
    TC_TRY(tc_truststore_check_folder(fd, path, err));
    *ret_fd = TC_TAKE_FD(fd);
    return TC_OK;
}

void tc_known_free(struct tc_known *known)
{
    if (!known) return;
    for (size_t i = 0; i < known->signers_count; i++) {
        tc_signer_free(&known->signers[i].signer);
        tc_buf_free(&known->signers[i].payload);
        tc_imagelist_free(&known->signers[i].list);
    }
    free(known->own);
    free(known);
}

void tc_known_free_ptr(struct tc_known **known)
{
    tc_known_free(*known);
    *known = NULL;
}

static struct tc_known_signer *find_signer(struct tc_known *known, const char *id)
{
    for (size_t i = 0; i < known->signers_count; i++)
        if (strcmp(known->signers[i].signer.id, id) == 0) return &known->signers[i];
    return NULL;
}

/* Takes the signer. */
static tc_status add_known(struct tc_known *known, struct tc_signer *signer, bool builtin,
                           struct tc_error *err)
{
    if (known->signers_count == TC_TRUST_SIGNERS_MAX)
        return tc_fail(err, TC_LIMIT, "the trust store has more than %d signers",
                       TC_TRUST_SIGNERS_MAX);
    known->signers[known->signers_count++] =
        (struct tc_known_signer){.signer = *signer, .builtin = builtin};
    *signer = (struct tc_signer){0};
    return TC_OK;
}

tc_status tc_truststore_open_list(const struct tc_dsse *dsse, const char *name,
                                  const struct tc_signer *signer, struct tc_imagelist *ret_list,
                                  struct tc_error *err)
{
    TC_TRY(tc_dsse_check(dsse, &tc_imagelist_form, tc_buf_span(&signer->spki), err));
    return tc_imagelist_read(tc_buf_span(&dsse->payload), name, TC_IMAGELIST_SIGNED, ret_list, err);
}

/* Of two lists by one signer the later one counts. Two with one sequence that
 * differ are a signer who says two things, or a thief of the key. */
static tc_status take_list(struct tc_known_signer *known, struct tc_span envelope, const char *name,
                           struct tc_error *err)
{
    TC_AUTO_DSSE struct tc_dsse dsse = {0};
    TC_AUTO_IMAGELIST struct tc_imagelist list = {0};
    TC_TRY(tc_dsse_read(envelope, name, &tc_imagelist_form, &dsse, err));
    tc_status status = tc_truststore_open_list(&dsse, name, &known->signer, &list, err);
    if (status == TC_REFUSED) return tc_wrap(err, "%s", name);
    if (status != TC_OK) return status;
    if (known->has_list && known->list.sequence > list.sequence) return TC_OK;
    if (known->has_list && known->list.sequence == list.sequence) {
        if (tc_span_equal(tc_buf_span(&known->payload), tc_buf_span(&dsse.payload))) return TC_OK;
        return tc_fail(err, TC_REFUSED,
                       "%s has sequence %llu and other content than the list with that sequence in "
                       "this program: do not trust its signer, %s, before you know why",
                       name, (unsigned long long)list.sequence, known->signer.id);
    }
    tc_imagelist_free(&known->list);
    tc_buf_free(&known->payload);
    known->list = list;
    known->payload = dsse.payload;
    known->has_list = true;
    list = (struct tc_imagelist){0};
    dsse.payload = tc_buf_new(0);
    return TC_OK;
}

static tc_status is_removed(int keys_fd, const char *id, bool *ret_removed, struct tc_error *err)
{
    char name[TC_SHA256_HEX + 16];
    (void)snprintf(name, sizeof name, "%s.removed", id);
    *ret_removed = false;
    if (keys_fd < 0) return TC_OK;
    struct stat info;
    if (fstatat(keys_fd, name, &info, AT_SYMLINK_NOFOLLOW) == 0) {
        *ret_removed = true;
        return TC_OK;
    }
    return errno == ENOENT ? TC_OK
                           : tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot look at %s", name);
}

static tc_status read_builtin(const struct tc_truststore *store, int keys_fd,
                              struct tc_known *known, struct tc_error *err)
{
    if (store->builtin.key.size == 0) return TC_OK;
    TC_AUTO_SIGNER struct tc_signer signer = {0};
    bool removed;
    TC_TRY(tc_signer_read(store->builtin.key, "this program's list key", &signer, err));
    TC_TRY(is_removed(keys_fd, signer.id, &removed, err));
    if (removed) return TC_OK;
    TC_TRY(add_known(known, &signer, true, err));
    return take_list(&known->signers[0], store->builtin.list, "this program's first list", err);
}

static tc_status read_key(const struct tc_truststore *store, int keys_fd, const char *id,
                          struct tc_known *known, struct tc_error *err)
{
    char name[TC_SHA256_HEX + 16];
    TC_AUTO_FREE char *path = NULL;
    TC_AUTO_BUF struct tc_buf pem = tc_buf_new(TC_SIGNER_PEM_MAX);
    TC_AUTO_SIGNER struct tc_signer signer = {0};
    bool found;
    (void)snprintf(name, sizeof name, "keys/%s.pem", id);
    TC_TRY(tc_truststore_path(store, name, &path, err));
    TC_TRY(tc_readfile_if_there(keys_fd, name + strlen("keys/"), path, &found, &pem, err));
    if (!found) return TC_OK; /* removed since the folder was read */
    TC_TRY(tc_signer_read(tc_buf_span(&pem), path, &signer, err));
    if (strcmp(signer.id, id) != 0)
        return tc_fail(err, TC_REFUSED, "%s holds another key, %s: delete it and add the right one",
                       path, signer.id);
    if (find_signer(known, id)) return TC_OK;
    return add_known(known, &signer, false, err);
}

static void close_dir(DIR **folder)
{
    if (*folder) (void)closedir(*folder);
}

static tc_status read_keys(const struct tc_truststore *store, int keys_fd, struct tc_known *known,
                           struct tc_error *err)
{
    int copy = fcntl(keys_fd, F_DUPFD_CLOEXEC, 0);
    __attribute__((cleanup(close_dir))) DIR *folder = copy < 0 ? NULL : fdopendir(copy);
    if (!folder) {
        if (copy >= 0) (void)close(copy);
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot list the keys of the trust store");
    }
    for (const struct dirent *entry; (entry = readdir(folder));) {
        char id[TC_SHA256_HEX] = "";
        if (strlen(entry->d_name) != ID_SIZE + strlen(".pem") ||
            strcmp(entry->d_name + ID_SIZE, ".pem") != 0)
            continue;
        memcpy(id, entry->d_name, ID_SIZE);
        if (tc_truststore_is_id(id)) TC_TRY(read_key(store, keys_fd, id, known, err));
    }
    return TC_OK;
}

static tc_status read_lists(const struct tc_truststore *store, struct tc_known *known,
                            struct tc_error *err)
{
    TC_AUTO_CLOSE int fd = -1;
    TC_TRY(tc_truststore_subfolder(store, "lists", false, &fd, err));
    for (size_t i = 0; fd >= 0 && i < known->signers_count; i++) {
        char name[TC_SHA256_HEX + 16];
        TC_AUTO_FREE char *path = NULL;
        TC_AUTO_BUF struct tc_buf envelope = tc_buf_new(TC_IMAGELIST_ENVELOPE_MAX);
        bool found;
        (void)snprintf(name, sizeof name, "lists/%s.json", known->signers[i].signer.id);
        TC_TRY(tc_truststore_path(store, name, &path, err));
        TC_TRY(tc_readfile_if_there(fd, name + strlen("lists/"), path, &found, &envelope, err));
        if (found) TC_TRY(take_list(&known->signers[i], tc_buf_span(&envelope), path, err));
    }
    return TC_OK;
}

static int compare_signers(const void *a, const void *b)
{
    const struct tc_known_signer *left = a, *right = b;
    if (left->builtin != right->builtin) return left->builtin ? -1 : 1;
    return strcmp(left->signer.id, right->signer.id);
}

tc_status tc_truststore_read(struct tc_truststore *store, struct tc_known **ret_known,
                             struct tc_error *err)
{
    TC_AUTO_KNOWN struct tc_known *known = calloc(1, sizeof *known);
    TC_AUTO_CLOSE int keys_fd = -1;
    TC_AUTO_FREE char *own_path = NULL;
    TC_AUTO_BUF struct tc_buf own = tc_buf_new(TC_OWNIMAGES_MAX);
    bool found = false;
    if (!known) return tc_fail(err, TC_SYSTEM, "out of memory for the trust store");
    TC_TRY(tc_truststore_subfolder(store, "keys", false, &keys_fd, err));
    TC_TRY(read_builtin(store, keys_fd, known, err));
    if (keys_fd >= 0) TC_TRY(read_keys(store, keys_fd, known, err));
    /* The order of a folder is no order: messages must not depend on it. */
    qsort(known->signers, known->signers_count, sizeof known->signers[0], compare_signers);
    TC_TRY(read_lists(store, known, err));
    TC_TRY(tc_truststore_path(store, "own.json", &own_path, err));
    if (store->fd >= 0)
        TC_TRY(tc_readfile_if_there(store->fd, "own.json", own_path, &found, &own, err));
    if (found)
        TC_TRY(tc_ownimages_read(tc_buf_span(&own), own_path, &known->own, &known->own_count, err));
    *ret_known = TC_TAKE(known);
    return TC_OK;
}
