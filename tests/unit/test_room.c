/* The closed room: what a command in it sees, and that nothing of it stays. */
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/room.h"

struct lab {
    char folder[64], work[80], packages[80];
    struct tc_room room;
};

static void make_folder(struct lab *lab, const char *name, char path[80])
{
    (void)snprintf(path, 80, "%s/%s", lab->folder, name);
    assert_int_equal(mkdir(path, 0755), 0);
}

static int set_up(void **state)
{
    struct lab *lab = calloc(1, sizeof *lab);
    struct tc_error err = {0};
    uid_t owner;
    if (!lab) return -1;
    *state = lab;
    (void)snprintf(lab->folder, sizeof lab->folder, "/var/tmp/tc-room-XXXXXX");
    if (!mkdtemp(lab->folder)) return -1;
    make_folder(lab, "work", lab->work);
    make_folder(lab, "packages", lab->packages);
    if (tc_room_owner(&owner, &err) != TC_OK) {
        (void)fprintf(stderr, "%s\n", err.message);
        return -1;
    }
    if (chown(lab->work, owner, (gid_t)-1) != 0 || chown(lab->packages, owner, (gid_t)-1) != 0)
        return -1;
    lab->room = (struct tc_room){.packages = lab->packages,
                                 .work = lab->work,
                                 .jobs = 3,
                                 .log_fd = open("/dev/null", O_WRONLY | O_CLOEXEC),
                                 .interrupt_fd = -1};
    return 0;
}

static tc_status run(const struct lab *lab, const char *script, struct tc_error *err)
{
    const char *const command[] = {"bash", "-euc", script, NULL};
    return tc_room_run(&lab->room, command, err);
}

static void expect_ok(const struct lab *lab, const char *script)
{
    struct tc_error err = {0};
    if (run(lab, script, &err) != TC_OK) fail_msg("%s: %s", script, err.message);
}

static int tear_down(void **state)
{
    struct lab *lab = *state;
    struct tc_error err = {0};
    int result = run(lab, "find /work -mindepth 1 -delete", &err) == TC_OK ? 0 : -1;
    (void)close(lab->room.log_fd);
    if (rmdir(lab->work) != 0 || rmdir(lab->packages) != 0 || rmdir(lab->folder) != 0) result = -1;
    free(lab);
    return result;
}

static void test_world(void **state)
{
    const struct lab *lab = *state;
    expect_ok(lab, "[[ $(id -u) = 0 && $$ = 1 && $(uname -n) = builder ]]");
    expect_ok(lab, "[[ $(env | grep -vE '^(_|SHLVL|PWD)=' | sort | tr '\\n' ' ') = "
                   "'HOME=/root JOBS=3 LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin "
                   "SOURCE_DATE_EPOCH=315532800 TZ=UTC0 ' ]]");
    expect_ok(lab, "[[ $(ls /proc/self/fd | wc -w) -le 4 ]]");
    expect_ok(lab, "[[ $(umask) = 0022 && ! -e /home && ! -e /source ]]");
    expect_ok(lab, "echo >/dev/null; read -r -n 1 -d '' </dev/zero || true");
}

static void test_no_network(void **state)
{
    expect_ok(*state, "[[ $(grep -c : /proc/net/dev) = 1 && -z $(tail -n +2 /proc/net/route) ]]");
}

static void test_what_is_writable(void **state)
{
    const struct lab *lab = *state;
    char path[96];
    struct stat info;
    expect_ok(lab, "echo yes >/work/file && chown 5:5 /work/file");
    (void)snprintf(path, sizeof path, "%s/file", lab->work);
    assert_int_equal(stat(path, &info), 0);
    assert_int_not_equal(info.st_uid, 5); /* nobody of this machine */
    assert_int_not_equal(info.st_uid, 0);
    expect_ok(lab, "if { echo no >/packages/file; } 2>/dev/null; then exit 1; fi");
    expect_ok(lab, "if { echo no >/usr/file; } 2>/dev/null; then exit 1; fi");
    expect_ok(lab, "if { echo no >/etc/file; } 2>/dev/null; then exit 1; fi");
}

/* What is mounted inside is not mounted outside, also where the machine's mounts are
 * shared, as systemd has them: here those of this process and its children. */
