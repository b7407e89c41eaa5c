/* The closed room: what a command in it sees, and that nothing of it stays. */
#include <fcntl.h>
#include <grp.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
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
    mode_t mask = umask(077);
    expect_ok(lab, "[[ $(id -u) = 0 && $$ = 1 && $(uname -n) = builder ]]");
    expect_ok(lab, "[[ $(env | grep -vE '^(_|SHLVL|PWD)=' | sort | tr '\\n' ' ') = "
                   "'HOME=/root JOBS=3 LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin "
                   "SOURCE_DATE_EPOCH=315532800 TZ=UTC0 ' ]]");
    expect_ok(lab, "[[ $(ls /proc/self/fd | wc -w) -le 4 ]]");
    expect_ok(lab, "[[ $(umask) = 0022 && ! -e /home && ! -e /source ]]");
    expect_ok(lab, "echo >/dev/null; read -r -n 1 -d '' </dev/zero || true");
    /* One root, of which it cannot get out by where it is. */
    expect_ok(lab, "[[ $(awk '$5 == \"/\"' /proc/self/mountinfo | wc -l) = 1 ]]");
    expect_ok(lab, "[[ $(pwd -P) = / && $(stat -c %d:%i .) = \"$(stat -c %d:%i /)\" && "
                   "$(stat -c %d:%i ..) = \"$(stat -c %d:%i /)\" ]]");
    expect_ok(lab, "[[ $(ls -d /proc/[0-9]* | wc -l) -le 4 && $(readlink /proc/1/exe) = */bash ]]");
    (void)umask(mask);
}

/* None of the caller's groups, namespaces and limits. */
static void test_nothing_inherited(void **state)
{
    static const char *const kinds[] = {"user", "mnt", "pid", "net", "ipc", "uts"};
    const gid_t group = 4242;
    char script[256], path[64], name[64];
    if (geteuid() == 0) assert_int_equal(setgroups(1, &group), 0);
    expect_ok(*state, "[[ $(awk '/^Groups:/ { print NF }' /proc/self/status) = 1 ]]");
    if (geteuid() == 0) assert_int_equal(setgroups(0, NULL), 0);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        (void)snprintf(path, sizeof path, "/proc/self/ns/%s", kinds[i]);
        ssize_t size = readlink(path, name, sizeof name - 1);
        assert_true(size > 0);
        name[size] = '\0';
        (void)snprintf(script, sizeof script, "[[ $(readlink %s) != '%s' ]]", path, name);
        expect_ok(*state, script);
    }
    expect_ok(*state, "[[ $(ulimit -H -c) = 0 && $(ulimit -H -f) -le $((32 << 20)) ]]");
    expect_ok(*state, "for folder in /tmp /dev /dev/shm /; do "
                      "(($(stat -f -c '%b * %S' $folder) <= 4 << 30)); done");
}

/* A session keyring of the room's own takes the place of the caller's. What is in the
 * caller's cannot be asked for (test_refused_calls). */
static void test_own_keyring(void **state)
{
    if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, "tc-room-caller") < 0) skip();
    expect_ok(*state, "grep -q 'keyring  *_ses' /proc/keys");
    if (geteuid() == 0) expect_ok(*state, "! grep -q tc-room-caller /proc/keys");
}

/* A caller at a terminal: what runs in the room has none, so that it cannot type there
 * and no key ends it. */
