#include "machine_lab.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "os/message.h"

struct machine_lab lab = {
    .folder = "/tmp/tee-machine-XXXXXX", .image_fd = -1, .console_fd = -1, .pages_fd = -1};

void put(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    (void)fputs(text, file);
    (void)fclose(file);
}

struct tc_machine_config configure(const char *words)
{
    put(lab.image, words);
    assert_int_equal(ftruncate(lab.console_fd, 0), 0);
    assert_int_equal(lseek(lab.console_fd, 0, SEEK_SET), 0);
    return (struct tc_machine_config){.emulator = lab.emulator,
                                      .kind = TC_MACHINE_NITRO,
                                      .cpus = 2,
                                      .memory = 96 << 20,
                                      .image_fd = lab.image_fd,
                                      .kernel_fd = -1,
                                      .ramdisk_fd = -1,
                                      .pages_fd = -1,
                                      .console_fd = lab.console_fd};
}

void read_console(void)
{
    ssize_t got = pread(lab.console_fd, lab.said, sizeof lab.said - 1, 0);
    assert_true(got >= 0);
    lab.said[got] = '\0';
}

/* The stream that comes at the caller's end of a port. */
int take_stream(int dialler)
{
    struct tc_error err = {0};
    char byte;
    int fd = -1;
    assert_int_equal(tc_message_receive(dialler, &byte, 1, &fd, 1, NULL, &err), TC_OK);
    return fd;
}

/* The stream to the guest's session. */
int meet(struct tc_machine *machine)
{
    struct tc_error err = {0};
    int session = -1;
    assert_int_equal(tc_machine_await(machine, -1, -1, &session, &err), TC_OK);
    return session;
}

void expect_said(const char *text)
{
    if (!strstr(lab.said, text)) fail_msg("the console lacks '%s': %s", text, lab.said);
}

void make_egress(struct tc_egress **ret_egress)
{
    struct tc_error err = {0};
    struct tc_egress_config config = {0};
    assert_int_equal(tc_egress_new(&config, ret_egress, &err), TC_OK);
}

static int open_kernels(void *context)
{
    const struct kernel *kernel = context;
    errno = kernel->open_errno;
    return kernel->open_errno ? -1 : memfd_create("vhost-vsock", MFD_CLOEXEC);
}

static int claim_cid(void *context, int fd, uint32_t cid)
{
    struct kernel *kernel = context;
    if (kernel->taken > 0) {
        kernel->taken--;
        errno = EADDRINUSE;
        return -1;
    }
    kernel->cid = cid;
    return ftruncate(fd, 0) == 0 && dprintf(fd, "%u", (unsigned)cid) > 0 ? 0 : -1;
}

int listen_by_name(void *context, uint32_t port)
{
    const struct kernel *kernel = context;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = -1;
    int size = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "%s-port-%u",
                        kernel->prefix, (unsigned)port);
    errno = kernel->listen_errno;
    if (kernel->listen_errno == 0)
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -1;
    if (bind(fd, (const struct sockaddr *)&address,
             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)size)) == 0 &&
        listen(fd, 16) == 0)
        return fd;
    int saved = errno;
    (void)close(fd);
    errno = saved;
    return -1;
}

static int accept_by_name(void *context, int fd, uint32_t *ret_cid)
{
    struct kernel *kernel = context;
    struct sockaddr_un peer = {0};
    socklen_t size = sizeof peer;
    unsigned cid = 0;
    if (kernel->shortages > 0) {
        kernel->shortages--;
        errno = EMFILE;
        return -1;
    }
    int stream = accept4(fd, (struct sockaddr *)&peer, &size, SOCK_CLOEXEC);
    if (stream >= 0) (void)sscanf(peer.sun_path + 1 + strlen(kernel->prefix), "-from-%u-", &cid);
    *ret_cid = cid;
    return stream;
}

struct tc_machine_config configure_kernels(const char *words, struct kernel *kernel,
                                           struct tc_vhost_ops *ops)
{
    struct tc_machine_config config = configure(words);
    *kernel = (struct kernel){.cid = 0};
    (void)snprintf(kernel->prefix, sizeof kernel->prefix, "%s", lab.folder);
    assert_int_equal(setenv("FAKE_VSOCK", kernel->prefix, 1), 0);
    *ops = (struct tc_vhost_ops){kernel, open_kernels, claim_cid, listen_by_name, accept_by_name};
    config.kind = TC_MACHINE_MICROVM;
    config.kernel_fd = lab.image_fd;
    config.image_fd = -1;
    config.ramdisk_fd = lab.pages_fd;
    config.cmdline = "a=b";
    config.vhost = ops;
    return config;
}

int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(lab.folder)) return -1;
    (void)snprintf(lab.image, sizeof lab.image, "%s/image", lab.folder);
    (void)snprintf(lab.pages, sizeof lab.pages, "%s/pages", lab.folder);
    lab.image_fd = open(lab.image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    lab.pages_fd = open(lab.pages, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    lab.console_fd = memfd_create("console", MFD_CLOEXEC);
    return lab.image_fd < 0 || lab.pages_fd < 0 || lab.console_fd < 0 ? -1 : 0;
}

int remove_folder(void **state)
{
    (void)state;
    (void)close(lab.image_fd);
    (void)close(lab.pages_fd);
    (void)close(lab.console_fd);
    (void)unlink(lab.image);
    (void)unlink(lab.pages);
    return rmdir(lab.folder); /* which also says that nothing else was in it */
}
