/* The network in the statement: what must hold, the writer and the reader of its three
 * places. A build that was offline has a mode and nothing else of it. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/denied.h"
#include "core/statement_internal.h"

static const char *const modes[] = {NULL, "offline", "record", "pinned"};
static const char *const hijacks[] = {NULL, "nftables", "anyip"};

void tc_part_network_free(struct tc_part_network *part)
{
    if (!part) return;
    for (size_t i = 0; i < part->ca_count; i++) {
        free(part->ca[i].host);
        free(part->ca[i].path);
    }
    free(part->ca);
    tc_text_list_free(part->plain_http, part->plain_http_count);
    tc_text_list_free(part->opaque, part->opaque_count);
    *part = (struct tc_part_network){0};
}

void tc_part_witness_free(struct tc_part_witness *part)
{
    if (!part) return;
    free(part->repository);
    free(part->ref);
    *part = (struct tc_part_witness){0};
}

void tc_dependencies_free(struct tc_dependency *list, size_t count)
{
    for (size_t i = 0; list && i < count; i++) {
        free(list[i].url);
        free(list[i].pinned_by);
    }
    free(list);
}

/* --- what must hold --- */

static bool is_word(const char *text, size_t max)
{
    size_t size = strlen(text);
    for (size_t i = 0; i < size; i++)
        if (text[i] <= ' ' || text[i] >= 0x7f) return false;
    return size > 0 && size <= max;
}

static bool is_path(const char *path)
{
    return tc_path_is_safe(tc_span_of_text(path)) && tc_is_utf8(tc_span_of_text(path));
}

static bool is_host_list(char *const *list, size_t count)
{
    if (count > TC_UNAUTHENTICATED_MAX) return false;
    for (size_t i = 0; i < count; i++)
        if (!is_word(list[i], 512) || (i > 0 && strcmp(list[i - 1], list[i]) >= 0)) return false;
    return true;
}

static const char *ca_problem(const struct tc_part_network *network)
{
    if (network->ca_count > TC_BUILDSPEC_LIST_MAX) return "has too many extra CAs";
    for (size_t i = 0; i < network->ca_count; i++) {
        const struct tc_extra_ca *ca = &network->ca[i];
        if (!is_word(ca->host, TC_HOST_NAME_MAX + 2) || !is_path(ca->path))
            return "has an extra CA for no host, or one outside the source";
        if (i > 0 && strcmp(network->ca[i - 1].host, ca->host) >= 0)
            return "has extra CAs that are not sorted, or repeat one";
    }
    return NULL;
}

static const char *dependency_problem(const struct tc_statement *statement)
{
    if (statement->dependencies_count > TC_DEPENDENCIES_MAX) return "has too many dependencies";
    for (size_t i = 0; i < statement->dependencies_count; i++) {
        const struct tc_dependency *dependency = &statement->dependencies[i];
        const struct tc_dependency *before = i > 0 ? dependency - 1 : NULL;
        bool plain = strncmp(dependency->url, "http://", 7) == 0;
        if (!is_word(dependency->url, TC_DEPENDENCY_URL_MAX) ||
            (!plain && strncmp(dependency->url, "https://", 8) != 0))
            return "has a dependency without a URL";
        if (dependency->unauthenticated != plain)
            return "has plain HTTP that is said to be authenticated, or HTTPS that is not";
        if (dependency->size == 0 || dependency->size > TC_STATEMENT_NUMBER_MAX)
            return "has a dependency without a size";
        if (dependency->from_archive != statement->network.replayed)
            return "has dependencies of an archive and was not replayed, or the other way round";
        if (dependency->pinned_by && !is_path(dependency->pinned_by))
            return "has a dependency that is pinned by what is no file of the source";
        int order = before ? strcmp(before->url, dependency->url) : -1;
        if (order > 0 || (before && order == 0 &&
                          memcmp(&before->digest, &dependency->digest, TC_SHA256_SIZE) >= 0))
            return "has dependencies that are not sorted, or repeat one";
    }
    return NULL;
}

