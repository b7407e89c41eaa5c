/* What this machine can give an enclave, read from /sys, and what is missing. The
 * driver has the last word; this says beforehand what it would refuse, and the command
 * that mends it. */
#ifndef TC_HOST_NITRO_HOST_H
#define TC_HOST_NITRO_HOST_H

#include "host/backend.h"
#include "host/nitro_ops.h"

enum {
    TC_NITRO_CPUS_MAX = 512,   /* characters of the driver's list */
    TC_NITRO_CPUS_DEFAULT = 2, /* of an enclave: a core, where one has two threads */
};

struct tc_nitro_host {
    char pool[TC_NITRO_CPUS_MAX]; /* "2,3,6-9", as the driver has it */
    int node;                     /* of the pool's processors */
    uint64_t free_2m, free_1g;    /* huge pages of that node that nobody holds */
};

/* How many of each; all of a size are mapped in one piece, the large ones first. */
struct tc_nitro_plan {
    uint64_t pages_1g, pages_2m;
};

/* Pure. The least memory that holds `need` bytes, for what is not a whole large page
 * small ones before another large one. False: there is not enough. */
bool tc_nitro_plan(uint64_t need, uint64_t free_1g, uint64_t free_2m,
                   struct tc_nitro_plan *ret_plan) TC_MUST_USE;

/* Pure. Bytes that an enclave needs for a build that may use build_memory: the image
 * as it is loaded, what its ramdisks unpack to, the kernel's and the worker's own. A
 * multiple of 2 MiB. TC_LIMIT: no machine has that. */
tc_status tc_nitro_memory(uint64_t image_size, uint64_t build_memory, uint64_t *ret_bytes,
                          struct tc_error *err) TC_MUST_USE;

/* Looks at driver, device, permission, pool and huge pages, in this order, and says the
 * first thing that is missing for an enclave of that many bytes; 0: of the least; and of
 * that many processors; 0: of TC_NITRO_CPUS_DEFAULT.
 * ret_host may be NULL, and holds something only when ret_probe->usable. */
void tc_nitro_look(const struct tc_nitro_ops *ops, uint64_t memory, unsigned cpus,
                   struct tc_nitro_host *ret_host, struct tc_probe *ret_probe);

/* The same for a build: what it lacks is said of it, and where only memory is missing
 * also how large a build may be. Where nothing is, an enclave without anything in it is
 * made and ended, since only the driver knows what other enclaves have. */
void tc_nitro_probe(const struct tc_nitro_ops *ops, const struct tc_need *need,
                    struct tc_probe *ret_probe);

#endif
