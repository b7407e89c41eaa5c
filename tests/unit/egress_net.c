#include "egress_net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

const char *resolved[24];
uint16_t server_port;
int dialled;
bool refuse_all;
sem_t *resolver_gate;
sem_t resolver_waits;

int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **ret);
int __real_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **ret);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t size);
int __real_connect(int fd, const struct sockaddr *address, socklen_t size);

int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **ret)
{
    struct addrinfo numeric = *hints, **end = ret;
    numeric.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
    *ret = NULL;
    if (resolver_gate) {
        (void)sem_post(&resolver_waits);
        while (sem_wait(resolver_gate) != 0) {
        }
    }
    if (strcmp(node, "proxy.test") == 0)
        return __real_getaddrinfo("127.0.0.1", service, &numeric, ret);
    if (strcmp(node, "nowhere.test") == 0) return EAI_NONAME;
    for (size_t i = 0; i < 24 && resolved[i]; i++) {
        int code = __real_getaddrinfo(resolved[i], service, &numeric, end);
        if (code != 0) return code;
        end = &(*end)->ai_next;
    }
    return 0;
}

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t size)
{
    struct sockaddr_in v4;
    __atomic_add_fetch(&dialled, 1, __ATOMIC_SEQ_CST);
    if (refuse_all) {
        errno = ECONNREFUSED;
        return -1;
    }
    if (address->sa_family != AF_INET) return __real_connect(fd, address, size);
    memcpy(&v4, address, sizeof v4);
    if (ntohl(v4.sin_addr.s_addr) == 0xc0000209) { /* 192.0.2.9 */
        errno = ECONNREFUSED;
        return -1;
    }
    if (ntohl(v4.sin_addr.s_addr) == 0xc0000201) {
        v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        v4.sin_port = htons(server_port);
    }
    return __real_connect(fd, (struct sockaddr *)&v4, sizeof v4);
}

struct tc_egress *new_egress(const char *proxy, const char *except)
{
    struct tc_egress_config config = {0};
    struct tc_egress *egress;
    struct tc_error err = {0};
    if (proxy) assert_int_equal(tc_proxy_parse(proxy, except, &config.proxy, &err), TC_OK);
    assert_int_equal(tc_egress_new(&config, &egress, &err), TC_OK);
    assert_null(config.proxy.host);
    return egress;
}

void expect_refusal(struct tc_egress *egress, const char *name, const char *words)
{
    char text[TC_EGRESS_TEXT_MAX + 1];
    int fd = open_stream(egress);
    ask_dial(fd, name, 443);
    assert_int_not_equal(read_answer(fd, text), 0);
    if (!strstr(text, words)) fail_msg("\"%s\" does not say \"%s\"", text, words);
    expect_end(fd);
    (void)close(fd);
}

int expect_connection(struct tc_egress *egress, int listener, const char *address, int *ret_server)
{
    char text[TC_EGRESS_TEXT_MAX + 1];
    int fd = open_stream(egress);
    ask_dial(fd, "example.test", 443);
    *ret_server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(*ret_server >= 0);
    assert_int_equal(read_answer(fd, text), 0);
    assert_string_equal(text, address);
    return fd;
}
