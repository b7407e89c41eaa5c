/* Project folder -> frames -> session -> unpacker -> folder, and what pack says of
 * projects on the way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/text.h"
#include "source_trip.h"

static void git_source_arrives_as_it_is(void **state)
{
    (void)state;
    char *folder = lab_folder(), *root = lab_folder();
    struct tc_source_received received;
    struct lab_stream stream;
    lab_git_project(folder);
    round_trip(folder, false, root, &received, &stream);
    assert_int_equal(stream.hello.source, TC_SOURCE_GIT);
    assert_int_equal(received.epoch, 1700000100);

    char hex[TC_SHA1_HEX];
    char *commit = lab_output(folder, "git rev-parse HEAD | tr -d '\\n'");
    tc_hex((struct tc_span){received.commit.bytes, TC_SHA1_SIZE}, hex);
    assert_string_equal(hex, commit);
    free(commit);
    char *tree = lab_output(folder, "git rev-parse HEAD: | tr -d '\\n'");
    tc_hex((struct tc_span){received.tree.bytes, TC_SHA1_SIZE}, hex);
    assert_string_equal(hex, tree);
    free(tree);

    char *command;
    assert_true(asprintf(&command, "diff -r --no-dereference --exclude=.git '%s' .", folder) > 0);
    lab_shell(root, command);
    free(command);
    assert_prints(root, "stat -c %a deep deep/er/est/run large lib", "755\n755\n644\n755\n");
    /* One time for all but git's index. */
    assert_prints(root, "find . ! -path ./.git/index -printf '%T@\\n' | sort -u",
                  "1700000100.0000000000\n");
    tc_source_received_free(&received);
    lab_stream_free(&stream);
    lab_remove(folder);
    lab_remove(root);
}

/* What the worker writes is a repository that git accepts and finds clean, and
 * that packs to the same source again. */
static void written_git_folder_is_sound(void **state)
{
    (void)state;
    char *folder = lab_folder(), *root = lab_folder();
    struct tc_source_received received;
    struct lab_stream stream, again;
    struct tc_error err = {0};
    lab_git_project(folder);
    lab_shell(folder,
              "git tag other HEAD; git tag -a -m x nested light; git tag -f -a -m y nested v1.0 "
              ">/dev/null 2>&1; git commit -q --allow-empty -m next; git tag later; "
              "git checkout -q HEAD~1");
    round_trip(folder, false, root, &received, &stream);
    assert_prints(root, "git fsck --strict --full 2>&1", "");
    assert_prints(root, "git status --porcelain --ignored", "");
    assert_prints(root, "git -c core.checkStat=default status --porcelain", "");
    assert_prints(root, "git describe --tags --exact-match --dirty", "v1.0\n");
    assert_prints(root, "git rev-list --count HEAD", "1\n");
    assert_prints(root, "git for-each-ref --format='%(refname) %(objecttype)'",
                  "refs/tags/light commit\nrefs/tags/other commit\nrefs/tags/v1.0 tag\n");
    assert_prints(root, "ls .git/hooks .git/objects/info/alternates 2>/dev/null || :", "");
    assert_int_equal(received.tags_count, 3);
    assert_memory_equal(received.tags[0], "light ", 6);
    assert_memory_equal(received.tags[2], "v1.0 ", 5);
    assert_ok(lab_pack(root, false, &again, &err), &err);
    assert_true(tc_span_equal(tc_buf_span(&again.bytes), tc_buf_span(&stream.bytes)));
    lab_shell(root, "printf x >>lib.c");
    assert_prints(root, "git describe --tags --dirty", "v1.0-dirty\n");
    tc_source_received_free(&received);
    lab_stream_free(&stream);
    lab_stream_free(&again);
    lab_remove(folder);
    lab_remove(root);
}

