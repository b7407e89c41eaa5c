/* A program in the emulator's place (fake_emulator.c), and what it is given. */
#ifndef TC_TESTS_MACHINE_LAB_H
#define TC_TESTS_MACHINE_LAB_H

#include <stddef.h>
#include <stdint.h>

#include "descriptors.h"
#include "host/egress.h"
#include "host/machine.h"
#include "host/vhost.h"

struct machine_lab {
    const char *emulator;
    char folder[32];
    char image[64], pages[64]; /* files in it: the words for the emulator, a toolchain */
    char said[1 << 16];        /* read_console */
    int image_fd, console_fd, pages_fd;
};
extern struct machine_lab lab;

int make_folder(void **state);
int remove_folder(void **state);

void put(const char *path, const char *text);

/* A machine whose emulator does what the words say. */
struct tc_machine_config configure(const char *words);
void read_console(void);
void expect_said(const char *text);

/* The stream that comes at the caller's end of a port, and the one to the guest's session. */
int take_stream(int dialler);
int meet(struct tc_machine *machine);

/* A host without a network, and what it answers with. */
#define REFUSAL "the host keeps no archive of this build\n"
void make_egress(struct tc_egress **ret_egress);

/* In the place of AF_VSOCK: unix sockets with names of no file, by which one sees who
 * connects. The device is a file that says which CID it has. */
struct kernel {
    char prefix[48];
    int open_errno, listen_errno; /* 0: none */
    size_t shortages;             /* so many times a process finds no descriptor for a stream */
    size_t taken;                 /* so many CIDs somebody else has */
    unsigned cid;                 /* claimed last */
};

/* As os/vsock_listen.h; context is a struct kernel. */
int listen_by_name(void *context, uint32_t port);

/* configure for a microvm that has the kernel's vsock device, by ops over kernel. */
struct tc_machine_config configure_kernels(const char *words, struct kernel *kernel,
                                           struct tc_vhost_ops *ops);

#endif
