#include "host/nitro_host.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "host/nitro_device.h"
#include "host/nitro_vm.h"

#define POOL "/sys/module/nitro_enclaves/parameters/ne_cpus"
#define ALLOCATOR "/etc/nitro_enclaves/allocator.yaml"
#define RESTART "sudo systemctl restart nitro-enclaves-allocator.service (while no enclave runs)"
#define HUGE_2M "hugepages-2048kB"
#define HUGE_1G "hugepages-1048576kB"

enum { CPUS_MAX = 1024, NODES_MAX = 16 };

/* What the driver does not go below. */
#define MEMORY_MIN ((uint64_t)64 << 20)
/* Kernel, worker, the tables of the memory itself: measured with the c image, whose
 * boot takes less than half of it, and rounded up. */
#define MEMORY_OWN ((uint64_t)192 << 20)
#define MEMORY_MAX ((uint64_t)1 << 50)

/* --- numbers --- */

static uint64_t pages_of(uint64_t bytes, uint64_t page)
{
    return bytes / page + (bytes % page != 0);
}

bool tc_nitro_plan(uint64_t need, uint64_t free_1g, uint64_t free_2m,
                   struct tc_nitro_plan *ret_plan)
{
    uint64_t large = need / TC_NITRO_PAGE_1G;
    if (large > free_1g) large = free_1g;
    uint64_t small = pages_of(need - large * TC_NITRO_PAGE_1G, TC_NITRO_PAGE_2M);
    if (small > free_2m) {
        if (large >= free_1g) return false;
        large++;
        small = 0;
    }
    *ret_plan = (struct tc_nitro_plan){large, small};
    return true;
}

tc_status tc_nitro_memory(uint64_t image_size, uint64_t build_memory, uint64_t *ret_bytes,
                          struct tc_error *err)
{
    if (image_size > MEMORY_MAX / 8 || build_memory > MEMORY_MAX / 2)
        return tc_fail(err, TC_LIMIT,
                       "the limits of build.json ask for more memory than any enclave has: make "
                       "limits.memory or limits.disk smaller");
    /* Loaded once, unpacked once, and once more while that goes on. */
    uint64_t need = build_memory + 3 * image_size + MEMORY_OWN;
    *ret_bytes = pages_of(need, TC_NITRO_PAGE_2M) * TC_NITRO_PAGE_2M;
    return TC_OK;
}

/* --- files --- */

static uint64_t read_number(const struct tc_nitro_ops *ops, const char *path)
{
    char text[32];
    tc_nitro_read_line(ops, path, text, sizeof text);
    return strtoull(text, NULL, 10);
}

static uint64_t read_pages(const struct tc_nitro_ops *ops, int node, const char *kind,
                           const char *what)
{
    char path[TC_NITRO_PATH_MAX / 2];
    (void)snprintf(path, sizeof path, "/sys/devices/system/node/node%d/hugepages/%s/%s", node, kind,
                   what);
    return read_number(ops, path);
}

/* A processor's folder names its node; it does so also while it is offline, as all of
 * the pool are. A kernel without nodes has node 0 alone. */
static int find_node(const struct tc_nitro_ops *ops, const char *pool)
{
    char path[TC_NITRO_PATH_MAX / 2], place[TC_NITRO_PATH_MAX];
    int node = 0;
    (void)snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%lu", strtoul(pool, NULL, 10));
    tc_nitro_locate(ops, path, place);
    DIR *folder = opendir(place);
    if (!folder) return node;
    for (const struct dirent *entry = readdir(folder); entry; entry = readdir(folder))
        if (strncmp(entry->d_name, "node", 4) == 0 && entry->d_name[4] >= '0' &&
            entry->d_name[4] <= '9')
            node = (int)strtol(entry->d_name + 4, NULL, 10);
    (void)closedir(folder);
    return node;
}

/* --- what is missing --- */

/* The next range of a list such as "1,3,6-9"; what is behind it, or NULL: there is none. */
static const char *next_cpus(const char *list, unsigned *ret_first, unsigned *ret_last)
{
    char *end;
    if (*list < '0' || *list > '9') return NULL;
    unsigned long first = strtoul(list, &end, 10);
    unsigned long last = *end == '-' ? strtoul(end + 1, &end, 10) : first;
    if (first > last || last >= CPUS_MAX) return NULL;
    *ret_first = (unsigned)first;
    *ret_last = (unsigned)last;
    return *end == ',' ? end + 1 : end;
}

