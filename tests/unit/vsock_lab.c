#include "vsock_lab.h"

#include <fcntl.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { AVAILABLE = LAB_QUEUE * 16, USED = AVAILABLE + 512 };

static const uint32_t queue_places[2] = {LAB_RX, LAB_TX};

/* --- the device --- */

static tc_status connect_host(void *context, uint32_t port, int *ret_fd, struct tc_error *err)
{
    struct lab *lab = context;
    int ends[2];
    if (port != LAB_PORT) return tc_fail(err, TC_PEER, "nobody");
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    (void)pthread_mutex_lock(&lab->lock);
    assert_true(lab->hosts_count < LAB_HOSTS);
    lab->hosts[lab->hosts_count++] = ends[1];
    (void)pthread_cond_broadcast(&lab->came);
    (void)pthread_mutex_unlock(&lab->lock);
    *ret_fd = ends[0];
    return TC_OK;
}

static void *run(void *context)
{
    struct lab *lab = context;
    lab->status = tc_vsockdev_serve(lab->device_fd, &lab->config, &lab->err);
    (void)shutdown(lab->device_fd, SHUT_RDWR);
    return NULL;
}

static void make_guest(struct lab *lab)
{
    *lab = (struct lab){.room = 1 << 20};
    assert_int_equal(pthread_mutex_init(&lab->lock, NULL), 0);
    assert_int_equal(pthread_cond_init(&lab->came, NULL), 0);
    lab->memory_fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(lab->memory_fd, LAB_SIZE), 0);
    assert_int_equal(fcntl(lab->memory_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
    lab->file = mmap(NULL, LAB_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, lab->memory_fd, 0);
    assert_true(lab->file != MAP_FAILED);
    for (size_t i = 0; i < 2; i++) {
        lab->kick[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        lab->call[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    lab->cid = LAB_CID;
}

void lab_begin(struct lab *lab)
{
    int ends[2];
    make_guest(lab);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    lab->front = ends[0];
    lab->device_fd = ends[1];
    lab->config = (struct tc_vsockdev_config){LAB_CID, connect_host, lab};
    assert_int_equal(pthread_create(&lab->thread, NULL, run, lab), 0);
}

void lab_attach(struct lab *lab, int fd)
{
    make_guest(lab);
    lab->front = fd;
    lab->device_fd = -1;
}

tc_status lab_await_end(struct lab *lab)
{
    assert_int_equal(pthread_join(lab->thread, NULL), 0);
    for (size_t i = 0; i < lab->hosts_count; i++)
        (void)close(lab->hosts[i]);
    for (size_t i = 0; i < 2; i++) {
        (void)close(lab->kick[i]);
        (void)close(lab->call[i]);
    }
    (void)close(lab->front);
    (void)close(lab->device_fd);
    (void)close(lab->memory_fd);
    (void)munmap(lab->file, LAB_SIZE);
    (void)pthread_cond_destroy(&lab->came);
    (void)pthread_mutex_destroy(&lab->lock);
    return lab->status;
}

tc_status lab_end(struct lab *lab)
{
    (void)shutdown(lab->front, SHUT_RDWR);
    return lab_await_end(lab);
}

/* --- memory --- */

uint8_t *lab_at(struct lab *lab, uint32_t place)
{
    return lab->file + (place + LAB_HALF) % LAB_SIZE;
}

void lab_write(struct lab *lab, uint32_t place, const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        *lab_at(lab, place + (uint32_t)i) = ((const uint8_t *)bytes)[i];
}

void lab_read(struct lab *lab, uint32_t place, void *out, size_t size)
{
    for (size_t i = 0; i < size; i++)
        ((uint8_t *)out)[i] = *lab_at(lab, place + (uint32_t)i);
}

/* --- front end --- */

void lab_say(struct lab *lab, uint32_t request, uint32_t flags, const void *payload, size_t size,
             const int *fds, size_t fds_count)
{
    uint32_t head[3] = {request, flags, (uint32_t)size};
    uint8_t bytes[1024];
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(16 * sizeof(int))];
    } control = {0};
    memcpy(bytes, head, sizeof head);
    if (size > 0) memcpy(bytes + sizeof head, payload, size);
    struct iovec piece = {bytes, sizeof head + size};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    if (fds_count > 0) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(fds_count * sizeof(int));
        control.head.cmsg_level = SOL_SOCKET;
        control.head.cmsg_type = SCM_RIGHTS;
        control.head.cmsg_len = CMSG_LEN(fds_count * sizeof(int));
        memcpy(CMSG_DATA(&control.head), fds, fds_count * sizeof(int));
    }
    /* A device that has ended for an earlier message is what some tests are about. */
    (void)!sendmsg(lab->front, &message, MSG_NOSIGNAL);
}

void lab_say_two(struct lab *lab, uint32_t request, uint32_t first, uint32_t second)
{
    const uint32_t payload[2] = {first, second};
    lab_say(lab, request, 1, payload, sizeof payload, NULL, 0);
}

void lab_answer(struct lab *lab, uint32_t request, void *payload, size_t size)
{
    uint32_t head[3];
    assert_int_equal(recv(lab->front, head, sizeof head, MSG_WAITALL), sizeof head);
    assert_int_equal(head[0], request);
    assert_int_equal(head[1], TC_VHOST_FLAG_VERSION | TC_VHOST_FLAG_REPLY);
    assert_int_equal(head[2], size);
    assert_int_equal(recv(lab->front, payload, size, MSG_WAITALL), size);
}

void lab_say_memory(struct lab *lab)
{
    const uint64_t table[] = {
        2,        LAB_GUEST,           LAB_HALF, LAB_USER, LAB_HALF, LAB_GUEST + LAB_HALF,
        LAB_HALF, LAB_USER + LAB_HALF, 0};
    const int fds[2] = {lab->memory_fd, lab->memory_fd};
    lab_say(lab, TC_VHOST_SET_MEM_TABLE, 1, table, sizeof table, fds, 2);
}

void lab_start_queue(struct lab *lab, unsigned queue)
{
    const uint64_t index = queue, base = LAB_USER + queue_places[queue];
    const uint64_t address[] = {index, base, base + USED, base + AVAILABLE, 0};
    lab_say_two(lab, TC_VHOST_SET_VRING_NUM, queue, LAB_QUEUE);
    lab_say_two(lab, TC_VHOST_SET_VRING_BASE, queue, lab->seen[queue]);
    lab_say(lab, TC_VHOST_SET_VRING_ADDR, 1, address, sizeof address, NULL, 0);
    lab_say(lab, TC_VHOST_SET_VRING_KICK, 1, &index, sizeof index, &lab->kick[queue], 1);
    lab_say(lab, TC_VHOST_SET_VRING_CALL, 1, &index, sizeof index, &lab->call[queue], 1);
    lab_say_two(lab, TC_VHOST_SET_VRING_ENABLE, queue, 1);
}

void lab_set_up(struct lab *lab)
{
    const uint64_t features = TC_VHOST_F_VERSION_1 | TC_VHOST_F_PROTOCOL_FEATURES;
    const uint64_t protocol = TC_VHOST_PROTOCOL_CONFIG | TC_VHOST_PROTOCOL_REPLY_ACK;
    uint64_t acknowledged = 1;
    lab_say(lab, TC_VHOST_SET_OWNER, 1, NULL, 0, NULL, 0);
    lab_say(lab, TC_VHOST_SET_PROTOCOL_FEATURES, 1, &protocol, sizeof protocol, NULL, 0);
    lab_say(lab, TC_VHOST_SET_FEATURES, 9, &features, sizeof features, NULL, 0);
    lab_answer(lab, TC_VHOST_SET_FEATURES, &acknowledged, sizeof acknowledged);
    assert_int_equal(acknowledged, 0);
    lab_say_memory(lab);
    lab_start_queue(lab, RX);
    lab_start_queue(lab, TX);
}

void lab_start(struct lab *lab)
{
    lab_begin(lab);
    lab_set_up(lab);
    lab_offer_buffers(lab, LAB_BUFFERS);
}

/* --- driver --- */

void lab_describe(struct lab *lab, unsigned queue, uint16_t index, uint64_t address, uint32_t size,
                  uint16_t flags, uint16_t next)
{
    const struct vring_desc entry = {address, size, flags, next};
    lab_write(lab, queue_places[queue] + index * (uint32_t)sizeof entry, &entry, sizeof entry);
}

void lab_offer(struct lab *lab, unsigned queue, uint16_t head)
{
    struct vring_avail *available = (void *)lab_at(lab, queue_places[queue] + AVAILABLE);
    available->ring[lab->offered[queue]++ % LAB_QUEUE] = head;
    __atomic_store_n(&available->idx, lab->offered[queue], __ATOMIC_RELEASE);
}

void lab_kick(struct lab *lab, unsigned queue)
{
    const uint64_t one = 1;
    assert_int_equal(write(lab->kick[queue], &one, sizeof one), sizeof one);
}

uint32_t lab_await_used(struct lab *lab, unsigned queue, uint16_t *ret_head)
{
    struct vring_used *used = (void *)lab_at(lab, queue_places[queue] + USED);
    while (__atomic_load_n(&used->idx, __ATOMIC_ACQUIRE) == lab->seen[queue]) {
        struct pollfd fds[2] = {{.fd = lab->call[queue], .events = POLLIN},
                                {.fd = lab->front, .events = POLLRDHUP}};
        uint64_t count;
        assert_true(poll(fds, 2, -1) > 0);
        if (read(lab->call[queue], &count, sizeof count) < 0 && fds[1].revents != 0)
            fail_msg("the device ended: %s", lab->err.message);
    }
    const struct vring_used_elem *entry = &used->ring[lab->seen[queue]++ % LAB_QUEUE];
    *ret_head = (uint16_t)entry->id;
    return entry->len;
}

static void offer_buffer(struct lab *lab, uint16_t index)
{
    lab_describe(lab, RX, index, LAB_GUEST + LAB_RECEIVE + index * LAB_BUFFER, LAB_BUFFER,
                 VRING_DESC_F_WRITE, 0);
    lab_offer(lab, RX, index);
}

void lab_offer_buffers(struct lab *lab, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        offer_buffer(lab, (uint16_t)lab->filled++);
    lab_kick(lab, RX);
}

struct tc_vsockpkt lab_packet(struct lab *lab, uint32_t guest_port, enum tc_vsockpkt_op op)
{
    return (struct tc_vsockpkt){.src_cid = lab->cid,
                                .dst_cid = 3,
                                .src_port = guest_port,
                                .dst_port = LAB_PORT,
                                .type = TC_VSOCKPKT_STREAM,
                                .op = (uint16_t)op,
                                .buf_alloc = lab->room,
                                .fwd_cnt = lab->taken};
}

/* Posted packets lie one behind the other until something was waited for; the
 * head and the bytes are two descriptors. */
void lab_post(struct lab *lab, const struct tc_vsockpkt *packet, const void *bytes)
{
    uint8_t head[TC_VSOCKPKT_SIZE];
    uint16_t index = (uint16_t)(lab->offered[TX] % (LAB_QUEUE / 2) * 2);
    uint32_t place = LAB_SEND + index / 2 * (uint32_t)sizeof head;
    uint32_t body = LAB_SEND + LAB_QUEUE / 2 * (uint32_t)sizeof head;
    tc_vsockpkt_encode(packet, head);
    lab_write(lab, place, head, sizeof head);
    if (bytes) lab_write(lab, body, bytes, packet->size);
    lab_describe(lab, TX, index, LAB_GUEST + place, sizeof head, bytes ? VRING_DESC_F_NEXT : 0,
                 (uint16_t)(index + 1));
    lab_describe(lab, TX, (uint16_t)(index + 1), LAB_GUEST + body, packet->size, 0, 0);
    lab_offer(lab, TX, index);
    lab_kick(lab, TX);
}

void lab_send(struct lab *lab, const struct tc_vsockpkt *packet, const void *bytes)
{
    uint16_t head;
    lab_post(lab, packet, bytes);
    assert_int_equal(lab_await_used(lab, TX, &head), 0);
}

struct tc_vsockpkt lab_receive(struct lab *lab, uint8_t *out)
{
    uint8_t head[TC_VSOCKPKT_SIZE];
    uint16_t index;
    uint32_t size = lab_await_used(lab, RX, &index);
    uint32_t place = LAB_RECEIVE + (uint32_t)index * LAB_BUFFER;
    assert_true(index < LAB_BUFFERS && size >= sizeof head && size <= LAB_BUFFER);
    lab_read(lab, place, head, sizeof head);
    struct tc_vsockpkt packet = tc_vsockpkt_decode(head);
    assert_int_equal(packet.size, size - sizeof head);
    assert_int_equal(packet.dst_cid, lab->cid);
    if (packet.size > 0) {
        assert_non_null(out);
        lab_read(lab, place + (uint32_t)sizeof head, out, packet.size);
    }
    offer_buffer(lab, index);
    lab_kick(lab, RX);
    return packet;
}

struct tc_vsockpkt lab_expect(struct lab *lab, uint32_t guest_port, enum tc_vsockpkt_op op,
                              uint8_t *out)
{
    struct tc_vsockpkt packet;
    do
        packet = lab_receive(lab, out);
    while (packet.op == TC_VSOCKPKT_CREDIT_UPDATE && op != TC_VSOCKPKT_CREDIT_UPDATE);
    assert_int_equal(packet.op, op);
    assert_int_equal(packet.dst_port, guest_port);
    return packet;
}

int lab_connect(struct lab *lab, uint32_t guest_port)
{
    const struct tc_vsockpkt request = lab_packet(lab, guest_port, TC_VSOCKPKT_REQUEST);
    lab_send(lab, &request, NULL);
    struct tc_vsockpkt response = lab_expect(lab, guest_port, TC_VSOCKPKT_RESPONSE, NULL);
    assert_int_equal(response.src_cid, 3);
    assert_int_equal(response.src_port, LAB_PORT);
    assert_int_equal(response.buf_alloc, TC_VSOCKDEV_BUFFER);
    (void)pthread_mutex_lock(&lab->lock);
    int fd = lab->hosts[lab->hosts_count - 1];
    (void)pthread_mutex_unlock(&lab->lock);
    return fd;
}
