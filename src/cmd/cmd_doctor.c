/* tee-compile doctor: what this machine can run, and the command that mends what it
 * cannot. Starts no worker. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cmd/backends.h"
#include "cmd/commands.h"
#include "cmd/image_choice.h"
#include "cmd/print.h"
#include "host/imagestore.h"

static const char usage[] =
    "usage: tee-compile doctor [--backend local|qemu|nitro] [--json]\n"
    "\n"
    "Says for each back end of `build` whether it can start a worker here, for a build with\n"
    "the default limits, why not and what mends that, which of them --backend auto takes, and\n"
    "for each image whether it is here and its files are complete.\n"
    "\n"
    "  --backend NAME   asks for this one alone\n"
    "  --json           the findings on stdout as one object\n"
    "\n"
    "Exit status: 0 a back end can be used, or the one that was asked for; 1 none, or not\n"
    "that one; 2 it could not be told.\n";

enum { BACKENDS_MAX = 8 };

struct request {
    const struct tc_backend *only; /* NULL: of all */
    bool json, help;
};

struct findings {
    const struct tc_backend *only;        /* as it was asked for */
    struct tc_probe probes[BACKENDS_MAX]; /* of tc_backends */
    bool usable;                          /* any */
    const struct tc_backend *best;        /* what auto takes for an image; NULL: none */
    bool host;                            /* can --image host be built? */
    const struct tc_probe *qemu;          /* its probe */
    struct tc_stored_list images;
    struct tc_error unknown; /* why not known which are here; status TC_OK: it is */
};

