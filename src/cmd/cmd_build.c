/* `tee-compile build`: one attested build, from a folder to a verified bundle.
 *
 *   options -> project read, build.json checked -> output opened -> worker started
 *   -> session (host/client.h) -> worker ended -> own result verified -> named
 *
 * Nothing gets a name before it has verified; a failed build leaves its log. */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cmd/backends.h"
#include "cmd/build_logs.h"
#include "cmd/build_network.h"
#include "cmd/build_options.h"
#include "cmd/build_ui.h"
#include "cmd/commands.h"
#include "cmd/extract.h"
#include "cmd/files.h"
#include "cmd/find_worker.h"
#include "cmd/image_choice.h"
#include "cmd/interrupts.h"
#include "cmd/print.h"
#include "host/backend.h"
#include "host/client.h"
#include "host/devattest.h"
#include "os/tempfile.h"
#include "source/pack.h"
#include "verify/verify.h"

struct build {
    struct tc_build_options options;
    struct tc_pack *pack;
    struct tc_buildspec spec;
    struct tc_image_choice image;
    struct tc_backend_choice choice;
    struct tc_enclave *enclave; /* while the worker runs */
    struct tc_manifest_summary source;
    struct tc_tempfile bundle, detached, log;
    struct tc_tempfile console; /* of a machine; else not open */
    struct tc_extract *extract;
    struct tc_build_network network;
    char *bundle_path, *log_path, *console_path;
    char *ignore[8];  /* absolute paths of what this build makes; NULL-terminated */
    bool keep_bundle; /* false: only --detached and --extract were asked for */
    char *devroot_folder, *devroot_pem;
    bool devroot_created;
    int interrupt_fd;
    struct tc_build_ui ui;
    struct tc_verdict verdict;
};

static void build_free(struct build *build)
{
    tc_build_options_free(&build->options);
    tc_pack_close(build->pack);
    tc_buildspec_free(&build->spec);
    tc_image_choice_done(&build->image);
    for (size_t i = 0; build->ignore[i]; i++)
        free(build->ignore[i]);
    free(build->bundle_path);
    free(build->log_path);
    free(build->console_path);
    free(build->devroot_folder);
    free(build->devroot_pem);
    tc_close_ptr(&build->interrupt_fd);
    tc_verdict_free(&build->verdict);
}

/* What has not got its name, and never will. */
static void drop_unnamed(struct build *build)
{
    tc_tempfile_drop(&build->bundle);
    tc_tempfile_drop(&build->detached);
    tc_tempfile_drop(&build->log);
    tc_tempfile_drop(&build->console);
    tc_extract_free(TC_TAKE(build->extract));
    tc_build_network_done(&build->network); /* the archive's */
}

/* Each file that this build makes has a name of its own. */
static tc_status check_names(const struct build *build, const char *path, struct tc_error *err)
{
    const struct tc_build_options *options = &build->options;
    const struct {
        const char *what, *path;
    } names[] = {{"--output", path},
                 {"the build's log", build->log_path},
                 {"the machine's console", build->console_path},
                 {"--detached", options->detached},
                 {"--archive", options->archive},
                 {"--replay", options->replay}}; /* which is read, and must stay */
    enum { NAMES = sizeof names / sizeof *names };
    for (size_t i = 0; i < NAMES; i++)
        for (size_t j = i + 1; j < NAMES; j++)
            if (names[i].path && names[j].path && tc_is_same_path(names[i].path, names[j].path))
                return tc_fail(err, TC_USAGE, "%s and %s both name %s: give each a name of its own",
                               names[i].what, names[j].what, names[j].path);
    return TC_OK;
}

static tc_status name_outputs(struct build *build, struct tc_error *err)
{
    const struct tc_build_options *options = &build->options;
    build->keep_bundle = options->output || !(options->detached && options->extract);
    const char *path = options->output ? options->output : "release.tar";
    build->bundle_path = strdup(path);
    if (!build->bundle_path || asprintf(&build->log_path, "%s.log", path) < 0) {
        build->log_path = NULL;
        return tc_fail(err, TC_SYSTEM, "out of memory");
    }
    if (asprintf(&build->console_path, "%s.console", path) < 0) {
        build->console_path = NULL;
        return tc_fail(err, TC_SYSTEM, "out of memory");
    }
    return check_names(build, path, err);
}

/* Signals are caught by then: where a file system knows no file without a name, each has one
 * until it is dropped. */
