#include "nitro/driver.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
/* Wants _IOR and its like, which it does not include. */
#include <linux/nitro_enclaves.h>
#include <unistd.h>

#include "nitro/driver_vsock.h"

enum { PATH_SIZE = 256, PARENT_CID = 3, LAST_KNOWN_CID = 2 };

#define REGION_MIN ((uint64_t)2 << 20)
#define MEMORY_MIN ((uint64_t)64 << 20)
#define USER_MAX ((uint64_t)1 << 47) /* addresses of programs end there */

static int fail(int number)
{
    errno = number;
    return -1;
}

/* --- the machine's files --- */

static void make_parents(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(path, 0755);
        *slash = '/';
    }
}

void driver_write(const struct driver *driver, const char *path, const char *line)
{
    char place[PATH_SIZE];
    (void)snprintf(place, sizeof place, "%s%s", driver->root, path);
    if (!line) {
        (void)unlink(place);
        return;
    }
    make_parents(place);
    FILE *file = fopen(place, "w");
    if (!file) return;
    (void)fprintf(file, "%s\n", line);
    (void)fclose(file);
}

static void pages_path(unsigned node, uint64_t page, const char *what, char out[PATH_SIZE])
{
    (void)snprintf(out, PATH_SIZE, "/sys/devices/system/node/node%u/hugepages/hugepages-%llukB/%s",
                   node, (unsigned long long)(page >> 10), what);
}

static uint64_t read_free(const struct driver *driver, int node, uint64_t page)
{
    char path[PATH_SIZE], place[2 * PATH_SIZE], text[32] = "";
    pages_path((unsigned)node, page, "free_hugepages", path);
    (void)snprintf(place, sizeof place, "%s%s", driver->root, path);
    FILE *file = fopen(place, "r");
    if (!file) return 0;
    (void)!fgets(text, sizeof text, file);
    (void)fclose(file);
    return strtoull(text, NULL, 10);
}

static void write_free(const struct driver *driver, int node, uint64_t page, uint64_t count)
{
    char path[PATH_SIZE], text[32];
    pages_path((unsigned)node, page, "free_hugepages", path);
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)count);
    driver_write(driver, path, text);
}

/* --- processors --- */

static unsigned core_of(const struct driver *driver, unsigned cpu)
{
    return cpu / driver->threads;
}

static int take_core(struct driver *driver, struct driver_enclave *enclave, int core, unsigned cpu)
{
    if (core < 0)
        return fail(cpu == 0 ? NE_ERR_NO_CPUS_AVAIL_IN_POOL : NE_ERR_VCPU_NOT_IN_CPU_POOL);
    enclave->cores[core] = driver->taken[core] = true;
    return 0;
}

static int free_core(const struct driver *driver)
{
    for (unsigned i = 0; i < driver->cores; i++)
        if (driver->pool[i] && !driver->taken[i]) return (int)i;
    return -1;
}

/* The threads of a core that the enclave has begun come before another core. */
static int choose_cpu(struct driver *driver, struct driver_enclave *enclave, unsigned *ret_cpu)
{
    for (unsigned i = 0; i < driver->cores * driver->threads; i++)
        if (enclave->cores[core_of(driver, i)] && !enclave->cpus[i]) {
            *ret_cpu = i;
            return 0;
        }
    int core = free_core(driver);
    if (take_core(driver, enclave, core, 0) != 0) return -1;
    *ret_cpu = (unsigned)core * driver->threads;
    return 0;
}

static int check_cpu(struct driver *driver, struct driver_enclave *enclave, unsigned cpu)
{
    unsigned core = core_of(driver, cpu);
    if (enclave->cpus[cpu]) return fail(NE_ERR_VCPU_ALREADY_USED);
    if (enclave->cores[core]) return 0;
    bool free = driver->pool[core] && !driver->taken[core];
    return take_core(driver, enclave, free ? (int)core : -1, cpu);
}

