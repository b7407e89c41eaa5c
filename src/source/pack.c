/* Opening a project: what it is, whether it is as its commit says, its build.json.
 *
 * libgit2 reads the repository. It runs no program that a repository's
 * configuration could name (hooks, filter drivers, fsmonitor, ssh), and this code
 * asks it for objects and comparisons alone. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "source/pack_private.h"

tc_status tc_git_fail(tc_status status, struct tc_error *err, const char *format, ...)
{
    char text[TC_ERROR_MAX / 2];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const git_error *reason = git_error_last();
    return tc_fail(err, status, "%s: %s", text, reason && reason->message ? reason->message : "?");
}

/* --- what every frame passes through --- */

tc_status tc_packing_frame(struct tc_packing *packing, enum tc_wire_kind kind, struct tc_span payload,
                           struct tc_error *err)
{
    if (!packing->sink->send) return TC_OK;
    return packing->sink->send(packing->sink->context, kind, payload, err);
}

tc_status tc_packing_data(struct tc_packing *packing, struct tc_span bytes, struct tc_error *err)
{
    while (bytes.size > 0) {
        size_t size = bytes.size < TC_WIRE_DATA_MAX ? bytes.size : TC_WIRE_DATA_MAX;
        TC_TRY(tc_packing_frame(packing, TC_WIRE_DATA, (struct tc_span){bytes.data, size}, err));
        bytes.data += size;
        bytes.size -= size;
    }
    return TC_OK;
}

tc_status tc_packing_entry(struct tc_packing *packing, const struct tc_entry *entry,
                           struct tc_error *err)
{
    tc_buf_reset(&packing->record);
    tc_entry_encode(entry, &packing->record);
    TC_TRY(tc_buf_check(&packing->record, "a tree record", err));
    return tc_packing_frame(packing, TC_WIRE_ENTRY, tc_buf_span(&packing->record), err);
}

/* --- opening --- */

static tc_status open_folder(struct tc_pack *pack, const char *folder, struct tc_error *err)
{
    pack->folder = realpath(folder, NULL);
    if (!pack->folder) return tc_fail_errno(err, TC_USAGE, errno, "no project folder %s", folder);
    pack->folder_fd = open(pack->folder, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    if (pack->folder_fd < 0)
        return tc_fail_errno(err, TC_USAGE, errno, "cannot open the project folder %s", folder);
    return TC_OK;
}

static bool same_folder(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* SHA-256 repositories say so in their configuration; libgit2 cannot read them. */
static bool is_sha256(const char *folder)
{
    TC_AUTO_FREE char *path = NULL;
    if (asprintf(&path, "%s/.git/config", folder) < 0) return false;
    FILE *file = fopen(path, "re");
    if (!file) return false;
    char line[512];
    bool found = false;
    while (!found && fgets(line, sizeof line, file))
        found = strcasestr(line, "objectformat") && strcasestr(line, "sha256");
    (void)fclose(file);
    return found;
}

static tc_status find_repository(struct tc_pack *pack, struct tc_error *err)
{
    if (is_sha256(pack->folder))
        return tc_fail(err, TC_UNAVAILABLE,
                       "%s is a SHA-256 repository: this version reads SHA-1 ones; build a plain copy "
                       "of it",
                       pack->folder);
    int result = git_repository_open_ext(&pack->repository, pack->folder, 0, NULL);
    if (result == GIT_ENOTFOUND) {
        git_error_clear();
        return TC_OK;
    }
    if (result != 0) return tc_git_fail(TC_USAGE, err, "cannot open the repository in %s", pack->folder);
    const char *top = git_repository_workdir(pack->repository);
    if (!top || !same_folder(top, pack->folder))
        return tc_fail(err, TC_USAGE,
                       "%s lies inside the git repository %s: build from its top (--dir) and name the "
                       "folder in input.dir",
                       pack->folder, top ? top : git_repository_path(pack->repository));
    pack->is_git = true;
    return TC_OK;
}

static tc_status find_commit(struct tc_pack *pack, struct tc_error *err)
{
    git_oid id;
    if (git_reference_name_to_id(&id, pack->repository, "HEAD") != 0)
        return tc_git_fail(TC_USAGE, err, "%s has no commit yet: commit the project first",
                           pack->folder);
    memcpy(pack->commit.bytes, id.id, sizeof pack->commit.bytes);
    return TC_OK;
}

/* The URL without whom it names: user info is nobody's business. */
static char *public_url(const char *url)
{
    const char *scheme = strstr(url, "://");
    if (!scheme) return strdup(url);
    const char *host = scheme + 3, *end = host + strcspn(host, "/");
    const char *at = memrchr(host, '@', (size_t)(end - host));
    char *result;
    if (!at) return strdup(url);
    return asprintf(&result, "%.*s%s", (int)(host - url), url, at + 1) < 0 ? NULL : result;
}

static void claim(struct tc_pack *pack)
{
    git_remote *origin = NULL;
    if (git_remote_lookup(&origin, pack->repository, "origin") == 0 && git_remote_url(origin))
        pack->claimed_repository = public_url(git_remote_url(origin));
    git_remote_free(origin);
    git_reference *head = NULL;
    if (git_repository_head(&head, pack->repository) == 0 && git_reference_is_branch(head))
        pack->claimed_ref = strdup(git_reference_name(head));
    git_reference_free(head);
    git_error_clear();
}

static tc_status open_git(struct tc_pack *pack, const struct tc_pack_options *options,
                          struct tc_error *err)
{
    char names[512] = "";
    TC_TRY(find_commit(pack, err));
    TC_TRY(tc_pack_look(pack, names, sizeof names, err));
    claim(pack);
    if (pack->dirty && !options->allow_dirty)
        return tc_fail(err, TC_USAGE,
                       "the work tree differs from its commit (%s): commit, or build it without a "
                       "commit in the report by --allow-dirty",
                       names);
    return TC_OK;
}

static tc_status read_plain_file(struct tc_pack *pack, const char *path, struct tc_error *err)
{
    struct stat info;
    TC_AUTO_CLOSE int fd = openat(pack->folder_fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) != 0)
        return tc_fail_errno(err, TC_USAGE, errno,
                             "%s/%s: a project needs one (see docs/formats.md)", pack->folder, path);
    if (!S_ISREG(info.st_mode)) return tc_fail(err, TC_USAGE, "%s is no regular file", path);
    uint8_t bytes[4096];
    ssize_t got;
    while ((got = read(fd, bytes, sizeof bytes)) != 0) {
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return tc_fail_errno(err, TC_USAGE, errno, "cannot read %s", path);
        tc_buf_add(&pack->build_file, bytes, (size_t)got);
    }
    return tc_buf_check(&pack->build_file, path, err);
}

static tc_status open_pack(struct tc_pack *pack, const struct tc_pack_options *options,
                           struct tc_error *err)
{
    TC_TRY(open_folder(pack, options->folder, err));
    TC_TRY(find_repository(pack, err));
    if (pack->is_git) TC_TRY(open_git(pack, options, err));
    tc_status status = tc_pack_kind(pack) == TC_SOURCE_GIT
                           ? tc_pack_read_head_file(pack, options->build_file, &pack->build_file, err)
                           : read_plain_file(pack, options->build_file, err);
    if (status == TC_OK && pack->build_file.size == 0)
        return tc_fail(err, TC_USAGE, "%s is empty", options->build_file);
    return status;
}

tc_status tc_pack_open(const struct tc_pack_options *options, struct tc_pack **ret_pack,
                       struct tc_error *err)
{
    struct tc_pack *pack = calloc(1, sizeof *pack);
    if (!pack) return tc_fail(err, TC_SYSTEM, "out of memory");
    pack->folder_fd = -1;
    pack->ignore = options->ignore;
    pack->build_file = tc_buf_new(TC_BUILDSPEC_SIZE_MAX);
    (void)git_libgit2_init();
    /* libgit2 refuses repositories of other owners, because git itself would run
     * what they configure. Nothing here runs anything. */
    (void)git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0);
    tc_status status = open_pack(pack, options, err);
    if (status != TC_OK) {
        tc_pack_close(pack);
        return status;
    }
    *ret_pack = pack;
    return TC_OK;
}

