/* Lies about the source, told to the worker's receiving side: spoilt streams must
 * end in an error, never in another source under the same name; and a repository
 * whose configuration names programs, packed on the host. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "core/gitobj.h"
#include "source_lab.h"

static void assert_ok(tc_status status, const struct tc_error *err)
{
    if (status != TC_OK) fail_msg("%s: %s", tc_status_name(status), err->message);
}

static bool is_verdict(tc_status status)
{
    return status == TC_MALFORMED || status == TC_REFUSED || status == TC_LIMIT || status == TC_PEER;
}

/* A project small enough to spoil every byte of its stream. */
static struct lab_stream small_stream(char *folder, bool plain)
{
    struct lab_stream stream = {0};
    struct tc_error err = {0};
    lab_shell(folder, "printf '{\"language\":\"c\",\"input\":{\"cmd\":\"true\"},\"output\":{\"files\":[\"a\"]},"
                      "\"source\":{\"git\":true}}' >build.json\n"
                      "mkdir d; echo a >d/a; ln -s a d/l; echo '#!' >x; chmod 755 x\n");
    lab_shell(folder, plain ? "mkdir e"
                            : "git init -q -b main .; git add -A; git commit -q -m m;"
                              "git tag light; git tag -a -m t v1");
    assert_ok(lab_pack(folder, false, &stream, &err), &err);
    return stream;
}

struct known {
    struct tc_sha256 digest;
    struct tc_sha1 commit;
    size_t tags;
};

static struct known known_of(const struct lab_stream *stream)
{
    struct tc_source_received received;
    struct tc_error err = {0};
    assert_ok(lab_receive_only(&stream->hello, tc_buf_span(&stream->bytes), &received, &err), &err);
    struct known known = {received.summary.digest, received.commit, received.tags_count};
    tc_source_received_free(&received);
    return known;
}

/* True when the spoilt stream was taken for the source that it was made from. */
static bool passes_as(const struct lab_stream *stream, struct tc_span bytes,
                      const struct known *known, bool *ret_accepted)
{
    struct tc_source_received received;
    struct tc_error err = {0};
    tc_status status = lab_receive_only(&stream->hello, bytes, &received, &err);
    *ret_accepted = status == TC_OK;
    if (status != TC_OK) {
        if (!is_verdict(status)) fail_msg("%s: %s", tc_status_name(status), err.message);
        assert_true(*err.message);
        return false;
    }
    bool same = memcmp(received.summary.digest.bytes, known->digest.bytes, TC_SHA256_SIZE) == 0 &&
                memcmp(received.commit.bytes, known->commit.bytes, TC_SHA1_SIZE) == 0 &&
                received.tags_count == known->tags;
    tc_source_received_free(&received);
    return same;
}

/* --- whole streams, spoilt --- */

static void every_prefix_fails(void **state)
{
    bool plain = *state != NULL;
    char *folder = lab_folder();
    struct lab_stream stream = small_stream(folder, plain);
    for (size_t size = 0; size < stream.bytes.size; size++) {
        struct tc_source_received received;
        struct tc_error err = {0};
        struct tc_span cut = {stream.bytes.data, size};
        assert_int_equal(lab_receive_only(&stream.hello, cut, &received, &err), TC_PEER);
    }
    lab_stream_free(&stream);
    lab_remove(folder);
}

/* Where the frames are, by their headers. */
struct frame {
    struct tc_span bytes;
    enum tc_wire_kind kind;
};
enum { FRAMES_MAX = 64 };

static size_t frames_of(const struct lab_stream *stream, struct frame frames[FRAMES_MAX])
{
    size_t count = 0;
    for (size_t at = 0; at < stream->bytes.size;) {
        struct tc_wire_header header;
        struct tc_error err = {0};
        assert_ok(tc_wire_header_decode(stream->bytes.data + at, &header, &err), &err);
        size_t size = TC_WIRE_HEADER_SIZE + header.size;
        assert_true(count < FRAMES_MAX);
        frames[count++] = (struct frame){{stream->bytes.data + at, size}, header.kind};
        at += size;
    }
    return count;
}