static tc_status open_outputs(struct build *build, struct tc_error *err)
{
    const struct tc_build_options *options = &build->options;
    TC_TRY(tc_tempfile_open(build->bundle_path, &build->bundle, err));
    TC_TRY(tc_tempfile_open(build->log_path, &build->log, err));
    if (build->choice.backend == &tc_backend_qemu)
        TC_TRY(tc_tempfile_open(build->console_path, &build->console, err));
    if (options->detached) TC_TRY(tc_tempfile_open(options->detached, &build->detached, err));
    return options->extract ? tc_extract_open(options->extract, &build->extract, err) : TC_OK;
}

static tc_status choose_image(struct build *build, struct tc_error *err)
{
    TC_TRY(tc_image_choose(build->options.image, &build->spec, &build->image, err));
    if (!build->image.host && build->options.host_tools)
        return tc_fail(
            err, TC_USAGE,
            "--host-tool goes with --image host: no PCR would name the tool, and the report "
            "would call it measured");
    return TC_OK;
}

/* Where every file in the folder is source, outputs put there would be source of
 * the next build, and `verify --source` would find another source than was built. */
static tc_status check_extract(struct build *build, struct tc_error *err)
{
    const struct tc_build_options *options = &build->options;
    if (!options->extract || tc_pack_kind(build->pack) == TC_SOURCE_GIT) return TC_OK;
    TC_AUTO_FREE char *given = strdup(options->extract);
    TC_AUTO_FREE char *project = realpath(options->folder, NULL);
    if (!given || !project) return tc_fail(err, TC_SYSTEM, "out of memory");
    for (size_t size = strlen(given); size > 1 && given[size - 1] == '/'; size--)
        given[size - 1] = '\0';
    TC_AUTO_FREE char *target = tc_absolute_path(given);
    size_t size = strlen(project);
    if (!target || strncmp(target, project, size) != 0 || (size > 1 && target[size] != '/'))
        return TC_OK;
    return tc_fail(
        err, TC_USAGE,
        "--extract %s lies in the project, which is no clean git commit: every file in it "
        "is source; name a folder outside",
        options->extract);
}

/* What build.json asks for and this build does not do. */
static void warn_of_the_ignored(struct build *build)
{
    char text[512];
    const struct tc_buildspec *spec = &build->spec;
    if (build->options.memory_given)
        tc_build_ui_warn(&build->ui, "-mem is ignored: memory comes from the limits of build.json");
    if (build->options.cpus && build->choice.backend == &tc_backend_local)
        tc_build_ui_warn(&build->ui, "--cpus is ignored: on the local back end a build has the "
                                     "processors of this machine");
    const char *named = spec->image ? spec->image : spec->language;
    const char *used = tc_image_choice_name(&build->image);
    if (strcmp(named, used) != 0 && (spec->image || !build->image.host)) {
        (void)snprintf(text, sizeof text, "the build file names %s %s; this build uses %s",
                       spec->image ? "image" : "language", named, used);
        tc_build_ui_warn(&build->ui, text);
    }
    if (tc_pack_kind(build->pack) == TC_SOURCE_GIT) return;
    if (spec->source_git)
        tc_build_ui_warn(&build->ui, "source.git is ignored: the source is no clean git commit");
    if (spec->omitted_count > 0)
        tc_build_ui_warn(&build->ui, "source.omit is ignored: the source is no clean git commit");
}

static tc_status read_project(struct build *build, struct tc_error *err)
{
    const struct tc_build_options *options = &build->options;
    /* What earlier builds left in the project is no source, of whichever back end: verify
     * does not know which it was. */
    const char *made[] = {build->bundle_path, build->log_path,  build->console_path,
                          options->detached,  options->archive, options->replay};
    for (size_t i = 0, count = 0; i < sizeof made / sizeof *made; i++)
        if (made[i] && (build->ignore[count] = tc_absolute_path(made[i]))) count++;
    struct tc_pack_options pack = {.folder = options->folder,
                                   .build_file = options->build_file,
                                   .allow_dirty = options->allow_dirty,
                                   .ignore = (const char *const *)build->ignore};
    TC_TRY(tc_pack_open(&pack, &build->pack, err));
    TC_TRY(tc_buildspec_parse(tc_pack_build_file(build->pack), options->build_file, &build->spec,
                              err));
    TC_TRY(choose_image(build, err));
    struct tc_need need = tc_backend_need(&build->image.file, &build->spec.limits, options->cpus);
    tc_status chosen =
        tc_backend_choose(options->backend, build->image.host ? NULL : &need, &build->choice, err);
    if (chosen != TC_OK) return tc_image_choice_judge(&build->image, chosen, -1, err);
    TC_TRY(check_extract(build, err));
    tc_build_ui_source(&build->ui, build->pack, options->folder);
    warn_of_the_ignored(build);
    return TC_OK;
}

