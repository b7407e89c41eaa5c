/* For fuzz targets: the entry point, and a check that no build turns off. */
#ifndef TC_TESTS_FUZZ_H
#define TC_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(expression)                                                                     \
    do {                                                                                           \
        if (!(expression)) abort();                                                                \
    } while (0)

#endif
