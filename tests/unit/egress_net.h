/* A network of the tests' own for the host's egress. The resolver and connect are replaced
 * (-Wl,--wrap=getaddrinfo, --wrap=connect): documentation addresses stand for the network and
 * lead to servers on loopback, which the egress itself never dials. */
#ifndef TC_TESTS_EGRESS_NET_H
#define TC_TESTS_EGRESS_NET_H

#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>

#include "egress_lab.h"

extern const char *resolved[24]; /* what every name but "proxy.test" leads to */
extern uint16_t server_port;     /* where 192.0.2.1 leads on loopback */
extern int dialled;              /* connections that were tried */
extern bool refuse_all;          /* nobody answers, wherever */
extern sem_t *resolver_gate;     /* not NULL: the resolver waits for it */
extern sem_t resolver_waits;

/* Both may be NULL. */
struct tc_egress *new_egress(const char *proxy, const char *except);

/* Asks for a name; the answer must be no, with these words, and the end. */
void expect_refusal(struct tc_egress *egress, const char *name, const char *words);

/* Both ends of a connection to example.test, which must lead to the address. */
int expect_connection(struct tc_egress *egress, int listener, const char *address, int *ret_server);

#endif
