/* Reader of build.json.
 *
 * Three steps, each over the whole file: the JSON layer refuses what is no JSON,
 * the functions named read_* take one object each and refuse unknown keys and
 * wrong types, and what a value may be is decided right where it is read, so
 * that every message can name its path. Nothing is filled in late: when
 * tc_buildspec_parse returns TC_OK, every field holds a value that the worker
 * can act on. */
#include "core/buildspec.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/entry.h"
#include "core/json.h"
#include "core/outmatch.h"

void tc_text_list_free(char **list, size_t count)
{
    for (size_t i = 0; list && i < count; i++)
        free(list[i]);
    free(list);
}

void tc_buildspec_free(struct tc_buildspec *spec)
{
    if (!spec) return;
    free(spec->language);
    free(spec->image);
    free(spec->command);
    free(spec->vendor);
    free(spec->folder);
    tc_text_list_free(spec->environment, spec->environment_count);
    for (size_t i = 0; i < spec->collect_count; i++) {
        free(spec->collect[i].name);
        free(spec->collect[i].command);
    }
    free(spec->collect);
    tc_text_list_free(spec->outputs, spec->outputs_count);
    tc_text_list_free(spec->omitted, spec->omitted_count);
    tc_network_free(&spec->network);
    *spec = (struct tc_buildspec){0};
}

static tc_status read_list(const struct tc_json *at, tc_json_text_check *check, char ***list,
                           size_t *count, struct tc_error *err)
{
    return tc_json_texts(at, TC_BUILDSPEC_LIST_MAX, TC_BUILDSPEC_TEXT_MAX, check, list, count, err);
}

static const char word_characters[] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/* Letters, digits and the characters of `extra`, 1 to 64 of them. */
static bool is_word(const char *text, const char *extra)
{
    size_t size = strlen(text);
    if (size == 0 || size > 64) return false;
    for (; *text; text++)
        if (!strchr(word_characters, *text) && !strchr(extra, *text)) return false;
    return true;
}

static tc_status read_word(const struct tc_json *at, char **ret_text, struct tc_error *err)
{
    TC_TRY(tc_json_copy(at, TC_BUILDSPEC_TEXT_MAX, ret_text, err));
    if (!is_word(*ret_text, "._+#-"))
        return tc_json_fail(at, err,
                            "must be a name of 1 to 64 letters, digits and any of . _ + # -");
    return TC_OK;
}

static tc_status check_command(const struct tc_json *at, const char *text, struct tc_error *err)
{
    if (text[strspn(text, " \t\r\n")] == '\0')
        return tc_json_fail(at, err, "must be a command, is empty");
    return TC_OK;
}

static tc_status read_command(const struct tc_json *at, char **ret_text, struct tc_error *err)
{
    TC_TRY(tc_json_copy(at, TC_BUILDSPEC_TEXT_MAX, ret_text, err));
    return check_command(at, *ret_text, err);
}

/* A string, or a list of strings that become the lines of one script: the
 * shell runs with -e, so the first that fails ends it. */
static tc_status read_vendor(const struct tc_json *at, char **ret_text, struct tc_error *err)
{
    if (!tc_json_is_array(at)) return read_command(at, ret_text, err);
    size_t entries;
    TC_TRY(tc_json_array(at, TC_BUILDSPEC_LIST_MAX, &entries, err));
    if (entries == 0) return tc_json_fail(at, err, "must have at least one command");
    TC_AUTO_BUF struct tc_buf script = tc_buf_new(TC_BUILDSPEC_TEXT_MAX);
    for (size_t i = 0; i < entries; i++) {
        struct tc_json entry = tc_json_at(at, i);
        const char *line;
        TC_TRY(tc_json_string(&entry, TC_BUILDSPEC_TEXT_MAX, &line, err));
        TC_TRY(check_command(&entry, line, err));
        if (i > 0) tc_buf_add_u8(&script, '\n');
        tc_buf_add_text(&script, line);
    }
    char *text = tc_buf_take_text(&script);
    if (!text)
        return tc_json_fail(at, err, "has more than %d bytes in all", TC_BUILDSPEC_TEXT_MAX - 1);
    *ret_text = text;
    return TC_OK;
}

