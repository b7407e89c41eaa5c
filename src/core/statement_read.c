/* Reader of the statement: the mirror of statement_write.c, function by
 * function. What it accepts is what the writer can write, up to the order of
 * keys and white space; the bytes themselves are bound by their digest. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/purl.h"
#include "core/statement_internal.h"

#define KEYS(...) ((const char *const[]){__VA_ARGS__, NULL})

static tc_status get_keys(const struct tc_json *parent, const char *key, const char *const *known,
                          struct tc_json *ret_object, struct tc_error *err)
{
    TC_TRY(tc_json_get(parent, key, ret_object, err));
    return tc_json_check_keys(ret_object, known, err);
}

static tc_status get_exact(const struct tc_json *parent, const char *key, const char *expected,
                           struct tc_error *err)
{
    struct tc_json value;
    const char *text;
    TC_TRY(tc_json_get(parent, key, &value, err));
    TC_TRY(tc_json_string(&value, TC_BUILDSPEC_TEXT_MAX, &text, err));
    if (strcmp(text, expected) == 0) return TC_OK;
    char shown[128];
    return tc_json_fail(&value, err, "must be \"%s\", is \"%s\"", expected,
                        tc_printable(tc_span_of_text(text), shown, sizeof shown));
}

static tc_status get_text(const struct tc_json *parent, const char *key, char **ret_text,
                          struct tc_error *err)
{
    struct tc_json value;
    TC_TRY(tc_json_get(parent, key, &value, err));
    return tc_json_copy(&value, TC_BUILDSPEC_TEXT_MAX, ret_text, err);
}

static tc_status get_optional(const struct tc_json *parent, const char *key, char **ret_text,
                              struct tc_error *err)
{
    struct tc_json value;
    if (!tc_json_find(parent, key, &value)) return TC_OK;
    return tc_json_copy(&value, TC_BUILDSPEC_TEXT_MAX, ret_text, err);
}

static tc_status get_fixed(const struct tc_json *parent, const char *key, char *out, size_t size,
                           struct tc_error *err)
{
    struct tc_json value;
    const char *text;
    TC_TRY(tc_json_get(parent, key, &value, err));
    TC_TRY(tc_json_string(&value, size - 1, &text, err));
    memcpy(out, text, strlen(text) + 1);
    return TC_OK;
}

static tc_status get_hex(const struct tc_json *parent, const char *key, uint8_t *out, size_t size,
                         struct tc_error *err)
{
    struct tc_json value;
    TC_TRY(tc_json_get(parent, key, &value, err));
    return tc_json_hex(&value, out, size, err);
}

static tc_status get_u64(const struct tc_json *parent, const char *key, uint64_t max,
                         uint64_t *ret_value, struct tc_error *err)
{
    struct tc_json value;
    TC_TRY(tc_json_get(parent, key, &value, err));
    return tc_json_u64(&value, max, ret_value, err);
}

static tc_status get_bool(const struct tc_json *parent, const char *key, bool *ret_value,
                          struct tc_error *err)
{
    struct tc_json value;
    TC_TRY(tc_json_get(parent, key, &value, err));
    return tc_json_bool(&value, ret_value, err);
}

static tc_status get_time(const struct tc_json *parent, const char *key, int64_t *ret_time,
                          struct tc_error *err)
{
    struct tc_json value;
    const char *text;
    TC_TRY(tc_json_get(parent, key, &value, err));
    TC_TRY(tc_json_string(&value, TC_TIME_TEXT_SIZE, &text, err));
    if (!tc_parse_time(text, ret_time))
        return tc_json_fail(&value, err, "must be a time like 2026-01-02T03:04:05Z");
    return TC_OK;
}

/* The list is in its owner, with the right count, at every moment. */
static tc_status get_list(const struct tc_json *parent, const char *key, size_t max, char ***list,
                          size_t *count, struct tc_error *err)
{
    struct tc_json value;
    size_t entries;
    TC_TRY(tc_json_get(parent, key, &value, err));
    TC_TRY(tc_json_array(&value, max, &entries, err));
    *list = calloc(entries + 1, sizeof **list);
    if (!*list) return tc_fail(err, TC_SYSTEM, "out of memory for a list");
    for (size_t i = 0; i < entries; i++) {
        struct tc_json entry = tc_json_at(&value, i);
        TC_TRY(tc_json_copy(&entry, TC_BUILDSPEC_TEXT_MAX, &(*list)[i], err));
        *count = i + 1;
    }
    return TC_OK;
}

