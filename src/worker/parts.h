/* What session, recorder and monitor say to one another: frames of a kind and a
 * payload, and the typed parts of the statement as payloads. Session and recorder
 * parse hostile bytes, so the monitor decodes as strictly as it would from a stranger;
 * each has a socket of its own, so that neither can speak for the other.
 *
 *   frame = kind:u32 size:u32 payload          big-endian, size <= cap of the reader */
#ifndef TC_WORKER_PARTS_H
#define TC_WORKER_PARTS_H

#include "core/statement.h"
#include "os/channel.h"

enum tc_ipc_kind {
    /* session -> monitor; each once but COLLECTED and SUBJECT */
    TC_IPC_SOURCE = 1,
    TC_IPC_RECIPE,
    TC_IPC_NONCE,
    TC_IPC_BIND,
    TC_IPC_COLLECTED,
    TC_IPC_SUBJECT,
    TC_IPC_LOG,
    TC_IPC_FINISH,
    /* recorder -> monitor: WITNESS at any time or never, then NETWORK, DEPENDENCY in
     * order, and TRANSCRIPT, which ends it */
    TC_IPC_WITNESS = 16,
    TC_IPC_NETWORK,
    TC_IPC_DEPENDENCY,
    TC_IPC_TRANSCRIPT,
    /* monitor -> session */
    TC_IPC_READY = 32, /* to BIND */
    TC_IPC_STATEMENT,  /* to FINISH, as the next two */
    TC_IPC_ENVELOPE,
    TC_IPC_DOCUMENT,
    TC_IPC_ERROR, /* as TC_WIRE_FAIL */
};

enum {
    TC_IPC_PART_MAX = 1 << 20, /* any payload to the monitor */
    TC_IPC_REPLY_MAX = 24 << 20,
};

tc_status tc_ipc_write(struct tc_channel *channel, enum tc_ipc_kind kind, struct tc_span payload,
                       struct tc_error *err) TC_MUST_USE;
/* Replaces the contents of buf, whose max is the cap. */
tc_status tc_ipc_read(struct tc_channel *channel, enum tc_ipc_kind *ret_kind, struct tc_buf *buf,
                      struct tc_error *err) TC_MUST_USE;

void tc_part_source_encode(const struct tc_part_source *part, struct tc_buf *buf);
tc_status tc_part_source_decode(struct tc_span bytes, struct tc_part_source *ret_part,
                                struct tc_error *err) TC_MUST_USE;
void tc_part_recipe_encode(const struct tc_part_recipe *part, struct tc_buf *buf);
tc_status tc_part_recipe_decode(struct tc_span bytes, struct tc_part_recipe *ret_part,
                                struct tc_error *err) TC_MUST_USE;
void tc_collected_encode(const struct tc_collected *collected, struct tc_buf *buf);
tc_status tc_collected_decode(struct tc_span bytes, struct tc_collected *ret_collected,
                              struct tc_error *err) TC_MUST_USE;
void tc_subject_encode(const struct tc_subject *subject, struct tc_buf *buf);
tc_status tc_subject_decode(struct tc_span bytes, struct tc_subject *ret_subject,
                            struct tc_error *err) TC_MUST_USE;
void tc_part_log_encode(const struct tc_part_log *part, struct tc_buf *buf);
tc_status tc_part_log_decode(struct tc_span bytes, struct tc_part_log *ret_part,
                             struct tc_error *err) TC_MUST_USE;
void tc_part_witness_encode(const struct tc_part_witness *part, struct tc_buf *buf);
tc_status tc_part_witness_decode(struct tc_span bytes, struct tc_part_witness *ret_part,
                                 struct tc_error *err) TC_MUST_USE;
void tc_part_network_encode(const struct tc_part_network *part, struct tc_buf *buf);
tc_status tc_part_network_decode(struct tc_span bytes, struct tc_part_network *ret_part,
                                 struct tc_error *err) TC_MUST_USE;
void tc_dependency_encode(const struct tc_dependency *dependency, struct tc_buf *buf);
tc_status tc_dependency_decode(struct tc_span bytes, struct tc_dependency *ret_dependency,
                               struct tc_error *err) TC_MUST_USE;
void tc_part_transcript_encode(const struct tc_part_transcript *part, struct tc_buf *buf);
tc_status tc_part_transcript_decode(struct tc_span bytes, struct tc_part_transcript *ret_part,
                                    struct tc_error *err) TC_MUST_USE;

#endif
