/* Redirection by nftables: one table of fixed rules, given to the kernel in one batch
 * of nfnetlink, which takes all of it or nothing. As nft would write them (1023 is
 * TC_NETNS_PORT):
 *
 *   table inet tee_compile {
 *     chain output {
 *       type nat hook output priority -100; policy accept;
 *       ip daddr 127.0.0.0/8 return
 *       ip6 daddr ::1 return
 *       meta l4proto tcp redirect to :1023
 *       udp dport 53 redirect to :53
 *     }
 *   }
 *
 * What is meant for the loopback itself is the build's own affair: its servers live
 * there. A kernel that does not take the rules is no failure: then listeners do. */
/* Before the kernel's own headers, which then leave out what it has. */
#include <netinet/in.h>

#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "worker/netns.h"

enum {
    RULES_MAX = 4096,
    PRIORITY = -100, /* of destination NAT */
    /* Of the packet: where the headers have what the rules look at. */
    IPV4_DESTINATION = 16,
    IPV6_DESTINATION = 24,
    UDP_DESTINATION = 2,
};

static const char table[] = "tee_compile", chain[] = "output";

/* Messages and attributes begin with their length, known when they are done. */
struct batch {
    struct tc_buf bytes;
    uint32_t commands; /* those that the kernel answers */
};

static void fill_up(struct tc_buf *bytes)
{
    while (bytes->size % NLA_ALIGNTO != 0 && tc_buf_ok(bytes))
        tc_buf_add_u8(bytes, 0);
}

/* --- attributes --- */

static void add_bytes(struct batch *batch, uint16_t type, const void *data, size_t size)
{
    const struct nlattr head = {.nla_len = (uint16_t)(sizeof head + size), .nla_type = type};
    tc_buf_add(&batch->bytes, &head, sizeof head);
    tc_buf_add(&batch->bytes, data, size);
    fill_up(&batch->bytes);
}

static void add_text(struct batch *batch, uint16_t type, const char *text)
{
    add_bytes(batch, type, text, strlen(text) + 1);
}

static void add_number(struct batch *batch, uint16_t type, uint32_t value)
{
    const uint32_t wire = htonl(value);
    add_bytes(batch, type, &wire, sizeof wire);
}

static size_t open_nest(struct batch *batch, uint16_t type)
{
    const struct nlattr head = {.nla_type = (uint16_t)(type | NLA_F_NESTED)};
    size_t start = batch->bytes.size;
    tc_buf_add(&batch->bytes, &head, sizeof head);
    return start;
}

static void close_nest(struct batch *batch, size_t start)
{
    if (!tc_buf_ok(&batch->bytes)) return;
    const uint16_t size = (uint16_t)(batch->bytes.size - start);
    memcpy(batch->bytes.data + start + offsetof(struct nlattr, nla_len), &size, sizeof size);
}

/* --- messages --- */

static size_t open_message(struct batch *batch, uint16_t type, uint16_t flags, uint8_t family,
                           uint16_t subsystem)
{
    const struct nlmsghdr head = {.nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | flags};
    const struct nfgenmsg more = {family, NFNETLINK_V0, htons(subsystem)};
    size_t start = batch->bytes.size;
    tc_buf_add(&batch->bytes, &head, sizeof head);
    tc_buf_add(&batch->bytes, &more, sizeof more);
    return start;
}

static void close_message(struct batch *batch, size_t start)
{
    if (!tc_buf_ok(&batch->bytes)) return;
    const uint32_t size = (uint32_t)(batch->bytes.size - start);
    memcpy(batch->bytes.data + start + offsetof(struct nlmsghdr, nlmsg_len), &size, sizeof size);
}

static void add_mark(struct batch *batch, uint16_t type)
{
    close_message(batch, open_message(batch, type, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES));
}

static size_t open_command(struct batch *batch, uint16_t type, uint16_t flags)
{
    batch->commands++;
    return open_message(batch, NFNL_SUBSYS_NFTABLES << 8 | type, NLM_F_ACK | NLM_F_CREATE | flags,
                        NFPROTO_INET, 0);
}