/* {"digest": {algorithm: hex}} */
static tc_status get_digest(const struct tc_json *parent, const char *algorithm, uint8_t *out,
                            size_t size, struct tc_error *err)
{
    struct tc_json digest;
    TC_TRY(get_keys(parent, "digest", KEYS(algorithm), &digest, err));
    return get_hex(&digest, algorithm, out, size, err);
}

static tc_status read_subject(const struct tc_json *at, struct tc_subject *subject,
                              struct tc_error *err)
{
    struct tc_json annotations;
    char mode[5];
    TC_TRY(tc_json_check_keys(at, KEYS("name", "digest", "annotations"), err));
    TC_TRY(get_text(at, "name", &subject->path, err));
    TC_TRY(get_digest(at, "sha256", subject->digest.bytes, sizeof subject->digest.bytes, err));
    TC_TRY(get_keys(at, "annotations", KEYS("mode", "size"), &annotations, err));
    TC_TRY(get_u64(&annotations, "size", TC_FILE_SIZE_MAX, &subject->size, err));
    TC_TRY(get_fixed(&annotations, "mode", mode, sizeof mode, err));
    subject->executable = strcmp(mode, "0755") == 0;
    if (!subject->executable && strcmp(mode, "0644") != 0)
        return tc_json_fail(&annotations, err, "the mode must be 0644 or 0755");
    return TC_OK;
}

static tc_status read_subjects(const struct tc_json *top, struct tc_statement *statement,
                               struct tc_error *err)
{
    struct tc_json list;
    size_t count;
    TC_TRY(tc_json_get(top, "subject", &list, err));
    TC_TRY(tc_json_array(&list, TC_SUBJECTS_MAX, &count, err));
    statement->subjects = calloc(count + 1, sizeof *statement->subjects);
    if (!statement->subjects) return tc_fail(err, TC_SYSTEM, "out of memory for the outputs");
    statement->subjects_count = count;
    for (size_t i = 0; i < count; i++) {
        struct tc_json at = tc_json_at(&list, i);
        TC_TRY(read_subject(&at, &statement->subjects[i], err));
    }
    return TC_OK;
}

static tc_status read_limits(const struct tc_json *parent, struct tc_limits *limits,
                             struct tc_error *err)
{
    struct tc_json at;
    TC_TRY(get_keys(parent, "limits", KEYS("disk", "log", "memory", "processes", "timeout"), &at,
                    err));
    TC_TRY(get_u64(&at, "disk", TC_STATEMENT_NUMBER_MAX, &limits->disk, err));
    TC_TRY(get_u64(&at, "log", TC_STATEMENT_NUMBER_MAX, &limits->log, err));
    TC_TRY(get_u64(&at, "memory", TC_STATEMENT_NUMBER_MAX, &limits->memory, err));
    TC_TRY(get_u64(&at, "processes", TC_STATEMENT_NUMBER_MAX, &limits->processes, err));
    return get_u64(&at, "timeout", TC_STATEMENT_NUMBER_MAX, &limits->timeout, err);
}

static tc_status read_nonce(const struct tc_json *parent, struct tc_statement *statement,
                            struct tc_error *err)
{
    struct tc_json value;
    const char *text;
    TC_TRY(tc_json_get(parent, "nonce", &value, err));
    TC_TRY(tc_json_string(&value, 2 * TC_WIRE_NONCE_MAX, &text, err));
    if (strlen(text) % 2 != 0)
        return tc_json_fail(&value, err, "must be whole bytes in hex digits");
    statement->nonce_size = strlen(text) / 2;
    return tc_json_hex(&value, statement->nonce, statement->nonce_size, err);
}