/* In a git source, the one byte whose change makes another valid source is in the commit, which then
 * has another id, or in the name of a light tag, which the builder chooses. */
static void every_changed_byte_shows(void **state)
{
    bool plain = *state != NULL;
    char *folder = lab_folder();
    struct lab_stream stream = small_stream(folder, plain);
    struct known known = known_of(&stream);
    struct frame frames[FRAMES_MAX];
    size_t count = frames_of(&stream, frames), accepted_elsewhere = 0;
    for (size_t i = 0; i < count; i++)
        for (size_t at = 0; at < frames[i].bytes.size; at++)
            for (unsigned bit = 1; bit < 256; bit <<= 3) {
                uint8_t *byte = stream.bytes.data + (frames[i].bytes.data - stream.bytes.data) + at;
                bool accepted;
                *byte ^= (uint8_t)bit;
                bool same = passes_as(&stream, tc_buf_span(&stream.bytes), &known, &accepted);
                *byte ^= (uint8_t)bit;
                bool light_name = frames[i].kind == TC_WIRE_TAG &&
                                  at >= TC_WIRE_HEADER_SIZE + 1 + TC_SHA1_SIZE + 4;
                if (same && !light_name) fail_msg("frame %zu, byte %zu: not seen", i, at);
                /* The commit is the second frame. A plain source has no id to miss. */
                accepted_elsewhere += accepted && i != 1 && !light_name && !plain;
            }
    assert_int_equal(accepted_elsewhere, 0);
    lab_stream_free(&stream);
    lab_remove(folder);
}

static void put(struct tc_buf *bytes, const struct frame *frames, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        tc_buf_add_span(bytes, frames[i].bytes);
}

static void every_lost_repeated_or_swapped_frame_shows(void **state)
{
    bool plain = *state != NULL;
    char *folder = lab_folder();
    struct lab_stream stream = small_stream(folder, plain);
    struct known known = known_of(&stream);
    struct frame frames[FRAMES_MAX];
    size_t count = frames_of(&stream, frames);
    TC_AUTO_BUF struct tc_buf bytes = tc_buf_new(1 << 20);
    for (size_t i = 0; i < count; i++) {
        bool accepted;
        tc_buf_reset(&bytes); /* lost */
        put(&bytes, frames, 0, i);
        put(&bytes, frames, i + 1, count);
        assert_false(passes_as(&stream, tc_buf_span(&bytes), &known, &accepted));
        if (accepted && !plain) assert_int_equal(frames[i].kind, TC_WIRE_TAG);

        tc_buf_reset(&bytes); /* repeated; what follows the end is not read */
        put(&bytes, frames, 0, i + 1);
        put(&bytes, frames, i, count);
        (void)passes_as(&stream, tc_buf_span(&bytes), &known, &accepted);
        if (accepted) assert_int_equal(frames[i].kind, TC_WIRE_SOURCE_END);

        if (i + 1 == count) continue;
        tc_buf_reset(&bytes); /* swapped */
        put(&bytes, frames, 0, i);
        tc_buf_add_span(&bytes, frames[i + 1].bytes);
        tc_buf_add_span(&bytes, frames[i].bytes);
        put(&bytes, frames, i + 2, count);
        assert_false(passes_as(&stream, tc_buf_span(&bytes), &known, &accepted));
        assert_false(accepted);
    }
    lab_stream_free(&stream);
    lab_remove(folder);
}

