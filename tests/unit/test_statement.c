/* The statement: what is written is read back equal, what is not exactly a
 * statement is refused, and the digests are those of docs/formats.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "assert_ok.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "core/denied.h"
#include "core/userdata.h"
#include "statement_sample.h"

static struct tc_buf write_sample(void)
{
    struct tc_error err = {0};
    TC_AUTO_STATEMENT struct tc_statement statement;
    sample_statement(&statement);
    struct tc_buf buf = tc_buf_new(TC_STATEMENT_MAX);
    assert_ok(tc_statement_write(&statement, &buf, &err));
    return buf;
}

static void assert_round_trip(const struct tc_statement *statement)
{
    struct tc_error err = {0};
    TC_AUTO_BUF struct tc_buf first = tc_buf_new(TC_STATEMENT_MAX);
    TC_AUTO_BUF struct tc_buf second = tc_buf_new(TC_STATEMENT_MAX);
    TC_AUTO_STATEMENT struct tc_statement again = {0};
    assert_ok(tc_statement_write(statement, &first, &err));
    assert_ok(tc_statement_read(tc_buf_span(&first), &again, &err));
    assert_ok(tc_statement_write(&again, &second, &err));
    assert_true(tc_span_equal(tc_buf_span(&first), tc_buf_span(&second)));
    struct tc_sha384 a, b;
    assert_ok(tc_statement_binding(statement, &a, &err));
    assert_ok(tc_statement_binding(&again, &b, &err));
    assert_memory_equal(a.bytes, b.bytes, sizeof a.bytes);
}

static void test_round_trip(void **state)
{
    (void)state;
    TC_AUTO_STATEMENT struct tc_statement statement;
    sample_statement(&statement);
    assert_round_trip(&statement);

    statement.log = (struct tc_part_log){0};
    statement.nonce_size = 0;
    free(statement.source.repository);
    statement.source.repository = NULL;
    statement.source.kind = TC_SOURCE_TREE;
    statement.source.has_commit = false;
    statement.recipe.vendor = strdup("./fetch\n./more \"\\ \t\xe2\x80\xae");
    statement.recipe.image = strdup("gcc-12");
    assert_round_trip(&statement);

    struct tc_error err = {0};
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(TC_STATEMENT_MAX);
    TC_AUTO_STATEMENT struct tc_statement again = {0};
    assert_ok(tc_statement_write(&statement, &buf, &err));
    for (size_t i = 0; i < buf.size; i++)
        assert_true(buf.data[i] >= 0x20 && buf.data[i] < 0x7f);
    assert_ok(tc_statement_read(tc_buf_span(&buf), &again, &err));
    assert_string_equal(again.recipe.vendor, statement.recipe.vendor);
    assert_string_equal(again.collected[0].output, "cc 12 \xc2\xb5");
    assert_false(again.log.present);
    assert_false(again.source.has_commit);
    assert_true(again.subjects[0].executable);
    assert_false(again.subjects[1].executable);
    assert_int_equal(again.nonce_size, 0);
}

/* An image that was measured says what it is made of; another one has nothing to say. */
static void test_image(void **state)
{
    struct tc_error err = {0};
    (void)state;
    TC_AUTO_BUF struct tc_buf buf = write_sample();
    TC_AUTO_STATEMENT struct tc_statement statement = {0};
    assert_ok(tc_statement_read(tc_buf_span(&buf), &statement, &err));
    assert_string_equal(statement.image.name, "c");
    assert_int_equal(statement.image.recipe.bytes[5], 0x4e);
    assert_int_equal(statement.image.packages_count, 2);
    assert_string_equal(statement.image.packages[0].name, "g++");
    assert_string_equal(statement.image.packages[0].version, "4:14.2.0-1");
    assert_string_equal(statement.image.packages[0].architecture, "amd64");
    assert_int_equal(statement.image.packages[1].digest.bytes[0], 0x61);
    TC_AUTO_FREE char *text = tc_buf_take_text(&buf);
    assert_non_null(strstr(text, "{\"uri\":\"pkg:deb/debian/g%2B%2B@4:14.2.0-1?arch=amd64\",\"digest\":"
                                 "{\"sha256\":\"60"));

    TC_AUTO_BUF struct tc_buf none = tc_buf_new(TC_STATEMENT_MAX);
    statement.platform.measured = false;
    assert_int_equal(tc_statement_write(&statement, &none, &err), TC_MALFORMED);
    tc_part_image_free(&statement.image);
    assert_round_trip(&statement);
    statement.platform.measured = true;
    assert_int_equal(tc_statement_write(&statement, &none, &err), TC_MALFORMED);
    assert_int_equal(none.size, 0);
}

