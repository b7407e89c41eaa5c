/* The toolchain as a block device whose blocks the host serves over vsock.
 *
 *   EROFS reads -> dm-verity -> /dev/nbd0 -> socket pair -> pump -> vsock -> host
 *
 * The kernel's NBD takes TCP and unix sockets only, hence the pair and the pump, a
 * process that copies bytes both ways and understands none. A second process stays
 * inside NBD_DO_IT for as long as the device lives. Both outlive nothing: when the
 * host stalls or goes, or either process ends, reads fail, and dm-verity answers
 * with a panic (core/verity.h says why never with an error).
 *
 * Nothing that the host sends is believed: the device's size is the measured one. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/nbd.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "core/nbd.h"
#include "core/verity.h"
#include "os/channel.h"
#include "os/vsock.h"
#include "worker/boot.h"
#include "worker/boot_pages.h"

enum {
    HOST_PATIENCE_MS = 10000,
    DEVICE_PATIENCE_S = 30, /* of the kernel, for one request */
    DEVICE_PATIENCE_MS = 10000,
    PUMP_SIZE = 28 * 1024, /* within what every transport takes at once */
};

/* --- handshake --- */

tc_status tc_boot_greet_pages(int fd, uint64_t expected, struct tc_error *err)
{
    uint8_t greeting[TC_NBD_GREETING_SIZE], export[TC_NBD_EXPORT_SIZE];
    uint64_t size = 0;
    struct tc_channel host = {0};
    TC_AUTO_BUF struct tc_buf choice = tc_buf_new(TC_NBD_CHOICE_SIZE);
    tc_nbd_choice_encode(&choice);
    TC_TRY(tc_buf_check(&choice, "the choice of an export", err));
    TC_TRY(tc_channel_init(&host, fd, HOST_PATIENCE_MS, "the page server", err));
    tc_status status = tc_channel_read_bytes(&host, greeting, sizeof greeting, err);
    if (status == TC_OK)
        status = tc_nbd_greeting_check((struct tc_span){greeting, sizeof greeting}, err);
    if (status == TC_OK) status = tc_channel_write_bytes(&host, tc_buf_span(&choice), err);
    if (status == TC_OK) status = tc_channel_read_bytes(&host, export, sizeof export, err);
    if (status == TC_OK)
        status = tc_nbd_export_decode((struct tc_span){export, sizeof export}, &size, err);
    tc_channel_done(&host);
    if (status == TC_OK && size < expected)
        return tc_fail(err, TC_REFUSED,
                       "the host serves a toolchain of %llu bytes; the image was made for one of %llu: "
                       "give the file that belongs to the image",
                       (unsigned long long)size, (unsigned long long)expected);
    return status;
}

/* --- pump --- */

struct flow {
    int from, to;
    uint8_t bytes[PUMP_SIZE];
    size_t start, end; /* what was read and not yet written */
};

/* False when a side has hung up. */
static bool move(struct flow *flow)
{
    ssize_t done;
    if (flow->start == flow->end) {
        done = recv(flow->from, flow->bytes, sizeof flow->bytes, MSG_DONTWAIT);
        if (done > 0) {
            flow->start = 0;
            flow->end = (size_t)done;
        }
    } else {
        done = send(flow->to, flow->bytes + flow->start, flow->end - flow->start,
                    MSG_DONTWAIT | MSG_NOSIGNAL);
        if (done > 0) flow->start += (size_t)done;
    }
    return done > 0 || (done < 0 && (errno == EAGAIN || errno == EINTR));
}

_Noreturn static void pump(int device, int host)
{
    static struct flow flows[2];
    flows[0].from = flows[1].to = device;
    flows[1].from = flows[0].to = host;
    for (;;) {
        struct pollfd fds[2] = {{.fd = device}, {.fd = host}};
        for (size_t i = 0; i < 2; i++) {
            bool full = flows[i].start < flows[i].end;
            if (full)
                fds[1 - i].events |= POLLOUT;
            else
                fds[i].events |= POLLIN;
        }
        if (poll(fds, 2, -1) < 0 && errno != EINTR) break;
        if (!move(&flows[0]) || !move(&flows[1])) break;
    }
    _exit(EXIT_FAILURE);
}

