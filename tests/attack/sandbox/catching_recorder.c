/* A recorder's process that catches as the real one does, and says on each connection
 * what it was taken for. A connection to a name that begins with "denied" gets the list
 * of what was refused instead. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "worker/recorder_main.h"
#include "worker/stages.h"

struct tc_recorder {
    pthread_mutex_t lock;
    char denied[4096];
};

tc_status tc_recorder_take(struct tc_recorder *recorder, int fd, const char *name,
                           const char *address, uint16_t port, struct tc_error *err)
{
    char text[sizeof recorder->denied + 1];
    char piece[256];
    (void)err;
    (void)pthread_mutex_lock(&recorder->lock);
    if (strncmp(name, "denied", 6) == 0)
        (void)snprintf(text, sizeof text, "%s", recorder->denied);
    else
        (void)snprintf(text, sizeof text, "TARGET [%s] %s %u\n", name, address, port);
    (void)pthread_mutex_unlock(&recorder->lock);
    (void)!write(fd, text, strlen(text));
    (void)shutdown(fd, SHUT_WR);
    /* What the build sent is taken, so that it sees an end and no reset. */
    for (int i = 0; i < 16 && recv(fd, piece, sizeof piece, MSG_DONTWAIT) > 0; i++) {
    }
    (void)close(fd);
    return TC_OK;
}

void tc_recorder_deny(struct tc_recorder *recorder, const char *what, const char *why)
{
    (void)pthread_mutex_lock(&recorder->lock);
    size_t used = strlen(recorder->denied);
    (void)snprintf(recorder->denied + used, sizeof recorder->denied - used, "DENIED %s: %s\n", what,
                   why);
    (void)pthread_mutex_unlock(&recorder->lock);
}

/* --- what the filter leaves it --- */

static void *nothing(void *context)
{
    return context;
}

static void probe(int fd)
{
    char *const no_words[] = {NULL};
    const struct {
        const char *name;
        bool allowed;
    } tries[] = {
        {"open", open("/proc/self/status", O_RDONLY) >= 0},
        {"fork", fork() >= 0},
        {"process by clone", syscall(SYS_clone, CLONE_VM | SIGCHLD, 0, 0, 0, 0) >= 0},
        {"ptrace", ptrace(PTRACE_TRACEME, 0, 0, 0) >= 0},
        {"kill", kill(-1, 0) >= 0},
        {"exec", execve("/usr/bin/true", no_words, no_words) >= 0},
        {"listen", listen(fd, 1) >= 0},
        {"inet", socket(AF_INET, SOCK_STREAM, 0) >= 0},
        {"inet6", socket(AF_INET6, SOCK_DGRAM, 0) >= 0},
        {"unix", socket(AF_UNIX, SOCK_STREAM, 0) >= 0},
        {"netlink", socket(AF_NETLINK, SOCK_RAW, 0) >= 0},
        {"packet", socket(AF_PACKET, SOCK_RAW, 0) >= 0},
        {"inet pair", socketpair(AF_INET, SOCK_STREAM, 0, (int[2]){0}) >= 0},
        {"setuid", setuid(0) >= 0},
    };
    char text[2048] = "";
    size_t used = 0;
    pthread_t thread;
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s %s\n", tries[i].name,
                                 tries[i].allowed ? "ALLOWED" : "refused");
    bool threads =
        pthread_create(&thread, NULL, nothing, NULL) == 0 && pthread_join(thread, NULL) == 0;
    used += (size_t)snprintf(text + used, sizeof text - used, "thread %s\nfds",
                             threads ? "started" : "refused");
    for (int other = 3; other < 64; other++) {
        struct stat info;
        if (fstat(other, &info) == 0)
            used += (size_t)snprintf(text + used, sizeof text - used, " %d", other);
    }
    used += (size_t)snprintf(text + used, sizeof text - used, "\n");
    (void)!write(fd, text, used);
}

int tc_recorder_main(const struct tc_recorder_process_config *config)
{
    static struct tc_recorder recorder = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct tc_error err = {0};
    struct tc_listeners listeners;
    struct tc_catcher *catcher = NULL;
    char byte;
    struct pollfd fds[2] = {{.fd = config->session_fd, .events = POLLIN},
                            {.fd = config->stages_fd, .events = POLLIN}};
    while (poll(fds, 2, -1) > 0 && fds[1].revents == 0 && read(config->session_fd, &byte, 1) == 1)
        probe(config->session_fd);
    /* An offline build: stages closes its end. */
    if (tc_listeners_receive(config->stages_fd, &listeners, &err) == TC_OK &&
        tc_catcher_start(&listeners, &recorder, &catcher, &err) != TC_OK)
        (void)dprintf(STDERR_FILENO, "%s\n", err.message);
    while (read(config->session_fd, &byte, 1) > 0) {
    }
    return tc_catcher_stop(catcher, &err) == TC_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