static tc_status check_path(const struct tc_json *at, const char *text, struct tc_error *err)
{
    if (tc_path_is_safe(tc_span_of_text(text))) return TC_OK;
    return tc_json_fail(at, err,
                        "must be a relative path inside the source, without empty, \".\" and "
                        "\"..\" names");
}

static tc_status read_folder(const struct tc_json *at, char **ret_text, struct tc_error *err)
{
    TC_TRY(tc_json_copy(at, TC_PATH_MAX, ret_text, err));
    if (strcmp(*ret_text, ".") == 0) return TC_OK;
    return check_path(at, *ret_text, err);
}

static tc_status check_output(const struct tc_json *at, const char *text, struct tc_error *err)
{
    struct tc_error reason = {0};
    if (tc_outmatch_check(text, &reason) == TC_OK) return TC_OK;
    return tc_json_fail(at, err, "%s", reason.message);
}

/* Names that input.env may not set, because the statement would not be true
 * of the build any more:
 *   SOURCE_DATE_EPOCH    the statement gives the source's own time for it
 *   HOME, TMPDIR, PWD    the sandbox's places, which limits.disk counts
 *   LD_*, GLIBC_TUNABLES act on the sandbox's own launcher before it has
 *                        closed the sandbox, not only on the command
 *   BASH_ENV, ENV, SHELLOPTS, BASHOPTS
 *                        run or switch something before the recorded command,
 *                        among it the "fail on any error" it is recorded with
 *   TEE_COMPILE_*        kept for the worker
 * PATH and all others may be set: the statement lists the whole environment. */
static bool is_reserved(const char *entry, size_t name_size)
{
    static const char *const names[] = {"SOURCE_DATE_EPOCH", "HOME",     "TMPDIR",
                                        "PWD",               "BASH_ENV", "ENV",
                                        "SHELLOPTS",         "BASHOPTS", "GLIBC_TUNABLES"};
    static const char *const prefixes[] = {"LD_", "TEE_COMPILE_"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i]) == name_size && memcmp(names[i], entry, name_size) == 0) return true;
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (strncmp(entry, prefixes[i], strlen(prefixes[i])) == 0) return true;
    return false;
}

static tc_status check_variable(const struct tc_json *at, const char *text, struct tc_error *err)
{
    size_t size = strcspn(text, "=");
    bool good = text[size] == '=' && size > 0 && size <= 255 && !(*text >= '0' && *text <= '9');
    for (size_t i = 0; good && i < size; i++)
        good = strchr(word_characters, text[i]) != NULL || text[i] == '_';
    if (!good)
        return tc_json_fail(at, err,
                            "must be NAME=value, NAME of letters, digits and _ that does not begin "
                            "with a digit");
    if (is_reserved(text, size))
        return tc_json_fail(at, err,
                            "%.*s cannot be set here, where it would act on more than the command; set "
                            "it inside the command",
                            (int)size, text);
    return TC_OK;
}

static tc_status read_environment(const struct tc_json *at, struct tc_buildspec *spec,
                                  struct tc_error *err)
{
    TC_TRY(read_list(at, check_variable, &spec->environment, &spec->environment_count, err));
    for (size_t i = 0; i < spec->environment_count; i++) {
        size_t size = strcspn(spec->environment[i], "=") + 1;
        for (size_t j = 0; j < i; j++) {
            if (strncmp(spec->environment[i], spec->environment[j], size) != 0) continue;
            struct tc_json entry = tc_json_at(at, i);
            return tc_json_fail(&entry, err, "sets %.*s a second time", (int)(size - 1),
                                spec->environment[i]);
        }
    }
    return TC_OK;
}

