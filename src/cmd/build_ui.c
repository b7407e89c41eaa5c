#include "cmd/build_ui.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cmd/print.h"
#include "os/clock.h"

void tc_build_ui_init(struct tc_build_ui *ui, FILE *out)
{
    *ui = (struct tc_build_ui){.out = tc_onlooker_open(fileno(out)),
                               .colour = tc_print_colour(out),
                               .interrupt_fd = -1,
                               .started_ms = tc_clock_ms()};
}

void tc_build_ui_free(struct tc_build_ui *ui)
{
    tc_onlooker_close(&ui->out);
}

/* Nobody has to read what is written here, and the build must stay
 * interruptible all the same: never a write that may block. */
static void put(struct tc_build_ui *ui, struct tc_span text)
{
    while (text.size > 0) {
        struct pollfd fds[2] = {{.fd = ui->out.fd, .events = POLLOUT},
                                {.fd = ui->interrupt_fd, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0 && errno == EINTR) continue;
        if (fds[1].revents || !(fds[0].revents & POLLOUT)) return;
        ssize_t written = tc_onlooker_write(&ui->out, text);
        if (written < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (written <= 0) return;
        text.data += written;
        text.size -= (size_t)written;
    }
}

static void put_line(struct tc_build_ui *ui, const char *before, const char *text, const char *after)
{
    TC_AUTO_BUF struct tc_buf line = tc_buf_new(32768);
    tc_buf_add_text(&line, before);
    tc_buf_add_text(&line, text);
    tc_buf_add_text(&line, after);
    put(ui, tc_buf_span(&line));
}

/* One line of our own; everything between belongs to the build. */
static void say(struct tc_build_ui *ui, const char *text)
{
    put_line(ui, ui->colour ? "\033[1m==> " : "==> ", text, ui->colour ? "\033[0m\n" : "\n");
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
                       name, tc_pack_is_dirty(pack) ? " (changed since the last commit)"
                                              : " (no git repository of its own)");
    }
    say(ui, line);
    size_t untracked = tc_pack_untracked(pack);
    if (untracked > 0 && commit) {
        (void)snprintf(line, sizeof line, "%zu untracked file%s not part of the source", untracked,
                       untracked == 1 ? " is" : "s are");
        say(ui, line);
    }
}

void tc_build_ui_warn(struct tc_build_ui *ui, const char *text)
{
    char shown[1024];
    put_line(ui, ui->colour ? "\033[33mwarning:\033[0m " : "warning: ",
             tc_printable_again(tc_span_of_text(text), shown, sizeof shown), "\n");
}

void tc_build_ui_image(struct tc_build_ui *ui, const struct tc_imagefile *image)
{
    char line[256], hex[TC_SHA384_HEX];
    if (!image) return;
    tc_hex((struct tc_span){image->pcr[0].bytes, sizeof image->pcr[0].bytes}, hex);
    (void)snprintf(line, sizeof line, "image: %s, PCR0 %s", image->content.text.name, hex);
    say(ui, line);
}

void tc_build_ui_start(struct tc_build_ui *ui, const struct tc_backend *backend, bool debug,
                       const char *because)
{
    char line[2 * TC_ERROR_MAX], shown[TC_ERROR_MAX];
    (void)snprintf(line, sizeof line, "worker: %s back end; %s%s%s%s", backend->name,
                   !backend->hardware ? "no enclave, NOT attested by hardware"
                   : debug            ? "an enclave in debug mode, which attests nothing"
                                      : "asks for an enclave, which hardware attests",
                   *because ? " (auto: " : "",
                   tc_printable_again(tc_span_of_text(because), shown, sizeof shown),
                   *because ? ")" : "");
    say(ui, line);
}

static void close_phase(struct tc_build_ui *ui)
{
    if (ui->line_open) put_line(ui, "", "", "\n");
    ui->line_open = false;
    if (!ui->phase_open) return;
    ui->phase_open = false;
    int64_t spent = tc_clock_ms() - ui->phase_ms;
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
    ui->phase_ms = tc_clock_ms();
    ui->phase_open = true;
}

