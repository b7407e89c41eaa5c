/* One transfer, hop by hop.
 *
 * libcurl fetches http and https, one hop a call; redirects are followed here,
 * because which hop may lead where (never from https to http, never to a file) is
 * a question of the hop before, which libcurl does not ask. What a hop that is no
 * 200 sends is thrown away. A file: URL is opened here: it must be a regular file,
 * so that no FIFO waits and no folder is listed.
 *
 * Everything goes through take(): bound first, then the descriptor, then the digest.
 * Redirected requests carry no credentials: they stand in the URL that was given,
 * and the next hop has another one. */
#include "host/fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <curl/curl.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "os/files.h"

enum {
    HOPS_MAX = 5,
    CONNECT_SECONDS = 30,
    STALL_SECONDS = 60, /* with less than STALL_BYTES a second */
    STALL_BYTES = 100,
    SHOWN_SIZE = 384,
    FILE_CHUNK = 1 << 16,
};

struct transfer {
    const struct tc_fetch *fetch;
    int fd;
    CURL *curl; /* NULL for a file */
    struct tc_hash *hash;
    uint64_t done, total;
    char shown[SHOWN_SIZE]; /* the URL given, for messages */
    char curl_text[CURL_ERROR_SIZE];
    bool is_chunked; /* as the answer's head says */
    struct tc_error *err;
    tc_status failed; /* what a callback came to, and err says */
};

static void curl_free_handle(CURL **curl)
{
    if (*curl) curl_easy_cleanup(*curl);
}

static void url_free(CURLU **url)
{
    curl_url_cleanup(*url);
}

static void curl_free_text(char **text)
{
    curl_free(*text);
}

/* The URL without what stands before an "@" in its host's part: that may be a
 * password. */
static void show_url(const char *url, char shown[SHOWN_SIZE])
{
    const char *host = strstr(url, "://");
    host = host ? host + 3 : url;
    size_t authority = strcspn(host, "/?#"), skip = 0;
    for (size_t i = 0; i < authority; i++)
        if (host[i] == '@') skip = i + 1;
    char *text;
    if (asprintf(&text, "%.*s%s", (int)(host - url), url, host + skip) < 0) text = NULL;
    (void)tc_printable(tc_span_of_text(text ? text : "?"), shown, SHOWN_SIZE);
    free(text);
}

static tc_status too_large(const struct transfer *t)
{
    char limit[16];
    return tc_fail(t->err, TC_LIMIT, "%s is larger than the %s that are expected at most", t->shown,
                   tc_human_size(t->fetch->max_size, limit));
}

static tc_status take(struct transfer *t, struct tc_span bytes)
{
    if (bytes.size > t->fetch->max_size - t->done) return too_large(t);
    TC_TRY(tc_write_all(t->fd, bytes, "what is fetched", t->err));
    tc_hash_add(t->hash, bytes.data, bytes.size);
    t->done += bytes.size;
    return TC_OK;
}

static tc_status tell(const struct transfer *t)
{
    if (!t->fetch->on_progress) return TC_OK;
    return t->fetch->on_progress(t->fetch->context, t->done, t->total, t->err);
}

/* --- http and https */

static long code_of(CURL *curl)
{
    long code = 0;
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
    return code;
}

static size_t on_body(char *data, size_t one, size_t size, void *context)
{
    struct transfer *t = context;
    (void)one; /* always 1 */
    if (code_of(t->curl) != 200) return size;
    t->failed = take(t, (struct tc_span){(const uint8_t *)data, size});
    return t->failed == TC_OK ? size : 0;
}

static bool begins(const char *text, const char *with)
{
    return strncasecmp(text, with, strlen(with)) == 0;
}

/* One line of a head, without a NUL at its end. Heads of 100 and 200 follow one
 * another: each begins anew. */
static size_t on_head(char *data, size_t one, size_t size, void *context)
{
    static const char encoding[] = "transfer-encoding:";
    struct transfer *t = context;
    (void)one;
    if (size > 5 && begins(data, "HTTP/")) t->is_chunked = false;
    if (size > sizeof encoding && strncasecmp(data, encoding, sizeof encoding - 1) == 0)
        t->is_chunked = true;
    return size;
}

/* Without a length, the end of the connection is the end of the body, and that may be
 * anybody's doing between here and there: TLS's own mark of the end is not asked for
 * by the library. From HTTP 2 on, the framing says it. */
