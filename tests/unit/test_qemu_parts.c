/* What an emulator says of itself when it is asked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
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

static void test_vhost(void **state)
{
    (void)state;
    put("[ \"$*\" = '-device vhost-vsock-device,help' ] || exit 1\n"
        "echo 'vhost-vsock-device options:'\n"
        "echo '  guest-cid=<uint64>     -  (default: 0)'\n"
        "echo '  vhostfd=<str>'");
    assert_true(tc_qemu_has_vhost(program));
    put("echo \"Device 'vhost-vsock-device' not found\" >&2; exit 1");
    assert_false(tc_qemu_has_vhost(program));
    put("echo \"Device 'vhost-vsock-device' not found\"; exit 1");
    assert_false(tc_qemu_has_vhost(program));
    put("exit 0");
    assert_false(tc_qemu_has_vhost(program));
    assert_false(tc_qemu_has_vhost("/nowhere/qemu"));
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
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
