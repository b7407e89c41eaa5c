#include "worker/credentials.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

static void credential_free(struct tc_credential *credential)
{
    if (credential->value) explicit_bzero(credential->value, strlen(credential->value));
    free(credential->host);
    free(credential->name);
    free(credential->value);
}

void tc_credentials_free(struct tc_credentials *credentials)
{
    for (size_t i = 0; i < credentials->count; i++)
        credential_free(&credentials->list[i]);
    free(credentials->list);
    *credentials = (struct tc_credentials){0};
}

static tc_status add(struct tc_credentials *credentials, struct tc_span payload,
                     struct tc_error *err)
{
    struct tc_wire_credential wire;
    if (credentials->count == TC_CREDENTIALS_MAX)
        return tc_fail(err, TC_LIMIT, "the host sent more than %d credentials", TC_CREDENTIALS_MAX);
    TC_TRY(tc_wire_credential_decode(payload, &wire, err));
    struct tc_credential *grown =
        reallocarray(credentials->list, credentials->count + 1, sizeof *grown);
    if (!grown) return tc_fail(err, TC_SYSTEM, "out of memory");
    credentials->list = grown;
    struct tc_credential *one = &grown[credentials->count++];
    *one = (struct tc_credential){tc_span_to_text(wire.host), tc_span_to_text(wire.name),
                                  tc_span_to_text(wire.value)};
    if (!one->host || !one->name || !one->value) return tc_fail(err, TC_SYSTEM, "out of memory");
    return TC_OK;
}

tc_status tc_credentials_receive(struct tc_channel *host, struct tc_credentials *ret_credentials,
                                 struct tc_span *ret_build_file, struct tc_error *err)
{
    for (;;) {
        enum tc_wire_kind kind;
        struct tc_span payload;
        TC_TRY(tc_channel_read(host, &kind, &payload, err));
        if (kind == TC_WIRE_BUILD_FILE) {
            *ret_build_file = payload;
            return TC_OK;
        }
        if (kind != TC_WIRE_CREDENTIAL)
            return tc_fail(
                err, TC_MALFORMED,
                "%s sent frame kind %d where a credential or the build file was expected",
                host->peer, (int)kind);
        TC_TRY(add(ret_credentials, payload, err));
    }
}
