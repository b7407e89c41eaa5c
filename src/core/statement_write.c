#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/purl.h"
#include "core/statement_internal.h"

/* Each function writes one object of docs/formats.md, "The statement". */

static void write_digest(struct tc_jsonw *w, const char *algorithm, const void *bytes, size_t size)
{
    tc_jsonw_object(w, "digest");
    tc_jsonw_hex(w, algorithm, bytes, size);
    tc_jsonw_end_object(w);
}

static void write_list(struct tc_jsonw *w, const char *key, char *const *list, size_t count)
{
    tc_jsonw_array(w, key);
    for (size_t i = 0; i < count; i++)
        tc_jsonw_text(w, NULL, list[i]);
    tc_jsonw_end_array(w);
}

static void write_optional(struct tc_jsonw *w, const char *key, const char *text)
{
    if (text) tc_jsonw_text(w, key, text);
}

static void write_subjects(struct tc_jsonw *w, const struct tc_statement *statement)
{
    tc_jsonw_array(w, "subject");
    for (size_t i = 0; i < statement->subjects_count; i++) {
        const struct tc_subject *subject = &statement->subjects[i];
        tc_jsonw_object(w, NULL);
        tc_jsonw_text(w, "name", subject->path);
        write_digest(w, "sha256", subject->digest.bytes, sizeof subject->digest.bytes);
        tc_jsonw_object(w, "annotations");
        tc_jsonw_text(w, "mode", subject->executable ? "0755" : "0644");
        tc_jsonw_u64(w, "size", subject->size);
        tc_jsonw_end_object(w);
        tc_jsonw_end_object(w);
    }
    tc_jsonw_end_array(w);
}

static void write_limits(struct tc_jsonw *w, const struct tc_limits *limits)
{
    tc_jsonw_object(w, "limits");
    tc_jsonw_u64(w, "disk", limits->disk);
    tc_jsonw_u64(w, "log", limits->log);
    tc_jsonw_u64(w, "memory", limits->memory);
    tc_jsonw_u64(w, "processes", limits->processes);
    tc_jsonw_u64(w, "timeout", limits->timeout);
    tc_jsonw_end_object(w);
}

static void write_external(struct tc_jsonw *w, const struct tc_statement *statement)
{
    const struct tc_part_recipe *recipe = &statement->recipe;
    tc_jsonw_object(w, "externalParameters");
    tc_jsonw_object(w, "buildFile");
    write_digest(w, "sha256", recipe->build_file_digest.bytes, TC_SHA256_SIZE);
    tc_jsonw_text(w, "path", recipe->build_file);
    tc_jsonw_end_object(w);
    tc_jsonw_text(w, "command", recipe->command);
    tc_jsonw_text(w, "folder", recipe->folder);
    write_optional(w, "image", recipe->image);
    tc_jsonw_bool(w, "keepLog", statement->log.present);
    tc_jsonw_text(w, "language", recipe->language);
    write_limits(w, &recipe->limits);
    tc_statement_write_network(w, statement);
    tc_jsonw_hex(w, "nonce", statement->nonce, statement->nonce_size);
    write_list(w, "outputs", recipe->outputs, recipe->outputs_count);
    tc_jsonw_object(w, "source");
    tc_jsonw_object(w, "claimed");
    write_optional(w, "ref", statement->source.ref);
    write_optional(w, "repository", statement->source.repository);
    tc_jsonw_end_object(w);
    tc_statement_write_witness(w, &statement->witness);
    tc_jsonw_end_object(w);
    write_optional(w, "vendor", recipe->vendor);
    tc_jsonw_end_object(w);
}

static void write_internal(struct tc_jsonw *w, const struct tc_statement *statement)
{
    tc_jsonw_object(w, "internalParameters");
    tc_jsonw_text(w, "architecture", statement->platform.architecture);
    if (statement->source.backend) {
        tc_jsonw_object(w, "claimed");
        tc_jsonw_text(w, "backend", statement->source.backend);
        tc_jsonw_end_object(w);
    }
    tc_jsonw_u64(w, "cpus", statement->platform.cpus);
    write_list(w, "environment", statement->recipe.environment,
               statement->recipe.environment_count);
    tc_jsonw_u64(w, "sourceDateEpoch", (uint64_t)statement->source.epoch);
    tc_jsonw_end_object(w);
}

