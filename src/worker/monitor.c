/* The monitor: the only process that holds the NSM handle and the build's key.
 *
 * It parses no byte of the host and none of the build (the image's own text apart, which
 * is measured): the session sends it the
 * statement's parts as typed values (parts.h), each of which can be set once and
 * only in its phase; stages tells it, over a socket of their own, how the build ended;
 * and the recorder, over a third one, what the network did. It signs once, a statement
 * that it wrote itself.
 *
 *   GATHER   SOURCE, RECIPE and NONCE, in any order, then BIND:
 *            the binding goes into PCR16 and the register is locked, before any
 *            command runs; from here on no other source can get a document from
 *            this NSM, whoever asks.
 *   BUILT    COLLECTED*, SUBJECT*, LOG, then FINISH:
 *            stages must have reported the unpacking and exactly the commands
 *            that the recipe names, each one clean, and the recorder must have
 *            closed its books; of a build that was offline they are empty, and a
 *            recorder that says otherwise ends it (tc_statement_check).
 *
 * Anything else ends the monitor, and with it the session, unsigned. */

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "base/cleanup.h"
#include "core/dsse.h"
#include "core/pcr.h"
#include "core/transcript.h"
#include "core/userdata.h"
#include "tc_version.h"
#include "worker/nsm.h"
#include "worker/parts.h"
#include "worker/spawner.h"
#include "worker/stages.h"

/* For the rest of a message that has begun, and for the end of the books once the session
 * asks to sign. */
enum { RECORDER_PATIENCE_MS = 60 * 1000 };

enum phase { PHASE_GATHER, PHASE_BUILT, PHASE_DONE };

struct monitor {
    struct tc_nsm nsm;
    struct tc_channel session, recorder;
    int stages_fd, recorder_fd; /* -1: there is none, or it has nothing to say any more */
    bool has_recorder;          /* then it says of an offline build too that nothing was served */
    struct tc_buf told;         /* by the recorder: its last message */
    enum phase phase;
    bool unpacked;   /* stages: the source is on disk, no limit was reached */
    size_t commands; /* stages: commands that ended cleanly */
    size_t recorded; /* of these, before the recorder closed its books */
    uint32_t seen;   /* bit k: a message of kind k, which may come once, came */
    struct tc_statement statement;
    struct tc_build_key *key;
};

static tc_status once(struct monitor *monitor, enum tc_ipc_kind kind, struct tc_error *err)
{
    uint32_t bit = UINT32_C(1) << kind;
    if (monitor->seen & bit)
        return tc_fail(err, TC_REFUSED, "part %d of the statement came a second time", (int)kind);
    monitor->seen |= bit;
    return TC_OK;
}

static bool have(const struct monitor *monitor, enum tc_ipc_kind kind)
{
    return (monitor->seen & UINT32_C(1) << kind) != 0;
}

/* What the monitor says about the platform it asked itself. */
static tc_status describe_platform(struct monitor *monitor, struct tc_error *err)
{
    struct tc_part_platform *platform = &monitor->statement.platform;
    bool locked;
    for (unsigned i = 0; i < 3; i++)
        TC_TRY(tc_nsm_describe_pcr(&monitor->nsm, i, &platform->pcr[i], &locked, err));
    struct tc_sha384 unmeasured;
    TC_TRY(tc_pcr_unmeasured(&unmeasured, err));
    platform->measured =
        memcmp(unmeasured.bytes, platform->pcr[0].bytes, sizeof unmeasured.bytes) != 0;

    /* One build per enclave: a register that was used belongs to another one. */
    struct tc_sha384 binding;
    static const struct tc_sha384 zero;
    TC_TRY(tc_nsm_describe_pcr(&monitor->nsm, TC_PCR_BINDING, &binding, &locked, err));
    if (locked || memcmp(binding.bytes, zero.bytes, sizeof zero.bytes) != 0)
        return tc_fail(err, TC_REFUSED,
                       "PCR16 is already %s: this enclave has served a build; start a new one",
                       locked ? "locked" : "extended");

    TC_TRY(tc_nsm_random(&monitor->nsm, platform->invocation, sizeof platform->invocation, err));
    cpu_set_t cpus;
    struct utsname name;
    if (sched_getaffinity(0, sizeof cpus, &cpus) != 0 || uname(&name) != 0)
        return tc_fail(err, TC_SYSTEM, "cannot ask the kernel for processors and architecture");
    platform->cpus = (unsigned)CPU_COUNT(&cpus);
    if (strlen(name.machine) >= sizeof platform->architecture)
        return tc_fail(err, TC_SYSTEM, "the kernel's name of the architecture is too long");
    memcpy(platform->architecture, name.machine, strlen(name.machine) + 1);
    memcpy(platform->version, TC_VERSION, sizeof TC_VERSION);
    return TC_OK;
}

