/* Which file of the source names the body that passes: digests beyond the transcript's
 * own, each computed only when some lock file has one of its kind. */
#include "worker/recorder_internal.h"

#include <string.h>

#include <openssl/evp.h>

#include "base/cleanup.h"

enum { SHA512_SIZE = 64 };

static bool ends_with(const char *text, const char *end)
{
    size_t size = strlen(text), end_size = strlen(end);
    return size >= end_size && strcmp(text + size - end_size, end) == 0;
}

/* What a Go module proxy calls its files. */
static bool is_go_file(const struct tc_rec_ask *ask, const char *end)
{
    return strstr(ask->url, "/@v/") && ends_with(ask->url, end);
}

tc_status tc_rec_pins_begin(struct tc_rec_ask *ask, struct tc_error *err)
{
    const struct tc_pins *pins = ask->recorder->config->pins;
    if (tc_pins_has(pins, TC_PIN_SHA512)) {
        ask->sha512 = EVP_MD_CTX_new();
        if (!ask->sha512 || EVP_DigestInit_ex(ask->sha512, EVP_sha512(), NULL) != 1)
            return tc_fail(err, TC_SYSTEM, "out of memory for a response's digests");
    }
    if (tc_pins_has(pins, TC_PIN_GO_ZIP) && is_go_file(ask, ".zip")) {
        ask->zip = tc_gozip_new();
        if (!ask->zip) return tc_fail(err, TC_SYSTEM, "out of memory for a response's digests");
    }
    return TC_OK;
}

tc_status tc_rec_pins_add(struct tc_rec_ask *ask, struct tc_span data, struct tc_error *err)
{
    if (ask->zip) tc_gozip_add(ask->zip, data);
    if (ask->sha512 && EVP_DigestUpdate(ask->sha512, data.data, data.size) != 1)
        return tc_fail(err, TC_SYSTEM, "the cryptographic library could not make a digest");
    return TC_OK;
}

void tc_rec_pins_done(struct tc_rec_ask *ask)
{
    EVP_MD_CTX_free(ask->sha512);
    ask->sha512 = NULL;
    tc_gozip_free(ask->zip);
    ask->zip = NULL;
}

/* A zip that has no digest of Go's is pinned by nobody; that is no failure. */
static const char *find_go(struct tc_rec_ask *ask, const struct tc_sha256 *digest)
{
    const struct tc_pins *pins = ask->recorder->config->pins;
    struct tc_error ignored = {0};
    struct tc_sha256 h1;
    if (ask->zip && tc_gozip_finish(ask->zip, &h1, &ignored) == TC_OK)
        return tc_pins_find(pins, TC_PIN_GO_ZIP, h1.bytes, sizeof h1.bytes);
    if (tc_pins_has(pins, TC_PIN_GO_MOD) && is_go_file(ask, ".mod") &&
        tc_go_mod_digest(digest, &h1, &ignored) == TC_OK)
        return tc_pins_find(pins, TC_PIN_GO_MOD, h1.bytes, sizeof h1.bytes);
    return NULL;
}

static const char *find_sha512(struct tc_rec_ask *ask)
{
    uint8_t bytes[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    if (!ask->sha512 || EVP_DigestFinal_ex(ask->sha512, bytes, &size) != 1 || size != SHA512_SIZE)
        return NULL;
    return tc_pins_find(ask->recorder->config->pins, TC_PIN_SHA512, bytes, size);
}

tc_status tc_rec_pins_end(struct tc_rec_ask *ask, const struct tc_sha256 *digest,
                          struct tc_error *err)
{
    const struct tc_pins *pins = ask->recorder->config->pins;
    if (ask->delivered == 0) return TC_OK;
    const char *path = tc_pins_find(pins, TC_PIN_SHA256, digest->bytes, sizeof digest->bytes);
    if (!path) path = find_sha512(ask);
    if (!path) path = find_go(ask, digest);
    if (!path) return TC_OK;
    ask->record.pinned_by = strdup(path);
    return ask->record.pinned_by ? TC_OK : tc_fail(err, TC_SYSTEM, "out of memory for a response");
}