static void foreign_frames_and_sizes_end_it(void **state)
{
    (void)state;
    char *folder = lab_folder();
    struct lab_stream stream = small_stream(folder, false);
    struct frame frames[FRAMES_MAX];
    size_t count = frames_of(&stream, frames);
    TC_AUTO_BUF struct tc_buf bytes = tc_buf_new(1 << 20);
    for (unsigned kind = 0; kind < 64; kind++)
        for (size_t i = 0; i < count; i++) {
            struct tc_source_received received;
            struct tc_error err = {0};
            const uint8_t header[TC_WIRE_HEADER_SIZE] = {(uint8_t)kind, 0, 0, 0, 0, 0, 0, 1};
            if (kind == TC_WIRE_SOURCE_END) continue;
            tc_buf_reset(&bytes);
            put(&bytes, frames, 0, i);
            tc_buf_add(&bytes, header, sizeof header);
            tc_buf_add_u8(&bytes, 1);
            put(&bytes, frames, i, count);
            tc_status status =
                lab_receive_only(&stream.hello, tc_buf_span(&bytes), &received, &err);
            assert_true(is_verdict(status));
        }
    /* Sizes that nobody may allocate for, or wait for. */
    static const struct {
        enum tc_object_kind kind;
        uint64_t size;
    } sizes[] = {{TC_OBJECT_COMMIT, TC_GIT_COMMIT_MAX + 1},
                 {TC_OBJECT_COMMIT, UINT64_MAX},
                 {TC_OBJECT_COMMIT, TC_FILE_SIZE_MAX}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        TC_AUTO_BUF struct tc_buf record = tc_buf_new(64);
        struct tc_source_received received;
        struct tc_error err = {0};
        const struct tc_wire_object object = {sizes[i].kind, sizes[i].size};
        tc_wire_object_encode(&object, &record);
        tc_buf_reset(&bytes);
        lab_frame(&bytes, TC_WIRE_OBJECT, tc_buf_span(&record));
        assert_int_equal(lab_receive_only(&stream.hello, tc_buf_span(&bytes), &received, &err),
                         TC_LIMIT);
    }
    lab_stream_free(&stream);
    lab_remove(folder);
}

/* --- streams made by hand --- */

static struct tc_sha1 id_of(enum tc_git_kind kind, struct tc_span bytes)
{
    struct tc_sha1 id;
    struct tc_error err = {0};
    assert_ok(tc_git_id_of(kind, bytes, &id, &err), &err);
    return id;
}

static void add_hex(struct tc_buf *buf, const struct tc_sha1 *id)
{
    for (size_t i = 0; i < sizeof id->bytes; i++)
        tc_buf_add_format(buf, "%02x", id->bytes[i]);
}

struct forgery {
    struct tc_buf bytes;
    struct tc_buf tree, commit;
    struct tc_sha1 commit_id;
};

static void forgery_free(struct forgery *forgery)
{
    tc_buf_free(&forgery->bytes);
    tc_buf_free(&forgery->tree);
    tc_buf_free(&forgery->commit);
}

static void add_named(struct tc_buf *tree, const char *mode_and_name, const struct tc_sha1 *id)
{
    tc_buf_add(tree, mode_and_name, strlen(mode_and_name) + 1);
    tc_buf_add(tree, id->bytes, sizeof id->bytes);
}

static const char build_json[] = "{}";

/* A commit over this tree, and the frames of both and of build.json. */
static void begin_forgery(struct forgery *forgery, const char *more, const struct tc_sha1 *more_id)
{
    *forgery = (struct forgery){tc_buf_new(1 << 20), tc_buf_new(1 << 16), tc_buf_new(1 << 16), {{0}}};
    struct tc_span spec = tc_span_of_text(build_json);
    struct tc_sha1 blob = id_of(TC_GIT_BLOB, spec);
    add_named(&forgery->tree, "100644 build.json", &blob);
    if (more) add_named(&forgery->tree, more, more_id);
    struct tc_sha1 tree = id_of(TC_GIT_TREE, tc_buf_span(&forgery->tree));
    tc_buf_add_text(&forgery->commit, "tree ");
    add_hex(&forgery->commit, &tree);
    tc_buf_add_text(&forgery->commit, "\nauthor A <a@example.org> 1 +0000\n"
                                      "committer A <a@example.org> 1 +0000\n\nm\n");
    forgery->commit_id = id_of(TC_GIT_COMMIT, tc_buf_span(&forgery->commit));
    lab_object(&forgery->bytes, TC_OBJECT_COMMIT, tc_buf_span(&forgery->commit));
    lab_object(&forgery->bytes, TC_OBJECT_TREE, tc_buf_span(&forgery->tree));
    lab_object(&forgery->bytes, TC_OBJECT_BLOB, spec);
}

