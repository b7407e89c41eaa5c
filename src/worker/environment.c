#include "worker/environment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "core/statement.h"
#include "worker/spawner.h"

void tc_string_list_free(char **list, size_t count)
{
    if (!list) return;
    for (size_t i = 0; i < count; i++)
        free(list[i]);
    free(list);
}

struct list {
    char **items;
    size_t count, room;
};

static size_t name_size(const char *entry)
{
    return strcspn(entry, "=");
}

/* Takes ownership of entry; an entry of the same name is replaced. */
static bool set(struct list *list, char *entry)
{
    if (!entry) return false;
    size_t size = name_size(entry);
    for (size_t i = 0; i < list->count; i++) {
        if (name_size(list->items[i]) == size && memcmp(list->items[i], entry, size) == 0) {
            free(list->items[i]);
            list->items[i] = entry;
            return true;
        }
    }
    if (list->count == list->room) {
        free(entry);
        return false;
    }
    list->items[list->count++] = entry;
    return true;
}

/* Each program has its own way to be told whom to trust: the build's own authority
 * and nobody else, since the recorder answers for every host. */
#define CA_PEM TC_SHOWN_FOLDER "/ca.pem"
#define CA_P12 TC_SHOWN_FOLDER "/ca.p12"
static const char *const trusting[] = {
    "CARGO_HTTP_CAINFO=" CA_PEM,
    "CURL_CA_BUNDLE=" CA_PEM,
    "GIT_SSL_CAINFO=" CA_PEM,
    "JAVA_TOOL_OPTIONS=-Djavax.net.ssl.trustStore=" CA_P12
    " -Djavax.net.ssl.trustStoreType=PKCS12 -Djavax.net.ssl.trustStorePassword=changeit",
    "NODE_EXTRA_CA_CERTS=" CA_PEM,
    "PIP_CERT=" CA_PEM,
    "REQUESTS_CA_BUNDLE=" CA_PEM,
    "SSL_CERT_FILE=" CA_PEM,
};

static char *path_variable(const char *const *host_tools)
{
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(TC_BUILDSPEC_TEXT_MAX);
    tc_buf_add_text(&buf, "PATH=");
    for (; host_tools && *host_tools; host_tools++)
        tc_buf_add_format(&buf, "%s/bin:", *host_tools);
    tc_buf_add_text(&buf, TC_BUILD_PATH);
    return tc_buf_take_text(&buf);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

tc_status tc_environment_build(const struct tc_buildspec *spec, int64_t epoch,
                               const char *const *host_tools, char ***ret_list, size_t *ret_count,
                               struct tc_error *err)
{
    /* Caches lie below HOME, which is empty and writable; the time zone needs no
     * file; everything that a tool might take from the machine is pinned. */
    static const char *const fixed[] = {
        "CARGO_HOME=" TC_BUILD_HOME "/.cargo",
        "GOCACHE=" TC_BUILD_HOME "/.cache/go-build",
        "GOPATH=" TC_BUILD_HOME "/go",
        "GOTOOLCHAIN=local",
        "HOME=" TC_BUILD_HOME,
        "LANG=C.UTF-8",
        "LC_ALL=C.UTF-8",
        "LOGNAME=build",
        "SHELL=/bin/bash",
        "TERM=dumb",
        "TMPDIR=/tmp",
        "TZ=UTC0",
        "USER=build",
        "XDG_CACHE_HOME=" TC_BUILD_HOME "/.cache",
    };
    struct list list = {.room = TC_ENVIRONMENT_MAX};
    list.items = calloc(list.room + 1, sizeof *list.items);
    bool good = list.items != NULL;
    for (size_t i = 0; good && i < sizeof fixed / sizeof *fixed; i++)
        good = set(&list, strdup(fixed[i]));
    bool online = spec->network.mode != TC_NETWORK_OFFLINE;
    for (size_t i = 0; good && online && i < sizeof trusting / sizeof *trusting; i++)
        good = set(&list, strdup(trusting[i]));
    good = good && set(&list, path_variable(host_tools));
    char *text = NULL;
    if (good && asprintf(&text, "SOURCE_DATE_EPOCH=%lld", (long long)epoch) < 0) text = NULL;
    good = good && set(&list, text);
    for (size_t i = 0; good && i < spec->environment_count; i++)
        good = set(&list, strdup(spec->environment[i]));
    if (!good) {
        tc_string_list_free(list.items, list.count);
        return tc_fail(err, TC_LIMIT, "the environment has more than %d variables, or memory ran out",
                       TC_ENVIRONMENT_MAX);
    }
    qsort(list.items, list.count, sizeof *list.items, by_text);
    *ret_list = list.items;
    *ret_count = list.count;
    return TC_OK;
}
