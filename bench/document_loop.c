/* document_loop FILE ROUNDS: nanoseconds of processor time that one document takes inside a process,
 * decoded and judged as `attestation verify` does; a figure, not a test. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "verify/verify.h"

static int64_t now(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

int main(int argc, char **argv)
{
    static uint8_t bytes[TC_ARMOR_MAX];
    FILE *file = argc == 3 ? fopen(argv[1], "rb") : NULL;
    long rounds = argc == 3 ? strtol(argv[2], NULL, 10) : 0;
    if (!file || rounds < 1) {
        (void)fputs("usage: document_loop FILE ROUNDS\n", stderr);
        return 2;
    }
    struct tc_span input = {bytes, fread(bytes, 1, sizeof bytes, file)};
    const struct tc_attestation_options options = {.allow_debug = true};
    (void)fclose(file);
    int64_t start = 0;
    for (long i = -1; i < rounds; i++) { /* once to warm up */
        struct tc_verdict verdict;
        struct tc_error err = {0};
        if (i == 0) start = now();
        if (tc_attestation_verify(input, &options, &verdict, NULL, &err) != TC_OK || !verdict.hardware)
            return 1;
        tc_verdict_free(&verdict);
    }
    (void)printf("%" PRId64 "\n", (now() - start) / rounds);
    return 0;
}
