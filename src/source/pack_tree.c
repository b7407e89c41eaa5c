/* A folder as it lies, in the order of core/entry.h: each folder's names are
 * sorted as git sorts them and opened one by one, following no link.
 *
 * Rules (those of a repository behind it, pack_rules.c) say what belongs to the
 * source; without any everything but .git at the top does, empty folders too. A
 * submodule's files are judged by its own rules. With rules a git LFS pointer is
 * refused, as it is in a commit whose object is missing: it would be built in place
 * of the file that it stands for. */
#include "source/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "os/tempname.h"

struct scan {
    const struct tc_tree *tree;
    struct tc_out *out;
    const struct tc_tree_rules *rules; /* that hold here; NULL: none; borrowed */
    struct tc_buf path;                /* NUL-terminated by text() */
    size_t sent;                       /* entries so far */
};

struct name {
    char *text;
    mode_t kind; /* S_IFMT bits */
};
struct names {
    struct name *items;
    size_t count, room;
};

static void names_free(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->items[i].text);
    free(names->items);
}

static int by_order(const void *a, const void *b)
{
    const struct name *x = a, *y = b;
    struct tc_entry left = {.kind = S_ISDIR(x->kind) ? TC_ENTRY_FOLDER : TC_ENTRY_FILE,
                            .path = tc_span_of_text(x->text)};
    struct tc_entry right = {.kind = S_ISDIR(y->kind) ? TC_ENTRY_FOLDER : TC_ENTRY_FILE,
                             .path = tc_span_of_text(y->text)};
    return tc_entry_compare(&left, &right);
}

/* The path so far as a string. */
static const char *text(struct scan *scan)
{
    tc_buf_add_u8(&scan->path, 0);
    if (tc_buf_ok(&scan->path)) scan->path.size--;
    return scan->path.data ? (const char *)scan->path.data : "";
}

static tc_status refuse(struct scan *scan, const char *why, struct tc_error *err)
{
    char shown[256];
    return tc_fail(err, TC_USAGE, "%s: %s",
                   tc_printable(tc_buf_span(&scan->path), shown, sizeof shown), why);
}

static tc_status add_name(struct names *names, int folder, const char *name, struct tc_error *err)
{
    struct stat info;
    char shown[256];
    if (names->count == names->room) {
        size_t room = names->room > 0 ? 2 * names->room : 64;
        struct name *grown = reallocarray(names->items, room, sizeof *grown);
        if (!grown) return tc_fail(err, TC_SYSTEM, "out of memory for a folder's names");
        names->items = grown;
        names->room = room;
    }
    if (fstatat(folder, name, &info, AT_SYMLINK_NOFOLLOW) != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot look at %s",
                             tc_printable(tc_span_of_text(name), shown, sizeof shown));
    struct name *added = &names->items[names->count];
    added->kind = info.st_mode & S_IFMT;
    added->text = strdup(name);
    if (!added->text) return tc_fail(err, TC_SYSTEM, "out of memory for a folder's names");
    names->count++;
    return TC_OK;
}

static tc_status list(int folder, struct names *names, struct tc_error *err)
{
    int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *listing = copy >= 0 ? fdopendir(copy) : NULL;
    if (!listing) {
        int reason = errno;
        tc_close_ptr(&copy);
        return tc_fail_errno(err, TC_UNAVAILABLE, reason, "cannot list a folder");
    }
    tc_status status = TC_OK;
    const struct dirent *entry;
    errno = 0;
    while (status == TC_OK && (entry = readdir(listing))) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            status = add_name(names, folder, entry->d_name, err);
        errno = 0;
    }
    if (status == TC_OK && errno != 0)
        status = tc_fail_errno(err, TC_SYSTEM, errno, "cannot list a folder");
    (void)closedir(listing);
    if (status == TC_OK && names->count > 0)
        qsort(names->items, names->count, sizeof *names->items, by_order);
    return status;
}

/* --- what belongs to the source --- */

