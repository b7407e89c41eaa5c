/* Changing the store. Each change takes the lock, reads anew what is there,
 * decides by that, and replaces one file in one step; so of two changes at once
 * the second one sees the first one's result, and a change that is cut off has
 * either happened or not. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/pcr.h"
#include "os/files.h"
#include "os/tempfile.h"
#include "verify/truststore_internal.h"

/* mkdir -p; the last folder is 0700. */
static tc_status make_folder(struct tc_truststore *store, struct tc_error *err)
{
    if (!store->folder)
        return tc_fail(err, TC_UNAVAILABLE,
                       "no place for the trust store: set HOME or XDG_DATA_HOME to an absolute "
                       "path");
    TC_AUTO_FREE char *path = strdup(store->folder);
    if (!path) return tc_fail(err, TC_SYSTEM, "out of memory for a path");
    for (char *slash = strchr(path + (*path == '/'), '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        /* What really stands in the way shows when the last one is made. */
        (void)mkdir(path, 0700);
        *slash = '/';
    }
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot make the trust store %s", path);
    TC_AUTO_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open %s", path);
    TC_TRY(tc_truststore_check_folder(fd, path, err));
    store->fd = TC_TAKE_FD(fd);
    return TC_OK;
}

static tc_status take_lock(struct tc_truststore *store, int *ret_fd, struct tc_error *err)
{
    if (store->fd < 0) TC_TRY(make_folder(store, err));
    TC_AUTO_CLOSE int fd =
        openat(store->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open the lock of %s",
                             store->folder);
    while (flock(fd, LOCK_EX) != 0)
        if (errno != EINTR)
            return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot lock %s", store->folder);
    *ret_fd = TC_TAKE_FD(fd);
    return TC_OK;
}

/* name is below the store; its folder is made. */
static tc_status write_file(struct tc_truststore *store, const char *subfolder, const char *name,
                            struct tc_span content, struct tc_error *err)
{
    TC_AUTO_CLOSE int folder_fd = -1;
    TC_AUTO_FREE char *path = NULL;
    TC_AUTO_TEMPFILE struct tc_tempfile file = TC_TEMPFILE_NONE;
    if (*subfolder) TC_TRY(tc_truststore_subfolder(store, subfolder, true, &folder_fd, err));
    char below[TC_SHA256_HEX + 32];
    (void)snprintf(below, sizeof below, "%s%s%s", subfolder, *subfolder ? "/" : "", name);
    TC_TRY(tc_truststore_path(store, below, &path, err));
    TC_TRY(tc_tempfile_open(path, &file, err));
    if (fchmod(file.fd, 0600) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot set the mode of %s", path);
    TC_TRY(tc_write_all(file.fd, content, path, err));
    return tc_tempfile_commit(&file, err);
}

static tc_status remove_file(const struct tc_truststore *store, const char *subfolder,
                             const char *id, const char *ending, bool *ret_was_there,
                             struct tc_error *err)
{
    char name[TC_SHA256_HEX + 16];
    TC_AUTO_CLOSE int fd = -1;
    bool there = false;
    (void)snprintf(name, sizeof name, "%s%s", id, ending);
    TC_TRY(tc_truststore_subfolder(store, subfolder, false, &fd, err));
    if (fd >= 0) {
        there = unlinkat(fd, name, 0) == 0;
        if (!there && errno != ENOENT)
            return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot remove %s/%s/%s",
                                 store->folder, subfolder, name);
    }
    if (ret_was_there) *ret_was_there = there;
    return TC_OK;
}

static const struct tc_known_signer *find_signer(const struct tc_known *known, const char *id)
{
    for (size_t i = 0; i < known->signers_count; i++)
        if (strcmp(known->signers[i].signer.id, id) == 0) return &known->signers[i];
    return NULL;
}

static tc_status builtin_id(const struct tc_truststore *store, char out[TC_SHA256_HEX],
                            struct tc_error *err)
{
    out[0] = '\0';
    if (store->builtin.key.size == 0) return TC_OK;
    TC_AUTO_SIGNER struct tc_signer signer = {0};
    TC_TRY(tc_signer_read(store->builtin.key, "this program's list key", &signer, err));
    memcpy(out, signer.id, sizeof signer.id);
    return TC_OK;
}

tc_status tc_truststore_add_signer(struct tc_truststore *store, struct tc_span pem,
                                   const char *name, char ret_id[TC_SHA256_HEX],
                                   struct tc_error *err)
{
    TC_AUTO_SIGNER struct tc_signer signer = {0};
    TC_AUTO_CLOSE int lock = -1;
    TC_AUTO_KNOWN struct tc_known *known = NULL;
    char own_id[TC_SHA256_HEX], file[TC_SHA256_HEX + 8];
    TC_TRY(tc_signer_read(pem, name, &signer, err));
    TC_TRY(take_lock(store, &lock, err));
    TC_TRY(builtin_id(store, own_id, err));
    TC_TRY(tc_truststore_read(store, &known, err));
    const struct tc_known_signer *there = find_signer(known, signer.id);
    if (there && (there->signer.by_certificate != signer.by_certificate ||
                  memcmp(there->signer.pcr8.bytes, signer.pcr8.bytes, TC_SHA384_SIZE) != 0))
        return tc_fail(err, TC_REFUSED,
                       "the key %s is already trusted %s: remove it first, if %s should count "
                       "instead",
                       signer.id, there->signer.by_certificate ? "as a certificate's" : "by itself",
                       name);
    if (!there && strcmp(signer.id, own_id) == 0 && !signer.by_certificate) {
        TC_TRY(remove_file(store, "keys", signer.id, ".removed", NULL, err));
    } else if (!there) {
        if (known->signers_count == TC_TRUST_SIGNERS_MAX)
            return tc_fail(err, TC_LIMIT, "the trust store already has %d signers; remove one",
                           TC_TRUST_SIGNERS_MAX);
        (void)snprintf(file, sizeof file, "%s.pem", signer.id);
        TC_TRY(write_file(store, "keys", file, pem, err));
    }
    memcpy(ret_id, signer.id, sizeof signer.id);
    return TC_OK;
}

static tc_status write_own(struct tc_truststore *store, const struct tc_own_image *images,
                           size_t count, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf json = tc_buf_new(TC_OWNIMAGES_MAX);
    TC_TRY(tc_ownimages_write(images, count, &json, err));
    return write_file(store, "", "own.json", tc_buf_span(&json), err);
}

static bool is_same_image(const struct tc_own_image *a, const struct tc_own_image *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->version, b->version) == 0 &&
           a->has_recipe == b->has_recipe &&
           memcmp(a->recipe.bytes, b->recipe.bytes, sizeof a->recipe.bytes) == 0;
}

