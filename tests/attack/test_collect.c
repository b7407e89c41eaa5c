/* Outputs that change after they were hashed, and a collector that lies: the
 * session must notice both. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "worker/collect.h"

enum { TOTAL_MAX = 1 << 20 };

struct fixture {
    char folder[64];
    int root;
    pid_t collector;
    int fd, host_fds[2];
    struct tc_channel channel, host;
    struct tc_statement statement;
    struct tc_buf warnings;
};

static void write_file(struct fixture *f, const char *name, const char *text)
{
    int fd = openat(f->root, name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)close(fd);
}

/* main_of: the real collector, or one of the liars below. */
static void start(struct fixture *f, int (*main_of)(int fd, int root_fd))
{
    int ends[2];
    struct tc_error err = {0};
    memset(f, 0, sizeof *f);
    (void)snprintf(f->folder, sizeof f->folder, "/tmp/tc-collect-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    f->root = open(f->folder, O_DIRECTORY | O_RDONLY);
    write_file(f, "a", "first");
    write_file(f, "b", "second");
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, f->host_fds), 0);
    f->collector = fork();
    assert_true(f->collector >= 0);
    if (f->collector == 0) {
        (void)close(ends[0]);
        _exit(main_of(ends[1], f->root));
    }
    (void)close(ends[1]);
    f->fd = ends[0];
    f->warnings = tc_buf_new(4096);
    assert_int_equal(tc_channel_init(&f->channel, f->fd, 20000, "the collector", &err), TC_OK);
    assert_int_equal(tc_channel_init(&f->host, f->host_fds[0], 20000, "the host", &err), TC_OK);
}

static void stop(struct fixture *f)
{
    char command[128];
    tc_channel_done(&f->channel);
    tc_channel_done(&f->host);
    (void)close(f->fd);
    (void)close(f->host_fds[0]);
    (void)close(f->host_fds[1]);
    (void)waitpid(f->collector, NULL, 0);
    (void)close(f->root);
    tc_statement_free(&f->statement);
    tc_buf_free(&f->warnings);
    (void)snprintf(command, sizeof command, "rm -rf -- %s", f->folder);
    assert_int_equal(system(command), 0);
}

static tc_status hash(struct fixture *f, struct tc_error *err)
{
    static const char *const patterns[] = {"*"};
    return tc_collect_hash(&f->channel, patterns, 1, TOTAL_MAX, &f->statement, &f->warnings, err);
}

static void test_outputs_of_holes(void **state)
{
    (void)state;
    struct fixture f;
    struct tc_error err = {0};
    start(&f, tc_collect_main);
    int fd = openat(f.root, "c", O_WRONLY | O_CREAT, 0644);
    assert_int_equal(ftruncate(fd, TOTAL_MAX - 5 - 6 + 1), 0);
    assert_int_equal(hash(&f, &err), TC_LIMIT);
    assert_non_null(strstr(err.message, "more bytes than limits.memory and limits.disk"));
    stop(&f);

    start(&f, tc_collect_main);
    (void)close(fd);
    fd = openat(f.root, "c", O_WRONLY | O_CREAT, 0644);
    assert_int_equal(ftruncate(fd, TOTAL_MAX - 5 - 6), 0);
    (void)close(fd);
    assert_int_equal(hash(&f, &err), TC_OK);
    stop(&f);
}

static tc_status ship(struct fixture *f, struct tc_error *err)
{
    return tc_collect_ship(&f->channel, &f->statement, &f->host, err);
}

static void test_unchanged(void **state)
{
    (void)state;
    struct fixture f;
    struct tc_error err = {0};
    start(&f, tc_collect_main);
    assert_int_equal(hash(&f, &err), TC_OK);
    assert_int_equal(f.statement.subjects_count, 2);
    assert_int_equal(ship(&f, &err), TC_OK);
    stop(&f);
}

static void change_byte(struct fixture *f)
{
    write_file(f, "b", "sec0nd");
}

