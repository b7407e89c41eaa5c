/* recorder_lab EGRESS FOLDER [OPTION...]: one recorder for a test to talk to.
 *
 * Builds connect to the port that is printed first and say "CONNECT NAME:PORT HTTP/1.1", as
 * to a proxy: it stands for the hijack, which gives the recorder a name and a connection.
 * Streams to the host are connections to the Unix socket EGRESS. FOLDER gets ca.pem, ca.p12
 * and network.jsonl. Commands come by standard input, one a line, answered by one line:
 * "get URL", "deny WHAT WHY", "wait" (until it is broken), "finish", "free".
 *
 *   --bundle FILE   --ca HOST=FILE     --allow HOST        --plain HOST    --opaque HOST:PORT
 *   --pin URL=HEX   --credential HOST=NAME=VALUE           --stall MS      --piece BYTES
 *   --store         --replay           --lock FILE (Cargo.lock and so on, for pins)
 *   --slow-open MS (before each stream to the host but the first)
 *   --denied FILE */
#include <ctype.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "worker/recorder.h"

enum { LIST_MAX = 64 };

struct lab {
    const char *egress, *folder;
    struct tc_network network;
    struct tc_recorder_ca ca[LIST_MAX];
    struct tc_credential credentials[LIST_MAX];
    struct tc_buf bundle;
    struct tc_denied denied;
    struct tc_recorder_config config;
    struct tc_recorder *recorder;
    int listener;
    pthread_t thread;
    unsigned slow_open_ms;
    atomic_uint opened;
};

static void die(const char *what, const char *why)
{
    (void)fprintf(stderr, "recorder_lab: %s: %s\n", what, why);
    exit(2);
}

static struct tc_buf read_all(const char *path)
{
    struct tc_buf buf = tc_buf_new(64 << 20);
    char piece[65536];
    FILE *file = fopen(path, "rb");
    if (!file) die(path, "cannot be read");
    for (size_t got; (got = fread(piece, 1, sizeof piece, file)) > 0;)
        tc_buf_add(&buf, piece, got);
    (void)fclose(file);
    return buf;
}

static void write_all(const struct lab *lab, const char *name, struct tc_span span)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", lab->folder, name);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(span.data, 1, span.size, file) != span.size || fclose(file) != 0)
        die(path, "cannot be written");
}

static tc_status open_stream(void *context, int *ret_fd, struct tc_error *err)
{
    struct lab *lab = context;
    if (atomic_fetch_add(&lab->opened, 1) > 0) (void)usleep(lab->slow_open_ms * 1000);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", lab->egress);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        if (fd >= 0) (void)close(fd);
        return tc_fail(err, TC_PEER, "no egress at %s", lab->egress);
    }
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    *ret_fd = fd;
    return TC_OK;
}

/* --- options --- */

static char *split(char *text, char at)
{
    char *place = strchr(text, at);
    if (!place) die(text, "lacks its second part");
    *place = '\0';
    return place + 1;
}

static void add_text(char ***list, size_t *count, char *text)
{
    *list = realloc(*list, (*count + 1) * sizeof **list);
    (*list)[(*count)++] = text;
}

static void add_ca(struct lab *lab, char *text)
{
    char *file = split(text, '=');
    struct tc_buf pem = read_all(file);
    lab->ca[lab->config.ca_count] =
        (struct tc_recorder_ca){.host = text, .path = strrchr(file, '/') + 1, .pem = pem};
    lab->config.ca_count++;
}

static void add_pin(struct lab *lab, char *text)
{
    struct tc_network *network = &lab->network;
    char *hex = strrchr(text, '=');
    if (!hex) die(text, "lacks a digest");
    *hex = '\0';
    network->mode = TC_NETWORK_PINNED;
    network->pinned =
        realloc(network->pinned, (network->pinned_count + 1) * sizeof(struct tc_pinned));
    struct tc_pinned *pin = &network->pinned[network->pinned_count++];
    pin->url = text;
    if (!tc_unhex(hex + 1, pin->digest.bytes, sizeof pin->digest.bytes)) die(hex, "is no digest");
}

static void add_opaque(struct lab *lab, char *text)
{
    struct tc_network *network = &lab->network;
    char *port = split(text, ':');
    network->opaque =
        realloc(network->opaque, (network->opaque_count + 1) * sizeof(struct tc_host_port));
    network->opaque[network->opaque_count++] =
        (struct tc_host_port){text, (uint16_t)strtoul(port, NULL, 10)};
}

