/* tee-compile image lock: writes down which packages a recipe comes to today. */
#include <getopt.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cmd/commands.h"
#include "cmd/interrupts.h"
#include "cmd/print.h"
#include "host/lock_make.h"
#include "host/recipe_files.h"

static const char usage[] =
    "usage: tee-compile image lock DIR [--mirror URL] [--no-security] [--json]\n"
    "  writes DIR/lock.json: each package that DIR/recipe.json comes to today, with its\n"
    "  digest. The machine's apt asks the mirror and checks Debian's signatures; nothing\n"
    "  is installed. A lock that says the same packages stays as it is; one with a newer\n"
    "  version of a package has to be deleted first.\n"
    "  --mirror URL   a copy of Debian's archive, URL-security being that of the security\n"
    "                 archive; by default what /etc/apt says\n"
    "  --no-security  without the security archive\n"
    "  --json         one JSON object on stdout\n";

enum option_code { OPTION_MIRROR = 1, OPTION_NO_SECURITY, OPTION_JSON, OPTION_HELP };

static const struct option options[] = {{"mirror", required_argument, NULL, OPTION_MIRROR},
                                        {"no-security", no_argument, NULL, OPTION_NO_SECURITY},
                                        {"json", no_argument, NULL, OPTION_JSON},
                                        {"help", no_argument, NULL, OPTION_HELP},
                                        {NULL, 0, NULL, 0}};

struct arguments {
    const char *folder, *mirror;
    bool no_security, json, help;
};

/* What came out. */
struct outcome {
    struct tc_lock lock, before; /* before has no packages where there was no good lock */
    bool kept;                   /* before says the same packages */
};

static tc_status parse(int argc, char **argv, struct arguments *arguments, struct tc_error *err)
{
    int option;
    opterr = 0;
    optind = 0; /* GNU: start anew, whatever main has parsed before */
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case OPTION_MIRROR: arguments->mirror = optarg; break;
        case OPTION_NO_SECURITY: arguments->no_security = true; break;
        case OPTION_JSON: arguments->json = true; break;
        case OPTION_HELP: arguments->help = true; return TC_OK;
        default:
            return tc_fail(err, TC_USAGE, "%s is unknown, ambiguous or lacks its value",
                           argv[optind - 1]);
        }
    }
    if (argc - optind != 1)
        return tc_fail(err, TC_USAGE, "expected one recipe's folder, got %d", argc - optind);
    arguments->folder = argv[optind];
    return TC_OK;
}

static bool is_same(const struct tc_lock_package *a, const struct tc_lock_package *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->version, b->version) == 0 &&
           strcmp(a->architecture, b->architecture) == 0 && strcmp(a->path, b->path) == 0 &&
           a->archive == b->archive && a->size == b->size &&
           memcmp(a->digest.bytes, b->digest.bytes, sizeof a->digest.bytes) == 0;
}

static bool says_the_same(const struct tc_lock *a, const struct tc_lock *b)
{
    if (strcmp(a->suite, b->suite) != 0 || a->packages_count != b->packages_count) return false;
    for (size_t i = 0; i < a->packages_count; i++)
        if (!is_same(&a->packages[i], &b->packages[i])) return false;
    return true;
}

/* What the folder had before; nothing where that cannot be read or is of another suite,
 * which is replaced. The recipe may have been changed since. */
static tc_status compare(const struct arguments *arguments, struct outcome *outcome,
                         struct tc_error *err)
{
    TC_AUTO_LOCK struct tc_lock before = {0};
    struct tc_error ignored = {0};
    char shown[300];
    if (tc_lock_load(arguments->folder, arguments->folder, NULL, &before, &ignored) != TC_OK ||
        strcmp(before.suite, outcome->lock.suite) != 0)
        return TC_OK;
    (void)tc_printable(tc_span_of_text(arguments->folder), shown, sizeof shown);
    if (tc_lock_check_newer(&before, &outcome->lock, err) != TC_OK) {
        struct tc_error why = *err;
        return tc_fail(err, TC_REFUSED,
                       "%s/lock.json: %s: what the mirror says is today's may be an old state, "
                       "with old holes: ask another mirror, or, if it is meant, delete "
                       "lock.json and lock again",
                       shown, why.message);
    }
    outcome->kept = says_the_same(&before, &outcome->lock);
    outcome->before = before;
    before = (struct tc_lock){0};
    return TC_OK;
}

static tc_status lock_it(const struct arguments *arguments, struct outcome *outcome,
                         struct tc_error *err)
{
    TC_AUTO_RECIPE struct tc_recipe recipe = {0};
    TC_AUTO_MIRRORS struct tc_mirrors mirrors = {0};
    TC_AUTO_CLOSE int interrupt_fd = -1;
    TC_TRY(tc_recipe_load(arguments->folder, arguments->folder, &recipe, err));
    TC_TRY(tc_mirrors_find(arguments->mirror, NULL, &mirrors, err));
    if (arguments->no_security)
        tc_free_ptr(&mirrors.archive[TC_ARCHIVE_SECURITY]);
    else if (!mirrors.archive[TC_ARCHIVE_SECURITY])
        (void)fputs("no mirror of the security archive is known (.../debian-security in /etc/apt): "
                    "locking without it\n",
                    stderr);
    TC_TRY(tc_interrupts_catch(&interrupt_fd, err));
    bool dates_ignored = false;
    struct tc_lock_request request = {.recipe = &recipe,
                                      .mirrors = &mirrors,
                                      .now = (int64_t)time(NULL),
                                      .interrupt_fd = interrupt_fd,
                                      .ret_dates_ignored = &dates_ignored};
    tc_status status = tc_lock_make(&request, &outcome->lock, err);
    if (dates_ignored)
        (void)fputs(
            "the machine's apt does not check how old an index is (Acquire::Check-Valid-Until, "
            "Acquire::Check-Date), and so neither does this lock\n",
            stderr);
    TC_TRY(status);
    TC_TRY(compare(arguments, outcome, err));
    return outcome->kept ? TC_OK : tc_lock_save(arguments->folder, &outcome->lock, err);
}

