/* The names that the build asked for, each with an address of its own: what comes to
 * the address was meant for the name, whether the connection says so or not. */
#ifndef TC_WORKER_NAMES_H
#define TC_WORKER_NAMES_H

#include <stdbool.h>

#include "core/egress.h"

enum { TC_NAMES_MAX = 65536 };

/* What the build finds in its resolv.conf; all addresses lie in 198.18.0.0/15, which
 * is set aside for benchmarks (RFC 2544) and belongs to nobody. */
#define TC_NAMES_SERVER "198.18.0.1"

struct tc_names;                                 /* safe to use from several threads */
struct tc_names *tc_names_new(void) TC_MUST_USE; /* NULL: no memory */
void tc_names_free(struct tc_names *names);      /* accepts NULL */

/* The name's address, given out now or before. name is good as
 * tc_host_name_is_good has it. TC_LIMIT past TC_NAMES_MAX. */
tc_status tc_names_give(struct tc_names *names, struct tc_span name, uint8_t ret_address[4],
                        struct tc_error *err) TC_MUST_USE;

/* Whose address it is; false: it was not given out. */
bool tc_names_find(struct tc_names *names, const uint8_t address[4],
                   char ret_name[TC_HOST_NAME_MAX + 1]) TC_MUST_USE;

#endif