static tc_status read_claims(const struct tc_json *parent, struct tc_statement *statement,
                             struct tc_error *err)
{
    struct tc_part_source *source = &statement->source;
    struct tc_json at, claimed, witnessed;
    TC_TRY(get_keys(parent, "source", KEYS("claimed", "witnessed"), &at, err));
    TC_TRY(get_keys(&at, "claimed", KEYS("ref", "repository"), &claimed, err));
    TC_TRY(get_optional(&claimed, "ref", &source->ref, err));
    TC_TRY(get_optional(&claimed, "repository", &source->repository, err));
    if (!tc_json_find(&at, "witnessed", &witnessed)) return TC_OK;
    return tc_statement_read_witness(&witnessed, &statement->witness, err);
}

static tc_status read_external(const struct tc_json *definition, struct tc_statement *statement,
                               struct tc_error *err)
{
    struct tc_part_recipe *recipe = &statement->recipe;
    struct tc_json at, file, network;
    TC_TRY(get_keys(definition, "externalParameters",
                    KEYS("buildFile", "command", "folder", "image", "keepLog", "language", "limits",
                         "network", "nonce", "outputs", "source", "vendor"),
                    &at, err));
    TC_TRY(get_keys(&at, "buildFile", KEYS("digest", "path"), &file, err));
    TC_TRY(get_digest(&file, "sha256", recipe->build_file_digest.bytes,
                      sizeof recipe->build_file_digest.bytes, err));
    TC_TRY(get_text(&file, "path", &recipe->build_file, err));
    TC_TRY(get_text(&at, "command", &recipe->command, err));
    TC_TRY(get_text(&at, "folder", &recipe->folder, err));
    TC_TRY(get_optional(&at, "image", &recipe->image, err));
    TC_TRY(get_bool(&at, "keepLog", &statement->log.present, err));
    TC_TRY(get_text(&at, "language", &recipe->language, err));
    TC_TRY(read_limits(&at, &recipe->limits, err));
    TC_TRY(tc_json_get(&at, "network", &network, err));
    TC_TRY(tc_statement_read_network(&network, statement, err));
    TC_TRY(read_nonce(&at, statement, err));
    TC_TRY(get_list(&at, "outputs", TC_BUILDSPEC_LIST_MAX, &recipe->outputs, &recipe->outputs_count,
                    err));
    TC_TRY(read_claims(&at, statement, err));
    return get_optional(&at, "vendor", &recipe->vendor, err);
}

static tc_status read_internal(const struct tc_json *definition, struct tc_statement *statement,
                               struct tc_error *err)
{
    struct tc_json at, claimed;
    uint64_t cpus, epoch;
    TC_TRY(get_keys(definition, "internalParameters",
                    KEYS("architecture", "claimed", "cpus", "environment", "sourceDateEpoch"), &at,
                    err));
    if (tc_json_find(&at, "claimed", &claimed)) {
        TC_TRY(tc_json_check_keys(&claimed, KEYS("backend"), err));
        TC_TRY(get_text(&claimed, "backend", &statement->source.backend, err));
    }
    TC_TRY(get_fixed(&at, "architecture", statement->platform.architecture,
                     sizeof statement->platform.architecture, err));
    TC_TRY(get_u64(&at, "cpus", 65536, &cpus, err));
    statement->platform.cpus = (unsigned)cpus;
    TC_TRY(get_list(&at, "environment", TC_ENVIRONMENT_MAX, &statement->recipe.environment,
                    &statement->recipe.environment_count, err));
    TC_TRY(get_u64(&at, "sourceDateEpoch", TC_STATEMENT_NUMBER_MAX, &epoch, err));
    statement->source.epoch = (int64_t)epoch;
    return TC_OK;
}