static tc_status check_end(const struct transfer *t)
{
    curl_off_t length = -1;
    long version = 0;
    (void)curl_easy_getinfo(t->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    (void)curl_easy_getinfo(t->curl, CURLINFO_HTTP_VERSION, &version);
    if (length >= 0 || t->is_chunked || version >= CURL_HTTP_VERSION_2_0) return TC_OK;
    return tc_fail(t->err, TC_PEER,
                   "%s: the server does not say how long its answer is, so nobody can tell a whole "
                   "one from a part",
                   t->shown);
}

static int on_progress(void *context, curl_off_t total, curl_off_t now, curl_off_t up_total,
                       curl_off_t up_now)
{
    struct transfer *t = context;
    (void)now;
    (void)up_total;
    (void)up_now;
    if (t->failed != TC_OK) return 1;
    /* Told before there is an answer too: it is when a server stalls that people
     * give up. What another answer than 200 announces is no file's size. */
    t->total = total > 0 && code_of(t->curl) == 200 ? (uint64_t)total : 0;
    t->failed = tell(t);
    return t->failed == TC_OK ? 0 : 1;
}

static tc_status failed_hop(const struct transfer *t, CURLcode code)
{
    const char *why = t->curl_text[0] ? t->curl_text : curl_easy_strerror(code);
    char shown[SHOWN_SIZE];
    (void)tc_printable(tc_span_of_text(why), shown, sizeof shown);
    switch ((int)code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
        return tc_fail(t->err, TC_UNAVAILABLE, "cannot reach the server of %s: %s", t->shown,
                       shown);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        return tc_fail(t->err, TC_REFUSED,
                       "%s: the server's certificate is not one that this machine trusts: %s",
                       t->shown, shown);
    case CURLE_OUT_OF_MEMORY:
    case CURLE_FAILED_INIT:
        return tc_fail(t->err, TC_SYSTEM, "cannot fetch %s: %s", t->shown, shown);
    case CURLE_FILESIZE_EXCEEDED: return too_large(t);
    default: return tc_fail(t->err, TC_PEER, "fetching %s broke off: %s", t->shown, shown);
    }
}

static bool set_options(struct transfer *t, const char *url)
{
    CURL *curl = t->curl;
    bool good = true;
#define SET(option, value) good = curl_easy_setopt(curl, (option), (value)) == CURLE_OK && good
    SET(CURLOPT_URL, url);
#if LIBCURL_VERSION_NUM >= 0x075500
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
#else
    SET(CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
    SET(CURLOPT_LOW_SPEED_TIME, (long)STALL_SECONDS);
    SET(CURLOPT_LOW_SPEED_LIMIT, (long)STALL_BYTES);
    SET(CURLOPT_USERAGENT, "tee-compile");
    SET(CURLOPT_ERRORBUFFER, t->curl_text);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, t);
    SET(CURLOPT_HEADERFUNCTION, on_head);
    SET(CURLOPT_HEADERDATA, t);
    SET(CURLOPT_XFERINFOFUNCTION, on_progress);
    SET(CURLOPT_XFERINFODATA, t);
    SET(CURLOPT_NOPROGRESS, 0L);
    /* As OpenSSL's own programs; the library's default where it is not set. */
    const char *authorities = getenv("SSL_CERT_FILE");
    if (authorities && *authorities) SET(CURLOPT_CAINFO, authorities);
#undef SET
    return good;
}

/* May a hop go there? previous is NULL for the first. */
static tc_status check_hop(const struct transfer *t, const char *url, const char *previous)
{
    char shown[SHOWN_SIZE];
    if (begins(url, "https://")) return TC_OK;
    show_url(url, shown);
    if (!begins(url, "http://")) {
        if (previous)
            return tc_fail(t->err, TC_REFUSED, "%s leads to %s: only http and https are followed",
                           t->shown, shown);
        return tc_fail(t->err, TC_USAGE, "%s is no URL of https:%s or file:", t->shown,
                       t->fetch->allow_http ? ", http:" : "");
    }
    if (previous && begins(previous, "https://"))
        return tc_fail(t->err, TC_REFUSED, "%s leads from https to %s, which nobody vouches for",
                       t->shown, shown);
    if (!t->fetch->allow_http)
        return tc_fail(t->err, TC_USAGE,
                       "%s: http is taken only for bytes whose digest is known: give https",
                       t->shown);
    return TC_OK;
}

/* One request. *ret_next is owned: where it leads; NULL: it is done. */
static tc_status one_hop(struct transfer *t, const char *url, char **ret_next)
{
    t->curl_text[0] = '\0';
    if (!set_options(t, url))
        return tc_fail(t->err, TC_SYSTEM, "cannot prepare to fetch %s", t->shown);
    CURLcode result = curl_easy_perform(t->curl);
    if (t->failed != TC_OK) return t->failed;
    if (result != CURLE_OK) return failed_hop(t, result);
    long code = code_of(t->curl);
    if (code == 200) return check_end(t);
    char *next = NULL;
    (void)curl_easy_getinfo(t->curl, CURLINFO_REDIRECT_URL, &next);
    if (code < 300 || code > 399 || !next)
        return tc_fail(t->err, TC_UNAVAILABLE, "%s: the server answers %ld%s", t->shown, code,
                       code == 404 || code == 410 ? ", not there" : " instead of 200");
    *ret_next = strdup(next);
    return *ret_next ? TC_OK : tc_fail(t->err, TC_SYSTEM, "out of memory");
}

static tc_status fetch_web(struct transfer *t)
{
    CURL *curl TC_CLEANUP(curl_free_handle) = curl_easy_init();
    if (!curl) return tc_fail(t->err, TC_SYSTEM, "the library for transfers does not start");
    t->curl = curl;
    TC_AUTO_FREE char *here = strdup(t->fetch->url);
    if (!here) return tc_fail(t->err, TC_SYSTEM, "out of memory");
    TC_TRY(check_hop(t, here, NULL));
    for (int hop = 0; hop <= HOPS_MAX; hop++) {
        char *next = NULL;
        TC_TRY(one_hop(t, here, &next));
        if (!next) return TC_OK;
        tc_status status = check_hop(t, next, here);
        free(here);
        here = next;
        TC_TRY(status);
    }
    return tc_fail(t->err, TC_REFUSED, "%s leads from one place to the next, more than %d times",
                   t->shown, HOPS_MAX);
}

/* --- file */

static tc_status path_of(const struct transfer *t, char **ret_path)
{
    CURLU *url TC_CLEANUP(url_free) = curl_url();
    char *path TC_CLEANUP(curl_free_text) = NULL;
    if (!url) return tc_fail(t->err, TC_SYSTEM, "out of memory");
    /* The library takes no host but localhost. */
    if (curl_url_set(url, CURLUPART_URL, t->fetch->url, 0) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_PATH, &path, CURLU_URLDECODE) != CURLUE_OK || path[0] != '/')
        return tc_fail(t->err, TC_USAGE, "%s names no file: expected file:///PATH", t->shown);
    *ret_path = strdup(path);
    return *ret_path ? TC_OK : tc_fail(t->err, TC_SYSTEM, "out of memory");
}