/* What the image says of itself: put in place by PID 1 from a measured ramdisk, or by
 * the launcher of a development build, which could sign anything anyway. */
static tc_status read_text(int fd, struct tc_image_text *ret_text, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf bytes = tc_buf_new(TC_IMAGE_TEXT_MAX);
    for (;;) {
        uint8_t piece[4096];
        ssize_t got = read(fd, piece, sizeof piece);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read what the image says of itself");
        if (got == 0) break;
        tc_buf_add(&bytes, piece, (size_t)got);
        TC_TRY(tc_buf_check(&bytes, "what the image says of itself", err));
    }
    return tc_image_text_decode(tc_buf_span(&bytes), ret_text, err);
}

static tc_status describe_image(struct monitor *monitor, int text_fd, struct tc_error *err)
{
    struct tc_part_image *image = &monitor->statement.image;
    bool measured = monitor->statement.platform.measured;
    TC_AUTO_IMAGE_TEXT struct tc_image_text text = {0};
    if (measured != (text_fd >= 0))
        return tc_fail(err, TC_REFUSED,
                       measured ? "the image was measured, but nothing says what it is made of"
                                : "a toolchain that was not measured says what it is made of");
    if (!measured) return TC_OK;
    TC_TRY(read_text(text_fd, &text, err));
    image->name = TC_TAKE(text.name);
    image->recipe = text.recipe;
    image->packages = TC_TAKE(text.packages);
    image->packages_count = text.packages_count;
    text.packages_count = 0;
    return TC_OK;
}

/* Takes in what stages has said so far. stages speaks to the monitor before it
 * answers the session, so whatever the session builds on is there already. */
static tc_status take_verdicts(struct monitor *monitor, struct tc_error *err)
{
    for (;;) {
        struct tc_verdict_message message;
        ssize_t got = recv(monitor->stages_fd, &message, sizeof message, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno == EAGAIN) return TC_OK;
        if (got != (ssize_t)sizeof message)
            return tc_fail(err, TC_REFUSED, "stages does not say how the build went");
        if (message.clean != 1)
            return tc_fail(err, TC_REFUSED,
                           "the build did not end cleanly, or a limit was reached: nothing is "
                           "signed");
        if (message.kind == TC_VERDICT_UNPACKED && monitor->phase == PHASE_GATHER) {
            monitor->unpacked = true;
        } else if (message.kind == TC_VERDICT_COMMAND && monitor->phase == PHASE_BUILT) {
            if (monitor->commands++ == 0) monitor->statement.started = message.started;
            monitor->statement.finished = message.finished;
        } else {
            return tc_fail(err, TC_REFUSED, "stages reported step %u out of its phase",
                           message.kind);
        }
    }
}