static tc_status read_source(const struct tc_json *at, struct tc_part_source *source,
                             struct tc_error *err)
{
    struct tc_json digest, annotations, ignored;
    char kind[8];
    TC_TRY(tc_json_check_keys(at, KEYS("name", "digest", "annotations"), err));
    TC_TRY(get_exact(at, "name", "source", err));
    TC_TRY(get_keys(at, "annotations", KEYS("bytes", "files", "kind", "tagsChosenByTheBuilder"),
                    &annotations, err));
    TC_TRY(get_u64(&annotations, "bytes", TC_STATEMENT_NUMBER_MAX, &source->bytes, err));
    TC_TRY(get_u64(&annotations, "files", TC_STATEMENT_NUMBER_MAX, &source->files, err));
    TC_TRY(get_fixed(&annotations, "kind", kind, sizeof kind, err));
    bool git = strcmp(kind, "git") == 0;
    if (!git && strcmp(kind, "tree") != 0)
        return tc_json_fail(&annotations, err, "the kind must be git or tree");
    source->kind = git ? TC_SOURCE_GIT : TC_SOURCE_TREE;
    source->has_commit = git;
    if (tc_json_find(&annotations, "tagsChosenByTheBuilder", &ignored))
        TC_TRY(get_list(&annotations, "tagsChosenByTheBuilder", TC_TAGS_MAX, &source->tags,
                        &source->tags_count, err));
    const char *const *known = git ? KEYS("sha256", "gitCommit", "gitTree") : KEYS("sha256");
    TC_TRY(get_keys(at, "digest", known, &digest, err));
    TC_TRY(get_hex(&digest, "sha256", source->digest.bytes, sizeof source->digest.bytes, err));
    if (!git) return TC_OK;
    TC_TRY(get_hex(&digest, "gitCommit", source->commit.bytes, sizeof source->commit.bytes, err));
    return get_hex(&digest, "gitTree", source->tree.bytes, sizeof source->tree.bytes, err);
}

static tc_status read_image(const struct tc_json *at, struct tc_part_platform *platform,
                            struct tc_part_image *image, struct tc_error *err)
{
    struct tc_json annotations;
    TC_TRY(tc_json_check_keys(at, KEYS("name", "digest", "annotations"), err));
    TC_TRY(get_exact(at, "name", "image", err));
    TC_TRY(get_digest(at, "sha384", platform->pcr[0].bytes, TC_SHA384_SIZE, err));
    TC_TRY(get_keys(at, "annotations", KEYS("measured", "name", "pcr1", "pcr2", "recipe"),
                    &annotations, err));
    TC_TRY(get_bool(&annotations, "measured", &platform->measured, err));
    if (platform->measured) {
        TC_TRY(get_text(&annotations, "name", &image->name, err));
        TC_TRY(get_hex(&annotations, "recipe", image->recipe.bytes, TC_SHA256_SIZE, err));
    } else {
        TC_TRY(tc_json_check_keys(&annotations, KEYS("measured", "pcr1", "pcr2"), err));
    }
    TC_TRY(get_hex(&annotations, "pcr1", platform->pcr[1].bytes, TC_SHA384_SIZE, err));
    return get_hex(&annotations, "pcr2", platform->pcr[2].bytes, TC_SHA384_SIZE, err);
}

/* Behind source and image: packages have no annotations, what was downloaded has. */
static size_t count_packages(const struct tc_json *list, size_t count)
{
    size_t packages = 0;
    struct tc_json ignored;
    for (size_t i = 2; i < count; i++) {
        struct tc_json at = tc_json_at(list, i);
        if (tc_json_find(&at, "annotations", &ignored)) break;
        packages++;
    }
    return packages;
}

static tc_status read_packages(const struct tc_json *list, size_t first, size_t count,
                               struct tc_part_image *image, struct tc_error *err)
{
    if (count == first) return TC_OK;
    image->packages = calloc(count - first, sizeof *image->packages);
    if (!image->packages) return tc_fail(err, TC_SYSTEM, "out of memory for the packages");
    for (size_t i = first; i < count; i++) {
        struct tc_json at = tc_json_at(list, i), uri;
        struct tc_image_package *package = &image->packages[image->packages_count];
        const char *text;
        struct tc_error why = {0};
        TC_TRY(tc_json_check_keys(&at, KEYS("uri", "digest"), err));
        TC_TRY(get_digest(&at, "sha256", package->digest.bytes, TC_SHA256_SIZE, err));
        TC_TRY(tc_json_get(&at, "uri", &uri, err));
        TC_TRY(tc_json_string(&uri, TC_PURL_MAX, &text, err));
        if (tc_purl_read(text, package, &why) != TC_OK)
            return tc_json_fail(&uri, err, "%s", why.message);
        image->packages_count++;
    }
    return TC_OK;
}

