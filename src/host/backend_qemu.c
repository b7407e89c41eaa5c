/* The qemu back end: the image in a virtual machine (machine.h), its toolchain served
 * from the file beside it, and the development attester in the place of what signs.
 *
 * A QEMU that imitates an enclave (nitro-enclave) reads and measures the image itself, and
 * its NSM's document comes unsigned: the attester compares what was measured, and signs.
 * Every other QEMU gets the image's parts, in a microvm.
 *
 *   client -- fork --> attester   (a microvm has no NSM: the worker asks it, by vsock)
 *          -- fork --> the machine's processes: QEMU, vsock device, page server, ...
 *
 * What the attester says was measured is what the image's file says, as the hardware
 * would have it; QEMU is given the parts of that same file. Nothing here is believed by
 * a verifier, who has to name the development root to hear anything at all.
 *
 * The vsock device of a microvm is the kernel's (vhost-vsock) where this user may open it
 * and the emulator knows it; else, and always of a nitro-enclave, which takes no other, it is
 * our own.
 *
 * Whether the processor is the real one (KVM) is tried: the device may be there and
 * not work. A machine that ends or says nothing under it is started again, emulated. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "host/attester.h"
#include "host/backend.h"
#include "host/devattest.h"
#include "host/machine.h"
#include "host/qemu_parts.h"
#include "host/vhost.h"
#include "os/vsock.h"

enum {
    REAL_PATIENCE_MS = 30 * 1000,      /* for a guest on the real processor to connect */
    EMULATED_PATIENCE_MS = 300 * 1000, /* ... an emulated one, on a busy machine */
    STOP_PATIENCE_MS = 30 * 1000,      /* for a guest to end that was hung up on */
    CPUS_MAX = 8,
    SHOWN_SIZE = 300, /* of the console, in a message, as it is shown there */
    REASON_SIZE = 120,
};

#define FIX_KVM "sudo usermod -aG kvm $(id -un), and log in anew"

struct tc_enclave {
    struct tc_machine *machine;
    pid_t attester;
    enum tc_machine_kind kind;
    bool has_sandbox;
    const struct tc_vhost_ops *vhost;       /* NULL: our own device */
    const struct tc_backend_config *config; /* borrowed */
    struct tc_qemu_image parts;             /* for a microvm */
    char *emulator;
    int console_fd;     /* borrowed */
    off_t boot_console; /* so much of it is of the boot, which went well */
};

static void enclave_free(struct tc_enclave *enclave)
{
    tc_attester_stop(&enclave->attester);
    tc_qemu_image_done(&enclave->parts);
    free(enclave->emulator);
    free(enclave);
}

/* --- messages --- */

/* The end of what the console says, which is the guest's, as all of it: no more of it than
 * leaves room for where the rest is. */
static void add_console(const struct tc_enclave *enclave, struct tc_error *err)
{
    uint8_t text[SHOWN_SIZE];
    char shown[SHOWN_SIZE];
    off_t end = lseek(enclave->console_fd, 0, SEEK_END);
    off_t from = end - enclave->boot_console > (off_t)sizeof text ? end - (off_t)sizeof text
                                                                  : enclave->boot_console;
    ssize_t got = end > from ? pread(enclave->console_fd, text, sizeof text, from) : 0;
    (void)tc_last_words(text, got > 0 ? (size_t)got : 0, shown, sizeof shown);
    size_t used = strlen(err->message);
    (void)snprintf(err->message + used, sizeof err->message - used, "; %s%s",
                   *shown                  ? "it said last: "
                   : enclave->boot_console ? "since it booted its console says nothing"
                                           : "its console says nothing",
                   shown);
}

static void note(const struct tc_backend_config *config, const char *text)
{
    if (config->note) config->note(config->context, text);
}

/* --- start --- */

static unsigned count_cpus(const struct tc_backend_config *config)
{
    cpu_set_t set;
    if (config->cpus > 0) return config->cpus;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    int count = CPU_COUNT(&set);
    return count < 1 ? 1 : count > CPUS_MAX ? CPUS_MAX : (unsigned)count;
}

/* 0, or the number that says why it cannot be used. */
static int find_kvm(void)
{
    return access("/dev/kvm", R_OK | W_OK) == 0 ? 0 : errno;
}

static const char *say_no_kvm(int seen)
{
    return seen == EACCES ? "this user may not open /dev/kvm" : "there is no KVM (/dev/kvm)";
}

/* Whether a microvm gets the kernel's vsock device. reason: why not. */
static bool has_vhost(const struct tc_qemu_asking *asking, char *reason, size_t size)
{
    struct tc_error err = {0};
    bool offered = tc_vhost_check(&tc_vhost_kernel, &err) == TC_OK;
    bool known = offered && tc_qemu_has_vhost(asking);
    (void)snprintf(reason, size, "%.100s",
                   offered ? "the emulator has no vhost-vsock-device" : err.message);
    return known;
}