/* Is the file or symlink path what is made there, or that before it is finished? */
static bool is_made(const char *path, mode_t kind, const char *made)
{
    const char *slash = strrchr(path, '/');
    size_t folder = slash ? (size_t)(slash - path) + 1 : 0;
    if (strncmp(path, made, folder) != 0 || strchr(made + folder, '/')) return false;
    return strcmp(path + folder, made + folder) == 0 ||
           (S_ISREG(kind) && tc_tempname_is(path + folder, made + folder));
}

/* Never a folder: what lies in it would go unseen. */
static bool is_ignored_path(struct scan *scan, mode_t kind)
{
    size_t root = strlen(scan->tree->folder);
    const char *path = text(scan);
    if (S_ISDIR(kind)) return false;
    for (char *const *one = scan->tree->ignore; one && *one; one++)
        if (strncmp(*one, scan->tree->folder, root) == 0 && (*one)[root] == '/' &&
            is_made(path, kind, *one + root + 1))
            return true;
    return false;
}

static bool is_submodule(struct scan *scan)
{
    return scan->rules && scan->rules->is_submodule(scan->rules, text(scan));
}

/* --- sending --- */

static tc_status send_folder(struct scan *scan, int folder, struct tc_error *err);

/* Looks without moving the file's position. */
static tc_status refuse_pointer(struct scan *scan, int fd, uint64_t size, struct tc_error *err)
{
    uint8_t bytes[TC_GIT_LFS_POINTER_MAX];
    struct tc_git_lfs lfs;
    char shown[256];
    ssize_t got;
    if (!scan->rules || size > sizeof bytes) return TC_OK;
    do
        got = pread(fd, bytes, (size_t)size, 0);
    while (got < 0 && errno == EINTR);
    struct tc_span path = tc_buf_span(&scan->path);
    (void)tc_printable(path, shown, sizeof shown);
    if (got < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read %s", shown);
    struct tc_span pointer = {bytes, (size_t)got};
    if (!tc_git_is_lfs_pointer(pointer)) return TC_OK;
    if (tc_git_lfs_read(pointer, &lfs, err) != TC_OK) return tc_wrap(err, "%s", shown);
    return tc_lfs_missing(path, &lfs, ", then git lfs checkout", err);
}

static tc_status send_file(struct scan *scan, int folder, const char *name, struct tc_error *err)
{
    struct tc_entry entry = {.kind = TC_ENTRY_FILE};
    TC_AUTO_CLOSE int fd = -1;
    TC_TRY(tc_file_open(folder, name, text(scan), &fd, &entry.size, &entry.executable, err));
    TC_TRY(refuse_pointer(scan, fd, entry.size, err));
    entry.path = tc_buf_span(&scan->path);
    TC_TRY(tc_out_entry(scan->out, &entry, err));
    TC_TRY(tc_file_send(fd, entry.size, text(scan), scan->out, err));
    entry.path = tc_buf_span(&scan->path);
    scan->sent++;
    return tc_out_count(scan->out, &entry, err);
}

static tc_status send_symlink(struct scan *scan, int folder, const char *name, struct tc_error *err)
{
    uint8_t target[TC_PATH_MAX + 1];
    ssize_t size = readlinkat(folder, name, (char *)target, sizeof target);
    if (size <= 0 || size > TC_PATH_MAX) return refuse(scan, "cannot read this symlink", err);
    struct tc_entry entry = {.kind = TC_ENTRY_SYMLINK,
                             .path = tc_buf_span(&scan->path),
                             .target = {target, (size_t)size}};
    TC_TRY(tc_out_entry(scan->out, &entry, err));
    scan->sent++;
    return tc_out_count(scan->out, &entry, err);
}

static tc_status send_empty(struct scan *scan, struct tc_error *err)
{
    struct tc_entry entry = {.kind = TC_ENTRY_FOLDER, .path = tc_buf_span(&scan->path)};
    TC_TRY(tc_out_entry(scan->out, &entry, err));
    scan->sent++;
    return tc_out_count(scan->out, &entry, err);
}

/* The files of a submodule, by its own rules. */
static tc_status send_submodule(struct scan *scan, int folder, struct tc_error *err)
{
    const struct tc_tree_rules *outer = scan->rules;
    struct tc_tree_rules *inner = NULL;
    TC_TRY(outer->enter(outer, text(scan), &inner, err));
    if (!inner) return send_empty(scan, err);
    scan->rules = inner;
    tc_status status = send_folder(scan, folder, err);
    scan->rules = outer;
    outer->leave(inner);
    return status;
}

static tc_status enter_folder(struct scan *scan, int parent, const char *name, struct tc_error *err)
{
    TC_AUTO_CLOSE int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open the folder %s", text(scan));
    size_t before = scan->sent;
    if (is_submodule(scan)) return send_submodule(scan, fd, err);
    TC_TRY(send_folder(scan, fd, err));
    return scan->sent == before && !scan->rules ? send_empty(scan, err) : TC_OK;
}

static tc_status send_name(struct scan *scan, int folder, const struct name *name,
                           struct tc_error *err)
{
    bool wanted = true;
    if (is_ignored_path(scan, name->kind)) return TC_OK;
    if (scan->rules && !is_submodule(scan)) {
        TC_TRY(scan->rules->belongs(scan->rules, text(scan), S_ISDIR(name->kind), &wanted, err));
        if (!wanted) return TC_OK;
    }
    if (tc_path_has_dotgit(tc_span_of_text(name->text)))
        return refuse(scan, "a nested git repository, or a name that git keeps for itself; make it "
                            "a submodule, or move it away", err);
    if (!tc_path_is_safe(tc_buf_span(&scan->path)))
        return refuse(scan, "a path too long or too deep for a source", err);
    switch (name->kind) {
    case S_IFREG: return send_file(scan, folder, name->text, err);
    case S_IFLNK: return send_symlink(scan, folder, name->text, err);
    case S_IFDIR: return enter_folder(scan, folder, name->text, err);
    default:
        return refuse(scan, "a socket, FIFO or device cannot be part of a source; move it away", err);
    }
}

static tc_status send_names(struct scan *scan, int folder, const struct names *names,
                            struct tc_error *err)
{
    size_t parent = scan->path.size;
    /* The top of the project or of a submodule has a .git of its own. */
    bool is_top = parent == 0 || (scan->rules && parent + 1 == scan->rules->start);
    for (size_t i = 0; i < names->count; i++) {
        const struct name *name = &names->items[i];
        if (is_top && strcmp(name->text, ".git") == 0) continue;
        if (parent > 0) tc_buf_add_u8(&scan->path, '/');
        tc_buf_add_text(&scan->path, name->text);
        (void)text(scan);
        if (!tc_buf_ok(&scan->path)) return tc_fail(err, TC_LIMIT, "a path is too long");
        TC_TRY(send_name(scan, folder, name, err));
        scan->path.size = parent;
    }
    return TC_OK;
}

/* Recursion ends at TC_PATH_DEPTH_MAX, by tc_path_is_safe. */
static tc_status send_folder(struct scan *scan, int folder, struct tc_error *err)
{
    struct names names = {0};
    tc_status status = list(folder, &names, err);
    if (status == TC_OK) status = send_names(scan, folder, &names, err);
    names_free(&names);
    return status;
}

tc_status tc_tree_send(const struct tc_tree *tree, struct tc_out *out, struct tc_error *err)
{
    struct scan scan = {.tree = tree,
                        .out = out,
                        .rules = tree->rules,
                        /* A checked path, "/", a name, "/" and the NUL fit. */
                        .path = tc_buf_new(TC_PATH_MAX + TC_NAME_MAX + 8)};
    tc_status status = send_folder(&scan, tree->folder_fd, err);
    tc_buf_free(&scan.path);
    return status;
}
