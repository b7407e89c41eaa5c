/* In the place of QEMU for the tests of the launcher: finds its "image", a file
 * with words or the kernel of a microvm, and does what they say as a guest over the device that it
 * was given.
 *
 *   arguments   prints what it was started with
 *   session     connects to the session, sends "hello", prints what comes back
 *   garbage     connects to the session, sends what is no frame, prints what comes back
 *   heartbeat   sends 0xb7 and prints the byte that comes back
 *   pages       prints the first bytes of the page server
 *   own         connects to port 7400, prints what comes
 *   many        connects to port 7303 three times, sends "ask", prints what comes
 *   network     asks there to store something, prints the answer
 *   nsm         asks the attester on port 7304 who it is, prints the answer
 *   storm       connects to the network's port 10000 times, prints how often it was let
 *   twice       connects to the session again and prints what happens
 *   break       gives the device a chain without an end
 *   flood       prints very much
 *   count       prints 32768 lines with the next numbers
 *   last        prints "last words"
 *   open        prints what is no whole line
 *   escape      prints a line as a serial console has it, with an escape sequence
 *   core        prints how large a core it may leave
 *   noise       prints what takes four characters each in a message
 *   mark        makes the file that FAKE_MARK names
 *   ramdisk     prints the file that is named as one
 *   wait        never ends
 *   device      prints what is in the kernel's device that it was given
 *   stranger    does as "session" by another CID
 *   fail        ends with status 7
 *
 * Given the kernel's device (vhost.h) it connects to what test_machine.c has for vsock: unix
 * sockets whose names begin with what FAKE_VSOCK says. Asked whether it has such a device,
 * it says no, so that what starts it for another's sake uses ours everywhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>
#include <linux/virtio_ring.h>

#include "core/egress.h"
#include "host/machine.h"
#include "os/vsock.h"
#include "vsock_lab.h"

enum { DEVICE = 3 };

static struct lab lab;
static uint32_t guest_port = 1000;
static unsigned kernels_cid; /* 0: it has our device */

/* Of the last connection; earlier ones still say that they end. */
static struct tc_vsockpkt receive(uint8_t *bytes)
{
    struct tc_vsockpkt packet;
    do
        packet = lab_receive(&lab, bytes);
    while (packet.dst_port != guest_port || packet.op == TC_VSOCKPKT_CREDIT_UPDATE);
    return packet;
}

static bool start_stream(uint32_t port)
{
    struct tc_vsockpkt packet = lab_packet(&lab, ++guest_port, TC_VSOCKPKT_REQUEST);
    packet.dst_port = port;
    lab_send(&lab, &packet, NULL);
    /* What earlier streams bring meanwhile is left out. */
    static uint8_t bytes[LAB_BUFFER];
    return receive(bytes).op == TC_VSOCKPKT_RESPONSE;
}

static void print_bytes(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        (void)printf(bytes[i] >= ' ' && bytes[i] < 0x7f ? "%c" : "<%02x>", bytes[i]);
}

static socklen_t name_socket(struct sockaddr_un *address, const char *what, unsigned number,
                             unsigned count)
{
    const char *prefix = getenv("FAKE_VSOCK");
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    int size = snprintf(address->sun_path + 1, sizeof address->sun_path - 1, "%s-%s-%u",
                        prefix ? prefix : "", what, number);
    if (count > 0)
        size += snprintf(address->sun_path + 1 + size, sizeof address->sun_path - 1 - (size_t)size,
                         "-%u", count);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)size);
}