static void test_tags(void **state)
{
    (void)state;
    TC_AUTO_STATEMENT struct tc_statement statement;
    sample_statement(&statement);
    statement.source.tags = calloc(2, sizeof(char *));
    statement.source.tags[0] = strdup("v1.0 c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0");
    statement.source.tags_count = 1;
    assert_round_trip(&statement);
}

static void add_network(struct tc_statement *statement)
{
    statement->recipe.network = TC_NETWORK_RECORD;
    statement->network.hijack = TC_HIJACK_NFTABLES;
    statement->network.has_denied = true;
    statement->network.denied_count = 7;
    statement->network.denied = (struct tc_sha256){{9}};
    statement->network.ca = calloc(2, sizeof *statement->network.ca);
    statement->network.ca[0] = (struct tc_extra_ca){strdup("*.corp"), strdup("certs/all.pem"), {{1}}};
    statement->network.ca[1] = (struct tc_extra_ca){strdup("a.corp"), strdup("certs/a.pem"), {{2}}};
    statement->network.ca_count = 2;
    statement->network.plain_http = calloc(1, sizeof(char *));
    statement->network.plain_http[0] = strdup("deb.example.org");
    statement->network.plain_http_count = 1;
    statement->network.opaque = calloc(1, sizeof(char *));
    statement->network.opaque[0] = strdup("git.example.org:22");
    statement->network.opaque_count = 1;
    statement->witness.repository = strdup("https://git.example.org/app.git");
    statement->witness.ref = strdup("refs/heads/main");
    statement->dependencies = calloc(3, sizeof *statement->dependencies);
    statement->dependencies[0] = (struct tc_dependency){strdup("http://deb.example.org/d"), {{3}}, 7,
                                                        .unauthenticated = true};
    statement->dependencies[1] = (struct tc_dependency){strdup("https://a.example.org/b"), {{1}}, 5,
                                                        .pinned_by = strdup("Cargo.lock")};
    statement->dependencies[2] = (struct tc_dependency){strdup("https://a.example.org/b"), {{2}}, 6};
    statement->dependencies_count = 3;
    statement->transcript.count = 4;
}

static void test_network(void **state)
{
    (void)state;
    struct tc_error err = {0};
    TC_AUTO_STATEMENT struct tc_statement statement, again = {0};
    sample_statement(&statement);
    add_network(&statement);
    assert_round_trip(&statement);
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(TC_STATEMENT_MAX);
    assert_ok(tc_statement_write(&statement, &buf, &err));
    assert_ok(tc_statement_read(tc_buf_span(&buf), &again, &err));
    assert_string_equal(again.network.ca[1].path, "certs/a.pem");
    assert_true(again.network.has_denied);
    assert_int_equal(again.network.denied_count, 7);
    assert_int_equal(again.network.denied.bytes[0], 9);
    assert_string_equal(again.network.opaque[0], "git.example.org:22");
    assert_string_equal(again.witness.repository, "https://git.example.org/app.git");
    assert_int_equal(again.image.packages_count, 2);
    assert_int_equal(again.dependencies_count, 3);
    assert_true(again.dependencies[0].unauthenticated);
    assert_string_equal(again.dependencies[1].pinned_by, "Cargo.lock");
    TC_AUTO_FREE char *text = tc_buf_take_text(&buf);
    assert_non_null(strstr(text, "\"network\":{\"ca\":[{\"host\":\"*.corp\",\"path\":\"certs/all.pem\",\"digest\":"));
    assert_non_null(
        strstr(text, "],\"deniedCertificates\":{\"count\":7,\"digest\":{\"sha256\":\"09"));
    assert_non_null(strstr(text, "\"hijack\":\"nftables\",\"mode\":\"record\",\"opaque\":[\"git.example.org:22\"],"
                                 "\"plainHttp\":[\"deb.example.org\"]}"));
    assert_non_null(strstr(text, "\"annotations\":{\"pinnedBy\":\"Cargo.lock\",\"size\":5}}"));
    assert_non_null(strstr(text, "\"annotations\":{\"size\":7,\"unauthenticated\":true}}"));

    /* Replayed: everything is of the archive, and nothing is witnessed. */
    tc_part_witness_free(&statement.witness);
    statement.network.replayed = true;
    assert_int_equal(tc_statement_check(&statement, &err), TC_MALFORMED);
    for (size_t i = 0; i < 3; i++)
        statement.dependencies[i].from_archive = true;
    assert_round_trip(&statement);
}

