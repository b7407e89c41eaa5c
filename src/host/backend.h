/* Where a worker runs: one interface, one file each. */
#ifndef TC_HOST_BACKEND_H
#define TC_HOST_BACKEND_H

#include "host/imagefile.h"

struct tc_egress;

struct tc_backend_config {
    /* Complete (imagefile.h), borrowed; NULL: the machine's own toolchain, unmeasured. */
    const struct tc_imagefile *image;
    /* Absolute folders, NULL-terminated; may be NULL. Only without an image, whose PCRs
     * do not name them. */
    const char *const *host_tools;
    const char *worker;         /* path of tee-compile-worker; of the local back end alone */
    const char *devroot_folder; /* devattest.h, ensured */
    bool debug;                 /* the worker's own messages to stderr */
    struct tc_egress *egress;   /* egress.h: serves the worker's streams; NULL: nobody does */
    uint64_t memory;            /* bytes that the build may use: limits.memory and limits.disk */
    unsigned cpus;              /* processors of a machine of its own; 0: the back end's default */
    int interrupt_fd;           /* readable: the start ends with TC_INTERRUPTED; -1: none */
    /* Of a machine. The emulator's path, or its name in PATH; NULL: the usual one. */
    const char *emulator;
    int console_fd; /* a regular file that gets its console, which the build cannot read */
    /* A line for the user, on how the worker runs; NULL: nobody wants it. */
    void (*note)(void *context, const char *text);
    void *context;
};

/* A build with an image, for which a back end is asked whether it can run it. */
struct tc_need {
    const char *build;   /* what messages call it: "this build" */
    uint64_t image_size; /* bytes of the EIF */
    uint64_t memory;     /* as in struct tc_backend_config */
    unsigned cpus;       /* the same */
};

/* Can a back end start workers here? */
struct tc_probe {
    bool usable;
    bool no_images; /* usable, and only for the machine's own toolchain */
    bool present;   /* usable or not: what it is a back end for is here, an enclave's device */
    char why[400];  /* what it would use, or what is missing */
    char fix[TC_ERROR_MAX]; /* the command that mends it; "" where nothing is missing */
    char faster[128];       /* usable, and a command that makes it faster; "": none is known */
};

struct tc_enclave; /* a started worker: its processes, mounts, cgroup */

struct tc_backend {
    const char *name;
    /* The hardware signs: a bundle is judged by the pinned root, or it is not. */
    bool hardware;
    /* Its guest refuses each page of the toolchain that is not the image's. Else the file
     * system has to be checked before the start: what runs sees the source. */
    bool checks_pages;
    /* Leaves nothing behind. */
    void (*probe)(const struct tc_need *need, struct tc_probe *ret_probe);
    /* Starts a worker; ret_fd is the stream to its session, owned by the
     * enclave. TC_UNAVAILABLE names what is missing and the fix. */
    tc_status (*start)(const struct tc_backend_config *config, struct tc_enclave **ret_enclave,
                       int *ret_fd, struct tc_error *err);
    /* Appends the document, signed, to buf: for a worker whose platform only claims and
     * does not sign. NULL: the worker's document is complete. */
    tc_status (*sign)(struct tc_enclave *enclave, struct tc_span document, struct tc_buf *buf,
                      struct tc_error *err);
    /* Ends it: kills what still runs, waits, removes what was made. Says in err
     * how the worker ended when it did not exit with 0; with TC_OK, too, that it was gone
     * before, for a session that failed. Always frees. */
    tc_status (*stop)(struct tc_enclave *enclave, struct tc_error *err);
};

extern const struct tc_backend tc_backend_local;
extern const struct tc_backend tc_backend_nitro;
extern const struct tc_backend tc_backend_qemu;

#endif