static void add_credential(struct lab *lab, char *text)
{
    char *name = split(text, '='), *value = split(name, '=');
    lab->credentials[lab->config.credentials_count++] = (struct tc_credential){text, name, value};
}

static void add_lock(struct tc_pins **pins, const char *path)
{
    struct tc_error err = {0};
    struct tc_buf content = read_all(path);
    if (!*pins) *pins = tc_pins_new();
    if (tc_pins_add(*pins, strrchr(path, '/') + 1, tc_buf_span(&content), &err) != TC_OK)
        die(path, err.message);
    tc_buf_free(&content);
}

static void read_denied(struct lab *lab, const char *path)
{
    struct tc_error err = {0};
    struct tc_buf text = read_all(path);
    if (tc_denied_read(tc_buf_span(&text), &lab->denied, &err) != TC_OK) die(path, err.message);
    lab->config.denied = &lab->denied;
    tc_buf_free(&text);
}

static void read_options(struct lab *lab, char **argv)
{
    struct tc_pins *pins = NULL;
    lab->network.mode = TC_NETWORK_RECORD;
    for (char **next = argv; *next; next++) {
        const char *option = *next;
        if (strcmp(option, "--store") == 0) {
            lab->config.archive = true;
            continue;
        }
        if (strcmp(option, "--replay") == 0) {
            lab->config.replay = true;
            continue;
        }
        char *value = *++next;
        if (!value) die(option, "lacks a value");
        if (strcmp(option, "--bundle") == 0) {
            lab->bundle = read_all(value);
        } else if (strcmp(option, "--denied") == 0) {
            read_denied(lab, value);
        } else if (strcmp(option, "--ca") == 0) {
            add_ca(lab, value);
        } else if (strcmp(option, "--allow") == 0) {
            lab->network.has_allow = true;
            add_text(&lab->network.allow, &lab->network.allow_count, value);
        } else if (strcmp(option, "--plain") == 0) {
            add_text(&lab->network.plain_http, &lab->network.plain_http_count, value);
        } else if (strcmp(option, "--opaque") == 0) {
            add_opaque(lab, value);
        } else if (strcmp(option, "--pin") == 0) {
            add_pin(lab, value);
        } else if (strcmp(option, "--credential") == 0) {
            add_credential(lab, value);
        } else if (strcmp(option, "--stall") == 0) {
            lab->config.stall_ms = strtol(value, NULL, 10);
        } else if (strcmp(option, "--piece") == 0) {
            lab->config.link.piece = strtoul(value, NULL, 10);
        } else if (strcmp(option, "--slow-open") == 0) {
            lab->slow_open_ms = (unsigned)strtoul(value, NULL, 10);
        } else if (strcmp(option, "--lock") == 0) {
            add_lock(&pins, value);
        } else {
            die(option, "is no option");
        }
    }
    if (pins) tc_pins_ready(pins);
    lab->config.pins = pins;
}

/* --- connections --- */

/* Byte by byte: what follows the head belongs to the recorder. */
static bool read_connect(int fd, char *head, size_t size)
{
    size_t used = 0;
    struct timeval patience = {.tv_sec = 20};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    while (used + 1 < size && recv(fd, head + used, 1, 0) == 1) {
        head[++used] = '\0';
        if (used >= 4 && strcmp(head + used - 4, "\r\n\r\n") == 0)
            return strncmp(head, "CONNECT ", 8) == 0;
    }
    return false;
}

static void take(struct lab *lab, int fd)
{
    static const char yes[] = "HTTP/1.1 200 OK\r\n\r\n";
    struct tc_error err = {0};
    char head[4096];
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (!read_connect(fd, head, sizeof head)) {
        (void)close(fd);
        return;
    }
    char *name = head + 8, *port = strchr(name, ':');
    name[strcspn(name, " \r")] = '\0';
    if (!port) die(name, "lacks a port");
    *port++ = '\0';
    bool named = tc_host_name_is_good(tc_span_of_text(name));
    if (send(fd, yes, sizeof yes - 1, MSG_NOSIGNAL) < 0 ||
        tc_recorder_take(lab->recorder, fd, named ? name : "", named ? "198.18.0.9" : name,
                         (uint16_t)strtoul(port, NULL, 10), &err) != TC_OK)
        return; /* broken; the test sees the end of its connection */
}

