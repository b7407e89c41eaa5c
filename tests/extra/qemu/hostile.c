/* /init of an image whose worker means harm (hostile.py). The kernel's command line says
 * what it does, hostile=WORD,WORD,...: an unknown parameter is init's environment.
 *
 *   connect   connects to the session and keeps it
 *   garbage   sends there what is no frame
 *   storm     connects 10000 times, to the session again, the pages, the network, the
 *             attester, the heartbeat and to ports that are none; keeps what it gets
 *   flood     prints 5 MiB, with escape sequences of terminals in it
 *   last      prints "last words"
 *   await     until the session is hung up
 *   hang      for ever, in silence
 *   panic     ends, which the kernel does not survive; else the machine is restarted */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "os/vsock.h"

enum { TRIES = 10000, FLOOD = 5 << 20, REFUSAL_MS = 1000 };

static enum tc_parent parent = TC_PARENT_NITRO;
static uint32_t shift;
static int session = -1;

static void join_session(void)
{
    struct tc_error err = {0};
    uint32_t cid = 0;
    if (tc_vsock_local_cid(&cid, &err) == TC_OK) shift = tc_vsock_port_shift(cid);
    if (tc_vsock_connect_out(TC_VSOCK_PORT_SESSION + shift, &session, &parent, &err) != TC_OK)
        (void)printf("hostile: no session: %s\n", err.message);
    else
        (void)printf("hostile: session\n");
}

static void send_garbage(void)
{
    unsigned char bytes[65536];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(0x80 + i * 31);
    (void)send(session, bytes, sizeof bytes, MSG_NOSIGNAL);
}

static void storm(void)
{
    const uint32_t ports[] = {TC_VSOCK_PORT_EGRESS + shift,    TC_VSOCK_PORT_SESSION + shift,
                              TC_VSOCK_PORT_PAGES + shift,     TC_VSOCK_PORT_ATTESTER + shift,
                              TC_VSOCK_PORT_HEARTBEAT + shift, 1,
                              TC_VSOCK_PORT_ATTESTER + 10000,  UINT32_MAX - 1};
    const struct rlimit many = {2 * TRIES, 2 * TRIES};
    unsigned let = 0;
    (void)setrlimit(RLIMIT_NOFILE, &many);
    for (size_t i = 0; i < TRIES; i++) {
        struct tc_error err = {0};
        int fd = -1;
        let += tc_vsock_connect(parent, ports[i % (sizeof ports / sizeof *ports)], REFUSAL_MS, &fd,
                                &err) == TC_OK;
    }
    (void)printf("hostile: storm: %u of %d were let\n", let, TRIES);
}

static void flood(void)
{
    static const char line[] = "\033[2J\033]0;hostile\a 0123456789 abcdefghijklmnopqrstuvwxyz \x9b"
                               "31m ABCDEFGHIJKLMNOPQRSTUVWXYZ\n";
    for (size_t done = 0; done < FLOOD; done += sizeof line - 1)
        (void)fputs(line, stdout);
}

static void await_hangup(void)
{
    char bytes[4096];
    while (session >= 0 && recv(session, bytes, sizeof bytes, 0) > 0)
        continue;
}

static void obey(const char *word)
{
    if (strcmp(word, "connect") == 0) join_session();
    if (strcmp(word, "garbage") == 0) send_garbage();
    if (strcmp(word, "storm") == 0) storm();
    if (strcmp(word, "flood") == 0) flood();
    if (strcmp(word, "last") == 0) (void)puts("last words");
    if (strcmp(word, "await") == 0) await_hangup();
    if (strcmp(word, "panic") == 0) exit(EXIT_FAILURE);
    while (strcmp(word, "hang") == 0)
        (void)pause();
}

int main(void)
{
    char *words = getenv("hostile"), *rest = NULL;
    if (getpid() != 1 || !words) return 2;
    (void)mkdir("/dev", 0755);
    (void)mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    int console = open("/dev/console", O_RDWR | O_CLOEXEC);
    for (int i = 0; console >= 0 && i < 3; i++)
        (void)dup2(console, i);
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    for (char *word = strtok_r(words, ",", &rest); word; word = strtok_r(NULL, ",", &rest))
        obey(word);
    (void)fflush(stdout);
    (void)tcdrain(STDOUT_FILENO);
    (void)reboot(RB_AUTOBOOT);
    return 1;
}
