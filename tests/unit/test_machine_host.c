/* The launcher and what is around it: who looks on, scripts in the emulator's place, what is
 * left of a crash. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "machine_lab.h"
#include "base/text.h"
#include "host/machine.h"

/* --- who looks on --- */

static void open_terminal(int *ret_master, int *ret_fd)
{
    char name[64];
    *ret_master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(*ret_master >= 0 && grantpt(*ret_master) == 0 && unlockpt(*ret_master) == 0);
    assert_int_equal(ptsname_r(*ret_master, name, sizeof name), 0);
    *ret_fd = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(*ret_fd >= 0);
}

/* What is there to be read now, or all until everybody else has closed it; without the
 * terminal's returns. */
static void take_all(int fd, bool now, struct tc_buf *seen)
{
    uint8_t bytes[4096];
    struct pollfd more = {.fd = fd, .events = POLLIN};
    while (!now || poll(&more, 1, 0) == 1) {
        ssize_t got = read(fd, bytes, sizeof bytes);
        if (got <= 0) break;
        tc_buf_add(seen, bytes, tc_drop_returns(bytes, (size_t)got));
    }
}

/* A terminal that is read now and then: each byte is there once, in its place, or counted
 * among what is left out. */
static void test_echo_in_part(void **state)
{
    enum { LINES = 32768, SIZE = 1 << 20 };
    static const char note[] = "\n[%llu bytes are left out here]\n";
    struct tc_error err = {0};
    struct tc_machine *machine = NULL;
    struct tc_buf seen = tc_buf_new(SIZE), all = tc_buf_new(SIZE);
    char text[64];
    int master, fd, saved = dup(STDERR_FILENO);
    (void)state;
    for (unsigned i = 0; i < 2 * LINES; i++) {
        tc_buf_add_format(&all, "%07u\n", i);
        if (i + 1 == LINES) tc_buf_add_text(&all, "session: welcome\n");
    }
    struct tc_machine_config config = configure("count session count");
    config.echo = true;
    open_terminal(&master, &fd);
    (void)dup2(fd, STDERR_FILENO);
    (void)close(fd);
    tc_status status = tc_machine_start(&config, &machine, &err);
    (void)dup2(saved, STDERR_FILENO);
    (void)close(saved);
    assert_int_equal(status, TC_OK);
    int session = meet(machine);
    take_all(master, true, &seen);
    assert_int_equal(send(session, "welcome", 7, MSG_NOSIGNAL), 7);
    assert_int_equal(tc_machine_wait(machine, -1, -1, &err), TC_OK);
    assert_int_equal(tc_machine_stop(machine, &err), TC_OK);
    take_all(master, false, &seen);
    tc_buf_add_u8(&seen, 0);
    size_t at = 0, notes = 0;
    for (size_t i = 0; i + 1 < seen.size;) {
        unsigned long long dropped;
        if (sscanf((const char *)seen.data + i, note, &dropped) == 1 && seen.data[i + 1] == '[') {
            i += (size_t)snprintf(text, sizeof text, note, dropped);
            at += (size_t)dropped;
            notes++;
            continue;
        }
        assert_true(at < all.size);
        if (seen.data[i++] != all.data[at++]) fail_msg("byte %zu is another one", at - 1);
    }
    assert_true(notes > 0);
    tc_buf_free(&seen);
    tc_buf_free(&all);
    (void)close(master);
}

/* --- scripts --- */

/* Of pid; the one that is called so. */
static pid_t find_child(pid_t pid, const char *name)
{
    char path[64], seen[32];
    int child, found = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    while (found == 0 && fscanf(file, "%d", &child) == 1) {
        (void)snprintf(path, sizeof path, "/proc/%d/comm", child);
        FILE *comm = fopen(path, "re");
        if (!comm) continue;
        if (fscanf(comm, "%31s", seen) == 1 && strcmp(seen, name) == 0) found = child;
        (void)fclose(comm);
    }
    (void)fclose(file);
    assert_true(found > 0);
    return found;
}

