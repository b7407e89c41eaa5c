/* What an emulator says of itself when it is asked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/qemu_parts.h"

static char folder[] = "/tmp/tee-qemu-XXXXXX";
static char program[64];

/* A program in its place. */
static void put_program(const char *interpreter, const char *script)
{
    FILE *file = fopen(program, "w");
    assert_non_null(file);
    (void)fprintf(file, "%s\n%s\n", interpreter, script);
    (void)fclose(file);
    assert_int_equal(chmod(program, 0700), 0);
}

static void put(const char *script)
{
    put_program("#!/bin/sh", script);
}

static bool has_vhost(const char *path)
{
    const struct tc_qemu_asking asking = tc_qemu_asking(path, -1);
    return tc_qemu_has_vhost(&asking);
}

static void test_vhost(void **state)
{
    (void)state;
    put("[ \"$*\" = '-device vhost-vsock-device,help' ] || exit 1\n"
        "echo 'vhost-vsock-device options:'\n"
        "echo '  guest-cid=<uint64>     -  (default: 0)'\n"
        "echo '  vhostfd=<str>'");
    assert_true(has_vhost(program));
    put("echo \"Device 'vhost-vsock-device' not found\" >&2; exit 1");
    assert_false(has_vhost(program));
    put("echo \"Device 'vhost-vsock-device' not found\"; exit 1");
    assert_false(has_vhost(program));
    put("exit 0");
    assert_false(has_vhost(program));
    assert_false(has_vhost("/nowhere/qemu"));
}

/* One that does not answer, and stands between; all questions have one end of patience. */
static void test_silence(void **state)
{
    struct tc_error err = {0};
    struct tc_qemu_machines machines = {0};
    int interrupt[2];
    (void)state;
    assert_int_equal(pipe(interrupt), 0);
    put("echo microvm; sleep 1000; exit 0");
    struct tc_qemu_asking asking = tc_qemu_asking(program, interrupt[0]);
    assert_int_equal(write(interrupt[1], "i", 1), 1);
    assert_int_equal(tc_qemu_ask(&asking, &machines, &err), TC_INTERRUPTED);
    assert_false(tc_qemu_has_vhost(&asking));
    asking.interrupt_fd = -1;
    asking.until_ms = 0;
    assert_int_equal(tc_qemu_ask(&asking, &machines, &err), TC_UNAVAILABLE);
    assert_non_null(strstr(err.message, "-M help printed nothing"));
    assert_false(tc_qemu_has_vhost(&asking));
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    /* What it started is in its group, and holds the other end of the pipe. */
    char script[128], byte;
    int held[2];
    assert_int_equal(pipe(held), 0);
    (void)snprintf(script, sizeof script, "sleep 1000 > /proc/%d/fd/%d & yes", (int)getpid(),
                   held[1]);
    put(script);
    asking = tc_qemu_asking(program, -1);
    assert_int_equal(tc_qemu_ask(&asking, &machines, &err), TC_UNAVAILABLE);
    (void)close(held[1]);
    assert_int_equal(read(held[0], &byte, 1), 0);
    (void)close(held[0]);
    (void)close(interrupt[0]);
    (void)close(interrupt[1]);
}

/* It is asked and cannot answer: this is in what it said. */
static void expect_reason(const char *path, const char *text)
{
    struct tc_error err = {0};
    struct tc_qemu_machines machines = {0};
    const struct tc_qemu_asking asking = tc_qemu_asking(path, -1);
    assert_int_equal(tc_qemu_ask(&asking, &machines, &err), TC_UNAVAILABLE);
    if (!strstr(err.message, text)) fail_msg("expected '%s' in: %s", text, err.message);
    assert_false(tc_qemu_has_vhost(&asking));
}

static void test_what_cannot_be_run(void **state)
{
    struct rlimit before, few;
    (void)state;
    put_program("", "echo microvm -");
    expect_reason(program, "it said: cannot run it: Exec format error");
    put_program("#!/nowhere/sh", "echo microvm -");
    expect_reason(program, "it said: cannot run it: No such file or directory");
    expect_reason("/nowhere/qemu", "it said: cannot run it: No such file or directory");
    /* Before it has its place for what it says. */
    put("echo microvm -");
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = 64;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    expect_reason(program, "64 or above, which ulimit -n has to allow: ");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    struct tc_error err = {0};
    struct tc_qemu_machines machines = {0};
    const struct tc_qemu_asking asking = tc_qemu_asking(program, -1);
    assert_int_equal(tc_qemu_ask(&asking, &machines, &err), TC_OK);
    assert_true(machines.microvm);
}

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) return -1;
    (void)snprintf(program, sizeof program, "%s/qemu", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    (void)unlink(program);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vhost),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_what_cannot_be_run),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