static void add_table(struct batch *batch)
{
    size_t message = open_command(batch, NFT_MSG_NEWTABLE, NLM_F_EXCL);
    add_text(batch, NFTA_TABLE_NAME, table);
    close_message(batch, message);
}

static void add_chain(struct batch *batch)
{
    size_t message = open_command(batch, NFT_MSG_NEWCHAIN, NLM_F_EXCL);
    add_text(batch, NFTA_CHAIN_TABLE, table);
    add_text(batch, NFTA_CHAIN_NAME, chain);
    size_t hook = open_nest(batch, NFTA_CHAIN_HOOK);
    add_number(batch, NFTA_HOOK_HOOKNUM, NF_INET_LOCAL_OUT);
    add_number(batch, NFTA_HOOK_PRIORITY, (uint32_t)PRIORITY);
    close_nest(batch, hook);
    add_number(batch, NFTA_CHAIN_POLICY, NF_ACCEPT);
    add_text(batch, NFTA_CHAIN_TYPE, "nat");
    close_message(batch, message);
}

/* --- rules: expressions that work on the packet and on one register, in order --- */

struct rule {
    size_t message, expressions, element, data;
};

static void open_rule(struct batch *batch, struct rule *rule)
{
    rule->message = open_command(batch, NFT_MSG_NEWRULE, NLM_F_APPEND);
    add_text(batch, NFTA_RULE_TABLE, table);
    add_text(batch, NFTA_RULE_CHAIN, chain);
    rule->expressions = open_nest(batch, NFTA_RULE_EXPRESSIONS);
}

static void close_rule(struct batch *batch, const struct rule *rule)
{
    close_nest(batch, rule->expressions);
    close_message(batch, rule->message);
}

static void open_expression(struct batch *batch, struct rule *rule, const char *name)
{
    rule->element = open_nest(batch, NFTA_LIST_ELEM);
    add_text(batch, NFTA_EXPR_NAME, name);
    rule->data = open_nest(batch, NFTA_EXPR_DATA);
}

static void close_expression(struct batch *batch, const struct rule *rule)
{
    close_nest(batch, rule->data);
    close_nest(batch, rule->element);
}

static void add_value(struct batch *batch, uint16_t type, const void *value, size_t size)
{
    size_t data = open_nest(batch, type);
    add_bytes(batch, NFTA_DATA_VALUE, value, size);
    close_nest(batch, data);
}

static void when_loaded_is(struct batch *batch, struct rule *rule, const void *value, size_t size)
{
    open_expression(batch, rule, "cmp");
    add_number(batch, NFTA_CMP_SREG, NFT_REG_1);
    add_number(batch, NFTA_CMP_OP, NFT_CMP_EQ);
    add_value(batch, NFTA_CMP_DATA, value, size);
    close_expression(batch, rule);
}

static void when_meta_is(struct batch *batch, struct rule *rule, enum nft_meta_keys key,
                         uint8_t value)
{
    open_expression(batch, rule, "meta");
    add_number(batch, NFTA_META_DREG, NFT_REG_1);
    add_number(batch, NFTA_META_KEY, key);
    close_expression(batch, rule);
    when_loaded_is(batch, rule, &value, sizeof value);
}

static void when_header_is(struct batch *batch, struct rule *rule, enum nft_payload_bases base,
                           uint32_t offset, const void *value, size_t size)
{
    open_expression(batch, rule, "payload");
    add_number(batch, NFTA_PAYLOAD_DREG, NFT_REG_1);
    add_number(batch, NFTA_PAYLOAD_BASE, base);
    add_number(batch, NFTA_PAYLOAD_OFFSET, offset);
    add_number(batch, NFTA_PAYLOAD_LEN, (uint32_t)size);
    close_expression(batch, rule);
    when_loaded_is(batch, rule, value, size);
}

