/* Opens a project, decides what it is, and sends it.
 *
 * A folder with a .git in it is a git source. Its configuration belongs to whoever
 * wrote the repository and may name programs (fsmonitor, hooks, filter drivers,
 * ssh commands); git itself would run some of them at a mere `git status`. This
 * part never starts a process: libgit2 has no code that runs any of these, and
 * tests/attack/test_source_attacks.c keeps it so. */
#include "source/pack_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"

/* Settings of the library, for the whole process; the same at each call. */
static tc_status start_library(struct tc_error *err)
{
    if (git_libgit2_init() < 0) return tc_git_fail(err, TC_SYSTEM, "cannot start libgit2");
    /* Each object is read once. */
    (void)git_libgit2_opts(GIT_OPT_ENABLE_CACHING, 0);
    /* Maps packs in small windows, or a large repository would fill the memory. */
    (void)git_libgit2_opts(GIT_OPT_SET_MWINDOW_SIZE, (size_t)1 << 20);
    (void)git_libgit2_opts(GIT_OPT_SET_MWINDOW_MAPPED_LIMIT, (size_t)16 << 20);
#if LIBGIT2_VER_MAJOR > 1 || LIBGIT2_VER_MINOR >= 5
    /* Git refuses a repository of another user because its configuration could
     * run that user's programs as this one. Here nothing is run, and whose files
     * they are makes no difference to what is sent: CI checks out as one user and
     * builds as another. */
    (void)git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0);
    /* A sparse checkout keeps its patterns in config.worktree; what matters here,
     * HEAD's objects, does not depend on them. */
    const char *extensions[] = {"worktreeconfig", "preciousobjects"};
    (void)git_libgit2_opts(GIT_OPT_SET_EXTENSIONS, extensions,
                           sizeof extensions / sizeof *extensions);
#endif
    return TC_OK;
}

void tc_pack_close(struct tc_pack *pack)
{
    if (!pack) return;
    git_repository_free(pack->repo);
    tc_close_ptr(&pack->folder_fd);
    for (size_t i = 0; pack->ignore && pack->ignore[i]; i++)
        free(pack->ignore[i]);
    free(pack->ignore);
    free(pack->folder);
    free(pack->build_path);
    tc_buf_free(&pack->build_file);
    free(pack->repository);
    free(pack->ref);
    free(pack);
    (void)git_libgit2_shutdown();
}

static void pack_close_ptr(struct tc_pack **pack)
{
    tc_pack_close(*pack);
    *pack = NULL;
}

