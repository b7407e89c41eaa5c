/* What session and recorder say to one another: frames as in parts.h with kinds of
 * their own, and the session's side of it. What the session may say decides nothing
 * that is signed: the recorder reads build.json itself and tells the monitor itself,
 * with the digest of what it read. */
#ifndef TC_WORKER_RECORDING_H
#define TC_WORKER_RECORDING_H

#include "core/pins.h"
#include "os/channel.h"
#include "worker/recorder.h"

enum tc_recording_kind {
    /* session -> recorder; START ends the first six, FINISH the session */
    TC_RECORDING_BUILD_FILE = 64, /* bytes of build.json */
    TC_RECORDING_CA,              /* block path, block bytes: a file of network.ca */
    TC_RECORDING_PINS,            /* a piece of pins (pins.h) */
    TC_RECORDING_CREDENTIAL,      /* credential.h */
    TC_RECORDING_WITNESS,         /* block repository, block ref, commit */
    TC_RECORDING_ARCHIVE,         /* digest of archive.jsonl: what comes is a replay */
    TC_RECORDING_START,           /* store:u8 */
    TC_RECORDING_FINISH,
    /* recorder -> session */
    TC_RECORDING_READY = 96, /* to START: block PEM, block PKCS#12 of the build's CA */
    TC_RECORDING_FAILED,     /* as TC_WIRE_FAIL: unasked when broken, or to anything */
    TC_RECORDING_TRANSCRIPT, /* to FINISH: size:u64, then pieces of it, in PIECE */
    TC_RECORDING_PIECE,
};
enum {
    TC_RECORDING_FRAME_MAX = 1 << 20,
    TC_RECORDING_CA_MAX = 512 << 10,   /* bytes of one file of network.ca */
    TC_RECORDING_PINS_MAX = 256 << 20, /* bytes of all pins */
};

/* The per-build CA, for the sandbox. */
struct tc_build_ca {
    struct tc_buf pem, p12;
};
void tc_build_ca_free(struct tc_build_ca *ca);

struct tc_recording_config { /* borrowed */
    struct tc_span build_file;
    const struct tc_recorder_ca *ca;
    size_t ca_count;
    const struct tc_pins *pins;
    const struct tc_credential *credentials;
    size_t credentials_count;
    bool store;                      /* each response goes to the host's archive */
    const struct tc_sha256 *archive; /* of its index: answers come from it; NULL: no replay */
    struct tc_span repository, ref;  /* to witness; empty: not asked */
    const struct tc_sha1 *commit;
};

/* Returns when the recorder takes connections. */
tc_status tc_recording_start(struct tc_channel *recorder, const struct tc_recording_config *config,
                             struct tc_build_ca *ret_ca, struct tc_error *err) TC_MUST_USE;

/* The recorder said something unasked, or hung up: why. Never TC_OK. */
tc_status tc_recording_broken(struct tc_channel *recorder, struct tc_error *err) TC_MUST_USE;

/* When every process of the build is dead, or without a start, when the build was
 * offline: closes the books. The transcript's bytes follow. */
tc_status tc_recording_finish(struct tc_channel *recorder, uint64_t *ret_size, struct tc_error *err)
    TC_MUST_USE;
/* The next piece of it, never empty; only while bytes are left. After the monitor
 * has signed: the recorder tells it first. */
tc_status tc_recording_piece(struct tc_channel *recorder, struct tc_buf *piece,
                             struct tc_error *err) TC_MUST_USE;

#endif
