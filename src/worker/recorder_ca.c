/* The CA of one build, whose key is made here, stays here, and dies with the process; and
 * the server's side of TLS under it. Leaf certificates are made when a name is first asked
 * for, all for one key: whoever could steal it could steal the CA's as well. Kept up to a
 * cap, after which they are made anew each time. */
#include "worker/recorder_internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/x509v3.h>

#include "base/cleanup.h"

enum {
    X509_V3 = 2,
    SERIAL_BITS = 127,
    DAY = 24 * 60 * 60,
    LEAFS_MAX = 4096,
    COMMON_NAME_MAX = 64, /* RFC 5280, ub-common-name */
    P12_ROUNDS = 10000,
    TEXT_MAX = 16384,
};
#define CA_NAME "tee-compile: the network of this build"
#define P12_PASSWORD "changeit" /* Java's custom: it protects nothing */
/* Java's mark of a trusted certificate. */
#define TRUSTED_KEY_USAGE "2.16.840.1.113894.746875.1.1"

struct leaf {
    char *name;
    X509 *certificate;
};

struct tc_rec_ca {
    EVP_PKEY *key, *leaf_key;
    X509 *certificate;
    SSL_CTX *server;
    struct tc_buf pem, p12;
    pthread_mutex_t lock;
    struct leaf *leafs; /* sorted by name; the lock guards them */
    size_t count;
};

static void free_x509(X509 **certificate)
{
    X509_free(*certificate);
}

static tc_status no_crypto(struct tc_error *err, const char *what)
{
    ERR_clear_error();
    return tc_fail(err, TC_SYSTEM, "the cryptographic library could not make %s", what);
}

/* --- certificates --- */

static bool set_serial(X509 *certificate)
{
    BIGNUM *number = BN_new();
    bool good = number && BN_rand(number, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
                BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;
    BN_free(number);
    return good;
}

static bool set_name(X509_NAME *name, const char *text)
{
    return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)text, -1,
                                      -1, 0) == 1;
}

static bool add_extension(X509 *certificate, X509 *issuer, int kind, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509V3_set_ctx_nodb(&context);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, kind, value);
    bool good = extension && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return good;
}

static bool set_common(X509 *certificate, EVP_PKEY *key, const char *name)
{
    time_t now = time(NULL);
    return X509_set_version(certificate, X509_V3) == 1 && set_serial(certificate) &&
           set_name(X509_get_subject_name(certificate), name) &&
           ASN1_TIME_set(X509_getm_notBefore(certificate), now - DAY) &&
           ASN1_TIME_set(X509_getm_notAfter(certificate), now + (time_t)30 * DAY) &&
           X509_set_pubkey(certificate, key) == 1;
}

/* Those who check strictly want the key identifiers too. */
static X509 *make_root(EVP_PKEY *key)
{
    X509 *certificate TC_CLEANUP(free_x509) = X509_new();
    if (!certificate || !set_common(certificate, key, CA_NAME) ||
        X509_set_issuer_name(certificate, X509_get_subject_name(certificate)) != 1 ||
        !add_extension(certificate, certificate, NID_basic_constraints,
                       "critical,CA:TRUE,pathlen:0") ||
        !add_extension(certificate, certificate, NID_key_usage, "critical,keyCertSign,cRLSign") ||
        !add_extension(certificate, certificate, NID_subject_key_identifier, "hash") ||
        X509_sign(certificate, key, EVP_sha256()) <= 0)
        return NULL;
    return TC_TAKE(certificate);
}

static X509 *make_leaf(const struct tc_rec_ca *ca, const char *name)
{
    char alternative[TC_HOST_NAME_MAX + 8] = "DNS:";
    const char *common = strlen(name) <= COMMON_NAME_MAX ? name : "see subjectAltName";
    X509 *certificate TC_CLEANUP(free_x509) = X509_new();
    /* A name is letters, digits, '-', '_' and '.': nothing that the text form could read
     * otherwise. */
    if (!tc_host_name_is_good(tc_span_of_text(name))) return NULL;
    memcpy(alternative + 4, name, strlen(name) + 1);
    if (!certificate || !set_common(certificate, ca->leaf_key, common) ||
        X509_set_issuer_name(certificate, X509_get_subject_name(ca->certificate)) != 1 ||
        !add_extension(certificate, ca->certificate, NID_basic_constraints, "critical,CA:FALSE") ||
        !add_extension(certificate, ca->certificate, NID_key_usage, "critical,digitalSignature") ||
        !add_extension(certificate, ca->certificate, NID_ext_key_usage, "serverAuth") ||
        !add_extension(certificate, ca->certificate, NID_subject_alt_name, alternative) ||
        !add_extension(certificate, ca->certificate, NID_subject_key_identifier, "hash") ||
        !add_extension(certificate, ca->certificate, NID_authority_key_identifier, "keyid") ||
        X509_sign(certificate, ca->key, EVP_sha256()) <= 0)
        return NULL;
    return TC_TAKE(certificate);
}

