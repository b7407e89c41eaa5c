/* The development attester in a process of its own, asked through the worker's
 * NSM client, its documents judged by the verifier. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/pem.h>

#include "assert_ok.h"
#include "base/cleanup.h"
#include "core/cbor.h"
#include "core/nitrodoc.h"
#include "core/pcr.h"
#include "folder.h"
#include "host/devattest.h"
#include "host/devroot.h"
#include "os/blocks.h"
#include "worker/nsm.h"

struct fixture {
    char folder[64];
    char data[80];
    int fd;
    pid_t attester;
    struct tc_nsm nsm;
    struct tc_sha384 pcrs[3];
};

static int start(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct tc_error err = {0};
    char *pem TC_AUTO_FREE = NULL;
    bool created = false;
    int pair[2];
    if (!fixture) return -1;
    (void)snprintf(fixture->folder, sizeof fixture->folder, "/tmp/test-devattest-XXXXXX");
    if (!mkdtemp(fixture->folder)) return -1;
    (void)snprintf(fixture->data, sizeof fixture->data, "%s/data", fixture->folder);
    for (size_t i = 0; i < 3; i++)
        memset(fixture->pcrs[i].bytes, (int)i + 1, sizeof fixture->pcrs[i].bytes);
    assert_ok(tc_devroot_ensure(fixture->data, &pem, &created, &err));
    assert_true(created);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    fixture->attester = fork();
    assert_true(fixture->attester >= 0);
    if (fixture->attester == 0) {
        const struct tc_devattest_config config = {fixture->data, fixture->pcrs};
        (void)close(pair[0]);
        tc_status status = tc_devattest_serve(pair[1], &config, &err);
        if (status != TC_OK) (void)fprintf(stderr, "%s\n", err.message);
        _exit((int)status);
    }
    (void)close(pair[1]);
    fixture->fd = pair[0];
    assert_ok(tc_nsm_open(fixture->fd, &fixture->nsm, &err));
    assert_false(fixture->nsm.is_device);
    *state = fixture;
    return 0;
}

/* Hangs up and returns what serve returned. */
static tc_status hang_up(struct fixture *fixture)
{
    int status = 0;
    if (fixture->fd >= 0) (void)close(fixture->fd);
    fixture->fd = -1;
    assert_int_equal(waitpid(fixture->attester, &status, 0), fixture->attester);
    assert_true(WIFEXITED(status));
    fixture->attester = 0;
    return (tc_status)WEXITSTATUS(status);
}

static int stop(void **state)
{
    struct fixture *fixture = *state;
    if (fixture->attester > 0) assert_int_equal(hang_up(fixture), TC_OK);
    (void)remove_folder(fixture->folder);
    free(fixture);
    return 0;
}

static struct tc_buf root_der(const struct fixture *fixture)
{
    struct tc_devcert_issuer root = {0};
    struct tc_error err = {0};
    struct tc_buf der = tc_buf_new(TC_NITRODOC_CERT_MAX);
    uint8_t *bytes = NULL;
    assert_ok(tc_devroot_load(fixture->data, &root, &err));
    int size = i2d_X509(root.certificate, &bytes);
    assert_true(size > 0);
    tc_buf_add(&der, bytes, (size_t)size);
    OPENSSL_free(bytes);
    tc_devroot_done(&root);
    return der;
}