static void *accept_all(void *context)
{
    struct lab *lab = context;
    for (int fd; (fd = accept4(lab->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0;)
        take(lab, fd);
    return NULL;
}

static void listen_for_builds(struct lab *lab)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    lab->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(lab->listener, (struct sockaddr *)&address, size) != 0 ||
        listen(lab->listener, 16384) != 0 ||
        getsockname(lab->listener, (struct sockaddr *)&address, &size) != 0 ||
        pthread_create(&lab->thread, NULL, accept_all, lab) != 0)
        die("listener", "cannot be made");
    (void)printf("port %u\n", ntohs(address.sin_port));
}

/* --- commands --- */

/* Kilobytes. What getrusage says includes the process before its exec. */
static long peak_memory(void)
{
    char line[256];
    long peak = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "VmHWM:", 6) == 0) peak = strtol(line + 6, NULL, 10);
    if (file) (void)fclose(file);
    return peak;
}

static void finish(struct lab *lab)
{
    struct tc_transcript_summary summary;
    struct tc_error err = {0};
    struct rusage used;
    long peak = 0;
    char last[TC_SHA256_HEX], digest[TC_SHA256_HEX];
    if (tc_recorder_finish(lab->recorder, &summary, &err) != TC_OK) {
        (void)printf("broken %s\n", err.message);
        return;
    }
    (void)getrusage(RUSAGE_SELF, &used);
    peak = peak_memory();
    tc_hex((struct tc_span){summary.last.bytes, sizeof summary.last.bytes}, last);
    tc_hex((struct tc_span){summary.digest.bytes, sizeof summary.digest.bytes}, digest);
    (void)printf("finished %llu %s %s %ld %lld\n", (unsigned long long)summary.count, last, digest,
                 peak,
                 (long long)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000 +
                     used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

static void get(struct lab *lab, const char *url)
{
    struct tc_error err = {0};
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(1 << 20);
    if (tc_recorder_get(lab->recorder, url, &buf, &err) != TC_OK)
        (void)printf("no %s %s\n", tc_status_name(err.status), err.message);
    else
        (void)printf("got %.*s\n", (int)buf.size, (const char *)buf.data);
}

static void wait_for_break(struct lab *lab)
{
    struct tc_error reason = {0};
    struct pollfd polled = {.fd = tc_recorder_broken_fd(lab->recorder), .events = POLLIN};
    (void)poll(&polled, 1, 120 * 1000);
    tc_recorder_reason(lab->recorder, &reason);
    (void)printf("reason %s\n", reason.message);
}

static void obey(struct lab *lab)
{
    char line[8192];
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        if (strcmp(line, "finish") == 0)
            finish(lab);
        else if (strcmp(line, "wait") == 0)
            wait_for_break(lab);
        else if (strncmp(line, "get ", 4) == 0)
            get(lab, line + 4);
        else if (strncmp(line, "deny ", 5) == 0) {
            tc_recorder_deny(lab->recorder, line + 5, split(line + 5, ' '));
            (void)printf("denied\n");
        } else if (strcmp(line, "free") == 0) {
            return;
        }
    }
}

int main(int argc, char **argv)
{
    static struct lab lab;
    struct tc_error err = {0};
    char path[4096];
    if (argc < 3) die("usage", "recorder_lab EGRESS FOLDER [OPTION...]");
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    lab.egress = argv[1];
    lab.folder = argv[2];
    read_options(&lab, argv + 3);
    (void)snprintf(path, sizeof path, "%s/network.jsonl", lab.folder);
    lab.config.transcript_fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    lab.config.network = &lab.network;
    lab.config.bundle = tc_buf_span(&lab.bundle);
    lab.config.ca = lab.ca;
    lab.config.credentials = lab.credentials;
    lab.config.link.open = open_stream;
    lab.config.link.context = &lab;
    if (tc_recorder_new(&lab.config, &lab.recorder, &err) != TC_OK) {
        (void)printf("no %s %s\n", tc_status_name(err.status), err.message);
        return 1;
    }
    write_all(&lab, "ca.pem", tc_recorder_ca_pem(lab.recorder));
    write_all(&lab, "ca.p12", tc_recorder_ca_p12(lab.recorder));
    listen_for_builds(&lab);
    obey(&lab);
    (void)shutdown(lab.listener, SHUT_RDWR);
    (void)pthread_join(lab.thread, NULL);
    tc_recorder_free(lab.recorder);
    (void)printf("freed\n");
    return 0;
}
