/* apt runs twice in a folder of its own: update, which fetches the indexes and checks
 * their signatures, and install --print-uris, which resolves and prints without
 * doing anything. Its state says that nothing is installed, so what comes out does
 * not depend on the machine; its configuration leaves out what the machine has in
 * /etc/apt but for what is needed to reach a mirror at all.
 *
 * The folder is world-readable and below TMPDIR or /tmp: run by root, apt fetches as
 * the user _apt, who has to reach it. Between this process and each apt stands a keeper,
 * which ends apt and removes the folder when this process is gone, even if killed. */
#include "host/lock_make.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "os/files.h"
#include "os/process.h"
#include "os/readfile.h"

static const char debian_keyring[] = "/usr/share/keyrings/debian-archive-keyring.gpg";

enum {
    OUTPUT_MAX = 8 << 20, /* of apt */
    WORDS_MAX = 600,      /* of apt's errors in a message */
    CONF_MAX = 1 << 20,
    ARGUMENTS = 16, /* besides the packages */
    FROM_MACHINE_MAX = 64,
};

struct apt {
    const struct tc_lock_request *request;
    char *folder; /* removed with all that is in it */
    int fd;       /* of the folder */
};

/* --- the folder */

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

static void apt_done(struct apt *apt)
{
    tc_close_ptr(&apt->fd);
    if (apt->folder) (void)nftw(apt->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(apt->folder);
    apt->folder = NULL;
}

static tc_status open_work(struct apt *apt, struct tc_error *err)
{
    static const char *const folders[] = {"state", "state/lists",    "state/lists/partial",
                                          "cache", "cache/archives", "cache/archives/partial",
                                          NULL};
    const char *place = getenv("TMPDIR");
    char *path;
    if (!place || place[0] != '/') place = "/tmp";
    if (asprintf(&path, "%s/tee-compile-lock.XXXXXX", place) < 0)
        return tc_fail(err, TC_SYSTEM, "out of memory");
    if (!mkdtemp(path)) {
        int reason = errno;
        free(path);
        return tc_fail_errno(err, TC_UNAVAILABLE, reason, "cannot make a folder in %s", place);
    }
    apt->folder = path;
    apt->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = apt->fd >= 0 && fchmod(apt->fd, 0755) == 0;
    for (size_t i = 0; good && folders[i]; i++)
        good = mkdirat(apt->fd, folders[i], 0755) == 0;
    return good ? TC_OK : tc_fail_errno(err, TC_SYSTEM, errno, "cannot prepare %s", path);
}

static tc_status open_file(const struct apt *apt, const char *name, int *ret_fd,
                           struct tc_error *err)
{
    int fd = openat(apt->fd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot write %s/%s", apt->folder, name);
    *ret_fd = fd;
    return TC_OK;
}

static tc_status write_file(const struct apt *apt, const char *name, const struct tc_buf *text,
                            struct tc_error *err)
{
    TC_AUTO_CLOSE int fd = -1;
    TC_TRY(tc_buf_check(text, name, err));
    TC_TRY(open_file(apt, name, &fd, err));
    return tc_write_all(fd, tc_buf_span(text), name, err);
}

static tc_status read_file(const struct apt *apt, const char *name, struct tc_buf *ret_text,
                           struct tc_error *err)
{
    return tc_readfile_at(apt->fd, name, false, name, ret_text, err);
}

/* --- running it */

/* In the end: apt. It is given no signal for its parent's death, which it would lose
 * when it changes users. */
static void become(const struct apt *apt, char *const *arguments, int out_fd, int err_fd)
{
    struct tc_error err = {0};
    char config[4096];
    if (setpgid(0, 0) != 0 || tc_process_reset_signals(&err) != TC_OK ||
        snprintf(config, sizeof config, "%s/apt.conf", apt->folder) >= (int)sizeof config)
        _exit(126);
    /* The machine's own configuration is what apt-config is asked for. */
    bool is_private = strcmp(arguments[0], "apt-config") != 0;
    if ((is_private && setenv("APT_CONFIG", config, 1) != 0) || setenv("LC_ALL", "C.UTF-8", 1) != 0)
        _exit(126);
    if (tc_process_keep(&err_fd, 1, out_fd, &err) != TC_OK) _exit(126);
    if (dup2(TC_PROCESS_FIRST_FD, STDERR_FILENO) < 0 || close(TC_PROCESS_FIRST_FD) != 0) _exit(126);
    (void)execvp(arguments[0], arguments);
    _exit(127);
}

/* What poll says of fds[0], or 1 when fds[1] has something; -1: it failed. */
static int wait_for_one(int first, int second)
{
    struct pollfd fds[2] = {{.fd = first, .events = POLLIN}, {.fd = second, .events = POLLIN}};
    for (;;) {
        int ready = poll(fds, 2, -1);
        if (ready < 0 && errno != EINTR) return -1;
        if (ready > 0 && fds[1].revents) return 1;
        if (ready > 0 && fds[0].revents) return 0;
    }
}

static int wait_code(pid_t pid)
{
    int state;
    while (waitpid(pid, &state, 0) < 0)
        if (errno != EINTR) return 126;
    return WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
}

/* Stands between this process and apt: when the other end of the lifeline closes, it
 * ends apt with all that fetches for it, and takes the folder away. */
static void keep(const struct apt *apt, char *const *arguments, int out_fd, int err_fd,
                 int lifeline)
{
    (void)setpgid(0, 0); /* a terminal's Ctrl-C is not for the keeper */
    pid_t pid = fork();
    if (pid == 0) become(apt, arguments, out_fd, err_fd);
    int pidfd = pid < 0 ? -1 : (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd >= 0 && wait_for_one(pidfd, lifeline) == 0) _exit(wait_code(pid));
    if (pid > 0) {
        /* By both names: it may not have got to be a group's first yet. */
        (void)kill(pid, SIGKILL);
        (void)kill(-pid, SIGKILL);
        (void)wait_code(pid);
    }
    (void)nftw(apt->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    _exit(126);
}

/* Output to the files "out" and "err". ret_code: as a shell has it. After a failure
 * the folder may be gone. */
static tc_status run(const struct apt *apt, char *const *arguments, int *ret_code,
                     struct tc_error *err)
{
    TC_AUTO_CLOSE int out_fd = -1, err_fd = -1, pidfd = -1;
    int ends[2];
    TC_TRY(open_file(apt, "out", &out_fd, err));
    TC_TRY(open_file(apt, "err", &err_fd, err));
    if (pipe2(ends, O_CLOEXEC) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make a pipe");
    TC_AUTO_CLOSE int kept_end = ends[0];
    TC_AUTO_CLOSE int lifeline = ends[1];
    pid_t pid = fork();
    if (pid < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot start %s", arguments[0]);
    if (pid == 0) {
        tc_close_ptr(&lifeline);
        keep(apt, arguments, out_fd, err_fd, kept_end);
    }
    pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    int which = pidfd < 0 ? -1 : wait_for_one(pidfd, apt->request->interrupt_fd);
    int reason = errno;
    tc_close_ptr(&lifeline);
    int code = wait_code(pid);
    if (which < 0) return tc_fail_errno(err, TC_SYSTEM, reason, "cannot watch %s", arguments[0]);
    if (which > 0) return tc_fail(err, TC_INTERRUPTED, "interrupted");
    *ret_code = code;
    return TC_OK;
}

/* apt's lines of errors and warnings, on one line. */
static void apt_words(const struct apt *apt, char *out, size_t size)
{
    TC_AUTO_BUF struct tc_buf text = tc_buf_new(OUTPUT_MAX);
    TC_AUTO_BUF struct tc_buf words = tc_buf_new(OUTPUT_MAX);
    struct tc_error ignored = {0};
    if (read_file(apt, "err", &text, &ignored) == TC_OK) {
        TC_AUTO_FREE char *lines = tc_buf_take_text(&text);
        char *state = NULL;
        for (char *line = lines ? strtok_r(lines, "\n", &state) : NULL; line;
             line = strtok_r(NULL, "\n", &state))
            if (strncmp(line, "E: ", 3) == 0 || strncmp(line, "W: ", 3) == 0)
                tc_buf_add_format(&words, "%s%s", words.size > 0 ? "; " : "", line + 3);
    }
    (void)tc_printable(tc_buf_span(&words), out, size);
}

static tc_status run_apt(const struct apt *apt, char *const *arguments, const char *doing,
                         struct tc_error *err)
{
    char words[WORDS_MAX];
    int code = 0;
    TC_TRY(run(apt, arguments, &code, err));
    if (code == 0) return TC_OK;
    if (code == 127)
        return tc_fail(err, TC_UNAVAILABLE,
                       "%s is missing: a recipe is locked by Debian's apt (2.0 or newer)",
                       arguments[0]);
    apt_words(apt, words, sizeof words);
    return tc_fail(err, TC_UNAVAILABLE, "apt could not %s: %s", doing,
                   *words ? words : "it gave no reason");
}

/* apt goes on after a warning, and what it warns of while it fetches is a mirror that
 * is not what was asked for. */
static tc_status update(const struct apt *apt, const struct tc_suites *suites, struct tc_error *err)
{
    static const char doing[] = "fetch and check the indexes";
    char *const arguments[] = {(char[]){"apt-get"}, (char[]){"--quiet=2"}, (char[]){"update"},
                               NULL};
    char words[WORDS_MAX];
    TC_TRY(run_apt(apt, arguments, doing, err));
    TC_TRY(tc_suites_check(apt->fd, suites, err));
    apt_words(apt, words, sizeof words);
    return *words ? tc_fail(err, TC_UNAVAILABLE, "apt could not %s without a warning: %s", doing,
                            words)
                  : TC_OK;
}

/* --- the configuration */

/* Settings of the machine that say how a mirror is reached. */
static bool is_kept(const char *line)
{
    static const char *const kept[] = {"Acquire::http::",   "Acquire::https::",  "Acquire::Check-",
                                       "Acquire::Retries ", "Acquire::ForceIPv", NULL};
    for (size_t i = 0; kept[i]; i++)
        if (strncasecmp(line, kept[i], strlen(kept[i])) == 0) return true;
    return false;
}

/* A line NAME "VALUE"; that comes back as it is. */
static bool is_setting(const char *line)
{
    const char *value = strstr(line, " \"");
    size_t size = strlen(line);
    if (!value || size < 4 || strcmp(line + size - 2, "\";") != 0) return false;
    const char *quote = strchr(value + 2, '"');
    return quote == line + size - 2 && !strpbrk(value, "\\\r\t") &&
           tc_is_printable(tc_span_of_text(line));
}

/* Of the checks of an index's date, in the words that apt knows. */
static bool turns_dates_off(const char *line)
{
    static const char *const checks[] = {"Acquire::Check-Valid-Until \"", "Acquire::Check-Date \""};
    static const char *const words[] = {"false\";",   "no\";",  "0\";",
                                        "without\";", "off\";", "disable\";"};
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        if (strncasecmp(line, checks[i], strlen(checks[i])) != 0) continue;
        for (size_t j = 0; j < sizeof words / sizeof *words; j++)
            if (strcasecmp(line + strlen(checks[i]), words[j]) == 0) return true;
    }
    return false;
}

static tc_status add_of_machine(const struct apt *apt, struct tc_buf *conf, struct tc_error *err)
{
    char *const arguments[] = {(char[]){"apt-config"}, (char[]){"--format=%f \"%v\";%n"},
                               (char[]){"dump"}, (char[]){"Acquire"}, NULL};
    TC_AUTO_BUF struct tc_buf text = tc_buf_new(OUTPUT_MAX);
    TC_TRY(run_apt(apt, arguments, "say how the machine reaches mirrors", err));
    TC_TRY(read_file(apt, "out", &text, err));
    TC_AUTO_FREE char *lines = tc_buf_take_text(&text);
    char *state = NULL;
    for (char *line = lines ? strtok_r(lines, "\n", &state) : NULL; line;
         line = strtok_r(NULL, "\n", &state))
        if (is_kept(line) && is_setting(line)) {
            tc_buf_add_format(conf, "%s\n", line);
            if (turns_dates_off(line)) *apt->request->ret_dates_ignored = true;
        }
    return TC_OK;
}

static tc_status write_conf(const struct apt *apt, struct tc_error *err)
{
    static const char fixed[] =
        "Dir::Etc::main \"/dev/null\";\n"
        "Dir::Etc::parts \"/dev/null\";\n"
        "Dir::Etc::preferences \"/dev/null\";\n"
        "Dir::Etc::preferencesparts \"/dev/null\";\n"
        "Dir::Etc::sourcelist \"/dev/null\";\n"
        "Dir::Etc::trusted \"/dev/null\";\n"
        "Dir::Etc::trustedparts \"/dev/null\";\n"
        "APT::Architecture \"amd64\";\n"
        "APT::Architectures \"amd64\";\n"
        "APT::Install-Recommends \"false\";\n"
        "APT::Install-Suggests \"false\";\n"
        "APT::Get::AllowUnauthenticated \"false\";\n"
        /* Every index, or none: an update that lacks one resolves to something else. */
        "APT::Update::Error-Mode \"any\";\n"
        "Acquire::AllowInsecureRepositories \"false\";\n"
        "Acquire::AllowWeakRepositories \"false\";\n"
        "Acquire::AllowDowngradeToInsecureRepositories \"false\";\n"
        "Acquire::Languages \"none\";\n"
        /* The one digest that a lock has, and the one that apt prints then. */
        "Acquire::ForceHash \"SHA256\";\n"
        "Debug::NoLocking \"true\";\n";
    TC_AUTO_BUF struct tc_buf conf = tc_buf_new(CONF_MAX);
    TC_TRY(add_of_machine(apt, &conf, err));
    tc_buf_add_text(&conf, fixed);
    tc_buf_add_format(&conf, "Dir::Etc::sourceparts \"%s/sources\";\n", apt->folder);
    tc_buf_add_format(&conf, "Dir::State \"%s/state\";\n", apt->folder);
    tc_buf_add_format(&conf, "Dir::State::status \"%s/status\";\n", apt->folder);
    tc_buf_add_format(&conf, "Dir::Cache \"%s/cache\";\n", apt->folder);
    return write_file(apt, "apt.conf", &conf, err);
}

static void name_suites(const struct apt *apt, struct tc_suites *suites)
{
    const char *suite = apt->request->recipe->suite;
    /* The suite that is never released has neither updates nor security. */
    bool is_rolling = strcmp(suite, "sid") == 0 || strcmp(suite, "unstable") == 0;
    static const char *const ends[TC_SUITES_MAX] = {"", "-updates", "-security"};
    suites->count = is_rolling ? 1 : apt->request->mirrors->archive[TC_ARCHIVE_SECURITY] ? 3 : 2;
    for (size_t i = 0; i < suites->count; i++)
        (void)snprintf(suites->names[i], sizeof suites->names[i], "%s%s", suite, ends[i]);
}

/* apt leaves out of its list what it could use from a file in place; "copy:" is the
 * way of the same files that it lists. */
static void add_source(struct tc_buf *sources, const char *url, const char *suites,
                       const char *keyring)
{
    bool is_file = strncmp(url, "file:", 5) == 0;
    tc_buf_add_format(sources,
                      "Types: deb\nURIs: %s%s\nSuites: %s\nComponents: main\nArchitectures: amd64\n"
                      "Signed-By: %s\n\n",
                      is_file ? "copy:" : "", is_file ? url + 5 : url, suites, keyring);
}

static tc_status write_sources(const struct apt *apt, const struct tc_suites *suites,
                               struct tc_error *err)
{
    const struct tc_mirrors *mirrors = apt->request->mirrors;
    const char *keyring = apt->request->keyring ? apt->request->keyring : debian_keyring;
    TC_AUTO_BUF struct tc_buf sources = tc_buf_new(CONF_MAX), empty = tc_buf_new(1);
    char main_suites[2 * TC_SUITE_MAX];
    if (access(keyring, R_OK) != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno,
                             "cannot read %s, which has Debian's keys: apt-get install "
                             "debian-archive-keyring",
                             keyring);
    if (mkdirat(apt->fd, "sources", 0755) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot prepare %s", apt->folder);
    (void)snprintf(main_suites, sizeof main_suites, "%s %s", suites->names[0],
                   suites->count > 1 ? suites->names[1] : "");
    add_source(&sources, mirrors->archive[TC_ARCHIVE_MAIN], main_suites, keyring);
    if (suites->count > 2)
        add_source(&sources, mirrors->archive[TC_ARCHIVE_SECURITY], suites->names[2], keyring);
    TC_TRY(write_file(apt, "status", &empty, err));
    return write_file(apt, "sources/debian.sources", &sources, err);
}

/* --- resolving */

static tc_status resolve(const struct apt *apt, struct tc_error *err)
{
    const struct tc_recipe *recipe = apt->request->recipe;
    TC_AUTO_FREE char **arguments = calloc(recipe->packages_count + ARGUMENTS, sizeof *arguments);
    static char fixed[][24] = {"apt-get",      "--quiet=2", "--yes",     "--no-install-recommends",
                               "--print-uris", "install",   "?essential"};
    size_t count = 0;
    if (!arguments) return tc_fail(err, TC_SYSTEM, "out of memory");
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        arguments[count++] = fixed[i];
    for (size_t i = 0; i < recipe->packages_count; i++)
        arguments[count++] = recipe->packages[i];
    return run_apt(apt, arguments, "resolve the recipe's packages", err);
}

/* A name may be of no package, but of what another one provides. */
static tc_status check_names(const struct tc_lock *lock, const struct tc_recipe *recipe,
                             struct tc_error *err)
{
    for (size_t i = 0; i < recipe->packages_count; i++)
        if (!tc_lock_find(lock, recipe->packages[i]))
            return tc_fail(
                err, TC_UNAVAILABLE,
                "\"%s\" is no package of %s itself, but what others provide: name the one "
                "that is meant",
                recipe->packages[i], recipe->suite);
    return TC_OK;
}

static tc_status read_result(const struct apt *apt, struct tc_lock *lock, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf text = tc_buf_new(OUTPUT_MAX);
    TC_TRY(read_file(apt, "out", &text, err));
    TC_AUTO_FREE char *lines = tc_buf_take_text(&text);
    lock->suite = strdup(apt->request->recipe->suite);
    lock->snapshot = apt->request->now;
    if (!lines || !lock->suite) return tc_fail(err, TC_SYSTEM, "out of memory");
    TC_TRY(tc_lock_parse_uris(lines, apt->request->mirrors, lock, err));
    if (tc_lock_check(lock, err) != TC_OK) return tc_wrap(err, "what apt resolved");
    return check_names(lock, apt->request->recipe, err);
}

tc_status tc_lock_make(const struct tc_lock_request *request, struct tc_lock *ret_lock,
                       struct tc_error *err)
{
    struct apt apt TC_CLEANUP(apt_done) = {.request = request, .fd = -1};
    TC_AUTO_LOCK struct tc_lock lock = {0};
    struct tc_suites suites;
    if (!request->mirrors->archive[TC_ARCHIVE_MAIN])
        return tc_fail(
            err, TC_UNAVAILABLE,
            "no mirror of Debian is known: expected a line for .../debian in /etc/apt, or "
            "--mirror URL");
    TC_TRY(open_work(&apt, err));
    TC_TRY(write_conf(&apt, err));
    name_suites(&apt, &suites);
    TC_TRY(write_sources(&apt, &suites, err));
    TC_TRY(update(&apt, &suites, err));
    TC_TRY(resolve(&apt, err));
    TC_TRY(read_result(&apt, &lock, err));
    *ret_lock = lock;
    lock = (struct tc_lock){0};
    return TC_OK;
}