void tc_build_ui_log(struct tc_build_ui *ui, struct tc_span bytes)
{
    TC_AUTO_BUF struct tc_buf text = tc_buf_new(4 * bytes.size);
    if (bytes.size == 0) return;
    tc_printable_lines(bytes, &text);
    put(ui, tc_buf_span(&text));
    ui->line_open = bytes.data[bytes.size - 1] != '\n';
}

void tc_build_ui_end(struct tc_build_ui *ui)
{
    close_phase(ui);
}

/* A word as a shell takes it, on one line and safe on a terminal. */
static void add_word(struct tc_buf *line, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "/._-+=:@%,";
    char shown[1024];
    tc_buf_add_u8(line, ' ');
    if (*word && word[strspn(word, plain)] == '\0') {
        tc_buf_add_text(line, word);
        return;
    }
    (void)tc_printable(tc_span_of_text(word), shown, sizeof shown);
    tc_buf_add_u8(line, '\'');
    for (const char *c = shown; *c; c++)
        if (*c == '\'')
            tc_buf_add_text(line, "'\\''");
        else
            tc_buf_add_u8(line, (uint8_t)*c);
    tc_buf_add_u8(line, '\'');
}

/* A detached bundle is judged with its outputs beside it. */
static void say_how_to_check(struct tc_build_ui *ui, const struct tc_verdict *verdict,
                             const struct tc_build_made *made)
{
    enum { NAMED_MAX = 3 };
    TC_AUTO_BUF struct tc_buf line = tc_buf_new(16384);
    tc_buf_add_text(&line, "check it: tee-compile verify");
    if (made->root) {
        tc_buf_add_text(&line, " --root");
        add_word(&line, made->root);
    }
    if (made->debug) tc_buf_add_text(&line, " --allow-debug");
    const struct tc_statement *statement = &verdict->statement;
    if (statement->platform.measured) {
        char hex[TC_SHA384_HEX];
        tc_hex((struct tc_span){statement->platform.pcr[0].bytes, TC_SHA384_SIZE}, hex);
        tc_buf_add_format(&line, " --pcr 0=%s", hex);
    } else {
        tc_buf_add_text(&line, " --allow-unmeasured");
    }
    for (size_t i = 0; i < verdict->checks_count; i++) {
        const struct tc_check *check = &verdict->checks[i];
        if (check->result != TC_CHECK_ALLOWED) continue;
        if (strcmp(check->name, "unauthenticated") == 0)
            tc_buf_add_text(&line, " --allow-unauthenticated");
        if (strcmp(check->name, "replayed") == 0) tc_buf_add_text(&line, " --allow-replayed");
    }
    add_word(&line, made->bundle ? made->bundle : made->detached);
    if (!made->bundle && (!made->extract || statement->subjects_count > NAMED_MAX)) {
        tc_buf_add_text(&line, " --artifact FILE (once for each output)");
    } else if (!made->bundle) {
        for (size_t i = 0; i < statement->subjects_count; i++) {
            TC_AUTO_FREE char *path = NULL;
            if (asprintf(&path, "%s/%s", made->extract, statement->subjects[i].path) < 0) return;
            tc_buf_add_text(&line, " --artifact");
            add_word(&line, path);
        }
    }
    TC_AUTO_FREE char *text = tc_buf_take_text(&line);
    if (text) say(ui, text);
}

void tc_build_ui_done(struct tc_build_ui *ui, const struct tc_verdict *verdict,
                      const struct tc_build_made *made)
{
    const char *bundle = made->bundle;
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
    if (made->root_created) {
        (void)snprintf(line, sizeof line, "made this machine's development root: %s", made->root);
        say(ui, line);
    }
    int64_t spent = tc_clock_ms() - ui->started_ms;
    (void)snprintf(line, sizeof line, "built and verified in %lld.%02lld s: %s%s%s",
                   (long long)(spent / 1000), (long long)(spent % 1000 / 10), bundle ? bundle : "",
                   bundle && made->detached ? " and " : "", made->detached ? made->detached : "");
    say(ui, line);
    say_how_to_check(ui, verdict, made);
}