static int add_cpu(struct driver *driver, struct driver_enclave *enclave, __u32 *argument)
{
    unsigned cpu = *argument;
    if (enclave->running) return fail(NE_ERR_NOT_IN_INIT_STATE);
    if (cpu >= driver->cores * driver->threads) return fail(NE_ERR_INVALID_VCPU);
    if ((cpu == 0 ? choose_cpu(driver, enclave, &cpu) : check_cpu(driver, enclave, cpu)) != 0)
        return -1;
    if (enclave->owner != getpid()) return fail(EIO);
    enclave->cpus[cpu] = true;
    *argument = cpu;
    return 0;
}

/* --- memory --- */

static int load_info(const struct driver_enclave *enclave, struct ne_image_load_info *info)
{
    if (enclave->running) return fail(NE_ERR_NOT_IN_INIT_STATE);
    if (info->flags == 0 || info->flags >= NE_IMAGE_LOAD_MAX_FLAG_VAL)
        return fail(NE_ERR_INVALID_FLAG_VALUE);
    info->memory_offset = DRIVER_LOAD_OFFSET;
    return 0;
}

static struct driver_map *find_map(struct driver *driver, uint64_t address)
{
    for (size_t i = 0; i < DRIVER_MAPS; i++) {
        struct driver_map *map = &driver->maps[i];
        uint64_t start = (uint64_t)(uintptr_t)map->memory;
        if (map->memory && address >= start && address - start < map->size) return map;
    }
    return NULL;
}

static int check_region(const struct driver_enclave *enclave,
                        const struct ne_user_memory_region *region)
{
    uint64_t start = region->userspace_addr, size = region->memory_size;
    if (enclave->owner != getpid()) return fail(EIO);
    if (size % REGION_MIN != 0) return fail(NE_ERR_INVALID_MEM_REGION_SIZE);
    if (start % REGION_MIN != 0) return fail(NE_ERR_UNALIGNED_MEM_REGION_ADDR);
    if (size > USER_MAX || start > USER_MAX - size) return fail(NE_ERR_INVALID_MEM_REGION_ADDR);
    for (size_t i = 0; i < enclave->regions_count; i++) {
        uint64_t other = (uint64_t)(uintptr_t)enclave->regions[i]->memory;
        if (start < other + enclave->region_sizes[i] && other < start + size)
            return fail(NE_ERR_MEM_REGION_ALREADY_USED);
    }
    return 0;
}

static int add_region(struct driver *driver, struct driver_enclave *enclave,
                      const struct ne_user_memory_region *region)
{
    if (region->flags >= NE_MEMORY_REGION_MAX_FLAG_VAL) return fail(NE_ERR_INVALID_FLAG_VALUE);
    if (enclave->running) return fail(NE_ERR_NOT_IN_INIT_STATE);
    if (check_region(enclave, region) != 0) return -1;
    /* Nothing has no pages, and the driver runs out of room for the first. */
    if (region->memory_size == 0) return fail(ENOMEM);
    struct driver_map *map = find_map(driver, region->userspace_addr);
    if (!map) return fail(EFAULT);
    if (map->page == 4096) return fail(NE_ERR_MEM_NOT_HUGE_PAGE);
    if (map->page % REGION_MIN != 0) return fail(NE_ERR_INVALID_PAGE_SIZE);
    if (map->node != (int)driver->node) return fail(NE_ERR_MEM_DIFFERENT_NUMA_NODE);
    uint64_t inside = region->userspace_addr - (uint64_t)(uintptr_t)map->memory;
    /* What is not there yet is taken by the driver, or is a signal: nobody may leave that open. */
    if (map->populated != map->size) abort();
    if (region->memory_size > map->size - inside) return fail(EFAULT);
    size_t pieces = driver->scattered ? (size_t)(region->memory_size / map->page) : 1;
    if (enclave->pieces + pieces > driver->pieces_max) return fail(NE_ERR_MEM_MAX_REGIONS);
    /* It is the enclave's now: whoever looks or writes is shot. */
    (void)mprotect(map->memory, map->size, PROT_NONE);
    map->given = true;
    enclave->regions[enclave->regions_count] = map;
    enclave->region_sizes[enclave->regions_count++] = (size_t)region->memory_size;
    enclave->pieces += pieces;
    enclave->memory += region->memory_size;
    return 0;
}