static tc_status parse(int argc, char **argv, struct request *request, struct tc_error *err)
{
    enum { BACKEND = 1, JSON, HELP };
    static const struct option options[] = {{"backend", required_argument, NULL, BACKEND},
                                            {"json", no_argument, NULL, JSON},
                                            {"help", no_argument, NULL, HELP},
                                            {NULL, 0, NULL, 0}};
    int option;
    opterr = 0;
    optind = 0; /* GNU: start anew, whatever main has parsed before */
    while ((option = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        switch (option) {
        case BACKEND: TC_TRY(tc_backend_find(optarg, &request->only, err)); break;
        case JSON: request->json = true; break;
        case HELP: request->help = true; break;
        case ':': return tc_fail(err, TC_USAGE, "%s wants a value", argv[optind - 1]);
        default: return tc_fail(err, TC_USAGE, "%s is unknown or ambiguous", argv[optind - 1]);
        }
    }
    if (optind < argc) return tc_fail(err, TC_USAGE, "unexpected argument %s", argv[optind]);
    return TC_OK;
}

static tc_status list_images(struct findings *findings, struct tc_error *err)
{
    TC_AUTO_FREE char *folder = NULL;
    TC_AUTO_IMAGESTORE struct tc_imagestore *store = NULL;
    if (tc_imagestore_folder(&folder, err) != TC_OK)
        return tc_wrap(err, "the images lie beside the development root");
    TC_TRY(tc_imagestore_open(folder, &store, err));
    return tc_imagestore_list(store, &findings->images, err);
}

static bool is_asked(const struct findings *findings, const struct tc_backend *backend)
{
    return !findings->only || findings->only == backend;
}

static tc_status find_out(struct findings *findings, struct tc_error *err)
{
    const struct tc_need need = tc_backend_usual_need();
    struct tc_backend_choice best = {0};
    struct tc_error none = {0};
    for (size_t i = 0; i < BACKENDS_MAX && tc_backends[i]; i++) {
        struct tc_probe *probe = &findings->probes[i];
        if (!is_asked(findings, tc_backends[i])) continue;
        tc_backends[i]->probe(&need, probe);
        findings->usable = findings->usable || probe->usable;
        if (tc_backends[i] == &tc_backend_local) findings->host = probe->usable;
        if (tc_backends[i] == &tc_backend_qemu) findings->qemu = probe;
    }
    if (findings->only) return TC_OK;
    tc_status chosen = tc_backend_choose("auto", &need, &best, &none);
    if (chosen != TC_OK && chosen != TC_UNAVAILABLE) {
        *err = none;
        return chosen;
    }
    findings->best = best.backend;
    /* What is known of the back ends is said without a place for images, too. */
    if (list_images(findings, &findings->unknown) != TC_OK) return TC_OK;
    findings->unknown = (struct tc_error){0};
    return TC_OK;
}

static bool is_here(const struct findings *findings, const char *name)
{
    for (size_t i = 0; i < findings->images.count; i++)
        if (findings->images.images[i].good && strcmp(findings->images.images[i].name, name) == 0)
            return true;
    return false;
}

/* --- text --- */

static void show_backends(const struct findings *findings)
{
    char shown[2 * TC_ERROR_MAX];
    for (size_t i = 0; i < BACKENDS_MAX && tc_backends[i]; i++) {
        const struct tc_probe *probe = &findings->probes[i];
        if (!is_asked(findings, tc_backends[i])) continue;
        (void)printf("%-6s %-3s  %s\n", tc_backends[i]->name, probe->usable ? "yes" : "no",
                     tc_printable_again(tc_span_of_text(probe->why), shown, sizeof shown));
        if (!tc_probe_takes_images(probe))
            (void)printf("             mend it: %s\n",
                         tc_printable_again(tc_span_of_text(probe->fix), shown, sizeof shown));
        else if (*probe->faster)
            (void)printf("             faster: %s\n",
                         tc_printable_again(tc_span_of_text(probe->faster), shown, sizeof shown));
    }
    if (findings->only) return;
    bool qemu = !findings->best && tc_probe_takes_images(findings->qemu);
    if (!findings->best && !findings->host)
        (void)printf("auto   none: it takes nitro or local, and neither can be used here%s\n",
                     qemu ? "; --backend qemu runs images" : "");
    else
        (void)printf("auto   %s for an image%s, %s for --image host\n",
                     findings->best ? findings->best->name : "none",
                     qemu ? " (--backend qemu runs them)" : "",
                     findings->host ? tc_backend_local.name : "none");
}

static void show_images(const struct findings *findings)
{
    char hex[TC_SHA384_HEX], shown[2 * TC_ERROR_MAX];
    if (findings->unknown.status != TC_OK) {
        (void)printf(
            "image  unknown which are here: %s\n",
            tc_printable_again(tc_span_of_text(findings->unknown.message), shown, sizeof shown));
        return;
    }
    for (size_t i = 0; i < findings->images.count; i++) {
        const struct tc_stored_image *image = &findings->images.images[i];
        tc_hex((struct tc_span){image->pcr0.bytes, sizeof image->pcr0.bytes}, hex);
        if (image->good)
            (void)printf("image  %s, here, PCR0 %s\n", image->name, hex);
        else
            (void)printf("image  DAMAGED, PCR0 %s\n             because %s\n", hex,
                         tc_printable_again(tc_span_of_text(image->problem), shown, sizeof shown));
    }
    size_t missing = 0;
    for (size_t i = 0; tc_image_recipes[i]; i++) {
        if (is_here(findings, tc_image_recipes[i])) continue;
        (void)printf("image  %s, not here\n", tc_image_recipes[i]);
        missing++;
    }
    if (missing > 0)
        (void)printf("             make it: tee-compile image build images/NAME -o NAME.eif; "
                     "or fetch it: tee-compile image pull URL\n");
}

/* --- JSON --- */

static void write_probe(struct tc_jsonw *w, const struct tc_backend *backend,
                        const struct tc_probe *probe)
{
    char shown[2 * TC_ERROR_MAX];
    tc_jsonw_object(w, NULL);
    tc_jsonw_text(w, "name", backend->name);
    tc_jsonw_bool(w, "usable", probe->usable);
    tc_jsonw_bool(w, "images", tc_probe_takes_images(probe));
    tc_jsonw_bool(w, "hardware", backend->hardware);
    tc_jsonw_text(w, "why", tc_printable_again(tc_span_of_text(probe->why), shown, sizeof shown));
    if (!tc_probe_takes_images(probe))
        tc_jsonw_text(w, "fix",
                      tc_printable_again(tc_span_of_text(probe->fix), shown, sizeof shown));
    else if (*probe->faster)
        tc_jsonw_text(w, "faster",
                      tc_printable_again(tc_span_of_text(probe->faster), shown, sizeof shown));
    tc_jsonw_end_object(w);
}

static void write_check(struct tc_jsonw *w, const char *name, bool good, const char *expected,
                        const char *seen)
{
    char shown[2 * TC_ERROR_MAX];
    tc_jsonw_object(w, NULL);
    tc_jsonw_text(w, "name", name);
    tc_jsonw_text(w, "result", good ? "pass" : "fail");
    tc_jsonw_text(w, "expected", expected);
    tc_jsonw_text(w, "seen", tc_printable_again(tc_span_of_text(seen), shown, sizeof shown));
    tc_jsonw_end_object(w);
}

static void write_image(struct tc_jsonw *w, const struct tc_stored_image *image)
{
    char shown[2 * TC_ERROR_MAX];
    tc_jsonw_object(w, NULL);
    tc_jsonw_hex(w, "pcr0", image->pcr0.bytes, sizeof image->pcr0.bytes);
    tc_jsonw_bool(w, "here", true);
    tc_jsonw_bool(w, "complete", image->good);
    if (image->good) {
        tc_jsonw_text(w, "name", image->name);
        tc_jsonw_bool(w, "newest", image->newest);
    } else {
        tc_jsonw_text(w, "problem",
                      tc_printable_again(tc_span_of_text(image->problem), shown, sizeof shown));
    }
    tc_jsonw_end_object(w);
}

static void write_unknown(struct tc_jsonw *w, const struct tc_error *unknown)
{
    char shown[2 * TC_ERROR_MAX];
    tc_jsonw_text(w, "images_unknown",
                  tc_printable_again(tc_span_of_text(unknown->message), shown, sizeof shown));
}

static void write_images(struct tc_jsonw *w, const struct findings *findings)
{
    tc_jsonw_array(w, "images");
    for (size_t i = 0; i < findings->images.count; i++)
        write_image(w, &findings->images.images[i]);
    for (size_t i = 0; tc_image_recipes[i] && findings->unknown.status == TC_OK; i++) {
        if (is_here(findings, tc_image_recipes[i])) continue;
        tc_jsonw_object(w, NULL);
        tc_jsonw_text(w, "name", tc_image_recipes[i]);
        tc_jsonw_bool(w, "here", false);
        tc_jsonw_end_object(w);
    }
    tc_jsonw_end_array(w);
    if (findings->unknown.status != TC_OK) write_unknown(w, &findings->unknown);
}

static tc_status show_json(const struct findings *findings, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf buf =
        tc_buf_new((size_t)1 << 17 | findings->images.count * 8 * TC_ERROR_MAX);
    struct tc_jsonw w = tc_jsonw_new(&buf);
    tc_jsonw_object(&w, NULL);
    tc_jsonw_text(&w, "verdict", findings->usable ? "done" : "failed");
    tc_jsonw_array(&w, "checks");
    for (size_t i = 0; i < BACKENDS_MAX && tc_backends[i]; i++)
        if (is_asked(findings, tc_backends[i]))
            write_check(&w, tc_backends[i]->name, findings->probes[i].usable, "usable",
                        findings->probes[i].why);
    tc_jsonw_end_array(&w);
    if (findings->best)
        tc_jsonw_text(&w, "auto", findings->best->name);
    else if (!findings->only)
        tc_jsonw_null(&w, "auto");
    tc_jsonw_array(&w, "backends");
    for (size_t i = 0; i < BACKENDS_MAX && tc_backends[i]; i++)
        if (is_asked(findings, tc_backends[i]))
            write_probe(&w, tc_backends[i], &findings->probes[i]);
    tc_jsonw_end_array(&w);
    if (!findings->only) write_images(&w, findings);
    tc_jsonw_end_object(&w);
    TC_TRY(tc_buf_check(&buf, "the findings", err));
    return tc_print_buf(stdout, &buf, err);
}

int tc_cmd_doctor(int argc, char **argv)
{
    struct tc_error err = {0};
    struct findings findings = {0};
    struct request request = {0};
    tc_status status = parse(argc, argv, &request, &err);
    if (status != TC_OK) request.json = tc_wants_json(argc, argv);
    if (status == TC_OK && request.help)
        return tc_print_usage(stdout, usage) ? TC_EXIT_YES : TC_EXIT_UNDECIDED;
    findings.only = request.only;
    if (status == TC_OK) status = find_out(&findings, &err);
    if (status == TC_OK && request.json) status = show_json(&findings, &err);
    if (status == TC_OK && !request.json) {
        show_backends(&findings);
        if (!request.only) show_images(&findings);
        status = tc_print_flush(stdout, &err);
    }
    tc_stored_list_free(&findings.images);
    if (status != TC_OK) {
        (void)tc_print_failure("doctor", &err, request.json);
        return TC_EXIT_UNDECIDED;
    }
    return findings.usable ? TC_EXIT_YES : TC_EXIT_NO;
}
