/* The trust store on disk: what somebody left half-written, wrote by hand or could have
 * written is never taken for more than it is, and many processes may use it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "trust_lab.h"

/* Leftovers of other programs' and our own interrupted writes, and damage. */
static void test_damaged(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    struct tc_list_update result = {0};
    struct tc_known *known;
    add_signer(f, 0);
    add_signer(f, 1);
    assert_ok(update(f, 0, 5, 1, &result, &err));
    write_raw(path_in(f, "keys/.", f->id[2], ".pem.0011223344556677.part"), "half", 4);
    write_raw(path_in(f, "keys/", f->id[2], ".pem.new"), f->pem[2].data, f->pem[2].size);
    write_raw(path_in(f, "lists/.", f->id[1], ".json.0011223344556677.part"), "half", 4);
    write_raw(path_in(f, "keys/README", "", ""), "hello", 5);
    assert_int_equal(sequence_there(f, 0), 5);
    assert_int_equal(sequence_there(f, 1), 0);
    assert_refused(update(f, 2, 5, 1, &result, &err), TC_REFUSED, "nobody here trusts");

    /* Every cut of a stored list is noticed, and stays in the way of an update:
     * nobody knows any more which list was there. */
    TC_AUTO_BUF struct tc_buf list = signed_list(f, 0, 5, 1);
    const char *path = path_in(f, "lists/", f->id[0], ".json");
    for (size_t size = 0; size < list.size; size += 7) {
        write_raw(path, list.data, size);
        assert_int_not_equal(tc_truststore_read(f->store, &known, &err), TC_OK);
        assert_int_not_equal(update(f, 0, 4, 1, &result, &err), TC_OK);
    }
    write_raw(path, list.data, list.size);
    assert_int_equal(sequence_there(f, 0), 5);
    /* The other signer's list under this name. */
    TC_AUTO_BUF struct tc_buf others = signed_list(f, 1, 5, 1);
    write_raw(path, others.data, others.size);
    assert_refused(tc_truststore_read(f->store, &known, &err), TC_REFUSED, "no signature names");
    assert_ok(tc_truststore_remove(f->store, f->id[0], &err)); /* even so */

    path = path_in(f, "keys/", f->id[1], ".pem");
    write_raw(path, f->pem[2].data, f->pem[2].size);
    assert_refused(tc_truststore_read(f->store, &known, &err), TC_REFUSED, "holds another key");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_refused(tc_truststore_read(f->store, &known, &err), TC_USAGE, "symlink");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_refused(tc_truststore_read(f->store, &known, &err), TC_USAGE, "no regular file");
    assert_int_equal(unlink(path), 0);
    path = path_in(f, "own.json", "", "");
    write_raw(path, "{\"type\":\"tee-compile/own-images/1\",\"images\":[", 20);
    assert_int_equal(tc_truststore_read(f->store, &known, &err), TC_MALFORMED);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(truncate(path, 0), -1);
    write_raw(path, "", 0);
    assert_int_equal(truncate(path, (off_t)TC_OWNIMAGES_MAX + 1), 0);
    assert_refused(tc_truststore_read(f->store, &known, &err), TC_USAGE, "larger than");
}