static const char *network_problem(const struct tc_statement *statement)
{
    const struct tc_part_network *network = &statement->network;
    const struct tc_part_witness *witness = &statement->witness;
    enum tc_network_mode mode = statement->recipe.network;
    if (mode < TC_NETWORK_OFFLINE || mode > TC_NETWORK_PINNED) return "has no network mode";
    if (mode == TC_NETWORK_OFFLINE) {
        bool any = network->hijack != TC_HIJACK_NONE || network->replayed ||
                   network->ca_count > 0 || network->plain_http_count > 0 ||
                   network->opaque_count > 0 || network->has_denied || witness->repository ||
                   statement->dependencies_count > 0 || statement->transcript.count > 0;
        return any ? "was offline, and has something of a network" : NULL;
    }
    if (network->hijack != TC_HIJACK_NFTABLES && network->hijack != TC_HIJACK_ANYIP)
        return "does not say how connections came to the recorder";
    if (!is_host_list(network->plain_http, network->plain_http_count) ||
        !is_host_list(network->opaque, network->opaque_count))
        return "has a list of hosts that is not sorted, repeats one, or names none";
    if (!witness->repository != !witness->ref) return "witnesses a repository without ref";
    if (witness->repository &&
        (!is_word(witness->repository, 4096) || !is_word(witness->ref, 4096) ||
         strncmp(witness->repository, "https://", 8) != 0))
        return "witnesses what is no https URL and ref";
    if (witness->repository && (!statement->source.has_commit || network->replayed))
        return "witnesses a ref without a commit, or out of an archive";
    if (network->denied_count > TC_DENIED_ENTRIES_MAX ||
        (!network->has_denied && network->denied_count > 0))
        return "has more denied certificates than a deny list can have";
    const char *problem = ca_problem(network);
    return problem ? problem : dependency_problem(statement);
}

tc_status tc_statement_check_network(const struct tc_statement *statement, struct tc_error *err)
{
    const char *problem = network_problem(statement);
    if (!problem) return TC_OK;
    return tc_fail(err, TC_MALFORMED, "the statement: the build %s", problem);
}

/* --- the writer --- */

static void write_digest(struct tc_jsonw *w, const struct tc_sha256 *digest)
{
    tc_jsonw_object(w, "digest");
    tc_jsonw_hex(w, "sha256", digest->bytes, sizeof digest->bytes);
    tc_jsonw_end_object(w);
}

static void write_hosts(struct tc_jsonw *w, const char *key, char *const *list, size_t count)
{
    if (count == 0) return;
    tc_jsonw_array(w, key);
    for (size_t i = 0; i < count; i++)
        tc_jsonw_text(w, NULL, list[i]);
    tc_jsonw_end_array(w);
}

void tc_statement_write_network(struct tc_jsonw *w, const struct tc_statement *statement)
{
    const struct tc_part_network *network = &statement->network;
    tc_jsonw_object(w, "network");
    if (network->ca_count > 0) {
        tc_jsonw_array(w, "ca");
        for (size_t i = 0; i < network->ca_count; i++) {
            tc_jsonw_object(w, NULL);
            tc_jsonw_text(w, "host", network->ca[i].host);
            tc_jsonw_text(w, "path", network->ca[i].path);
            write_digest(w, &network->ca[i].digest);
            tc_jsonw_end_object(w);
        }
        tc_jsonw_end_array(w);
    }
    if (network->has_denied) {
        tc_jsonw_object(w, "deniedCertificates");
        tc_jsonw_u64(w, "count", network->denied_count);
        write_digest(w, &network->denied);
        tc_jsonw_end_object(w);
    }
    if (network->hijack != TC_HIJACK_NONE) tc_jsonw_text(w, "hijack", hijacks[network->hijack]);
    tc_jsonw_text(w, "mode", modes[statement->recipe.network]);
    write_hosts(w, "opaque", network->opaque, network->opaque_count);
    write_hosts(w, "plainHttp", network->plain_http, network->plain_http_count);
    if (network->replayed) {
        tc_jsonw_object(w, "replayed");
        write_digest(w, &network->archive);
        tc_jsonw_end_object(w);
    }
    tc_jsonw_end_object(w);
}

void tc_statement_write_witness(struct tc_jsonw *w, const struct tc_part_witness *witness)
{
    if (!witness->repository) return;
    tc_jsonw_object(w, "witnessed");
    tc_jsonw_text(w, "ref", witness->ref);
    tc_jsonw_text(w, "repository", witness->repository);
    tc_jsonw_end_object(w);
}

void tc_statement_write_dependencies(struct tc_jsonw *w, const struct tc_statement *statement)
{
    for (size_t i = 0; i < statement->dependencies_count; i++) {
        const struct tc_dependency *dependency = &statement->dependencies[i];
        tc_jsonw_object(w, NULL);
        tc_jsonw_text(w, "uri", dependency->url);
        write_digest(w, &dependency->digest);
        tc_jsonw_object(w, "annotations");
        if (dependency->from_archive) tc_jsonw_text(w, "origin", "archive");
        if (dependency->pinned_by) tc_jsonw_text(w, "pinnedBy", dependency->pinned_by);
        tc_jsonw_u64(w, "size", dependency->size);
        if (dependency->unauthenticated) tc_jsonw_bool(w, "unauthenticated", true);
        tc_jsonw_end_object(w);
        tc_jsonw_end_object(w);
    }
}