/* --- as files --- */

static bool take_memory(BIO *bio, struct tc_buf *buf)
{
    char *data = NULL;
    long size = BIO_get_mem_data(bio, &data);
    if (size <= 0) return false;
    tc_buf_add(buf, data, (size_t)size);
    return tc_buf_ok(buf);
}

static bool write_pem(X509 *certificate, struct tc_buf *buf)
{
    BIO *bio = BIO_new(BIO_s_mem());
    bool good = bio && PEM_write_bio_X509(bio, certificate) == 1 && take_memory(bio, buf);
    BIO_free(bio);
    return good;
}

static bool add_bag(STACK_OF(PKCS7) * *safes, X509 *certificate)
{
    STACK_OF(PKCS12_SAFEBAG) *bags = NULL;
    ASN1_OBJECT *any = OBJ_nid2obj(NID_anyExtendedKeyUsage);
    PKCS12_SAFEBAG *bag = PKCS12_add_cert(&bags, certificate);
    bool good = bag && PKCS12_add_friendlyname_utf8(bag, "tee-compile", -1) == 1 &&
                PKCS12_add1_attr_by_txt(bag, TRUSTED_KEY_USAGE, V_ASN1_OBJECT,
                                        (const unsigned char *)any, -1) == 1 &&
                PKCS12_add_safe(safes, bags, -1, 0, NULL) == 1;
    sk_PKCS12_SAFEBAG_pop_free(bags, PKCS12_SAFEBAG_free);
    return good;
}

static bool write_p12(X509 *certificate, struct tc_buf *buf)
{
    STACK_OF(PKCS7) *safes = NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    PKCS12 *store = add_bag(&safes, certificate) ? PKCS12_add_safes(safes, 0) : NULL;
    bool good = bio && store &&
                PKCS12_set_mac(store, P12_PASSWORD, -1, NULL, 0, P12_ROUNDS, EVP_sha256()) == 1 &&
                i2d_PKCS12_bio(bio, store) == 1 && take_memory(bio, buf);
    PKCS12_free(store);
    sk_PKCS7_pop_free(safes, PKCS7_free);
    BIO_free(bio);
    return good;
}

/* --- the server's side --- */