/* One try. What it started is in enclave, and the caller's to end. */
static tc_status boot(const struct tc_backend_config *config, bool kvm, struct tc_enclave *enclave,
                      int *ret_fd, struct tc_error *err)
{
    const struct tc_imagefile *image = config->image;
    const struct tc_attester_config attester = {
        .image = image, .devroot_folder = config->devroot_folder, .dialled = true};
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make a socket pair");
    TC_AUTO_CLOSE int guest = ends[0];
    TC_AUTO_CLOSE int host = ends[1];
    TC_TRY(tc_attester_start(&attester, host, &enclave->attester, err));
    tc_close_ptr(&host); /* so that nobody but the attester keeps it alive */
    const struct tc_machine_port port = {.port = TC_VSOCK_PORT_ATTESTER, .fd = guest};
    const struct tc_machine_config machine = {
        .emulator = enclave->emulator,
        .has_sandbox = enclave->has_sandbox,
        .kind = enclave->kind,
        .kvm = kvm,
        .cpus = count_cpus(config),
        .memory = tc_qemu_memory(config->memory, enclave->parts.ramdisks_size),
        .image_fd = image->eif_fd,
        .kernel_fd = enclave->parts.kernel_fd,
        .ramdisk_fd = enclave->parts.ramdisk_fd,
        .cmdline = image->content.text.cmdline,
        .pages_fd = tc_imagefile_root_file_size(image) > 0 ? image->root_fd : -1,
        .console_fd = config->console_fd,
        .echo = config->debug,
        .egress = config->egress,
        .vhost = enclave->vhost,
        .ports = &port,
        .ports_count = 1};
    TC_TRY(tc_machine_start(&machine, &enclave->machine, err));
    TC_TRY(tc_machine_await(enclave->machine, kvm ? REAL_PATIENCE_MS : EMULATED_PATIENCE_MS,
                            config->interrupt_fd, ret_fd, err));
    off_t end = lseek(config->console_fd, 0, SEEK_END);
    enclave->boot_console = end > 0 ? end : 0;
    return TC_OK;
}

/* The console is complete only when the machine has ended. */
static tc_status give_up(struct tc_enclave *enclave, tc_status status, struct tc_error *err)
{
    struct tc_error complaint = {0};
    bool ran = enclave->machine != NULL;
    tc_status ended = tc_machine_stop(TC_TAKE(enclave->machine), &complaint);
    tc_attester_stop(&enclave->attester);
    if (status == TC_INTERRUPTED || !ran) return status;
    if (ended != TC_OK) {
        size_t used = strlen(err->message);
        (void)snprintf(err->message + used, sizeof err->message - used, "; %s", complaint.message);
    }
    add_console(enclave, err);
    return status;
}

static tc_status boot_somehow(const struct tc_backend_config *config, struct tc_enclave *enclave,
                              int *ret_fd, struct tc_error *err)
{
    char text[TC_ERROR_MAX + 128];
    tc_status status;
    int no_kvm = find_kvm();
    (void)snprintf(text, sizeof text,
                   "%s%s: the processor is emulated (TCG): expect 10 to 30 times the time",
                   say_no_kvm(no_kvm), no_kvm == EACCES ? ", mend it: " FIX_KVM : "");
    if (!no_kvm) {
        status = boot(config, true, enclave, ret_fd, err);
        if (status != TC_OK) (void)give_up(enclave, status, err);
        if (status != TC_PEER) return status;
        /* Whatever it was: if it is not KVM's fault, it is said again. */
        (void)snprintf(
            text, sizeof text,
            "the processor is emulated (TCG): expect 10 to 30 times the time; with KVM %s",
            err->message);
        if (ftruncate(config->console_fd, 0) != 0 || lseek(config->console_fd, 0, SEEK_SET) != 0)
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot begin the console's log again");
        *err = (struct tc_error){0};
    }
    note(config, text);
    status = boot(config, false, enclave, ret_fd, err);
    return status == TC_OK ? TC_OK : give_up(enclave, status, err);
}

static tc_status start_parts(const struct tc_backend_config *config, struct tc_enclave *enclave,
                             int *ret_fd, struct tc_error *err)
{
    struct tc_qemu_machines machines = {0};
    char reason[REASON_SIZE];
    if (!config->image)
        return tc_fail(err, TC_USAGE,
                       "the qemu back end boots an image: name one with --image (tee-compile image "
                       "list), \"host\" is none");
    if (config->host_tools && *config->host_tools)
        return tc_fail(err, TC_USAGE, "a host tool is no part of a measured image");
    TC_TRY(tc_qemu_find(config->emulator, &enclave->emulator, err));
    const struct tc_qemu_asking asking = tc_qemu_asking(enclave->emulator, config->interrupt_fd);
    TC_TRY(tc_qemu_ask(&asking, &machines, err));
    enclave->kind = machines.nitro ? TC_MACHINE_NITRO : TC_MACHINE_MICROVM;
    if (!machines.nitro && has_vhost(&asking, reason, sizeof reason))
        enclave->vhost = &tc_vhost_kernel;
    enclave->has_sandbox = machines.sandbox;
    if (!machines.sandbox)
        note(config, "this emulator has no sandbox (-sandbox): a build that breaks out of its "
                     "machine has all that this user has");
    TC_TRY(tc_qemu_image_open(config->image, &enclave->parts, err));
    if (enclave->kind == TC_MACHINE_NITRO) { /* which only wants to know how large they are */
        tc_close_ptr(&enclave->parts.kernel_fd);
        tc_close_ptr(&enclave->parts.ramdisk_fd);
    }
    TC_TRY(tc_qemu_memory_check(tc_qemu_memory(config->memory, enclave->parts.ramdisks_size), err));
    return boot_somehow(config, enclave, ret_fd, err);
}

