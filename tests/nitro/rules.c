/* nitro_rules double|kernel: what the driver answers to calls that keep its rules and to calls that
 * break one each, a line for each. A double that is as strict as the kernel prints the kernel's
 * lines (tests/extra/driver).
 *
 * Either machine has four cores of two threads, of which 1 to 3 are in the pool, and 128 free pages
 * of 2 MiB. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
/* Wants _IOR and its like, which it does not include. */
#include <linux/nitro_enclaves.h>
#include <unistd.h>

#include "nitro/driver.h"

#define MB ((uint64_t)1 << 20)
#define PIECES "/sys/module/nitro_enclaves/parameters/pieces"

enum { MAPS = 8, CPUS = 8, NODE = 0 };

struct machine {
    struct driver *driver; /* NULL: the kernel's */
    const struct tc_nitro_ops *ops;
    int device, enclave;
    struct {
        void *memory;
        size_t size;
    } maps[MAPS];
};

static void say(const char *what, int seen)
{
    (void)printf("%s: %d\n", what, seen);
}

/* 0, or the number. */
static int ask(const struct machine *machine, int fd, unsigned long request, void *argument)
{
    return machine->ops->control(machine->ops->context, fd, request, argument) < 0 ? errno : 0;
}

static int add_cpu(const struct machine *machine, unsigned id)
{
    __u32 cpu = id;
    return ask(machine, machine->enclave, NE_ADD_VCPU, &cpu);
}

static int give(const struct machine *machine, uint64_t address, uint64_t size, uint64_t flags)
{
    struct ne_user_memory_region region = {flags, size, address};
    return ask(machine, machine->enclave, NE_SET_USER_MEMORY_REGION, &region);
}

static int start(const struct machine *machine, uint64_t cid, uint64_t flags)
{
    struct ne_enclave_start_info info = {flags, cid};
    return ask(machine, machine->enclave, NE_START_ENCLAVE, &info);
}

