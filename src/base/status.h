/* Errors: one closed status enum, must-use, and a message chain that is
 * wrapped on the way up. Libraries return; only mains print.
 *
 * Convention of the whole tree:
 *  - a function that can fail returns tc_status and takes `struct tc_error *err`
 *    as its last parameter; err is never NULL;
 *  - outputs are named ret_x and stay untouched on failure;
 *  - the message says what was expected, what was seen and what to do. */
#ifndef TC_BASE_STATUS_H
#define TC_BASE_STATUS_H

#include <stdarg.h>

typedef enum tc_status {
    TC_OK = 0,
    TC_MALFORMED,   /* bytes from outside break their format */
    TC_REFUSED,     /* well-formed, but a rule or the evidence says no */
    TC_LIMIT,       /* a named cap or a limit of the build was reached */
    TC_BUILD,       /* the build command itself failed */
    TC_USAGE,       /* the caller asked for something that makes no sense */
    TC_UNAVAILABLE, /* a device, file, tool or kernel feature is missing */
    TC_PEER,        /* the other side hung up, stalled or broke the protocol */
    TC_INTERRUPTED, /* the user asked to stop */
    TC_SYSTEM,      /* a system call or a library failed */
} tc_status;

enum { TC_ERROR_MAX = 1024 };

/* Zero-initialise: `struct tc_error err = {0};` */
struct tc_error {
    tc_status status;
    /* Always NUL-terminated, longer text is cut; one line without control characters. */
    char message[TC_ERROR_MAX];
};

#define TC_MUST_USE __attribute__((warn_unused_result))
#define TC_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* Sets err to status and message; returns status, so `return tc_fail(...)`. */
tc_status tc_fail(struct tc_error *err, tc_status status, const char *format, ...)
    TC_PRINTF(3, 4);

/* As tc_fail, with ": " and strerror(errnum) at the end. */
tc_status tc_fail_errno(struct tc_error *err, tc_status status, int errnum, const char *format,
                        ...) TC_PRINTF(4, 5);

/* Puts "text: " before the message that err already carries; returns its status. */
tc_status tc_wrap(struct tc_error *err, const char *format, ...) TC_PRINTF(2, 3);

/* "malformed", "refused", ...: a stable word for JSON and tests. */
const char *tc_status_name(tc_status status);

#define TC_TRY(expression)                                                                         \
    do {                                                                                           \
        tc_status tc_try_status_ = (expression);                                                   \
        if (tc_try_status_ != TC_OK) return tc_try_status_;                                        \
    } while (0)

#endif
