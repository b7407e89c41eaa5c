#include "network_lab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

const struct sample_answer good[2] = {GOOD};

void make_good(struct sample_parts *parts)
{
    sample_network(parts, good, 2, false);
}

void add_ca(struct sample_parts *parts)
{
    make_good(parts);
    struct tc_part_network *network = &parts->statement.network;
    network->ca = calloc(1, sizeof *network->ca);
    if (!network->ca) abort();
    network->ca_count = 1;
    network->ca[0] = (struct tc_extra_ca){strdup("registry.corp"), strdup("certs/ca.pem"), {{1}}};
}

void judge(sample_change *before, const struct tc_verify_options *options, const char *failed,
           const char *seen)
{
    struct tc_error err = {0};
    struct tc_verdict verdict;
    int fd = bundle_fd(before, NULL);
    assert_ok(tc_verify_bundle(fd, options, &verdict, &err));
    (void)close(fd);
    for (size_t i = 0; i < verdict.checks_count; i++) {
        const struct tc_check *check = &verdict.checks[i];
        if (!has_failed(check)) continue;
        if (!failed || strcmp(check->name, failed) != 0)
            fail_msg("%s failed: expected %s, saw %s", check->name, check->expected, check->seen);
    }
    assert_int_equal(verdict.kind, failed ? TC_VERDICT_REFUSED : TC_VERDICT_DEVELOPMENT);
    if (failed && !strstr(check_named(&verdict, failed)->seen, seen))
        fail_msg("%s saw %s", failed, check_named(&verdict, failed)->seen);
    tc_verdict_free(&verdict);
}
