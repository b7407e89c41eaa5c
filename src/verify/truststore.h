/* The trust store: a folder that holds whom a user trusts to name images.
 *
 *     keys/ID.pem       a signer: public key or certificate; ID is its key's id
 *     keys/ID.removed   the program's own signer, which the user took out
 *     lists/ID.json     the latest list by that signer, as it was signed
 *     own.json          the images that the user named
 *     lock              held while anything is changed
 *
 * Every file is replaced in one step, so that readers need no lock and nothing
 * half-written counts; names other than these are ignored. Lists are verified
 * again each time they are read: the store is no more trusted than its keys. A
 * list is never replaced by one with a lower sequence, nor by other content with
 * the same. Folders are 0700 and files 0600; a store that others could write is
 * refused. What the program itself carries is handed in as `builtin`. */
#ifndef TC_VERIFY_TRUSTSTORE_H
#define TC_VERIFY_TRUSTSTORE_H

#include "verify/trust.h"

enum { TC_TRUST_SIGNERS_MAX = 64 };

struct tc_trust_builtin {
    struct tc_span key; /* PEM; empty: none */
    struct tc_span list;
};

struct tc_truststore;
#define TC_AUTO_TRUSTSTORE TC_CLEANUP(tc_truststore_free_ptr)

/* folder NULL, or not there: an empty store, made when something is first put
 * into it (with a NULL folder that is TC_UNAVAILABLE). builtin may be
 * NULL; its spans are borrowed. */
tc_status tc_truststore_open(const char *folder, const struct tc_trust_builtin *builtin,
                             struct tc_truststore **ret_store, struct tc_error *err) TC_MUST_USE;
void tc_truststore_free(struct tc_truststore *store); /* accepts NULL */
void tc_truststore_free_ptr(struct tc_truststore **store);

/* What is in it, verified. */
struct tc_known_signer {
    struct tc_signer signer;
    bool builtin;
    bool has_list;
    struct tc_buf payload; /* of its list, as signed */
    struct tc_imagelist list;
};
struct tc_known {
    struct tc_known_signer signers[TC_TRUST_SIGNERS_MAX];
    size_t signers_count;
    struct tc_own_image *own;
    size_t own_count;
};
void tc_known_free(struct tc_known *known); /* accepts NULL; frees the struct too */
void tc_known_free_ptr(struct tc_known **known);
#define TC_AUTO_KNOWN TC_CLEANUP(tc_known_free_ptr)
tc_status tc_truststore_read(struct tc_truststore *store, struct tc_known **ret_known,
                             struct tc_error *err) TC_MUST_USE;

/* Everything that is in it, for verify.h; the lists move out of `known`. */
tc_status tc_known_to_trust(struct tc_known *known, uint64_t min_sequence,
                            struct tc_trust *ret_trust, struct tc_error *err) TC_MUST_USE;

/* The list that the user gave in place of all else that is there; the others can
 * still revoke. It must be signed by one of `known`, or by `only` when that is not
 * NULL, and not be older than the one that is there by the same signer, nor than
 * min_sequence. A list that is refused for such a reason comes back as
 * ret_trust->problem; TC_MALFORMED is for bytes that are no list. */
tc_status tc_known_with_list(struct tc_known *known, struct tc_span envelope, const char *name,
                             const struct tc_signer *only, uint64_t min_sequence,
                             struct tc_trust *ret_trust, struct tc_error *err) TC_MUST_USE;

/* Changes, each under the lock. TC_REFUSED when there is something in the way. */
tc_status tc_truststore_add_signer(struct tc_truststore *store, struct tc_span pem,
                                   const char *name, char ret_id[TC_SHA256_HEX],
                                   struct tc_error *err) TC_MUST_USE;
tc_status tc_truststore_add_image(struct tc_truststore *store, const struct tc_own_image *image,
                                  struct tc_error *err) TC_MUST_USE;
/* A signer's id (with its list), a PCR0 of the user's own, or the name of one. */
tc_status tc_truststore_remove(struct tc_truststore *store, const char *word, struct tc_error *err)
    TC_MUST_USE;

struct tc_list_update {
    char signer[TC_SHA256_HEX]; /* the first one of the store that signed it */
    uint64_t sequence;
    size_t images;
    bool changed; /* false: this very list was there */
};
/* Takes a list for each signer of the store that signed it. TC_REFUSED: nobody
 * trusted signed it, or it is older than what is there or than min_sequence. */
tc_status tc_truststore_update(struct tc_truststore *store, struct tc_span envelope,
                               const char *name, uint64_t min_sequence,
                               struct tc_list_update *ret_update, struct tc_error *err) TC_MUST_USE;

#endif