static tc_status bind_source(struct monitor *monitor, struct tc_error *err)
{
    if (!have(monitor, TC_IPC_SOURCE) || !have(monitor, TC_IPC_RECIPE) ||
        !have(monitor, TC_IPC_NONCE))
        return tc_fail(err, TC_REFUSED, "the session asked to bind before it sent every part");
    if (!monitor->unpacked)
        return tc_fail(err, TC_REFUSED, "the session asked to bind before the source was unpacked");

    struct tc_sha384 binding, expected = {{0}}, seen;
    TC_TRY(tc_statement_binding(&monitor->statement, &binding, err));
    struct tc_span data = {binding.bytes, sizeof binding.bytes};
    TC_TRY(tc_pcr_extend(&expected, data, err));
    TC_TRY(tc_nsm_extend_pcr(&monitor->nsm, TC_PCR_BINDING, data, &seen, err));
    if (memcmp(expected.bytes, seen.bytes, sizeof seen.bytes) != 0)
        return tc_fail(err, TC_REFUSED, "the NSM extended PCR16 to another value than expected");
    TC_TRY(tc_nsm_lock_pcr(&monitor->nsm, TC_PCR_BINDING, err));
    monitor->phase = PHASE_BUILT;
    return tc_ipc_write(&monitor->session, TC_IPC_READY, (struct tc_span){0}, err);
}

static tc_status add_collected(struct monitor *monitor, struct tc_span bytes, struct tc_error *err)
{
    struct tc_statement *statement = &monitor->statement;
    if (statement->collected_count >= TC_BUILDSPEC_LIST_MAX)
        return tc_fail(err, TC_LIMIT, "more than %d collected values", TC_BUILDSPEC_LIST_MAX);
    struct tc_collected *grown =
        reallocarray(statement->collected, statement->collected_count + 1, sizeof *grown);
    if (!grown) return tc_fail(err, TC_SYSTEM, "out of memory for collected values");
    statement->collected = grown;
    TC_TRY(tc_collected_decode(bytes, &grown[statement->collected_count], err));
    statement->collected_count++;
    return TC_OK;
}

/* Subjects come sorted; the array grows by doubling as they come. */
static tc_status add_subject(struct monitor *monitor, struct tc_span bytes, struct tc_error *err)
{
    struct tc_statement *statement = &monitor->statement;
    size_t count = statement->subjects_count;
    if (count >= TC_SUBJECTS_MAX)
        return tc_fail(err, TC_LIMIT, "more than %d outputs", TC_SUBJECTS_MAX);
    if ((count & (count - 1)) == 0) {
        struct tc_subject *grown =
            reallocarray(statement->subjects, count ? 2 * count : 1, sizeof *grown);
        if (!grown) return tc_fail(err, TC_SYSTEM, "out of memory for subjects");
        statement->subjects = grown;
    }
    TC_TRY(tc_subject_decode(bytes, &statement->subjects[count], err));
    statement->subjects_count++;
    if (count > 0 &&
        strcmp(statement->subjects[count - 1].path, statement->subjects[count].path) >= 0)
        return tc_fail(err, TC_MALFORMED, "the session sent outputs out of order");
    return TC_OK;
}

/* --- the recorder --- */

static bool is_offline(const struct monitor *monitor)
{
    return monitor->statement.recipe.network == TC_NETWORK_OFFLINE;
}

/* They come sorted, which tc_statement_check looks at, as it does at everything else. */
static tc_status add_dependency(struct monitor *monitor, struct tc_span bytes, struct tc_error *err)
{
    struct tc_statement *statement = &monitor->statement;
    size_t count = statement->dependencies_count;
    if (count >= TC_DEPENDENCIES_MAX)
        return tc_fail(err, TC_LIMIT, "more than %d downloads", TC_DEPENDENCIES_MAX);
    if ((count & (count - 1)) == 0) {
        struct tc_dependency *grown =
            reallocarray(statement->dependencies, count ? 2 * count : 1, sizeof *grown);
        if (!grown) return tc_fail(err, TC_SYSTEM, "out of memory for what was downloaded");
        statement->dependencies = grown;
    }
    TC_TRY(tc_dependency_decode(bytes, &statement->dependencies[count], err));
    statement->dependencies_count++;
    return TC_OK;
}

