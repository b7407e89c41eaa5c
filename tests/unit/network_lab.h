/* Bundles of builds with a network before the relying party, on top of verify_lab.h. */
#ifndef TC_TESTS_NETWORK_LAB_H
#define TC_TESTS_NETWORK_LAB_H

#include "network_sample.h"
#include "verify_lab.h"

/* The two answers of a build that nothing is wrong with. */
#define GOOD                                                                                       \
    {"https", "a.example.org", "/b", 0x0b, NULL},                                                  \
    {                                                                                              \
        "https", "a.example.org", "/c", 0x0c, "Cargo.lock"                                         \
    }
extern const struct sample_answer good[2];
void make_good(struct sample_parts *parts);
/* The same with a trust anchor of the source's for registry.corp. */
void add_ca(struct sample_parts *parts);

/* failed: the one check that fails, and what it says; NULL: the verdict is good. */
void judge(sample_change *before, const struct tc_verify_options *options, const char *failed,
           const char *seen);

#endif