static tc_status end_forgery(struct forgery *forgery, bool git_folder, struct tc_error *err)
{
    const struct tc_wire_hello hello = {.source = TC_SOURCE_GIT,
                                        .git_folder = git_folder,
                                        .build_file = tc_span_of_text("build.json")};
    struct tc_source_received received;
    lab_frame(&forgery->bytes, TC_WIRE_SOURCE_END, (struct tc_span){0});
    tc_status status = lab_receive_only(&hello, tc_buf_span(&forgery->bytes), &received, err);
    if (status == TC_OK) tc_source_received_free(&received);
    forgery_free(forgery);
    return status;
}

static void add_tag(struct forgery *forgery, bool annotated, const char *name,
                    const struct tc_sha1 *id)
{
    TC_AUTO_BUF struct tc_buf record = tc_buf_new(1024);
    const struct tc_wire_tag tag = {annotated, *id, tc_span_of_text(name)};
    tc_wire_tag_encode(&tag, &record);
    lab_frame(&forgery->bytes, TC_WIRE_TAG, tc_buf_span(&record));
}

static void add_annotated(struct forgery *forgery, const char *ref, const char *type,
                          const char *name, const struct tc_sha1 *object)
{
    TC_AUTO_BUF struct tc_buf text = tc_buf_new(4096);
    tc_buf_add_text(&text, "object ");
    add_hex(&text, object);
    tc_buf_add_format(&text, "\ntype %s\ntag %s\ntagger A <a@example.org> 1 +0000\n\nm\n", type, name);
    struct tc_sha1 id = id_of(TC_GIT_TAG, tc_buf_span(&text));
    add_tag(forgery, true, ref, &id);
    lab_object(&forgery->bytes, TC_OBJECT_TAG, tc_buf_span(&text));
}

static void invented_tags_are_refused(void **state)
{
    (void)state;
    struct forgery forgery;
    struct tc_error err = {0};
    struct tc_sha1 other = {{1, 2, 3}};

    begin_forgery(&forgery, NULL, NULL);
    add_tag(&forgery, false, "v1", &forgery.commit_id);
    add_annotated(&forgery, "v2", "commit", "v2", &forgery.commit_id);
    assert_ok(end_forgery(&forgery, true, &err), &err);

    begin_forgery(&forgery, NULL, NULL);
    add_tag(&forgery, false, "v1", &forgery.commit_id);
    assert_int_equal(end_forgery(&forgery, false, &err), TC_MALFORMED);

    begin_forgery(&forgery, NULL, NULL);
    add_tag(&forgery, false, "v1", &other);
    assert_int_equal(end_forgery(&forgery, true, &err), TC_REFUSED);

    begin_forgery(&forgery, NULL, NULL);
    add_annotated(&forgery, "v1", "commit", "v1", &other);
    assert_int_equal(end_forgery(&forgery, true, &err), TC_REFUSED);

    begin_forgery(&forgery, NULL, NULL);
    add_annotated(&forgery, "v1", "commit", "v2", &forgery.commit_id);
    assert_int_equal(end_forgery(&forgery, true, &err), TC_REFUSED);

    begin_forgery(&forgery, NULL, NULL);
    add_annotated(&forgery, "v1", "tag", "v1", &forgery.commit_id);
    assert_int_equal(end_forgery(&forgery, true, &err), TC_MALFORMED);

    begin_forgery(&forgery, NULL, NULL);
    add_tag(&forgery, false, "v1", &forgery.commit_id);
    add_tag(&forgery, false, "v1", &forgery.commit_id);
    assert_int_equal(end_forgery(&forgery, true, &err), TC_MALFORMED);

    static const char *const names[] = {"../../x", "a..b", "a b", "-x", "x.lock", ".x", "a//b", "x/"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        begin_forgery(&forgery, NULL, NULL);
        add_tag(&forgery, false, names[i], &forgery.commit_id);
        assert_int_equal(end_forgery(&forgery, true, &err), TC_MALFORMED);
    }
}

