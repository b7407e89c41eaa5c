/* A trust store on disk for tests, and three signers of lists for it. */
#ifndef TC_TESTS_TRUST_LAB_H
#define TC_TESTS_TRUST_LAB_H

#include <openssl/evp.h>

#include "assert_ok.h"
#include "trust_sample.h"
#include "verify/truststore.h"

/* err is the caller's. */
#define assert_refused(expression, status, says)                                                   \
    do {                                                                                           \
        assert_int_equal((expression), (status));                                                  \
        if (!strstr(err.message, (says))) fail_msg("no \"%s\" in: %s", (says), err.message);       \
    } while (0)

struct fixture {
    char base[64], folder[128];
    EVP_PKEY *key[3]; /* ed25519, P-256, P-384 */
    struct tc_buf pem[3];
    char id[3][TC_SHA256_HEX];
    struct tc_truststore *store;
};

/* cmocka's, which make a fixture with an empty store. */
int set_up(void **state);
int tear_down(void **state);
#define STORE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

void add_signer(struct fixture *f, int which);
/* A list by one key; more images make another content. The caller frees. */
struct tc_buf signed_list(struct fixture *f, int which, uint64_t sequence, size_t images);
tc_status update(struct fixture *f, int which, uint64_t sequence, size_t images,
                 struct tc_list_update *ret, struct tc_error *err);
/* Of the signer's list; 0: there is none. */
uint64_t sequence_there(struct fixture *f, int which);

/* A file of the store's: the same bytes at each call. */
char *path_in(struct fixture *f, const char *before, const char *id, const char *after);
void write_raw(const char *path, const void *bytes, size_t size);

#endif
