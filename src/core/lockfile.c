/* Reading is lenient where JSON is (spaces, order of keys) until the end, where what
 * was read is written again and compared: only then is the text the lock's one text.
 * So each mistake of a person gets a message of its own, and the rest one for all. */
#include "core/lockfile.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/debversion.h"
#include "core/entry.h"
#include "core/json.h"

static const char *const archive_names[TC_ARCHIVES] = {"debian", "debian-security"};

const char *tc_archive_name(enum tc_archive archive)
{
    return archive_names[archive];
}

void tc_lock_package_free(struct tc_lock_package *package)
{
    free(package->name);
    free(package->version);
    free(package->architecture);
    free(package->path);
    *package = (struct tc_lock_package){0};
}

void tc_lock_free(struct tc_lock *lock)
{
    if (!lock) return;
    free(lock->suite);
    for (size_t i = 0; i < lock->packages_count; i++)
        tc_lock_package_free(&lock->packages[i]);
    free(lock->packages);
    *lock = (struct tc_lock){0};
}

void tc_snapshot_text(int64_t seconds, char out[TC_SNAPSHOT_TEXT_SIZE])
{
    char text[TC_TIME_TEXT_SIZE]; /* 2026-01-02T03:04:05Z */
    size_t at = 0;
    tc_format_time(seconds, text);
    for (const char *c = text; *c && at + 1 < TC_SNAPSHOT_TEXT_SIZE; c++)
        if (*c != '-' && *c != ':') out[at++] = *c;
    out[at] = '\0';
}

bool tc_snapshot_parse(const char *text, int64_t *ret_seconds)
{
    char spread[TC_TIME_TEXT_SIZE], again[TC_SNAPSHOT_TEXT_SIZE];
    int64_t seconds;
    if (strlen(text) != TC_SNAPSHOT_TEXT_SIZE - 1 || text[8] != 'T') return false;
    (void)snprintf(spread, sizeof spread, "%.4s-%.2s-%.2sT%.2s:%.2s:%.2sZ", text, text + 4,
                   text + 6, text + 9, text + 11, text + 13);
    if (!tc_parse_time(spread, &seconds)) return false;
    tc_snapshot_text(seconds, again);
    if (strcmp(text, again) != 0) return false;
    *ret_seconds = seconds;
    return true;
}

/* --- what values may be */

static bool path_is_good(const char *path)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.+-~_/";
    size_t size = strlen(path);
    return size > 4 && size <= TC_LOCK_PATH_MAX && strspn(path, allowed) == size &&
           strncmp(path, "pool/", 5) == 0 && strcmp(path + size - 4, ".deb") == 0 &&
           tc_path_is_safe(tc_span_of_text(path));
}

/* What is wrong with it; NULL: nothing. */
static const char *fault_of(const struct tc_lock_package *p)
{
    if (!p->name || !tc_package_name_is_good(p->name)) return "name: no package's name";
    if (!p->version || !tc_package_version_is_good(p->version)) return "version: no version";
    if (!p->architecture ||
        (strcmp(p->architecture, "amd64") != 0 && strcmp(p->architecture, "all") != 0))
        return "architecture: must be amd64 or all";
    if (p->size == 0 || p->size > TC_LOCK_SIZE_MAX) return "size: must be 1 to 4294967296";
    if ((int)p->archive < 0 || p->archive >= TC_ARCHIVES)
        return "archive: must be debian or debian-security";
    if (!p->path || !path_is_good(p->path))
        return "path: must be a path that begins with pool/ and ends in .deb";
    return NULL;
}

static int compare_digests(const void *a, const void *b)
{
    const struct tc_lock_package *const *left = a, *const *right = b;
    return memcmp((*left)->digest.bytes, (*right)->digest.bytes, sizeof(*left)->digest.bytes);
}

/* One file is one package: under a second name it would be in an image's list and
 * nowhere in the image. */
