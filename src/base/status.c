#include "base/status.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"

__attribute__((format(printf, 2, 0))) static void
set_message(struct tc_error *err, const char *format, va_list args)
{
    /* A cut message is better than none: the result is ignored on purpose. */
    (void)vsnprintf(err->message, sizeof err->message, format, args);
}

/* Many messages quote paths and names that others chose. Whoever quotes escapes them;
 * this is the net below: no message holds a control character, whatever it quotes. */
static void make_safe(struct tc_error *err)
{
    char raw[TC_ERROR_MAX];
    memcpy(raw, err->message, sizeof raw);
    (void)tc_printable_again(tc_span_of_text(raw), err->message, sizeof err->message);
}

tc_status tc_fail(struct tc_error *err, tc_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set_message(err, format, args);
    va_end(args);
    make_safe(err);
    err->status = status;
    return status;
}

tc_status tc_fail_errno(struct tc_error *err, tc_status status, int errnum, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set_message(err, format, args);
    va_end(args);
    size_t used = strlen(err->message);
    (void)snprintf(err->message + used, sizeof err->message - used, ": %s", strerror(errnum));
    make_safe(err);
    err->status = status;
    return status;
}

tc_status tc_wrap(struct tc_error *err, const char *format, ...)
{
    char inner[TC_ERROR_MAX];
    memcpy(inner, err->message, sizeof inner);
    va_list args;
    va_start(args, format);
    set_message(err, format, args);
    va_end(args);
    size_t used = strlen(err->message);
    (void)snprintf(err->message + used, sizeof err->message - used, ": %s", inner);
    make_safe(err);
    return err->status;
}

const char *tc_status_name(tc_status status)
{
    switch (status) {
    case TC_OK: return "ok";
    case TC_MALFORMED: return "malformed";
    case TC_REFUSED: return "refused";
    case TC_LIMIT: return "limit";
    case TC_BUILD: return "build-failed";
    case TC_USAGE: return "usage";
    case TC_UNAVAILABLE: return "unavailable";
    case TC_PEER: return "peer";
    case TC_INTERRUPTED: return "interrupted";
    case TC_SYSTEM: return "system";
    }
    return "unknown";
}
