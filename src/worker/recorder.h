/* The recorder: every connection of the build ends here, and another one begins.
 *
 *   build == TLS (per-build CA) or plain ==> exchange <== TLS, verified ==> egress ==> host ==> server
 *                                               |
 *                                          transcript, archive
 *
 * One process of its own (inner uid TC_UID_RECORDER), several threads: one accepts, one
 * answers DNS, one for each connection at a time, at most TC_RECORDER_CONNECTIONS; more
 * wait in the listeners' queues. A connection's memory is bounded whatever passes.
 *
 * What is delivered is what was recorded: requests and responses are read into a model
 * (core/http1.h) and written anew. A connection of another kind is refused, or, when
 * build.json lists it as opaque, relayed unread and written down as such.
 *
 * Failing is of three kinds, since the host must not be able to choose between two
 * successful builds (SECURITY.md):
 *   denied   by build.json's rules or by the grammar: the build gets an answer that says
 *            why (403 with a text, or a closed connection), the transcript a line; the
 *            session goes on, for the host had no part in it;
 *   failed   upstream refused, was not who it says, stalled, or broke off: tried again
 *            where that is safe; else the transcript gets a line and the recorder is
 *            broken for good: its `broken_fd` becomes readable and nothing is signed;
 *   cut      by the build itself, once it had an answer's head and had not waited for
 *            upstream for more than a twelfth of stall_ms in sum: a line, no more. Whoever
 *            gives up before the head, or after such waiting, could be made to: `failed`.
 *            So is a handshake or a request's head that the build does not bring to its end
 *            in five times stall_ms: a host that starves it could cause that. */
#ifndef TC_WORKER_RECORDER_H
#define TC_WORKER_RECORDER_H

#include "core/credential.h"
#include "core/netpolicy.h"
#include "core/pins.h"
#include "core/transcript.h"

enum {
    TC_RECORDER_CONNECTIONS = 256,
    TC_RECORDER_STALL_MS = 60 * 1000, /* without a byte from upstream */
    TC_RECORDER_ATTEMPTS = 4,
};

/* How streams to the host come to be. */
struct tc_egress_link {
    /* Opens one; *ret_fd is owned, non-blocking. piece: most bytes of one write, 0: no cap. */
    tc_status (*open)(void *context, int *ret_fd, struct tc_error *err);
    void *context;
    size_t piece;
};

struct tc_recorder_ca { /* an extra trust anchor, from the source */
    char *host;         /* as in build.json */
    char *path;
    struct tc_buf pem;
    struct tc_sha256 digest; /* of the file */
};

struct tc_recorder_config { /* everything borrowed; lives as long as the recorder */
    const struct tc_network *network;
    struct tc_span bundle; /* PEM: the image's trust anchors; may be empty */
    const struct tc_recorder_ca *ca;
    size_t ca_count;
    const struct tc_pins *pins;
    const struct tc_credential *credentials;
    size_t credentials_count;
    struct tc_egress_link link;
    int transcript_fd; /* a file, empty: network.jsonl is written into it */
    bool archive;      /* each response also goes to the host's archive (STORE) */
    bool replay;       /* responses come from it (REPLAY) and from nowhere else */
    int64_t stall_ms;  /* 0: TC_RECORDER_STALL_MS */
};

struct tc_recorder;

tc_status tc_recorder_new(const struct tc_recorder_config *config, struct tc_recorder **ret_recorder,
                          struct tc_error *err) TC_MUST_USE;
/* Ends every connection, waits for the threads. Accepts NULL. */
void tc_recorder_free(struct tc_recorder *recorder);

/* The certificate of the per-build CA: PEM, and a PKCS#12 trust store for Java (password
 * "changeit"). Borrow from the recorder. Its key never leaves this process. */
struct tc_span tc_recorder_ca_pem(const struct tc_recorder *recorder);
struct tc_span tc_recorder_ca_p12(const struct tc_recorder *recorder);

/* Of a replay: the SHA-256 of archive.jsonl, which the recorder asked for when it was made
 * and checks everything against; else NULL. */
const struct tc_sha256 *tc_recorder_archive(const struct tc_recorder *recorder);

/* One connection that the build made to name:port ("" when the address is not one that
 * DNS gave out: then only the address is known). Takes fd; runs it in a thread. Blocks
 * while TC_RECORDER_CONNECTIONS are busy. */
tc_status tc_recorder_take(struct tc_recorder *recorder, int fd, const char *name, const char *address,
                           uint16_t port, struct tc_error *err) TC_MUST_USE;
/* Something that was refused without a connection (a packet, a query). */
void tc_recorder_deny(struct tc_recorder *recorder, const char *what, const char *why);

/* Readable when the recorder is broken; tc_recorder_reason then says why. */
int tc_recorder_broken_fd(const struct tc_recorder *recorder);
void tc_recorder_reason(struct tc_recorder *recorder, struct tc_error *ret_reason);

/* The worker's own GET over the same verified way, written down like any other: body into
 * buf (its max is the cap). For the witness of a ref. TC_REFUSED for a status other than 200. */
tc_status tc_recorder_get(struct tc_recorder *recorder, const char *url, struct tc_buf *buf,
                          struct tc_error *err) TC_MUST_USE;

/* When every process of the build is dead: waits for the threads and closes the books.
 * Fails with the reason when broken. */
tc_status tc_recorder_finish(struct tc_recorder *recorder, struct tc_transcript_summary *ret_summary,
                             struct tc_error *err) TC_MUST_USE;

#endif
