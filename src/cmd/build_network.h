/* What `tee-compile build` brings to the network of a build: the archive, credentials, and
 * the egress that serves the worker's streams. */
#ifndef TC_CMD_BUILD_NETWORK_H
#define TC_CMD_BUILD_NETWORK_H

#include "cmd/build_options.h"
#include "core/credential.h"
#include "core/wire.h"
#include "host/archive.h"
#include "host/egress.h"

struct tc_build_network {
    struct tc_wire_credential *credentials; /* borrow from texts and options */
    struct tc_buf *texts;                   /* of the credentials' files */
    size_t credentials_count;
    struct tc_archive_writer *writer;
    struct tc_archive *archive;
    struct tc_egress *egress;
};

/* Opens and checks everything; no thread is started and nothing dialled. A build that is
 * offline asks for nothing, and options that are about the network are refused. */
tc_status tc_build_network_open(const struct tc_build_options *options, bool offline,
                                struct tc_build_network *ret_network, struct tc_error *err)
    TC_MUST_USE;
/* Its part in HELLO. */
void tc_build_network_greet(const struct tc_build_network *network, struct tc_wire_hello *hello);
/* When the worker has ended: ends every stream. */
void tc_build_network_stop(struct tc_build_network *network);
/* The whole archive, still without its name, the caller's; nothing, if none was wanted. */
tc_status tc_build_network_finish(struct tc_build_network *network, struct tc_tempfile *ret_archive,
                                  struct tc_error *err) TC_MUST_USE;
void tc_build_network_done(struct tc_build_network *network); /* accepts a zeroed one */

#endif