static void tags_stay_home_unless_asked_for(void **state)
{
    (void)state;
    char *folder = lab_folder(), *root = lab_folder();
    struct tc_source_received received;
    struct lab_stream stream;
    lab_git_project(folder);
    lab_shell(folder,
              "sed -i 's/,\"source\":{\"git\":true}//' build.json; git commit -q -a -m off; "
              "git tag here");
    round_trip(folder, false, root, &received, &stream);
    assert_int_equal(received.tags_count, 0);
    assert_prints(root, "ls -A | grep -c '^[.]git$' || :", "0\n");
    tc_source_received_free(&received);
    lab_stream_free(&stream);
    lab_remove(folder);
    lab_remove(root);
}

static void plain_source_arrives_as_it_is(void **state)
{
    (void)state;
    char *folder = lab_folder(), *root = lab_folder();
    struct tc_source_received received;
    struct lab_stream stream, again;
    struct tc_error err = {0};
    lab_shell(folder,
              SPEC("") "mkdir -p a/b/c empty a-b; echo 1 >a/b/c/1; echo 2 >a-b/2; echo 3 >a.c;"
                       "ln -s b a/l; chmod 700 a/b/c/1; printf x >\"$(printf 'bad\\377name')\"");
    round_trip(folder, false, root, &received, &stream);
    assert_int_equal(stream.hello.source, TC_SOURCE_TREE);
    assert_int_equal(received.epoch, 315532800);
    assert_false(received.has_commit);
    assert_int_equal(received.summary.files, 6);
    assert_int_equal(received.summary.folders, 1);
    assert_prints(root, "stat -c '%a %Y' empty a/b/c/1 a.c",
                  "755 315532800\n755 315532800\n"
                  "644 315532800\n");
    assert_ok(lab_pack(root, false, &again, &err), &err);
    assert_true(tc_span_equal(tc_buf_span(&again.bytes), tc_buf_span(&stream.bytes)));
    tc_source_received_free(&received);
    lab_stream_free(&stream);
    lab_stream_free(&again);
    lab_remove(folder);
    lab_remove(root);
}

/* Another program's reading of docs/formats.md. */
static void digest_is_the_documented_one(void **state)
{
    (void)state;
    static const char program[] =
        "python3 - <<'EOF'\n"
        "import re, sys\n"
        "text = open('%s/docs/formats.md').read()\n"
        "code = re.search(r'\\n    import hashlib, os\\n.*?hexdigest\\(\\)\\n(?=\\n\\()', text, re.S).group(0)\n"
        "exec(re.sub(r'(?m)^    ', '', code))\n"
        "print(source_digest('.'), end='')\n"
        "EOF";
    char *folder = lab_folder(), *command, hex[TC_SHA256_HEX];
    struct lab_stream stream;
    struct tc_error err = {0};
    lab_shell(folder,
              SPEC("") "mkdir -p a/b e a-b; echo 1 >a/b/1; echo 2 >a-b/2; ln -s b a/l; >a.c;"
                       "chmod 755 a-b/2");
    assert_ok(lab_pack(folder, false, &stream, &err), &err);
    tc_hex((struct tc_span){stream.summary.digest.bytes, TC_SHA256_SIZE}, hex);
    const char *project = getenv("TC_PROJECT");
    assert_non_null(project);
    assert_true(asprintf(&command, program, project) > 0);
    assert_prints(folder, command, hex);
    free(command);
    lab_stream_free(&stream);
    lab_remove(folder);
}

/* --- what counts as changed --- */