static tc_status hear(struct monitor *monitor, enum tc_ipc_kind kind, struct tc_span bytes,
                      struct tc_error *err)
{
    struct tc_statement *statement = &monitor->statement;
    bool began = have(monitor, TC_IPC_NETWORK);
    if (kind == TC_IPC_WITNESS && !began) {
        TC_TRY(once(monitor, kind, err));
        return tc_part_witness_decode(bytes, &statement->witness, err);
    }
    if (kind == TC_IPC_NETWORK) {
        TC_TRY(once(monitor, kind, err));
        return tc_part_network_decode(bytes, &statement->network, err);
    }
    if (kind == TC_IPC_DEPENDENCY && began) return add_dependency(monitor, bytes, err);
    if (kind != TC_IPC_TRANSCRIPT || !began)
        return tc_fail(err, TC_REFUSED, "the recorder sent part %d out of its order", (int)kind);
    TC_TRY(once(monitor, kind, err));
    monitor->recorder_fd = -1; /* it has closed its books */
    TC_TRY(take_verdicts(monitor, err));
    monitor->recorded = monitor->commands;
    return tc_part_transcript_decode(bytes, &statement->transcript, err);
}

/* One message of the recorder. That it is gone is no error before its word is needed: why
 * it is gone the session knows better. */
static tc_status hear_recorder(struct monitor *monitor, struct tc_error *err)
{
    enum tc_ipc_kind kind;
    struct tc_error gone = {0};
    tc_status status = tc_ipc_read(&monitor->recorder, &kind, &monitor->told, &gone);
    if (status == TC_PEER) {
        monitor->recorder_fd = -1;
        return TC_OK;
    }
    if (status != TC_OK) return tc_fail(err, status, "%s", gone.message);
    return hear(monitor, kind, tc_buf_span(&monitor->told), err);
}

/* Waits until the session has something to say, and listens to the recorder meanwhile: it
 * may have more to say than its socket holds. */