static tc_status open_folder(struct tc_pack *pack, const struct tc_pack_options *options,
                             struct tc_error *err)
{
    char shown[256];
    size_t count = 0;
    pack->folder = realpath(options->folder, NULL);
    if (pack->folder)
        pack->folder_fd = open(pack->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (pack->folder_fd < 0)
        return tc_fail_errno(err, TC_USAGE, errno, "cannot open the project folder %s",
                             tc_printable(tc_span_of_text(options->folder), shown, sizeof shown));
    while (options->ignore && options->ignore[count])
        count++;
    pack->ignore = calloc(count + 1, sizeof *pack->ignore);
    pack->build_path = strdup(options->build_file);
    if (!pack->ignore || !pack->build_path) return tc_fail(err, TC_SYSTEM, "out of memory");
    for (size_t i = 0; i < count; i++)
        if (!(pack->ignore[i] = strdup(options->ignore[i])))
            return tc_fail(err, TC_SYSTEM, "out of memory");
    return TC_OK;
}

/* --- git --- */

static tc_status refuse_repository(const char *path, struct tc_error *err)
{
    const git_error *last = git_error_last();
    char shown[256];
    (void)tc_printable(tc_span_of_text(path), shown, sizeof shown);
    /* As libgit2 1.5 ("objectformat") and 1.9 ("object format 'sha256'") say it. */
    if (last && last->message &&
        (strcasestr(last->message, "objectformat") || strcasestr(last->message, "'sha256'")))
        return tc_fail(err, TC_UNAVAILABLE,
                       "%s is a SHA-256 repository, which this version cannot read", shown);
    return tc_git_fail(err, TC_UNAVAILABLE, "cannot open the git repository %s", shown);
}

/* The work tree that .git belongs to, which core.worktree could put elsewhere. */
static bool is_top(git_repository *repo, const char *folder)
{
    const char *workdir = git_repository_workdir(repo);
    TC_AUTO_FREE char *real = workdir ? realpath(workdir, NULL) : NULL;
    return real && strcmp(real, folder) == 0;
}

static tc_status open_repository(struct tc_pack *pack, struct tc_error *err)
{
    struct stat info;
    git_oid head;
    if (fstatat(pack->folder_fd, ".git", &info, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT) return TC_OK;
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot look at %s/.git", pack->folder);
    }
    if (git_repository_open_ext(&pack->repo, pack->folder, GIT_REPOSITORY_OPEN_NO_SEARCH, NULL) != 0)
        return refuse_repository(pack->folder, err);
    if (!is_top(pack->repo, pack->folder))
        return tc_fail(err, TC_USAGE, "%s is not the top of the work tree that its .git belongs to",
                       pack->folder);
    if (git_reference_name_to_id(&head, pack->repo, "HEAD") != 0) return TC_OK;
    pack->has_commit = true;
    memcpy(pack->commit.bytes, head.id, sizeof pack->commit.bytes);
    return TC_OK;
}

tc_status tc_submodule_open(const struct tc_pack *pack, const char *path,
                            git_repository **ret_repo, struct tc_error *err)
{
    TC_AUTO_FREE char *full = NULL;
    TC_AUTO_FREE char *dotgit = NULL;
    TC_AUTO_REPOSITORY git_repository *repo = NULL;
    struct stat info;
    if (asprintf(&full, "%s/%s", pack->folder, path) < 0 || asprintf(&dotgit, "%s/.git", full) < 0)
        return tc_fail(err, TC_SYSTEM, "out of memory");
    if (lstat(dotgit, &info) != 0) {
        *ret_repo = NULL;
        return TC_OK;
    }
    if (git_repository_open_ext(&repo, full, GIT_REPOSITORY_OPEN_NO_SEARCH, NULL) != 0)
        return refuse_repository(full, err);
    *ret_repo = TC_TAKE(repo);
    return TC_OK;
}

static tc_status decide_kind(struct tc_pack *pack, bool allow_dirty, struct tc_error *err)
{
    struct tc_error changes = {0};
    if (!pack->repo) {
        pack->kind = TC_SOURCE_TREE;
        return TC_OK;
    }
    if (pack->has_commit) {
        TC_TRY(tc_pack_compare(pack, &changes, err));
    } else {
        pack->dirty = true;
        (void)tc_fail(&changes, TC_USAGE,
                      "%s has no commit yet: make one, or build the files as they are with "
                      "--allow-dirty",
                      pack->folder);
    }
    pack->kind = pack->dirty ? TC_SOURCE_TREE : TC_SOURCE_GIT;
    if (!pack->dirty || allow_dirty) return TC_OK;
    *err = changes;
    return err->status;
}

/* --- the build file --- */

static tc_status no_build_file(const struct tc_pack *pack, const char *why, struct tc_error *err)
{
    char shown[256];
    return tc_fail(err, TC_USAGE, "no build file %s in %s%s",
                   tc_printable(tc_span_of_text(pack->build_path), shown, sizeof shown),
                   pack->folder, why);
}

static tc_status build_file_of_head(struct tc_pack *pack, struct tc_error *err)
{
    git_object *commit = NULL, *blob = NULL;
    git_oid id;
    memcpy(id.id, pack->commit.bytes, sizeof pack->commit.bytes);
    if (git_object_lookup(&commit, pack->repo, &id, GIT_OBJECT_COMMIT) != 0)
        return tc_git_fail(err, TC_UNAVAILABLE, "cannot read HEAD's commit");
    int failed = git_object_lookup_bypath(&blob, commit, pack->build_path, GIT_OBJECT_BLOB);
    git_object_free(commit);
    if (failed)
        return no_build_file(pack, " at HEAD: write one and commit it", err);
    git_object_size_t size = git_blob_rawsize((git_blob *)blob);
    if (size <= TC_BUILDSPEC_SIZE_MAX)
        tc_buf_add(&pack->build_file, git_blob_rawcontent((git_blob *)blob), (size_t)size);
    git_object_free(blob);
    if (size > TC_BUILDSPEC_SIZE_MAX)
        return tc_fail(err, TC_LIMIT, "the build file is larger than %d bytes",
                       TC_BUILDSPEC_SIZE_MAX);
    return tc_buf_check(&pack->build_file, "the build file", err);
}

static tc_status build_file_of_folder(struct tc_pack *pack, struct tc_error *err)
{
    const char *slash = strrchr(pack->build_path, '/');
    TC_AUTO_FREE char *folder =
        strndup(pack->build_path, slash ? (size_t)(slash - pack->build_path) : 0);
    TC_AUTO_CLOSE int parent = -1;
    TC_AUTO_CLOSE int fd = -1;
    uint64_t size;
    bool executable;
    struct tc_error why = {0};
    struct stat info;
    if (!folder) return tc_fail(err, TC_SYSTEM, "out of memory");
    if (tc_folder_open(pack->folder_fd, folder, &parent, &why) != TC_OK ||
        tc_file_open(parent, slash ? slash + 1 : pack->build_path, pack->build_path, &fd, &size,
                     &executable, &why) != TC_OK)
        return no_build_file(pack,
                             fstatat(pack->folder_fd, pack->build_path, &info,
                                     AT_SYMLINK_NOFOLLOW) != 0
                                 ? ": write one"
                                 : ": what has that name is no regular file that can be read",
                             err);
    uint8_t bytes[TC_BUILDSPEC_SIZE_MAX + 1];
    size_t filled = 0;
    while (filled < sizeof bytes) {
        ssize_t got = read(fd, bytes + filled, sizeof bytes - filled);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read the build file");
        if (got == 0) break;
        filled += (size_t)got;
    }
    tc_buf_add(&pack->build_file, bytes, filled);
    return tc_buf_check(&pack->build_file, "the build file", err);
}

/* --- the whole --- */

tc_status tc_pack_open(const struct tc_pack_options *options, struct tc_pack **ret_pack,
                       struct tc_error *err)
{
    TC_TRY(start_library(err));
    TC_CLEANUP(pack_close_ptr) struct tc_pack *pack = calloc(1, sizeof *pack);
    if (!pack) {
        (void)git_libgit2_shutdown();
        return tc_fail(err, TC_SYSTEM, "out of memory");
    }
    pack->folder_fd = -1;
    pack->build_file = tc_buf_new(TC_BUILDSPEC_SIZE_MAX);
    if (!tc_path_is_safe(tc_span_of_text(options->build_file)))
        return tc_fail(err, TC_USAGE, "the build file has to be named by its path in the project");
    TC_TRY(open_folder(pack, options, err));
    TC_TRY(open_repository(pack, err));
    TC_TRY(decide_kind(pack, options->allow_dirty, err));
    TC_TRY(pack->kind == TC_SOURCE_GIT ? build_file_of_head(pack, err)
                                       : build_file_of_folder(pack, err));
    TC_TRY(tc_pack_claim(pack, err));
    *ret_pack = TC_TAKE(pack);
    return TC_OK;
}

tc_status tc_pack_send(struct tc_pack *pack, const struct tc_buildspec *spec,
                       const struct tc_pack_sink *sink, struct tc_manifest_summary *ret_summary,
                       struct tc_error *err)
{
    struct tc_out out;
    TC_TRY(tc_out_init(&out, sink, err));
    tc_status status = pack->kind == TC_SOURCE_GIT ? tc_pack_send_git(pack, spec, &out, err)
                                                   : tc_pack_send_tree(pack, spec, &out, err);
    if (status == TC_OK)
        status = tc_out_frame(&out, TC_WIRE_SOURCE_END, (struct tc_span){0}, err);
    if (status == TC_OK) status = tc_manifest_finish(out.manifest, ret_summary, err);
    tc_out_done(&out);
    return status;
}

enum tc_source_kind tc_pack_kind(const struct tc_pack *pack)
{
    return pack->kind;
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
    return pack->kind == TC_SOURCE_GIT ? &pack->commit : NULL;
}

struct tc_span tc_pack_build_file(const struct tc_pack *pack)
{
    return tc_buf_span(&pack->build_file);
}

const char *tc_pack_repository(const struct tc_pack *pack)
{
    return pack->repository;
}

const char *tc_pack_ref(const struct tc_pack *pack)
{
    return pack->ref;
}