static tc_status read_definition(const struct tc_json *predicate, struct tc_statement *statement,
                                 struct tc_error *err)
{
    struct tc_json at, list;
    size_t count;
    TC_TRY(get_keys(
        predicate, "buildDefinition",
        KEYS("buildType", "externalParameters", "internalParameters", "resolvedDependencies"), &at,
        err));
    TC_TRY(get_exact(&at, "buildType", TC_BUILD_TYPE, err));
    TC_TRY(read_external(&at, statement, err));
    TC_TRY(read_internal(&at, statement, err));
    TC_TRY(tc_json_get(&at, "resolvedDependencies", &list, err));
    TC_TRY(tc_json_array(&list, 2 + TC_IMAGE_PACKAGES_MAX + TC_DEPENDENCIES_MAX, &count, err));
    if (count < 2) return tc_json_fail(&list, err, "must begin with the source and the image");
    struct tc_json source = tc_json_at(&list, 0), image = tc_json_at(&list, 1);
    TC_TRY(read_source(&source, &statement->source, err));
    TC_TRY(read_image(&image, &statement->platform, &statement->image, err));
    size_t packages = 2 + count_packages(&list, count);
    if (packages > 2 + TC_IMAGE_PACKAGES_MAX)
        return tc_json_fail(&list, err, "has more than %d packages", TC_IMAGE_PACKAGES_MAX);
    TC_TRY(read_packages(&list, 2, packages, &statement->image, err));
    return tc_statement_read_dependencies(&list, packages, count, statement, err);
}

static tc_status read_log(const struct tc_json *at, struct tc_part_log *log, struct tc_error *err)
{
    struct tc_json annotations;
    TC_TRY(tc_json_check_keys(at, KEYS("name", "digest", "annotations"), err));
    TC_TRY(get_exact(at, "name", "build.log", err));
    TC_TRY(get_digest(at, "sha256", log->digest.bytes, sizeof log->digest.bytes, err));
    TC_TRY(get_keys(at, "annotations", KEYS("size"), &annotations, err));
    return get_u64(&annotations, "size", TC_STATEMENT_NUMBER_MAX, &log->size, err);
}

static tc_status read_transcript(const struct tc_json *at, struct tc_part_transcript *transcript,
                                 struct tc_error *err)
{
    struct tc_json annotations;
    TC_TRY(tc_json_check_keys(at, KEYS("name", "digest", "annotations"), err));
    TC_TRY(get_exact(at, "name", "network.jsonl", err));
    TC_TRY(get_digest(at, "sha256", transcript->digest.bytes, TC_SHA256_SIZE, err));
    TC_TRY(get_keys(at, "annotations", KEYS("count", "last"), &annotations, err));
    TC_TRY(get_u64(&annotations, "count", TC_STATEMENT_NUMBER_MAX, &transcript->count, err));
    return get_hex(&annotations, "last", transcript->last.bytes, TC_SHA256_SIZE, err);
}

static tc_status read_collected(const struct tc_json *at, struct tc_collected *collected,
                                struct tc_error *err)
{
    struct tc_json annotations, value;
    const char *text;
    TC_TRY(
        tc_json_check_keys(at, KEYS("name", "digest", "mediaType", "content", "annotations"), err));
    TC_TRY(get_text(at, "name", &collected->name, err));
    TC_TRY(get_exact(at, "mediaType", "text/plain", err));
    TC_TRY(get_keys(at, "annotations", KEYS("command", "saidBy"), &annotations, err));
    TC_TRY(get_text(&annotations, "command", &collected->command, err));
    TC_TRY(get_exact(&annotations, "saidBy", "the build", err));
    TC_TRY(tc_json_get(at, "content", &value, err));
    TC_TRY(tc_json_string(&value, 2 * TC_COLLECTED_MAX, &text, err));
    TC_AUTO_BUF struct tc_buf content = tc_buf_new(TC_COLLECTED_MAX + 1);
    if (!tc_base64_decode(tc_span_of_text(text), &content) || !tc_is_utf8(tc_buf_span(&content)))
        return tc_json_fail(&value, err, "must be base64 of at most %d bytes of UTF-8",
                            TC_COLLECTED_MAX);
    struct tc_sha256 said, digest;
    TC_TRY(get_digest(at, "sha256", said.bytes, sizeof said.bytes, err));
    TC_TRY(tc_sha256_of(tc_buf_span(&content), &digest, err));
    if (memcmp(said.bytes, digest.bytes, sizeof said.bytes) != 0)
        return tc_json_fail(at, err, "the digest is not that of the content");
    collected->output = tc_buf_take_text(&content);
    return collected->output ? TC_OK : tc_json_fail(&value, err, "is too long");
}