static tc_status await_session(struct monitor *monitor, struct tc_error *err)
{
    for (;;) {
        struct pollfd fds[2] = {{.fd = monitor->session.fd, .events = POLLIN},
                                {.fd = monitor->recorder_fd, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0) {
            if (errno == EINTR) continue;
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot wait for the session");
        }
        if (fds[1].revents) {
            TC_TRY(hear_recorder(monitor, err));
            continue;
        }
        if (fds[0].revents) return TC_OK;
    }
}

/* The session asks to sign once the recorder is done, but the end of its books may still be
 * on the way. */
static tc_status close_books(struct monitor *monitor, struct tc_error *err)
{
    struct tc_statement *statement = &monitor->statement;
    if (is_offline(monitor) && !monitor->has_recorder) {
        struct tc_part_transcript *empty = &statement->transcript;
        TC_TRY(tc_sha256_of(tc_span_of_text(TC_TRANSCRIPT_HEADER), &empty->digest, err));
        empty->last = empty->digest;
        return TC_OK;
    }
    while (monitor->recorder_fd >= 0)
        TC_TRY(hear_recorder(monitor, err));
    if (!have(monitor, TC_IPC_TRANSCRIPT))
        return tc_fail(err, TC_REFUSED,
                       "the recorder did not say how the network went: nothing is signed");
    /* It closes them when the session says so. A command that ran after that found no
     * network, and no line says so. */
    if (monitor->recorded != monitor->commands)
        return tc_fail(err, TC_REFUSED, "a command ran after the recorder had closed its books");
    /* The rules that were kept are those of the file in the source, whatever the session
     * handed to the recorder. */
    if (!is_offline(monitor) &&
        memcmp(&statement->network.build_file, &statement->recipe.build_file_digest,
               sizeof statement->network.build_file) != 0)
        return tc_fail(err, TC_REFUSED, "the recorder kept the rules of another build.json");
    if (statement->witness.repository &&
        (!statement->source.has_commit ||
         memcmp(statement->witness.commit.bytes, statement->source.commit.bytes,
                sizeof statement->source.commit.bytes) != 0))
        return tc_fail(err, TC_REFUSED,
                       "the ref that was read names another commit than the source");
    return TC_OK;
}

/* Every command of the recipe ran, and nothing else did. */
static tc_status check_commands(const struct monitor *monitor, struct tc_error *err)
{
    const struct tc_statement *statement = &monitor->statement;
    size_t expected = statement->collected_count + (statement->recipe.vendor ? 1 : 0) + 1;
    if (monitor->commands == expected) return TC_OK;
    return tc_fail(err, TC_REFUSED, "%zu commands ran cleanly where build.json names %zu",
                   monitor->commands, expected);
}

static tc_status sign(struct monitor *monitor, struct tc_buf *statement_json,
                      struct tc_buf *envelope, struct tc_buf *document, struct tc_error *err)
{
    const struct tc_statement *statement = &monitor->statement;
    TC_TRY(tc_statement_write(statement, statement_json, err));
    TC_TRY(tc_dsse_sign(monitor->key, tc_buf_span(statement_json), envelope, err));

    struct tc_userdata data = {.input = statement->source.digest,
                               .has_commit = statement->source.has_commit,
                               .commit = statement->source.commit};
    TC_TRY(tc_sha256_of(tc_buf_span(statement_json), &data.statement, err));
    TC_TRY(tc_statement_output_digest(statement, &data.output, err));
    TC_AUTO_BUF struct tc_buf user_data = tc_buf_new(TC_NSM_USER_DATA_MAX);
    tc_userdata_write(&data, &user_data);
    TC_TRY(tc_buf_check(&user_data, "user_data", err));

    TC_AUTO_BUF struct tc_buf public_key = tc_buf_new(TC_NSM_PUBLIC_KEY_MAX);
    TC_TRY(tc_build_key_public(monitor->key, &public_key, err));
    struct tc_span nonce = {statement->nonce, statement->nonce_size};
    return tc_nsm_attest(&monitor->nsm, tc_buf_span(&user_data), nonce, tc_buf_span(&public_key),
                         document, err);
}

static tc_status finish(struct monitor *monitor, struct tc_error *err)
{
    if (!have(monitor, TC_IPC_LOG) || monitor->statement.subjects_count == 0)
        return tc_fail(err, TC_REFUSED, "the session asked to sign before it sent every part");
    TC_TRY(check_commands(monitor, err));
    TC_TRY(close_books(monitor, err));

    TC_AUTO_BUF struct tc_buf statement = tc_buf_new(TC_STATEMENT_MAX);
    TC_AUTO_BUF struct tc_buf envelope = tc_buf_new(TC_DSSE_MAX);
    TC_AUTO_BUF struct tc_buf document = tc_buf_new(TC_NITRODOC_MAX);
    tc_status status = sign(monitor, &statement, &envelope, &document, err);
    /* Signed or not, the key has done its work. */
    tc_build_key_free(TC_TAKE(monitor->key));
    TC_TRY(status);
    TC_TRY(tc_ipc_write(&monitor->session, TC_IPC_STATEMENT, tc_buf_span(&statement), err));
    TC_TRY(tc_ipc_write(&monitor->session, TC_IPC_ENVELOPE, tc_buf_span(&envelope), err));
    TC_TRY(tc_ipc_write(&monitor->session, TC_IPC_DOCUMENT, tc_buf_span(&document), err));
    monitor->phase = PHASE_DONE;
    return TC_OK;
}

static tc_status set_nonce(struct monitor *monitor, struct tc_span bytes, struct tc_error *err)
{
    if (bytes.size > sizeof monitor->statement.nonce)
        return tc_fail(err, TC_LIMIT, "the nonce is longer than %d bytes", TC_WIRE_NONCE_MAX);
    if (bytes.size > 0) memcpy(monitor->statement.nonce, bytes.data, bytes.size);
    monitor->statement.nonce_size = bytes.size;
    return TC_OK;
}

static tc_status gather(struct monitor *monitor, enum tc_ipc_kind kind, struct tc_span bytes,
                        struct tc_error *err)
{
    TC_TRY(once(monitor, kind, err));
    if (kind == TC_IPC_SOURCE)
        return tc_part_source_decode(bytes, &monitor->statement.source, err);
    if (kind == TC_IPC_RECIPE)
        return tc_part_recipe_decode(bytes, &monitor->statement.recipe, err);
    if (kind == TC_IPC_NONCE) return set_nonce(monitor, bytes, err);
    return bind_source(monitor, err);
}

static tc_status built(struct monitor *monitor, enum tc_ipc_kind kind, struct tc_span bytes,
                       struct tc_error *err)
{
    if (kind == TC_IPC_COLLECTED) return add_collected(monitor, bytes, err);
    if (kind == TC_IPC_SUBJECT) return add_subject(monitor, bytes, err);
    TC_TRY(once(monitor, kind, err));
    if (kind == TC_IPC_LOG) return tc_part_log_decode(bytes, &monitor->statement.log, err);
    return finish(monitor, err);
}

static tc_status serve(struct monitor *monitor, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf message = tc_buf_new(TC_IPC_PART_MAX);
    while (monitor->phase != PHASE_DONE) {
        enum tc_ipc_kind kind;
        TC_TRY(await_session(monitor, err));
        TC_TRY(tc_ipc_read(&monitor->session, &kind, &message, err));
        TC_TRY(take_verdicts(monitor, err));
        bool gathers = kind >= TC_IPC_SOURCE && kind <= TC_IPC_BIND;
        bool builds = kind >= TC_IPC_COLLECTED && kind <= TC_IPC_FINISH;
        if (monitor->phase == PHASE_GATHER && gathers)
            TC_TRY(gather(monitor, kind, tc_buf_span(&message), err));
        else if (monitor->phase == PHASE_BUILT && builds)
            TC_TRY(built(monitor, kind, tc_buf_span(&message), err));
        else
            return tc_fail(err, TC_REFUSED, "the session sent part %d out of its phase", (int)kind);
    }
    return TC_OK;
}

int tc_monitor_main(const struct tc_monitor_config *config)
{
    struct tc_error err = {0};
    struct monitor monitor = {.stages_fd = config->stages_fd,
                              .recorder_fd = config->recorder_fd,
                              .has_recorder = config->recorder_fd >= 0,
                              .told = tc_buf_new(TC_IPC_PART_MAX)};
    /* Hashes and one key: no file of settings, and none of the names and texts that OpenSSL
     * would gather while the session waits for the processor. */
    if (OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ADD_ALL_CIPHERS |
                                OPENSSL_INIT_NO_ADD_ALL_DIGESTS |
                                OPENSSL_INIT_NO_LOAD_CRYPTO_STRINGS,
                            NULL) != 1)
        return EXIT_FAILURE;
    tc_status status = tc_channel_init(&monitor.session, config->session_fd, -1, "the session", &err);
    if (status != TC_OK) return EXIT_FAILURE;
    if (config->recorder_fd >= 0)
        status = tc_channel_init(&monitor.recorder, config->recorder_fd, RECORDER_PATIENCE_MS,
                                 "the recorder", &err);
    if (status == TC_OK) status = tc_nsm_open(config->nsm_fd, &monitor.nsm, &err);
    if (status == TC_OK) status = describe_platform(&monitor, &err);
    if (status == TC_OK) status = describe_image(&monitor, config->image_fd, &err);
    if (status == TC_OK) status = tc_build_key_new(&monitor.key, &err);
    if (status == TC_OK) status = serve(&monitor, &err);
    if (status != TC_OK) {
        TC_AUTO_BUF struct tc_buf failure = tc_buf_new(2 * TC_ERROR_MAX);
        struct tc_error ignored = {0};
        tc_wire_fail_encode(&err, &failure);
        /* The session may be gone; the exit status says the same to stages. */
        (void)!tc_ipc_write(&monitor.session, TC_IPC_ERROR, tc_buf_span(&failure), &ignored);
    }
    tc_build_key_free(monitor.key);
    tc_statement_free(&monitor.statement);
    tc_channel_done(&monitor.session);
    tc_channel_done(&monitor.recorder);
    tc_buf_free(&monitor.told);
    return status == TC_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