static tc_status check_image(const struct tc_own_image *image, struct tc_error *err)
{
    struct tc_sha384 unmeasured;
    TC_TRY(tc_pcr_unmeasured(&unmeasured, err));
    if (!tc_image_pcr0_is_good(&image->pcr0))
        return tc_fail(err, TC_REFUSED,
                       "a PCR0 of all zeros is any debug enclave's and names no image");
    if (memcmp(unmeasured.bytes, image->pcr0.bytes, sizeof unmeasured.bytes) == 0)
        return tc_fail(err, TC_REFUSED,
                       "this PCR0 stands for every toolchain that was not measured and names no "
                       "image");
    return TC_OK;
}

tc_status tc_truststore_add_image(struct tc_truststore *store, const struct tc_own_image *image,
                                  struct tc_error *err)
{
    TC_AUTO_CLOSE int lock = -1;
    TC_AUTO_KNOWN struct tc_known *known = NULL;
    TC_TRY(check_image(image, err));
    TC_TRY(take_lock(store, &lock, err));
    TC_TRY(tc_truststore_read(store, &known, err));
    size_t at = 0;
    int order = 1;
    while (at < known->own_count &&
           (order = memcmp(known->own[at].pcr0.bytes, image->pcr0.bytes, TC_SHA384_SIZE)) < 0)
        at++;
    if (at < known->own_count && order == 0) {
        if (is_same_image(&known->own[at], image)) return TC_OK;
        return tc_fail(err, TC_REFUSED,
                       "this PCR0 is already trusted as %s %s: remove that first, if the name "
                       "should be another",
                       known->own[at].name, known->own[at].version);
    }
    if (known->own_count == TC_OWNIMAGES_ENTRIES_MAX)
        return tc_fail(err, TC_LIMIT, "there are already %d own images; remove some",
                       TC_OWNIMAGES_ENTRIES_MAX);
    struct tc_own_image *images = calloc(known->own_count + 1, sizeof *images);
    if (!images) return tc_fail(err, TC_SYSTEM, "out of memory for an image");
    for (size_t i = 0; i <= known->own_count; i++)
        images[i] = i < at ? known->own[i] : i == at ? *image : known->own[i - 1];
    tc_status status = write_own(store, images, known->own_count + 1, err);
    free(images);
    return status;
}