static void test_document(void **state)
{
    struct fixture *fixture = *state;
    struct tc_error err = {0};
    struct tc_buf root TC_AUTO_BUF = root_der(fixture);
    struct tc_buf bytes TC_AUTO_BUF = tc_buf_new(TC_NITRODOC_MAX);
    struct tc_span user_data = tc_span_of_text("user data"), nonce = tc_span_of_text("nonce");
    struct tc_nitrodoc document;
    int64_t before = time(NULL);
    assert_ok(
        tc_nsm_attest(&fixture->nsm, user_data, nonce, (struct tc_span){NULL, 0}, &bytes, &err));
    assert_ok(tc_nitrodoc_decode(tc_buf_span(&bytes), &document, &err));
    assert_true(tc_span_equal(document.user_data, user_data));
    assert_true(tc_span_equal(document.nonce, nonce));
    assert_false(document.has_public_key);
    assert_int_equal(document.pcr_present, 0xffff);
    for (size_t i = 0; i < 3; i++)
        assert_memory_equal(document.pcr[i], fixture->pcrs[i].bytes, TC_PCR_SIZE);
    assert_false(tc_nitrodoc_is_debug(&document));
    int64_t at = (int64_t)(document.timestamp / 1000);
    assert_true(at >= before && at <= time(NULL));

    assert_ok(tc_nitrodoc_authenticate(&document, tc_buf_span(&root), at, &err));
    /* Nothing of this passes for AWS's. */
    assert_false(tc_is_aws_root(tc_buf_span(&root)));
    assert_int_equal(tc_nitrodoc_authenticate(&document, tc_aws_root(), at, &err), TC_REFUSED);
    /* The windows: 5 minutes back, 3 hours on. */
    assert_int_equal(tc_nitrodoc_authenticate(&document, tc_buf_span(&root), at - 3600, &err),
                     TC_REFUSED);
    assert_ok(tc_nitrodoc_authenticate(&document, tc_buf_span(&root), at + 2 * 3600, &err));
    assert_int_equal(tc_nitrodoc_authenticate(&document, tc_buf_span(&root), at + 4 * 3600, &err),
                     TC_REFUSED);
    /* Any byte of the payload that changes is seen. */
    uint8_t *changed = bytes.data + (document.user_data.data - bytes.data);
    *changed ^= 1;
    assert_ok(tc_nitrodoc_decode(tc_buf_span(&bytes), &document, &err));
    assert_int_equal(tc_nitrodoc_authenticate(&document, tc_buf_span(&root), at, &err), TC_REFUSED);
}

static void test_extend_and_lock(void **state)
{
    struct fixture *fixture = *state;
    struct tc_error err = {0};
    struct tc_sha384 value, expected = {{0}};
    bool locked = true;
    uint8_t digest[48] = {7};
    struct tc_span data = {digest, sizeof digest};
    static const struct tc_sha384 zero;
    assert_ok(tc_nsm_describe_pcr(&fixture->nsm, TC_PCR_BINDING, &value, &locked, &err));
    assert_false(locked);
    assert_memory_equal(value.bytes, zero.bytes, TC_PCR_SIZE);

    assert_ok(tc_pcr_extend(&expected, data, &err));
    assert_ok(tc_nsm_extend_pcr(&fixture->nsm, TC_PCR_BINDING, data, &value, &err));
    assert_memory_equal(value.bytes, expected.bytes, TC_PCR_SIZE);
    assert_ok(tc_nsm_lock_pcr(&fixture->nsm, TC_PCR_BINDING, &err));

    assert_int_equal(tc_nsm_extend_pcr(&fixture->nsm, TC_PCR_BINDING, data, &value, &err),
                     TC_REFUSED);
    assert_non_null(strstr(err.message, "ReadOnlyIndex"));
    assert_int_equal(tc_nsm_lock_pcr(&fixture->nsm, TC_PCR_BINDING, &err), TC_REFUSED);
    assert_ok(tc_nsm_describe_pcr(&fixture->nsm, TC_PCR_BINDING, &value, &locked, &err));
    assert_true(locked);
    assert_memory_equal(value.bytes, expected.bytes, TC_PCR_SIZE);

    struct tc_buf bytes TC_AUTO_BUF = tc_buf_new(TC_NITRODOC_MAX);
    struct tc_nitrodoc document;
    struct tc_span none = {NULL, 0};
    assert_ok(tc_nsm_attest(&fixture->nsm, none, none, none, &bytes, &err));
    assert_ok(tc_nitrodoc_decode(tc_buf_span(&bytes), &document, &err));
    assert_int_equal(document.pcr_present, 0x1ffff);
    assert_memory_equal(document.pcr[TC_PCR_BINDING], expected.bytes, TC_PCR_SIZE);
}

