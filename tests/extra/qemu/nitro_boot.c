#include "nitro_boot.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "host/vsockdev.h"
#include "os/process.h"

enum {
    EIF_HEADER = 548,
    EIF_COUNT_AT = 26,
    EIF_OFFSETS_AT = 28,
    EIF_SIZES_AT = 284,
    EIF_SECTION = 12
};

/* --- the image in the memory --- */

static uint64_t number(const uint8_t *bytes, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++)
        value = value << 8 | bytes[i];
    return value;
}

/* Where the last section ends. */
static uint64_t image_size(const uint8_t header[EIF_HEADER])
{
    uint64_t count = number(header + EIF_COUNT_AT, 2), end = 0;
    if (memcmp(header, ".eif", 4) != 0 || count == 0 || count > 32) return 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t at = number(header + EIF_OFFSETS_AT + 8 * i, 8) + EIF_SECTION +
                      number(header + EIF_SIZES_AT + 8 * i, 8);
        if (at > end) end = at;
    }
    return end;
}

static int take_image(const struct driver_enclave *enclave)
{
    uint8_t header[EIF_HEADER];
    if (!driver_read(enclave, DRIVER_LOAD_OFFSET, header, sizeof header)) return -1;
    uint64_t size = image_size(header);
    TC_AUTO_FREE uint8_t *bytes = size > 0 && size < enclave->memory ? malloc((size_t)size) : NULL;
    if (!bytes || !driver_read(enclave, DRIVER_LOAD_OFFSET, bytes, (size_t)size)) return -1;
    TC_AUTO_CLOSE int fd = memfd_create("image", 0);
    if (fd < 0 || write(fd, bytes, (size_t)size) != (ssize_t)size) return -1;
    return TC_TAKE_FD(fd);
}

/* --- its machine --- */

struct dialling {
    struct driver *driver;
    uint32_t cid;
};

static tc_status dial(void *context, uint32_t port, int *ret_fd, struct tc_error *err)
{
    const struct dialling *dialling = context;
    int fd = driver_dial(dialling->driver, dialling->cid, port);
    if (fd < 0) return tc_fail_errno(err, TC_PEER, errno, "nobody listens on port %u", port);
    *ret_fd = fd;
    return TC_OK;
}

static pid_t start_device(struct driver *driver, struct driver_enclave *enclave, int front,
                          int back, const int console[2])
{
    pid_t parent = getpid(), pid = fork();
    if (pid != 0) return pid;
    /* What it does not need would hide a hang-up from those who wait for one. */
    (void)close(back);
    (void)close(console[0]);
    (void)close(console[1]);
    (void)close(enclave->fd);
    (void)close(enclave->our_fd);
    struct tc_error err = {0};
    struct dialling dialling = {driver, enclave->cid};
    const struct tc_vsockdev_config config = {enclave->cid, dial, &dialling};
    if (tc_process_die_with(parent, &err) == TC_OK &&
        tc_vsockdev_serve(front, &config, &err) == TC_OK)
        _exit(EXIT_SUCCESS);
    (void)fprintf(stderr, "the double: the vsock device: %s\n", err.message);
    _exit(EXIT_FAILURE);
}

static unsigned count_cpus(const struct driver_enclave *enclave)
{
    unsigned count = 0;
    for (size_t i = 0; i < DRIVER_CPUS; i++)
        count += enclave->cpus[i];
    return count;
}