bool driver_read(const struct driver_enclave *enclave, uint64_t offset, void *out, size_t size)
{
    uint64_t begin = 0;
    uint8_t *next = out;
    for (size_t i = 0; i < enclave->regions_count && size > 0; i++) {
        uint64_t length = enclave->region_sizes[i];
        if (offset - begin < length) {
            uint64_t room = length - (offset - begin);
            size_t piece = (size_t)(size < room ? size : room);
            struct driver_map *map = enclave->regions[i];
            (void)mprotect(map->memory, map->size, PROT_READ);
            memcpy(next, map->memory + (offset - begin), piece);
            (void)mprotect(map->memory, map->size, PROT_NONE);
            next += piece;
            offset += piece;
            size -= piece;
        }
        begin += length;
    }
    return size == 0;
}

/* --- start and end --- */

static bool has_cpu(const struct driver_enclave *enclave)
{
    for (unsigned i = 0; i < DRIVER_CPUS; i++)
        if (enclave->cpus[i]) return true;
    return false;
}

static bool has_full_cores(const struct driver *driver, const struct driver_enclave *enclave)
{
    for (unsigned i = 0; i < driver->cores * driver->threads; i++)
        if (enclave->cores[core_of(driver, i)] && !enclave->cpus[i]) return false;
    return true;
}

static bool is_cid_taken(const struct driver *driver, uint64_t cid)
{
    bool taken = driver->any_cid_taken || cid == driver->foreign_cid;
    for (size_t i = 0; i < DRIVER_ENCLAVES; i++)
        taken = taken || (driver->enclaves[i].running && driver->enclaves[i].cid == cid);
    return taken;
}

static int start(struct driver *driver, struct driver_enclave *enclave,
                 struct ne_enclave_start_info *info)
{
    if (info->flags >= NE_ENCLAVE_START_MAX_FLAG_VAL) return fail(NE_ERR_INVALID_FLAG_VALUE);
    if ((info->enclave_cid > 0 && info->enclave_cid <= LAST_KNOWN_CID) ||
        info->enclave_cid >= UINT32_MAX || info->enclave_cid == PARENT_CID)
        return fail(NE_ERR_INVALID_ENCLAVE_CID);
    if (enclave->running) return fail(NE_ERR_NOT_IN_INIT_STATE);
    if (enclave->regions_count == 0) return fail(NE_ERR_NO_MEM_REGIONS_ADDED);
    if (enclave->memory < MEMORY_MIN) return fail(NE_ERR_ENCLAVE_MEM_MIN_SIZE);
    if (!has_cpu(enclave)) return fail(NE_ERR_NO_VCPUS_ADDED);
    if (!has_full_cores(driver, enclave)) return fail(NE_ERR_FULL_CORES_NOT_USED);
    driver->starts++;
    if (driver->start_errno) return fail(driver->start_errno);
    if (info->enclave_cid == 0) {
        info->enclave_cid = 16;
        while (is_cid_taken(driver, info->enclave_cid))
            info->enclave_cid++;
    }
    if (is_cid_taken(driver, info->enclave_cid)) return fail(EINVAL);
    enclave->cid = (uint32_t)info->enclave_cid;
    enclave->debug = info->flags == NE_ENCLAVE_DEBUG_MODE;
    enclave->running = true;
    if (driver->on_start) driver->on_start(driver, enclave);
    return 0;
}

