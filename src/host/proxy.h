/* The host's own way out: an HTTP proxy that is asked to CONNECT, and the names that
 * are reached without it. */
#ifndef TC_HOST_PROXY_H
#define TC_HOST_PROXY_H

#include "base/bytes.h"

struct tc_proxy { /* owns everything; zeroed: no proxy */
    char *host;   /* name or address; NULL: no proxy */
    uint16_t port;
    char *authorization; /* value of Proxy-Authorization; NULL: none */
    char *except;        /* as NO_PROXY has it; NULL: nothing */
};
#define TC_AUTO_PROXY TC_CLEANUP(tc_proxy_done)
void tc_proxy_done(struct tc_proxy *proxy);

/* url is "http://[USER:PASSWORD@]HOST[:PORT][/]", the scheme may be left out, the port is
 * 80 when it is; user and password with %XX. TC_USAGE for anything else; the message
 * holds no password. except may be NULL. */
tc_status tc_proxy_parse(const char *url, const char *except, struct tc_proxy *ret_proxy,
                         struct tc_error *err) TC_MUST_USE;

/* From https_proxy, HTTPS_PROXY, all_proxy or ALL_PROXY, the first that is not empty, and
 * no_proxy or NO_PROXY. */
tc_status tc_proxy_of_environment(struct tc_proxy *ret_proxy, struct tc_error *err) TC_MUST_USE;

/* Is name:port reached through it? Entries of the list stand between commas or white
 * space: "*", or a name that stands for itself and the names below it, with or without
 * a dot in front, with or without a port. */
bool tc_proxy_covers(const struct tc_proxy *proxy, const char *name, uint16_t port) TC_MUST_USE;

#endif