static void then_return(struct batch *batch, struct rule *rule)
{
    open_expression(batch, rule, "immediate");
    add_number(batch, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    size_t data = open_nest(batch, NFTA_IMMEDIATE_DATA);
    size_t verdict = open_nest(batch, NFTA_DATA_VERDICT);
    add_number(batch, NFTA_VERDICT_CODE, (uint32_t)NFT_RETURN);
    close_nest(batch, verdict);
    close_nest(batch, data);
    close_expression(batch, rule);
}

static void then_redirect(struct batch *batch, struct rule *rule, uint16_t port)
{
    const uint16_t wire = htons(port);
    open_expression(batch, rule, "immediate");
    add_number(batch, NFTA_IMMEDIATE_DREG, NFT_REG_1);
    add_value(batch, NFTA_IMMEDIATE_DATA, &wire, sizeof wire);
    close_expression(batch, rule);
    open_expression(batch, rule, "redir");
    add_number(batch, NFTA_REDIR_REG_PROTO_MIN, NFT_REG_1);
    close_expression(batch, rule);
}

static void add_rules(struct batch *batch)
{
    static const uint8_t loopback_net[] = {127};
    static const uint8_t query_port[] = {0, 53};
    struct rule rule;

    open_rule(batch, &rule);
    when_meta_is(batch, &rule, NFT_META_NFPROTO, NFPROTO_IPV4);
    when_header_is(batch, &rule, NFT_PAYLOAD_NETWORK_HEADER, IPV4_DESTINATION, loopback_net,
                   sizeof loopback_net);
    then_return(batch, &rule);
    close_rule(batch, &rule);

    open_rule(batch, &rule);
    when_meta_is(batch, &rule, NFT_META_NFPROTO, NFPROTO_IPV6);
    when_header_is(batch, &rule, NFT_PAYLOAD_NETWORK_HEADER, IPV6_DESTINATION, &in6addr_loopback,
                   sizeof in6addr_loopback);
    then_return(batch, &rule);
    close_rule(batch, &rule);

    open_rule(batch, &rule);
    when_meta_is(batch, &rule, NFT_META_L4PROTO, IPPROTO_TCP);
    then_redirect(batch, &rule, TC_NETNS_PORT);
    close_rule(batch, &rule);

    open_rule(batch, &rule);
    when_meta_is(batch, &rule, NFT_META_L4PROTO, IPPROTO_UDP);
    when_header_is(batch, &rule, NFT_PAYLOAD_TRANSPORT_HEADER, UDP_DESTINATION, query_port,
                   sizeof query_port);
    then_redirect(batch, &rule, TC_NETNS_DNS_PORT);
    close_rule(batch, &rule);
}

/* --- the kernel's answer --- */

/* One acknowledgement a command, and no error, which also a batch has as a whole: all
 * of it is there once the batch has been sent. */
static bool is_taken(int fd, uint32_t commands)
{
    union {
        struct nlmsghdr header;
        uint8_t bytes[8192];
    } answer;
    uint32_t taken = 0;
    for (;;) {
        ssize_t got = recv(fd, &answer, sizeof answer, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return errno == EAGAIN && taken == commands;
        size_t left = (size_t)got, size;
        const uint8_t *at = answer.bytes;
        for (; left > 0; at += size, left -= size) {
            struct nlmsghdr head;
            struct nlmsgerr error;
            if (left < sizeof head + sizeof error) return false;
            memcpy(&head, at, sizeof head);
            memcpy(&error, at + sizeof head, sizeof error);
            size = NLMSG_ALIGN(head.nlmsg_len);
            if (head.nlmsg_type != NLMSG_ERROR || error.error != 0 ||
                head.nlmsg_len < sizeof head + sizeof error || size > left)
                return false;
            taken++;
        }
    }
}

tc_status tc_netns_redirect(bool *ret_done, struct tc_error *err)
{
    struct batch batch = {.bytes = tc_buf_new(RULES_MAX)};
    TC_AUTO_CLOSE int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    add_mark(&batch, NFNL_MSG_BATCH_BEGIN);
    add_table(&batch);
    add_chain(&batch);
    add_rules(&batch);
    add_mark(&batch, NFNL_MSG_BATCH_END);
    tc_status status = tc_buf_check(&batch.bytes, "the rules of the network", err);
    if (status == TC_OK)
        *ret_done = fd >= 0 &&
                    send(fd, batch.bytes.data, batch.bytes.size, 0) == (ssize_t)batch.bytes.size &&
                    is_taken(fd, batch.commands);
    tc_buf_free(&batch.bytes);
    return status;
}