static void change_size(struct fixture *f)
{
    write_file(f, "b", "second and more");
}

static void change_mode(struct fixture *f)
{
    assert_int_equal(fchmodat(f->root, "a", 0755, 0), 0);
}

static void remove_one(struct fixture *f)
{
    assert_int_equal(unlinkat(f->root, "a", 0), 0);
}

static void change_to_link(struct fixture *f)
{
    remove_one(f);
    assert_int_equal(symlinkat("/etc/passwd", f->root, "a"), 0);
}

static void change_to_fifo(struct fixture *f)
{
    remove_one(f);
    assert_int_equal(mkfifoat(f->root, "a", 0600), 0);
}

static void test_changes_after_hashing(void **state)
{
    (void)state;
    void (*const changes[])(struct fixture *) = {change_byte, change_size, change_mode, remove_one,
                                                 change_to_link, change_to_fifo};
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        struct fixture f;
        struct tc_error err = {0};
        start(&f, tc_collect_main);
        assert_int_equal(hash(&f, &err), TC_OK);
        changes[i](&f);
        if (ship(&f, &err) == TC_OK) fail_msg("change %zu went out", i);
        stop(&f);
    }
}

/* --- links out of the source tree --- */

/* The folder outside, by each kind of name that a link can have. */
static void link_out(struct fixture *f, const char *prefix, const char *rest)
{
    char target[160];
    const char *name = strcmp(prefix, "../") == 0 ? strrchr(f->folder, '/') + 1 : f->folder;
    (void)snprintf(target, sizeof target, "%s%s.out%s", prefix, name, rest);
    assert_int_equal(symlinkat(target, f->root, "link"), 0);
}

static void make_outside(struct fixture *f)
{
    char command[256];
    (void)snprintf(command, sizeof command, "mkdir %s.out && cp -p %s/a %s.out/a", f->folder,
                   f->folder, f->folder);
    assert_int_equal(system(command), 0);
}

static void remove_outside(struct fixture *f)
{
    char command[128];
    (void)snprintf(command, sizeof command, "rm -r %s.out", f->folder);
    assert_int_equal(system(command), 0);
}

static const char *const prefixes[] = {"../", "", "/proc/self/root"};

/* The same bytes and mode: only where the link leads to is wrong. */
static void test_links_out_after_hashing(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        struct fixture f;
        struct tc_error err = {0};
        start(&f, tc_collect_main);
        make_outside(&f);
        assert_int_equal(hash(&f, &err), TC_OK);
        remove_one(&f);
        link_out(&f, prefixes[i], "/a");
        assert_int_equal(renameat(f.root, "link", f.root, "a"), 0);
        if (ship(&f, &err) == TC_OK) fail_msg("a link by \"%s\" went out", prefixes[i]);
        remove_outside(&f);
        stop(&f);
    }
}

