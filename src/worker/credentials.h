/* The credentials that the host brings between HELLO and BUILD_FILE. */
#ifndef TC_WORKER_CREDENTIALS_H
#define TC_WORKER_CREDENTIALS_H

#include "core/credential.h"
#include "os/channel.h"

struct tc_credentials {
    struct tc_credential *list;
    size_t count;
};
void tc_credentials_free(struct tc_credentials *credentials); /* accepts a zeroed one */

/* Reads frames up to BUILD_FILE, whose payload it returns; it borrows from the channel.
 * ret_credentials is the caller's to free also when this fails. */
tc_status tc_credentials_receive(struct tc_channel *host, struct tc_credentials *ret_credentials,
                                 struct tc_span *ret_build_file, struct tc_error *err) TC_MUST_USE;

#endif