static tc_status check_digests(const struct tc_lock *lock, struct tc_error *err)
{
    TC_AUTO_FREE const struct tc_lock_package **sorted =
        calloc(lock->packages_count, sizeof(const struct tc_lock_package *));
    if (!sorted) return tc_fail(err, TC_SYSTEM, "out of memory for a list");
    for (size_t i = 0; i < lock->packages_count; i++)
        sorted[i] = &lock->packages[i];
    qsort((void *)sorted, lock->packages_count, sizeof(const struct tc_lock_package *),
          compare_digests);
    for (size_t i = 1; i < lock->packages_count; i++)
        if (compare_digests(&sorted[i - 1], &sorted[i]) == 0)
            return tc_fail(err, TC_MALFORMED, "packages: %s and %s have the same sha256",
                           sorted[i - 1]->name, sorted[i]->name);
    return TC_OK;
}

tc_status tc_lock_check(const struct tc_lock *lock, struct tc_error *err)
{
    char text[TC_TIME_TEXT_SIZE];
    int64_t again;
    if (!lock->suite || !tc_suite_name_is_good(lock->suite))
        return tc_fail(err, TC_MALFORMED, "suite: must be a suite of Debian, such as trixie");
    tc_format_time(lock->snapshot, text);
    if (!tc_parse_time(text, &again) || again != lock->snapshot)
        return tc_fail(err, TC_MALFORMED, "snapshot: must be a time of the years 1970 to 9999");
    if (lock->packages_count == 0 || lock->packages_count > TC_LOCK_PACKAGES_MAX)
        return tc_fail(err, TC_MALFORMED, "packages: expected 1 to %d, seen %zu",
                       TC_LOCK_PACKAGES_MAX, lock->packages_count);
    for (size_t i = 0; i < lock->packages_count; i++) {
        const char *fault = fault_of(&lock->packages[i]);
        if (fault) return tc_fail(err, TC_MALFORMED, "packages[%zu].%s", i, fault);
        if (i == 0) continue;
        int order = strcmp(lock->packages[i - 1].name, lock->packages[i].name);
        if (order >= 0)
            return tc_fail(err, TC_MALFORMED, "packages[%zu]: %s is %s", i, lock->packages[i].name,
                           order == 0 ? "there twice" : "not in ascending order");
    }
    return check_digests(lock, err);
}

/* --- reading */

static tc_status read_text(const struct tc_json *object, const char *key, size_t max,
                           char **ret_text, struct tc_error *err)
{
    struct tc_json value;
    TC_TRY(tc_json_get(object, key, &value, err));
    return tc_json_copy(&value, max, ret_text, err);
}

static tc_status read_archive(const struct tc_json *object, enum tc_archive *ret_archive,
                              struct tc_error *err)
{
    struct tc_json value;
    const char *text;
    TC_TRY(tc_json_get(object, "archive", &value, err));
    TC_TRY(tc_json_string(&value, 64, &text, err));
    for (int i = 0; i < TC_ARCHIVES; i++) {
        if (strcmp(text, archive_names[i]) != 0) continue;
        *ret_archive = (enum tc_archive)i;
        return TC_OK;
    }
    return tc_json_fail(&value, err, "must be debian or debian-security");
}

static tc_status read_package(const struct tc_json *at, struct tc_lock_package *package,
                              struct tc_error *err)
{
    static const char *const known[] = {"name", "version", "architecture", "sha256",
                                        "size", "archive", "path",         NULL};
    struct tc_json value;
    TC_TRY(tc_json_check_keys(at, known, err));
    TC_TRY(read_text(at, "name", TC_PACKAGE_WORD_MAX, &package->name, err));
    TC_TRY(read_text(at, "version", TC_PACKAGE_WORD_MAX, &package->version, err));
    TC_TRY(read_text(at, "architecture", TC_PACKAGE_WORD_MAX, &package->architecture, err));
    TC_TRY(tc_json_get(at, "sha256", &value, err));
    TC_TRY(tc_json_hex(&value, package->digest.bytes, sizeof package->digest.bytes, err));
    TC_TRY(tc_json_get(at, "size", &value, err));
    TC_TRY(tc_json_u64(&value, TC_LOCK_SIZE_MAX, &package->size, err));
    TC_TRY(read_archive(at, &package->archive, err));
    return read_text(at, "path", TC_LOCK_PATH_MAX, &package->path, err);
}

