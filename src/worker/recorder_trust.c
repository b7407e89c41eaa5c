/* Whom upstream has to be: the chain ends in the image's bundle, or for a host that
 * build.json names in the CA of the source; the certificate is for the host; it is valid
 * now by the enclave's clock; and no certificate of the chain, the anchor included, is
 * on the image's deny list. TLS 1.2 and newer. Revocation is not asked for online: the
 * host would answer. No session is resumed, since a resumed one shows no certificate. */
#include "worker/recorder_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/cleanup.h"
#include "base/text.h"

enum {
    CERTIFICATES_MAX = 4096, /* of one bundle */
    SECURITY_LEVEL = 2,      /* RSA from 2048 bits, no SHA-1 */
    RECORD_ROOM = 68 << 10,  /* four records with what is around them */
    DENIED_SIZE = 384,       /* of a message */
};

struct extra {
    const char *host, *path; /* of the configuration */
    STACK_OF(X509) * anchors;
    X509_STORE *store; /* the image's and these */
};

struct tc_rec_trust {
    SSL_CTX *client;
    const struct tc_denied *denied; /* NULL: none */
    STACK_OF(X509) * bundle;
    struct extra *extra;
    size_t extra_count;
};

static tc_status no_memory(struct tc_error *err)
{
    ERR_clear_error();
    return tc_fail(err, TC_SYSTEM, "out of memory for the trust anchors of the network");
}

/* OpenSSL looks into a certificate's extensions when they are first asked for, and keeps what it
 * saw: here, before threads share it. One with bad extensions fails where it would be used. */
static void settle(X509 *certificate)
{
    (void)X509_check_purpose(certificate, -1, 0);
}

/* All certificates of a PEM text; other blocks are passed over. */
static tc_status read_pem(struct tc_span pem, const char *what, STACK_OF(X509) * out,
                          struct tc_error *err)
{
    if (pem.size == 0) return TC_OK;
    BIO *bio = pem.size <= INT32_MAX ? BIO_new_mem_buf(pem.data, (int)pem.size) : NULL;
    if (!bio) return no_memory(err);
    tc_status status = TC_OK;
    while (status == TC_OK) {
        X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        if (!certificate) {
            if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
                status = tc_fail(err, TC_MALFORMED, "%s: certificate %d cannot be read", what,
                                 sk_X509_num(out) + 1);
            break;
        }
        settle(certificate);
        if (sk_X509_num(out) >= CERTIFICATES_MAX || sk_X509_push(out, certificate) == 0) {
            X509_free(certificate);
            status =
                tc_fail(err, TC_LIMIT, "%s has more than %d certificates", what, CERTIFICATES_MAX);
        }
    }
    BIO_free(bio);
    ERR_clear_error();
    return status;
}

static bool add_all(X509_STORE *store, const STACK_OF(X509) * certificates)
{
    for (int i = 0; i < sk_X509_num(certificates); i++)
        if (X509_STORE_add_cert(store, sk_X509_value(certificates, i)) != 1) return false;
    return true;
}

/* --- what is denied whoever vouches for it --- */

static bool digest_of(const X509 *certificate, struct tc_sha256 *out)
{
    unsigned size = 0;
    return X509_digest(certificate, EVP_sha256(), out->bytes, &size) == 1 &&
           size == sizeof out->bytes;
}

static bool digest_of_key(const X509 *certificate, struct tc_sha256 *out)
{
    unsigned char *der = NULL;
    struct tc_error ignored = {0};
    int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
    bool good =
        size > 0 && tc_sha256_of((struct tc_span){der, (size_t)size}, out, &ignored) == TC_OK;
    OPENSSL_free(der);
    return good;
}