static unsigned count_cpus(const char *list)
{
    unsigned count = 0, first, last;
    while ((list = next_cpus(list, &first, &last)))
        count += last - first + 1;
    return count;
}

static bool names_cpu(const char *list, unsigned cpu)
{
    unsigned first, last;
    while ((list = next_cpus(list, &first, &last)))
        if (cpu >= first && cpu <= last) return true;
    return false;
}

static void append_cpus(char list[TC_NITRO_CPUS_MAX], const char *more)
{
    size_t size = strlen(list);
    (void)snprintf(list + size, TC_NITRO_CPUS_MAX - size, "%s%s", size > 0 ? "," : "", more);
}

/* Whole cores of one node, what is in the pool among them and processor 0's not, which the
 * instance keeps: so many that they come to `cpus`, or else as many as a node has. "": there
 * is none. Processors of the pool are offline, and have no siblings then. */
static void suggest_cores(const struct tc_nitro_ops *ops, const char *pool, unsigned cpus,
                          char out[TC_NITRO_CPUS_MAX])
{
    char lists[NODES_MAX][TC_NITRO_CPUS_MAX] = {{0}};
    int pool_node = pool[0] ? find_node(ops, pool) : -1, best = 0;
    if (pool_node >= 0 && pool_node < NODES_MAX) {
        append_cpus(lists[pool_node], pool);
        best = pool_node;
    }
    for (unsigned i = 1; i < CPUS_MAX && count_cpus(lists[best]) < cpus; i++) {
        char path[TC_NITRO_PATH_MAX / 2], list[64];
        (void)snprintf(path, sizeof path,
                       "/sys/devices/system/cpu/cpu%u/topology/thread_siblings_list", i);
        tc_nitro_read_line(ops, path, list, sizeof list);
        if (!list[0] || names_cpu(list, 0)) continue;
        int node = find_node(ops, list);
        if (node >= NODES_MAX || (pool_node >= 0 && node != pool_node)) continue;
        /* It is there already, by another of its threads. */
        if (names_cpu(lists[node], i)) continue;
        append_cpus(lists[node], list);
        if (count_cpus(lists[node]) > count_cpus(lists[best])) best = node;
    }
    (void)snprintf(out, TC_NITRO_CPUS_MAX, "%s", lists[best]);
}

/* What mends a pool that is too small for so many, or how a build does with less. */
static void mend_pool(const struct tc_nitro_ops *ops, const char *pool, unsigned cpus,
                      struct tc_probe *probe)
{
    char cores[TC_NITRO_CPUS_MAX], less[64] = "";
    suggest_cores(ops, pool, cpus, cores);
    unsigned now = count_cpus(pool), most = count_cpus(cores);
    if (most == 0) {
        (void)snprintf(probe->fix, sizeof probe->fix,
                       "take an instance with another core than processor 0's: that one stays with "
                       "the instance");
        return;
    }
    if (now > 0 && most < cpus) {
        (void)snprintf(probe->fix, sizeof probe->fix,
                       "build with --cpus %u, or take an instance with more processors on one NUMA "
                       "node",
                       now);
        return;
    }
    if (now > 0)
        (void)snprintf(less, sizeof less, ", or build with --cpus %u", now);
    else if (most < cpus)
        (void)snprintf(less, sizeof less, ", and build with --cpus %u", most);
    if (tc_nitro_is_there(ops, ALLOCATOR))
        (void)snprintf(probe->fix, sizeof probe->fix,
                       "set cpu_count to %u or more in " ALLOCATOR ", then: " RESTART "%s",
                       most < cpus ? most : cpus, less);
    else
        (void)snprintf(probe->fix, sizeof probe->fix, "echo %s | sudo tee " POOL "%s%s", cores,
                       now > 0 ? " (while no enclave runs)" : "", less);
}