static tc_status fetch_file(struct transfer *t)
{
    TC_AUTO_FREE char *path = NULL;
    TC_TRY(path_of(t, &path));
    /* O_NONBLOCK: a FIFO is refused below, not waited for. */
    TC_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) return tc_fail_errno(t->err, TC_UNAVAILABLE, errno, "cannot open %s", t->shown);
    struct stat info;
    if (fstat(fd, &info) != 0) return tc_fail_errno(t->err, TC_SYSTEM, errno, "%s", t->shown);
    if (!S_ISREG(info.st_mode))
        return tc_fail(t->err, TC_UNAVAILABLE, "%s is no regular file", t->shown);
    t->total = (uint64_t)info.st_size;
    uint8_t chunk[FILE_CHUNK];
    for (;;) {
        ssize_t size = read(fd, chunk, sizeof chunk);
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) return tc_fail_errno(t->err, TC_SYSTEM, errno, "cannot read %s", t->shown);
        if (size == 0) return TC_OK;
        TC_TRY(take(t, (struct tc_span){chunk, (size_t)size}));
        TC_TRY(tell(t));
    }
}

static tc_status check_digest(const struct transfer *t, const struct tc_sha256 *seen)
{
    const struct tc_sha256 *expected = t->fetch->expected;
    char expected_hex[TC_SHA256_HEX], seen_hex[TC_SHA256_HEX];
    if (!expected || memcmp(expected->bytes, seen->bytes, sizeof seen->bytes) == 0) return TC_OK;
    tc_hex((struct tc_span){expected->bytes, sizeof expected->bytes}, expected_hex);
    tc_hex((struct tc_span){seen->bytes, sizeof seen->bytes}, seen_hex);
    return tc_fail(t->err, TC_REFUSED, "%s is another file: expected sha256 %s, seen %s", t->shown,
                   expected_hex, seen_hex);
}

tc_status tc_fetch_to(const struct tc_fetch *fetch, int fd, struct tc_sha256 *ret_digest,
                      uint64_t *ret_size, struct tc_error *err)
{
    TC_AUTO_HASH struct tc_hash *hash = tc_hash_new(TC_HASH_SHA256);
    if (!hash) return tc_fail(err, TC_SYSTEM, "out of memory");
    struct transfer t = {.fetch = fetch, .fd = fd, .hash = hash, .err = err};
    struct tc_sha256 digest;
    show_url(fetch->url, t.shown);
    TC_TRY(begins(fetch->url, "file:") ? fetch_file(&t) : fetch_web(&t));
    TC_TRY(tc_hash_finish(hash, digest.bytes, sizeof digest.bytes, err));
    TC_TRY(check_digest(&t, &digest));
    if (ret_digest) *ret_digest = digest;
    if (ret_size) *ret_size = t.done;
    return TC_OK;
}
