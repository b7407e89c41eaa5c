/* What an enclave's PID 1 decides before anything else: whether the ramdisks are
 * whole, whether the kernel's command line is the measured one, and how much goes to
 * the host at once. The rest of the boot needs a machine of its own: tests/extra/qemu. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/nbd.h"
#include "os/channel.h"
#include "os/vsock.h"
#include "worker/boot.h"
#include "worker/boot_pages.h"

static char root[64];

static void path_of(const char *name, char out[128])
{
    (void)snprintf(out, 128, "%s%s", root, name);
}

static void put(const char *name, const char *bytes, size_t size)
{
    char path[128];
    path_of(name, path);
    (void)unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), size);
    (void)close(fd);
}

static int set_up(void **state)
{
    char folder[128];
    (void)state;
    (void)snprintf(root, sizeof root, "/tmp/test-boot.XXXXXX");
    assert_non_null(mkdtemp(root));
    path_of("/toolchain", folder);
    assert_int_equal(mkdir(folder, 0755), 0);
    put(TC_BOOT_MARK_WORKER, TC_BOOT_MARK_TEXT, strlen(TC_BOOT_MARK_TEXT));
    put(TC_BOOT_MARK_TOOLCHAIN, TC_BOOT_MARK_TEXT, strlen(TC_BOOT_MARK_TEXT));
    return 0;
}

static int tear_down(void **state)
{
    char path[128];
    (void)state;
    const char *const names[] = {TC_BOOT_MARK_WORKER, TC_BOOT_MARK_TOOLCHAIN, TC_BOOT_TEXT, "/cmdline",
                                 "/elsewhere"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        path_of(names[i], path);
        (void)unlink(path);
    }
    path_of("/toolchain", path);
    (void)rmdir(path);
    (void)rmdir(root);
    return 0;
}

static void assert_refused(const char *word)
{
    struct tc_error err = {0};
    assert_int_equal(tc_boot_check_ramdisks(root, &err), TC_UNAVAILABLE);
    assert_non_null(strstr(err.message, word));
    assert_non_null(strstr(err.message, "more memory"));
}

static void test_whole(void **state)
{
    struct tc_error err = {0};
    (void)state;
    assert_int_equal(tc_boot_check_ramdisks(root, &err), TC_OK);
}

static void test_missing(void **state)
{
    const char *const names[] = {TC_BOOT_MARK_WORKER, TC_BOOT_MARK_TOOLCHAIN};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char path[128];
        path_of(names[i], path);
        assert_int_equal(unlink(path), 0);
        assert_refused("is missing");
        put(names[i], TC_BOOT_MARK_TEXT, strlen(TC_BOOT_MARK_TEXT));
    }
}

/* A name without its bytes is what an unpacking that ran out of room leaves. */
static void test_every_other_content(void **state)
{
    static const char text[] = TC_BOOT_MARK_TEXT;
    const char *const names[] = {TC_BOOT_MARK_WORKER, TC_BOOT_MARK_TOOLCHAIN};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        for (size_t size = 0; size < sizeof text - 1; size++) {
            put(names[i], text, size);
            assert_refused("is cut off");
        }
        put(names[i], text, sizeof text); /* one more */
        assert_refused("is cut off");
        char other[sizeof text];
        memset(other, 0, sizeof other);
        put(names[i], other, sizeof text - 1);
        assert_refused("is cut off");
        put(names[i], text, sizeof text - 1);
    }
}

static void test_link(void **state)
{
    char mark[128], elsewhere[128];
    (void)state;
    path_of(TC_BOOT_MARK_TOOLCHAIN, mark);
    path_of("/elsewhere", elsewhere);
    assert_int_equal(rename(mark, elsewhere), 0);
    assert_int_equal(symlink("../elsewhere", mark), 0);
    assert_refused("is missing");
}

static void assert_text(const char *text, const char *cmdline, tc_status expected, const char *word)
{
    struct tc_error err = {0};
    struct tc_buf buf = tc_buf_new(TC_IMAGE_TEXT_MAX);
    char path[128];
    put(TC_BOOT_TEXT, text, strlen(text));
    put("/cmdline", cmdline, strlen(cmdline));
    path_of("/cmdline", path);
    assert_int_equal(tc_boot_check_text(root, path, &buf, &err), expected);
    if (word) assert_non_null(strstr(err.message, word));
    if (expected == TC_OK) assert_true(tc_span_equal(tc_buf_span(&buf), tc_span_of_text(text)));
    tc_buf_free(&buf);
}

#define TEXT                                                                                       \
    "tee-compile/image/1\nname c\n"                                                                \
    "recipe 4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e\nkernel 1\nramdisk 1\n"  \
    "cmdline console=ttyS0 panic=-1\npackages 0\n"

/* What is in the measured text runs, or nothing does. */
static void test_text(void **state)
{
    struct tc_error err = {0};
    struct tc_buf buf = tc_buf_new(TC_IMAGE_TEXT_MAX);
    (void)state;
    assert_int_equal(tc_boot_check_text(root, "/proc/cmdline", &buf, &err), TC_UNAVAILABLE);
    assert_text(TEXT, "console=ttyS0 panic=-1\n", TC_OK, NULL);
    assert_text(TEXT, "console=ttyS0 panic=-1 reboot=t virtio_mmio.device=512@0xfeb00e00:12\n", TC_OK, NULL);
    assert_text(TEXT, "panic=-1\n", TC_REFUSED, "expected 'console=ttyS0', found 'panic=-1'");
    assert_text(TEXT, "console=ttyS0\n", TC_REFUSED, "expected 'panic=-1'");
    assert_text(TEXT, "console=ttyS0 panic=-1 rdinit=/x\n", TC_REFUSED, "'rdinit=/x'");
    assert_text(TEXT "\n", "console=ttyS0 panic=-1\n", TC_MALFORMED, NULL);
    assert_text("", "console=ttyS0 panic=-1\n", TC_MALFORMED, NULL);
    tc_buf_free(&buf);
}