static bool lacks_pool(const struct tc_nitro_ops *ops, unsigned cpus, char *ret_pool,
                       struct tc_probe *probe)
{
    if (!tc_nitro_is_there(ops, POOL)) {
        (void)snprintf(probe->why, sizeof probe->why,
                       "the driver does not say which processors it has: there is no " POOL);
        (void)snprintf(probe->fix, sizeof probe->fix,
                       "make the instance's /sys visible here (a container may hide it), or, where "
                       "the driver is not loaded: sudo modprobe nitro_enclaves");
        return true;
    }
    tc_nitro_read_line(ops, POOL, ret_pool, TC_NITRO_CPUS_MAX);
    unsigned count = count_cpus(ret_pool);
    if (count >= cpus) return false;
    if (count == 0 && ret_pool[0]) {
        char seen[64];
        (void)tc_printable(tc_span_of_text(ret_pool), seen, sizeof seen);
        ret_pool[0] = '\0';
        (void)snprintf(probe->why, sizeof probe->why,
                       "no processors are set aside for enclaves: " POOL " is \"%s\", and no list "
                       "of processors below %d",
                       seen, CPUS_MAX);
    } else if (count == 0) {
        (void)snprintf(probe->why, sizeof probe->why,
                       "no processors are set aside for enclaves: " POOL " is empty");
    } else {
        (void)snprintf(probe->why, sizeof probe->why,
                       "the enclave needs %u processors, and the pool has %u: " POOL " is %.200s",
                       cpus, count, ret_pool);
    }
    mend_pool(ops, ret_pool, cpus, probe);
    return true;
}

/* Of one size on the node, and how many of them somebody has. */
struct pages {
    uint64_t all, used;
};

static struct pages count_pages(const struct tc_nitro_ops *ops, int node, const char *kind,
                                uint64_t free)
{
    uint64_t all = read_pages(ops, node, kind, "nr_hugepages");
    return all > free ? (struct pages){all, all - free} : (struct pages){free, 0};
}

/* What is missing, in pages of 2 MiB. Pages of 1 GiB come first, as few pieces, where none
 * were asked for before: the kernel may give fewer than that, and those of 2 MiB make up
 * for them. Where some are there, it has given what it could. */
static void mend_pages(const struct tc_nitro_ops *ops, uint64_t memory, uint64_t missing,
                       const struct tc_nitro_host *host, struct tc_probe *probe)
{
    const uint64_t ratio = TC_NITRO_PAGE_1G / TC_NITRO_PAGE_2M;
    const struct pages small = count_pages(ops, host->node, HUGE_2M, host->free_2m);
    const struct pages large = count_pages(ops, host->node, HUGE_1G, host->free_1g);
    char folder[64], kind[TC_NITRO_PATH_MAX / 4];
    (void)snprintf(folder, sizeof folder, "/sys/devices/system/node/node%d/hugepages", host->node);
    (void)snprintf(kind, sizeof kind, "%s/" HUGE_1G, folder);
    unsigned long long wanted = small.all + missing;
    if (tc_nitro_is_there(ops, ALLOCATOR))
        (void)snprintf(probe->fix, sizeof probe->fix,
                       "set memory_mib to %llu or more in " ALLOCATOR ", then: " RESTART,
                       (unsigned long long)((memory + large.used * TC_NITRO_PAGE_1G +
                                             small.used * TC_NITRO_PAGE_2M) >>
                                            20));
    else if (missing >= ratio && large.all == 0 && tc_nitro_is_there(ops, kind))
        (void)snprintf(probe->fix, sizeof probe->fix,
                       "p=%s; echo %llu | sudo tee $p/" HUGE_1G "/nr_hugepages; "
                       "echo $((%llu - %llu * $(cat $p/" HUGE_1G "/nr_hugepages))) | "
                       "sudo tee $p/" HUGE_2M "/nr_hugepages",
                       folder, (unsigned long long)(missing / ratio), wanted,
                       (unsigned long long)ratio);
    else
        (void)snprintf(probe->fix, sizeof probe->fix,
                       "echo %llu | sudo tee %s/" HUGE_2M "/nr_hugepages", wanted, folder);
}

static bool lacks_pages(const struct tc_nitro_ops *ops, uint64_t memory,
                        const struct tc_nitro_host *host, struct tc_probe *probe)
{
    struct tc_nitro_plan plan;
    char wanted[16], seen[16];
    if (memory < MEMORY_MIN) memory = MEMORY_MIN;
    if (tc_nitro_plan(memory, host->free_1g, host->free_2m, &plan)) return false;
    uint64_t have = host->free_1g * TC_NITRO_PAGE_1G + host->free_2m * TC_NITRO_PAGE_2M;
    /* What lies in large pages counts: the rest is asked for in small ones. */
    uint64_t large =
        memory / TC_NITRO_PAGE_1G < host->free_1g ? memory / TC_NITRO_PAGE_1G : host->free_1g;
    uint64_t small = pages_of(memory - large * TC_NITRO_PAGE_1G, TC_NITRO_PAGE_2M);
    (void)snprintf(probe->why, sizeof probe->why,
                   "the enclave needs %s of huge pages on NUMA node %d, where %s are free (%llu of "
                   "1 GiB, %llu of 2 MiB)",
                   tc_human_size(memory, wanted), host->node, tc_human_size(have, seen),
                   (unsigned long long)host->free_1g, (unsigned long long)host->free_2m);
    mend_pages(ops, memory, small - host->free_2m, host, probe);
    return true;
}