/* As a file and as a folder on the way. */
static void test_links_out(void **state)
{
    (void)state;
    static const struct {
        const char *rest, *pattern;
    } cases[] = {{"/a", "link"}, {"/a", "l*"},    {"", "link/a"},
                 {"", "link/*"}, {"", "l*/*"},    {"", "link"},
                 {"", "*/a"},    {"", "link/../link/a"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t j = 0; j < sizeof prefixes / sizeof *prefixes; j++) {
            struct fixture f;
            struct tc_error err = {0};
            start(&f, tc_collect_main);
            make_outside(&f);
            link_out(&f, prefixes[j], cases[i].rest);
            if (tc_collect_hash(&f.channel, &cases[i].pattern, 1, TOTAL_MAX, &f.statement, &f.warnings,
                                &err) == TC_OK)
                fail_msg("%s by \"%s\" is an output", cases[i].pattern, prefixes[j]);
            remove_outside(&f);
            stop(&f);
        }
}

/* --- liars: they answer without having been asked, which the session must not mind --- */

struct liar {
    struct tc_channel session;
    struct tc_error err;
};

static void output(struct liar *liar, enum tc_entry_kind kind, const char *path, uint64_t size)
{
    struct tc_entry entry = {.kind = kind,
                             .size = size,
                             .path = tc_span_of_text(path),
                             .target = tc_span_of_text("x")};
    struct tc_buf record = tc_buf_new(TC_ENTRY_MAX);
    tc_entry_encode(&entry, &record);
    (void)!tc_channel_write(&liar->session, TC_WIRE_OUTPUT, tc_buf_span(&record), &liar->err);
    tc_buf_free(&record);
}

static void data(struct liar *liar, const char *text)
{
    (void)!tc_channel_write(&liar->session, TC_WIRE_DATA, tc_span_of_text(text), &liar->err);
}

static void done(struct liar *liar)
{
    (void)!tc_channel_write(&liar->session, TC_WIRE_DONE, (struct tc_span){0}, &liar->err);
}

static int lie(int fd, void (*tell)(struct liar *liar))
{
    struct liar liar = {0};
    if (tc_channel_init(&liar.session, fd, 20000, "the session", &liar.err) != TC_OK) return 1;
    tell(&liar);
    uint8_t byte;
    while (tc_channel_read_bytes(&liar.session, &byte, 1, &liar.err) == TC_OK) {
    }
    tc_channel_done(&liar.session);
    return 0;
}

#define LIAR(name, ...)                                                                            \
    static void tell_##name(struct liar *liar) { __VA_ARGS__ }                                     \
    static int name(int fd, int root_fd)                                                           \
    {                                                                                              \
        (void)root_fd;                                                                             \
        return lie(fd, tell_##name);                                                               \
    }

LIAR(out_of_order, output(liar, TC_ENTRY_FILE, "b", 0); output(liar, TC_ENTRY_FILE, "a", 0);
     done(liar);)
LIAR(repeated, output(liar, TC_ENTRY_FILE, "a", 0); output(liar, TC_ENTRY_FILE, "a", 0); done(liar);)
LIAR(too_long, output(liar, TC_ENTRY_FILE, "a", 1); data(liar, "xy"); done(liar);)
LIAR(too_short, output(liar, TC_ENTRY_FILE, "a", 2); data(liar, "x"); done(liar);)
LIAR(escaping, output(liar, TC_ENTRY_FILE, "../a", 0); done(liar);)
LIAR(absolute, output(liar, TC_ENTRY_FILE, "/a", 0); done(liar);)
LIAR(not_utf8, output(liar, TC_ENTRY_FILE, "\xff", 0); done(liar);)
LIAR(control, output(liar, TC_ENTRY_FILE, "a\n", 0); done(liar);)
LIAR(a_link, output(liar, TC_ENTRY_SYMLINK, "a", 0); done(liar);)
LIAR(a_folder, output(liar, TC_ENTRY_FOLDER, "a", 0); done(liar);)
LIAR(nothing, done(liar);)
LIAR(other_frame, (void)!tc_channel_write(&liar->session, TC_WIRE_MEMBER, tc_span_of_text("123456789"),
                                          &liar->err);)
LIAR(data_first, data(liar, "x"); done(liar);)

static void test_liars(void **state)
{
    (void)state;
    int (*const liars[])(int, int) = {out_of_order, repeated, too_long, too_short, escaping,
                                      absolute,     not_utf8, control,  a_link,    a_folder,
                                      nothing,      other_frame, data_first};
    for (size_t i = 0; i < sizeof liars / sizeof *liars; i++) {
        struct fixture f;
        struct tc_error err = {0};
        start(&f, liars[i]);
        if (hash(&f, &err) == TC_OK) fail_msg("liar %zu was believed", i);
        stop(&f);
    }
}

int main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_unchanged),
        cmocka_unit_test(test_outputs_of_holes),
                                       cmocka_unit_test(test_changes_after_hashing),
                                       cmocka_unit_test(test_links_out_after_hashing),
                                       cmocka_unit_test(test_links_out),
                                       cmocka_unit_test(test_liars)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