static void test_refusals(void **state)
{
    struct fixture *fixture = *state;
    struct tc_error err = {0};
    struct tc_sha384 value;
    bool locked = false;
    static uint8_t large[TC_NSM_USER_DATA_MAX + 1];
    struct tc_span byte = {large, 1}, none = {NULL, 0};
    /* The measured registers are out of reach. */
    for (unsigned i = 0; i < 16; i++) {
        assert_int_equal(tc_nsm_extend_pcr(&fixture->nsm, i, byte, &value, &err), TC_REFUSED);
        assert_non_null(strstr(err.message, "ReadOnlyIndex"));
        assert_int_equal(tc_nsm_lock_pcr(&fixture->nsm, i, &err), TC_REFUSED);
    }
    assert_int_equal(tc_nsm_extend_pcr(&fixture->nsm, 32, byte, &value, &err), TC_REFUSED);
    assert_non_null(strstr(err.message, "InvalidIndex"));
    assert_int_equal(tc_nsm_lock_pcr(&fixture->nsm, 32, &err), TC_REFUSED);
    assert_int_equal(tc_nsm_describe_pcr(&fixture->nsm, 65535, &value, &locked, &err), TC_REFUSED);
    assert_non_null(strstr(err.message, "InvalidIndex"));
    assert_int_equal(tc_nsm_extend_pcr(&fixture->nsm, 17, none, &value, &err), TC_REFUSED);
    assert_non_null(strstr(err.message, "InvalidArgument"));
    struct tc_buf bytes TC_AUTO_BUF = tc_buf_new(TC_NITRODOC_MAX);
    struct tc_span too_large = {large, sizeof large};
    assert_int_equal(tc_nsm_attest(&fixture->nsm, too_large, none, none, &bytes, &err), TC_REFUSED);
    assert_non_null(strstr(err.message, "InputTooLarge"));
    assert_int_equal(bytes.size, 0);
    assert_ok(tc_nsm_describe_pcr(&fixture->nsm, 31, &value, &locked, &err));
    assert_false(locked);
}

static void test_random(void **state)
{
    struct fixture *fixture = *state;
    struct tc_error err = {0};
    uint8_t a[300] = {0}, b[300] = {0};
    assert_ok(tc_nsm_random(&fixture->nsm, a, sizeof a, &err));
    assert_ok(tc_nsm_random(&fixture->nsm, b, sizeof b, &err));
    assert_memory_not_equal(a, b, sizeof a);
    /* The last bytes come from a second request. */
    static const uint8_t zero[40];
    assert_memory_not_equal(a + 260, zero, sizeof zero);
}

/* Bytes that are no request get an answer, and the session goes on. */
static void test_garbage(void **state)
{
    struct fixture *fixture = *state;
    struct tc_error err = {0};
    static const uint8_t garbage[] = {0xa1, 0x61, 0x41, 0x01};
    uint8_t room[TC_NSM_RESPONSE_MAX];
    size_t size = 0;
    struct tc_nsm_response answer;
    assert_ok(tc_block_send(fixture->fd, (struct tc_span){garbage, sizeof garbage}, "it", &err));
    assert_ok(tc_block_receive(fixture->fd, room, sizeof room, "it", &size, &err));
    assert_ok(tc_nsm_response_decode((struct tc_span){room, size}, TC_NSM_LOCK_PCR, &answer, &err));
    assert_true(tc_span_equal(answer.error, tc_span_of_text("InvalidArgument")));
    assert_ok(tc_nsm_lock_pcr(&fixture->nsm, 20, &err));
}