static tc_status remove_signer(struct tc_truststore *store, const char *id, struct tc_error *err)
{
    char own_id[TC_SHA256_HEX], file[TC_SHA256_HEX + 16];
    bool was_there;
    TC_TRY(builtin_id(store, own_id, err));
    TC_TRY(remove_file(store, "keys", id, ".pem", &was_there, err));
    if (strcmp(id, own_id) == 0) {
        (void)snprintf(file, sizeof file, "%s.removed", id);
        TC_TRY(write_file(store, "keys", file, (struct tc_span){0}, err));
    } else if (!was_there) {
        return tc_fail(err, TC_REFUSED,
                       "no signer %s is trusted; tee-compile image trust list shows who is", id);
    }
    return remove_file(store, "lists", id, ".json", NULL, err);
}

tc_status tc_truststore_remove(struct tc_truststore *store, const char *word, struct tc_error *err)
{
    TC_AUTO_CLOSE int lock = -1;
    TC_AUTO_KNOWN struct tc_known *known = NULL;
    TC_TRY(take_lock(store, &lock, err));
    /* By its id alone, unread: also a signer whose file or list is damaged. */
    if (tc_truststore_is_id(word)) return remove_signer(store, word, err);
    TC_TRY(tc_truststore_read(store, &known, err));
    struct tc_sha384 pcr0;
    bool by_pcr0 = tc_unhex(word, pcr0.bytes, sizeof pcr0.bytes);
    size_t found = 0, kept = 0;
    for (size_t i = 0; i < known->own_count; i++) {
        const struct tc_own_image *image = &known->own[i];
        bool same = by_pcr0 ? memcmp(image->pcr0.bytes, pcr0.bytes, sizeof pcr0.bytes) == 0
                            : strcmp(image->name, word) == 0;
        found += same;
        if (!same) known->own[kept++] = *image;
    }
    char shown[128];
    (void)tc_printable(tc_span_of_text(word), shown, sizeof shown);
    if (found == 0)
        return tc_fail(err, TC_REFUSED,
                       "%s is no signer's id, no PCR0 and no name of an image of your own; "
                       "tee-compile image trust list shows them",
                       shown);
    if (found > 1)
        return tc_fail(err, TC_REFUSED,
                       "%zu images of your own are called %s: name the one you mean by its PCR0",
                       found, shown);
    return write_own(store, known->own, kept, err);
}

tc_status tc_truststore_update(struct tc_truststore *store, struct tc_span envelope,
                               const char *name, uint64_t min_sequence,
                               struct tc_list_update *ret_update, struct tc_error *err)
{
    TC_AUTO_CLOSE int lock = -1;
    TC_AUTO_KNOWN struct tc_known *known = NULL;
    TC_CLEANUP(tc_list_offer_free) struct tc_list_offer offer = {0};
    TC_AUTO_DSSE struct tc_dsse glance = {0};
    /* What is no list at all makes no store. */
    TC_TRY(tc_dsse_read(envelope, name, &tc_imagelist_form, &glance, err));
    TC_TRY(take_lock(store, &lock, err));
    TC_TRY(tc_truststore_read(store, &known, err));
    TC_TRY(tc_list_offer_judge(known, envelope, name, min_sequence, &offer, err));
    struct tc_list_update update = {.sequence = offer.list.sequence,
                                    .images = offer.list.images_count};
    for (size_t i = 0; i < known->signers_count; i++) {
        const struct tc_known_signer *signer = &known->signers[i];
        if (!offer.by[i]) continue;
        if (!*update.signer) memcpy(update.signer, signer->signer.id, sizeof update.signer);
        if (signer->has_list && signer->list.sequence == offer.list.sequence) continue;
        char file[TC_SHA256_HEX + 8];
        (void)snprintf(file, sizeof file, "%s.json", signer->signer.id);
        TC_TRY(write_file(store, "lists", file, envelope, err));
        update.changed = true;
    }
    *ret_update = update;
    return TC_OK;
}