static void write_source(struct tc_jsonw *w, const struct tc_part_source *source)
{
    bool git = source->kind == TC_SOURCE_GIT;
    tc_jsonw_object(w, NULL);
    tc_jsonw_text(w, "name", "source");
    tc_jsonw_object(w, "digest");
    if (git) {
        tc_jsonw_hex(w, "gitCommit", source->commit.bytes, sizeof source->commit.bytes);
        tc_jsonw_hex(w, "gitTree", source->tree.bytes, sizeof source->tree.bytes);
    }
    tc_jsonw_hex(w, "sha256", source->digest.bytes, sizeof source->digest.bytes);
    tc_jsonw_end_object(w);
    tc_jsonw_object(w, "annotations");
    tc_jsonw_u64(w, "bytes", source->bytes);
    tc_jsonw_u64(w, "files", source->files);
    tc_jsonw_text(w, "kind", git ? "git" : "tree");
    if (source->tags_count > 0)
        write_list(w, "tagsChosenByTheBuilder", source->tags, source->tags_count);
    tc_jsonw_end_object(w);
    tc_jsonw_end_object(w);
}

static void write_image(struct tc_jsonw *w, const struct tc_part_platform *platform,
                        const struct tc_part_image *image)
{
    tc_jsonw_object(w, NULL);
    tc_jsonw_text(w, "name", "image");
    write_digest(w, "sha384", platform->pcr[0].bytes, sizeof platform->pcr[0].bytes);
    tc_jsonw_object(w, "annotations");
    tc_jsonw_bool(w, "measured", platform->measured);
    write_optional(w, "name", image->name);
    tc_jsonw_hex(w, "pcr1", platform->pcr[1].bytes, sizeof platform->pcr[1].bytes);
    tc_jsonw_hex(w, "pcr2", platform->pcr[2].bytes, sizeof platform->pcr[2].bytes);
    if (image->name) tc_jsonw_hex(w, "recipe", image->recipe.bytes, sizeof image->recipe.bytes);
    tc_jsonw_end_object(w);
    tc_jsonw_end_object(w);
}

static tc_status write_packages(struct tc_jsonw *w, const struct tc_part_image *image,
                                struct tc_error *err)
{
    for (size_t i = 0; i < image->packages_count; i++) {
        const struct tc_image_package *package = &image->packages[i];
        TC_AUTO_BUF struct tc_buf purl = tc_buf_new(TC_PURL_MAX);
        tc_purl_write(package, &purl);
        TC_AUTO_FREE char *text = tc_buf_take_text(&purl);
        if (!text) return tc_fail(err, TC_SYSTEM, "out of memory for a package");
        tc_jsonw_object(w, NULL);
        tc_jsonw_text(w, "uri", text);
        write_digest(w, "sha256", package->digest.bytes, sizeof package->digest.bytes);
        tc_jsonw_end_object(w);
    }
    return TC_OK;
}

/* The digest stands beside the content because a descriptor must have a URI, a
 * digest or a content, and an empty content counts as none. */
static tc_status write_collected(struct tc_jsonw *w, const struct tc_collected *collected,
                                 struct tc_error *err)
{
    struct tc_sha256 digest;
    TC_TRY(tc_sha256_of(tc_span_of_text(collected->output), &digest, err));
    tc_jsonw_object(w, NULL);
    tc_jsonw_text(w, "name", collected->name);
    write_digest(w, "sha256", digest.bytes, sizeof digest.bytes);
    tc_jsonw_text(w, "mediaType", "text/plain");
    tc_jsonw_base64(w, "content", tc_span_of_text(collected->output));
    tc_jsonw_object(w, "annotations");
    tc_jsonw_text(w, "command", collected->command);
    tc_jsonw_text(w, "saidBy", "the build");
    tc_jsonw_end_object(w);
    tc_jsonw_end_object(w);
    return TC_OK;
}

