#include "core/statement.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/statement_internal.h"

void tc_part_source_free(struct tc_part_source *part)
{
    if (!part) return;
    free(part->repository);
    free(part->ref);
    free(part->backend);
    tc_text_list_free(part->tags, part->tags_count);
    *part = (struct tc_part_source){0};
}

void tc_part_recipe_free(struct tc_part_recipe *part)
{
    if (!part) return;
    free(part->build_file);
    free(part->language);
    free(part->image);
    free(part->command);
    free(part->vendor);
    free(part->folder);
    tc_text_list_free(part->environment, part->environment_count);
    tc_text_list_free(part->outputs, part->outputs_count);
    *part = (struct tc_part_recipe){0};
}

void tc_part_image_free(struct tc_part_image *part)
{
    if (!part) return;
    tc_image_packages_free(part->packages, part->packages_count);
    free(part->name);
    *part = (struct tc_part_image){0};
}

void tc_statement_free(struct tc_statement *statement)
{
    if (!statement) return;
    tc_part_image_free(&statement->image);
    tc_part_source_free(&statement->source);
    tc_part_recipe_free(&statement->recipe);
    for (size_t i = 0; i < statement->collected_count; i++) {
        free(statement->collected[i].name);
        free(statement->collected[i].command);
        free(statement->collected[i].output);
    }
    free(statement->collected);
    for (size_t i = 0; i < statement->subjects_count; i++)
        free(statement->subjects[i].path);
    free(statement->subjects);
    tc_part_network_free(&statement->network);
    tc_part_witness_free(&statement->witness);
    tc_dependencies_free(statement->dependencies, statement->dependencies_count);
    *statement = (struct tc_statement){0};
}

bool tc_output_name_is_good(struct tc_span name)
{
    if (!tc_path_is_safe(name) || !tc_is_utf8(name)) return false;
    for (size_t i = 0; i < name.size; i++) {
        if (name.data[i] < 0x20 || name.data[i] == 0x7f) return false;
        /* C1 in UTF-8: U+009B starts a terminal's sequence as ESC [ does. */
        if (name.data[i] == 0xc2 && name.data[i + 1] < 0xa0) return false;
    }
    return true;
}

static tc_status check_source(const struct tc_part_source *source, struct tc_error *err)
{
    if (source->kind != TC_SOURCE_GIT && source->kind != TC_SOURCE_TREE)
        return tc_fail(err, TC_MALFORMED, "the statement: the source is neither git nor tree");
    if (source->has_commit != (source->kind == TC_SOURCE_GIT))
        return tc_fail(err, TC_MALFORMED,
                       "the statement: a git source, and no other, has a commit");
    if (source->tags_count > 0 && !source->has_commit)
        return tc_fail(err, TC_MALFORMED, "the statement: tags without a commit");
    if (source->tags_count > TC_TAGS_MAX)
        return tc_fail(err, TC_LIMIT, "the statement: more than %d tags", TC_TAGS_MAX);
    int64_t last;
    if (!tc_parse_time("9999-12-31T23:59:59Z", &last) || source->epoch < 0 || source->epoch > last)
        return tc_fail(err, TC_MALFORMED, "the statement: SOURCE_DATE_EPOCH is out of range");
    return TC_OK;
}

static tc_status check_recipe(const struct tc_part_recipe *recipe, struct tc_error *err)
{
    if (!recipe->language || !recipe->command || !recipe->folder || !recipe->build_file)
        return tc_fail(err, TC_MALFORMED, "the statement: the recipe is not complete");
    if (!tc_path_is_safe(tc_span_of_text(recipe->build_file)) ||
        (strcmp(recipe->folder, ".") != 0 && !tc_path_is_safe(tc_span_of_text(recipe->folder))))
        return tc_fail(err, TC_MALFORMED,
                       "the statement: the build file or the folder lies outside the source");
    if (recipe->outputs_count == 0)
        return tc_fail(err, TC_MALFORMED, "the statement: no output was asked for");
    for (size_t i = 1; i < recipe->environment_count; i++)
        if (strcmp(recipe->environment[i - 1], recipe->environment[i]) >= 0)
            return tc_fail(err, TC_MALFORMED,
                           "the statement: the environment is not sorted, or repeats itself");
    return TC_OK;
}

/* Whatever is measured says what it is; what is not has nobody to say it. */
static tc_status check_image(const struct tc_statement *statement, struct tc_error *err)
{
    const struct tc_part_image *image = &statement->image;
    if (!image->name && !statement->platform.measured && image->packages_count == 0) return TC_OK;
    if (!image->name || !statement->platform.measured)
        return tc_fail(err, TC_MALFORMED,
                       "the statement: an image that was measured, and no other, has a name, a "
                       "recipe and packages");
    if (!tc_image_text_name_is_good(image->name))
        return tc_fail(err, TC_MALFORMED, "the statement: the image's name is not one of a recipe");
    if (!tc_image_packages_are_good(image->packages, image->packages_count))
        return tc_fail(err, TC_MALFORMED,
                       "the statement: the image's packages are not sorted, or one is no package");
    return TC_OK;
}

