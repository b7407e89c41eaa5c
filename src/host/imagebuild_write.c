/* Puts an image together from what the scripts made. All of it is written and read
 * back in the work folder first; the results are then copied beside their final names
 * and get these one after the other, the image last: who sees it sees all of it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/jsonw.h"
#include "core/toolramdisk.h"
#include "core/veritytree.h"
#include "host/image_make.h"
#include "host/imagebuild_internal.h"
#include "os/files.h"
#include "os/readfile.h"
#include "os/tempfile.h"
#include "tc_version.h"

/* Ends the machine however it fails; the processor's word on entropy is not enough. By
 * itself the kernel makes 16 and 8 block devices, of which one is used. */
const char tc_making_cmdline[] =
    "console=ttyS0 loglevel=4 panic=-1 reboot=k random.trust_cpu=off no_timer_check "
    "nbd.nbds_max=1 max_loop=0";

enum { PIECE_BLOCKS = 64, PIECE = PIECE_BLOCKS * TC_VERITY_BLOCK };

/* What the scripts left, and what is written from it. */
struct writing {
    struct tc_making *making;
    char *ramdisk, *verity_path, *parts; /* of the results */
    char *second, *metadata, *image;     /* in the work folder */
    struct tc_verity verity;
    struct tc_image_text text;   /* borrows its strings; its list is owned */
    struct tc_tempfile files[3]; /* file system, list of parts, image */
};
enum { FILE_ROOT, FILE_PARTS, FILE_IMAGE, FILES };

static void writing_done(struct writing *writing)
{
    char *const paths[] = {writing->ramdisk, writing->verity_path, writing->parts,
                           writing->second,  writing->metadata,    writing->image};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        free(paths[i]);
    free(writing->text.packages);
    for (size_t i = 0; i < FILES; i++)
        tc_tempfile_drop(&writing->files[i]);
}

static tc_status name_files(struct writing *writing, struct tc_error *err)
{
    const char *results = writing->making->results, *folder = writing->making->folder.path;
    if (asprintf(&writing->ramdisk, "%s/ramdisk", results) < 0 ||
        asprintf(&writing->verity_path, "%s/root.verity", results) < 0 ||
        asprintf(&writing->parts, "%s/image.spdx.json", results) < 0 ||
        asprintf(&writing->second, "%s/toolchain.cpio", folder) < 0 ||
        asprintf(&writing->metadata, "%s/metadata.json", folder) < 0 ||
        asprintf(&writing->image, "%s/image.eif", folder) < 0)
        return tc_fail(err, TC_SYSTEM, "out of memory");
    return TC_OK;
}

/* The file system is large, and read where its room left it: nobody is in there now. */
static const char root_name[] = "root.out/root.erofs";

static tc_status open_root(const struct writing *writing, int *ret_fd, uint64_t *ret_size,
                           struct tc_error *err)
{
    return tc_making_open(writing->making->root_work, root_name, ret_fd, ret_size, err);
}

static tc_status open_file(const char *path, int *ret_fd, uint64_t *ret_size, struct tc_error *err)
{
    struct stat info;
    TC_AUTO_CLOSE int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot open %s", path);
    *ret_size = (uint64_t)info.st_size;
    *ret_fd = TC_TAKE_FD(fd);
    return TC_OK;
}

static tc_status size_of(const char *path, uint64_t *ret_size, struct tc_error *err)
{
    TC_AUTO_CLOSE int fd = -1;
    return open_file(path, &fd, ret_size, err);
}