/* --- the reader --- */

#define KEYS(...) ((const char *const[]){__VA_ARGS__, NULL})

static tc_status get_keys(const struct tc_json *parent, const char *key, const char *const *known,
                          struct tc_json *ret_object, struct tc_error *err)
{
    TC_TRY(tc_json_get(parent, key, ret_object, err));
    return tc_json_check_keys(ret_object, known, err);
}

static tc_status get_text(const struct tc_json *parent, const char *key, size_t max,
                          char **ret_text, struct tc_error *err)
{
    struct tc_json value;
    TC_TRY(tc_json_get(parent, key, &value, err));
    return tc_json_copy(&value, max, ret_text, err);
}

static tc_status get_digest(const struct tc_json *parent, struct tc_sha256 *ret_digest,
                            struct tc_error *err)
{
    struct tc_json digest, value;
    TC_TRY(get_keys(parent, "digest", KEYS("sha256"), &digest, err));
    TC_TRY(tc_json_get(&digest, "sha256", &value, err));
    return tc_json_hex(&value, ret_digest->bytes, sizeof ret_digest->bytes, err);
}

/* The index of the text in words, whose first entry is NULL and stands for none. */
static tc_status get_word(const struct tc_json *parent, const char *key, const char *const *words,
                          size_t count, unsigned *ret_index, struct tc_error *err)
{
    struct tc_json value;
    const char *text;
    TC_TRY(tc_json_get(parent, key, &value, err));
    TC_TRY(tc_json_string(&value, 16, &text, err));
    for (size_t i = 1; i < count; i++)
        if (strcmp(words[i], text) == 0) {
            *ret_index = (unsigned)i;
            return TC_OK;
        }
    return tc_json_fail(&value, err, "is a word that this version does not know");
}

/* An empty list is left out, so one that is there has entries. */
static tc_status get_hosts(const struct tc_json *parent, const char *key, char ***list,
                           size_t *count, struct tc_error *err)
{
    struct tc_json value;
    size_t entries;
    if (!tc_json_find(parent, key, &value)) return TC_OK;
    TC_TRY(tc_json_array(&value, TC_UNAUTHENTICATED_MAX, &entries, err));
    if (entries == 0) return tc_json_fail(&value, err, "is empty");
    *list = calloc(entries, sizeof **list);
    if (!*list) return tc_fail(err, TC_SYSTEM, "out of memory for a list");
    for (size_t i = 0; i < entries; i++) {
        struct tc_json entry = tc_json_at(&value, i);
        TC_TRY(tc_json_copy(&entry, 512, &(*list)[i], err));
        *count = i + 1;
    }
    return TC_OK;
}

static tc_status get_ca(const struct tc_json *parent, struct tc_part_network *network,
                        struct tc_error *err)
{
    struct tc_json value;
    size_t entries;
    if (!tc_json_find(parent, "ca", &value)) return TC_OK;
    TC_TRY(tc_json_array(&value, TC_BUILDSPEC_LIST_MAX, &entries, err));
    if (entries == 0) return tc_json_fail(&value, err, "is empty");
    network->ca = calloc(entries, sizeof *network->ca);
    if (!network->ca) return tc_fail(err, TC_SYSTEM, "out of memory for a list");
    network->ca_count = entries;
    for (size_t i = 0; i < entries; i++) {
        struct tc_json entry = tc_json_at(&value, i);
        TC_TRY(tc_json_check_keys(&entry, KEYS("host", "path", "digest"), err));
        TC_TRY(get_text(&entry, "host", 512, &network->ca[i].host, err));
        TC_TRY(get_text(&entry, "path", TC_PATH_MAX, &network->ca[i].path, err));
        TC_TRY(get_digest(&entry, &network->ca[i].digest, err));
    }
    return TC_OK;
}

static tc_status get_denied(const struct tc_json *parent, struct tc_part_network *network,
                            struct tc_error *err)
{
    struct tc_json value, count;
    network->has_denied = tc_json_find(parent, "deniedCertificates", &value);
    if (!network->has_denied) return TC_OK;
    TC_TRY(tc_json_check_keys(&value, KEYS("count", "digest"), err));
    TC_TRY(tc_json_get(&value, "count", &count, err));
    TC_TRY(tc_json_u64(&count, TC_DENIED_ENTRIES_MAX, &network->denied_count, err));
    return get_digest(&value, &network->denied, err);
}

