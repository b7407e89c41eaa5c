#include "monitor_lab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/pcr.h"
#include "folder.h"
#include "host/devattest.h"

/* A descriptor that reads the text. */
static int open_text(const char *text)
{
    int fd = memfd_create("image", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static void spawn_attester(struct fixture *f, int fd, int unused, bool measured)
{
    f->attester = fork();
    assert_true(f->attester >= 0);
    if (f->attester != 0) return;
    (void)close(unused);
    struct tc_error err = {0};
    struct tc_sha384 pcr;
    if (tc_pcr_unmeasured(&pcr, &err) != TC_OK) _exit(9);
    if (measured) pcr.bytes[0] ^= 1;
    struct tc_sha384 pcrs[3] = {pcr, pcr, pcr};
    struct tc_devattest_config config = {f->folder, pcrs};
    _exit(tc_devattest_serve(fd, &config, &err) == TC_OK ? 0 : 1);
}

int set_up_with(void **state, bool measured, const char *image_text)
{
    struct fixture *f = calloc(1, sizeof *f);
    (void)snprintf(f->folder, sizeof f->folder, "/tmp/tc-monitor-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    struct tc_error err = {0};
    char *pem;
    bool created;
    assert_int_equal(tc_devroot_ensure(f->folder, &pem, &created, &err), TC_OK);
    free(pem);
    int nsm[2], session[2], stages[2], recorder[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, nsm), 0);
    /* First the attester, so that it holds no end of what the monitor waits on. */
    spawn_attester(f, nsm[1], nsm[0], measured);
    (void)close(nsm[1]);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, session), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, stages), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, recorder), 0);
    f->monitor = fork();
    assert_true(f->monitor >= 0);
    if (f->monitor == 0) {
        (void)close(session[0]);
        (void)close(stages[0]);
        (void)close(recorder[0]);
        int image_fd = image_text ? open_text(image_text) : -1;
        struct tc_monitor_config config = {nsm[0], session[1], stages[1], image_fd, recorder[1]};
        _exit(tc_monitor_main(&config));
    }
    (void)close(session[1]);
    (void)close(stages[1]);
    (void)close(recorder[1]);
    f->recorder_fd = recorder[0];
    f->network = TC_NETWORK_OFFLINE;
    assert_int_equal(tc_channel_init(&f->recorder, recorder[0], 30000, "the monitor", &err), TC_OK);
    f->nsm_fd = nsm[0];
    f->stages_fd = stages[0];
    f->session_fd = session[0];
    assert_int_equal(tc_channel_init(&f->session, session[0], 30000, "the monitor", &err), TC_OK);
    *state = f;
    return 0;
}

int set_up(void **state)
{
    return set_up_with(state, false, NULL);
}

int monitor_status(struct fixture *f)
{
    int status;
    assert_int_equal(waitpid(f->monitor, &status, 0), f->monitor);
    f->monitor = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int tear_down(void **state)
{
    struct fixture *f = *state;
    tc_channel_done(&f->session);
    tc_channel_done(&f->recorder);
    (void)close(f->session_fd);
    if (f->recorder_fd >= 0) (void)close(f->recorder_fd);
    (void)close(f->stages_fd);
    (void)close(f->nsm_fd);
    if (f->monitor > 0) (void)waitpid(f->monitor, NULL, 0);
    (void)waitpid(f->attester, NULL, 0);
    (void)remove_folder(f->folder);
    free(f);
    return 0;
}

void say(struct fixture *f, uint32_t kind, bool clean, int64_t started, int64_t finished)
{
    struct tc_verdict_message message = {kind, clean, started, finished};
    assert_int_equal(send(f->stages_fd, &message, sizeof message, MSG_NOSIGNAL),
                     (ssize_t)sizeof message);
}

static char app_name[] = "app", home_setting[] = "HOME=/home/build";
static char *outputs[] = {app_name};
static char *environment[] = {home_setting};

struct tc_part_source a_source(uint8_t first)
{
    struct tc_part_source source = {.kind = TC_SOURCE_GIT, .has_commit = true, .epoch = 1};
    memset(source.digest.bytes, first, sizeof source.digest.bytes);
    memset(source.commit.bytes, first, sizeof source.commit.bytes);
    return source;
}

static struct tc_part_recipe a_recipe(void)
{
    return (struct tc_part_recipe){.build_file = (char *)(uintptr_t) "build.json",
                                   .language = (char *)(uintptr_t) "c",
                                   .command = (char *)(uintptr_t) "make",
                                   .folder = (char *)(uintptr_t) ".",
                                   .environment = environment,
                                   .environment_count = 1,
                                   .outputs = outputs,
                                   .outputs_count = 1,
                                   .limits = {60, 1 << 30, 1 << 30, 1 << 20, 100},
                                   .network = TC_NETWORK_OFFLINE};
}

tc_status bind_now(struct fixture *f, struct tc_error *err)
{
    struct tc_part_source source = a_source(7);
    struct tc_part_recipe recipe = a_recipe();
    recipe.network = f->network;
    return tc_monitor_bind(&f->session, &source, &recipe, tc_span_of_text("fresh"), err);
}

tc_status finish_now(struct fixture *f, struct tc_signed *ret, struct tc_error *err)
{
    struct tc_subject subject = {.path = (char *)(uintptr_t) "app", .executable = true, .size = 3};
    struct tc_statement statement = {.subjects = &subject, .subjects_count = 1};
    return tc_monitor_finish(&f->session, &statement, ret, err);
}

void bind_unpacked(struct fixture *f)
{
    struct tc_error err = {0};
    say(f, TC_VERDICT_UNPACKED, true, 0, 0);
    assert_int_equal(bind_now(f, &err), TC_OK);
}

void build_all(struct fixture *f)
{
    bind_unpacked(f);
    say(f, TC_VERDICT_COMMAND, true, 100, 160);
}

static void expect_refusal(struct fixture *f, tc_status status, const struct tc_error *err,
                           const char *part)
{
    assert_int_not_equal(status, TC_OK);
    if (!strstr(err->message, part)) fail_msg("\"%s\" does not say \"%s\"", err->message, part);
    assert_int_equal(monitor_status(f), 1);
}

void expect_unbound(struct fixture *f, const char *part)
{
    struct tc_error err = {0};
    expect_refusal(f, bind_now(f, &err), &err, part);
}

void expect_unsigned(struct fixture *f, const char *part)
{
    struct tc_error err = {0};
    struct tc_signed parts;
    expect_refusal(f, finish_now(f, &parts, &err), &err, part);
}