static tc_status read_packages(const struct tc_json *at, struct tc_lock *lock, struct tc_error *err)
{
    size_t count;
    TC_TRY(tc_json_array(at, TC_LOCK_PACKAGES_MAX, &count, err));
    lock->packages = calloc(count + 1, sizeof *lock->packages);
    if (!lock->packages) return tc_fail(err, TC_SYSTEM, "out of memory for a list");
    for (size_t i = 0; i < count; i++) {
        struct tc_json entry = tc_json_at(at, i);
        lock->packages_count = i + 1; /* so that a half-read one is freed too */
        TC_TRY(read_package(&entry, &lock->packages[i], err));
    }
    return TC_OK;
}

static tc_status read_snapshot(const struct tc_json *top, int64_t *ret_seconds,
                               struct tc_error *err)
{
    struct tc_json value;
    const char *text;
    TC_TRY(tc_json_get(top, "snapshot", &value, err));
    TC_TRY(tc_json_string(&value, TC_SNAPSHOT_TEXT_SIZE, &text, err));
    if (!tc_snapshot_parse(text, ret_seconds))
        return tc_json_fail(&value, err, "must be a time like 20260102T030405Z");
    return TC_OK;
}

static tc_status read_lock(const struct tc_json *top, struct tc_lock *lock, struct tc_error *err)
{
    static const char *const known[] = {"lock",     "suite",    "architecture",
                                        "snapshot", "packages", NULL};
    struct tc_json value;
    const char *text;
    uint64_t version;
    TC_TRY(tc_json_get(top, "lock", &value, err));
    TC_TRY(tc_json_u64(&value, UINT32_MAX, &version, err));
    if (version != 1) return tc_json_fail(&value, err, "must be 1, the one version there is");
    TC_TRY(tc_json_check_keys(top, known, err));
    TC_TRY(read_text(top, "suite", TC_RECIPE_NAME_MAX, &lock->suite, err));
    TC_TRY(tc_json_get(top, "architecture", &value, err));
    TC_TRY(tc_json_string(&value, 64, &text, err));
    if (strcmp(text, "amd64") != 0) return tc_json_fail(&value, err, "must be amd64");
    TC_TRY(read_snapshot(top, &lock->snapshot, err));
    TC_TRY(tc_json_get(top, "packages", &value, err));
    return read_packages(&value, lock, err);
}

tc_status tc_lock_read(struct tc_span json, const char *name, struct tc_lock *ret_lock,
                       struct tc_error *err)
{
    TC_AUTO_JSON struct tc_json_text *text = NULL;
    TC_AUTO_LOCK struct tc_lock lock = {0};
    TC_TRY(tc_json_parse(json, name, TC_LOCK_MAX, &text, err));
    struct tc_json top = tc_json_top(text, name);
    TC_TRY(read_lock(&top, &lock, err));
    TC_AUTO_BUF struct tc_buf again = tc_buf_new(TC_LOCK_MAX);
    if (tc_lock_write(&lock, &again, err) != TC_OK) return tc_wrap(err, "%s", name);
    if (!tc_span_equal(json, tc_buf_span(&again)))
        return tc_fail(err, TC_MALFORMED,
                       "%s is not written the one way a lock is written: expected one line a "
                       "package, no spaces, keys in their order; write it with tee-compile image "
                       "lock",
                       name);
    *ret_lock = lock;
    lock = (struct tc_lock){0};
    return TC_OK;
}

