/* What the recorder sends the host outside of the session, and what the build asks of DNS:
 * whatever is accepted is written as the same bytes, and names nothing but hosts. */
#include "core/dnsmsg.h"
#include "core/egress.h"
#include "fuzz.h"

#include <string.h>

static void check_dial(struct tc_span payload)
{
    struct tc_error err = {0};
    struct tc_egress_dial dial;
    if (tc_egress_dial_decode(payload, &dial, &err) != TC_OK) return;
    FUZZ_CHECK(dial.port != 0 && tc_host_name_is_good(dial.name));
    FUZZ_CHECK(dial.name.size > 0 && dial.name.size <= TC_HOST_NAME_MAX);
    struct tc_buf buf = tc_buf_new(TC_EGRESS_PAYLOAD_MAX);
    tc_egress_dial_encode(&dial, &buf);
    FUZZ_CHECK(tc_span_equal(tc_buf_span(&buf), payload));
    tc_buf_free(&buf);
}

static void check_query(struct tc_span message)
{
    static const uint8_t address[] = {198, 18, 0, 1};
    struct tc_error err = {0};
    struct tc_dns_query query;
    if (tc_dns_query_parse(message, &query, &err) != TC_OK) return;
    struct tc_span name = tc_span_of_text(query.name);
    FUZZ_CHECK(name.size == 0 || tc_host_name_is_good(name));
    FUZZ_CHECK(query.question.data == message.data + 12 && query.question.size >= 5);
    struct tc_buf buf = tc_buf_new(TC_DNS_ANSWER_MAX);
    tc_dns_answer_write(&query, address, &buf);
    FUZZ_CHECK(tc_buf_ok(&buf) && buf.size >= 12 + query.question.size);
    FUZZ_CHECK(memcmp(buf.data, message.data, 2) == 0);
    FUZZ_CHECK(memcmp(buf.data + 12, query.question.data, query.question.size) == 0);
    /* An answer is no question: two such servers do not talk to each other for ever. */
    FUZZ_CHECK(tc_dns_query_parse(tc_buf_span(&buf), &query, &err) == TC_MALFORMED);
    tc_buf_free(&buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tc_error err = {0};
    struct tc_egress_header header;
    if (size >= TC_EGRESS_HEADER_SIZE && tc_egress_header_decode(data, &header, &err) == TC_OK) {
        uint8_t again[TC_EGRESS_HEADER_SIZE];
        tc_egress_header_encode(&header, again);
        FUZZ_CHECK(memcmp(again, data, sizeof again) == 0);
    }
    check_dial((struct tc_span){data, size});
    check_query((struct tc_span){data, size});
    return 0;
}