static int create(struct driver *driver, __u64 *slot)
{
    int ends[2];
    if (free_core(driver) < 0) return fail(NE_ERR_NO_CPUS_AVAIL_IN_POOL);
    for (size_t i = 0; i < DRIVER_ENCLAVES; i++) {
        struct driver_enclave *enclave = &driver->enclaves[i];
        if (enclave->used) continue;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return -1;
        *enclave = (struct driver_enclave){
            .used = true, .fd = ends[0], .our_fd = ends[1], .owner = getpid(), .console_fd = -1};
        *slot = 0x100 + i;
        return enclave->fd;
    }
    return fail(ENOMEM);
}

void driver_end(struct driver_enclave *enclave)
{
    if (enclave->our_fd >= 0) (void)close(enclave->our_fd);
    enclave->our_fd = -1;
}

static void release(struct driver *driver, struct driver_enclave *enclave)
{
    if (enclave->running && driver->on_stop) driver->on_stop(driver, enclave);
    driver_end(enclave);
    for (unsigned i = 0; i < driver->cores; i++)
        if (enclave->cores[i]) driver->taken[i] = false;
    for (size_t i = 0; i < enclave->regions_count; i++)
        enclave->regions[i]->given = false;
    if (enclave->console_fd >= 0) (void)close(enclave->console_fd);
    *enclave = (struct driver_enclave){.fd = -1, .our_fd = -1, .console_fd = -1};
}

/* --- the table --- */

static int open_device(void *context)
{
    struct driver *driver = context;
    if (driver->device_errno) return fail(driver->device_errno);
    driver->device_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    return driver->device_fd;
}

static struct driver_enclave *find_enclave(struct driver *driver, int fd)
{
    for (size_t i = 0; i < DRIVER_ENCLAVES; i++)
        if (driver->enclaves[i].used && driver->enclaves[i].fd == fd) return &driver->enclaves[i];
    return NULL;
}

static int control(void *context, int fd, unsigned long request, void *argument)
{
    struct driver *driver = context;
    struct driver_enclave *enclave = find_enclave(driver, fd);
    if (!argument) return fail(EFAULT);
    if (!enclave) return request == NE_CREATE_VM ? create(driver, (__u64 *)argument) : fail(ENOTTY);
    switch (request) {
    case NE_ADD_VCPU: return add_cpu(driver, enclave, argument);
    case NE_GET_IMAGE_LOAD_INFO: return load_info(enclave, argument);
    case NE_SET_USER_MEMORY_REGION: return add_region(driver, enclave, argument);
    case NE_START_ENCLAVE: return start(driver, enclave, argument);
    default: return fail(ENOTTY);
    }
}

static int close_fd(void *context, int fd)
{
    struct driver *driver = context;
    struct driver_enclave *enclave = find_enclave(driver, fd);
    if (enclave) release(driver, enclave);
    return close(fd);
}

/* Nothing but huge pages comes in such sizes; the tests make others by hand. */
static void *map_pages(void *context, size_t size, uint64_t page, int node)
{
    struct driver *driver = context;
    uint64_t count = size / page, free = read_free(driver, node, page);
    struct driver_map *map = driver->maps;
    while (map < driver->maps + DRIVER_MAPS && map->memory)
        map++;
    if (map == driver->maps + DRIVER_MAPS || count * page != size ||
        (page >= REGION_MIN && count > free)) {
        errno = ENOMEM;
        return NULL;
    }
    /* Twice as much address space, to cut out what is aligned. */
    uint8_t *all =
        mmap(NULL, size + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED) return NULL;
    size_t before = (size_t)((page - (uint64_t)(uintptr_t)all % page) % page);
    if (before > 0) (void)munmap(all, before);
    if (page > before) (void)munmap(all + before + size, page - before);
    (void)mprotect(all + before, size, PROT_READ | PROT_WRITE);
    *map = (struct driver_map){.memory = all + before, .size = size, .page = page, .node = node};
    if (page >= REGION_MIN) write_free(driver, node, page, free - count);
    return map->memory;
}

