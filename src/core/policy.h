/* What a relying party expects of a report beyond its being authentic: a small
 * JSON file of its own (docs/formats.md, "The policy"). Strict: a key that this
 * version cannot judge is an error, since ignoring it would leave out a check
 * that somebody relies on. Pure. */
#ifndef TC_CORE_POLICY_H
#define TC_CORE_POLICY_H

#include "core/digest.h"
#include "core/wire.h"

#define TC_POLICY_TYPE "tee-compile/policy/1"

enum {
    TC_POLICY_SIZE_MAX = 65536, /* bytes of the file */
    TC_POLICY_LIST_MAX = 256,   /* entries of any list in it */
    TC_POLICY_TEXT_MAX = 4096,  /* bytes of any string in it */
};

/* What a report may say of the network; only what is given is judged. */
struct tc_policy_network {
    bool given;
    bool has_allow; /* hosts that may have answered; an empty list: none */
    char **allow;   /* names, or "*." and one */
    size_t allow_count;
    bool no_plain_http, no_opaque, no_ca;
    bool pinned_only; /* each download has its digest in the source; */
    char **pinned_hosts; /* those of these hosts, when there are some */
    size_t pinned_hosts_count;
};

/* Everything in it is owned. A list with a count of 0, a NULL and a false
 * has_... are keys that the policy does not have; at least one is there. */
struct tc_policy {
    struct tc_sha1 *commits; /* one of them */
    size_t commits_count;
    struct tc_sha256 *sources; /* one of the source digests */
    size_t sources_count;
    char *build_file; /* safe path */
    char **images;    /* one of the names; a measured image only */
    size_t images_count;
    char **versions; /* builder_version: one of them, compared whole */
    size_t versions_count;
    uint8_t nonce[TC_WIRE_NONCE_MAX];
    size_t nonce_size; /* 0: not asked */
    bool has_max_age;
    uint64_t max_age;  /* seconds before the verifier's clock */
    char *repository;  /* witnessed by the worker, never only claimed */
    char *ref;         /* the same */
    struct tc_policy_network network;
};
#define TC_AUTO_POLICY TC_CLEANUP(tc_policy_free)

/* TC_MALFORMED names the place; for an unknown key also the nearest known one. */
tc_status tc_policy_parse(struct tc_span json, struct tc_policy *ret_policy, struct tc_error *err)
    TC_MUST_USE;
void tc_policy_free(struct tc_policy *policy); /* accepts NULL and a zeroed one */

#endif