/* A script in the emulator's place. */
static void put_wrapper(char *path, size_t size, const char *before, const char *how)
{
    FILE *file;
    (void)snprintf(path, size, "%s/wrapper", lab.folder);
    file = fopen(path, "we");
    assert_non_null(file);
    (void)fprintf(file, "#!/bin/sh\n%s\n%s '%s' \"$@\"\nexit $?\n", before, how, lab.emulator);
    assert_int_equal(fchmod(fileno(file), 0700), 0);
    assert_int_equal(fclose(file), 0);
}

static void await_words(const char *text)
{
    do {
        (void)poll(NULL, 0, 5);
        read_console();
    } while (!strstr(lab.said, text));
}

/* It stands between, and what it started ends with it, also where it ends first. */
static void test_wrapper_without_exec(void **state)
{
    struct tc_error err = {0};
    struct tc_machine *machine = NULL;
    char path[64];
    (void)state;
    struct tc_machine_config config = configure("wait");
    put_wrapper(path, sizeof path, "", "");
    config.emulator = path;
    assert_int_equal(tc_machine_start(&config, &machine, &err), TC_OK);
    await_words("waiting");
    if (tc_machine_stop(machine, &err) != TC_OK) fail_msg("%s", err.message);
    /* The wrapper alone is killed. */
    config = configure("wait");
    config.emulator = path;
    assert_int_equal(tc_machine_start(&config, &machine, &err), TC_OK);
    await_words("waiting");
    assert_int_equal(kill(find_child(getpid(), "wrapper"), SIGKILL), 0);
    assert_int_equal(tc_machine_wait(machine, -1, -1, &err), TC_PEER);
    assert_non_null(strstr(err.message, "signal 9"));
    if (tc_machine_stop(machine, &err) != TC_OK) fail_msg("%s", err.message);
    (void)unlink(path);
}

/* Out of the emulator's group nobody can be ended, and nobody is waited for either. */
static void test_console_is_held(void **state)
{
    struct tc_error err = {0};
    struct tc_machine *machine = NULL;
    char path[64], before[256];
    int pid = 0;
    (void)state;
    struct tc_machine_config config = configure("session wait");
    put(lab.pages, "");
    (void)snprintf(before, sizeof before,
                   "setsid sh -c 'echo $$ > %s; exec sleep 1000' &\nwhile ! [ -s %s ]; do :; done",
                   lab.pages, lab.pages);
    put_wrapper(path, sizeof path, before, "exec");
    config.emulator = path;
    assert_int_equal(tc_machine_start(&config, &machine, &err), TC_OK);
    (void)meet(machine);
    assert_int_equal(tc_machine_stop(machine, &err), TC_PEER);
    assert_non_null(strstr(err.message, "has outlived it and holds the console still"));
    FILE *file = fopen(lab.pages, "re");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%d", &pid), 1);
    (void)fclose(file);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    (void)unlink(path);
}

/* A guest's memory is for nobody's folder. */
static void test_no_core(void **state)
{
    struct tc_error err = {0};
    struct tc_machine *machine = NULL;
    struct rlimit before, limit;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_CORE, &before), 0);
    limit = (struct rlimit){before.rlim_max, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_CORE, &limit), 0);
    const struct tc_machine_config config = configure("core");
    assert_int_equal(tc_machine_start(&config, &machine, &err), TC_OK);
    assert_int_equal(tc_machine_wait(machine, -1, -1, &err), TC_OK);
    assert_int_equal(tc_machine_stop(machine, &err), TC_OK);
    assert_int_equal(setrlimit(RLIMIT_CORE, &before), 0);
    read_console();
    /* A sanitizer takes the last byte too. */
    if (!strstr(lab.said, "core: 0\n")) expect_said("core: 1\n");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo_in_part),
        cmocka_unit_test(test_wrapper_without_exec),
        cmocka_unit_test(test_console_is_held),
        cmocka_unit_test(test_no_core),
    };
    if (argc != 2) return 2;
    lab.emulator = argv[1];
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
