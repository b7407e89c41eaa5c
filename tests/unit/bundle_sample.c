#include "bundle_sample.h"

#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "core/bundle.h"
#include "core/dsse.h"
#include "core/pcr.h"
#include "core/transcript.h"
#include "host/devattest.h"
#include "worker/nsm.h"

#define must(expression)                                                                           \
    do {                                                                                           \
        if (!(expression)) {                                                                       \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #expression);                 \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#define must_be_ok(expression)                                                                     \
    do {                                                                                           \
        if ((expression) != TC_OK) {                                                               \
            (void)fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #expression, err.message); \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

int sample_root_make(struct sample_root *root)
{
    struct tc_error err = {0};
    bool created;
    TC_AUTO_FREE char *pem = NULL;
    (void)snprintf(root->folder, sizeof root->folder, "/tmp/test-verify-XXXXXX");
    if (!mkdtemp(root->folder)) return -1;
    must_be_ok(tc_devroot_ensure(root->folder, &pem, &created, &err));
    FILE *file = fopen(pem, "r");
    must(file != NULL);
    X509 *certificate = PEM_read_X509(file, NULL, NULL, NULL);
    (void)fclose(file);
    must(certificate != NULL);
    uint8_t *der = NULL;
    int size = i2d_X509(certificate, &der);
    must(size > 0);
    root->der = tc_buf_new(8192);
    tc_buf_add(&root->der, der, (size_t)size);
    OPENSSL_free(der);
    X509_free(certificate);
    return 0;
}

int sample_root_remove(struct sample_root *root)
{
    static const char *const names[] = {"development-root.key", "development-root.pem",
                                        "development-root.lock"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s/%s", root->folder, names[i]);
        (void)unlink(path);
    }
    tc_buf_free(&root->der);
    return rmdir(root->folder);
}

static struct tc_buf buf_of(struct tc_span span)
{
    struct tc_buf buf = tc_buf_new(1 << 20);
    tc_buf_add_span(&buf, span);
    return buf;
}

/* Has a fresh attester sign what the parts ask for. */
static void attest(struct sample_parts *parts, const struct sample_root *root,
                   struct tc_span public_key)
{
    struct tc_error err = {0};
    int pair[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    pid_t attester = fork();
    must(attester >= 0);
    if (attester == 0) {
        struct tc_devattest_config config = {root->folder, parts->pcrs, &parts->pcr8};
        (void)close(pair[0]);
        _exit(tc_devattest_serve(pair[1], &config, &err) == TC_OK ? 0 : 1);
    }
    (void)close(pair[1]);
    struct tc_nsm nsm;
    struct tc_sha384 binding, value;
    must_be_ok(tc_nsm_open(pair[0], &nsm, &err));
    must_be_ok(tc_statement_binding(&parts->statement, &binding, &err));
    if (parts->other_binding) binding.bytes[0] ^= 1;
    must_be_ok(tc_nsm_extend_pcr(&nsm, TC_PCR_BINDING,
                                (struct tc_span){binding.bytes, sizeof binding.bytes}, &value,
                                &err));
    must_be_ok(tc_nsm_lock_pcr(&nsm, TC_PCR_BINDING, &err));
    TC_AUTO_BUF struct tc_buf user_data = tc_buf_new(512);
    if (!parts->no_user_data) tc_userdata_write(&parts->user_data, &user_data);
    parts->document = tc_buf_new(TC_NITRODOC_MAX);
    must_be_ok(tc_nsm_attest(&nsm, tc_buf_span(&user_data),
                            (struct tc_span){parts->nonce, parts->nonce_size}, public_key,
                            &parts->document, &err));
    (void)close(pair[0]);
    int status;
    must(waitpid(attester, &status, 0) == attester);
    must(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

void sample_parts_make(struct sample_parts *parts, const struct sample_root *root,
                       sample_change *before, sample_change *after)
{
    struct tc_error err = {0};
    *parts = (struct sample_parts){.executable = {true, false}};
    sample_statement(&parts->statement);
    parts->statement.finished = (int64_t)time(NULL);
    parts->statement.started = parts->statement.finished - 10;
    memcpy(parts->pcrs, parts->statement.platform.pcr, sizeof parts->pcrs);
    parts->build_file = buf_of(sample_build_file_bytes());
    parts->log = buf_of(sample_log_bytes());
    parts->transcript = buf_of(tc_span_of_text(TC_TRANSCRIPT_HEADER));
    parts->outputs[0] = buf_of(sample_output_bytes(0));
    parts->outputs[1] = buf_of(sample_output_bytes(1));
    memcpy(parts->nonce, parts->statement.nonce, sizeof parts->nonce);
    parts->nonce_size = parts->statement.nonce_size;
    if (before) before(parts);

    struct tc_build_key *key, *other;
    must_be_ok(tc_build_key_new(&key, &err));
    must_be_ok(tc_build_key_new(&other, &err));
    parts->statement_json = tc_buf_new(TC_STATEMENT_MAX);
    parts->envelope = tc_buf_new(TC_DSSE_MAX);
    must_be_ok(tc_statement_write(&parts->statement, &parts->statement_json, &err));
    must_be_ok(tc_dsse_sign(key, tc_buf_span(&parts->statement_json), &parts->envelope, &err));
    parts->user_data = (struct tc_userdata){.input = parts->statement.source.digest,
                                            .has_commit = parts->statement.source.has_commit,
                                            .commit = parts->statement.source.commit};
    must_be_ok(tc_sha256_of(tc_buf_span(&parts->statement_json), &parts->user_data.statement, &err));
    must_be_ok(tc_statement_output_digest(&parts->statement, &parts->user_data.output, &err));
    TC_AUTO_BUF struct tc_buf spki = tc_buf_new(TC_DSSE_KEY_MAX);
    must_be_ok(tc_build_key_public(parts->other_key ? other : key, &spki, &err));
    attest(parts, root, tc_buf_span(&spki));
    tc_build_key_free(key);
    tc_build_key_free(other);
    if (after) after(parts);
}

void sample_parts_free(struct sample_parts *parts)
{
    tc_statement_free(&parts->statement);
    struct tc_buf *bufs[] = {&parts->build_file,     &parts->log,        &parts->document,
                             &parts->envelope,       &parts->transcript, &parts->statement_json,
                             &parts->outputs[0],     &parts->outputs[1]};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        tc_buf_free(bufs[i]);
}

static void add_member(struct tc_buf *tar, const char *name, bool executable, struct tc_span bytes)
{
    struct tc_error err = {0};
    static const uint8_t zeros[TC_BUNDLE_BLOCK];
    struct tc_bundle_member member = {tc_span_of_text(name), executable, bytes.size};
    must_be_ok(tc_bundle_write_header(&member, tar, &err));
    tc_buf_add_span(tar, bytes);
    tc_buf_add(tar, zeros, tc_bundle_padding(bytes.size));
}

int sample_bundle_fd(const struct sample_parts *parts)
{
    static const uint8_t zeros[TC_BUNDLE_END_SIZE];
    TC_AUTO_BUF struct tc_buf tar = tc_buf_new(32 << 20);
    add_member(&tar, TC_BUNDLE_BUILD_FILE, false, tc_buf_span(&parts->build_file));
    if (!parts->omit_log) add_member(&tar, TC_BUNDLE_LOG, false, tc_buf_span(&parts->log));
    if (!parts->omit_document)
        add_member(&tar, TC_BUNDLE_DOCUMENT, false, tc_buf_span(&parts->document));
    add_member(&tar, TC_BUNDLE_ENVELOPE, false, tc_buf_span(&parts->envelope));
    add_member(&tar, TC_BUNDLE_TRANSCRIPT, false, tc_buf_span(&parts->transcript));
    if (!parts->omit_statement)
        add_member(&tar, TC_BUNDLE_STATEMENT, false, tc_buf_span(&parts->statement_json));
    if (parts->extra_output) add_member(&tar, parts->extra_output, false, tc_span_of_text("x"));
    static const char *const names[] = {"outputs/bin/app", "outputs/notes.txt"};
    for (size_t i = 0; i < 2; i++)
        if (!parts->omit_output[i])
            add_member(&tar, names[i], parts->executable[i], tc_buf_span(&parts->outputs[i]));
    if (parts->stranger) add_member(&tar, parts->stranger, false, tc_span_of_text("x"));
    tc_buf_add(&tar, zeros, sizeof zeros);
    if (parts->tail) tc_buf_add_text(&tar, parts->tail);
    must(tc_buf_ok(&tar));
    int fd = memfd_create("bundle", MFD_CLOEXEC);
    must(fd >= 0);
    must(write(fd, tar.data, tar.size) == (ssize_t)tar.size);
    must(lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}