static pid_t start_emulator(const struct nitro_boot *machine, int image, int vhost, int console)
{
    char memory[32], cpus[16], path[32], chardev[48];
    struct tc_error err = {0};
    const int fds[2] = {vhost, image};
    pid_t parent = getpid(), pid = fork();
    if (pid != 0) return pid;
    (void)snprintf(memory, sizeof memory, "%lluB", (unsigned long long)machine->enclave->memory);
    (void)snprintf(cpus, sizeof cpus, "%u", count_cpus(machine->enclave));
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", TC_PROCESS_FIRST_FD + 1);
    (void)snprintf(chardev, sizeof chardev, "socket,id=c,fd=%d", TC_PROCESS_FIRST_FD);
    const char *const arguments[] = {machine->emulator,
                                     "-M",
                                     "nitro-enclave,vsock=c,id=tee-compile",
                                     "-accel",
                                     "tcg",
                                     "-m",
                                     memory,
                                     "-smp",
                                     cpus,
                                     "-kernel",
                                     path,
                                     "-append",
                                     "reboot=t",
                                     "-display",
                                     "none",
                                     "-monitor",
                                     "none",
                                     "-serial",
                                     "stdio",
                                     "-no-reboot",
                                     "-chardev",
                                     chardev,
                                     "-L",
                                     machine->firmware,
                                     NULL};
    if (tc_process_keep(fds, 2, console, &err) == TC_OK &&
        tc_process_die_with(parent, &err) == TC_OK)
        (void)execv(machine->emulator, (char *const *)(uintptr_t)arguments);
    _exit(EXIT_FAILURE);
}

static void reap(pid_t *pid)
{
    while (*pid > 0 && waitpid(*pid, NULL, 0) < 0 && errno == EINTR) {
    }
    *pid = 0;
}

/* The emulator's end is the enclave's. */
static void *watch(void *context)
{
    struct nitro_boot *machine = context;
    siginfo_t info;
    (void)waitid(P_PID, (id_t)machine->machine, &info, WEXITED | WNOWAIT);
    driver_end(machine->enclave);
    return NULL;
}

/* To the file, and to whoever looks at the debug console as far as that keeps up: as the
 * hypervisor, this waits for nobody. */
static void *keep_console(void *context)
{
    struct nitro_boot *machine = context;
    char bytes[4096];
    ssize_t got;
    while ((got = read(machine->console_in, bytes, sizeof bytes)) > 0) {
        if (machine->console_out >= 0) (void)!write(machine->console_out, bytes, (size_t)got);
        int viewer = driver_console(machine->driver, machine->enclave);
        if (viewer >= 0) (void)send(viewer, bytes, (size_t)got, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    return NULL;
}

static void boot(struct driver *driver, struct driver_enclave *enclave)
{
    struct nitro_boot *machine = driver->context;
    int ends[2], console[2];
    TC_AUTO_CLOSE int image = take_image(enclave);
    if (image < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0 ||
        pipe2(console, O_CLOEXEC) != 0) {
        (void)fputs("the double: there is no image at the load offset\n", stderr);
        driver_end(enclave);
        return;
    }
    machine->driver = driver;
    machine->enclave = enclave;
    (void)fprintf(stderr, "enclave: %llu MiB in %zu regions, %u processors, CID %u\n",
                  (unsigned long long)(enclave->memory >> 20), enclave->regions_count,
                  count_cpus(enclave), (unsigned)enclave->cid);
    machine->device = start_device(driver, enclave, ends[0], ends[1], console);
    (void)close(ends[0]);
    machine->machine = start_emulator(machine, image, ends[1], console[1]);
    (void)close(ends[1]);
    (void)close(console[1]);
    machine->console_in = console[0];
    machine->console_out =
        machine->console ? open(machine->console, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)
                         : -1;
    (void)pthread_create(&machine->keeper, NULL, keep_console, machine);
    (void)pthread_create(&machine->watcher, NULL, watch, machine);
}

static void halt(struct driver *driver, struct driver_enclave *enclave)
{
    struct nitro_boot *machine = driver->context;
    (void)enclave;
    if (machine->machine <= 0) return;
    (void)kill(machine->machine, SIGKILL);
    (void)pthread_join(machine->watcher, NULL);
    reap(&machine->machine);
    (void)pthread_join(machine->keeper, NULL);
    tc_close_ptr(&machine->console_in);
    tc_close_ptr(&machine->console_out);
    (void)kill(machine->device, SIGKILL);
    reap(&machine->device);
}

void nitro_boot_with(struct nitro_boot *boot_with, struct driver *driver)
{
    boot_with->console_in = boot_with->console_out = -1;
    driver->context = boot_with;
    driver->on_start = boot;
    driver->on_stop = halt;
}