static tc_status read_byproducts(const struct tc_json *run, struct tc_statement *statement,
                                 struct tc_error *err)
{
    struct tc_json list;
    size_t count, next = 0;
    TC_TRY(tc_json_get(run, "byproducts", &list, err));
    TC_TRY(tc_json_array(&list, TC_BUILDSPEC_LIST_MAX + 2, &count, err));
    if (count < (statement->log.present ? 2U : 1U))
        return tc_json_fail(&list, err, "must begin with %snetwork.jsonl",
                            statement->log.present ? "build.log and " : "");
    if (statement->log.present) {
        struct tc_json log = tc_json_at(&list, next++);
        TC_TRY(read_log(&log, &statement->log, err));
    }
    struct tc_json transcript = tc_json_at(&list, next++);
    TC_TRY(read_transcript(&transcript, &statement->transcript, err));
    statement->collected = calloc(count, sizeof *statement->collected);
    if (!statement->collected) return tc_fail(err, TC_SYSTEM, "out of memory for byproducts");
    for (; next < count; next++) {
        struct tc_json at = tc_json_at(&list, next);
        struct tc_collected *collected = &statement->collected[statement->collected_count++];
        TC_TRY(read_collected(&at, collected, err));
    }
    return TC_OK;
}

static tc_status read_run(const struct tc_json *predicate, struct tc_statement *statement,
                          struct tc_error *err)
{
    struct tc_json at, builder, version, metadata;
    TC_TRY(get_keys(predicate, "runDetails", KEYS("builder", "metadata", "byproducts"), &at, err));
    TC_TRY(get_keys(&at, "builder", KEYS("id", "version"), &builder, err));
    TC_TRY(get_exact(&builder, "id", TC_BUILDER_ID, err));
    TC_TRY(get_keys(&builder, "version", KEYS("tee-compile"), &version, err));
    TC_TRY(get_fixed(&version, "tee-compile", statement->platform.version,
                     sizeof statement->platform.version, err));
    TC_TRY(
        get_keys(&at, "metadata", KEYS("invocationId", "startedOn", "finishedOn"), &metadata, err));
    TC_TRY(get_hex(&metadata, "invocationId", statement->platform.invocation,
                   sizeof statement->platform.invocation, err));
    TC_TRY(get_time(&metadata, "startedOn", &statement->started, err));
    TC_TRY(get_time(&metadata, "finishedOn", &statement->finished, err));
    return read_byproducts(&at, statement, err);
}

static tc_status read_top(const struct tc_json *top, struct tc_statement *statement,
                          struct tc_error *err)
{
    struct tc_json predicate;
    TC_TRY(tc_json_check_keys(top, KEYS("_type", "subject", "predicateType", "predicate"), err));
    TC_TRY(get_exact(top, "_type", TC_STATEMENT_TYPE, err));
    TC_TRY(get_exact(top, "predicateType", TC_PREDICATE_TYPE, err));
    TC_TRY(read_subjects(top, statement, err));
    TC_TRY(get_keys(top, "predicate", KEYS("buildDefinition", "runDetails"), &predicate, err));
    TC_TRY(read_definition(&predicate, statement, err));
    return read_run(&predicate, statement, err);
}

tc_status tc_statement_read(struct tc_span json, struct tc_statement *ret_statement,
                            struct tc_error *err)
{
    TC_AUTO_JSON struct tc_json_text *text = NULL;
    TC_TRY(tc_json_parse_many(json, "the statement", TC_STATEMENT_MAX, TC_STATEMENT_VALUES_MAX,
                              &text, err));
    struct tc_json top = tc_json_top(text, "the statement");
    struct tc_statement statement = {0};
    tc_status status = read_top(&top, &statement, err);
    if (status == TC_OK) status = tc_statement_check(&statement, err);
    if (status != TC_OK) {
        tc_statement_free(&statement);
        return status;
    }
    *ret_statement = statement;
    return TC_OK;
}