static void each_change_makes_it_dirty(void **state)
{
    (void)state;
    static const struct {
        const char *command, *named;
    } changes[] = {
        {"printf x >>lib.c", "lib.c"},
        {"chmod 755 lib.c", "lib.c"},
        {"rm lib/one", "lib/one"},
        {"printf x >fresh; git add fresh", "fresh"},
        {"ln -sf elsewhere dangling", "dangling"},
        {"git rm -q --cached lib.c", "lib.c"},
        {"rm empty; mkdir empty; : >empty/in", "empty"},
        {"for i in 1 2 3 4 5 6 7; do echo >n$i; git add n$i; done", "and 2 more"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        char *folder = lab_folder();
        struct tc_error err = {0};
        lab_git_project(folder);
        assert_ok(try_pack(folder, false, &err), &err);
        lab_shell(folder, changes[i].command);
        assert_int_equal(try_pack(folder, false, &err), TC_USAGE);
        assert_says(&err, "differs from HEAD");
        assert_says(&err, changes[i].named);
        assert_ok(try_pack(folder, true, &err), &err);
        lab_remove(folder);
    }
}

static void untracked_files_are_counted_not_sent(void **state)
{
    (void)state;
    char *folder = lab_folder(), *root = lab_folder();
    struct tc_error err = {0};
    const struct tc_pack_options options = {.folder = folder, .build_file = "build.json"};
    struct tc_pack *pack = NULL;
    lab_git_project(folder);
    lab_shell(folder, "mkdir new; echo >new/1; echo >2; echo '*.o' >.git/info/exclude; echo >x.o;"
                      "touch -d 2001-01-01 lib.c");
    assert_ok(tc_pack_open(&options, &pack, &err), &err);
    assert_false(tc_pack_is_dirty(pack));
    assert_int_equal(tc_pack_untracked(pack), 2);
    assert_string_equal(tc_pack_ref(pack), "refs/heads/main");
    assert_string_equal(tc_pack_repository(pack), "");
    tc_pack_close(pack);
    round_trip_only(folder, false, root);
    assert_prints(root, "ls -d new 2 x.o 2>/dev/null || :", "");
    lab_remove(folder);
    lab_remove(root);
}

static void dirty_tree_is_what_lies_there_but_ignored_files(void **state)
{
    (void)state;
    char *folder = lab_folder(), *root = lab_folder();
    lab_git_project(folder);
    lab_shell(folder,
              "printf '*.o\\n/out/\\n!keep.o\\n' >.gitignore; mkdir out; echo >out/a; echo >t.o;"
              "echo >keep.o; echo >forced.o; git add -f forced.o; mkdir hollow; echo >new;"
              "printf more >>lib.c");
    round_trip_only(folder, true, root);
    assert_prints(root, "ls -A",
                  ".gitignore\nbuild.json\ndangling\ndeep\nempty\nforced.o\nkeep.o\n"
                  "large\nlib\nlib-2\nlib.c\nnew\nn\303\266t ascii\n");
    assert_prints(root, "cat lib.c", "cmore");
    lab_remove(folder);
    lab_remove(root);
}

static void line_endings_follow_attributes(void **state)
{
    (void)state;
    char *folder = lab_folder(), *root = lab_folder();
    lab_git_project(folder);
    lab_shell(folder,
              "printf '*.txt text eol=crlf\\n' >.gitattributes; printf 'a\\nb\\n' >f.txt;"
              "git add -A 2>/dev/null; git commit -q -m crlf; rm f.txt; git checkout -q f.txt;"
              "test $(wc -c <f.txt) = 6");
    round_trip_only(folder, false, root);
    assert_prints(root, "od -An -c f.txt | tr -d ' \\n'", "a\\nb\\n");
    lab_remove(folder);
    lab_remove(root);
}

static void ignored_paths_are_left_out_of_a_plain_tree(void **state)
{
    (void)state;
    char *folder = lab_folder(), *output, *real = realpath(folder, NULL);
    struct tc_error err = {0};
    struct lab_stream before;
    lab_shell(folder, SPEC("") "echo 1 >a");
    assert_ok(lab_pack(folder, false, &before, &err), &err);
    lab_shell(folder, "echo old >release.tar; echo half >.release.tar.0123456789abcdef.part");
    assert_true(asprintf(&output, "%s/release.tar", real) > 0);
    const char *ignore[] = {"", output, NULL};
    const struct tc_pack_options options = {
        .folder = folder, .build_file = "build.json", .ignore = ignore};
    const struct tc_pack_sink nowhere = {0};
    const struct tc_buildspec spec = {0};
    struct tc_manifest_summary after;
    struct tc_pack *pack = NULL;
    assert_ok(tc_pack_open(&options, &pack, &err), &err);
    assert_ok(tc_pack_send(pack, &spec, &nowhere, &after, &err), &err);
    assert_same_digest(&before.summary.digest, &after.digest);
    tc_pack_close(pack);
    /* The same in a folder below. */
    lab_shell(folder, "rm .release.tar.*; mkdir out; echo >out/kept; mv release.tar out/");
    lab_stream_free(&before);
    free(output);
    assert_true(asprintf(&output, "%s/out/release.tar", real) > 0);
    ignore[1] = output;
    assert_ok(tc_pack_open(&options, &pack, &err), &err);
    assert_ok(tc_pack_send(pack, &spec, &nowhere, &after, &err), &err);
    tc_pack_close(pack);
    lab_shell(folder, "echo half >out/.release.tar.0123456789abcdef.part");
    struct tc_sha256 without = after.digest;
    assert_ok(tc_pack_open(&options, &pack, &err), &err);
    assert_ok(tc_pack_send(pack, &spec, &nowhere, &after, &err), &err);
    assert_same_digest(&without, &after.digest);
    tc_pack_close(pack);
    lab_shell(folder, "mv out/release.tar . && mv out/.release* . && rm -r out");
    free(output);
    assert_true(asprintf(&output, "%s/release.tar", real) > 0);
    ignore[1] = output;
    assert_ok(lab_pack(folder, false, &before, &err), &err);
    /* What only looks like it is source: in another folder, or no file. */
    lab_shell(folder, "mkdir b; echo half >b/.release.tar.0123456789abcdef.part;"
                      "ln -s /etc .release.tar.0123456789abcde0.part;"
                      "mkdir .release.tar.0123456789abcde1.part; echo >.release.tar.0123456789abcde1.part/a");
    lab_stream_free(&before);
    assert_ok(lab_pack(folder, false, &before, &err), &err);
    assert_ok(tc_pack_open(&options, &pack, &err), &err);
    assert_ok(tc_pack_send(pack, &spec, &nowhere, &after, &err), &err);
    assert_int_equal(after.files + 2, before.summary.files);
    tc_pack_close(pack);
    lab_shell(folder, "rm release.tar; mkdir release.tar; echo >release.tar/a");
    assert_ok(tc_pack_open(&options, &pack, &err), &err);
    assert_ok(tc_pack_send(pack, &spec, &nowhere, &after, &err), &err);
    assert_int_equal(after.files + 1, before.summary.files);
    tc_pack_close(pack);
    lab_stream_free(&before);
    free(output);
    free(real);
    lab_remove(folder);
}

static void claims_hold_no_secrets(void **state)
{
    (void)state;
    static const char *const urls[][2] = {
        {"https://user:token@example.org/a/b.git?key=1#x", "https://example.org/a/b.git"},
        {"git@example.org:a/b.git", "example.org:a/b.git"},
        {"https://example.org/a@b", "https://example.org/a@b"},
        {"/srv/a.git", "/srv/a.git"},
    };
    char *folder = lab_folder();
    struct tc_error err = {0};
    lab_git_project(folder);
    lab_shell(folder, "git remote add origin x; git checkout -q --detach");
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        const struct tc_pack_options options = {.folder = folder, .build_file = "build.json"};
        struct tc_pack *pack = NULL;
        char *command;
        assert_true(asprintf(&command, "git remote set-url origin '%s'", urls[i][0]) > 0);
        lab_shell(folder, command);
        free(command);
        assert_ok(tc_pack_open(&options, &pack, &err), &err);
        assert_string_equal(tc_pack_repository(pack), urls[i][1]);
        assert_string_equal(tc_pack_ref(pack), "refs/tags/light");
        tc_pack_close(pack);
    }
    lab_remove(folder);
}