/* Under every other number the name /init is refused, and nothing is mounted. */
static void test_only_pid_1(void **state)
{
    (void)state;
    assert_int_equal(tc_boot_main(), 2);
}

/* --- without an NSM --- */

static enum tc_parent asked;
static uint32_t asked_port;
static unsigned times_asked;
static int attester_fd = -1; /* what is connected to; -1: nobody answers */

tc_status __wrap_tc_vsock_connect(enum tc_parent parent, uint32_t port, unsigned timeout_ms,
                                  int *ret_fd, struct tc_error *err);

tc_status __wrap_tc_vsock_connect(enum tc_parent parent, uint32_t port, unsigned timeout_ms,
                                  int *ret_fd, struct tc_error *err)
{
    (void)timeout_ms;
    asked = parent;
    asked_port = port;
    times_asked++;
    if (attester_fd < 0) return tc_fail(err, TC_PEER, "nobody answers");
    *ret_fd = attester_fd;
    return TC_OK;
}

/* Whom an enclave's parent instance could start is not asked: it is CID 3. */
static void test_attester_is_no_parent_of_an_enclave(void **state)
{
    struct tc_error err = {0};
    int fd = -1, ends[2];
    (void)state;
    if (access("/dev/nsm", F_OK) == 0) skip();
    times_asked = 0;
    assert_int_equal(tc_boot_open_nsm(16, &fd, &err), TC_PEER);
    assert_non_null(strstr(err.message, "the host has no development attester in its place"));
    assert_int_equal(times_asked, 1);
    assert_int_equal(asked, TC_PARENT_HOST);
    assert_int_equal(asked_port, TC_VSOCK_PORT_ATTESTER + 16);
    assert_int_equal(fd, -1);
    /* One that answers nothing gives no random bytes, and nothing starts without. */
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    (void)close(ends[1]);
    attester_fd = ends[0];
    assert_int_not_equal(tc_boot_open_nsm(0, &fd, &err), TC_OK);
    assert_int_equal(fd, -1);
    attester_fd = -1;
}

static void test_pieces(void **state)
{
    (void)state;
    assert_int_equal(tc_vsock_piece(TC_PARENT_NITRO), 0);
    assert_int_equal(tc_vsock_piece(TC_PARENT_HOST), 28 * 1024);
}

/* On a socket that keeps what was sent at once together. */
static void test_small_frame_in_one_piece(void **state)
{
    struct tc_error err = {0};
    struct tc_channel channel;
    static const uint8_t large[4096];
    uint8_t got[sizeof large + 16];
    int ends[2];
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
    assert_int_equal(tc_channel_init(&channel, ends[0], 1000, "a test", &err), TC_OK);
    for (size_t size = 0; size <= 2048; size += 1024) {
        assert_int_equal(tc_channel_write(&channel, TC_WIRE_FAIL, (struct tc_span){large, size}, &err),
                         TC_OK);
        assert_int_equal(recv(ends[1], got, sizeof got, 0), TC_WIRE_HEADER_SIZE + size);
    }
    assert_int_equal(
        tc_channel_write(&channel, TC_WIRE_FAIL, (struct tc_span){large, sizeof large}, &err), TC_OK);
    assert_int_equal(recv(ends[1], got, sizeof got, 0), TC_WIRE_HEADER_SIZE);
    assert_int_equal(recv(ends[1], got, sizeof got, 0), sizeof large);
    tc_channel_done(&channel);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

/* A page server whose whole side of the handshake is there before it is read. */
static tc_status greet(uint64_t served, uint64_t expected, size_t cut, struct tc_error *err)
{
    int ends[2];
    struct tc_buf said = tc_buf_new(TC_NBD_GREETING_SIZE + TC_NBD_EXPORT_SIZE);
    tc_nbd_greeting_encode(&said);
    tc_nbd_export_encode(served, &said);
    assert_true(tc_buf_ok(&said));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_int_equal(send(ends[1], said.data, said.size - cut, 0), said.size - cut);
    assert_int_equal(shutdown(ends[1], SHUT_WR), 0);
    tc_status status = tc_boot_greet_pages(ends[0], expected, err);
    (void)close(ends[0]);
    (void)close(ends[1]);
    tc_buf_free(&said);
    return status;
}

/* The host's word for the size of what it serves: less than the measured size is the
 * wrong file, and is said to be before a block of it is asked for. */
static void test_size_of_pages(void **state)
{
    const uint64_t size = 14 * 4096;
    struct tc_error err = {0};
    (void)state;
    assert_int_equal(greet(size, size, 0, &err), TC_OK);
    assert_int_equal(greet(UINT64_MAX, size, 0, &err), TC_OK); /* and no more of it is used */
    const uint64_t fewer[] = {0, 1, 4096, size - 4096, size - 1};
    for (size_t i = 0; i < sizeof fewer / sizeof *fewer; i++) {
        assert_int_equal(greet(fewer[i], size, 0, &err), TC_REFUSED);
        assert_non_null(strstr(err.message, "the image was made for one of 57344"));
    }
    for (size_t cut = 1; cut <= TC_NBD_EXPORT_SIZE; cut++)
        assert_int_equal(greet(size, size, cut, &err), TC_PEER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_missing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_every_other_content, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_link, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_text, set_up, tear_down),
        cmocka_unit_test(test_only_pid_1),
        cmocka_unit_test(test_attester_is_no_parent_of_an_enclave),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_small_frame_in_one_piece),
        cmocka_unit_test(test_size_of_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
