#include "host/recipe_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "os/files.h"
#include "os/readfile.h"
#include "os/tempfile.h"

enum { SHOWN_SIZE = 400 };

static tc_status open_folder(const char *folder, const char *shown, int *ret_fd,
                             struct tc_error *err)
{
    int fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno,
                             "cannot open %s: expected a recipe's folder, as images/c is one",
                             shown);
    *ret_fd = fd;
    return TC_OK;
}

/* What messages call a file of the folder. */
static void name_file(const char *shown, const char *file, char out[SHOWN_SIZE])
{
    (void)snprintf(out, SHOWN_SIZE, "%.*s/%s", SHOWN_SIZE - 80, shown, file);
}

static tc_status check_script(int folder_fd, const char *what, const struct tc_recipe *recipe,
                              struct tc_error *err)
{
    struct stat info;
    if (!recipe->script) return TC_OK;
    if (fstatat(folder_fd, recipe->script, &info, AT_SYMLINK_NOFOLLOW) != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "%s: the script \"%s\" is not beside it",
                             what, recipe->script);
    if (!S_ISREG(info.st_mode))
        return tc_fail(err, TC_UNAVAILABLE, "%s: the script \"%s\" is no regular file", what,
                       recipe->script);
    return TC_OK;
}

tc_status tc_recipe_load(const char *folder, const char *name, struct tc_recipe *ret_recipe,
                         struct tc_error *err)
{
    char shown[SHOWN_SIZE], what[SHOWN_SIZE];
    TC_AUTO_CLOSE int fd = -1;
    TC_AUTO_BUF struct tc_buf text = tc_buf_new(TC_RECIPE_MAX);
    TC_AUTO_RECIPE struct tc_recipe recipe = {0};
    (void)tc_printable(tc_span_of_text(name), shown, sizeof shown);
    name_file(shown, "recipe.json", what);
    TC_TRY(open_folder(folder, shown, &fd, err));
    TC_TRY(tc_readfile_at(fd, "recipe.json", false, what, &text, err));
    TC_TRY(tc_recipe_read(tc_buf_span(&text), what, &recipe, err));
    TC_TRY(check_script(fd, what, &recipe, err));
    *ret_recipe = recipe;
    recipe = (struct tc_recipe){0};
    return TC_OK;
}

tc_status tc_lock_load(const char *folder, const char *name, const struct tc_recipe *recipe,
                       struct tc_lock *ret_lock, struct tc_error *err)
{
    char shown[SHOWN_SIZE], what[SHOWN_SIZE];
    TC_AUTO_CLOSE int fd = -1;
    TC_AUTO_BUF struct tc_buf text = tc_buf_new(TC_LOCK_MAX);
    TC_AUTO_LOCK struct tc_lock lock = {0};
    (void)tc_printable(tc_span_of_text(name), shown, sizeof shown);
    name_file(shown, "lock.json", what);
    TC_TRY(open_folder(folder, shown, &fd, err));
    if (faccessat(fd, "lock.json", F_OK, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT)
        return tc_fail(err, TC_UNAVAILABLE, "%s is missing: make it with tee-compile image lock %s",
                       what, shown);
    TC_TRY(tc_readfile_at(fd, "lock.json", false, what, &text, err));
    TC_TRY(tc_lock_read(tc_buf_span(&text), what, &lock, err));
    if (recipe && tc_lock_fits(&lock, recipe, err) != TC_OK) return tc_wrap(err, "%s", shown);
    *ret_lock = lock;
    lock = (struct tc_lock){0};
    return TC_OK;
}

tc_status tc_lock_save(const char *folder, const struct tc_lock *lock, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf text = tc_buf_new(TC_LOCK_MAX);
    TC_AUTO_TEMPFILE struct tc_tempfile file = TC_TEMPFILE_NONE;
    TC_AUTO_FREE char *path = NULL;
    TC_TRY(tc_lock_write(lock, &text, err));
    if (asprintf(&path, "%s/lock.json", folder) < 0) {
        path = NULL;
        return tc_fail(err, TC_SYSTEM, "out of memory");
    }
    TC_TRY(tc_tempfile_open(path, &file, err));
    TC_TRY(tc_write_all(file.fd, tc_buf_span(&text), "lock.json", err));
    return tc_tempfile_commit(&file, err);
}