/* --- what is refused --- */

static void what_cannot_be_packed_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *command, *says;
        tc_status status;
    } cases[] = {
        {":", "no build file build.json", TC_USAGE},
        {SPEC("") "mkfifo pipe", "FIFO", TC_USAGE},
        {SPEC("") "git init -q inner", "nested git repository", TC_USAGE},
        {SPEC("") "git init -q .", "no commit yet", TC_USAGE},
        {SPEC("") "mkdir GIT~1; echo >GIT~1/a", "keeps for itself", TC_USAGE},
        {SPEC("") "git init -q --object-format=sha256 .", "SHA-256 repository", TC_UNAVAILABLE},
        {SPEC("") "mkdir .git; echo garbage >.git/config", "cannot open the git repository",
         TC_UNAVAILABLE},
        {SPEC("") "git init -q .; git add .; git commit -q -m x; git config core.worktree /",
         "not the top of the work tree", TC_USAGE},
        {"git init -q .; git commit -q --allow-empty -m x", "at HEAD", TC_USAGE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *folder = lab_folder();
        struct tc_error err = {0};
        lab_shell(folder, cases[i].command);
        tc_status status = try_pack(folder, false, &err);
        if (status != cases[i].status)
            fail_msg("%s: %s: %s", cases[i].command, tc_status_name(status), err.message);
        assert_says(&err, cases[i].says);
        lab_remove(folder);
    }
    struct tc_error err = {0};
    assert_int_equal(try_pack("/nonexistent/project", false, &err), TC_USAGE);
}