/* Only what the connection goes to: the name stands for it in the record. */
static int check_sni(SSL *ssl, int *alert, void *context)
{
    (void)context;
    struct tc_rec_said *said = SSL_get_app_data(ssl);
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    if (!name || strcasecmp(name, said->name) == 0) return SSL_TLSEXT_ERR_OK;
    size_t size = strnlen(name, sizeof said->other - 1);
    memcpy(said->other, name, size);
    said->other[size] = '\0';
    *alert = SSL_AD_UNRECOGNIZED_NAME;
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_size,
                       const unsigned char *in, unsigned int in_size, void *context)
{
    static const unsigned char ours[] = "\x08http/1.1";
    unsigned char *chosen = NULL;
    (void)ssl;
    (void)context;
    if (SSL_select_next_proto(&chosen, out_size, ours, sizeof ours - 1, in, in_size) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *make_server(void)
{
    SSL_CTX *server = SSL_CTX_new(TLS_server_method());
    if (!server || SSL_CTX_set_min_proto_version(server, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_num_tickets(server, 0) != 1) {
        SSL_CTX_free(server);
        return NULL;
    }
    (void)SSL_CTX_set_options(server, TC_REC_TLS_OPTIONS);
    (void)SSL_CTX_set_mode(server,
                           SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    (void)SSL_CTX_set_session_cache_mode(server, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_tlsext_servername_callback(server, check_sni);
    SSL_CTX_set_alpn_select_cb(server, choose_alpn, NULL);
    return server;
}

tc_status tc_rec_ca_new(struct tc_rec_ca **ret_ca, struct tc_error *err)
{
    struct tc_rec_ca *ca = calloc(1, sizeof *ca);
    if (!ca) return tc_fail(err, TC_SYSTEM, "out of memory for the build's CA");
    (void)pthread_mutex_init(&ca->lock, NULL);
    ca->pem = tc_buf_new(TEXT_MAX);
    ca->p12 = tc_buf_new(TEXT_MAX);
    ca->key = EVP_EC_gen("P-256");
    ca->leaf_key = EVP_EC_gen("P-256");
    ca->certificate = ca->key ? make_root(ca->key) : NULL;
    ca->server = make_server();
    if (!ca->leaf_key || !ca->certificate || !ca->server || !write_pem(ca->certificate, &ca->pem) ||
        !write_p12(ca->certificate, &ca->p12)) {
        tc_rec_ca_free(ca);
        return no_crypto(err, "the CA of the build's network");
    }
    *ret_ca = ca;
    return TC_OK;
}

void tc_rec_ca_free(struct tc_rec_ca *ca)
{
    if (!ca) return;
    for (size_t i = 0; i < ca->count; i++) {
        free(ca->leafs[i].name);
        X509_free(ca->leafs[i].certificate);
    }
    free(ca->leafs);
    SSL_CTX_free(ca->server);
    X509_free(ca->certificate);
    EVP_PKEY_free(ca->key);
    EVP_PKEY_free(ca->leaf_key);
    tc_buf_free(&ca->pem);
    tc_buf_free(&ca->p12);
    (void)pthread_mutex_destroy(&ca->lock);
    free(ca);
}

struct tc_span tc_rec_ca_pem(const struct tc_rec_ca *ca)
{
    return tc_buf_span(&ca->pem);
}

struct tc_span tc_rec_ca_p12(const struct tc_rec_ca *ca)
{
    return tc_buf_span(&ca->p12);
}

/* Where name is among the leafs, or would be. */
static size_t find_place(const struct tc_rec_ca *ca, const char *name)
{
    size_t from = 0, until = ca->count;
    while (from < until) {
        size_t middle = from + (until - from) / 2;
        if (strcmp(ca->leafs[middle].name, name) < 0)
            from = middle + 1;
        else
            until = middle;
    }
    return from;
}

static X509 *find_leaf(const struct tc_rec_ca *ca, const char *name)
{
    size_t place = find_place(ca, name);
    if (place == ca->count || strcmp(ca->leafs[place].name, name) != 0) return NULL;
    X509 *found = ca->leafs[place].certificate;
    return X509_up_ref(found) == 1 ? found : NULL;
}

/* A certificate that cannot be kept is of use all the same. */
static void keep_leaf(struct tc_rec_ca *ca, const char *name, X509 *certificate)
{
    size_t place = find_place(ca, name);
    if (ca->count == LEAFS_MAX) return;
    if (place < ca->count && strcmp(ca->leafs[place].name, name) == 0) return; /* another thread */
    if (!ca->leafs) ca->leafs = calloc(LEAFS_MAX, sizeof *ca->leafs);
    char *copy = ca->leafs ? strdup(name) : NULL;
    if (!copy || X509_up_ref(certificate) != 1) {
        free(copy);
        return;
    }
    memmove(ca->leafs + place + 1, ca->leafs + place, (ca->count - place) * sizeof *ca->leafs);
    ca->leafs[place] = (struct leaf){copy, certificate};
    ca->count++;
}

/* Made outside of the lock: signing takes longer than everything else here. */
static X509 *get_leaf(struct tc_rec_ca *ca, const char *name)
{
    (void)pthread_mutex_lock(&ca->lock);
    X509 *certificate = find_leaf(ca, name);
    (void)pthread_mutex_unlock(&ca->lock);
    if (certificate) return certificate;
    certificate = make_leaf(ca, name);
    if (!certificate) return NULL;
    (void)pthread_mutex_lock(&ca->lock);
    keep_leaf(ca, name, certificate);
    (void)pthread_mutex_unlock(&ca->lock);
    return certificate;
}

tc_status tc_rec_ca_server(struct tc_rec_ca *ca, struct tc_rec_said *said, SSL **ret_ssl,
                           struct tc_error *err)
{
    X509 *certificate TC_CLEANUP(free_x509) = get_leaf(ca, said->name);
    SSL *ssl = certificate ? SSL_new(ca->server) : NULL;
    if (!ssl || SSL_use_certificate(ssl, certificate) != 1 ||
        SSL_use_PrivateKey(ssl, ca->leaf_key) != 1 || SSL_set_app_data(ssl, said) != 1) {
        SSL_free(ssl);
        return no_crypto(err, "a server's certificate for the build");
    }
    *ret_ssl = ssl;
    return TC_OK;
}