static void test_no_terminal(void **state)
{
    int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), status;
    char path[64];
    assert_true(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    assert_int_equal(ptsname_r(terminal, path, sizeof path), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct tc_error err = {0};
        bool has_one = setsid() > 0 && open(path, O_RDWR | O_CLOEXEC) >= 0 &&
                       tcgetpgrp(open("/dev/tty", O_RDWR | O_CLOEXEC)) == getpid();
        if (!has_one) _exit(2);
        if (run(*state, "[[ $(awk '{ print $7 }' /proc/self/stat) = 0 ]]; ! : </dev/tty", &err) ==
            TC_OK)
            _exit(0);
        (void)fprintf(stderr, "%s\n", err.message);
        _exit(1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    (void)close(terminal);
}

#define PYTHON(text) "python3 -c '" text "'"
/* Called with junk above the 32 bits that the kernel looks at, too. */
static void test_refused_calls(void **state)
{
    expect_ok(*state,
              PYTHON("import ctypes, errno\n"
                     "libc = ctypes.CDLL(None, use_errno=True)\n"
                     "def call(*words):\n"
                     "    if libc.syscall(*map(ctypes.c_long, words)) >= 0: return 0\n"
                     "    return ctypes.get_errno()\n"
                     "for number in 248, 249, 250, 298, 304, 321, 323, 425:\n"
                     "    assert call(number, 0, 0, 0, 0, 0) == errno.ENOSYS, number\n"
                     "for number in 41, 53:\n"
                     "    for family in range(64):\n"
                     "        for high in 0, 1 << 32:\n"
                     "            if family in (1, 2, 10, 16) and not high: continue\n"
                     "            seen = call(number, family | high, 2, 0, 0, 0)\n"
                     "            assert seen == errno.EAFNOSUPPORT, (number, family, high, seen)\n"
                     "for family in 1, 2, 10:\n"
                     "    assert call(41, family, 2, 0) == 0, family\n"));
    expect_ok(*state, "grep -q '^NoNewPrivs:[[:space:]]*1' /proc/self/status");
}

/* Not even by root of the room: the flags are locked, and nothing can be taken away
 * to see what is below. */
static void test_mounts_are_locked(void **state)
{
    const struct lab *lab = *state;
    expect_ok(lab, "for path in /packages /usr /etc; do "
                   "[[ $(awk -v p=$path '$5 == p { print $6 }' /proc/self/mountinfo) "
                   "=~ ^ro,nosuid,nodev ]]; done");
    expect_ok(lab, "for path in /work /tmp /dev /dev/shm /proc; do "
                   "[[ $(awk -v p=$path '$5 == p { print $6 }' /proc/self/mountinfo) "
                   "=~ ^rw,nosuid,nodev ]]; done");
    expect_ok(lab,
              "[[ $(awk '$5 == \"/dev/null\" { print $6 }' /proc/self/mountinfo) =~ nosuid ]]");
    expect_ok(lab, PYTHON("import ctypes\n"
                          "libc = ctypes.CDLL(None)\n"
                          "def mount(path, flags):\n"
                          "    return libc.mount(None, path, None, ctypes.c_ulong(flags), None)\n"
                          "for path in b\"/packages\", b\"/usr\", b\"/etc\":\n"
                          "    for kept in range(7):\n"
                          "        assert mount(path, 0x1020 | kept) != 0, (path, kept)\n"
                          "for path in b\"/work\", b\"/tmp\", b\"/proc\":\n"
                          "    assert mount(path, 0x1020) != 0, path\n"
                          "    assert mount(path, 0x1022) != 0, path\n"
                          "    assert mount(path, 0x1024) != 0, path\n"
                          "for path in b\"/packages\", b\"/proc\", b\"/dev/null\", b\"/dev\":\n"
                          "    assert libc.umount2(path, 2) != 0, path\n"));
    expect_ok(lab, "mkdir /work/b && mount --rbind /packages /work/b && "
                   "! mount -o remount,bind,rw /work/b && ! touch /work/b/file");
}

/* What mmdebstrap does in a root that it makes. */
static void test_own_mounts(void **state)
{
    expect_ok(*state, "mkdir /work/{proc,pts,shm,null-} && touch /work/null; "
                      "mount -t proc proc /work/proc && [[ -r /work/proc/1/stat ]]; "
                      "mount -t devpts -o newinstance,ptmxmode=0666 devpts /work/pts; "
                      "mount -t tmpfs tmpfs /work/shm; mount --bind /dev/null /work/null; "
                      "echo >/work/null; umount /work/{proc,pts,shm,null}");
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
        cmocka_unit_test_setup_teardown(test_nothing_inherited, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_own_keyring, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_terminal, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused_calls, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_mounts_are_locked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_own_mounts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_network, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_writable, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_mounts_stay_inside, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_status, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_own_root, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_everything_dies, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
