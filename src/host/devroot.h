/* The development root as the attester uses it; making and finding it is in
 * devattest.h. */
#ifndef TC_HOST_DEVROOT_H
#define TC_HOST_DEVROOT_H

#include "host/devcert.h"

/* Reads key and certificate out of folder; both in ret_root are owned. TC_USAGE
 * when others may read the key, TC_UNAVAILABLE when the pair is missing or does
 * not belong together. */
tc_status tc_devroot_load(const char *folder, struct tc_devcert_issuer *ret_root,
                          struct tc_error *err) TC_MUST_USE;

void tc_devroot_done(struct tc_devcert_issuer *root);

#endif
