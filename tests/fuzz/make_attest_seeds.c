/* Writes the seeds of the attestation's fuzz targets: real exchanges with the
 * development attester. Run by hand when a format changes:
 *     make_attest_seeds tests/fuzz/corpus */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/cbor.h"
#include "core/nsmproto.h"
#include "host/devattest.h"
#include "os/blocks.h"

static const char *corpus;

static void die(const char *what)
{
    (void)fprintf(stderr, "%s\n", what);
    exit(1);
}

static void store(const char *format, const char *name, int choice, struct tc_span bytes)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s/%s", corpus, format, name);
    FILE *file = fopen(path, "wb");
    if (!file) die(path);
    if (choice >= 0) (void)fputc(choice, file);
    if (fwrite(bytes.data, 1, bytes.size, file) != bytes.size || fclose(file) != 0) die(path);
}

static void exchange(int fd, const char *name, const struct tc_nsm_request *request)
{
    static uint8_t room[TC_NSM_RESPONSE_MAX];
    struct tc_error err = {0};
    struct tc_nsm_response response;
    struct tc_buf encoded = tc_buf_new(TC_NSM_REQUEST_MAX);
    char answer_name[64];
    size_t size = 0;
    (void)snprintf(answer_name, sizeof answer_name, "%s-answer", name);
    tc_nsm_request_encode(request, &encoded);
    store("nsmproto", name, 0, tc_buf_span(&encoded));
    if (tc_block_send(fd, tc_buf_span(&encoded), "it", &err) != TC_OK ||
        tc_block_receive(fd, room, sizeof room, "it", &size, &err) != TC_OK ||
        tc_nsm_response_decode((struct tc_span){room, size}, request->op, &response, &err) != TC_OK)
        die(err.message);
    store("nsmproto", answer_name, (int)request->op, (struct tc_span){room, size});
    if (request->op == TC_NSM_ATTESTATION && response.error.size == 0)
        store("nitrodoc", name, -1, response.data);
    tc_buf_free(&encoded);
}

static void exchange_all(int fd)
{
    static const uint8_t bytes[48] = {1, 2, 3};
    struct tc_span some = {bytes, sizeof bytes};
    const struct {
        const char *name;
        struct tc_nsm_request request;
    } list[] = {
        {"describe-nsm", {.op = TC_NSM_DESCRIBE_NSM}},
        {"random", {.op = TC_NSM_GET_RANDOM}},
        {"describe-pcr", {.op = TC_NSM_DESCRIBE_PCR, .index = 0}},
        {"describe-pcr-32", {.op = TC_NSM_DESCRIBE_PCR, .index = 32}},
        {"attest-nothing", {.op = TC_NSM_ATTESTATION}},
        {"extend-pcr", {.op = TC_NSM_EXTEND_PCR, .index = 16, .data = some}},
        {"lock-pcr", {.op = TC_NSM_LOCK_PCR, .index = 16}},
        {"lock-pcr-again", {.op = TC_NSM_LOCK_PCR, .index = 16}},
        {"attest-all",
         {.op = TC_NSM_ATTESTATION,
          .has_user_data = true,
          .has_nonce = true,
          .has_public_key = true,
          .user_data = some,
          .nonce = some,
          .public_key = some}},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        exchange(fd, list[i].name, &list[i].request);
}

static void store_cbor(void)
{
    /* Readers by number (fuzz_cbor.c), then what they read. */
    static const uint8_t readers[] = {9, 0, 1, 2, 3, 4, 5, 6, 0, 7};
    struct tc_buf buf = tc_buf_new(4096);
    tc_buf_add(&buf, readers, sizeof readers);
    tc_cbor_add_unsigned(&buf, 700);
    tc_cbor_add_integer(&buf, -35);
    tc_cbor_add_bool(&buf, true);
    tc_cbor_add_bytes(&buf, tc_span_of_text("bytes"));
    tc_cbor_add_name(&buf, "text");
    tc_cbor_add_null(&buf);
    tc_cbor_add_array(&buf, 1);
    tc_cbor_add_unsigned(&buf, 1);
    tc_cbor_add_map(&buf, 2);
    tc_cbor_add_name(&buf, "a");
    tc_cbor_add_array(&buf, 0);
    tc_cbor_add_name(&buf, "bb");
    tc_cbor_add_map(&buf, 0);
    store("cbor", "readers", -1, tc_buf_span(&buf));
    tc_buf_reset(&buf);
    tc_buf_add(&buf, "\1\7\277", 3); /* an indefinite map */
    tc_cbor_add_name(&buf, "index");
    tc_cbor_add_unsigned(&buf, UINT64_MAX);
    tc_buf_add_u8(&buf, 0xff);
    store("cbor", "indefinite", -1, tc_buf_span(&buf));
    tc_buf_reset(&buf);
    for (int i = 0; i < TC_CBOR_DEPTH_MAX; i++)
        tc_cbor_add_array(&buf, 1);
    tc_cbor_add_null(&buf);
    store("cbor", "deep", -1, tc_buf_span(&buf));
    tc_buf_free(&buf);
}

int main(int argc, char **argv)
{
    if (argc != 2) die("usage: make_attest_seeds CORPUS-FOLDER");
    corpus = argv[1];
    char folder[] = "/tmp/make-attest-seeds-XXXXXX";
    struct tc_error err = {0};
    struct tc_sha384 pcrs[3];
    char *pem = NULL;
    bool created = false;
    int pair[2];
    for (int i = 0; i < 3; i++)
        memset(pcrs[i].bytes, i + 1, sizeof pcrs[i].bytes);
    if (!mkdtemp(folder) || tc_devroot_ensure(folder, &pem, &created, &err) != TC_OK ||
        socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
        die(err.message);
    pid_t attester = fork();
    if (attester == 0) {
        const struct tc_devattest_config config = {folder, pcrs};
        (void)close(pair[0]);
        _exit((int)tc_devattest_serve(pair[1], &config, &err));
    }
    (void)close(pair[1]);
    if (attester < 0) die("cannot fork");
    exchange_all(pair[0]);
    store_cbor();
    (void)close(pair[0]);
    (void)waitpid(attester, NULL, 0);
    /* The throw-away root stays behind in /tmp on purpose: nobody trusts it. */
    (void)printf("seeds written; remove %s\n", folder);
    free(pem);
    return 0;
}
