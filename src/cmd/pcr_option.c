#include "cmd/pcr_option.h"

#include <string.h>

#include "base/text.h"

tc_status tc_pcr_option_add(const char *text, struct tc_pcrs_asked *pcrs, struct tc_error *err)
{
    char shown[160];
    const char *equals = strchr(text, '=');
    size_t digits = equals ? (size_t)(equals - text) : 0;
    unsigned index = 0;
    bool good = digits == 1 || (digits == 2 && text[0] != '0');
    for (size_t i = 0; good && i < digits; i++) {
        good = text[i] >= '0' && text[i] <= '9';
        index = index * 10 + (unsigned)(text[i] - '0');
    }
    struct tc_sha384 value;
    if (!good || index >= TC_NITRODOC_PCRS || !tc_unhex(equals + 1, value.bytes, sizeof value.bytes))
        return tc_fail(err, TC_USAGE,
                       "--pcr must be N=HEX with N from 0 to %d and %d hex digits, saw %s",
                       TC_NITRODOC_PCRS - 1, 2 * TC_SHA384_SIZE,
                       tc_printable(tc_span_of_text(text), shown, sizeof shown));
    if (pcrs->asked >> index & 1)
        return tc_fail(err, TC_USAGE, "--pcr %u is given twice", index);
    pcrs->value[index] = value;
    pcrs->asked |= UINT32_C(1) << index;
    return TC_OK;
}