/* Each change of a good statement with a network makes it one that nobody writes. */
static void test_network_refusals(void **state)
{
    (void)state;
    for (int change = 0; change < 20; change++) {
        struct tc_error err = {0};
        TC_AUTO_STATEMENT struct tc_statement s;
        sample_statement(&s);
        add_network(&s);
        assert_ok(tc_statement_check(&s, &err));
        switch (change) {
        case 0: s.recipe.network = TC_NETWORK_OFFLINE; break;
        case 1: s.network.hijack = TC_HIJACK_NONE; break;
        case 2: s.network.ca[0].host[0] = 'b'; break;
        case 3: s.network.ca[0].path[0] = '/'; break;
        case 4: s.network.plain_http[0][0] = ' '; break;
        case 5: s.network.opaque[0][3] = '\n'; break;
        case 6: s.witness.repository[4] = ':'; break;
        case 7: s.source.has_commit = false; s.source.kind = TC_SOURCE_TREE; break;
        case 8: s.dependencies[0].unauthenticated = false; break;
        case 9: s.dependencies[1].unauthenticated = true; break;
        case 10: s.dependencies[1].size = 0; break;
        case 11: s.dependencies[2].digest.bytes[0] = 1; break;
        case 12: s.dependencies[2].digest.bytes[0] = 0; break;
        case 13: s.dependencies[2].url[8] = 'A'; break;
        case 14: s.dependencies[1].pinned_by[0] = '/'; break;
        case 15: s.dependencies[1].from_archive = true; break;
        case 16: s.dependencies[0].url[0] = 'f'; break;
        case 17: /* an archive witnesses nothing */
            s.network.replayed = true;
            for (size_t i = 0; i < 3; i++)
                s.dependencies[i].from_archive = true;
            break;
        case 18: s.network.has_denied = false; break;
        case 19: s.network.denied_count = TC_DENIED_ENTRIES_MAX + 1; break;
        default: break;
        }
        if (tc_statement_check(&s, &err) != TC_MALFORMED) fail_msg("change %d", change);
    }
}

/* As many downloads as a statement may have, and one more: in memory and as text. */
static void test_many_dependencies(void **state)
{
    (void)state;
    enum { MANY = TC_DEPENDENCIES_MAX + 1 };
    struct tc_error err = {0};
    TC_AUTO_STATEMENT struct tc_statement s, again = {0};
    sample_statement(&s);
    add_network(&s);
    tc_dependencies_free(s.dependencies, s.dependencies_count);
    s.dependencies = calloc(MANY, sizeof *s.dependencies);
    s.dependencies_count = MANY;
    for (size_t i = 0; i < MANY; i++) {
        char url[64];
        (void)snprintf(url, sizeof url, "https://a.example.org/%05zu", i);
        s.dependencies[i] = (struct tc_dependency){strdup(url), {{1}}, 5};
    }
    assert_int_equal(tc_statement_check(&s, &err), TC_MALFORMED);
    assert_non_null(strstr(err.message, "too many dependencies"));
    struct tc_dependency last = s.dependencies[--s.dependencies_count];
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(TC_STATEMENT_MAX);
    assert_ok(tc_statement_write(&s, &buf, &err));
    assert_ok(tc_statement_read(tc_buf_span(&buf), &again, &err));
    assert_int_equal(again.dependencies_count, TC_DEPENDENCIES_MAX);
    TC_AUTO_FREE char *text = tc_buf_take_text(&buf);
    static const char start[] = "{\"uri\":\"https://a.example.org/00000\"";
    char *at = strstr(text, start);
    assert_non_null(at);
    TC_AUTO_BUF struct tc_buf more = tc_buf_new(TC_STATEMENT_MAX);
    size_t entry = (size_t)(strstr(at + 1, "{\"uri\"") - at);
    tc_buf_add(&more, text, (size_t)(at - text));
    tc_buf_add(&more, at, entry);
    tc_buf_add_text(&more, at);
    tc_statement_free(&again);
    assert_int_equal(tc_statement_read(tc_buf_span(&more), &again, &err), TC_MALFORMED);
    if (!strstr(err.message, "more than 16384 downloads")) fail_msg("%s", err.message);
    free(last.url);
}

