#include "core/dnsmsg.h"

#include <string.h>

enum {
    FLAG_RESPONSE = 0x8000,
    FLAG_TRUNCATED = 0x0200,
    FLAG_RECURSION_DESIRED = 0x0100,
    FLAG_RECURSION_AVAILABLE = 0x0080,
    FLAG_RESERVED = 0x0040,
    FLAG_CHECKING_DISABLED = 0x0010,
    OPCODE_MASK = 0x7800,
    RCODE_MASK = 0x000f,
    RCODE_NO_NAME = 3,

    CLASS_IN = 1,
    TYPE_OPT = 41,
    LABEL_MAX = 63,
    NAME_MAX_ON_WIRE = 255,
    POINTER_TO_QUESTION = 0xc00c, /* the byte behind the header */
};

/* --- queries --- */

/* One name; its text in lower case goes to ret_name, "" when it cannot be a host's. */
static bool take_name(struct tc_cursor *cursor, char ret_name[TC_HOST_NAME_MAX + 1])
{
    char text[NAME_MAX_ON_WIRE + 1];
    size_t size = 0, left = tc_cursor_left(cursor);
    bool is_host = true;
    for (;;) {
        uint8_t label_size;
        struct tc_span label;
        if (!tc_cursor_u8(cursor, &label_size) || label_size > LABEL_MAX ||
            !tc_cursor_take(cursor, label_size, &label) ||
            left - tc_cursor_left(cursor) > NAME_MAX_ON_WIRE)
            return false;
        if (label_size == 0) break;
        if (size > 0) text[size++] = '.';
        for (size_t i = 0; i < label.size; i++) {
            uint8_t c = label.data[i];
            /* "a.b" as one label must not become the name of two. */
            if (c == '.') is_host = false;
            text[size++] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
        }
    }
    if (!is_host || !tc_host_name_is_good((struct tc_span){(const uint8_t *)text, size})) size = 0;
    memcpy(ret_name, text, size);
    ret_name[size] = '\0';
    return true;
}

/* The OPT record, whose options are of no interest here. */
static bool take_edns(struct tc_cursor *cursor)
{
    uint8_t root, rcode, version;
    uint16_t type, size, flags, data_size;
    struct tc_span data;
    return tc_cursor_u8(cursor, &root) && root == 0 && tc_cursor_u16(cursor, &type) &&
           type == TYPE_OPT && tc_cursor_u16(cursor, &size) && tc_cursor_u8(cursor, &rcode) &&
           rcode == 0 && tc_cursor_u8(cursor, &version) && version == 0 &&
           tc_cursor_u16(cursor, &flags) && tc_cursor_u16(cursor, &data_size) &&
           tc_cursor_take(cursor, data_size, &data);
}

tc_status tc_dns_query_parse(struct tc_span message, struct tc_dns_query *ret_query,
                             struct tc_error *err)
{
    struct tc_cursor cursor = tc_cursor_of(message);
    struct tc_dns_query query = {0};
    uint16_t questions, answers, authorities, additional, class;
    if (message.size > TC_DNS_QUERY_MAX)
        return tc_fail(err, TC_MALFORMED, "a DNS query is %zu bytes; expected at most %d",
                       message.size, TC_DNS_QUERY_MAX);
    if (!tc_cursor_u16(&cursor, &query.id) || !tc_cursor_u16(&cursor, &query.flags) ||
        !tc_cursor_u16(&cursor, &questions) || !tc_cursor_u16(&cursor, &answers) ||
        !tc_cursor_u16(&cursor, &authorities) || !tc_cursor_u16(&cursor, &additional))
        return tc_fail(err, TC_MALFORMED, "a DNS query ends within its header");
    if (query.flags & (FLAG_RESPONSE | OPCODE_MASK | FLAG_TRUNCATED | FLAG_RESERVED | RCODE_MASK))
        return tc_fail(err, TC_MALFORMED,
                       "a DNS message has flags 0x%04x; expected those of a standard query",
                       query.flags);
    if (questions != 1 || answers != 0 || authorities != 0 || additional > 1)
        return tc_fail(err, TC_MALFORMED,
                       "a DNS query has %u questions and %u, %u, %u records; expected one "
                       "question and an OPT record at most",
                       questions, answers, authorities, additional);
    const uint8_t *question = cursor.next;
    if (!take_name(&cursor, query.name) || !tc_cursor_u16(&cursor, &query.type) ||
        !tc_cursor_u16(&cursor, &class))
        return tc_fail(err, TC_MALFORMED,
                       "a DNS question is cut short, or its name is too long or compressed");
    if (class != CLASS_IN)
        return tc_fail(err, TC_MALFORMED, "a DNS question is of class %u; expected 1 (IN)", class);
    query.question = (struct tc_span){question, (size_t)(cursor.next - question)};
    query.edns = additional == 1;
    if ((query.edns && !take_edns(&cursor)) || tc_cursor_left(&cursor) != 0)
        return tc_fail(err, TC_MALFORMED,
                       "a DNS query has other bytes behind its question than an OPT record");
    *ret_query = query;
    return TC_OK;
}

/* --- answers --- */

static void add_record(const uint8_t address[4], struct tc_buf *buf)
{
    tc_buf_add_u16(buf, POINTER_TO_QUESTION);
    tc_buf_add_u16(buf, TC_DNS_TYPE_A);
    tc_buf_add_u16(buf, CLASS_IN);
    tc_buf_add_u32(buf, TC_DNS_TTL);
    tc_buf_add_u16(buf, 4);
    tc_buf_add(buf, address, 4);
}

static void add_edns(struct tc_buf *buf)
{
    tc_buf_add_u8(buf, 0);
    tc_buf_add_u16(buf, TYPE_OPT);
    tc_buf_add_u16(buf, TC_DNS_QUERY_MAX); /* what may be sent next */
    tc_buf_add_u32(buf, 0);
    tc_buf_add_u16(buf, 0);
}

void tc_dns_answer_write(const struct tc_dns_query *query, const uint8_t address[4],
                         struct tc_buf *buf)
{
    bool has_name = query->name[0] != '\0';
    bool has_record = has_name && address && query->type == TC_DNS_TYPE_A;
    unsigned kept = query->flags & (FLAG_RECURSION_DESIRED | FLAG_CHECKING_DISABLED);
    tc_buf_add_u16(buf, query->id);
    tc_buf_add_u16(buf, (uint16_t)(FLAG_RESPONSE | FLAG_RECURSION_AVAILABLE | kept |
                                   (has_name ? 0 : RCODE_NO_NAME)));
    tc_buf_add_u16(buf, 1);
    tc_buf_add_u16(buf, has_record);
    tc_buf_add_u16(buf, 0);
    tc_buf_add_u16(buf, query->edns);
    tc_buf_add_span(buf, query->question);
    if (has_record) add_record(address, buf);
    if (query->edns) add_edns(buf);
}