/* --- saying it */

static void totals(const struct tc_lock *lock, uint64_t *ret_bytes, size_t *ret_security)
{
    *ret_bytes = 0;
    *ret_security = 0;
    for (size_t i = 0; i < lock->packages_count; i++) {
        *ret_bytes += lock->packages[i].size;
        *ret_security += lock->packages[i].archive == TC_ARCHIVE_SECURITY;
    }
}

/* Two sorted lists side by side. All of it passed the lock's check: plain words. */
static void print_changes(const struct tc_lock *before, const struct tc_lock *after)
{
    size_t i = 0, j = 0;
    while (i < before->packages_count || j < after->packages_count) {
        const struct tc_lock_package *old = &before->packages[i], *new = &after->packages[j];
        int order = i == before->packages_count  ? 1
                    : j == after->packages_count ? -1
                                                 : strcmp(old->name, new->name);
        if (order < 0)
            (void)printf("  - %s %s\n", old->name, old->version);
        else if (order > 0)
            (void)printf("  + %s %s\n", new->name, new->version);
        else if (!is_same(old, new))
            (void)printf("  ~ %s %s -> %s\n", old->name, old->version, new->version);
        i += order <= 0;
        j += order >= 0;
    }
}

static void print_text(const struct arguments *arguments, const struct outcome *outcome)
{
    char shown[400], size[16];
    uint64_t bytes;
    size_t security;
    totals(&outcome->lock, &bytes, &security);
    (void)printf(
        "%s/lock.json: %s: %zu packages of %s, %s, %zu of them from the security archive\n",
        tc_printable(tc_span_of_text(arguments->folder), shown, sizeof shown),
        outcome->kept ? "nothing has changed" : "written", outcome->lock.packages_count,
        outcome->lock.suite, tc_human_size(bytes, size), security);
    if (outcome->before.packages_count > 0) print_changes(&outcome->before, &outcome->lock);
}

static tc_status print_json(const struct outcome *outcome, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf text = tc_buf_new(4096);
    struct tc_jsonw w = tc_jsonw_new(&text);
    char snapshot[TC_SNAPSHOT_TEXT_SIZE];
    uint64_t bytes;
    size_t security;
    totals(&outcome->lock, &bytes, &security);
    tc_snapshot_text(outcome->kept ? outcome->before.snapshot : outcome->lock.snapshot, snapshot);
    tc_jsonw_object(&w, NULL);
    tc_jsonw_text(&w, "verdict", "locked");
    tc_jsonw_array(&w, "checks");
    tc_jsonw_end_array(&w);
    tc_jsonw_bool(&w, "changed", !outcome->kept);
    tc_jsonw_text(&w, "suite", outcome->lock.suite);
    tc_jsonw_text(&w, "snapshot", snapshot);
    tc_jsonw_u64(&w, "packages", outcome->lock.packages_count);
    tc_jsonw_u64(&w, "security", security);
    tc_jsonw_u64(&w, "bytes", bytes);
    tc_jsonw_end_object(&w);
    TC_TRY(tc_buf_check(&text, "the result", err));
    return tc_print_buf(stdout, &text, err);
}

/* A lock is made or not; nothing that stands against it is an answer "no". */
static int fail(const struct arguments *arguments, const struct tc_error *err)
{
    (void)tc_print_failure("image lock", err, arguments->json);
    return TC_EXIT_UNDECIDED;
}

int tc_cmd_image_lock(int argc, char **argv)
{
    struct tc_error err = {0};
    struct arguments arguments = {.json = tc_wants_json(argc, argv)};
    struct outcome outcome = {0};
    if (parse(argc, argv, &arguments, &err) != TC_OK) {
        (void)fail(&arguments, &err);
        (void)tc_print_usage(stderr, usage);
        return TC_EXIT_UNDECIDED;
    }
    if (arguments.help) return tc_print_usage(stdout, usage) ? TC_EXIT_YES : TC_EXIT_UNDECIDED;
    tc_status status = lock_it(&arguments, &outcome, &err);
    if (status == TC_OK) {
        if (arguments.json)
            status = print_json(&outcome, &err);
        else
            print_text(&arguments, &outcome);
    }
    if (status == TC_OK) status = tc_print_flush(stdout, &err);
    tc_lock_free(&outcome.lock);
    tc_lock_free(&outcome.before);
    return status == TC_OK ? TC_EXIT_YES : fail(&arguments, &err);
}
