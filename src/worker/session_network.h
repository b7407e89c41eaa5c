/* The session's part in the build's network: what of the source the recorder needs,
 * its start and its end, and what the sandbox is shown of it. */
#ifndef TC_WORKER_SESSION_NETWORK_H
#define TC_WORKER_SESSION_NETWORK_H

#include "core/buildspec.h"
#include "worker/recording.h"
#include "worker/spawner.h"
#include "worker/unpack.h"

enum { TC_SHOWN_FILES = 5 };

struct tc_session_network {
    struct tc_channel recorder;
    const struct tc_buildspec *spec;
    bool hijacked;
    struct tc_recorder_ca *ca; /* path, pem */
    size_t ca_count;
    struct tc_pins *pins;
    size_t pins_files;
    struct tc_buf unread; /* lines for the log: lock files that pin nothing */
    struct tc_build_ca build_ca;
    struct tc_command_file shown[TC_SHOWN_FILES + 1];
    uint64_t transcript_size;
};
void tc_session_network_done(struct tc_session_network *network);

/* Before PREPARE: what build.json asks for. ports has room for TC_NETNS_PORTS_MAX. */
tc_status tc_session_network_plan(struct tc_session_network *network,
                                  const struct tc_buildspec *spec, uint16_t *ports,
                                  struct tc_spawner_network *ret_plan, struct tc_error *err)
    TC_MUST_USE;

/* While the source comes: keeps files of network.ca and reads lock files. */
struct tc_source_tap tc_session_network_tap(struct tc_session_network *network);

struct tc_session_network_wishes { /* of the host, in HELLO */
    const struct tc_credential *credentials;
    size_t credentials_count;
    bool store;
    const struct tc_sha256 *archive;
    struct tc_span build_file; /* its path */
    struct tc_span repository, ref;
    const struct tc_sha1 *commit;
};
/* Before the first command; nothing when the build is offline. */
tc_status tc_session_network_start(struct tc_session_network *network, struct tc_span build_file,
                                   const struct tc_session_network_wishes *wishes,
                                   struct tc_error *err) TC_MUST_USE;

/* After the last command, and before the monitor is asked to sign. */
tc_status tc_session_network_finish(struct tc_session_network *network, struct tc_error *err)
    TC_MUST_USE;
/* In place of it, when a command failed: adds a line for each refusal that the build met, as many
 * programs show a bare 403. Nothing can be signed after it. */
void tc_session_network_refusals(struct tc_session_network *network, struct tc_buf *buf);
/* After it has signed: the transcript in DATA frames. */
tc_status tc_session_network_send(struct tc_session_network *network, struct tc_channel *host,
                                  struct tc_error *err) TC_MUST_USE;

#endif
