#include "core/purl.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

#define BEGIN "pkg:deb/debian/"
#define ARCH "?arch="
#define PLUS "%2B"

static void add_encoded(struct tc_buf *buf, const char *word)
{
    for (; *word; word++) {
        if (*word == '+')
            tc_buf_add_text(buf, PLUS);
        else
            tc_buf_add_u8(buf, (uint8_t)*word);
    }
}

void tc_purl_write(const struct tc_image_package *package, struct tc_buf *buf)
{
    tc_buf_add_text(buf, BEGIN);
    add_encoded(buf, package->name);
    tc_buf_add_u8(buf, '@');
    add_encoded(buf, package->version);
    tc_buf_add_text(buf, ARCH);
    add_encoded(buf, package->architecture);
}

/* What stands before `end` in *text, or all of it without one, decoded and owned;
 * *text moves behind the end. NULL: there is none, or no memory. */
static char *take_word(const char **text, const char *end)
{
    const char *stop = end ? strstr(*text, end) : *text + strlen(*text);
    TC_AUTO_BUF struct tc_buf word = tc_buf_new(TC_IMAGE_WORD_MAX);
    if (!stop) return NULL;
    for (const char *at = *text; at < stop;) {
        bool plus = strncmp(at, PLUS, sizeof PLUS - 1) == 0;
        tc_buf_add_u8(&word, plus ? '+' : (uint8_t)*at);
        at += plus ? sizeof PLUS - 1 : 1;
    }
    *text = end ? stop + strlen(end) : stop;
    return tc_buf_take_text(&word);
}

static bool read_words(const char *text, struct tc_image_package *package)
{
    if (strncmp(text, BEGIN, sizeof BEGIN - 1) != 0) return false;
    text += sizeof BEGIN - 1;
    return (package->name = take_word(&text, "@")) && (package->version = take_word(&text, ARCH)) &&
           (package->architecture = take_word(&text, NULL)) &&
           tc_image_packages_are_good(package, 1);
}

tc_status tc_purl_read(const char *text, struct tc_image_package *ret_package, struct tc_error *err)
{
    struct tc_image_package package = {.digest = ret_package->digest};
    TC_AUTO_BUF struct tc_buf again = tc_buf_new(TC_PURL_MAX);
    bool good = read_words(text, &package);
    if (good) {
        tc_purl_write(&package, &again);
        good = tc_buf_ok(&again) && tc_span_equal(tc_buf_span(&again), tc_span_of_text(text));
    }
    if (good) {
        *ret_package = package;
        return TC_OK;
    }
    char shown[128];
    tc_image_package_done(&package);
    return tc_fail(err, TC_MALFORMED,
                   "expected a Debian package as " BEGIN "NAME@VERSION" ARCH "ARCHITECTURE, found "
                   "'%s'",
                   tc_printable(tc_span_of_text(text), shown, sizeof shown));
}
