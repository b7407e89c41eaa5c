/* The DNS that a build sees (RFC 1035, RFC 6891): one question in, one message out, and
 * nothing that ever leaves the worker. A name stands for the connections to its address;
 * there is no other answer than that address. Pure.
 *
 * Refused (TC_MALFORMED), to be dropped without an answer: a message that is no query, has
 * another opcode, a cut or compressed name, none or two questions, a class other than IN,
 * records beside one OPT of EDNS version 0, or trailing bytes. */
#ifndef TC_CORE_DNSMSG_H
#define TC_CORE_DNSMSG_H

#include "core/egress.h"

enum {
    TC_DNS_QUERY_MAX = 1232, /* bytes */
    TC_DNS_ANSWER_MAX = 512, /* that a written one never exceeds */
    TC_DNS_TYPE_A = 1,
    TC_DNS_TTL = 1, /* seconds */
};

struct tc_dns_query {
    uint16_t id;
    uint16_t flags; /* of the query, as sent */
    uint16_t type;
    bool edns;
    struct tc_span question; /* as sent, for the answer's echo; borrows from the message */
    /* In lower case, without the last dot; "" when it is no name of a host, as
     * tc_host_name_is_good says (the root, a label with a dot or a blank in it, ...). */
    char name[TC_HOST_NAME_MAX + 1];
};

tc_status tc_dns_query_parse(struct tc_span message, struct tc_dns_query *ret_query,
                             struct tc_error *err) TC_MUST_USE;

/* Appends the answer: for a question of type A and an address (of IPv4, not NULL) that one
 * record; for a name "" that there is no such name; else a success without records. */
void tc_dns_answer_write(const struct tc_dns_query *query, const uint8_t address[4],
                         struct tc_buf *buf);

#endif
