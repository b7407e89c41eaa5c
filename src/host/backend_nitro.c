/* The nitro back end: an enclave of this instance, straight on the kernel's driver.
 *
 *   look: driver, permission, pool, huge pages -> slot -> memory, the image in it
 *   -> CID, and its ports listened on -> processors, start -> the session connects
 *
 *   client == session ==> enclave            one process: the driver wants all calls of
 *     threads: pages, network, heartbeat     an enclave from the one that made it, and
 *                                            ends the enclave with it, however it ends
 *
 * Nothing is left to clean up: the enclave, its memory and its processors go back when
 * the descriptor closes, and sockets of vsock have no names. Other enclaves, nitro-cli's
 * among them, share pool and pages by the driver's own bookkeeping. */
#include <errno.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "host/backend_nitro.h"
#include "host/nitro_serve.h"
#include "host/nitro_vm.h"

enum {
    CIDS_TRIED = 4,
    BOOT_PATIENCE_MS = 120 * 1000,
    STOP_PATIENCE_MS = 30 * 1000,
    CONSOLE_PORT = 10000, /* of the hypervisor, and the CID above it */
};

struct tc_enclave {
    struct tc_nitro_vm vm;
    struct tc_nitro_ports ports;
    struct tc_nitro_server *server;
    int console_fd;
    int session_fd;   /* the server's */
    int interrupt_fd; /* borrowed */
};

static void enclave_free(struct tc_enclave *enclave)
{
    /* The server watches the enclave's descriptor, so it goes first. */
    tc_nitro_server_stop(enclave->server);
    tc_nitro_vm_done(&enclave->vm);
    tc_nitro_ports_close(&enclave->ports);
    tc_close_ptr(&enclave->console_fd);
    free(enclave);
}

/* An enclave in debug mode lets the hypervisor show what its kernel says. */
static void open_console(struct tc_enclave *enclave, const struct tc_nitro_ops *ops,
                         const struct tc_backend_config *config)
{
    char text[64];
    uint32_t port = CONSOLE_PORT + enclave->ports.cid;
    enclave->console_fd = ops->connect(ops->context, VMADDR_CID_HYPERVISOR, port);
    if (enclave->console_fd >= 0 || !config->note) return;
    (void)snprintf(text, sizeof text, "no console of the enclave (port %u of CID 0)",
                   (unsigned)port);
    config->note(config->context, text);
}

/* The ports stand before the enclave can ask for them, so its CID is chosen here; only
 * the hypervisor knows whether another enclave has it. */
static tc_status boot(struct tc_enclave *enclave, const struct tc_nitro_ops *ops,
                      const struct tc_backend_config *config, struct tc_error *err)
{
    unsigned cpus = config->cpus ? config->cpus : TC_NITRO_CPUS_DEFAULT;
    for (int tried = 1;; tried++) {
        bool taken = false;
        TC_TRY(tc_nitro_vm_check_interrupt(&enclave->vm, err));
        TC_TRY(tc_nitro_ports_open(ops, &enclave->ports, err));
        tc_status status =
            tc_nitro_vm_start(&enclave->vm, cpus, config->debug, enclave->ports.cid, &taken, err);
        if (status == TC_OK) return TC_OK;
        tc_nitro_ports_close(&enclave->ports);
        if (!taken || tried == CIDS_TRIED) return status;
    }
}