static void forged_objects_are_refused(void **state)
{
    (void)state;
    struct forgery forgery;
    struct tc_error err = {0};
    struct tc_span content = tc_span_of_text("evil");
    struct tc_sha1 promised = id_of(TC_GIT_BLOB, tc_span_of_text("good"));
    struct tc_sha1 same = id_of(TC_GIT_BLOB, content);

    begin_forgery(&forgery, "100644 f", &same);
    lab_object(&forgery.bytes, TC_OBJECT_BLOB, content);
    assert_ok(end_forgery(&forgery, false, &err), &err);
    /* Another file, folder, link or submodule than the tree names. */
    begin_forgery(&forgery, "100644 f", &promised);
    lab_object(&forgery.bytes, TC_OBJECT_BLOB, content);
    assert_int_equal(end_forgery(&forgery, false, &err), TC_REFUSED);
    begin_forgery(&forgery, "120000 f", &promised);
    lab_object(&forgery.bytes, TC_OBJECT_BLOB, content);
    assert_int_equal(end_forgery(&forgery, false, &err), TC_REFUSED);
    begin_forgery(&forgery, "40000 f", &promised);
    lab_object(&forgery.bytes, TC_OBJECT_TREE, (struct tc_span){0});
    assert_int_equal(end_forgery(&forgery, false, &err), TC_REFUSED);
    begin_forgery(&forgery, "160000 f", &promised);
    lab_object(&forgery.bytes, TC_OBJECT_COMMIT, tc_buf_span(&forgery.commit));
    assert_int_equal(end_forgery(&forgery, false, &err), TC_REFUSED);
    /* The right bytes as the wrong kind. */
    begin_forgery(&forgery, "100644 f", &same);
    lab_object(&forgery.bytes, TC_OBJECT_TREE, content);
    assert_int_equal(end_forgery(&forgery, false, &err), TC_MALFORMED);
    /* A submodule's own tree. */
    struct forgery inner;
    begin_forgery(&inner, NULL, NULL);
    begin_forgery(&forgery, "160000 f", &inner.commit_id);
    lab_object(&forgery.bytes, TC_OBJECT_COMMIT, tc_buf_span(&inner.commit));
    lab_object(&forgery.bytes, TC_OBJECT_TREE, tc_buf_span(&forgery.tree));
    assert_int_equal(end_forgery(&forgery, false, &err), TC_REFUSED);
    forgery_free(&inner);
    /* Names and modes that fsck refuses. */
    static const char *const names[] = {"100644 .GIT", "40000 git~1", "100664 f", "100644 a/b",
                                        "100644 ..",   "40000 build.json", "100644 build.json",
                                        "120000 .gitmodules", "040000 f", "100644 a"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        begin_forgery(&forgery, names[i], &same);
        lab_object(&forgery.bytes, TC_OBJECT_BLOB, content);
        assert_int_equal(end_forgery(&forgery, false, &err), TC_MALFORMED);
    }
}

static void lfs_lies_are_refused(void **state)
{
    (void)state;
    struct tc_error err = {0};
    /* sha256 of "hello" */
    static const char pointer[] =
        "version https://git-lfs.github.com/spec/v1\n"
        "oid sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\nsize 5\n";
    struct tc_sha1 id = id_of(TC_GIT_BLOB, tc_span_of_text(pointer));
    static const struct {
        const char *content; /* NULL: no object */
        tc_status status;
    } cases[] = {{"hello", TC_OK}, {"hellO", TC_REFUSED}, {"hello!", TC_REFUSED},
                 {"hell", TC_REFUSED}, {"", TC_REFUSED}, {NULL, TC_MALFORMED}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct forgery forgery;
        begin_forgery(&forgery, "100644 f", &id);
        lab_object(&forgery.bytes, TC_OBJECT_BLOB, tc_span_of_text(pointer));
        if (cases[i].content)
            lab_object(&forgery.bytes, TC_OBJECT_LFS, tc_span_of_text(cases[i].content));
        assert_int_equal(end_forgery(&forgery, false, &err), cases[i].status);
    }
}

