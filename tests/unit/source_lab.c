#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "folder.h"
#include "source_lab.h"

enum { STREAM_MAX = 64 << 20, PATIENCE_MS = 60000 };

/* libgit2 1.5 forgets the match data of a regular expression that does not match,
 * for every setting of a repository that it looks through. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libpcre2";
}

char *lab_folder(void)
{
    const char *base = getenv("TMPDIR");
    char *folder;
    assert_true(asprintf(&folder, "%s/source-XXXXXX", base && *base ? base : "/tmp") > 0);
    assert_non_null(mkdtemp(folder));
    return folder;
}

void lab_remove(char *folder)
{
    (void)remove_folder(folder);
    free(folder);
}

static void become_shell(const char *folder, const char *command)
{
    static const char *const settings[][2] = {
        {"GIT_CONFIG_NOSYSTEM", "1"},          {"GIT_CONFIG_GLOBAL", "/dev/null"},
        {"GIT_AUTHOR_NAME", "Author"},         {"GIT_AUTHOR_EMAIL", "author@example.org"},
        {"GIT_COMMITTER_NAME", "Committer"},   {"GIT_COMMITTER_EMAIL", "committer@example.org"},
        {"GIT_AUTHOR_DATE", "1700000000 +0000"}, {"GIT_COMMITTER_DATE", "1700000100 +0100"},
    };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        (void)setenv(settings[i][0], settings[i][1], 1);
    if (chdir(folder) != 0) _exit(126);
    (void)execl("/bin/sh", "sh", "-ec", command, (char *)NULL);
    _exit(127);
}

static int end_of(pid_t child)
{
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

int lab_try(const char *folder, const char *command)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) become_shell(folder, command);
    return end_of(child);
}

void lab_shell(const char *folder, const char *command)
{
    int status = lab_try(folder, command);
    if (status != 0) fail_msg("exit status %d of: %s", status, command);
}

char *lab_output(const char *folder, const char *command)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)dup2(ends[1], STDOUT_FILENO);
        become_shell(folder, command);
    }
    (void)close(ends[1]);
    struct tc_buf text = tc_buf_new(1 << 20);
    char piece[4096];
    ssize_t got;
    while ((got = read(ends[0], piece, sizeof piece)) > 0)
        tc_buf_add(&text, piece, (size_t)got);
    (void)close(ends[0]);
    if (end_of(child) != 0) fail_msg("failed: %s", command);
    char *result = tc_buf_take_text(&text);
    assert_non_null(result);
    return result;
}

void lab_git_project(const char *folder)
{
    lab_shell(folder,
              "git init -q -b main .\n"
              "printf '{\"language\":\"c\",\"input\":{\"cmd\":\"true\"},\"output\":{\"files\":[\"a\"]},"
              "\"source\":{\"git\":true}}' >build.json\n"
              "mkdir -p lib lib-2 deep/er/est\n"
              "printf one >lib/one; printf two >lib-2/two; printf c >lib.c; : >empty\n"
              "printf '#!/bin/sh\\n' >deep/er/est/run; chmod 755 deep/er/est/run\n"
              "ln -s ../lib.c deep/link; ln -s /nowhere dangling\n"
              "head -c 200000 /dev/zero | tr '\\0' x >large\n"
              "printf 'n\\303\\266t' >'n\303\266t ascii'\n"
              "git add -A; git commit -q -m first\n"
              "git tag light; git tag -a -m note v1.0\n");
}

void lab_frame(struct tc_buf *bytes, enum tc_wire_kind kind, struct tc_span payload)
{
    uint8_t header[TC_WIRE_HEADER_SIZE];
    tc_wire_header_encode(kind, (uint32_t)payload.size, header);
    tc_buf_add(bytes, header, sizeof header);
    tc_buf_add_span(bytes, payload);
}

void lab_object(struct tc_buf *bytes, enum tc_object_kind kind, struct tc_span content)
{
    struct tc_buf record = tc_buf_new(64);
    const struct tc_wire_object object = {kind, content.size};
    tc_wire_object_encode(&object, &record);
    lab_frame(bytes, TC_WIRE_OBJECT, tc_buf_span(&record));
    tc_buf_free(&record);
    if (content.size > 0) lab_frame(bytes, TC_WIRE_DATA, content);
}

void lab_entry(struct tc_buf *bytes, const struct tc_entry *entry, const char *content)
{
    struct tc_buf record = tc_buf_new(TC_ENTRY_MAX);
    tc_entry_encode(entry, &record);
    lab_frame(bytes, TC_WIRE_ENTRY, tc_buf_span(&record));
    tc_buf_free(&record);
    if (content && *content) lab_frame(bytes, TC_WIRE_DATA, tc_span_of_text(content));
}

static tc_status keep(void *context, enum tc_wire_kind kind, struct tc_span payload,
                      struct tc_error *err)
{
    struct tc_buf *bytes = context;
    lab_frame(bytes, kind, payload);
    return tc_buf_check(bytes, "the stream", err);
}

static tc_status pack_opened(struct tc_pack *pack, struct lab_stream *stream, struct tc_error *err)
{
    TC_AUTO_BUILDSPEC struct tc_buildspec spec = {0};
    TC_TRY(tc_buildspec_parse(tc_pack_build_file(pack), "build.json", &spec, err));
    const struct tc_pack_sink sink = {&stream->bytes, keep};
    stream->hello = (struct tc_wire_hello){
        .source = tc_pack_kind(pack),
        .git_folder = spec.source_git && tc_pack_kind(pack) == TC_SOURCE_GIT,
        .build_file = tc_span_of_text("build.json")};
    stream->has_commit = tc_pack_commit(pack) != NULL;
    if (stream->has_commit) stream->commit = *tc_pack_commit(pack);
    return tc_pack_send(pack, &spec, &sink, &stream->summary, err);
}

tc_status lab_pack(const char *folder, bool allow_dirty, struct lab_stream *ret_stream,
                   struct tc_error *err)
{
    const struct tc_pack_options options = {
        .folder = folder, .build_file = "build.json", .allow_dirty = allow_dirty};
    struct lab_stream stream = {.bytes = tc_buf_new(STREAM_MAX)};
    struct tc_pack *pack = NULL;
    TC_TRY(tc_pack_open(&options, &pack, err));
    tc_status status = pack_opened(pack, &stream, err);
    tc_pack_close(pack);
    if (status != TC_OK) {
        lab_stream_free(&stream);
        return status;
    }
    *ret_stream = stream;
    return TC_OK;
}

void lab_stream_free(struct lab_stream *stream)
{
    tc_buf_free(&stream->bytes);
}

/* The host as a file in memory: what is not in it is a hang-up. */
static int host_of(struct tc_span bytes)
{
    int fd = memfd_create("host", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes.data, bytes.size), (ssize_t)bytes.size);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static tc_status receive(const struct tc_wire_hello *hello, struct tc_span bytes, int session,
                         struct tc_source_received *ret_received, struct tc_error *err)
{
    struct tc_channel host, unpacker;
    int host_fd = host_of(bytes);
    assert_int_equal(tc_channel_init(&host, host_fd, PATIENCE_MS, "the host", err), TC_OK);
    assert_int_equal(tc_channel_init(&unpacker, session, PATIENCE_MS, "the unpacker", err), TC_OK);
    tc_status status = tc_source_receive(&host, &unpacker, hello, NULL, ret_received, err);
    tc_channel_done(&host);
    tc_channel_done(&unpacker);
    (void)close(host_fd);
    return status;
}

tc_status lab_receive(const struct tc_wire_hello *hello, struct tc_span bytes, const char *root,
                      struct tc_source_received *ret_received, struct tc_error *err)
{
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)close(ends[0]);
        (void)umask(077); /* must not matter */
        int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _exit(fd < 0 ? 99 : tc_unpack_main(ends[1], fd));
    }
    (void)close(ends[1]);
    tc_status status = receive(hello, bytes, ends[0], ret_received, err);
    (void)close(ends[0]);
    int end = end_of(child);
    if (status == TC_OK) assert_int_equal(end, 0);
    return status;
}

tc_status lab_receive_only(const struct tc_wire_hello *hello, struct tc_span bytes,
                           struct tc_source_received *ret_received, struct tc_error *err)
{
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    /* DONE waits in the socket before it is asked for; what is written to the other
     * end stays there, so the stream has to be small. */
    uint8_t done[TC_WIRE_HEADER_SIZE];
    tc_wire_header_encode(TC_WIRE_DONE, 0, done);
    assert_int_equal(write(ends[1], done, sizeof done), (ssize_t)sizeof done);
    tc_status status = receive(hello, bytes, ends[0], ret_received, err);
    (void)close(ends[0]);
    (void)close(ends[1]);
    return status;
}