/* A certificate that cannot be looked up is denied as well: `*ret_digest` is zero then. */
static bool is_denied(const struct tc_denied *denied, const X509 *certificate,
                      enum tc_denied_kind *ret_kind, struct tc_sha256 *ret_digest)
{
    struct tc_sha256 whole = {0}, key = {0};
    if (!denied || denied->count == 0) return false;
    bool known = digest_of(certificate, &whole) && digest_of_key(certificate, &key);
    bool by_key = known && tc_denied_has(denied, TC_DENIED_KEY, &key);
    *ret_kind = by_key ? TC_DENIED_KEY : TC_DENIED_CERTIFICATE;
    *ret_digest = by_key ? key : whole;
    return !known || by_key || tc_denied_has(denied, TC_DENIED_CERTIFICATE, &whole);
}

/* "CN=name (key HEX) is denied by ..." */
static const char *say_denied(const struct tc_denied *denied, const X509 *certificate, char *out,
                              size_t size)
{
    char subject[128], hex[TC_SHA256_HEX];
    enum tc_denied_kind kind;
    struct tc_sha256 digest;
    if (!is_denied(denied, certificate, &kind, &digest)) return NULL;
    struct tc_buf name TC_AUTO_BUF = tc_buf_new(4096);
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    if (bio &&
        X509_NAME_print_ex(bio, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253) >= 0) {
        long length = BIO_get_mem_data(bio, &text);
        tc_buf_add(&name, text, length > 0 ? (size_t)length : 0);
    }
    BIO_free(bio);
    tc_hex((struct tc_span){digest.bytes, sizeof digest.bytes}, hex);
    (void)snprintf(out, size, "\"%s\" (%s %s) is denied by /" TC_DENIED_PATH " of the image",
                   tc_printable(tc_buf_span(&name), subject, sizeof subject), tc_denied_word(kind),
                   hex);
    return out;
}

/* Called for each certificate of a chain, from the anchor to the server's own. */
static int judge(int good, X509_STORE_CTX *chain)
{
    enum tc_denied_kind kind;
    struct tc_sha256 digest;
    const SSL *ssl = X509_STORE_CTX_get_ex_data(chain, SSL_get_ex_data_X509_STORE_CTX_idx());
    const struct tc_rec_trust *trust = ssl ? SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)) : NULL;
    X509 *certificate = X509_STORE_CTX_get_current_cert(chain);
    if (good != 1) return good;
    if (trust && certificate && !is_denied(trust->denied, certificate, &kind, &digest)) return 1;
    X509_STORE_CTX_set_error(chain, X509_V_ERR_CERT_REVOKED);
    return 0;
}

/* The first one of the chain; NULL: none. */
static const char *say_denied_of(const struct tc_denied *denied, const STACK_OF(X509) * chain,
                                 char *out, size_t size)
{
    const char *said = NULL;
    for (int i = 0; !said && i < sk_X509_num(chain); i++)
        said = say_denied(denied, sk_X509_value(chain, i), out, size);
    return said;
}