/* --- plain sources --- */

struct item {
    enum tc_entry_kind kind;
    const char *path, *more; /* content or target */
    bool executable;
};

static tc_status receive_items(const struct item *items, size_t count, const char *root,
                               struct tc_sha256 *ret_digest, struct tc_error *err)
{
    const struct tc_wire_hello hello = {.source = TC_SOURCE_TREE,
                                        .build_file = tc_span_of_text("build.json")};
    TC_AUTO_BUF struct tc_buf bytes = tc_buf_new(1 << 20);
    struct tc_source_received received;
    for (size_t i = 0; i < count; i++) {
        const struct item *item = &items[i];
        struct tc_entry entry = {.kind = item->kind,
                                 .executable = item->executable,
                                 .path = tc_span_of_text(item->path)};
        if (item->kind == TC_ENTRY_FILE) entry.size = strlen(item->more);
        if (item->kind == TC_ENTRY_SYMLINK) entry.target = tc_span_of_text(item->more);
        lab_entry(&bytes, &entry, item->kind == TC_ENTRY_FILE ? item->more : NULL);
    }
    lab_frame(&bytes, TC_WIRE_SOURCE_END, (struct tc_span){0});
    TC_TRY(root ? lab_receive(&hello, tc_buf_span(&bytes), root, &received, err)
                : lab_receive_only(&hello, tc_buf_span(&bytes), &received, err));
    if (ret_digest) *ret_digest = received.summary.digest;
    tc_source_received_free(&received);
    return TC_OK;
}

static void everything_is_in_the_digest(void **state)
{
    (void)state;
    static const struct item base[] = {{TC_ENTRY_FILE, "build.json", "{}", false},
                                       {TC_ENTRY_FOLDER, "e", NULL, false},
                                       {TC_ENTRY_FILE, "f", "content", false},
                                       {TC_ENTRY_SYMLINK, "l", "f", false}};
    enum { COUNT = sizeof base / sizeof *base };
    static const struct {
        size_t at;
        struct item with;
    } changes[] = {
        {0, {TC_ENTRY_FILE, "build.json", "{ }", false}}, {1, {TC_ENTRY_FOLDER, "e1", NULL, false}},
        {1, {TC_ENTRY_FILE, "e", "", false}},             {2, {TC_ENTRY_FILE, "f", "contenT", false}},
        {2, {TC_ENTRY_FILE, "f", "content", true}},       {2, {TC_ENTRY_FILE, "g", "content", false}},
        {2, {TC_ENTRY_SYMLINK, "f", "content", false}},   {3, {TC_ENTRY_SYMLINK, "l", "g", false}},
        {3, {TC_ENTRY_FILE, "l", "f", false}},            {3, {TC_ENTRY_FILE, "l/l", "f", false}},
    };
    enum { CHANGES = sizeof changes / sizeof *changes };
    struct tc_sha256 digests[CHANGES + 2];
    struct tc_error err = {0};
    assert_ok(receive_items(base, COUNT, NULL, &digests[CHANGES], &err), &err);
    assert_ok(receive_items(base, COUNT - 1, NULL, &digests[CHANGES + 1], &err), &err);
    for (size_t i = 0; i < CHANGES; i++) {
        struct item items[COUNT];
        memcpy(items, base, sizeof items);
        items[changes[i].at] = changes[i].with;
        assert_ok(receive_items(items, COUNT, NULL, &digests[i], &err), &err);
    }
    for (size_t i = 0; i < CHANGES + 2; i++)
        for (size_t j = 0; j < i; j++)
            if (memcmp(&digests[i], &digests[j], sizeof digests[i]) == 0)
                fail_msg("changes %zu and %zu have one digest", i, j);
}