static tc_status check_subjects(const struct tc_statement *statement, struct tc_error *err)
{
    if (statement->subjects_count == 0 || statement->subjects_count > TC_SUBJECTS_MAX)
        return tc_fail(err, TC_LIMIT, "the statement: %zu outputs; must be 1 to %d",
                       statement->subjects_count, TC_SUBJECTS_MAX);
    for (size_t i = 0; i < statement->subjects_count; i++) {
        const struct tc_subject *subject = &statement->subjects[i];
        char shown[128];
        if (!tc_output_name_is_good(tc_span_of_text(subject->path)))
            return tc_fail(err, TC_MALFORMED,
                           "the statement: the output name \"%s\" is not a relative path in UTF-8 "
                           "without control characters",
                           tc_printable(tc_span_of_text(subject->path), shown, sizeof shown));
        if (subject->size > TC_FILE_SIZE_MAX)
            return tc_fail(err, TC_LIMIT, "the statement: an output is larger than 1 TiB");
        if (i > 0 && strcmp(statement->subjects[i - 1].path, subject->path) >= 0)
            return tc_fail(err, TC_MALFORMED,
                           "the statement: the outputs are not sorted, or repeat one");
    }
    return TC_OK;
}

tc_status tc_statement_check(const struct tc_statement *statement, struct tc_error *err)
{
    TC_TRY(check_source(&statement->source, err));
    TC_TRY(check_recipe(&statement->recipe, err));
    TC_TRY(check_image(statement, err));
    TC_TRY(tc_statement_check_network(statement, err));
    TC_TRY(check_subjects(statement, err));
    if (statement->nonce_size > TC_WIRE_NONCE_MAX)
        return tc_fail(err, TC_LIMIT, "the statement: the nonce is longer than %d bytes",
                       TC_WIRE_NONCE_MAX);
    if (statement->started < 0 || statement->finished < 0)
        return tc_fail(err, TC_MALFORMED, "the statement: a time before 1970");
    return TC_OK;
}

/* GNU sha256sum marks a line whose name holds a backslash with one in front and
 * doubles those in the name; names with line breaks do not occur here. */
static void add_sum_line(const struct tc_subject *subject, struct tc_buf *buf)
{
    char hex[TC_SHA256_HEX];
    tc_hex((struct tc_span){subject->digest.bytes, sizeof subject->digest.bytes}, hex);
    tc_buf_add_format(buf, "%s%s  ", strchr(subject->path, '\\') ? "\\" : "", hex);
    for (const char *p = subject->path; *p; p++) {
        if (*p == '\\') tc_buf_add_u8(buf, '\\');
        tc_buf_add_u8(buf, (uint8_t)*p);
    }
    tc_buf_add_u8(buf, '\n');
}

tc_status tc_statement_output_digest(const struct tc_statement *statement,
                                     struct tc_sha256 *ret_digest, struct tc_error *err)
{
    TC_AUTO_HASH struct tc_hash *hash = tc_hash_new(TC_HASH_SHA256);
    if (!hash) return tc_fail(err, TC_SYSTEM, "out of memory for the output digest");
    TC_AUTO_BUF struct tc_buf line = tc_buf_new(2 * TC_PATH_MAX + TC_SHA256_HEX + 8);
    for (size_t i = 0; i < statement->subjects_count; i++) {
        tc_buf_reset(&line);
        add_sum_line(&statement->subjects[i], &line);
        TC_TRY(tc_buf_check(&line, "a line of the output digest", err));
        tc_hash_add(hash, line.data, line.size);
    }
    struct tc_sha256 digest = {{0}};
    TC_TRY(tc_hash_finish(hash, digest.bytes, sizeof digest.bytes, err));
    *ret_digest = digest;
    return TC_OK;
}

/* The text of docs/formats.md, "The binding". The path is last on its line and
 * its length stands before it, so no path can pass for another line. */
static void add_binding(const struct tc_statement *statement, struct tc_buf *buf)
{
    char source[TC_SHA256_HEX], file[TC_SHA256_HEX], nonce[2 * TC_WIRE_NONCE_MAX + 1];
    const struct tc_part_recipe *recipe = &statement->recipe;
    const struct tc_limits *limits = &recipe->limits;
    tc_hex((struct tc_span){statement->source.digest.bytes, TC_SHA256_SIZE}, source);
    tc_hex((struct tc_span){recipe->build_file_digest.bytes, TC_SHA256_SIZE}, file);
    tc_hex((struct tc_span){statement->nonce, statement->nonce_size}, nonce);
    tc_buf_add_format(buf, "tee-compile/binding/1\nsource %s\nbuild-file %s %zu:%s\n", source, file,
                      strlen(recipe->build_file), recipe->build_file);
    tc_buf_add_format(buf, "limits timeout=%llu memory=%llu disk=%llu log=%llu processes=%llu\n",
                      (unsigned long long)limits->timeout, (unsigned long long)limits->memory,
                      (unsigned long long)limits->disk, (unsigned long long)limits->log,
                      (unsigned long long)limits->processes);
    tc_buf_add_format(buf, "nonce %s\n", nonce);
}

tc_status tc_statement_binding(const struct tc_statement *statement, struct tc_sha384 *ret_binding,
                               struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(TC_PATH_MAX + 1024);
    if (statement->nonce_size > TC_WIRE_NONCE_MAX)
        return tc_fail(err, TC_LIMIT, "the nonce is longer than %d bytes", TC_WIRE_NONCE_MAX);
    add_binding(statement, &buf);
    TC_TRY(tc_buf_check(&buf, "the binding", err));
    return tc_sha384_of(tc_buf_span(&buf), ret_binding, err);
}