static void test_open_to_others(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    struct tc_known *known;
    add_signer(f, 0);
    char *path = path_in(f, "keys", "", "");
    assert_int_equal(chmod(path, 0770), 0);
    assert_refused(tc_truststore_read(f->store, &known, &err), TC_UNAVAILABLE, "others can write");
    assert_int_equal(chmod(path, 0755), 0);
    assert_int_equal(sequence_there(f, 0), 0);
    /* A file in it, for all that the folder is closed. */
    char key[512];
    (void)snprintf(key, sizeof key, "%s", path_in(f, "keys/", f->id[0], ".pem"));
    assert_int_equal(chmod(key, 0622), 0);
    assert_refused(tc_truststore_read(f->store, &known, &err), TC_UNAVAILABLE, "others can write");
    assert_int_equal(chmod(key, 0600), 0);
    if (geteuid() == 0) { /* nobody else can give it to another user */
        assert_int_equal(chown(key, 12345, (gid_t)-1), 0);
        assert_refused(tc_truststore_read(f->store, &known, &err), TC_UNAVAILABLE, "user 12345");
        assert_int_equal(chown(key, 0, (gid_t)-1), 0);
        path = path_in(f, "keys", "", "");
        assert_int_equal(chown(path, 12345, (gid_t)-1), 0);
        assert_refused(tc_truststore_read(f->store, &known, &err), TC_UNAVAILABLE, "user 12345");
        assert_int_equal(chown(path, 0, (gid_t)-1), 0);
    }
    path = path_in(f, "keys", "", "");
    assert_int_equal(chmod(f->folder, 0777), 0);
    struct tc_truststore *store;
    assert_refused(tc_truststore_open(f->folder, NULL, &store, &err), TC_UNAVAILABLE,
                   "others can write");
    /* A folder that is a link to another place. */
    assert_int_equal(chmod(f->folder, 0700), 0);
    char elsewhere[256];
    (void)snprintf(elsewhere, sizeof elsewhere, "%s/keys", f->base);
    assert_int_equal(rename(path, elsewhere), 0);
    assert_int_equal(symlink(elsewhere, path), 0);
    assert_int_equal(tc_truststore_read(f->store, &known, &err), TC_UNAVAILABLE);
}

enum { PROCESSES = 8, ROUNDS = 6 };

/* Many processes bring lists in any order, and images of their own: at the end
 * the highest list is there, every image is, and no reader ever saw a broken
 * store or a list older than one that it had seen. */
static void bring(struct fixture *f, int number)
{
    struct tc_error err = {0};
    struct tc_truststore *store;
    uint64_t seen = 0;
    if (tc_truststore_open(f->folder, NULL, &store, &err) != TC_OK) _exit(1);
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t sequence = (uint64_t)(1 + (number * 5 + round * 7) % (PROCESSES * ROUNDS));
        struct tc_buf envelope = signed_list(f, 0, sequence, 2);
        struct tc_list_update result;
        tc_status status =
            tc_truststore_update(store, tc_buf_span(&envelope), "x", 0, &result, &err);
        tc_buf_free(&envelope);
        if (status != TC_OK && status != TC_REFUSED) _exit(2);
        struct tc_own_image image = {.name = "c"};
        memset(image.pcr0.bytes, 1 + number, TC_SHA384_SIZE);
        image.pcr0.bytes[0] = (uint8_t)(1 + round);
        if (tc_truststore_add_image(store, &image, &err) != TC_OK) _exit(3);
        struct tc_known *known;
        if (tc_truststore_read(store, &known, &err) != TC_OK) _exit(4);
        if (known->signers[0].list.sequence < seen) _exit(5);
        seen = known->signers[0].list.sequence;
        if (status == TC_OK && seen < sequence) _exit(6);
        tc_known_free(known);
    }
    tc_truststore_free(store);
    _exit(0);
}

static void test_at_once(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    pid_t children[PROCESSES];
    add_signer(f, 0);
    uint64_t highest = 0;
    for (int i = 0; i < PROCESSES; i++) {
        for (int round = 0; round < ROUNDS; round++) {
            uint64_t sequence = (uint64_t)(1 + (i * 5 + round * 7) % (PROCESSES * ROUNDS));
            if (sequence > highest) highest = sequence;
        }
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0) bring(f, i);
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    assert_int_equal(sequence_there(f, 0), highest);
    TC_AUTO_KNOWN struct tc_known *known = NULL;
    assert_ok(tc_truststore_read(f->store, &known, &err));
    assert_int_equal(known->own_count, PROCESSES * ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE(test_damaged),
        STORE(test_open_to_others),
        STORE(test_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