static tc_status write_byproducts(struct tc_jsonw *w, const struct tc_statement *statement,
                                  struct tc_error *err)
{
    tc_jsonw_array(w, "byproducts");
    if (statement->log.present) {
        tc_jsonw_object(w, NULL);
        tc_jsonw_text(w, "name", "build.log");
        write_digest(w, "sha256", statement->log.digest.bytes, sizeof statement->log.digest.bytes);
        tc_jsonw_object(w, "annotations");
        tc_jsonw_u64(w, "size", statement->log.size);
        tc_jsonw_end_object(w);
        tc_jsonw_end_object(w);
    }
    tc_jsonw_object(w, NULL);
    tc_jsonw_text(w, "name", "network.jsonl");
    write_digest(w, "sha256", statement->transcript.digest.bytes,
                 sizeof statement->transcript.digest.bytes);
    tc_jsonw_object(w, "annotations");
    tc_jsonw_u64(w, "count", statement->transcript.count);
    tc_jsonw_hex(w, "last", statement->transcript.last.bytes,
                 sizeof statement->transcript.last.bytes);
    tc_jsonw_end_object(w);
    tc_jsonw_end_object(w);
    for (size_t i = 0; i < statement->collected_count; i++)
        TC_TRY(write_collected(w, &statement->collected[i], err));
    tc_jsonw_end_array(w);
    return TC_OK;
}

static tc_status write_run(struct tc_jsonw *w, const struct tc_statement *statement,
                           struct tc_error *err)
{
    char started[TC_TIME_TEXT_SIZE], finished[TC_TIME_TEXT_SIZE];
    tc_format_time(statement->started, started);
    tc_format_time(statement->finished, finished);
    tc_jsonw_object(w, "runDetails");
    tc_jsonw_object(w, "builder");
    tc_jsonw_text(w, "id", TC_BUILDER_ID);
    tc_jsonw_object(w, "version");
    tc_jsonw_text(w, "tee-compile", statement->platform.version);
    tc_jsonw_end_object(w);
    tc_jsonw_end_object(w);
    tc_jsonw_object(w, "metadata");
    tc_jsonw_hex(w, "invocationId", statement->platform.invocation,
                 sizeof statement->platform.invocation);
    tc_jsonw_text(w, "startedOn", started);
    tc_jsonw_text(w, "finishedOn", finished);
    tc_jsonw_end_object(w);
    TC_TRY(write_byproducts(w, statement, err));
    tc_jsonw_end_object(w);
    return TC_OK;
}

tc_status tc_statement_write(const struct tc_statement *statement, struct tc_buf *buf,
                             struct tc_error *err)
{
    TC_TRY(tc_statement_check(statement, err));
    struct tc_jsonw w = tc_jsonw_new(buf);
    tc_jsonw_object(&w, NULL);
    tc_jsonw_text(&w, "_type", TC_STATEMENT_TYPE);
    write_subjects(&w, statement);
    tc_jsonw_text(&w, "predicateType", TC_PREDICATE_TYPE);
    tc_jsonw_object(&w, "predicate");
    tc_jsonw_object(&w, "buildDefinition");
    tc_jsonw_text(&w, "buildType", TC_BUILD_TYPE);
    write_external(&w, statement);
    write_internal(&w, statement);
    tc_jsonw_array(&w, "resolvedDependencies");
    write_source(&w, &statement->source);
    write_image(&w, &statement->platform, &statement->image);
    TC_TRY(write_packages(&w, &statement->image, err));
    tc_statement_write_dependencies(&w, statement);
    tc_jsonw_end_array(&w);
    tc_jsonw_end_object(&w);
    TC_TRY(write_run(&w, statement, err));
    tc_jsonw_end_object(&w);
    tc_jsonw_end_object(&w);
    return tc_buf_check(buf, "the statement", err);
}