/* Changes "moving" as soon as it was announced. */
struct mover {
    const char *folder, *command;
};

static tc_status move(void *context, enum tc_wire_kind kind, struct tc_span payload,
                      struct tc_error *err)
{
    const struct mover *mover = context;
    struct tc_entry entry;
    if (kind != TC_WIRE_ENTRY) return TC_OK;
    TC_TRY(tc_entry_decode(payload, &entry, err));
    if (tc_span_equal(entry.path, tc_span_of_text("moving")))
        lab_shell(mover->folder, mover->command);
    return TC_OK;
}

static void files_that_change_while_read_are_refused(void **state)
{
    (void)state;
    static const char *const commands[] = {"printf x >>moving", ": >moving",
                                           "truncate -s 90000 moving"};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        char *folder = lab_folder();
        struct tc_error err = {0};
        lab_shell(folder, SPEC("") "head -c 100000 /dev/zero >moving");
        const struct tc_pack_options options = {.folder = folder, .build_file = "build.json"};
        struct mover mover = {folder, commands[i]};
        const struct tc_pack_sink sink = {&mover, move};
        const struct tc_buildspec spec = {0};
        struct tc_manifest_summary summary;
        struct tc_pack *pack = NULL;
        assert_ok(tc_pack_open(&options, &pack, &err), &err);
        assert_int_equal(tc_pack_send(pack, &spec, &sink, &summary, &err), TC_UNAVAILABLE);
        assert_says(&err, "changed while it was read");
        tc_pack_close(pack);
        lab_remove(folder);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(git_source_arrives_as_it_is),
        cmocka_unit_test(written_git_folder_is_sound),
        cmocka_unit_test(tags_stay_home_unless_asked_for),
        cmocka_unit_test(plain_source_arrives_as_it_is),
        cmocka_unit_test(digest_is_the_documented_one),
        cmocka_unit_test(each_change_makes_it_dirty),
        cmocka_unit_test(untracked_files_are_counted_not_sent),
        cmocka_unit_test(dirty_tree_is_what_lies_there_but_ignored_files),
        cmocka_unit_test(line_endings_follow_attributes),
        cmocka_unit_test(ignored_paths_are_left_out_of_a_plain_tree),
        cmocka_unit_test(claims_hold_no_secrets),
        cmocka_unit_test(what_cannot_be_packed_is_named),
        cmocka_unit_test(files_that_change_while_read_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