tc_status tc_statement_read_network(const struct tc_json *at, struct tc_statement *statement,
                                    struct tc_error *err)
{
    struct tc_part_network *network = &statement->network;
    struct tc_json replayed;
    unsigned word = 0;
    TC_TRY(tc_json_check_keys(
        at, KEYS("ca", "deniedCertificates", "hijack", "mode", "opaque", "plainHttp", "replayed"),
        err));
    TC_TRY(get_word(at, "mode", modes, sizeof modes / sizeof *modes, &word, err));
    statement->recipe.network = (enum tc_network_mode)word;
    if (statement->recipe.network == TC_NETWORK_OFFLINE)
        return tc_json_check_keys(at, KEYS("mode"), err);
    TC_TRY(get_word(at, "hijack", hijacks, sizeof hijacks / sizeof *hijacks, &word, err));
    network->hijack = (enum tc_hijack)word;
    TC_TRY(get_ca(at, network, err));
    TC_TRY(get_denied(at, network, err));
    TC_TRY(get_hosts(at, "opaque", &network->opaque, &network->opaque_count, err));
    TC_TRY(get_hosts(at, "plainHttp", &network->plain_http, &network->plain_http_count, err));
    network->replayed = tc_json_find(at, "replayed", &replayed);
    if (!network->replayed) return TC_OK;
    TC_TRY(tc_json_check_keys(&replayed, KEYS("digest"), err));
    return get_digest(&replayed, &network->archive, err);
}

tc_status tc_statement_read_witness(const struct tc_json *at, struct tc_part_witness *witness,
                                    struct tc_error *err)
{
    TC_TRY(tc_json_check_keys(at, KEYS("ref", "repository"), err));
    TC_TRY(get_text(at, "ref", 4096, &witness->ref, err));
    return get_text(at, "repository", 4096, &witness->repository, err);
}

static tc_status read_dependency(const struct tc_json *at, struct tc_dependency *dependency,
                                 struct tc_error *err)
{
    struct tc_json annotations, value;
    TC_TRY(tc_json_check_keys(at, KEYS("uri", "digest", "annotations"), err));
    TC_TRY(get_text(at, "uri", TC_DEPENDENCY_URL_MAX, &dependency->url, err));
    TC_TRY(get_digest(at, &dependency->digest, err));
    TC_TRY(get_keys(at, "annotations", KEYS("origin", "pinnedBy", "size", "unauthenticated"),
                    &annotations, err));
    TC_TRY(tc_json_get(&annotations, "size", &value, err));
    TC_TRY(tc_json_u64(&value, TC_STATEMENT_NUMBER_MAX, &dependency->size, err));
    if (tc_json_find(&annotations, "pinnedBy", &value))
        TC_TRY(tc_json_copy(&value, TC_PATH_MAX, &dependency->pinned_by, err));
    if (tc_json_find(&annotations, "unauthenticated", &value)) {
        TC_TRY(tc_json_bool(&value, &dependency->unauthenticated, err));
        if (!dependency->unauthenticated)
            return tc_json_fail(&value, err, "must be true or absent");
    }
    dependency->from_archive = tc_json_find(&annotations, "origin", &value);
    if (!dependency->from_archive) return TC_OK;
    const char *origin;
    TC_TRY(tc_json_string(&value, 16, &origin, err));
    return strcmp(origin, "archive") == 0 ? TC_OK
                                          : tc_json_fail(&value, err, "must be \"archive\"");
}

tc_status tc_statement_read_dependencies(const struct tc_json *list, size_t first, size_t count,
                                         struct tc_statement *statement, struct tc_error *err)
{
    if (count == first) return TC_OK;
    if (count - first > TC_DEPENDENCIES_MAX)
        return tc_json_fail(list, err, "has more than %d downloads", TC_DEPENDENCIES_MAX);
    statement->dependencies = calloc(count - first, sizeof *statement->dependencies);
    if (!statement->dependencies) return tc_fail(err, TC_SYSTEM, "out of memory for dependencies");
    statement->dependencies_count = count - first;
    for (size_t i = first; i < count; i++) {
        struct tc_json at = tc_json_at(list, i);
        TC_TRY(read_dependency(&at, &statement->dependencies[i - first], err));
    }
    return TC_OK;
}
