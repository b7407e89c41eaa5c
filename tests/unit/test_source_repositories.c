/* Sources out of repositories of other shapes: submodules, git LFS, work trees, packs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "source_trip.h"

/* --- submodules --- */

static char *project_with_submodules(char **ret_origin)
{
    char *origin = lab_folder(), *folder = lab_folder(), *command;
    lab_shell(
        origin,
        "git init -q -b main inner; git init -q -b main outer; cd inner; echo i >i; git add i;"
        "git commit -q -m i; cd ../outer; echo o >o; git add o;"
        "git -c protocol.file.allow=always submodule --quiet add ../inner in;"
        "git commit -q -m o");
    lab_git_project(folder);
    assert_true(asprintf(&command,
                         "git -c protocol.file.allow=always submodule --quiet add '%s/outer' sub;"
                         "git -c protocol.file.allow=always submodule --quiet update --init "
                         "--recursive; echo after >sub-2; echo after >sub.c; git add -A;"
                         "git commit -q -m sub; git tag sub",
                         origin) > 0);
    lab_shell(folder, command);
    free(command);
    *ret_origin = origin;
    return folder;
}

/* "sub", "sub-2" and "sub.c" have different orders in a tree and in a source. */
static void submodules_come_along(void **state)
{
    (void)state;
    char *origin, *folder = project_with_submodules(&origin), *root = lab_folder();
    round_trip_only(folder, false, root);
    assert_prints(root, "cat sub/o sub/in/i sub-2", "o\ni\nafter\n");
    assert_prints(root, "find . -name .git", "./.git\n");
    assert_prints(root, "git status --porcelain", "");
    assert_prints(root, "git fsck --strict 2>&1", "");
    assert_prints(root, "git describe --tags --exact-match --dirty", "sub\n");
    lab_remove(root);
    root = lab_folder();
    lab_shell(folder, "echo dirty >>lib.c");
    round_trip_only(folder, true, root);
    assert_prints(root, "cat sub/o sub/in/i sub-2", "o\ni\nafter\n");
    assert_prints(root, "find . -name .git", "");
    lab_remove(folder);
    lab_remove(origin);
    lab_remove(root);
}

static void submodules_are_compared(void **state)
{
    (void)state;
    static const char *const changes[] = {
        "echo x >>sub/o",
        "echo x >>sub/in/i",
        "cd sub; git commit -q --allow-empty -m n",
        "git config submodule.sub.ignore all; echo x >>sub/in/i",
        "cd sub; git commit -q --allow-empty -m n; cd ..; git add sub",
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        char *origin, *folder = project_with_submodules(&origin);
        struct tc_error err = {0};
        lab_shell(folder, changes[i]);
        assert_int_equal(try_pack(folder, false, &err), TC_USAGE);
        assert_says(&err, "sub");
        lab_remove(folder);
        lab_remove(origin);
    }
}

static void missing_submodules_are_named_or_omitted(void **state)
{
    (void)state;
    char *origin, *folder = project_with_submodules(&origin), *root = lab_folder();
    struct tc_source_received received;
    struct lab_stream stream;
    struct tc_error err = {0};
    lab_shell(folder, "git submodule --quiet deinit --all -f");
    assert_int_equal(try_pack(folder, false, &err), TC_USAGE);
    assert_says(&err, "submodule sub is not checked out");
    lab_shell(folder,
              SPEC(",\"source\":{\"git\":true,\"omit\":[\"sub\"]}") "git commit -q -a -m omit");
    round_trip(folder, false, root, &received, &stream);
    assert_int_equal(received.omitted_count, 1);
    assert_string_equal(received.omitted[0], "sub");
    assert_prints(root, "ls -A sub; git status --porcelain", "");
    tc_source_received_free(&received);
    lab_stream_free(&stream);
    lab_shell(folder, SPEC(",\"source\":{\"omit\":[\"sub\",\"sab\"]}") "git commit -q -a -m wrong");
    assert_int_equal(try_pack(folder, false, &err), TC_USAGE);
    assert_says(&err, "sab, which is no submodule");
    lab_remove(folder);
    lab_remove(origin);
    lab_remove(root);
}

/* --- git LFS --- */

/* As git-lfs leaves things: pointer in the blob, content in the work tree and in
 * the store, a clean filter that is not there. */
static void make_lfs(const char *folder)
{
    lab_git_project(folder);
    lab_shell(
        folder,
        "head -c 3000 /dev/zero | tr '\\0' L >data.bin; oid=$(sha256sum <data.bin | cut -c1-64)\n"
        "store=.git/lfs/objects/$(echo $oid | cut -c1-2)/$(echo $oid | cut -c3-4)\n"
        "mkdir -p $store; cp data.bin $store/$oid\n"
        "printf 'version https://git-lfs.github.com/spec/v1\\noid sha256:%s\\nsize 3000\\n' $oid "
        ">data.bin; git add data.bin; git commit -q -m lfs; git tag lfs\n"
        "cp $store/$oid data.bin; mkdir -p .git/info; echo '*.bin filter=lfs' "
        ">.git/info/attributes");
}

