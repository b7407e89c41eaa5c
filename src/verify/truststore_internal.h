/* Shared by the parts of truststore.h. */
#ifndef TC_VERIFY_TRUSTSTORE_INTERNAL_H
#define TC_VERIFY_TRUSTSTORE_INTERNAL_H

#include "verify/truststore.h"

struct tc_truststore {
    char *folder;                    /* NULL: there is no place for one */
    int fd;                          /* -1: the folder is not there */
    struct tc_trust_builtin builtin; /* empty key: none */
};

/* Where a file or folder of the store is, for messages; owned. */
tc_status tc_truststore_path(const struct tc_truststore *store, const char *name, char **ret_path,
                             struct tc_error *err) TC_MUST_USE;

/* Opens keys or lists. -1 when it is not there and may not be made; refuses one
 * that is a symlink, another's, or writable by others. */
tc_status tc_truststore_subfolder(const struct tc_truststore *store, const char *name, bool make,
                                  int *ret_fd, struct tc_error *err) TC_MUST_USE;
tc_status tc_truststore_check_folder(int fd, const char *path, struct tc_error *err) TC_MUST_USE;

/* 64 lower-case hex digits? */
bool tc_truststore_is_id(const char *text);

/* The payload of an envelope that this signer signed, and what it says. */
tc_status tc_truststore_open_list(const struct tc_dsse *dsse, const char *name,
                                  const struct tc_signer *signer, struct tc_imagelist *ret_list,
                                  struct tc_error *err) TC_MUST_USE;

/* A list that somebody brings: which of the known signers signed it, and that it
 * may come after what each of them has. TC_REFUSED when the answer is no. */
struct tc_list_offer {
    struct tc_dsse dsse;
    bool by[TC_TRUST_SIGNERS_MAX];
    struct tc_imagelist list;
};
void tc_list_offer_free(struct tc_list_offer *offer);
tc_status tc_list_offer_judge(const struct tc_known *known, struct tc_span envelope,
                              const char *name, uint64_t min_sequence,
                              struct tc_list_offer *ret_offer, struct tc_error *err) TC_MUST_USE;

#endif