/* Replaces the first `from` in a good statement. */
static tc_status read_changed(const char *from, const char *to, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf buf = write_sample();
    TC_AUTO_FREE char *text = tc_buf_take_text(&buf);
    assert_non_null(text);
    char *at = strstr(text, from);
    if (!at) fail_msg("the sample lacks %s", from);
    TC_AUTO_BUF struct tc_buf changed = tc_buf_new(TC_STATEMENT_MAX);
    tc_buf_add(&changed, text, (size_t)(at - text));
    tc_buf_add_text(&changed, to);
    tc_buf_add_text(&changed, at + strlen(from));
    TC_AUTO_STATEMENT struct tc_statement statement = {0};
    return tc_statement_read(tc_buf_span(&changed), &statement, err);
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *message;
    } cases[] = {
        {TC_STATEMENT_TYPE, "https://in-toto.io/Statement/v0.1", "_type: must be"},
        {TC_PREDICATE_TYPE, "https://slsa.dev/provenance/v0.2", "predicateType: must be"},
        {TC_BUILD_TYPE, "urn:tee-compile:build:2", "buildType: must be"},
        {TC_BUILDER_ID, "urn:somebody", "builder.id: must be"},
        {"\"_type\":", "\"_type\":\"x\",\"_type\":", "duplicate"},
        {"\"subject\":", "\"more\":1,\"subject\":", "more: unknown key"},
        {"\"command\":", "\"comand\":", "did you mean \"command\""},
        {"\"mode\":\"0755\"", "\"mode\":\"4755\"", "the mode must be"},
        {"\"mode\":\"0755\"", "\"mode\":755", "must be a string"},
        {"\"name\":\"bin/app\"", "\"name\":\"../app\"", "not a relative path"},
        {"\"name\":\"bin/app\"", "\"name\":\"bin/\\u001bapp\"", "not a relative path"},
        {"\"name\":\"bin/app\"", "\"name\":\"zzz\"", "not sorted"},
        {"\"name\":\"bin/app\"", "\"name\":\"notes.txt\"", "not sorted"},
        {"\"sha256\":\"", "\"sha256\":\"A", "at most 64"},
        {"\"sha256\":\"", "\"sha512\":\"", "sha512: unknown key"},
        {"\"gitCommit\":\"c0c0", "\"gitCommit\":\"C0c0", "lower-case hex"},
        {"\"kind\":\"git\"", "\"kind\":\"tree\"", "gitCommit: unknown key"},
        {"\"kind\":\"git\"", "\"kind\":\"svn\"", "the kind must be"},
        {"\"measured\":true", "\"measured\":false", "name: unknown key"},
        {"\"measured\":true,\"name\":\"c\"", "\"measured\":true", "name: "},
        {"\"measured\":true,\"name\":\"c\"", "\"measured\":true,\"name\":\"C\"", "name is not one"},
        {"\"recipe\":\"4e", "\"recipe\":\"4E", "lower-case hex"},
        {"pkg:deb/debian/g%2B", "pkg:deb/debian/z%2B", "packages are not sorted"},
        {"pkg:deb/debian/make@", "pkg:deb/debian/g%2B%2B@", "packages are not sorted"},
        {"pkg:deb/debian/g%2B", "pkg:deb/debian/g+", "expected a Debian package"},
        {"pkg:deb/debian/g%2B", "pkg:deb/debian/g%2b", "expected a Debian package"},
        {"pkg:deb/debian/g%2B", "pkg:rpm/debian/g%2B", "expected a Debian package"},
        {"make@4.4.1-2?arch=", "make@4.4.1-2?arch=a?arch=", "expected a Debian package"},
        {"make@4.4.1-2?arch=amd64", "make@4.4.1-2", "expected a Debian package"},
        {"make@4.4.1-2", "make@", "expected a Debian package"},
        {"\"uri\":", "\"url\":", "url: unknown key"},
        {"\"mode\":\"offline\"", "\"mode\":\"open\"", "network.mode: is a word"},
        {"\"mode\":\"offline\"", "\"mode\":\"record\"", "network.hijack: is missing"},
        {"\"mode\":\"offline\"", "\"hijack\":\"anyip\",\"mode\":\"offline\"",
         "hijack: unknown key"},
        {"\"count\":0", "\"count\":1", "was offline, and has"},
        {"\"nonce\":\"01", "\"nonce\":\"1", "hex digits"},
        {"\"keepLog\":true", "\"keepLog\":false", "must be \"network.jsonl\""},
        {"\"keepLog\":true", "\"keepLog\":\"true\"", "must be true or false"},
        {"\"startedOn\":\"2026-01-02T", "\"startedOn\":\"2026-02-30T", "must be a time"},
        {"\"startedOn\":\"2026", "\"startedOn\":\"0026", "must be a time"},
        {"\"saidBy\":\"the build\"", "\"saidBy\":\"the worker\"", "saidBy: must be"},
        {"\"content\":\"", "\"content\":\"=", "base64"},
        {"\"environment\":[", "\"environment\":[\"ZZ=1\",", "not sorted"},
        {"\"path\":\"build.json\"", "\"path\":\"../build.json\"", "outside the source"},
        {"\"folder\":\".\"", "\"folder\":\"..\"", "outside the source"},
        {"\"size\":", "\"size\":-", "size: is -"},
        {"\"size\":", "\"size\":1.", "size: must be a whole number"},
        {"\"architecture\":\"x86_64\"", "\"architecture\":\"x86_64-with-too-long-a-name\"",
         "architecture: has"},
        {"\"sourceDateEpoch\":", "\"sourceDateEpoch\":999", "out of range"},
        {"\"sourceDateEpoch\":", "\"sourceDateEpoch\":99999999",
         "must be from 0 to 9007199254740991"},
        {"\"bytes\":", "\"bytes\":9007199254740", "bytes: is 9007199254740"},
        {"Y2MgMTIgwrU=", "Y2MgMTMgwrU=", "not that of the content"},
        {"\"externalParameters\":", "\"internalparameters\":", "unknown key"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tc_error err = {0};
        tc_status status = read_changed(cases[i].from, cases[i].to, &err);
        if (status != TC_MALFORMED)
            fail_msg("%s -> %s: not refused (%d)", cases[i].from, cases[i].to, (int)status);
        if (!strstr(err.message, cases[i].message))
            fail_msg("%s -> %s: \"%s\" lacks \"%s\"", cases[i].from, cases[i].to, err.message,
                     cases[i].message);
    }
}