void tc_pack_close(struct tc_pack *pack)
{
    if (!pack) return;
    git_repository_free(pack->repository);
    (void)git_libgit2_shutdown();
    tc_buf_free(&pack->build_file);
    tc_close_ptr(&pack->folder_fd);
    free(pack->folder);
    free(pack->claimed_repository);
    free(pack->claimed_ref);
    free(pack);
}

/* --- what was found --- */

enum tc_source_kind tc_pack_kind(const struct tc_pack *pack)
{
    return pack->is_git && !pack->dirty ? TC_SOURCE_GIT : TC_SOURCE_TREE;
}

bool tc_pack_is_dirty(const struct tc_pack *pack)
{
    return pack->dirty;
}

size_t tc_pack_untracked(const struct tc_pack *pack)
{
    return pack->untracked;
}

const struct tc_sha1 *tc_pack_commit(const struct tc_pack *pack)
{
    return tc_pack_kind(pack) == TC_SOURCE_GIT ? &pack->commit : NULL;
}

struct tc_span tc_pack_build_file(const struct tc_pack *pack)
{
    return tc_buf_span(&pack->build_file);
}

/* A claim that does not fit the wire is no claim. */
static const char *claimed(const char *text)
{
    bool fits = text && strlen(text) <= TC_WIRE_TEXT_MAX && tc_is_utf8(tc_span_of_text(text));
    return fits ? text : "";
}

const char *tc_pack_repository(const struct tc_pack *pack)
{
    return claimed(pack->claimed_repository);
}

const char *tc_pack_ref(const struct tc_pack *pack)
{
    return claimed(pack->claimed_ref);
}

tc_status tc_pack_send(struct tc_pack *pack, const struct tc_buildspec *spec,
                       const struct tc_pack_sink *sink, struct tc_manifest_summary *ret_summary,
                       struct tc_error *err)
{
    TC_AUTO_MANIFEST struct tc_manifest *manifest = tc_manifest_new();
    TC_AUTO_HASH struct tc_hash *sha256 = tc_hash_new(TC_HASH_SHA256);
    if (!manifest || !sha256) return tc_fail(err, TC_SYSTEM, "out of memory");
    struct tc_packing packing = {.spec = spec,
                                 .sink = sink,
                                 .manifest = manifest,
                                 .sha256 = sha256,
                                 .record = tc_buf_new(TC_WIRE_PAYLOAD_MAX)};
    tc_status status = tc_pack_kind(pack) == TC_SOURCE_GIT
                           ? tc_pack_send_git(pack, &packing, err)
                           : tc_pack_send_plain(pack, &packing, err);
    if (status == TC_OK)
        status = tc_packing_frame(&packing, TC_WIRE_SOURCE_END, (struct tc_span){0}, err);
    tc_buf_free(&packing.record);
    TC_TRY(status);
    return tc_manifest_finish(manifest, ret_summary, err);
}