static _Noreturn void give_up(const char *what)
{
    (void)fprintf(stderr, "nitro_rules: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

static uint64_t map(struct machine *machine, uint64_t size)
{
    const struct tc_nitro_ops *ops = machine->ops;
    void *memory = ops->map(ops->context, (size_t)size, TC_NITRO_PAGE_2M, NODE);
    if (!memory || ops->populate(ops->context, memory, (size_t)size, NODE) != 0)
        give_up("huge pages");
    size_t place = 0;
    while (machine->maps[place].memory)
        place++;
    machine->maps[place].memory = memory;
    machine->maps[place].size = (size_t)size;
    /* So that nothing else comes to lie behind it. */
    (void)mmap((uint8_t *)memory + size, 2 * MB, PROT_NONE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    return (uint64_t)(uintptr_t)memory;
}

/* Of 4 KiB each. */
static uint64_t map_ordinary(const struct machine *machine)
{
    const struct tc_nitro_ops *ops = machine->ops;
    const size_t size = (size_t)(4 * MB);
    void *memory = machine->driver ? ops->map(ops->context, size, 4096, NODE)
                                   : mmap(NULL, size, PROT_READ | PROT_WRITE,
                                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (!memory || memory == MAP_FAILED ||
        (machine->driver && ops->populate(ops->context, memory, size, NODE) != 0))
        give_up("memory");
    if (!machine->driver) (void)madvise(memory, size, MADV_NOHUGEPAGE);
    uint64_t address = (uint64_t)(uintptr_t)memory;
    return address + (2 * MB - address % (2 * MB)) % (2 * MB);
}

static void begin(struct machine *machine)
{
    const struct tc_nitro_ops *ops = machine->ops;
    __u64 slot = 0;
    machine->device = ops->open_device(ops->context);
    if (machine->device < 0) give_up("the device");
    machine->enclave = ops->control(ops->context, machine->device, NE_CREATE_VM, &slot);
    if (machine->enclave < 0) give_up("an enclave");
}

static void end(struct machine *machine)
{
    const struct tc_nitro_ops *ops = machine->ops;
    (void)ops->close(ops->context, machine->enclave);
    (void)ops->close(ops->context, machine->device);
    for (size_t i = 0; i < MAPS; i++) {
        if (!machine->maps[i].memory) continue;
        if (ops->unmap(ops->context, machine->maps[i].memory, machine->maps[i].size) != 0)
            give_up("unmap");
        machine->maps[i].memory = NULL;
    }
}

static void make_ready(struct machine *machine)
{
    if (give(machine, map(machine, 64 * MB), 64 * MB, 0) != 0 || add_cpu(machine, 0) != 0 ||
        add_cpu(machine, 0) != 0)
        give_up("an enclave that could start");
}

/* --- the rules --- */

static void try_calls(struct machine *machine)
{
    __u64 slot = 0;
    __u32 cpu = 0;
    say("a processor for the device", ask(machine, machine->device, NE_ADD_VCPU, &cpu));
    say("an enclave of an enclave", ask(machine, machine->enclave, NE_CREATE_VM, &slot));
    say("no such call", ask(machine, machine->enclave, _IO(0xAE, 0x7f), &slot));
    say("no argument", ask(machine, machine->enclave, NE_ADD_VCPU, NULL));
}

static void try_processors(struct machine *machine)
{
    __u64 slot = 0;
    say("processor 8 of 8", add_cpu(machine, CPUS));
    say("processor 1, not in the pool", add_cpu(machine, 1));
    say("processor 5", add_cpu(machine, 5));
    say("processor 5 again", add_cpu(machine, 5));
    for (size_t i = 0; i < 5; i++) {
        __u32 cpu = 0;
        say("any processor", ask(machine, machine->enclave, NE_ADD_VCPU, &cpu));
        say("  is", (int)cpu);
    }
    say("one more", add_cpu(machine, 0));
    say("an enclave without any", ask(machine, machine->device, NE_CREATE_VM, &slot));
}

static void try_load_info(struct machine *machine)
{
    struct ne_image_load_info info = {0};
    say("an image of no kind", ask(machine, machine->enclave, NE_GET_IMAGE_LOAD_INFO, &info));
    info.flags = NE_IMAGE_LOAD_MAX_FLAG_VAL;
    say("an unknown kind", ask(machine, machine->enclave, NE_GET_IMAGE_LOAD_INFO, &info));
    info.flags = NE_EIF_IMAGE;
    say("an EIF", ask(machine, machine->enclave, NE_GET_IMAGE_LOAD_INFO, &info));
    say("  belongs at", (int)info.memory_offset);
}

static void try_memory(struct machine *machine)
{
    uint64_t good = map(machine, 64 * MB);
    say("an unknown flag", give(machine, good, 64 * MB, NE_MEMORY_REGION_MAX_FLAG_VAL));
    say("1 MiB", give(machine, good, MB, 0));
    say("not aligned", give(machine, good + MB, 2 * MB, 0));
    say("no address of a program", give(machine, (uint64_t)1 << 60, 2 * MB, 0));
    say("nothing", give(machine, good, 0, 0));
    say("not there", give(machine, 2 * MB, 2 * MB, 0));
    say("over its end", give(machine, good + 62 * MB, 4 * MB, 0));
    say("32 MiB", give(machine, good, 32 * MB, 0));
    say("a part of it and more", give(machine, good + 30 * MB, 4 * MB, 0));
    say("a part of it", give(machine, good, 2 * MB, 0));
    say("the rest", give(machine, good + 32 * MB, 32 * MB, 0));
    say("pages of 4 KiB", give(machine, map_ordinary(machine), 2 * MB, 0));
}

static void set_pieces(const struct machine *machine, unsigned count)
{
    if (machine->driver) {
        machine->driver->pieces_max = count;
        return;
    }
    FILE *file = fopen(PIECES, "w");
    if (!file || fprintf(file, "%u", count) < 0 || fclose(file) != 0) give_up(PIECES);
}

static void try_pieces(struct machine *machine)
{
    say("the first of one region", give(machine, map(machine, 2 * MB), 2 * MB, 0));
    say("a second", give(machine, map(machine, 2 * MB), 2 * MB, 0));
}

static void try_start(struct machine *machine)
{
    const uint64_t cids[] = {1, 2, 3, UINT32_MAX, (uint64_t)UINT32_MAX + 1};
    say("an unknown way to start", start(machine, 0, NE_ENCLAVE_START_MAX_FLAG_VAL));
    for (size_t i = 0; i < sizeof cids / sizeof *cids; i++)
        say("no CID for an enclave", start(machine, cids[i], 0));
    say("without memory", start(machine, 20, 0));
    say("62 MiB", give(machine, map(machine, 62 * MB), 62 * MB, 0));
    say("with too little", start(machine, 20, 0));
    say("2 MiB more", give(machine, map(machine, 2 * MB), 2 * MB, 0));
    say("without processors", start(machine, 20, 0));
    say("one thread", add_cpu(machine, 0));
    say("with half a core", start(machine, 20, 0));
    say("the other", add_cpu(machine, 0));
    say("with all", start(machine, 20, 0));
}

static void try_after_start(struct machine *machine)
{
    struct ne_image_load_info info = {.flags = NE_EIF_IMAGE};
    make_ready(machine);
    uint64_t more = map(machine, 2 * MB);
    say("by any CID, to be looked into", start(machine, 0, NE_ENCLAVE_DEBUG_MODE));
    say("again", start(machine, 21, 0));
    say("a processor more", add_cpu(machine, 0));
    say("memory more", give(machine, more, 2 * MB, 0));
    say("where an image belongs", ask(machine, machine->enclave, NE_GET_IMAGE_LOAD_INFO, &info));
}

/* What another process does with the descriptor. */
static void try_child(struct machine *machine)
{
    uint64_t memory = map(machine, 2 * MB);
    (void)fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        say("memory of a child's", give(machine, memory, 2 * MB, 0));
        say("a processor of a child's", add_cpu(machine, 0));
        (void)fflush(stdout);
        _exit(EXIT_SUCCESS);
    }
    if (waitpid(pid, NULL, 0) != pid) give_up("a child");
}

static void try_all(struct machine *machine)
{
    /* What the first one has, each later one finds again. */
    void (*const tries[])(struct machine *) = {
        try_calls, try_processors,  try_load_info, try_memory,
        try_start, try_after_start, try_child,     try_processors,
    };
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
        begin(machine);
        tries[i](machine);
        end(machine);
    }
    set_pieces(machine, 1);
    begin(machine);
    try_pieces(machine);
    end(machine);
    set_pieces(machine, 2048);
}

int main(int argc, char **argv)
{
    static struct driver driver;
    struct machine machine = {.ops = &tc_nitro_kernel};
    bool is_double = argc == 2 && strcmp(argv[1], "double") == 0;
    if (!is_double && (argc != 2 || strcmp(argv[1], "kernel") != 0)) {
        (void)fprintf(stderr, "usage: nitro_rules double|kernel\n");
        return 2;
    }
    if (is_double) {
        if (!driver_init(&driver, 1, 128)) give_up("the double");
        machine.driver = &driver;
        machine.ops = &driver.ops;
    }
    try_all(&machine);
    if (is_double) driver_done(&driver);
    return EXIT_SUCCESS;
}
