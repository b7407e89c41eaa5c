/* What the session orders from the recorder before it starts; read strictly. */
#ifndef TC_WORKER_RECORDING_ORDERS_H
#define TC_WORKER_RECORDING_ORDERS_H

#include "core/buildspec.h"
#include "core/statement.h"
#include "worker/recording.h"

struct tc_recording_orders {
    struct tc_sha256 build_file_digest;
    bool has_spec;
    struct tc_buildspec spec;
    struct tc_recorder_ca *ca; /* in the order of spec.network.ca, when complete */
    size_t ca_count;
    struct tc_buf pins_bytes;
    struct tc_pins *pins;
    struct tc_credential *credentials;
    size_t credentials_count;
    char *repository, *ref; /* NULL: no witness */
    struct tc_sha1 commit;
    bool replay, store;
    struct tc_sha256 archive;
    bool complete; /* START was taken */
};
void tc_recording_orders_done(struct tc_recording_orders *orders);

/* One order. START checks that all is there: build.json, which asks for a network, and
 * each file that its network.ca names. */
tc_status tc_recording_orders_take(struct tc_recording_orders *orders, enum tc_recording_kind kind,
                                   struct tc_span payload, struct tc_error *err) TC_MUST_USE;

/* What of it the statement says: fills archive and extra anchors. */
tc_status tc_recording_orders_describe(const struct tc_recording_orders *orders,
                                       struct tc_part_network *network, struct tc_error *err)
    TC_MUST_USE;

#endif