/* --- device --- */

static tc_status set_up(int device, int kernel_end, const struct tc_verity *verity,
                        struct tc_error *err)
{
    const struct {
        unsigned long request, value;
    } steps[] = {{NBD_SET_BLKSIZE, TC_VERITY_BLOCK},
                 {NBD_SET_SIZE_BLOCKS, verity->total_blocks},
                 {NBD_SET_FLAGS, TC_NBD_HAS_FLAGS | TC_NBD_READ_ONLY},
                 {NBD_SET_TIMEOUT, DEVICE_PATIENCE_S},
                 {NBD_SET_SOCK, (unsigned long)kernel_end}};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (ioctl(device, steps[i].request, steps[i].value) != 0)
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot set up the device of pages (step %zu)",
                                 i);
    return TC_OK;
}

/* The device has its size when the kernel has announced a change of it: events is
 * a socket that was opened before. */
static tc_status await_size(int device, int events, uint64_t expected, struct tc_error *err)
{
    struct pollfd fd = {.fd = events, .events = POLLIN};
    for (;;) {
        uint64_t size = 0;
        char event[4096];
        if (ioctl(device, BLKGETSIZE64, &size) != 0)
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot ask the device of pages for its size");
        if (size == expected) return TC_OK;
        int ready = poll(&fd, 1, DEVICE_PATIENCE_MS);
        if (ready < 0 && errno == EINTR) continue;
        if (ready <= 0) return tc_fail(err, TC_PEER, "the device of pages does not start");
        (void)!recv(events, event, sizeof event, MSG_DONTWAIT);
    }
}

static tc_status fork_pump(int device_end, int host, struct tc_error *err)
{
    pid_t pid = fork();
    if (pid < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot start the pump");
    if (pid == 0) {
        const int keep[2] = {device_end, host};
        for (int fd = 3; fd < 256; fd++)
            if (fd != keep[0] && fd != keep[1]) (void)close(fd);
        pump(device_end, host);
    }
    return TC_OK;
}

static tc_status fork_device(int device, struct tc_error *err)
{
    pid_t pid = fork();
    if (pid < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot start the device of pages");
    if (pid == 0) {
        (void)ioctl(device, NBD_DO_IT);
        _exit(EXIT_FAILURE);
    }
    return TC_OK;
}

tc_status tc_boot_attach_pages(const struct tc_verity *verity, uint32_t port_shift,
                               struct tc_error *err)
{
    enum tc_parent parent;
    int ends[2];
    uint64_t size = verity->total_blocks * TC_VERITY_BLOCK;
    struct sockaddr_nl all = {.nl_family = AF_NETLINK, .nl_groups = 1};
    TC_AUTO_CLOSE int host = -1;
    TC_TRY(tc_vsock_connect_out(TC_VSOCK_PORT_PAGES + port_shift, &host, &parent, err));
    TC_TRY(tc_boot_greet_pages(host, size, err));
    TC_AUTO_CLOSE int device = open(TC_BOOT_PAGES_DEVICE, O_RDWR | O_CLOEXEC);
    TC_AUTO_CLOSE int events =
        socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
    if (device < 0 || events < 0 ||
        bind(events, (const struct sockaddr *)&all, sizeof all) != 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open the device of pages");
    TC_AUTO_CLOSE int kernel_end = ends[0];
    TC_AUTO_CLOSE int device_end = ends[1];
    TC_TRY(set_up(device, kernel_end, verity, err));
    TC_TRY(fork_pump(device_end, host, err));
    /* From here on only the pump holds its two ends: their hang-up is its end. */
    tc_close_ptr(&device_end);
    tc_close_ptr(&host);
    tc_close_ptr(&kernel_end);
    TC_TRY(fork_device(device, err));
    return await_size(device, events, size, err);
}
