/* The nitro back end over a given table: for the tests, whose table is a double of the
 * driver. The product's is tc_backend_nitro (backend.h). */
#ifndef TC_HOST_BACKEND_NITRO_H
#define TC_HOST_BACKEND_NITRO_H

#include "host/backend.h"
#include "host/nitro_ops.h"

tc_status tc_nitro_start(const struct tc_nitro_ops *ops, const struct tc_backend_config *config,
                         struct tc_enclave **ret_enclave, int *ret_fd, struct tc_error *err)
    TC_MUST_USE;
tc_status tc_nitro_stop(struct tc_enclave *enclave, struct tc_error *err) TC_MUST_USE;

#endif