static int populate_pages(void *context, void *memory, size_t size, int node)
{
    struct driver *driver = context;
    struct driver_map *map = find_map(driver, (uint64_t)(uintptr_t)memory);
    size_t inside = map ? (size_t)((uint8_t *)memory - map->memory) : 0;
    if (!map || inside != map->populated || size > map->size - inside || node != map->node ||
        size % map->page != 0)
        return fail(EINVAL);
    map->populated += size;
    return 0;
}

static int unmap_pages(void *context, void *memory, size_t size)
{
    struct driver *driver = context;
    for (size_t i = 0; i < DRIVER_MAPS; i++) {
        struct driver_map *map = &driver->maps[i];
        if (map->memory != memory || map->size != size) continue;
        if (map->given) abort(); /* the driver would keep the pages, and nobody would know */
        if (map->page >= REGION_MIN)
            write_free(driver, map->node, map->page,
                       read_free(driver, map->node, map->page) + size / map->page);
        *map = (struct driver_map){0};
        return munmap(memory, size);
    }
    return fail(EINVAL);
}

/* --- the machine --- */

bool driver_init(struct driver *driver, uint64_t free_1g, uint64_t free_2m)
{
    char text[PATH_SIZE];
    *driver = (struct driver){.ops = {.context = driver,
                                      .open_device = open_device,
                                      .control = control,
                                      .close = close_fd,
                                      .map = map_pages,
                                      .populate = populate_pages,
                                      .unmap = unmap_pages,
                                      .listen = driver_listen,
                                      .accept = driver_accept,
                                      .connect = driver_connect},
                              .cores = 4,
                              .threads = 2,
                              .pieces_max = 1024,
                              .lock = PTHREAD_MUTEX_INITIALIZER,
                              .device_fd = -1};
    const char *folder = getenv("TMPDIR");
    int size = snprintf(driver->root, sizeof driver->root, "%s/tee-nitro-XXXXXX",
                        folder && *folder ? folder : "/tmp");
    if (size >= (int)sizeof driver->root || !mkdtemp(driver->root)) return false;
    driver->ops.root = driver->root;
    for (size_t i = 0; i < DRIVER_PORTS; i++)
        driver->ports[i].fd = -1;
    for (unsigned i = 1; i < driver->cores; i++)
        driver->pool[i] = true;
    driver_write(driver, "/dev/nitro_enclaves", "");
    driver_write(driver, "/sys/module/nitro_enclaves/parameters/ne_cpus", "2-7");
    driver_write(driver, "/sys/devices/system/cpu/cpu2/node0/of", "");
    driver_write(driver, "/sys/devices/system/cpu/cpu1/topology/thread_siblings_list", "0-1");
    write_free(driver, 0, TC_NITRO_PAGE_1G, free_1g);
    write_free(driver, 0, TC_NITRO_PAGE_2M, free_2m);
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)free_2m);
    driver_write(driver, "/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages",
                 text);
    return true;
}

void driver_done(struct driver *driver)
{
    char command[PATH_SIZE];
    for (size_t i = 0; i < DRIVER_PORTS; i++)
        if (driver->ports[i].fd >= 0) (void)close(driver->ports[i].fd);
    (void)snprintf(command, sizeof command, "rm -rf %s", driver->root);
    (void)!system(command);
}

bool driver_is_idle(const struct driver *driver)
{
    for (size_t i = 0; i < DRIVER_ENCLAVES; i++)
        if (driver->enclaves[i].used) return false;
    for (size_t i = 0; i < DRIVER_MAPS; i++)
        if (driver->maps[i].memory) return false;
    for (size_t i = 0; i < DRIVER_CPUS; i++)
        if (driver->taken[i]) return false;
    for (size_t i = 0; i < DRIVER_PORTS; i++)
        if (driver->ports[i].fd >= 0 && !driver_is_left(driver->ports[i].fd)) return false;
    return true;
}
