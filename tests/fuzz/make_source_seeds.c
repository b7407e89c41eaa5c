/* Writes the seeds of fuzz_entry, fuzz_gitobj and fuzz_source_stream below the
 * corpus folder that the argument names: the streams of two small projects, and
 * the records and objects in them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "source_lab.h"

static void save(const char *corpus, const char *target, const char *name, int first,
                 struct tc_span bytes)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", corpus, target);
    (void)mkdir(path, 0755);
    (void)snprintf(path, sizeof path, "%s/%s/%s", corpus, target, name);
    FILE *file = fopen(path, "wb");
    if (!file) {
        perror(path);
        exit(1);
    }
    if (first >= 0) (void)fputc(first, file);
    (void)fwrite(bytes.data, 1, bytes.size, file);
    if (fclose(file) != 0) exit(1);
}

/* Each record, and each small object with its kind before it. */
static void save_parts(const char *corpus, struct tc_span stream)
{
    static const int places[] = {[TC_OBJECT_COMMIT] = 0, [TC_OBJECT_TREE] = 1, [TC_OBJECT_TAG] = 2};
    struct tc_wire_object object = {0};
    unsigned count = 0;
    for (size_t at = 0; at < stream.size;) {
        struct tc_wire_header header;
        struct tc_error err = {0};
        char name[32];
        if (tc_wire_header_decode(stream.data + at, &header, &err) != TC_OK) exit(1);
        struct tc_span payload = {stream.data + at + TC_WIRE_HEADER_SIZE, header.size};
        (void)snprintf(name, sizeof name, "part-%u", count++);
        if (header.kind == TC_WIRE_ENTRY) save(corpus, "entry", name, -1, payload);
        if (header.kind == TC_WIRE_OBJECT && tc_wire_object_decode(payload, &object, &err) != TC_OK)
            exit(1);
        if (header.kind == TC_WIRE_DATA &&
            (object.kind == TC_OBJECT_COMMIT || object.kind == TC_OBJECT_TREE ||
             object.kind == TC_OBJECT_TAG))
            save(corpus, "gitobj", name, places[object.kind], payload);
        at += TC_WIRE_HEADER_SIZE + header.size;
    }
}

static void save_project(const char *corpus, const char *name, const char *commands, int hello)
{
    char *folder = lab_folder();
    struct lab_stream stream;
    struct tc_error err = {0};
    lab_shell(folder, "printf '{\"language\":\"c\",\"input\":{\"cmd\":\"true\"},\"output\":{\"files\":"
                      "[\"a\"]},\"source\":{\"git\":true}}' >build.json; mkdir -p d e; echo a >d/a;"
                      "ln -s a d/l; echo '#!' >x; chmod 755 x");
    lab_shell(folder, commands);
    if (lab_pack(folder, false, &stream, &err) != TC_OK) {
        (void)fprintf(stderr, "%s\n", err.message);
        exit(1);
    }
    save(corpus, "source_stream", name, hello, tc_buf_span(&stream.bytes));
    save_parts(corpus, tc_buf_span(&stream.bytes));
    lab_stream_free(&stream);
    lab_remove(folder);
}

int main(int argc, char **argv)
{
    static const char pointer[] =
        "version https://git-lfs.github.com/spec/v1\n"
        "oid sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\nsize 5\n";
    if (argc != 2) {
        (void)fprintf(stderr, "usage: %s CORPUS\n", argv[0]);
        return 2;
    }
    save_project(argv[1], "git",
                 "git init -q; git add -A; git commit -q -m m; git tag light; git tag -a -m t v1", 2);
    save_project(argv[1], "plain", ":", 1);
    save(argv[1], "gitobj", "lfs", 3, tc_span_of_text(pointer));
    return 0;
}