/* --- writing */

/* No value that passes the check needs an escape. */
tc_status tc_lock_write(const struct tc_lock *lock, struct tc_buf *buf, struct tc_error *err)
{
    char snapshot[TC_SNAPSHOT_TEXT_SIZE], hex[TC_SHA256_HEX];
    TC_TRY(tc_lock_check(lock, err));
    tc_snapshot_text(lock->snapshot, snapshot);
    tc_buf_add_format(buf,
                      "{\"lock\":1,\"suite\":\"%s\",\"architecture\":\"amd64\",\"snapshot\":\"%s\","
                      "\"packages\":[\n",
                      lock->suite, snapshot);
    for (size_t i = 0; i < lock->packages_count; i++) {
        const struct tc_lock_package *p = &lock->packages[i];
        tc_hex((struct tc_span){p->digest.bytes, sizeof p->digest.bytes}, hex);
        tc_buf_add_format(buf, "{\"name\":\"%s\",\"version\":\"%s\",\"architecture\":\"%s\",",
                          p->name, p->version, p->architecture);
        tc_buf_add_format(buf, "\"sha256\":\"%s\",\"size\":%" PRIu64 ",\"archive\":\"%s\",", hex,
                          p->size, archive_names[p->archive]);
        tc_buf_add_format(buf, "\"path\":\"%s\"}%s\n", p->path,
                          i + 1 < lock->packages_count ? "," : "");
    }
    tc_buf_add_text(buf, "]}\n");
    return tc_buf_check(buf, "the lock", err);
}

/* --- looking */

static int compare_names(const void *a, const void *b)
{
    const struct tc_lock_package *left = a, *right = b;
    return strcmp(left->name, right->name);
}

void tc_lock_sort(struct tc_lock *lock)
{
    if (lock->packages_count > 1)
        qsort(lock->packages, lock->packages_count, sizeof *lock->packages, compare_names);
}

const struct tc_lock_package *tc_lock_find(const struct tc_lock *lock, const char *name)
{
    for (size_t from = 0, to = lock->packages_count; from < to;) {
        size_t middle = from + (to - from) / 2;
        int order = strcmp(lock->packages[middle].name, name);
        if (order == 0) return &lock->packages[middle];
        if (order < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return NULL;
}

tc_status tc_lock_fits(const struct tc_lock *lock, const struct tc_recipe *recipe,
                       struct tc_error *err)
{
    if (strcmp(lock->suite, recipe->suite) != 0)
        return tc_fail(err, TC_REFUSED,
                       "the recipe is for %s and its lock for %s: lock it anew (tee-compile image "
                       "lock)",
                       recipe->suite, lock->suite);
    for (size_t i = 0; i < recipe->packages_count; i++)
        if (!tc_lock_find(lock, recipe->packages[i]))
            return tc_fail(err, TC_REFUSED,
                           "the recipe asks for %s, which is not in its lock: lock it anew "
                           "(tee-compile image lock)",
                           recipe->packages[i]);
    return TC_OK;
}

tc_status tc_lock_check_newer(const struct tc_lock *before, const struct tc_lock *after,
                              struct tc_error *err)
{
    const struct tc_lock_package *old = NULL, *new = NULL;
    char more[64] = "";
    size_t count = 0;
    for (size_t i = after->packages_count; i-- > 0;) {
        const struct tc_lock_package *package = &after->packages[i];
        const struct tc_lock_package *known = tc_lock_find(before, package->name);
        if (!known || tc_debversion_compare(package->version, known->version) >= 0) continue;
        old = known;
        new = package;
        count++;
    }
    if (count == 0) return TC_OK;
    if (count > 1) (void)snprintf(more, sizeof more, " (and %zu packages more)", count - 1);
    return tc_fail(err, TC_REFUSED, "expected %s %s, which is locked, or newer; seen is %s%s",
                   old->name, old->version, new->version, more);
}
