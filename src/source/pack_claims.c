/* What the repository says of itself: origin's URL and the name of what is checked
 * out. Claims, for people; nothing is decided by them. */
#include "source/pack_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"

/* Without what a URL may hold of secrets: user and password, query, fragment.
 * "https://user:token@host/path?x" and "user@host:path". */
static char *without_secrets(const char *url)
{
    const char *scheme = strstr(url, "://");
    const char *authority = scheme ? scheme + 3 : url;
    size_t size = strcspn(authority, scheme ? "/?#" : ":/");
    const char *at = NULL;
    for (const char *c = authority; c < authority + size; c++)
        if (*c == '@') at = c;
    const char *host = at ? at + 1 : authority;
    int path = (int)(scheme ? strcspn(host, "?#") : strlen(host));
    char *result;
    if (asprintf(&result, "%.*s%.*s", (int)(authority - url), url, path, host) < 0) return NULL;
    return result;
}

static char *origin_of(git_repository *repo)
{
    git_config *config = NULL;
    git_buf url = {0};
    char *result = NULL;
    if (git_repository_config(&config, repo) == 0 &&
        git_config_get_string_buf(&url, config, "remote.origin.url") == 0)
        result = without_secrets(url.ptr);
    git_buf_dispose(&url);
    git_config_free(config);
    return result;
}

struct search {
    const struct tc_pack *pack;
    char *name;
};

/* The first exact tag, by name: where HEAD is detached, as it is on a CI runner. */
static int on_tag(const char *reference, git_oid *id, void *context)
{
    struct search *search = context;
    git_object *peeled = NULL;
    (void)id;
    if (search->name && strcmp(reference, search->name) > 0) return 0;
    if (git_revparse_single(&peeled, search->pack->repo, reference) != 0) return 0;
    git_object *commit = NULL;
    if (git_object_peel(&commit, peeled, GIT_OBJECT_COMMIT) == 0 &&
        memcmp(git_object_id(commit)->id, search->pack->commit.bytes, TC_SHA1_SIZE) == 0) {
        char *copy = strdup(reference);
        if (copy) {
            tc_free_ptr(&search->name);
            search->name = copy;
        }
    }
    git_object_free(commit);
    git_object_free(peeled);
    return 0;
}

static char *name_of_head(const struct tc_pack *pack)
{
    git_reference *head = NULL;
    char *result = NULL;
    if (git_repository_head(&head, pack->repo) == 0 && git_reference_is_branch(head)) {
        result = strdup(git_reference_name(head));
    } else {
        struct search search = {.pack = pack};
        (void)git_tag_foreach(pack->repo, on_tag, &search);
        result = search.name;
    }
    git_reference_free(head);
    return result;
}

static char *fit(char *claim)
{
    struct tc_span span = claim ? tc_span_of_text(claim) : (struct tc_span){0};
    if (claim && span.size <= TC_WIRE_TEXT_MAX && tc_is_utf8(span)) return claim;
    free(claim);
    return strdup("");
}

tc_status tc_pack_claim(struct tc_pack *pack, struct tc_error *err)
{
    bool has_commit = pack->repo && pack->has_commit && !pack->dirty;
    pack->repository = fit(has_commit ? origin_of(pack->repo) : NULL);
    pack->ref = fit(has_commit ? name_of_head(pack) : NULL);
    if (!pack->repository || !pack->ref) return tc_fail(err, TC_SYSTEM, "out of memory");
    return TC_OK;
}