/* By the kernel's device, as cid. A stream that ends before a byte has come was not let in. */
static void talk_as(unsigned cid, const char *name, uint32_t port, struct tc_span sent,
                    size_t expected)
{
    static unsigned count;
    uint8_t bytes[512];
    struct sockaddr_un ours, theirs;
    uint32_t shift = tc_vsock_port_shift(kernels_cid);
    socklen_t ours_size = name_socket(&ours, "from", cid, ++count);
    socklen_t theirs_size = name_socket(&theirs, "port", port + shift, 0);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0); /* open to the end */
    size_t got = 0;
    (void)printf("%s: ", name);
    if (bind(fd, (const struct sockaddr *)&ours, ours_size) != 0) (void)puts("cannot bind");
    bool is_in = connect(fd, (const struct sockaddr *)&theirs, theirs_size) == 0;
    if (is_in && sent.size > 0) (void)send(fd, sent.data, sent.size, MSG_NOSIGNAL);
    while (is_in && got < expected) {
        ssize_t size = recv(fd, bytes, sizeof bytes, 0);
        if (size <= 0) break;
        print_bytes(bytes, (size_t)size);
        got += (size_t)size;
    }
    (void)puts(got > 0 ? "" : "refused");
}

static void talk_bytes(const char *name, uint32_t port, struct tc_span sent, size_t expected)
{
    static uint8_t bytes[LAB_BUFFER];
    size_t got = 0;
    if (kernels_cid != 0) {
        talk_as(kernels_cid, name, port, sent, expected);
        return;
    }
    (void)printf("%s: ", name);
    if (!start_stream(port)) {
        (void)puts("refused");
        return;
    }
    if (sent.size > 0) {
        struct tc_vsockpkt packet = lab_packet(&lab, guest_port, TC_VSOCKPKT_RW);
        packet.dst_port = port;
        packet.size = (uint32_t)sent.size;
        lab_send(&lab, &packet, sent.data);
    }
    while (got < expected) {
        struct tc_vsockpkt packet = receive(bytes);
        if (packet.op != TC_VSOCKPKT_RW) break;
        print_bytes(bytes, packet.size);
        got += packet.size;
    }
    (void)puts("");
}

static void talk(const char *name, uint32_t port, const char *sent, size_t expected)
{
    talk_bytes(name, port, tc_span_of_text(sent), expected);
}

/* Until the egress hangs up. */
static void ask_network(void)
{
    const uint8_t question[TC_EGRESS_HEADER_SIZE] = {TC_EGRESS_STORE};
    talk_bytes("network", TC_VSOCK_PORT_EGRESS, (struct tc_span){question, sizeof question},
               SIZE_MAX);
}

static void make_mark(void)
{
    const char *path = getenv("FAKE_MARK");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (file) (void)fclose(file);
}

static void print_ramdisk(int argc, char **argv)
{
    char text[32] = "";
    for (int i = 1; i + 1 < argc; i++) {
        FILE *file = strcmp(argv[i], "-initrd") == 0 ? fopen(argv[i + 1], "r") : NULL;
        if (!file) continue;
        (void)!fread(text, 1, sizeof text - 1, file);
        (void)fclose(file);
    }
    (void)printf("ramdisk: %s\n", text);
}

static void print_core(void)
{
    struct rlimit limit = {0};
    (void)getrlimit(RLIMIT_CORE, &limit);
    (void)printf("core: %llu\n", (unsigned long long)limit.rlim_cur);
}

static void print_device(void)
{
    char text[32] = "";
    (void)!pread(DEVICE, text, sizeof text - 1, 0);
    (void)printf("device: %s\n", text);
}

static void ask_nsm(void)
{
    /* A block of 12 bytes: CBOR of the text DescribeNSM. */
    static const uint8_t question[] = "\0\0\0\x0c\x6b"
                                      "DescribeNSM";
    talk_bytes("nsm", TC_VSOCK_PORT_ATTESTER, (struct tc_span){question, sizeof question - 1}, 64);
}

/* None of them is ever closed. */
static void storm(void)
{
    size_t let = 0;
    for (size_t i = 0; i < 10000; i++)
        let += start_stream(TC_VSOCK_PORT_EGRESS);
    (void)printf("storm: %zu\n", let);
}

static void count_on(void)
{
    static unsigned number;
    for (unsigned end = number + 32768; number < end; number++)
        (void)printf("%07u\n", number);
    (void)fflush(stdout);
}