/* Removing any one character from a statement leaves no statement, or at least
 * another one: nothing in it is without meaning. */
static void test_cut(void **state)
{
    (void)state;
    TC_AUTO_BUF struct tc_buf whole = write_sample();
    for (size_t i = 0; i < whole.size; i++) {
        struct tc_error err = {0};
        TC_AUTO_BUF struct tc_buf cut = tc_buf_new(TC_STATEMENT_MAX);
        TC_AUTO_BUF struct tc_buf again = tc_buf_new(TC_STATEMENT_MAX);
        TC_AUTO_STATEMENT struct tc_statement statement = {0};
        tc_buf_add(&cut, whole.data, i);
        tc_buf_add(&cut, whole.data + i + 1, whole.size - i - 1);
        if (tc_statement_read(tc_buf_span(&cut), &statement, &err) != TC_OK) continue;
        assert_ok(tc_statement_write(&statement, &again, &err));
        assert_false(tc_span_equal(tc_buf_span(&again), tc_buf_span(&whole)));
    }
}

static void test_writer_refuses(void **state)
{
    (void)state;
    struct tc_error err = {0};
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(TC_STATEMENT_MAX);
    TC_AUTO_STATEMENT struct tc_statement statement;
    sample_statement(&statement);
    statement.subjects[1].path[0] = '\n';
    assert_int_equal(tc_statement_write(&statement, &buf, &err), TC_MALFORMED);
    statement.subjects[1].path[0] = 'a';
    assert_int_equal(tc_statement_write(&statement, &buf, &err), TC_MALFORMED);
    statement.subjects[1].path[0] = 'n';
    statement.recipe.network = TC_NETWORK_RECORD;
    assert_int_equal(tc_statement_write(&statement, &buf, &err), TC_MALFORMED);
    statement.recipe.network = TC_NETWORK_OFFLINE;
    statement.source.has_commit = false;
    assert_int_equal(tc_statement_write(&statement, &buf, &err), TC_MALFORMED);
    statement.source.has_commit = true;
    /* Bytes that are no UTF-8 never become JSON. */
    statement.recipe.command[0] = '\xff';
    assert_int_equal(tc_statement_write(&statement, &buf, &err), TC_LIMIT);
}

/* Values computed with sha256sum and Python's hashlib from the text that
 * docs/formats.md gives. */
