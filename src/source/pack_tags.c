/* The tags that name HEAD's commit, sorted by name. They are the builder's choice
 * (the report says so), so that a tag which the worker would refuse - a tag of a
 * tag, one under another name than its own, a name that git itself refuses - is
 * left out rather than an error. */
#include "source/pack_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

/* The worker keeps no more (core/statement.h). */
enum { TAGS_MAX = 64 };

struct search {
    git_repository *repo;
    git_odb *odb;
    const struct tc_sha1 *commit;
    char *names[TAGS_MAX];
    size_t count;
    bool too_many;
    bool no_memory;
};

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The tag object behind an annotated tag, or NULL when it is none that can be sent. */
static git_odb_object *annotation(git_odb *odb, const git_oid *id, const char *name,
                                  const struct tc_sha1 *commit)
{
    git_odb_object *object = NULL;
    struct tc_git_tag tag;
    struct tc_error ignored = {0};
    struct tc_sha1 sha1;
    memcpy(sha1.bytes, id->id, sizeof sha1.bytes);
    if (tc_object_read(odb, &sha1, GIT_OBJECT_TAG, TC_GIT_TAG_MAX, name, &object, &ignored) !=
        TC_OK)
        return NULL;
    if (tc_git_tag_read(tc_object_bytes(object), &tag, &ignored) == TC_OK &&
        memcmp(tag.object.bytes, commit->bytes, sizeof commit->bytes) == 0 &&
        tc_span_equal(tag.name, tc_span_of_text(name)))
        return object;
    git_odb_object_free(object);
    return NULL;
}

static int on_tag(const char *reference, git_oid *id, void *context)
{
    struct search *search = context;
    const char *name = reference + strlen("refs/tags/");
    if (!tc_git_tag_name_is_good(tc_span_of_text(name))) return 0;
    if (memcmp(id->id, search->commit->bytes, TC_SHA1_SIZE) != 0) {
        git_odb_object *object = annotation(search->odb, id, name, search->commit);
        if (!object) return 0;
        git_odb_object_free(object);
    }
    search->too_many = search->count == TAGS_MAX;
    if (search->too_many) return -1;
    char *copy = strdup(name);
    search->no_memory = !copy;
    if (!copy) return -1;
    search->names[search->count++] = copy;
    return 0;
}

static tc_status send_tag(struct search *search, const char *name, struct tc_out *out,
                          struct tc_error *err)
{
    char reference[TC_NAME_MAX + 16];
    git_oid id;
    (void)snprintf(reference, sizeof reference, "refs/tags/%s", name);
    if (git_reference_name_to_id(&id, search->repo, reference) != 0)
        return tc_git_fail(err, TC_UNAVAILABLE, "the tag %s changed while it was read", name);
    struct tc_wire_tag tag = {.name = tc_span_of_text(name)};
    memcpy(tag.id.bytes, id.id, sizeof tag.id.bytes);
    tag.annotated = memcmp(tag.id.bytes, search->commit->bytes, TC_SHA1_SIZE) != 0;
    TC_AUTO_OBJECT git_odb_object *object =
        tag.annotated ? annotation(search->odb, &id, name, search->commit) : NULL;
    if (tag.annotated && !object)
        return tc_fail(err, TC_UNAVAILABLE, "the tag %s changed while it was read", name);
    TC_AUTO_BUF struct tc_buf frame = tc_buf_new(TC_WIRE_TEXT_MAX);
    tc_wire_tag_encode(&tag, &frame);
    TC_TRY(tc_buf_check(&frame, "a tag's frame", err));
    TC_TRY(tc_out_frame(out, TC_WIRE_TAG, tc_buf_span(&frame), err));
    return object ? tc_out_whole(out, TC_OBJECT_TAG, tc_object_bytes(object), err) : TC_OK;
}

static tc_status send_all(struct search *search, struct tc_out *out, struct tc_error *err)
{
    int found = git_tag_foreach(search->repo, on_tag, search);
    if (search->no_memory) return tc_fail(err, TC_SYSTEM, "out of memory for the tags");
    if (search->too_many)
        return tc_fail(err, TC_LIMIT, "more than %d tags name the commit", TAGS_MAX);
    if (found != 0) return tc_git_fail(err, TC_SYSTEM, "cannot list the tags");
    if (search->count > 0)
        qsort(search->names, search->count, sizeof *search->names, by_text);
    for (size_t i = 0; i < search->count; i++)
        TC_TRY(send_tag(search, search->names[i], out, err));
    return TC_OK;
}

tc_status tc_pack_send_tags(struct tc_pack *pack, git_odb *odb, struct tc_out *out,
                            struct tc_error *err)
{
    struct search search = {.repo = pack->repo, .odb = odb, .commit = &pack->commit};
    tc_status status = send_all(&search, out, err);
    for (size_t i = 0; i < search.count; i++)
        free(search.names[i]);
    return status;
}