static void lfs_contents_come_along(void **state)
{
    (void)state;
    char *folder = lab_folder(), *root = lab_folder();
    make_lfs(folder);
    round_trip_only(folder, false, root);
    assert_prints(root, "wc -c <data.bin", "3000\n");
    assert_prints(root, "git status --porcelain; git describe --tags --exact-match --dirty",
                  "lfs\n");
    assert_prints(root, "git fsck --strict 2>&1", "");
    lab_remove(folder);
    lab_remove(root);
}

static void lfs_troubles_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *command, *says;
        tc_status status;
    } troubles[] = {
        {"rm -r .git/lfs", "run git lfs fetch", TC_UNAVAILABLE},
        {"f=$(find .git/lfs -type f); chmod u+w $f; printf X | dd of=$f conv=notrunc 2>/dev/null",
         "does not have the digest", TC_MALFORMED},
        {"f=$(find .git/lfs -type f); chmod u+w $f; printf X >>$f", "3001 bytes", TC_MALFORMED},
        {"printf X | dd of=data.bin conv=notrunc 2>/dev/null", "differs from HEAD", TC_USAGE},
    };
    for (size_t i = 0; i < sizeof troubles / sizeof *troubles; i++) {
        char *folder = lab_folder();
        struct tc_error err = {0};
        make_lfs(folder);
        lab_shell(folder, troubles[i].command);
        assert_int_equal(try_pack(folder, false, &err), troubles[i].status);
        assert_says(&err, troubles[i].says);
        lab_remove(folder);
    }
}

/* A changed work tree has no commit whose blobs could be looked at: what lies there
 * is what gets built, and a pointer is not the file. */
static void lfs_pointers_of_dirty_trees_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *command, *says;
        tc_status status;
    } shapes[] = {
        {"printf more >>lib.c", "", TC_OK}, /* the content is there, the pointer is in the index */
        {"git checkout -q -f -- data.bin; git show HEAD:data.bin >data.bin; printf more >>lib.c",
         "data.bin is a git LFS pointer, and its object ", TC_UNAVAILABLE},
        {"git show HEAD:data.bin >deep/other.bin; git add deep/other.bin",
         "deep/other.bin is a git LFS pointer", TC_UNAVAILABLE},
        {"git show HEAD:data.bin >untracked.bin; printf more >>lib.c",
         "run git lfs fetch, then git lfs checkout", TC_UNAVAILABLE},
        {"(git show HEAD:data.bin; echo more) >lib.c", "lib.c", TC_MALFORMED},
        {"(git show HEAD:data.bin; head -c 2000 /dev/zero) >lib.c", "", TC_OK}, /* no pointer */
        {"git show HEAD:data.bin >data.bin; rm -rf .git", "", TC_OK},           /* a plain folder */
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        char *folder = lab_folder();
        struct tc_error err = {0};
        make_lfs(folder);
        lab_shell(folder, shapes[i].command);
        tc_status status = try_pack(folder, true, &err);
        if (status != shapes[i].status) fail_msg("shape %zu: %s", i, err.message);
        if (status != TC_OK) assert_says(&err, shapes[i].says);
        lab_remove(folder);
    }
}

/* --- other shapes of repositories --- */

static void worktrees_alternates_and_packs_work(void **state)
{
    (void)state;
    char *folder = lab_folder(), *other = lab_folder(), *command;
    struct tc_error err = {0};
    struct lab_stream first, second;
    lab_git_project(folder);
    /* Loose and large enough to be streamed; then packed. */
    lab_shell(folder,
              "head -c 3000000 /dev/urandom >random; git add random; git commit -q -m random");
    assert_ok(lab_pack(folder, false, &first, &err), &err);
    assert_true(
        asprintf(&command,
                 "git -C '%s' worktree add -q '%s/tree' 2>/dev/null; git -C '%s' pack-refs --all;"
                 "git clone -q --shared '%s' shared; git clone -q --depth 1 'file://%s' shallow;"
                 "cp -a '%s' packed; git -C packed gc -q",
                 folder, other, folder, folder, folder, folder) > 0);
    lab_shell(other, command);
    free(command);
    static const char *const shapes[] = {"tree", "shared", "shallow", "packed"};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        char *shape;
        assert_true(asprintf(&shape, "%s/%s", other, shapes[i]) > 0);
        assert_ok(lab_pack(shape, false, &second, &err), &err);
        assert_same_digest(&first.summary.digest, &second.summary.digest);
        assert_memory_equal(first.commit.bytes, second.commit.bytes, TC_SHA1_SIZE);
        lab_stream_free(&second);
        free(shape);
    }
    lab_stream_free(&first);
    lab_remove(folder);
    lab_remove(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(submodules_come_along),
        cmocka_unit_test(submodules_are_compared),
        cmocka_unit_test(missing_submodules_are_named_or_omitted),
        cmocka_unit_test(lfs_contents_come_along),
        cmocka_unit_test(lfs_troubles_are_named),
        cmocka_unit_test(lfs_pointers_of_dirty_trees_are_refused),
        cmocka_unit_test(worktrees_alternates_and_packs_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