static void test_digests(void **state)
{
    (void)state;
    struct tc_error err = {0};
    TC_AUTO_STATEMENT struct tc_statement statement;
    sample_statement(&statement);
    struct tc_sha256 output;
    struct tc_sha384 binding;
    char hex[TC_SHA384_HEX];
    assert_ok(tc_statement_output_digest(&statement, &output, &err));
    tc_hex((struct tc_span){output.bytes, sizeof output.bytes}, hex);
    assert_string_equal(hex, "14432160b22e751833f3e7cc652aea7361b4bfeaf3ed0336157a7bac15315d3b");
    assert_ok(tc_statement_binding(&statement, &binding, &err));
    tc_hex((struct tc_span){binding.bytes, sizeof binding.bytes}, hex);
    assert_string_equal(hex, "128567dc56975a32afbc541e867adbbf6b8c5c2a0db5f7d9"
                             "7101f35ad26e7a8a59aa3a5767e24e5a7abf0a16aec5c5eb");
    /* Each bound value changes it. */
    struct tc_sha384 other;
    uint64_t *limits[] = {&statement.recipe.limits.timeout, &statement.recipe.limits.memory,
                          &statement.recipe.limits.disk, &statement.recipe.limits.log,
                          &statement.recipe.limits.processes};
    for (size_t i = 0; i < 5; i++) {
        ++*limits[i];
        assert_ok(tc_statement_binding(&statement, &other, &err));
        assert_memory_not_equal(other.bytes, binding.bytes, sizeof other.bytes);
        --*limits[i];
    }
    uint8_t *bytes[] = {statement.source.digest.bytes, statement.recipe.build_file_digest.bytes,
                        statement.nonce, (uint8_t *)statement.recipe.build_file};
    for (size_t i = 0; i < 4; i++) {
        bytes[i][0] ^= 1;
        assert_ok(tc_statement_binding(&statement, &other, &err));
        assert_memory_not_equal(other.bytes, binding.bytes, sizeof other.bytes);
        bytes[i][0] ^= 1;
    }
    statement.nonce_size--;
    assert_ok(tc_statement_binding(&statement, &other, &err));
    assert_memory_not_equal(other.bytes, binding.bytes, sizeof other.bytes);
}

static void test_userdata(void **state)
{
    (void)state;
    for (int commit = 0; commit < 2; commit++) {
        struct tc_error err = {0};
        struct tc_userdata data = {.has_commit = commit == 1}, again;
        memset(data.statement.bytes, 0x11, TC_SHA256_SIZE);
        memset(data.input.bytes, 0x22, TC_SHA256_SIZE);
        memset(data.output.bytes, 0x33, TC_SHA256_SIZE);
        memset(data.commit.bytes, commit ? 0x44 : 0, TC_SHA1_SIZE);
        TC_AUTO_BUF struct tc_buf buf = tc_buf_new(512);
        tc_userdata_write(&data, &buf);
        assert_ok(tc_userdata_read(tc_buf_span(&buf), &again, &err));
        assert_int_equal(again.has_commit, data.has_commit);
        assert_memory_equal(again.output.bytes, data.output.bytes, TC_SHA256_SIZE);
        assert_memory_equal(again.commit.bytes, data.commit.bytes, TC_SHA1_SIZE);
        /* Any other bytes are refused: each change, each cut, each addition. */
        for (size_t i = 0; i < buf.size; i++) {
            uint8_t before = buf.data[i];
            assert_int_equal(
                tc_userdata_read((struct tc_span){buf.data, i}, &again, &err), TC_MALFORMED);
            buf.data[i] = before == 'x' ? 'y' : 'x';
            assert_int_equal(tc_userdata_read(tc_buf_span(&buf), &again, &err), TC_MALFORMED);
            buf.data[i] = before;
        }
        tc_buf_add_text(&buf, " ");
        assert_int_equal(tc_userdata_read(tc_buf_span(&buf), &again, &err), TC_MALFORMED);
    }
    struct tc_error err = {0};
    struct tc_userdata again;
    assert_int_equal(tc_userdata_read(tc_span_of_text("{\"type\":\"tee-compile/build/2\",\"stat"),
                                      &again, &err),
                     TC_MALFORMED);
    assert_non_null(strstr(err.message, "tee-compile/build/2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),     cmocka_unit_test(test_image), cmocka_unit_test(test_tags),
        cmocka_unit_test(test_network),        cmocka_unit_test(test_many_dependencies),
        cmocka_unit_test(test_network_refusals),
        cmocka_unit_test(test_refusals),       cmocka_unit_test(test_cut),
        cmocka_unit_test(test_writer_refuses), cmocka_unit_test(test_digests),
        cmocka_unit_test(test_userdata),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
