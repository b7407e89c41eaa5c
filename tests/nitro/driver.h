/* A double of the kernel's nitro_enclaves driver and of the machine around it, behind
 * the back end's own table (host/nitro_ops.h). Of tests alone: the product links none of
 * it. It keeps the rules that the driver's header and documentation state, answers with
 * the driver's numbers, in the driver's order, and makes what it has been given unreadable,
 * as the hardware does.
 *
 * What it does not know is what the hypervisor says: that it refuses a CID in use is an
 * assumption, as is the order of the regions in the enclave's memory.
 *
 * /sys and /dev are files below a folder; huge pages are ordinary memory with a mark. */
#ifndef TC_TESTS_NITRO_DRIVER_H
#define TC_TESTS_NITRO_DRIVER_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

#include "host/nitro_ops.h"

enum {
    DRIVER_CPUS = 64,
    DRIVER_ENCLAVES = 4,
    DRIVER_MAPS = 16,
    DRIVER_PORTS = 64,
    DRIVER_LOAD_OFFSET = 8 << 20,
};

struct driver_map {
    uint8_t *memory;
    size_t size;
    uint64_t page; /* 4096: not huge */
    int node;
    size_t populated; /* from the start */
    bool given;       /* to an enclave */
};

struct driver_enclave {
    bool used, running;
    int fd, our_fd; /* the caller's, ours: its hang-up is the end of the enclave */
    pid_t owner;
    bool cores[DRIVER_CPUS], cpus[DRIVER_CPUS]; /* by core, by processor */
    struct driver_map *regions[DRIVER_MAPS];
    size_t region_sizes[DRIVER_MAPS];
    size_t regions_count, pieces;
    uint64_t memory;
    uint32_t cid;
    bool debug;
    int console_fd; /* ours */
    void *guest;    /* for whoever boots it */
};

struct driver {
    struct tc_nitro_ops ops;
    char root[96]; /* the folder, below TMPDIR */
    /* The machine: threads of a core have neighbouring numbers; a pool of whole cores. */
    unsigned cores, threads, node;
    bool pool[DRIVER_CPUS], taken[DRIVER_CPUS]; /* by core */
    size_t pieces_max;                          /* physical regions of one enclave */
    bool scattered;                             /* no two pages lie beside each other */
    uint32_t foreign_cid; /* of an enclave that is not ours; 0: there is none */
    bool any_cid_taken;   /* the hypervisor refuses whatever is asked for */
    int start_errno;      /* the device's answer to a start; 0: as it should be */
    unsigned starts;      /* that the driver let pass */
    int device_errno;     /* of opening it; 0: it opens */
    int device_fd;
    struct driver_enclave enclaves[DRIVER_ENCLAVES];
    struct driver_map maps[DRIVER_MAPS];
    pthread_mutex_t lock; /* of ports and consoles: guests dial while others are made */
    struct {
        uint32_t port;
        int fd; /* ours; -1: nobody listens */
    } ports[DRIVER_PORTS];
    /* When an enclave starts, and when it is ended by its descriptor. May be NULL. */
    void (*on_start)(struct driver *driver, struct driver_enclave *enclave);
    void (*on_stop)(struct driver *driver, struct driver_enclave *enclave);
    void *context;
};

/* A machine of 4 cores with 2 threads each, cores 1 to 3 in the pool, on node 0, with
 * that many free pages; false: the folder could not be made. */
bool driver_init(struct driver *driver, uint64_t free_1g, uint64_t free_2m);
void driver_done(struct driver *driver); /* removes the folder */

/* A line in a file below the folder; NULL: no such file. */
void driver_write(const struct driver *driver, const char *path, const char *line);

/* A stream from that CID to a port of the parent's; -1: refused. */
int driver_dial(struct driver *driver, uint32_t cid, uint32_t port);

/* Where the enclave's debug console goes; -1: nobody looks. */
int driver_console(struct driver *driver, const struct driver_enclave *enclave);

/* The enclave has ended by itself. */
void driver_end(struct driver_enclave *enclave);

/* Copies out of an enclave's memory, over the ends of its regions. */
bool driver_read(const struct driver_enclave *enclave, uint64_t offset, void *out, size_t size);

/* Is everything back: enclaves, pages, cores, ports? */
bool driver_is_idle(const struct driver *driver);

#endif