static tc_status read_collect(const struct tc_json *at, struct tc_buildspec *spec,
                              struct tc_error *err)
{
    void *iterator = NULL;
    struct tc_json member;
    TC_TRY(tc_json_object(at, err));
    spec->collect = calloc(TC_BUILDSPEC_LIST_MAX, sizeof *spec->collect);
    if (!spec->collect) return tc_fail(err, TC_SYSTEM, "out of memory for input.collect");
    while (tc_json_next(at, &iterator, &member)) {
        if (spec->collect_count == TC_BUILDSPEC_LIST_MAX)
            return tc_json_fail(at, err, "has more than %d entries", TC_BUILDSPEC_LIST_MAX);
        if (!is_word(member.key, "._-"))
            return tc_json_fail(&member, err,
                                "the name must have 1 to 64 letters, digits and any of . _ -");
        struct tc_named_command *command = &spec->collect[spec->collect_count++];
        command->name = strdup(member.key);
        if (!command->name) return tc_fail(err, TC_SYSTEM, "out of memory for input.collect");
        TC_TRY(read_command(&member, &command->command, err));
    }
    return TC_OK;
}

static tc_status read_input(const struct tc_json *at, struct tc_buildspec *spec,
                            struct tc_error *err)
{
    static const char *const known[] = {"cmd", "vendor", "env", "dir", "collect", NULL};
    TC_TRY(tc_json_check_keys(at, known, err));
    struct tc_json value;
    TC_TRY(tc_json_get(at, "cmd", &value, err));
    TC_TRY(read_command(&value, &spec->command, err));
    if (tc_json_find(at, "vendor", &value)) TC_TRY(read_vendor(&value, &spec->vendor, err));
    if (tc_json_find(at, "env", &value)) TC_TRY(read_environment(&value, spec, err));
    if (tc_json_find(at, "collect", &value)) TC_TRY(read_collect(&value, spec, err));
    if (tc_json_find(at, "dir", &value)) return read_folder(&value, &spec->folder, err);
    spec->folder = strdup(".");
    return spec->folder ? TC_OK : tc_fail(err, TC_SYSTEM, "out of memory for input.dir");
}

static tc_status read_output(const struct tc_json *at, struct tc_buildspec *spec,
                             struct tc_error *err)
{
    static const char *const known[] = {"files", NULL};
    TC_TRY(tc_json_check_keys(at, known, err));
    struct tc_json value;
    TC_TRY(tc_json_get(at, "files", &value, err));
    TC_TRY(read_list(&value, check_output, &spec->outputs, &spec->outputs_count, err));
    if (spec->outputs_count == 0)
        return tc_json_fail(&value, err, "must name at least one file that the build makes");
    return TC_OK;
}

static tc_status read_source(const struct tc_json *at, struct tc_buildspec *spec,
                             struct tc_error *err)
{
    static const char *const known[] = {"git", "omit", NULL};
    TC_TRY(tc_json_check_keys(at, known, err));
    struct tc_json value;
    if (tc_json_find(at, "git", &value)) TC_TRY(tc_json_bool(&value, &spec->source_git, err));
    if (!tc_json_find(at, "omit", &value)) return TC_OK;
    return read_list(&value, check_path, &spec->omitted, &spec->omitted_count, err);
}

/* A whole number, or a string with a unit. */
struct limit {
    const char *key;
    bool (*parse)(const char *text, uint64_t *ret_value);
    const char *form; /* for messages */
    uint64_t least, most;
    size_t offset; /* in struct tc_limits */
};

static bool parse_count(const char *text, uint64_t *ret_value)
{
    /* The size parser without its units. */
    return text[strspn(text, "0123456789")] == '\0' && tc_parse_size(text, ret_value);
}

static const struct limit limits[] = {
    {"timeout", tc_parse_duration, "90, \"90s\", \"15m\" or \"2h\", up to 30 days", 1,
     (uint64_t)30 * 24 * 3600, offsetof(struct tc_limits, timeout)},
    {"memory", tc_parse_size, "\"512M\" or \"8G\", 16M to 1024T", (uint64_t)16 << 20,
     (uint64_t)1 << 50, offsetof(struct tc_limits, memory)},
    {"disk", tc_parse_size, "\"512M\" or \"8G\", 1M to 1024T", (uint64_t)1 << 20, (uint64_t)1 << 50,
     offsetof(struct tc_limits, disk)},
    {"log", tc_parse_size, "\"64M\", 1K to 4G", (uint64_t)1 << 10, (uint64_t)4 << 30,
     offsetof(struct tc_limits, log)},
    {"processes", parse_count, "a number from 8 to 100000", 8, 100000,
     offsetof(struct tc_limits, processes)},
};
enum { LIMITS = sizeof limits / sizeof *limits };