static void test_broken_framing_ends_it(void **state)
{
    struct fixture *fixture = *state;
    static const uint8_t head[] = {0xff, 0xff, 0xff, 0xff};
    assert_int_equal(send(fixture->fd, head, sizeof head, MSG_NOSIGNAL), (ssize_t)sizeof head);
    assert_int_equal(hang_up(fixture), TC_MALFORMED);
}

/* The client, too, refuses what is no answer. */
static void test_client_refuses(void **state)
{
    (void)state;
    static const struct {
        uint8_t bytes[16];
        size_t size;
        tc_status expected;
    } cases[] = {
        {{0, 0, 0, 0}, 4, TC_MALFORMED},
        {{0, 1, 0, 0, 1}, 5, TC_MALFORMED},
        {{0, 0, 0, 8, 0x67, 'L', 'o', 'c', 'k', 'P', 'C', 'S'}, 12, TC_MALFORMED},
        {{0, 0, 0, 8, 0x67, 'L'}, 6, TC_PEER},
        {{0, 0}, 2, TC_PEER},
        {{0}, 0, TC_PEER},
        {{0, 0, 0, 8, 0x67, 'L', 'o', 'c', 'k', 'P', 'C', 'R'}, 12, TC_OK},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tc_error err = {0};
        struct tc_nsm nsm;
        int pair[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        if (cases[i].size > 0)
            assert_int_equal(send(pair[1], cases[i].bytes, cases[i].size, 0), cases[i].size);
        assert_int_equal(shutdown(pair[1], SHUT_WR), 0);
        assert_ok(tc_nsm_open(pair[0], &nsm, &err));
        assert_int_equal(tc_nsm_lock_pcr(&nsm, 16, &err), cases[i].expected);
        (void)close(pair[0]);
        (void)close(pair[1]);
    }
    struct tc_error err = {0};
    struct tc_nsm nsm;
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(tc_nsm_open(pipes[0], &nsm, &err), TC_UNAVAILABLE);
    (void)close(pipes[0]);
    (void)close(pipes[1]);
}

static void test_root_is_kept(void **state)
{
    struct fixture *fixture = *state;
    struct tc_error err = {0};
    struct stat info;
    char key[160];
    char *pem TC_AUTO_FREE = NULL;
    bool created = true;
    uint8_t random[4];
    /* An answer means that the attester has read the key, which goes away below. */
    assert_ok(tc_nsm_random(&fixture->nsm, random, sizeof random, &err));
    struct tc_buf before TC_AUTO_BUF = root_der(fixture);
    assert_ok(tc_devroot_ensure(fixture->data, &pem, &created, &err));
    assert_false(created);
    assert_non_null(strstr(pem, "/development-root.pem"));
    struct tc_buf after TC_AUTO_BUF = root_der(fixture);
    assert_true(tc_span_equal(tc_buf_span(&before), tc_buf_span(&after)));
    (void)snprintf(key, sizeof key, "%s/development-root.key", fixture->data);
    assert_int_equal(stat(key, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    assert_int_equal(stat(fixture->data, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0700);
    /* A key that others may read is not used; one that is gone is not replaced
     * under a certificate that people trust. */
    free(TC_TAKE(pem));
    assert_int_equal(chmod(key, 0644), 0);
    assert_int_equal(tc_devroot_ensure(fixture->data, &pem, &created, &err), TC_USAGE);
    assert_int_equal(unlink(key), 0);
    assert_int_equal(tc_devroot_ensure(fixture->data, &pem, &created, &err), TC_UNAVAILABLE);
    assert_null(pem);
}

/* Processes that come at once all end up with one root, made once. */
static void test_root_race(void **state)
{
    (void)state;
    enum { RACERS = 6 };
    struct fixture fixture = {0};
    int created_count = 0;
    pid_t racers[RACERS];
    (void)snprintf(fixture.folder, sizeof fixture.folder, "/tmp/test-devroot-XXXXXX");
    assert_non_null(mkdtemp(fixture.folder));
    (void)snprintf(fixture.data, sizeof fixture.data, "%s/data", fixture.folder);
    for (size_t i = 0; i < RACERS; i++) {
        racers[i] = fork();
        assert_true(racers[i] >= 0);
        if (racers[i] == 0) {
            struct tc_error err = {0};
            char *pem = NULL;
            bool created = false;
            tc_status status = tc_devroot_ensure(fixture.data, &pem, &created, &err);
            _exit(status != TC_OK ? 100 : created);
        }
    }
    for (size_t i = 0; i < RACERS; i++) {
        int status = 0;
        assert_int_equal(waitpid(racers[i], &status, 0), racers[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) <= 1);
        created_count += WEXITSTATUS(status);
    }
    assert_int_equal(created_count, 1);
    (void)remove_folder(fixture.folder);
}

/* --- an emulator's document --- */

/* What QEMU's NSM makes: claims under algorithm -1 and a signature of zeros. */
static struct tc_buf make_claims(const struct fixture *fixture, int algorithm, uint8_t last)
{
    static const uint8_t der[] = {0};
    uint8_t header[] = {0xa1, 0x01, 0x20}, signature[96] = {[95] = last};
    struct tc_nitrodoc document = {.module_id = tc_span_of_text("i-0123456789abcdef0-enc0123"),
                                   .timestamp = (uint64_t)time(NULL) * 1000,
                                   .pcr_present = 0x1ffff,
                                   .certificate = {der, sizeof der},
                                   .cabundle = {{der, sizeof der}},
                                   .cabundle_count = 1,
                                   .has_user_data = true,
                                   .user_data = tc_span_of_text("what was built")};
    struct tc_buf payload = tc_buf_new(TC_NITRODOC_PAYLOAD_MAX);
    struct tc_buf claims = tc_buf_new(TC_NITRODOC_MAX);
    for (size_t i = 0; i < 3; i++)
        memcpy(document.pcr[i], fixture->pcrs[i].bytes, TC_PCR_SIZE);
    memset(document.pcr[16], 0x16, TC_PCR_SIZE);
    header[2] = (uint8_t)(0x20 - 1 - algorithm);
    tc_nitrodoc_encode_payload(&document, &payload);
    tc_cbor_add_array(&claims, 4);
    tc_cbor_add_bytes(&claims, (struct tc_span){header, sizeof header});
    tc_cbor_add_map(&claims, 0);
    tc_cbor_add_bytes(&claims, tc_buf_span(&payload));
    tc_cbor_add_bytes(&claims, (struct tc_span){signature, sizeof signature});
    assert_true(tc_buf_ok(&claims));
    tc_buf_free(&payload);
    return claims;
}

static tc_status sign_claims(const struct fixture *fixture, struct tc_buf *claims,
                             struct tc_buf *ret_document, struct tc_error *err)
{
    const struct tc_devattest_config config = {.folder = fixture->data, .pcrs = fixture->pcrs};
    *ret_document = tc_buf_new(TC_NITRODOC_MAX);
    tc_status status = tc_devattest_sign(&config, tc_buf_span(claims), ret_document, err);
    tc_buf_free(claims);
    return status;
}

static void test_emulators_claims(void **state)
{
    struct fixture *fixture = *state;
    struct tc_error err = {0};
    struct tc_nitrodoc document = {0};
    struct tc_buf claims = make_claims(fixture, -1, 0), signed_document;
    /* As it comes no verifier takes it. */
    assert_int_equal(tc_nitrodoc_decode(tc_buf_span(&claims), &document, &err), TC_REFUSED);
    assert_ok(sign_claims(fixture, &claims, &signed_document, &err));
    assert_ok(tc_nitrodoc_decode(tc_buf_span(&signed_document), &document, &err));
    struct tc_buf root = root_der(fixture);
    assert_ok(tc_nitrodoc_authenticate(&document, tc_buf_span(&root), (int64_t)time(NULL), &err));
    assert_int_not_equal(
        tc_nitrodoc_authenticate(&document, tc_aws_root(), (int64_t)time(NULL), &err), TC_OK);
    assert_true(tc_span_equal(document.user_data, tc_span_of_text("what was built")));
    assert_true(document.module_id.size > 12);
    assert_memory_equal(document.module_id.data, "development-", 12);
    assert_memory_equal(document.pcr[0], fixture->pcrs[0].bytes, TC_PCR_SIZE);
    assert_int_equal(document.pcr[16][0], 0x16);
    assert_int_equal(document.pcr_present, 0x1ffff);
    tc_buf_free(&root);
    tc_buf_free(&signed_document);
}

static void test_emulators_claims_refused(void **state)
{
    struct fixture *fixture = *state;
    struct tc_error err = {0};
    struct tc_buf document;
    static const struct {
        int algorithm;
        uint8_t last;
        const char *why;
    } cases[] = {{-2, 0, "expected algorithm -1"}, {-1, 1, "expected zeros"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tc_buf claims = make_claims(fixture, cases[i].algorithm, cases[i].last);
        assert_int_equal(sign_claims(fixture, &claims, &document, &err), TC_REFUSED);
        assert_non_null(strstr(err.message, cases[i].why));
        assert_int_equal(document.size, 0);
        tc_buf_free(&document);
    }
    for (size_t i = 0; i < 3; i++) { /* the emulator has measured another image */
        struct tc_buf claims = make_claims(fixture, -1, 0);
        fixture->pcrs[i].bytes[47] ^= 1;
        assert_int_equal(sign_claims(fixture, &claims, &document, &err), TC_REFUSED);
        assert_non_null(strstr(err.message, "the emulator measured"));
        fixture->pcrs[i].bytes[47] ^= 1;
        tc_buf_free(&document);
    }
    struct tc_buf claims = make_claims(fixture, -1, 0);
    claims.size--;
    assert_int_equal(sign_claims(fixture, &claims, &document, &err), TC_MALFORMED);
    tc_buf_free(&document);
}

static void test_root_folder(void **state)
{
    (void)state;
    struct tc_error err = {0};
    char *path = NULL;
    assert_int_equal(setenv("XDG_DATA_HOME", "/x/data", 1), 0);
    assert_ok(tc_devroot_folder(&path, &err));
    assert_string_equal(path, "/x/data/tee-compile");
    free(path);
    assert_int_equal(setenv("XDG_DATA_HOME", "relative", 1), 0);
    assert_int_equal(setenv("HOME", "/home/x", 1), 0);
    assert_ok(tc_devroot_folder(&path, &err));
    assert_string_equal(path, "/home/x/.local/share/tee-compile");
    free(path);
    assert_int_equal(unsetenv("HOME"), 0);
    assert_int_equal(tc_devroot_folder(&path, &err), TC_UNAVAILABLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_document, start, stop),
        cmocka_unit_test_setup_teardown(test_extend_and_lock, start, stop),
        cmocka_unit_test_setup_teardown(test_refusals, start, stop),
        cmocka_unit_test_setup_teardown(test_random, start, stop),
        cmocka_unit_test_setup_teardown(test_garbage, start, stop),
        cmocka_unit_test_setup_teardown(test_broken_framing_ends_it, start, stop),
        cmocka_unit_test_setup_teardown(test_root_is_kept, start, stop),
        cmocka_unit_test_setup_teardown(test_emulators_claims, start, stop),
        cmocka_unit_test_setup_teardown(test_emulators_claims_refused, start, stop),
        cmocka_unit_test(test_client_refuses),
        cmocka_unit_test(test_root_race),
        cmocka_unit_test(test_root_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
