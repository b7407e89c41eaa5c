#include "cmd/build_network.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "host/proxy.h"
#include "os/readfile.h"

enum {
    FILES = 4096, /* descriptors: two or three for each stream, and the build's own */
    TEXT_MAX = TC_CREDENTIAL_NAME_MAX + TC_CREDENTIAL_VALUE_MAX + 16,
    SHOWN_SIZE = 256,
};

/* --- credentials --- */

static tc_status check_new(const struct tc_build_network *network,
                           const struct tc_wire_credential *credential, struct tc_error *err)
{
    for (size_t i = 0; i < network->credentials_count; i++) {
        const struct tc_wire_credential *before = &network->credentials[i];
        if (tc_span_equal(before->host, credential->host) &&
            before->name.size == credential->name.size &&
            strncasecmp((const char *)before->name.data, (const char *)credential->name.data,
                        before->name.size) == 0)
            return tc_fail(err, TC_USAGE, "another one for this host has the same name");
    }
    return TC_OK;
}

static tc_status read_credential(const char *option, struct tc_buf *text,
                                 struct tc_wire_credential *ret_credential, struct tc_error *err)
{
    const char *equals = strchr(option, '=');
    struct tc_wire_credential credential;
    if (!equals || equals == option || !equals[1])
        return tc_fail(err, TC_USAGE, "expected HOST=FILE");
    credential.host = (struct tc_span){(const uint8_t *)option, (size_t)(equals - option)};
    *text = tc_buf_new(TEXT_MAX);
    TC_TRY(tc_readfile_at(AT_FDCWD, equals + 1, true, "the file", text, err));
    TC_TRY(
        tc_wire_credential_read_line(tc_buf_span(text), &credential.name, &credential.value, err));
    TC_TRY(tc_wire_credential_check(&credential, err));
    *ret_credential = credential;
    return TC_OK;
}

static tc_status read_credentials(const struct tc_build_options *options,
                                  struct tc_build_network *network, struct tc_error *err)
{
    size_t count = 0;
    while (options->credentials && options->credentials[count])
        count++;
    if (count > TC_CREDENTIALS_MAX)
        return tc_fail(err, TC_USAGE, "more than %d times --credential", TC_CREDENTIALS_MAX);
    network->credentials = calloc(count + 1, sizeof *network->credentials);
    network->texts = calloc(count + 1, sizeof *network->texts);
    if (!network->credentials || !network->texts) return tc_fail(err, TC_SYSTEM, "out of memory");
    for (size_t i = 0; i < count; i++) {
        char shown[SHOWN_SIZE];
        struct tc_wire_credential *credential = &network->credentials[i];
        tc_status status =
            read_credential(options->credentials[i], &network->texts[i], credential, err);
        if (status == TC_OK) status = check_new(network, credential, err);
        if (status != TC_OK) {
            /* Whatever is wrong with it, the command line or the file is to be put right. */
            if (status == TC_REFUSED || status == TC_MALFORMED) err->status = TC_USAGE;
            return tc_wrap(
                err, "--credential %s",
                tc_printable(tc_span_of_text(options->credentials[i]), shown, sizeof shown));
        }
        network->credentials_count++;
    }
    return TC_OK;
}

/* --- the rest --- */

/* As many streams as may be served need more than a process has by default. */
static void widen_files(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur >= FILES) return;
    files.rlim_cur = files.rlim_max < FILES ? files.rlim_max : FILES;
    (void)setrlimit(RLIMIT_NOFILE, &files);
}

static tc_status open_all(const struct tc_build_options *options, struct tc_build_network *network,
                          struct tc_error *err)
{
    TC_AUTO_PROXY struct tc_proxy proxy = {0};
    TC_TRY(read_credentials(options, network, err));
    if (options->replay) TC_TRY(tc_archive_open(options->replay, &network->archive, err));
    if (options->archive) TC_TRY(tc_archive_writer_new(options->archive, &network->writer, err));
    if (!options->replay) TC_TRY(tc_proxy_of_environment(&proxy, err));
    widen_files();
    struct tc_egress_config config = {
        .proxy = proxy, .archive = network->writer, .replay = network->archive};
    proxy = (struct tc_proxy){0};
    tc_status status = tc_egress_new(&config, &network->egress, err);
    proxy = config.proxy;
    return status;
}

static tc_status refuse_all(const struct tc_build_options *options, struct tc_error *err)
{
    const char *given = options->archive       ? "--archive"
                        : options->replay      ? "--replay"
                        : options->credentials ? "--credential"
                                               : NULL;
    if (!given) return TC_OK;
    return tc_fail(err, TC_USAGE,
                   "%s goes with a build that has a network: network.mode of the build file is "
                   "\"offline\"",
                   given);
}

tc_status tc_build_network_open(const struct tc_build_options *options, bool offline,
                                struct tc_build_network *ret_network, struct tc_error *err)
{
    struct tc_build_network network = {0};
    if (offline) return refuse_all(options, err);
    tc_status status = open_all(options, &network, err);
    if (status == TC_OK)
        *ret_network = network;
    else
        tc_build_network_done(&network);
    return status;
}

void tc_build_network_greet(const struct tc_build_network *network, struct tc_wire_hello *hello)
{
    hello->archive = network->writer != NULL;
    hello->replay = network->archive != NULL;
    if (network->archive) hello->replayed = *tc_archive_digest(network->archive);
}

void tc_build_network_stop(struct tc_build_network *network)
{
    tc_egress_stop(TC_TAKE(network->egress));
}

tc_status tc_build_network_finish(struct tc_build_network *network, struct tc_tempfile *ret_archive,
                                  struct tc_error *err)
{
    return network->writer ? tc_archive_writer_finish(network->writer, ret_archive, err) : TC_OK;
}

void tc_build_network_done(struct tc_build_network *network)
{
    tc_build_network_stop(network);
    for (size_t i = 0; network->texts && i <= network->credentials_count; i++) {
        if (network->texts[i].data)
            explicit_bzero(network->texts[i].data, network->texts[i].allocated);
        tc_buf_free(&network->texts[i]);
    }
    free(network->texts);
    free(network->credentials);
    tc_archive_writer_free(network->writer);
    tc_archive_close(network->archive);
    *network = (struct tc_build_network){0};
}