static tc_status make_client(struct tc_rec_trust *trust, struct tc_error *err)
{
    SSL_CTX *client = trust->client = SSL_CTX_new(TLS_client_method());
    if (!client || SSL_CTX_set_min_proto_version(client, TLS1_2_VERSION) != 1 ||
        !add_all(SSL_CTX_get_cert_store(client), trust->bundle))
        return no_memory(err);
    SSL_CTX_set_security_level(client, SECURITY_LEVEL);
    (void)SSL_CTX_set_options(client, TC_REC_TLS_OPTIONS);
    (void)SSL_CTX_set_mode(client,
                           SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    (void)SSL_CTX_set_session_cache_mode(client, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(client, SSL_VERIFY_PEER, judge);
    (void)SSL_CTX_set_app_data(client, trust);
    SSL_CTX_set_read_ahead(client, 1);
    SSL_CTX_set_default_read_buffer_len(client, RECORD_ROOM);
    return TC_OK;
}

static tc_status add_extra(struct tc_rec_trust *trust, const struct tc_recorder_ca *ca,
                           struct tc_error *err)
{
    struct extra *extra = &trust->extra[trust->extra_count++];
    *extra = (struct extra){.host = ca->host,
                            .path = ca->path,
                            .anchors = sk_X509_new_null(),
                            .store = X509_STORE_new()};
    if (!extra->anchors || !extra->store) return no_memory(err);
    TC_TRY(read_pem(tc_buf_span(&ca->pem), ca->path, extra->anchors, err));
    if (sk_X509_num(extra->anchors) == 0)
        return tc_fail(err, TC_MALFORMED,
                       "%s, the CA of %s in build.json, has no certificate: expected PEM", ca->path,
                       ca->host);
    char why[DENIED_SIZE];
    if (say_denied_of(trust->denied, extra->anchors, why, sizeof why))
        return tc_fail(err, TC_REFUSED, "%s, the CA of %s in build.json: %s", ca->path, ca->host,
                       why);
    if (!add_all(extra->store, trust->bundle) || !add_all(extra->store, extra->anchors))
        return no_memory(err);
    return TC_OK;
}

static tc_status fill_trust(struct tc_rec_trust *trust, const struct tc_recorder_config *config,
                            struct tc_error *err)
{
    trust->denied = config->denied;
    trust->bundle = sk_X509_new_null();
    trust->extra = calloc(config->ca_count + 1, sizeof *trust->extra);
    if (!trust->bundle || !trust->extra) return no_memory(err);
    TC_TRY(read_pem(config->bundle, "the image's trust anchors", trust->bundle, err));
    TC_TRY(make_client(trust, err));
    for (size_t i = 0; i < config->ca_count; i++)
        TC_TRY(add_extra(trust, &config->ca[i], err));
    return TC_OK;
}

tc_status tc_rec_trust_new(const struct tc_recorder_config *config, struct tc_rec_trust **ret_trust,
                           struct tc_error *err)
{
    struct tc_rec_trust *trust = calloc(1, sizeof *trust);
    if (!trust) return no_memory(err);
    tc_status status = fill_trust(trust, config, err);
    if (status != TC_OK) {
        tc_rec_trust_free(trust);
        return status;
    }
    *ret_trust = trust;
    return TC_OK;
}

void tc_rec_trust_free(struct tc_rec_trust *trust)
{
    if (!trust) return;
    for (size_t i = 0; i < trust->extra_count; i++) {
        sk_X509_pop_free(trust->extra[i].anchors, X509_free);
        X509_STORE_free(trust->extra[i].store);
    }
    free(trust->extra);
    sk_X509_pop_free(trust->bundle, X509_free);
    SSL_CTX_free(trust->client);
    free(trust);
}

/* A host's own entry before one with "*", and a longer one of these before a shorter one. */
static const struct extra *find_extra(const struct tc_rec_trust *trust, const char *host)
{
    const struct extra *found = NULL;
    for (size_t i = 0; i < trust->extra_count; i++) {
        const struct extra *extra = &trust->extra[i];
        if (strcmp(extra->host, host) == 0) return extra;
        bool longer = !found || strlen(extra->host) > strlen(found->host);
        if (longer && tc_host_matches(extra->host, tc_span_of_text(host))) found = extra;
    }
    return found;
}

tc_status tc_rec_trust_client(const struct tc_rec_trust *trust, const char *host, SSL **ret_ssl,
                              struct tc_error *err)
{
    static const unsigned char alpn[] = "\x08http/1.1";
    const struct extra *extra = find_extra(trust, host);
    char name[TC_HOST_NAME_MAX + 1]; /* OpenSSL's macro takes no const */
    (void)snprintf(name, sizeof name, "%s", host);
    SSL *ssl = SSL_new(trust->client);
    if (!ssl || SSL_set1_host(ssl, host) != 1 || SSL_set_tlsext_host_name(ssl, name) != 1 ||
        SSL_set_alpn_protos(ssl, alpn, sizeof alpn - 1) != 0 ||
        (extra && SSL_set1_verify_cert_store(ssl, extra->store) != 1)) {
        SSL_free(ssl);
        return no_memory(err);
    }
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    *ret_ssl = ssl;
    return TC_OK;
}

static bool holds(const STACK_OF(X509) * certificates, const X509 *certificate)
{
    for (int i = 0; i < sk_X509_num(certificates); i++)
        if (X509_cmp(sk_X509_value(certificates, i), certificate) == 0) return true;
    return false;
}

/* What was proven is asked for once more: a handshake that ended well without proof would
 * be a mistake of ours. */
tc_status tc_rec_trust_proof(const struct tc_rec_trust *trust, const char *host, SSL *ssl,
                             struct tc_rec_proof *ret_proof, struct tc_error *err)
{
    struct tc_rec_proof proof = {.ca = NULL};
    const unsigned char *alpn = NULL;
    unsigned alpn_size = 0;
    const struct extra *extra = find_extra(trust, host);
    const STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);
    const X509 *leaf = SSL_get0_peer_certificate(ssl);
    if (!leaf || !chain || sk_X509_num(chain) < 1 || SSL_get_verify_result(ssl) != X509_V_OK ||
        !SSL_get0_peername(ssl))
        return tc_fail(err, TC_PEER, "%s did not prove who it is", host);
    char why[DENIED_SIZE];
    if (say_denied_of(trust->denied, chain, why, sizeof why))
        return tc_fail(err, TC_PEER, "its certificate was not accepted: %s", why);
    const X509 *anchor = sk_X509_value(chain, sk_X509_num(chain) - 1);
    SSL_get0_alpn_selected(ssl, &alpn, &alpn_size);
    if (alpn && (alpn_size != 8 || memcmp(alpn, "http/1.1", 8) != 0))
        return tc_fail(err, TC_PEER, "%s chose another protocol than HTTP/1.1", host);
    if (!digest_of(leaf, &proof.certificate) || !digest_of(anchor, &proof.anchor))
        return no_memory(err);
    if (extra && holds(extra->anchors, anchor) && !holds(trust->bundle, anchor))
        proof.ca = extra->path;
    (void)snprintf(proof.tls, sizeof proof.tls, "%s", SSL_get_version(ssl));
    *ret_proof = proof;
    return TC_OK;
}

/* What to do about a certificate or an answer that was not accepted. */
static const char *hint_for(long verified, unsigned long code)
{
    switch (verified) {
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        return ": expected a chain to an authority of the toolchain's, or to one that network.ca "
               "of build.json names for this host";
    case X509_V_ERR_HOSTNAME_MISMATCH: return ": it is for other names than this host's";
    case X509_V_OK: break;
    default: return "";
    }
    return ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_WRONG_VERSION_NUMBER
               ? ": what came is not TLS"
               : "";
}

/* A failed verification says more than the alert that follows from it. */
const char *tc_rec_tls_reason(SSL *ssl, char *out, size_t size)
{
    long verified = SSL_get_verify_result(ssl);
    unsigned long code = ERR_peek_error();
    const char *text = code ? ERR_reason_error_string(code) : NULL;
    const struct tc_rec_trust *trust = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    char why[DENIED_SIZE];
    if (verified == X509_V_ERR_CERT_REVOKED && trust &&
        say_denied_of(trust->denied, SSL_get0_verified_chain(ssl), why, sizeof why))
        (void)snprintf(out, size, "its certificate was not accepted: %s", why);
    else if (verified != X509_V_OK)
        (void)snprintf(out, size, "its certificate was not accepted: %s%s",
                       X509_verify_cert_error_string(verified), hint_for(verified, code));
    else
        (void)snprintf(out, size, "%s%s", text ? text : "the connection ended",
                       hint_for(verified, code));
    ERR_clear_error();
    return out;
}