static tc_status start(const struct tc_backend_config *config, struct tc_enclave **ret_enclave,
                       int *ret_fd, struct tc_error *err)
{
    struct tc_enclave *enclave = calloc(1, sizeof *enclave);
    if (!enclave) return tc_fail(err, TC_SYSTEM, "out of memory");
    enclave->parts = TC_QEMU_IMAGE_NONE;
    enclave->config = config;
    enclave->console_fd = config->console_fd;
    tc_status status = start_parts(config, enclave, ret_fd, err);
    if (status == TC_OK)
        *ret_enclave = enclave;
    else
        enclave_free(enclave);
    return status;
}

/* --- stop --- */

/* The guest ends by itself when its session is over; one that does not is killed, at once
 * when the user does not want to wait. */
static tc_status stop(struct tc_enclave *enclave, struct tc_error *err)
{
    struct tc_error complaint = {0};
    tc_status status =
        tc_machine_wait(enclave->machine, STOP_PATIENCE_MS, enclave->config->interrupt_fd, err);
    tc_status ended = tc_machine_stop(enclave->machine, &complaint);
    if (status == TC_OK && ended != TC_OK) {
        *err = complaint;
        status = ended;
    }
    if (status != TC_OK) add_console(enclave, err);
    enclave_free(enclave);
    return status;
}

/* A microvm's worker has asked the attester already. */
static tc_status sign(struct tc_enclave *enclave, struct tc_span document, struct tc_buf *buf,
                      struct tc_error *err)
{
    if (enclave->kind == TC_MACHINE_MICROVM) {
        tc_buf_add_span(buf, document);
        return tc_buf_check(buf, "the document", err);
    }
    const struct tc_devattest_config attester = {.folder = enclave->config->devroot_folder,
                                                 .pcrs = enclave->config->image->pcr};
    return tc_devattest_sign(&attester, document, buf, err);
}

static void probe(const struct tc_need *need, struct tc_probe *ret_probe)
{
    struct tc_error err = {0};
    struct tc_qemu_machines machines = {0};
    struct tc_probe seen = {0};
    TC_AUTO_FREE char *path = NULL;
    tc_status status = tc_qemu_find(NULL, &path, &err);
    const struct tc_qemu_asking asking = tc_qemu_asking(path, -1);
    const char *fix = "apt-get install qemu-system-x86";
    if (status == TC_OK) {
        fix = "apt-get install --reinstall qemu-system-x86, or name another one with --emulator";
        status = tc_qemu_ask(&asking, &machines, &err);
    }
    if (status == TC_OK) {
        fix = "lower limits.memory and limits.disk in build.json, or free some memory";
        /* Its ramdisks are the most of an image. */
        status = tc_qemu_memory_check(tc_qemu_memory(need->memory, need->image_size), &err);
    }
    seen.usable = status == TC_OK;
    if (seen.usable) {
        char reason[REASON_SIZE] = "the machine of an enclave takes no other";
        bool vhost = !machines.nitro && has_vhost(&asking, reason, sizeof reason);
        int no_kvm = find_kvm();
        if (no_kvm == EACCES) (void)snprintf(seen.faster, sizeof seen.faster, FIX_KVM);
        (void)snprintf(seen.why, sizeof seen.why,
                       "%.120s, a virtual machine, %s%s, its vsock %s%s%s; no hardware attests it",
                       path, no_kvm ? "emulated, since " : "by KVM where that works",
                       no_kvm ? say_no_kvm(no_kvm) : "",
                       vhost ? "the kernel's (vhost-vsock)" : "our own (", vhost ? "" : reason,
                       vhost ? "" : ")");
    } else {
        (void)snprintf(seen.why, sizeof seen.why, "%.399s", err.message);
    }
    if (!seen.usable) (void)snprintf(seen.fix, sizeof seen.fix, "%s", fix);
    *ret_probe = seen;
}

const struct tc_backend tc_backend_qemu = {.name = "qemu",
                                           .checks_pages = true,
                                           .probe = probe,
                                           .start = start,
                                           .sign = sign,
                                           .stop = stop};
