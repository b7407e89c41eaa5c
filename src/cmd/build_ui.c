#include "cmd/build_ui.h"

#include <time.h>

#include "base/text.h"
#include "cmd/print.h"

static int64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void tc_build_ui_init(struct tc_build_ui *ui, FILE *out)
{
    *ui = (struct tc_build_ui){
        .out = out, .colour = tc_print_colour(out), .started_ms = now_ms()};
}

/* One line of our own; everything between belongs to the build. */
static void say(struct tc_build_ui *ui, const char *text)
{
    (void)fprintf(ui->out, "%s==> %s%s\n", ui->colour ? "\033[1m" : "", text,
                  ui->colour ? "\033[0m" : "");
    (void)fflush(ui->out);
}

void tc_build_ui_source(struct tc_build_ui *ui, const struct tc_pack *pack, const char *folder)
{
    char name[512], line[1024], hex[TC_SHA1_HEX];
    (void)tc_printable(tc_span_of_text(folder), name, sizeof name);
    const struct tc_sha1 *commit = tc_pack_commit(pack);
    if (commit) {
        tc_hex((struct tc_span){commit->bytes, sizeof commit->bytes}, hex);
        (void)snprintf(line, sizeof line, "source: %s at commit %s", name, hex);
    } else {
        (void)snprintf(line, sizeof line, "source: %s as it lies%s: the report carries no commit",
                       name, tc_pack_is_dirty(pack) ? " (changed since the last commit)" : "");
    }
    say(ui, line);
    size_t untracked = tc_pack_untracked(pack);
    if (untracked > 0 && commit) {
        (void)snprintf(line, sizeof line, "%zu untracked file%s not part of the source", untracked,
                       untracked == 1 ? " is" : "s are");
        say(ui, line);
    }
}

void tc_build_ui_start(struct tc_build_ui *ui, const char *backend)
{
    char line[256];
    (void)snprintf(line, sizeof line, "worker: %s back end; no enclave, NOT attested by hardware",
                   backend);
    say(ui, line);
}

static void close_phase(struct tc_build_ui *ui)
{
    if (ui->line_open) (void)fputc('\n', ui->out);
    ui->line_open = false;
    if (!ui->phase_open) return;
    ui->phase_open = false;
    int64_t spent = now_ms() - ui->phase_ms;
    if (spent >= 1000) {
        char line[64];
        (void)snprintf(line, sizeof line, "took %lld.%lld s", (long long)(spent / 1000),
                       (long long)(spent % 1000 / 100));
        say(ui, line);
    }
}

void tc_build_ui_phase(struct tc_build_ui *ui, enum tc_phase phase)
{
    static const char *const names[] = {
        [TC_PHASE_RECEIVE] = "sending the source",
        [TC_PHASE_COLLECT_INFO] = "collecting information (input.collect)",
        [TC_PHASE_VENDOR] = "vendoring (input.vendor)",
        [TC_PHASE_COMMAND] = "building (input.cmd)",
        [TC_PHASE_OUTPUTS] = "hashing outputs",
        [TC_PHASE_SIGN] = "signing",
        [TC_PHASE_SEND] = "receiving outputs",
    };
    close_phase(ui);
    bool known = phase >= TC_PHASE_RECEIVE && phase <= TC_PHASE_SEND;
    say(ui, known ? names[phase] : "a phase that this version does not know");
    ui->phase_ms = now_ms();
    ui->phase_open = true;
}

void tc_build_ui_log(struct tc_build_ui *ui, struct tc_span bytes)
{
    /* Line by line: newline and tab pass, everything else that could steer a
     * terminal is escaped. */
    while (bytes.size > 0) {
        size_t size = 0;
        while (size < bytes.size && size < 4096 && bytes.data[size] != '\n' &&
               bytes.data[size] != '\t')
            size++;
        if (size > 0) {
            char text[4 * 4096 + 8];
            (void)fputs(tc_printable((struct tc_span){bytes.data, size}, text, sizeof text), ui->out);
            ui->line_open = true;
        } else {
            (void)fputc(bytes.data[0], ui->out);
            ui->line_open = bytes.data[0] != '\n';
            size = 1;
        }
        bytes.data += size;
        bytes.size -= size;
    }
    (void)fflush(ui->out);
}

void tc_build_ui_end(struct tc_build_ui *ui)
{
    close_phase(ui);
}

void tc_build_ui_done(struct tc_build_ui *ui, const struct tc_verdict *verdict, const char *bundle,
                      const char *detached, const char *root, bool root_created)
{
    char line[1024], size[16];
    for (size_t i = 0; i < verdict->statement.subjects_count; i++) {
        const struct tc_subject *subject = &verdict->statement.subjects[i];
        char path[512], hex[TC_SHA256_HEX];
        tc_hex((struct tc_span){subject->digest.bytes, sizeof subject->digest.bytes}, hex);
        (void)snprintf(line, sizeof line, "%s  %s (%s)", hex,
                       tc_printable(tc_span_of_text(subject->path), path, sizeof path),
                       tc_human_size(subject->size, size));
        say(ui, line);
    }
    if (root_created) {
        (void)snprintf(line, sizeof line, "made this machine's development root: %s", root);
        say(ui, line);
    }
    int64_t spent = now_ms() - ui->started_ms;
    (void)snprintf(line, sizeof line, "built and verified in %lld.%02lld s: %s%s%s",
                   (long long)(spent / 1000), (long long)(spent % 1000 / 10), bundle ? bundle : "",
                   bundle && detached ? " and " : "", detached ? detached : "");
    say(ui, line);
    (void)snprintf(line, sizeof line,
                   "check it: tee-compile verify --root %s --allow-unmeasured %s", root,
                   bundle ? bundle : detached ? detached : "BUNDLE");
    say(ui, line);
}