static tc_status read_piece(int fd, const char *path, uint8_t *piece, size_t size,
                            struct tc_error *err)
{
    for (size_t done = 0; done < size;) {
        ssize_t got = read(fd, piece + done, size - done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read %s", path);
        if (got == 0) return tc_fail(err, TC_BUILD, "%s is cut off", path);
        done += (size_t)got;
    }
    return TC_OK;
}

/* size bytes from where fd is; tree may be NULL, size is whole blocks otherwise. */
static tc_status copy(int fd, const char *path, uint64_t size, int to, const char *what,
                      struct tc_veritytree *tree, struct tc_error *err)
{
    TC_AUTO_FREE uint8_t *piece = malloc(PIECE);
    if (!piece) return tc_fail(err, TC_SYSTEM, "out of memory");
    while (size > 0) {
        size_t part = size < PIECE ? (size_t)size : PIECE;
        TC_TRY(read_piece(fd, path, piece, part, err));
        if (tree) TC_TRY(tc_veritytree_add(tree, piece, part / TC_VERITY_BLOCK, err));
        if (to >= 0) TC_TRY(tc_write_all(to, (struct tc_span){piece, part}, what, err));
        size -= part;
    }
    return TC_OK;
}

/* The description is measured and the file is what it describes: the root hash is
 * computed once more here, by other code than the builder's. */
static tc_status check_root(struct writing *writing, struct tc_image_built *built,
                            struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf text = tc_buf_new(TC_VERITY_TEXT_MAX);
    TC_AUTO_CLOSE int fd = -1;
    struct tc_verity *verity = &writing->verity;
    struct tc_sha256 root;
    TC_TRY(tc_readfile_at(AT_FDCWD, writing->verity_path, false, writing->verity_path, &text, err));
    TC_TRY(tc_verity_decode(tc_buf_span(&text), verity, err));
    TC_TRY(open_root(writing, &fd, &built->root_size, err));
    if (built->root_size != verity->total_blocks * TC_VERITY_BLOCK ||
        verity->total_blocks != tc_veritytree_total(verity->data_blocks))
        return tc_fail(err, TC_BUILD, "%s has another size than root.verity says", root_name);
    TC_AUTO_VERITYTREE struct tc_veritytree *tree =
        tc_veritytree_new(verity->data_blocks, verity->salt, NULL, NULL);
    if (!tree) return tc_fail(err, TC_SYSTEM, "out of memory");
    TC_TRY(copy(fd, root_name, verity->data_blocks * TC_VERITY_BLOCK, -1, "", tree, err));
    TC_TRY(tc_veritytree_root(tree, &root, err));
    if (memcmp(root.bytes, verity->root.bytes, sizeof root.bytes) != 0)
        return tc_fail(err, TC_BUILD, "%s has another root hash than root.verity says", root_name);
    return TC_OK;
}

static tc_status compose_text(struct writing *writing, struct tc_error *err)
{
    const struct tc_making *making = writing->making;
    struct tc_image_text *text = &writing->text;
    text->packages = calloc(making->lock.packages_count + 1, sizeof *text->packages);
    if (!text->packages) return tc_fail(err, TC_SYSTEM, "out of memory");
    for (size_t i = 0; i < making->lock.packages_count; i++) {
        const struct tc_lock_package *package = &making->lock.packages[i];
        text->packages[i] = (struct tc_image_package){package->name, package->version,
                                                      package->architecture, package->digest};
    }
    text->packages_count = making->lock.packages_count;
    text->name = making->recipe.name;
    text->recipe = making->digest;
    text->cmdline = (char *)(uintptr_t)tc_making_cmdline; /* borrowed, as the rest of it */
    TC_TRY(size_of(making->kernel, &text->kernel_size, err));
    return size_of(writing->ramdisk, &text->ramdisk_size, err);
}

static tc_status create(const char *path, int *ret_fd, struct tc_error *err)
{
    *ret_fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (*ret_fd < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot write %s", path);
    return TC_OK;
}

static tc_status write_ramdisk(struct writing *writing, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(TC_TOOLRAMDISK_HEAD_MAX);
    TC_AUTO_CLOSE int fd = -1;
    TC_TRY(create(writing->second, &fd, err));
    if (!writing->making->wanted->self_contained) {
        TC_TRY(tc_toolramdisk_encode(&writing->text, &writing->verity, &buf, err));
        return tc_write_all(fd, tc_buf_span(&buf), writing->second, err);
    }
    TC_AUTO_CLOSE int root_fd = -1;
    uint64_t size = 0;
    TC_TRY(open_root(writing, &root_fd, &size, err));
    size = writing->verity.data_blocks * TC_VERITY_BLOCK; /* without the hash tree */
    TC_TRY(tc_toolramdisk_head(&writing->text, size, &buf, err));
    TC_TRY(tc_write_all(fd, tc_buf_span(&buf), writing->second, err));
    TC_TRY(copy(root_fd, root_name, size, fd, writing->second, NULL, err));
    size += buf.size;
    tc_buf_reset(&buf);
    tc_toolramdisk_tail(size, &buf);
    TC_TRY(tc_buf_check(&buf, "the end of the second ramdisk", err));
    return tc_write_all(fd, tc_buf_span(&buf), writing->second, err);
}

static void write_custom(struct tc_jsonw *w, const struct tc_making *making)
{
    tc_jsonw_object(w, "CustomMetadata");
    tc_jsonw_hex(w, "Recipe", making->digest.bytes, sizeof making->digest.bytes);
    tc_jsonw_array(w, "Packages");
    for (size_t i = 0; i < making->lock.packages_count; i++) {
        const struct tc_lock_package *package = &making->lock.packages[i];
        tc_jsonw_object(w, NULL);
        tc_jsonw_text(w, "Name", package->name);
        tc_jsonw_text(w, "Version", package->version);
        tc_jsonw_text(w, "Architecture", package->architecture);
        tc_jsonw_hex(w, "SHA256", package->digest.bytes, sizeof package->digest.bytes);
        tc_jsonw_end_object(w);
    }
    tc_jsonw_end_array(w);
    tc_jsonw_end_object(w);
}

/* A hint for people: nothing measures it. AWS's reader wants each of the members. */
static tc_status write_metadata(struct writing *writing, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(TC_EIF_METADATA_MAX);
    TC_AUTO_CLOSE int fd = -1;
    struct tc_jsonw w = tc_jsonw_new(&buf);
    tc_jsonw_object(&w, NULL);
    tc_jsonw_text(&w, "ImageName", writing->making->recipe.name);
    tc_jsonw_text(&w, "ImageVersion", "1");
    tc_jsonw_object(&w, "BuildMetadata");
    tc_jsonw_text(&w, "BuildTime", ""); /* not said: the same recipe gives the same bytes */
    tc_jsonw_text(&w, "BuildTool", "tee-compile");
    tc_jsonw_text(&w, "BuildToolVersion", TC_VERSION);
    tc_jsonw_text(&w, "OperatingSystem", "Linux");
    tc_jsonw_text(&w, "KernelVersion", "");
    tc_jsonw_end_object(&w);
    tc_jsonw_object(&w, "DockerInfo");
    tc_jsonw_end_object(&w);
    write_custom(&w, writing->making);
    tc_jsonw_end_object(&w);
    TC_TRY(tc_buf_check(&buf, "the image's metadata", err));
    TC_TRY(create(writing->metadata, &fd, err));
    return tc_write_all(fd, tc_buf_span(&buf), writing->metadata, err);
}

static tc_status open_output(struct writing *writing, size_t index, const char *stem,
                             const char *suffix, struct tc_error *err)
{
    TC_AUTO_FREE char *path = NULL;
    if (asprintf(&path, "%s%s", stem, suffix) < 0) return tc_fail(err, TC_SYSTEM, "out of memory");
    return tc_tempfile_open(path, &writing->files[index], err);
}

static tc_status copy_output(struct writing *writing, size_t index, const char *from,
                             struct tc_error *err)
{
    TC_AUTO_CLOSE int fd = -1;
    uint64_t size = 0;
    const struct tc_tempfile *file = &writing->files[index];
    TC_TRY(from ? open_file(from, &fd, &size, err) : open_root(writing, &fd, &size, err));
    return copy(fd, from ? from : root_name, size, file->fd, file->path, NULL, err);
}

static tc_status publish(struct writing *writing, struct tc_error *err)
{
    TC_AUTO_FREE char *stem = NULL;
    TC_TRY(tc_making_stem(writing->making->wanted->output, &stem, err));
    if (!writing->making->wanted->self_contained) {
        TC_TRY(open_output(writing, FILE_ROOT, stem, ".erofs", err));
        TC_TRY(copy_output(writing, FILE_ROOT, NULL, err));
    }
    TC_TRY(open_output(writing, FILE_PARTS, stem, ".spdx.json", err));
    TC_TRY(copy_output(writing, FILE_PARTS, writing->parts, err));
    TC_TRY(open_output(writing, FILE_IMAGE, stem, ".eif", err));
    TC_TRY(copy_output(writing, FILE_IMAGE, writing->image, err));
    TC_TRY(tc_making_check_interrupt(writing->making, err));
    /* The image last: who sees it sees all of it. */
    return tc_tempfile_commit_all(writing->files, FILES, err);
}

/* Opened and forgotten: what cannot be written is said before the long work. */
tc_status tc_making_check_outputs(const struct tc_making *making, const char *stem,
                                  struct tc_error *err)
{
    static const char *const suffixes[FILES] = {
        [FILE_ROOT] = ".erofs", [FILE_PARTS] = ".spdx.json", [FILE_IMAGE] = ".eif"};
    for (size_t i = 0; i < FILES; i++) {
        TC_AUTO_TEMPFILE struct tc_tempfile file = TC_TEMPFILE_NONE;
        TC_AUTO_FREE char *path = NULL;
        if (asprintf(&path, "%s%s", stem, suffixes[i]) < 0)
            return tc_fail(err, TC_SYSTEM, "out of memory");
        TC_TRY(tc_tempfile_open(path, &file, err));
        if (i == FILE_ROOT && making->wanted->self_contained && access(path, F_OK) == 0)
            return tc_fail(err, TC_USAGE,
                           "%s is of an earlier image, and a self-contained one has none: take it "
                           "away or choose another name",
                           path);
    }
    return TC_OK;
}

tc_status tc_making_write(struct tc_making *making, struct tc_image_built *built,
                          struct tc_error *err)
{
    struct writing writing TC_CLEANUP(writing_done) = {
        .making = making, .files = {TC_TEMPFILE_NONE, TC_TEMPFILE_NONE, TC_TEMPFILE_NONE}};
    tc_making_say(making, "%s: putting the image together", making->recipe.name);
    TC_TRY(name_files(&writing, err));
    TC_TRY(check_root(&writing, built, err));
    TC_TRY(compose_text(&writing, err));
    TC_TRY(write_ramdisk(&writing, err));
    TC_TRY(write_metadata(&writing, err));
    const char *const ramdisks[] = {writing.ramdisk, writing.second};
    const struct tc_image_parts parts = {making->kernel, tc_making_cmdline, ramdisks, 2,
                                         writing.metadata};
    TC_TRY(tc_image_assemble(&parts, writing.image, &built->facts, err));
    built->recipe = making->digest;
    built->packages = making->lock.packages_count;
    return publish(&writing, err);
}