static void test_mounts_stay_inside(void **state)
{
    const struct lab *lab = *state;
    char path[96];
    if (geteuid() == 0) {
        assert_int_equal(unshare(CLONE_NEWNS), 0);
        assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
        assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_SHARED, NULL), 0);
    }
    expect_ok(lab, "mkdir /work/m && mount -t tmpfs none /work/m && touch /work/m/seen");
    (void)snprintf(path, sizeof path, "%s/m/seen", lab->work);
    assert_int_not_equal(access(path, F_OK), 0);
}

static void test_status(void **state)
{
    struct tc_error err = {0};
    assert_int_equal(run(*state, "exit 7", &err), TC_BUILD);
    assert_non_null(strstr(err.message, "status 7"));
    assert_int_equal(run(*state, "bash -c 'kill -9 $PPID; kill -9 $$'", &err), TC_BUILD);
    const char *const missing[] = {"no-such-program", NULL};
    assert_int_equal(tc_room_run(&((const struct lab *)*state)->room, missing, &err),
                     TC_UNAVAILABLE);
    struct tc_room room = ((const struct lab *)*state)->room;
    room.packages = "/no/such/folder";
    const char *const command[] = {"true", NULL};
    assert_int_equal(tc_room_run(&room, command, &err), TC_UNAVAILABLE);
    assert_non_null(strstr(err.message, "/no/such/folder"));
}

/* A root of its own: a folder in which there is nothing but what was put there. */
static void test_own_root(void **state)
{
    struct lab *lab = *state;
    struct tc_error err = {0};
    char root[96];
    expect_ok(lab, "mkdir -p /work/root/tmp && cp --parents /bin/bash /usr/bin/ls $(ldd /bin/bash "
                   "/usr/bin/ls | grep -o '/[^ :]*' | sort -u) /work/root");
    (void)snprintf(root, sizeof root, "%s/root", lab->work);
    struct tc_room room = lab->room;
    room.root = root;
    const char *const command[] = {
        "bash", "-euc",
        "[[ $(ls /) = $'bin\\ndev\\nlib\\nlib64\\npackages\\nproc\\nsys\\n"
        "tmp\\nusr\\nwork' ]]; echo >/mine; [[ -r /proc/self/stat ]]",
        NULL};
    if (tc_room_run(&room, command, &err) != TC_OK) fail_msg("%s", err.message);
}

/* What the command left running is dead before the room is left; an interruption
 * ends it at once. Each writes its end of a pipe's life into /work. */
static void test_everything_dies(void **state)
{
    struct lab *lab = *state;
    struct tc_error err = {0};
    char path[96];
    int ends[2];
    (void)snprintf(path, sizeof path, "%s/fifo", lab->work);
    expect_ok(lab, "mkfifo /work/fifo");
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(fd >= 0);
    expect_ok(lab, "exec 5>/work/fifo; (trap '' TERM HUP; setsid tail -f /dev/null) & echo x >&5");
    char bytes[8];
    assert_int_equal(read(fd, bytes, sizeof bytes), 2);
    assert_int_equal(read(fd, bytes, sizeof bytes), 0); /* nobody has it open any more */

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(ends[0]);
        (void)fcntl(fd, F_SETFL, 0);
        int again = open(path, O_RDONLY | O_CLOEXEC); /* waits for the writer */
        _exit(again >= 0 && read(again, bytes, 1) == 1 && write(ends[1], "i", 1) == 1 ? 0 : 1);
    }
    lab->room.interrupt_fd = ends[0];
    tc_status status =
        run(lab, "exec 5>/work/fifo; echo x >&5; tail -f /dev/null & tail -f /dev/null", &err);
    lab->room.interrupt_fd = -1;
    assert_int_equal(status, TC_INTERRUPTED);
    int result;
    assert_int_equal(waitpid(pid, &result, 0), pid);
    assert_int_equal(result, 0);
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    while (read(fd, bytes, sizeof bytes) > 0) {
    }
    assert_int_equal(read(fd, bytes, sizeof bytes), 0);
    (void)close(fd);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_world, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_network, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_writable, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_mounts_stay_inside, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_status, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_own_root, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_everything_dies, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
