/* A git object of the kind that the first byte says. A good tree has to walk in the
 * order of the source, each of its entries once. */
#include "core/gitobj.h"
#include "fuzz.h"

static void walk(struct tc_span bytes)
{
    struct tc_cursor cursor = tc_cursor_of(bytes);
    struct tc_git_walk walk = tc_git_walk_of(bytes);
    struct tc_git_entry entry, last = {0};
    size_t listed = 0, walked = 0;
    while (tc_git_tree_next(&cursor, &entry))
        listed++;
    FUZZ_CHECK(tc_cursor_left(&cursor) == 0);
    for (; tc_git_walk_next(&walk, &entry); walked++, last = entry) {
        if (walked == 0) continue;
        bool a = last.kind == TC_GIT_FOLDER || last.kind == TC_GIT_LINK;
        bool b = entry.kind == TC_GIT_FOLDER || entry.kind == TC_GIT_LINK;
        const struct tc_entry x = {.kind = a ? TC_ENTRY_FOLDER : TC_ENTRY_FILE, .path = last.name};
        const struct tc_entry y = {.kind = b ? TC_ENTRY_FOLDER : TC_ENTRY_FILE, .path = entry.name};
        FUZZ_CHECK(tc_entry_compare(&x, &y) < 0);
    }
    FUZZ_CHECK(walked == listed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tc_error err = {0};
    if (size == 0) return 0;
    struct tc_span bytes = {data + 1, size - 1};
    struct tc_git_commit commit;
    struct tc_git_tag tag;
    struct tc_git_lfs lfs;
    switch (data[0] % 4) {
    case 0:
        if (tc_git_commit_read(bytes, &commit, &err) == TC_OK) FUZZ_CHECK(commit.time >= 0);
        break;
    case 1:
        if (tc_git_tree_check(bytes, &err) == TC_OK) walk(bytes);
        break;
    case 2:
        if (tc_git_tag_read(bytes, &tag, &err) == TC_OK)
            FUZZ_CHECK(tc_git_tag_name_is_good(tag.name));
        break;
    default:
        if (tc_git_lfs_read(bytes, &lfs, &err) == TC_OK)
            FUZZ_CHECK(tc_git_is_lfs_pointer(bytes) && lfs.size <= TC_FILE_SIZE_MAX);
    }
    return 0;
}