static tc_status start_parts(const struct tc_nitro_ops *ops, const struct tc_backend_config *config,
                             struct tc_enclave *enclave, struct tc_error *err)
{
    struct tc_nitro_host host = {0};
    struct tc_probe probe;
    struct stat image;
    uint64_t memory = 0;
    if (!config->image)
        return tc_fail(err, TC_USAGE,
                       "an enclave runs an image: give --image NAME (tee-compile image list), or "
                       "--backend local for this machine's own toolchain");
    if (fstat(config->image->eif_fd, &image) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read the image");
    TC_TRY(tc_nitro_memory((uint64_t)image.st_size, config->memory, &memory, err));
    tc_nitro_look(ops, memory, config->cpus, &host, &probe);
    if (!probe.usable)
        return tc_fail(err, TC_UNAVAILABLE, "no enclave can start: %s. Mend it: %s", probe.why,
                       probe.fix);
    TC_TRY(tc_nitro_vm_create(ops, config->interrupt_fd, &enclave->vm, err));
    TC_TRY(tc_nitro_vm_fill(&enclave->vm, &host, memory, config->image->eif_fd,
                            (uint64_t)image.st_size, err));
    TC_TRY(boot(enclave, ops, config, err));
    if (config->debug) open_console(enclave, ops, config);
    /* Of a self-contained image the file system is in the EIF. */
    bool paged = tc_imagefile_root_file_size(config->image) > 0;
    struct tc_nitro_server_config server = {.ops = ops,
                                            .ports = &enclave->ports,
                                            .enclave_fd = enclave->vm.fd,
                                            .console_fd = enclave->console_fd,
                                            .root_fd = paged ? config->image->root_fd : -1,
                                            .egress = config->egress};
    TC_TRY(tc_nitro_server_start(&server, &enclave->server, err));
    return tc_nitro_server_session(enclave->server, BOOT_PATIENCE_MS, config->interrupt_fd,
                                   &enclave->session_fd, err);
}

tc_status tc_nitro_start(const struct tc_nitro_ops *ops, const struct tc_backend_config *config,
                         struct tc_enclave **ret_enclave, int *ret_fd, struct tc_error *err)
{
    struct tc_enclave *enclave = calloc(1, sizeof *enclave);
    if (!enclave) return tc_fail(err, TC_SYSTEM, "out of memory");
    enclave->vm.fd = enclave->vm.device_fd = -1;
    enclave->ports = TC_NITRO_PORTS_NONE;
    enclave->console_fd = enclave->session_fd = -1;
    enclave->interrupt_fd = config->interrupt_fd;
    tc_status status = start_parts(ops, config, enclave, err);
    if (status != TC_OK) {
        enclave_free(enclave);
        return status;
    }
    *ret_fd = enclave->session_fd;
    *ret_enclave = enclave;
    return TC_OK;
}

/* The other side, or the server for an enclave that is gone. */
static bool has_hung_up(int session_fd)
{
    struct pollfd fd = {.fd = session_fd, .events = POLLRDHUP};
    return poll(&fd, 1, 0) == 1;
}

/* The worker ends the enclave by itself when its session is over; one that does not is
 * ended with its descriptor, at once when the user does not want to wait. */
tc_status tc_nitro_stop(struct tc_enclave *enclave, struct tc_error *err)
{
    struct pollfd fds[2] = {{.fd = enclave->vm.fd},
                            {.fd = enclave->interrupt_fd, .events = POLLIN}};
    int ready;
    tc_status status = TC_OK;
    bool hung_up = has_hung_up(enclave->session_fd);
    (void)shutdown(enclave->session_fd, SHUT_RDWR);
    do
        ready = poll(fds, 2, STOP_PATIENCE_MS);
    while (ready < 0 && errno == EINTR);
    const char *problem = tc_nitro_server_problem(enclave->server);
    if (ready <= 0)
        status = tc_fail(err, TC_PEER, "the enclave did not end and was ended");
    else if (fds[0].revents == 0)
        status = tc_fail(err, TC_INTERRUPTED, "interrupted");
    else if (problem)
        status = tc_fail(err, TC_PEER, "serving the toolchain's pages: %s", problem);
    else if (hung_up)
        (void)snprintf(err->message, sizeof err->message,
                       "the enclave ended, and its device does not say why: its kernel may have "
                       "run out of memory, or have failed");
    enclave_free(enclave);
    return status;
}

static tc_status start(const struct tc_backend_config *config, struct tc_enclave **ret_enclave,
                       int *ret_fd, struct tc_error *err)
{
    return tc_nitro_start(&tc_nitro_kernel, config, ret_enclave, ret_fd, err);
}

static void probe_kernel(const struct tc_need *need, struct tc_probe *ret_probe)
{
    tc_nitro_probe(&tc_nitro_kernel, need, ret_probe);
}

const struct tc_backend tc_backend_nitro = {.name = "nitro",
                                            .hardware = true,
                                            .checks_pages = true,
                                            .probe = probe_kernel,
                                            .start = start,
                                            .stop = tc_nitro_stop};