static tc_status send_source(void *context, void *sink,
                             tc_status (*send)(void *sink, enum tc_wire_kind kind,
                                               struct tc_span payload, struct tc_error *err),
                             struct tc_error *err)
{
    struct build *build = context;
    struct tc_pack_sink pack_sink = {sink, send};
    return tc_pack_send(build->pack, &build->spec, &pack_sink, &build->source, err);
}

static void on_phase(void *context, enum tc_phase phase)
{
    struct build *build = context;
    tc_build_ui_phase(&build->ui, phase);
}

static tc_status sign(void *context, struct tc_span document, struct tc_buf *buf,
                      struct tc_error *err)
{
    struct build *build = context;
    return build->choice.backend->sign(build->enclave, document, buf, err);
}

static void on_log(void *context, struct tc_span bytes)
{
    struct build *build = context;
    tc_build_ui_log(&build->ui, bytes);
}

static tc_status talk(struct build *build, int fd, struct tc_error *err)
{
    const struct tc_build_options *options = &build->options;
    enum tc_source_kind kind = tc_pack_kind(build->pack);
    struct tc_client_config config = {
        .fd = fd,
        .interrupt_fd = build->interrupt_fd,
        .hello = {.source = kind,
                  .no_log = options->no_log,
                  .git_folder = kind == TC_SOURCE_GIT && build->spec.source_git,
                  .nonce = {options->nonce, options->nonce_size},
                  .build_file = tc_span_of_text(options->build_file),
                  .repository = tc_span_of_text(tc_pack_repository(build->pack)),
                  .ref = tc_span_of_text(tc_pack_ref(build->pack)),
                  .backend = tc_span_of_text(build->choice.backend->name)},
        .credentials = build->network.credentials,
        .credentials_count = build->network.credentials_count,
        .build_file = tc_pack_build_file(build->pack),
        .context = build,
        .send_source = send_source,
        .sign = build->choice.backend->sign ? sign : NULL,
        .on_phase = on_phase,
        .on_log = on_log,
        .log_fd = build->log.fd,
        .bundle_fd = build->bundle.fd,
        .detached_fd = build->detached.fd,
    };
    tc_client_bound(&build->spec.limits, &config);
    tc_build_network_greet(&build->network, &config.hello);
    return tc_client_run(&config, err);
}

static void on_note(void *context, const char *text)
{
    struct build *build = context;
    tc_build_ui_warn(&build->ui, text);
}

static tc_status run_worker(struct build *build, struct tc_error *err)
{
    const struct tc_backend *backend = build->choice.backend;
    TC_AUTO_FREE char *worker = NULL;
    if (backend == &tc_backend_local)
        TC_TRY(tc_find_worker(&worker, err)); /* else the image has it */
    struct tc_backend_config config = {.image = build->image.host ? NULL : &build->image.file,
                                       .host_tools = (const char *const *)build->options.host_tools,
                                       .worker = worker,
                                       .devroot_folder = build->devroot_folder,
                                       .debug = build->options.debug,
                                       .egress = build->network.egress,
                                       .memory =
                                           build->spec.limits.memory + build->spec.limits.disk,
                                       .cpus = build->options.cpus,
                                       .interrupt_fd = build->interrupt_fd,
                                       .emulator = build->options.emulator,
                                       .console_fd = build->console.fd,
                                       .note = on_note,
                                       .context = build};
    int fd = -1;
    tc_build_ui_image(&build->ui, config.image);
    if (build->choice.weaker) tc_build_ui_warn(&build->ui, build->choice.because);
    tc_build_ui_start(&build->ui, backend, build->options.debug,
                      build->choice.weaker ? "see above" : build->choice.because);
    if (!backend->checks_pages)
        TC_TRY(tc_image_choice_await(&build->image, build->interrupt_fd, err));
    TC_TRY(backend->start(&config, &build->enclave, &fd, err));
    /* Whoever does not look at the exit status must not take them for this build's. */
    if (build->keep_bundle) tc_build_drop_old(build->bundle_path);
    if (build->options.detached) tc_build_drop_old(build->options.detached);
    tc_status status = talk(build, fd, err);
    struct tc_error end = {0};
    tc_status ended = backend->stop(TC_TAKE(build->enclave), &end);
    tc_build_network_stop(&build->network);
    /* What the session says explains more than how the worker ended. */
    if (status == TC_OK && ended != TC_OK) {
        *err = end;
        return ended;
    }
    if (status == TC_PEER && *end.message) tc_build_add_to_message(err, "; ", end.message);
    return status;
}