static void obey(const char *word, int argc, char **argv)
{
    static char line[1024];
    if (strcmp(word, "arguments") == 0)
        for (int i = 1; i < argc; i++)
            (void)printf("argument %s\n", argv[i]);
    if (strcmp(word, "session") == 0) talk("session", 7301, "hello", 7);
    if (strcmp(word, "count") == 0) count_on();
    if (strcmp(word, "core") == 0) print_core();
    for (size_t i = 0; strcmp(word, "noise") == 0 && i < 1000; i++)
        (void)putchar('\033');
    if (strcmp(word, "last") == 0) (void)puts("last words");
    if (strcmp(word, "open") == 0) (void)fputs("no end", stdout);
    if (strcmp(word, "escape") == 0) (void)puts("\033[31mred\r");
    if (strcmp(word, "mark") == 0) make_mark();
    if (strcmp(word, "ramdisk") == 0) print_ramdisk(argc, argv);
    if (strcmp(word, "device") == 0) print_device();
    if (strcmp(word, "stranger") == 0)
        talk_as(kernels_cid + 1, word, TC_VSOCK_PORT_SESSION, tc_span_of_text("hello"), 1);
    if (strcmp(word, "heartbeat") == 0) talk("heartbeat", 7305, "\xb7", 1);
    if (strcmp(word, "pages") == 0) talk("pages", 7302, "", 18);
    if (strcmp(word, "own") == 0) talk("own", 7400, "", 3);
    for (size_t i = 0; strcmp(word, "many") == 0 && i < 3; i++)
        talk("many", 7303, "ask", 6);
    if (strcmp(word, "network") == 0) ask_network();
    if (strcmp(word, "garbage") == 0)
        talk("session", 7301, "garbage, and then some more that is no frame of ours", SIZE_MAX);
    if (strcmp(word, "nsm") == 0) ask_nsm();
    if (strcmp(word, "storm") == 0) storm();
    if (strcmp(word, "twice") == 0) talk("twice", 7301, "", 1);
    if (strcmp(word, "fail") == 0) {
        (void)fflush(stdout);
        _exit(7);
    }
    if (strcmp(word, "break") == 0) {
        lab_describe(&lab, TX, 0, LAB_GUEST, 1, VRING_DESC_F_NEXT, 0);
        lab_offer(&lab, TX, 0);
        lab_kick(&lab, TX);
        (void)!read(DEVICE, line, 1); /* until it has hung up */
    }
    memset(line, 'x', sizeof line - 1);
    for (size_t i = 0; strcmp(word, "flood") == 0 && i < 2 * TC_MACHINE_CONSOLE_MAX;
         i += sizeof line)
        (void)fwrite(line, 1, sizeof line, stdout);
    if (strcmp(word, "wait") == 0) {
        (void)puts("waiting");
        (void)fflush(stdout);
        for (;;)
            (void)pause();
    }
}

int main(int argc, char **argv)
{
    char word[32];
    const char *image = NULL;
    if (argc >= 3 && strcmp(argv[argc - 2], "-M") == 0 && strcmp(argv[argc - 1], "help") == 0) {
        if (argc > 3 && getenv("FAKE_NO_SANDBOX")) return 1;
        (void)puts("Supported machines are:\nmicrovm              microvm (i386)");
        return 0;
    }
    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], "-kernel") == 0) image = argv[i + 1];
        if (strcmp(argv[i], "-device") == 0)
            (void)sscanf(argv[i + 1], "vhost-vsock-device,guest-cid=%u,", &kernels_cid);
    }
    FILE *file = image ? fopen(image, "r") : NULL;
    if (!file) return 2;
    if (kernels_cid == 0) {
        lab_attach(&lab, DEVICE);
        lab.cid = 4;
        lab_set_up(&lab);
        lab_offer_buffers(&lab, LAB_BUFFERS);
    }
    while (fscanf(file, "%31s", word) == 1)
        obey(word, argc, argv);
    (void)fclose(file);
    return 0;
}