void tc_nitro_look(const struct tc_nitro_ops *ops, uint64_t memory, unsigned cpus,
                   struct tc_nitro_host *ret_host, struct tc_probe *ret_probe)
{
    struct tc_nitro_host host = {0};
    struct tc_probe probe = {0};
    if (!tc_nitro_lacks_device(ops, &probe) &&
        !lacks_pool(ops, cpus ? cpus : TC_NITRO_CPUS_DEFAULT, host.pool, &probe)) {
        host.node = find_node(ops, host.pool);
        host.free_1g = read_pages(ops, host.node, HUGE_1G, "free_hugepages");
        host.free_2m = read_pages(ops, host.node, HUGE_2M, "free_hugepages");
        probe.usable = !lacks_pages(ops, memory, &host, &probe);
    }
    if (probe.usable) {
        char seen[16];
        (void)snprintf(
            probe.why, sizeof probe.why, "processors %.200s, %s of free huge pages on NUMA node %d",
            host.pool,
            tc_human_size(host.free_1g * TC_NITRO_PAGE_1G + host.free_2m * TC_NITRO_PAGE_2M, seen),
            host.node);
        if (ret_host) *ret_host = host;
    }
    *ret_probe = probe;
}

/* The pool's list names what other enclaves have, too, and only the device knows whether it
 * has room for one more. */
static void try_to_make(const struct tc_nitro_ops *ops, struct tc_probe *probe)
{
    struct tc_error err = {0};
    struct tc_nitro_vm vm = {0};
    probe->usable = tc_nitro_vm_create(ops, -1, &vm, &err) == TC_OK;
    tc_nitro_vm_done(&vm);
    if (probe->usable) return;
    (void)snprintf(probe->why, sizeof probe->why, "%.*s", (int)sizeof probe->why - 1, err.message);
    (void)snprintf(probe->fix, sizeof probe->fix,
                   "wait until another enclave ends (nitro-cli describe-enclaves lists those of "
                   "nitro-cli), or, if there is none, look for nitro_enclaves in: sudo dmesg");
}

void tc_nitro_probe(const struct tc_nitro_ops *ops, const struct tc_need *need,
                    struct tc_probe *ret_probe)
{
    struct tc_error err = {0};
    struct tc_nitro_host host = {0};
    struct tc_probe probe, least;
    uint64_t memory = 0;
    bool too_much = tc_nitro_memory(need->image_size, need->memory, &memory, &err) != TC_OK;
    if (too_much) memory = MEMORY_MAX;
    tc_nitro_look(ops, memory, need->cpus, &host, &probe);
    tc_nitro_look(ops, 0, need->cpus, &host, &least);
    if (probe.usable || !least.usable) { /* what is missing is missing for every build */
        if (probe.usable) try_to_make(ops, &probe);
        *ret_probe = probe;
        return;
    }
    char room[64] = "", wanted[16], seen[sizeof probe.why];
    uint64_t have = host.free_1g * TC_NITRO_PAGE_1G + host.free_2m * TC_NITRO_PAGE_2M;
    uint64_t besides = have;
    if (tc_nitro_memory(need->image_size, 0, &besides, &err) == TC_OK && have > besides)
        (void)snprintf(room, sizeof room, "; builds of up to %llu MiB fit",
                       (unsigned long long)((have - besides) >> 20));
    (void)snprintf(seen, sizeof seen, "%s", probe.why);
    (void)snprintf(probe.why, sizeof probe.why,
                   "no room for %s (limits.memory + limits.disk: %s): %.230s%s", need->build,
                   tc_human_size(need->memory, wanted), seen, room);
    if (too_much) (void)snprintf(probe.fix, sizeof probe.fix, "%s", err.message);
    *ret_probe = probe;
}