/* The client is not trusted by anybody, and need not trust the worker: what is
 * handed out has passed the same checks that users will make. */
static tc_status verify_result(struct build *build, struct tc_error *err)
{
    const struct tc_build_options *options = &build->options;
    TC_AUTO_BUF struct tc_buf root = {0};
    /* Of all images exactly this one: no list, no other word is asked. */
    struct tc_pcrs_asked pcrs = {.asked = 1, .value = {build->image.file.pcr[0]}};
    bool debug = build->choice.backend->hardware && options->debug;
    if (debug)
        pcrs.value[0] = (struct tc_sha384){{0}}; /* what such an enclave has for all of them */
    if (build->devroot_pem) TC_TRY(tc_read_certificate(build->devroot_pem, &root, err));
    char commit[TC_SHA1_HEX] = "";
    if (tc_pack_commit(build->pack))
        tc_hex((struct tc_span){tc_pack_commit(build->pack)->bytes, TC_SHA1_SIZE}, commit);
    struct tc_verify_options verify = {.go_on_context = &build->interrupt_fd,
                                       .go_on = tc_interrupts_check,
                                       .root = tc_buf_span(&root),
                                       .allow_unmeasured = build->image.host,
                                       .allow_debug = debug,
                                       /* build.json and the user asked for it; whether
                                        * it is enough is for others to say. */
                                       .allow_unauthenticated = true,
                                       .allow_replayed = options->replay != NULL,
                                       .pcrs_asked = build->image.host ? NULL : &pcrs,
                                       .compare_source = true,
                                       .source = build->source.digest,
                                       .commit = *commit ? commit : NULL,
                                       .compare_nonce = options->nonce_size > 0,
                                       .nonce = {options->nonce, options->nonce_size}};
    if (build->extract) {
        verify.extract_context = build->extract;
        verify.extract_begin = tc_extract_begin;
        verify.extract_data = tc_extract_data;
        verify.extract_end = tc_extract_end;
    }
    if (lseek(build->bundle.fd, 0, SEEK_SET) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read the bundle back");
    TC_TRY(tc_verify_bundle(build->bundle.fd, &verify, &build->verdict, err));
    /* What it ended early has no verdict worth a word. */
    TC_TRY(tc_interrupts_check(&build->interrupt_fd, err));
    if (build->verdict.kind != TC_VERDICT_AUTHENTIC &&
        build->verdict.kind != TC_VERDICT_DEVELOPMENT)
        return tc_fail(err, TC_REFUSED, "the worker's bundle does not verify: %s",
                       build->verdict.reason);
    return TC_OK;
}

/* All get their names, or none: half of a result would pass for one. */
static tc_status commit_outputs(struct build *build, struct tc_error *err)
{
    enum { ARCHIVE, DETACHED, BUNDLE, FILES };
    struct tc_tempfile files[FILES] = {TC_TEMPFILE_NONE, build->detached, TC_TEMPFILE_NONE};
    build->detached = TC_TEMPFILE_NONE;
    if (build->keep_bundle) {
        files[BUNDLE] = build->bundle;
        build->bundle = TC_TEMPFILE_NONE;
    }
    tc_status status = tc_build_network_finish(&build->network, &files[ARCHIVE], err);
    if (status == TC_OK && build->extract) status = tc_extract_commit(build->extract, err);
    if (status == TC_OK) {
        status = tc_tempfile_commit_all(files, FILES, err);
        if (status != TC_OK && build->extract) tc_extract_revoke(build->extract);
    }
    for (size_t i = 0; i < FILES; i++)
        tc_tempfile_drop(&files[i]);
    return status;
}

static tc_status run(struct build *build, struct tc_error *err)
{
    TC_TRY(tc_backend_check_name(build->options.backend, err));
    TC_TRY(name_outputs(build, err));
    TC_TRY(read_project(build, err));
    if (!build->choice.backend->hardware) {
        TC_TRY(tc_devroot_folder(&build->devroot_folder, err));
        TC_TRY(tc_devroot_ensure(build->devroot_folder, &build->devroot_pem,
                                 &build->devroot_created, err));
    }
    /* Until here a signal ends the client as it ends any program, and there is
     * nothing to clean up. */
    TC_TRY(tc_interrupts_catch(&build->interrupt_fd, err));
    build->ui.interrupt_fd = build->interrupt_fd;
    TC_TRY(open_outputs(build, err));
    TC_TRY(tc_build_network_open(&build->options, build->spec.network.mode == TC_NETWORK_OFFLINE,
                                 &build->network, err));
    tc_build_drop_old(build->log_path);
    tc_build_drop_old(build->console_path);
    tc_status status = run_worker(build, err);
    TC_TRY(tc_image_choice_judge(&build->image, status, build->interrupt_fd, err));
    TC_TRY(verify_result(build, err));
    return commit_outputs(build, err);
}

/* False when the result could not be written. */
static bool print_result(struct build *build, const struct tc_build_logs *logs,
                         const struct tc_error *failure)
{
    struct tc_error err = {0};
    const struct tc_imagefile *image = build->choice.backend ? &build->image.file : NULL;
    struct tc_print_build result = {.backend =
                                        build->choice.backend ? build->choice.backend->name : NULL,
                                    .because = build->choice.because,
                                    .log = logs->has_log ? logs->log_path : NULL,
                                    .console = logs->has_console ? logs->console_path : NULL};
    if (image && !build->image.host) {
        result.image = image->content.text.name;
        result.pcr0 = &image->pcr[0];
    }
    const struct tc_build_made made = {
        .bundle = build->keep_bundle ? build->bundle_path : NULL,
        .detached = build->options.detached,
        .extract = build->options.extract,
        .root = build->devroot_pem,
        .debug = build->choice.backend && build->choice.backend->hardware && build->options.debug,
        .root_created = build->devroot_created};
    if (failure->status == TC_OK) tc_build_ui_done(&build->ui, &build->verdict, &made);
    if (failure->status != TC_OK)
        return tc_print_failed_build(&result, failure, build->options.json);
    if (!build->options.json || !build->choice.backend) return true;
    result.bundle = made.bundle;
    result.detached = made.detached;
    result.extract = made.extract;
    tc_status status = tc_print_verdict_json(stdout, &build->verdict, &result, &err);
    if (status != TC_OK) tc_print_error("build", &err);
    return status == TC_OK;
}

int tc_cmd_build(int argc, char **argv)
{
    struct tc_error err = {0};
    struct build build = {.bundle = TC_TEMPFILE_NONE,
                          .detached = TC_TEMPFILE_NONE,
                          .log = TC_TEMPFILE_NONE,
                          .console = TC_TEMPFILE_NONE,
                          .image = TC_IMAGE_CHOICE_NONE,
                          .interrupt_fd = -1};
    tc_build_ui_init(&build.ui, stderr);
    /* A reader of stderr that goes away is no reason to leave things behind. */
    (void)signal(SIGPIPE, SIG_IGN);
    tc_status status = tc_build_options_parse(argc, argv, &build.options, &err);
    if (status != TC_OK) build.options.json = tc_wants_json(argc, argv);
    if (status == TC_OK && build.options.help) {
        tc_build_ui_free(&build.ui);
        build_free(&build);
        return fputs(tc_build_usage, stdout) < 0 ? TC_EXIT_UNDECIDED : TC_EXIT_YES;
    }
    if (status == TC_OK) status = run(&build, &err);
    tc_build_ui_end(&build.ui);
    struct tc_build_logs logs = {.log = &build.log,
                                 .console = &build.console,
                                 .log_path = build.log_path,
                                 .console_path = build.console_path,
                                 .enclave = build.choice.backend && build.choice.backend->hardware,
                                 .debug = build.options.debug};
    if (status == TC_INTERRUPTED)
        tc_build_add_to_message(&err, "; ", "nothing was kept");
    else if (status != TC_OK)
        tc_build_keep_logs(&logs, &err);
    drop_unnamed(&build);
    /* From here on a signal ends the client again, which must not wait for somebody
     * to read its last words. */
    build.ui.interrupt_fd = -1;
    tc_interrupts_release(&build.interrupt_fd);
    bool printed = print_result(&build, &logs, &err);
    tc_build_ui_free(&build.ui);
    build_free(&build);
    return printed || status != TC_OK ? (int)tc_exit_of(status) : TC_EXIT_UNDECIDED;
}
