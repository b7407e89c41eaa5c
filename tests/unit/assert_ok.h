/* For what must work: says what went wrong. err is the caller's. */
#ifndef TC_TESTS_ASSERT_OK_H
#define TC_TESTS_ASSERT_OK_H

#define assert_ok(expression)                                                                      \
    do {                                                                                           \
        tc_status status_ = (expression);                                                          \
        if (status_ != TC_OK) fail_msg("%s: %s", #expression, err.message);                        \
    } while (0)

#endif
