/* What an emulator says of itself when it is asked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/qemu_parts.h"

static char folder[] = "/tmp/tee-qemu-XXXXXX";
static char program[64];

/* A program in its place. */
static void put(const char *script)
{
    FILE *file = fopen(program, "w");
    assert_non_null(file);
    (void)fprintf(file, "#!/bin/sh\n%s\n", script);
    (void)fclose(file);
    assert_int_equal(chmod(program, 0700), 0);
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
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
