/* Which files of a changed git work tree belong to the source: those that the
 * index has or no ignore rule names; folders are implied. A submodule's files are
 * judged by its own repository. */
#include "source/pack_internal.h"

#include <stdio.h>
#include <string.h>

struct rules {
    struct tc_tree_rules base;
    const struct tc_pack *pack;
    const struct tc_buildspec *spec;
    git_repository *repo;
    bool owned; /* repo is a submodule's */
    git_index *index;
};

/* base is the first member: both have one address. */
static const struct rules *rules_of(const struct tc_tree_rules *base)
{
    return (const struct rules *)base;
}

static bool is_submodule(const struct tc_tree_rules *base, const char *path)
{
    const struct rules *rules = rules_of(base);
    const git_index_entry *entry = git_index_get_bypath(rules->index, path + base->start, 0);
    return entry && entry->mode == GIT_FILEMODE_COMMIT;
}

static tc_status belongs(const struct tc_tree_rules *base, const char *path, bool is_folder,
                         bool *ret_belongs, struct tc_error *err)
{
    const struct rules *rules = rules_of(base);
    int ignored = 0;
    size_t at;
    char inside[TC_PATH_MAX + TC_NAME_MAX + 8];
    (void)snprintf(inside, sizeof inside, "%s%s", path + base->start, is_folder ? "/" : "");
    bool tracked = is_folder ? git_index_find_prefix(&at, rules->index, inside) == 0
                             : git_index_get_bypath(rules->index, inside, 0) != NULL;
    int failed = tracked ? 0 : git_ignore_path_is_ignored(&ignored, rules->repo, inside);
    if (failed) return tc_git_fail(err, TC_SYSTEM, "cannot read the ignore rules");
    *ret_belongs = !ignored;
    return TC_OK;
}

static void leave(struct tc_tree_rules *base)
{
    struct rules *rules = (struct rules *)base;
    if (!rules) return;
    git_index_free(rules->index);
    if (rules->owned) git_repository_free(rules->repo);
    free(rules);
}

static tc_status enter(const struct tc_tree_rules *base, const char *path,
                       struct tc_tree_rules **ret_rules, struct tc_error *err);

/* NULL, and err set, on failure. repo stays the caller's. */
static struct rules *make(const struct tc_pack *pack, const struct tc_buildspec *spec,
                          git_repository *repo, const char *where, struct tc_error *err)
{
    struct rules *rules = calloc(1, sizeof *rules);
    if (!rules) {
        (void)tc_fail(err, TC_SYSTEM, "out of memory for the ignore rules");
        return NULL;
    }
    *rules = (struct rules){.base = {.is_submodule = is_submodule,
                                     .belongs = belongs,
                                     .enter = enter,
                                     .leave = leave},
                            .pack = pack,
                            .spec = spec,
                            .repo = repo};
    if (git_repository_index(&rules->index, repo) != 0) {
        free(rules);
        (void)tc_git_fail(err, TC_UNAVAILABLE, "cannot read the index of %s", where);
        return NULL;
    }
    return rules;
}

static tc_status enter(const struct tc_tree_rules *base, const char *path,
                       struct tc_tree_rules **ret_rules, struct tc_error *err)
{
    const struct rules *outer = rules_of(base);
    TC_AUTO_REPOSITORY git_repository *repo = NULL;
    *ret_rules = NULL;
    if (tc_is_omitted(outer->spec, path)) return TC_OK;
    TC_TRY(tc_submodule_open(outer->pack, path, &repo, err));
    if (!repo) return tc_submodule_missing(path, err);
    struct rules *inner = make(outer->pack, outer->spec, repo, path, err);
    if (!inner) return err->status;
    inner->base.start = strlen(path) + 1;
    inner->owned = true;
    repo = NULL;
    *ret_rules = &inner->base;
    return TC_OK;
}

tc_status tc_pack_send_tree(struct tc_pack *pack, const struct tc_buildspec *spec,
                            struct tc_out *out, struct tc_error *err)
{
    struct rules *rules = NULL;
    if (pack->repo && !(rules = make(pack, spec, pack->repo, pack->folder, err)))
        return err->status;
    const struct tc_tree tree = {.folder = pack->folder,
                                 .folder_fd = pack->folder_fd,
                                 .ignore = pack->ignore,
                                 .rules = rules ? &rules->base : NULL};
    tc_status status = tc_tree_send(&tree, out, err);
    if (rules) leave(&rules->base);
    return status;
}
