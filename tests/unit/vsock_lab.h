/* A guest's driver and its front end, over real shared memory, for the tests of
 * the vsock device. The device runs in a thread; nothing waits for a time, only
 * for what the device does. */
#ifndef TC_TESTS_VSOCK_LAB_H
#define TC_TESTS_VSOCK_LAB_H

#include <pthread.h>

#include "core/vhostuser.h"
#include "core/vsockpkt.h"
#include "host/vsockdev.h"

enum {
    RX = TC_VHOST_QUEUE_TO_GUEST,
    TX = TC_VHOST_QUEUE_FROM_GUEST,
    LAB_CID = 52,
    LAB_QUEUE = 128,     /* entries of each */
    LAB_BUFFER = 8192,   /* bytes of each buffer for the guest */
    LAB_BUFFERS = 32,
    LAB_PORT = 7301,     /* the host listens here, and nowhere else */
    LAB_HOSTS = TC_VSOCKDEV_STREAMS_MAX + 64,
    LAB_SIZE = 0x200000, /* of memory; two regions, which lie in the file the other way round */
    LAB_HALF = LAB_SIZE / 2,
    /* Places in memory. */
    LAB_RX = 0x1000,
    LAB_TX = 0x4000,
    LAB_SEND = 0x8000,                   /* what the guest sends, up to the buffers */
    LAB_RECEIVE = LAB_SIZE - LAB_BUFFERS * LAB_BUFFER,
};
#define LAB_GUEST UINT64_C(0x100000)
#define LAB_USER UINT64_C(0x7f0000000000)

struct lab {
    int front, memory_fd, kick[2], call[2];
    uint8_t *file;
    uint64_t cid;
    uint16_t offered[2], seen[2];
    unsigned filled; /* buffers for the guest that were given to the device */
    struct tc_vsockdev_config config;
    int device_fd;
    pthread_t thread;
    tc_status status; /* of the device, once it has ended */
    struct tc_error err;
    pthread_mutex_t lock;
    pthread_cond_t came;
    int hosts[LAB_HOSTS]; /* the host's ends, in the order in which the guest connected */
    size_t hosts_count;
    uint32_t taken; /* by the guest of what came, as it says in its packets */
    uint32_t room;
};

/* The thread with the device, and a front end that has said nothing yet. */
void lab_begin(struct lab *lab);
/* A front end for a device of another process, on fd. */
void lab_attach(struct lab *lab, int fd);
/* All that an emulator says until the guest's driver runs. */
void lab_set_up(struct lab *lab);
/* Both, and buffers for the guest. */
void lab_start(struct lab *lab);
/* Hangs up, and gives what the device ended with. */
tc_status lab_end(struct lab *lab);
/* For a device that must end by itself. */
tc_status lab_await_end(struct lab *lab);

/* The bytes at a place of guest memory, up to the end of its region. */
uint8_t *lab_at(struct lab *lab, uint32_t place);
/* Byte by byte, across the regions. */
void lab_write(struct lab *lab, uint32_t place, const void *bytes, size_t size);
void lab_read(struct lab *lab, uint32_t place, void *out, size_t size);

/* --- front end --- */
void lab_say(struct lab *lab, uint32_t request, uint32_t flags, const void *payload, size_t size,
             const int *fds, size_t fds_count);
void lab_say_two(struct lab *lab, uint32_t request, uint32_t first, uint32_t second);
/* The payload of the answer, which must have size bytes. */
void lab_answer(struct lab *lab, uint32_t request, void *payload, size_t size);
void lab_say_memory(struct lab *lab);
void lab_start_queue(struct lab *lab, unsigned queue);

/* --- driver --- */
void lab_describe(struct lab *lab, unsigned queue, uint16_t index, uint64_t address, uint32_t size,
                  uint16_t flags, uint16_t next);
void lab_offer(struct lab *lab, unsigned queue, uint16_t head);
void lab_kick(struct lab *lab, unsigned queue);
/* Waits until the device has used one more; returns how much it wrote. */
uint32_t lab_await_used(struct lab *lab, unsigned queue, uint16_t *ret_head);
void lab_offer_buffers(struct lab *lab, unsigned count);

struct tc_vsockpkt lab_packet(struct lab *lab, uint32_t guest_port, enum tc_vsockpkt_op op);
/* Sends and waits until it was taken. */
void lab_send(struct lab *lab, const struct tc_vsockpkt *packet, const void *bytes);
/* The same without the wait. */
void lab_post(struct lab *lab, const struct tc_vsockpkt *packet, const void *bytes);
/* The next packet, whose bytes go to out. The buffer is offered again. */
struct tc_vsockpkt lab_receive(struct lab *lab, uint8_t *out);
/* A packet of this kind for this port, with credit updates before it passed over. */
struct tc_vsockpkt lab_expect(struct lab *lab, uint32_t guest_port, enum tc_vsockpkt_op op,
                              uint8_t *out);
/* Connects to LAB_PORT; the host's end. */
int lab_connect(struct lab *lab, uint32_t guest_port);

#endif
