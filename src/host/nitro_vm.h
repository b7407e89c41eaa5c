/* One enclave of the driver's: its descriptor, its memory, its processors. The order
 * is the driver's, and so are the rules; what it refuses is said in words here. */
#ifndef TC_HOST_NITRO_VM_H
#define TC_HOST_NITRO_VM_H

#include <stdbool.h>

#include "base/status.h"
#include "host/nitro_host.h"

enum { TC_NITRO_REGIONS = 2 }; /* one of each size of page */

struct tc_nitro_vm {
    const struct tc_nitro_ops *ops;
    int device_fd;
    int fd; /* the enclave's: POLLHUP once it has ended; closing it ends the enclave */
    struct {
        void *memory;
        size_t size;
    } regions[TC_NITRO_REGIONS];
    size_t regions_count;
    unsigned cpus;
    int interrupt_fd; /* borrowed; readable: the user has had enough; -1: none */
};

/* A slot without anything in it. */
tc_status tc_nitro_vm_create(const struct tc_nitro_ops *ops, int interrupt_fd,
                             struct tc_nitro_vm *ret_vm, struct tc_error *err) TC_MUST_USE;

/* TC_INTERRUPTED when the user has had enough. No call of the driver's can be interrupted, so
 * that is asked before those that may take long. */
tc_status tc_nitro_vm_check_interrupt(const struct tc_nitro_vm *vm, struct tc_error *err)
    TC_MUST_USE;

/* Maps at least that many bytes of huge pages, puts the image (a regular file of that
 * size) where the driver says that it is looked for, and gives all of it away. Looks at the
 * interrupt before each GiB. */
tc_status tc_nitro_vm_fill(struct tc_nitro_vm *vm, const struct tc_nitro_host *host,
                           uint64_t memory, int image_fd, uint64_t image_size, struct tc_error *err)
    TC_MUST_USE;

/* Takes processors from the pool, `cpus` at least, whole cores always, and starts it.
 * The CID is the caller's choice; *ret_taken: it may be the reason, and another may be
 * tried. */
tc_status tc_nitro_vm_start(struct tc_nitro_vm *vm, unsigned cpus, bool debug, uint32_t cid,
                            bool *ret_taken, struct tc_error *err) TC_MUST_USE;

/* Ends it if it runs, and gives memory and processors back. Accepts a zeroed one, and
 * one that failed half-way. */
void tc_nitro_vm_done(struct tc_nitro_vm *vm);

#endif