static uint64_t *limit_of(struct tc_limits *values, const struct limit *limit)
{
    return (uint64_t *)(void *)((char *)values + limit->offset);
}

static tc_status read_limit(const struct tc_json *at, const struct limit *limit, uint64_t *value,
                            struct tc_error *err)
{
    if (tc_json_is_text(at)) {
        const char *text;
        TC_TRY(tc_json_string(at, 32, &text, err));
        if (!limit->parse(text, value))
            return tc_json_fail(at, err, "must be like %s", limit->form);
    } else {
        TC_TRY(tc_json_u64(at, INT64_MAX, value, err));
    }
    if (*value < limit->least || *value > limit->most)
        return tc_json_fail(at, err, "is out of range; must be like %s", limit->form);
    return TC_OK;
}

static tc_status read_limits(const struct tc_json *at, struct tc_limits *values,
                             struct tc_error *err)
{
    const char *known[LIMITS + 1] = {NULL};
    for (size_t i = 0; i < LIMITS; i++)
        known[i] = limits[i].key;
    TC_TRY(tc_json_check_keys(at, known, err));
    for (size_t i = 0; i < LIMITS; i++) {
        struct tc_json value;
        if (tc_json_find(at, limits[i].key, &value))
            TC_TRY(read_limit(&value, &limits[i], limit_of(values, &limits[i]), err));
    }
    return TC_OK;
}

bool tc_limits_are_valid(const struct tc_limits *values)
{
    struct tc_limits copy = *values;
    for (size_t i = 0; i < LIMITS; i++) {
        uint64_t value = *limit_of(&copy, &limits[i]);
        if (value < limits[i].least || value > limits[i].most) return false;
    }
    return true;
}

static tc_status read_spec(const struct tc_json *top, struct tc_buildspec *spec,
                           struct tc_error *err)
{
    static const char *const known[] = {"language", "input",  "output", "image",
                                        "network",  "limits", "source", NULL};
    TC_TRY(tc_json_check_keys(top, known, err));
    struct tc_json value;
    TC_TRY(tc_json_get(top, "language", &value, err));
    TC_TRY(read_word(&value, &spec->language, err));
    TC_TRY(tc_json_get(top, "input", &value, err));
    TC_TRY(read_input(&value, spec, err));
    TC_TRY(tc_json_get(top, "output", &value, err));
    TC_TRY(read_output(&value, spec, err));
    if (tc_json_find(top, "image", &value)) TC_TRY(read_word(&value, &spec->image, err));
    if (tc_json_find(top, "network", &value)) TC_TRY(tc_network_read(&value, &spec->network, err));
    if (tc_json_find(top, "limits", &value)) TC_TRY(read_limits(&value, &spec->limits, err));
    if (tc_json_find(top, "source", &value)) TC_TRY(read_source(&value, spec, err));
    return TC_OK;
}

tc_status tc_buildspec_parse(struct tc_span json, const char *name, struct tc_buildspec *ret_spec,
                             struct tc_error *err)
{
    TC_AUTO_JSON struct tc_json_text *text = NULL;
    TC_TRY(tc_json_parse(json, name, TC_BUILDSPEC_SIZE_MAX, &text, err));
    struct tc_json top = tc_json_top(text, name);
    struct tc_buildspec spec = {.network = {.mode = TC_NETWORK_RECORD},
                                .limits = {.timeout = TC_LIMIT_TIMEOUT_DEFAULT,
                                           .memory = TC_LIMIT_MEMORY_DEFAULT,
                                           .disk = TC_LIMIT_DISK_DEFAULT,
                                           .log = TC_LIMIT_LOG_DEFAULT,
                                           .processes = TC_LIMIT_PROCESSES_DEFAULT}};
    tc_status status = read_spec(&top, &spec, err);
    if (status != TC_OK) {
        tc_buildspec_free(&spec);
        return status;
    }
    *ret_spec = spec;
    return TC_OK;
}