/* Nothing is written outside the folder, nothing twice, nothing through a link. */
static void hostile_trees_are_refused(void **state)
{
    (void)state;
    char *outside = lab_folder();
    const struct item cases[][3] = {
        {{TC_ENTRY_SYMLINK, "a", outside, false}, {TC_ENTRY_FILE, "a/pwned", "x", false}},
        {{TC_ENTRY_FILE, "a", "x", false}, {TC_ENTRY_FILE, "a/b", "x", false}},
        {{TC_ENTRY_FOLDER, "a", NULL, false}, {TC_ENTRY_FILE, "a/b", "x", false}},
        {{TC_ENTRY_FILE, "a", "x", false}, {TC_ENTRY_FILE, "a", "x", false}},
        {{TC_ENTRY_FILE, "b", "x", false}, {TC_ENTRY_FILE, "a", "x", false}},
        {{TC_ENTRY_SYMLINK, "a", outside, false}, {TC_ENTRY_FOLDER, "a/f", NULL, false}},
        {{TC_ENTRY_SYMLINK, "a", outside, false}, {TC_ENTRY_SYMLINK, "a/l", "x", false}},
        {{TC_ENTRY_FILE, "../pwned", "x", false}, {TC_ENTRY_FILE, "z", "x", false}},
        {{TC_ENTRY_FILE, "/pwned", "x", false}, {TC_ENTRY_FILE, "z", "x", false}},
        {{TC_ENTRY_FILE, ".git/config", "x", false}, {TC_ENTRY_FILE, "z", "x", false}},
        {{TC_ENTRY_FILE, "a/.Git/config", "x", false}, {TC_ENTRY_FILE, "z", "x", false}},
        {{TC_ENTRY_SUBMODULE, "a", NULL, false}, {TC_ENTRY_FILE, "z", "x", false}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        /* In its place by order: names before "build.json" stand first. */
        struct item items[3] = {cases[i][0], cases[i][1], {TC_ENTRY_FILE, "build.json", "{}", false}};
        char *root = lab_folder();
        struct tc_error err = {0};
        if (strcmp(cases[i][1].path, "z") == 0) {
            items[1] = items[2];
            items[2] = cases[i][1];
        }
        tc_status status = receive_items(items, 3, root, NULL, &err);
        if (status != TC_REFUSED && status != TC_MALFORMED)
            fail_msg("case %zu: %s: %s", i, tc_status_name(status), err.message);
        lab_shell(outside, "test -z \"$(ls -A)\"");
        lab_remove(root);
    }
    lab_remove(outside);
}

/* The build file: captured to its cap, demanded, and no link. */
static void the_build_file_has_to_be_there(void **state)
{
    (void)state;
    struct tc_error err = {0};
    static const struct item none[] = {{TC_ENTRY_FILE, "a", "x", false}};
    static const struct item link[] = {{TC_ENTRY_SYMLINK, "build.json", "a", false}};
    static const struct item empty[] = {{TC_ENTRY_FILE, "build.json", "", false}};
    assert_int_equal(receive_items(none, 1, NULL, NULL, &err), TC_REFUSED);
    assert_int_equal(receive_items(link, 1, NULL, NULL, &err), TC_REFUSED);
    assert_int_equal(receive_items(empty, 1, NULL, NULL, &err), TC_REFUSED);
    /* Refused by its size alone, before a byte of it came. */
    const struct tc_wire_hello hello = {.source = TC_SOURCE_TREE,
                                        .build_file = tc_span_of_text("build.json")};
    TC_AUTO_BUF struct tc_buf bytes = tc_buf_new(1 << 20);
    const struct tc_entry large = {.kind = TC_ENTRY_FILE,
                                   .size = TC_BUILDSPEC_SIZE_MAX + 1,
                                   .path = tc_span_of_text("build.json")};
    struct tc_source_received received;
    lab_entry(&bytes, &large, NULL);
    assert_int_equal(lab_receive_only(&hello, tc_buf_span(&bytes), &received, &err), TC_LIMIT);
}

/* --- the host's own safety --- */

/* A repository that came from somebody else, in which git itself would run things. */
static void configured_programs_do_not_run(void **state)
{
    (void)state;
    char *folder = lab_folder(), *markers = lab_folder(), *command;
    struct tc_error err = {0};
    struct lab_stream stream;
    lab_git_project(folder);
    assert_true(asprintf(&command,
                         "printf '#!/bin/sh\\ntouch \"%s/$(basename \"$0\").$1\"; cat\\n' >.git/evil\n"
                         "chmod 755 .git/evil; evil=$PWD/.git/evil\n"
                         "echo '* filter=evil diff=evil' >.git/info/attributes\n"
                         "for hook in pre-commit post-index-change reference-transaction "
                         "fsmonitor-watchman post-checkout; do cp .git/evil .git/hooks/$hook; done\n"
                         "printf '[filter \"evil\"]\\nclean = %%s c\\nsmudge = %%s s\\nprocess = %%s p\\n"
                         "required = true\\n[diff \"evil\"]\\ntextconv = %%s t\\ncommand = %%s d\\n"
                         "[core]\\nfsmonitor = %%s\\nsshCommand = %%s ssh\\neditor = %%s\\npager = %%s\\n"
                         "askPass = %%s\\ngitProxy = %%s\\nalternateRefsCommand = %%s\\n"
                         "[credential]\\nhelper = %%s\\n[uploadpack]\\npackObjectsHook = %%s\\n"
                         "[include]\\npath = more\\n' $evil $evil $evil $evil $evil $evil $evil $evil "
                         "$evil $evil $evil $evil $evil $evil >>.git/config\n"
                         "printf '[core]\\nhooksPath = %%s\\n' $PWD/.git/hooks >.git/more\n"
                         "touch lib.c",
                         markers) > 0);
    lab_shell(folder, command);
    free(command);
    assert_ok(lab_pack(folder, false, &stream, &err), &err);
    lab_stream_free(&stream);
    lab_shell(folder, "printf x >>lib.c");
    assert_int_equal(lab_pack(folder, false, &stream, &err), TC_USAGE);
    assert_ok(lab_pack(folder, true, &stream, &err), &err);
    lab_stream_free(&stream);
    lab_shell(markers, "test -z \"$(ls -A)\"");
    /* The trap does work: git falls into it. */
    lab_shell(folder, "git status >/dev/null 2>&1 || :");
    lab_shell(markers, "test -n \"$(ls -A)\"");
    lab_remove(folder);
    lab_remove(markers);
}

int main(void)
{
    static bool plain = true;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_prefix_fails),
        {"every_prefix_fails (plain)", every_prefix_fails, NULL, NULL, &plain},
        cmocka_unit_test(every_changed_byte_shows),
        {"every_changed_byte_shows (plain)", every_changed_byte_shows, NULL, NULL, &plain},
        cmocka_unit_test(every_lost_repeated_or_swapped_frame_shows),
        {"every_lost_repeated_or_swapped_frame_shows (plain)", every_lost_repeated_or_swapped_frame_shows, NULL, NULL, &plain},
        cmocka_unit_test(foreign_frames_and_sizes_end_it),
        cmocka_unit_test(invented_tags_are_refused),
        cmocka_unit_test(forged_objects_are_refused),
        cmocka_unit_test(lfs_lies_are_refused),
        cmocka_unit_test(everything_is_in_the_digest),
        cmocka_unit_test(hostile_trees_are_refused),
        cmocka_unit_test(the_build_file_has_to_be_there),
        cmocka_unit_test(configured_programs_do_not_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
