#include "statement_sample.h"

#include <stdlib.h>
#include <string.h>

#include "core/transcript.h"

/* 2026-01-02T03:04:05Z; tests that need another time set it. */
enum { SAMPLE_TIME = 1767323045 };

struct tc_span sample_build_file_bytes(void)
{
    return tc_span_of_text("{\"language\":\"c\",\"input\":{\"cmd\":\"make\"},"
                           "\"output\":{\"files\":[\"bin/app\",\"notes.txt\"]}}\n");
}

struct tc_span sample_log_bytes(void)
{
    return tc_span_of_text("cc -o bin/app app.c\n");
}

struct tc_span sample_output_bytes(size_t index)
{
    return tc_span_of_text(index == 0 ? "\177ELF, more or less\n" : "notes\n");
}

static struct tc_sha256 digest_of(struct tc_span span)
{
    struct tc_error err = {0};
    struct tc_sha256 digest;
    if (tc_sha256_of(span, &digest, &err) != TC_OK) abort();
    return digest;
}

static char *copy(const char *text)
{
    char *result = strdup(text);
    if (!result) abort();
    return result;
}

static void *zeroed(size_t count, size_t size)
{
    void *result = calloc(count, size);
    if (!result) abort();
    return result;
}

void sample_statement(struct tc_statement *ret_statement)
{
    static const char *const variables[] = {"HOME=/home/build", "LANG=C.UTF-8", "PATH=/bin"};
    struct tc_statement s = {0};
    for (size_t i = 0; i < 3; i++)
        memset(s.platform.pcr[i].bytes, (int)(0x10 + i), TC_SHA384_SIZE);
    s.platform.measured = true;
    s.image.name = copy("c");
    memset(s.image.recipe.bytes, 0x4e, TC_SHA256_SIZE);
    s.image.packages_count = 2;
    s.image.packages = zeroed(2, sizeof *s.image.packages);
    s.image.packages[0] = (struct tc_image_package){copy("g++"), copy("4:14.2.0-1"), copy("amd64"),
                                                    {{0x60}}};
    s.image.packages[1] = (struct tc_image_package){copy("make"), copy("4.4.1-2"), copy("amd64"),
                                                    {{0x61}}};
    s.platform.cpus = 2;
    memcpy(s.platform.architecture, "x86_64", 7);
    memcpy(s.platform.version, "0.1.0", 6);
    memset(s.platform.invocation, 0x5a, sizeof s.platform.invocation);

    s.source.kind = TC_SOURCE_GIT;
    memset(s.source.digest.bytes, 0xd1, TC_SHA256_SIZE);
    s.source.files = 3;
    s.source.bytes = 1234;
    s.source.has_commit = true;
    memset(s.source.commit.bytes, 0xc0, TC_SHA1_SIZE);
    memset(s.source.tree.bytes, 0x7e, TC_SHA1_SIZE);
    s.source.epoch = SAMPLE_TIME - 86400;
    s.source.repository = copy("https://example.org/app.git");
    s.source.ref = copy("main");
    s.source.backend = copy("nitro");

    s.recipe.build_file = copy("build.json");
    s.recipe.build_file_digest = digest_of(sample_build_file_bytes());
    s.recipe.language = copy("c");
    s.recipe.command = copy("make");
    s.recipe.folder = copy(".");
    s.recipe.environment_count = sizeof variables / sizeof *variables;
    s.recipe.environment = zeroed(s.recipe.environment_count + 1, sizeof(char *));
    for (size_t i = 0; i < s.recipe.environment_count; i++)
        s.recipe.environment[i] = copy(variables[i]);
    s.recipe.outputs_count = 2;
    s.recipe.outputs = zeroed(3, sizeof(char *));
    s.recipe.outputs[0] = copy("bin/app");
    s.recipe.outputs[1] = copy("notes.txt");
    s.recipe.limits = (struct tc_limits){TC_LIMIT_TIMEOUT_DEFAULT, TC_LIMIT_MEMORY_DEFAULT,
                                         TC_LIMIT_DISK_DEFAULT, TC_LIMIT_LOG_DEFAULT,
                                         TC_LIMIT_PROCESSES_DEFAULT};
    s.recipe.network = TC_NETWORK_OFFLINE;
    memcpy(s.nonce, "\x01\x02\x03\x04", 4);
    s.nonce_size = 4;

    s.collected_count = 1;
    s.collected = zeroed(1, sizeof *s.collected);
    s.collected[0] = (struct tc_collected){copy("cc"), copy("cc --version"), copy("cc 12 \xc2\xb5")};
    s.subjects_count = 2;
    s.subjects = zeroed(2, sizeof *s.subjects);
    for (size_t i = 0; i < 2; i++) {
        struct tc_span bytes = sample_output_bytes(i);
        s.subjects[i] = (struct tc_subject){.path = copy(i == 0 ? "bin/app" : "notes.txt"),
                                            .executable = i == 0,
                                            .size = bytes.size,
                                            .digest = digest_of(bytes)};
    }
    s.log = (struct tc_part_log){true, digest_of(sample_log_bytes()), sample_log_bytes().size};
    s.transcript.last = s.transcript.digest = digest_of(tc_span_of_text(TC_TRANSCRIPT_HEADER));
    s.started = SAMPLE_TIME - 10;
    s.finished = SAMPLE_TIME;
    *ret_statement = s;
}
