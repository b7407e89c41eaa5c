/* Two passes over the EIF: one by image_read, which measures and finds the sections,
 * then one over the head of the second ramdisk. The root's file system is read
 * once, in order, while its tree grows; each finished block of the tree is compared
 * with the one in the file. Which of the two is wrong is only known at the end:
 * when the root comes out as measured, the data is right and the tree is damaged. */
#include "host/imagefile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/veritytree.h"
#include "host/image_read.h"

enum {
    PIECE = 1 << 20, /* bytes of the file system that are in memory at once */
    RAMDISKS = 2,    /* the worker's and the toolchain's */
};

void tc_imagefile_done(struct tc_imagefile *image)
{
    tc_close_ptr(&image->eif_fd);
    tc_close_ptr(&image->root_fd);
    free(TC_TAKE(image->root_name));
    free(TC_TAKE(image->root_advice));
    tc_toolramdisk_free(&image->content);
}

static tc_status read_at(int fd, void *out, size_t size, uint64_t offset, const char *what,
                         struct tc_error *err)
{
    uint8_t *to = out;
    while (size > 0) {
        ssize_t got = pread(fd, to, size, (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read %s", what);
        if (got == 0) return tc_fail(err, TC_REFUSED, "%s became shorter while it was read", what);
        to += got;
        offset += (uint64_t)got;
        size -= (size_t)got;
    }
    return TC_OK;
}

static tc_status file_size(int fd, const char *what, uint64_t *ret_size, struct tc_error *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot look at %s", what);
    if (!S_ISREG(info.st_mode)) return tc_fail(err, TC_USAGE, "%s is no regular file", what);
    if ((uint64_t)info.st_size > TC_IMAGEFILE_SIZE_MAX)
        return tc_fail(err, TC_LIMIT, "%s is larger than 1 TiB", what);
    *ret_size = (uint64_t)info.st_size;
    return TC_OK;
}

/* --- the EIF --- */

/* The sections in the order in which image_read has found them. */
struct places {
    const struct tc_image_section *kernel, *ramdisks[RAMDISKS];
    size_t ramdisks_count;
};

static bool find_places(const struct tc_image_facts *facts, struct places *places)
{
    *places = (struct places){0};
    for (size_t i = 0; i < facts->sections_count; i++) {
        const struct tc_image_section *section = &facts->sections[i];
        if (section->place.kind == TC_EIF_KERNEL) places->kernel = section;
        if (section->place.kind != TC_EIF_RAMDISK) continue;
        if (places->ramdisks_count < RAMDISKS) places->ramdisks[places->ramdisks_count] = section;
        places->ramdisks_count++;
    }
    return places->kernel && places->ramdisks[0] && places->ramdisks[1] &&
           places->ramdisks_count == RAMDISKS;
}

static tc_status read_content(int fd, const struct tc_image_section *section, const char *what,
                              struct tc_toolramdisk *ret_content, struct tc_error *err)
{
    size_t size = section->place.size < TC_TOOLRAMDISK_HEAD_MAX ? (size_t)section->place.size
                                                                : TC_TOOLRAMDISK_HEAD_MAX;
    TC_AUTO_FREE uint8_t *head = malloc(size > 0 ? size : 1);
    if (!head) return tc_fail(err, TC_SYSTEM, "out of memory to read %s", what);
    TC_TRY(read_at(fd, head, size, section->place.offset, what, err));
    struct tc_error problem = {0};
    tc_status status = tc_toolramdisk_decode((struct tc_span){head, size}, section->place.size,
                                             ret_content, &problem);
    if (status == TC_MALFORMED)
        return tc_fail(err, TC_REFUSED, "%s is no image of tee-compile: %s", what, problem.message);
    if (status != TC_OK) *err = problem;
    return status;
}

/* Behind the embedded file system stands the archive's end and nothing else. */
static tc_status check_tail(int fd, const struct tc_image_section *section,
                            const struct tc_toolramdisk *content, const char *what,
                            struct tc_error *err)
{
    enum { TAIL_MAX = 8192 };
    uint8_t seen[TAIL_MAX];
    uint64_t from = content->root_offset + content->root_size;
    TC_AUTO_BUF struct tc_buf tail = tc_buf_new(TAIL_MAX);
    tc_toolramdisk_tail(from, &tail);
    TC_TRY(tc_buf_check(&tail, "the end of a ramdisk", err));
    bool good = from <= section->place.size && section->place.size - from == tail.size;
    if (good) TC_TRY(read_at(fd, seen, tail.size, section->place.offset + from, what, err));
    if (!good || memcmp(seen, tail.data, tail.size) != 0)
        return tc_fail(err, TC_REFUSED,
                       "%s is no image of tee-compile: its second ramdisk does not end behind the "
                       "toolchain's file system",
                       what);
    return TC_OK;
}

/* PCR0 is over the sections' bytes one after the other: the same PCR0 with another
 * end of the kernel or of a ramdisk is another machine. The text, measured itself,
 * says where they end. */
static tc_status check_boundaries(const struct tc_image_facts *facts, const struct places *places,
                                  const struct tc_image_text *text, const char *what,
                                  struct tc_error *err)
{
    const struct {
        const char *name;
        uint64_t expected, seen;
    } sizes[] = {{"kernel", text->kernel_size, places->kernel->place.size},
                 {"first ramdisk", text->ramdisk_size, places->ramdisks[0]->place.size}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].expected != sizes[i].seen)
            return tc_fail(err, TC_REFUSED,
                           "%s is not the image that was made: expected %llu bytes of %s, as its "
                           "measured text says, saw %llu; somebody moved the bounds between its "
                           "sections",
                           what, (unsigned long long)sizes[i].expected, sizes[i].name,
                           (unsigned long long)sizes[i].seen);
    if (!tc_span_equal(tc_buf_span(&facts->cmdline), tc_span_of_text(text->cmdline))) {
        char expected[256], seen[256];
        return tc_fail(
            err, TC_REFUSED,
            "%s is not the image that was made: expected the command line \"%s\", as its "
            "measured text says, saw \"%s\"",
            what, tc_printable(tc_span_of_text(text->cmdline), expected, sizeof expected),
            tc_printable(tc_buf_span(&facts->cmdline), seen, sizeof seen));
    }
    return TC_OK;
}

void tc_imagefile_says_free(struct tc_imagefile_says *says)
{
    tc_toolramdisk_free(&says->content);
}

/* The first bytes of the ramdisks behind the first, joined: where they are cut is in no
 * PCR. */
static tc_status read_joined(int fd, uint64_t start, const struct tc_image_facts *facts,
                             const char *what, struct tc_buf *head, uint64_t *ret_size,
                             struct tc_error *err)
{
    uint64_t size = 0;
    bool first = true;
    for (size_t i = 0; i < facts->sections_count; i++) {
        const struct tc_eif_section *place = &facts->sections[i].place;
        uint8_t piece[4096];
        if (place->kind != TC_EIF_RAMDISK) continue;
        if (first) {
            first = false;
            continue;
        }
        for (uint64_t at = 0; at < place->size && head->size < head->max;) {
            uint64_t left = place->size - at, room = head->max - head->size;
            if (left > room) left = room;
            size_t take = left < sizeof piece ? (size_t)left : sizeof piece;
            TC_TRY(read_at(fd, piece, take, start + place->offset + at, what, err));
            tc_buf_add(head, piece, take);
            at += take;
        }
        size += place->size;
    }
    *ret_size = size;
    return tc_buf_check(head, "the head of the ramdisks", err);
}

tc_status tc_imagefile_ask(int fd, uint64_t start, const struct tc_image_facts *facts,
                           const char *what, struct tc_imagefile_says *ret_says,
                           struct tc_error *err)
{
    TC_AUTO_IMAGEFILE_SAYS struct tc_imagefile_says says = {0};
    TC_AUTO_BUF struct tc_buf head = tc_buf_new(TC_TOOLRAMDISK_HEAD_MAX);
    struct tc_error problem = {0};
    struct places places;
    uint64_t size;
    (void)find_places(facts, &places);
    TC_TRY(read_joined(fd, start, facts, what, &head, &size, err));
    tc_status status = tc_toolramdisk_decode(tc_buf_span(&head), size, &says.content, &problem);
    if (status != TC_OK && status != TC_MALFORMED) {
        *err = problem;
        return status;
    }
    says.own = status == TC_OK;
    if (says.own) {
        status = places.ramdisks_count == RAMDISKS
                     ? check_boundaries(facts, &places, &says.content.text, what, &says.misfit)
                     : tc_fail(&says.misfit, TC_REFUSED,
                               "%s is not the image that was made: expected %d ramdisks, saw %zu; "
                               "somebody moved the bounds between its sections",
                               what, RAMDISKS, places.ramdisks_count);
        says.fits = status == TC_OK;
    }
    *ret_says = says;
    says = (struct tc_imagefile_says){0};
    return TC_OK;
}

static tc_status read_image(int fd, const char *what, struct tc_imagefile *image,
                            struct tc_error *err)
{
    TC_AUTO_IMAGE_FACTS struct tc_image_facts facts = {0};
    struct places places;
    uint64_t size;
    TC_TRY(file_size(fd, what, &size, err));
    if (lseek(image->eif_fd, 0, SEEK_SET) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read %s", what);
    tc_status status = tc_image_read(image->eif_fd, what, false, &facts, err);
    if (status == TC_MALFORMED) return tc_wrap(err, "%s", what);
    TC_TRY(status);
    if (tc_image_check(&facts, err) != TC_OK) return tc_wrap(err, "%s", what);
    if (facts.header.aarch64)
        return tc_fail(err, TC_REFUSED, "%s is an image for aarch64; expected x86_64", what);
    if (!find_places(&facts, &places))
        return tc_fail(err, TC_REFUSED,
                       "%s is no image of tee-compile: expected %d ramdisks (the worker's and the "
                       "toolchain's), saw %zu",
                       what, RAMDISKS, places.ramdisks_count);
    const struct tc_image_section *second = places.ramdisks[1];
    TC_TRY(read_content(fd, second, what, &image->content, err));
    TC_TRY(check_boundaries(&facts, &places, &image->content.text, what, err));
    if (image->content.self_contained) {
        TC_TRY(check_tail(fd, second, &image->content, what, err));
        image->root_offset = second->place.offset + image->content.root_offset;
        image->root_size = image->content.root_size;
        image->root_checked = true;
        image->root_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (image->root_fd < 0)
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot keep %s open", what);
    }
    memcpy(image->pcr, facts.pcr, sizeof image->pcr);
    image->is_signed = facts.is_signed;
    if (facts.is_signed) {
        image->pcr8 = facts.signature.pcr8;
        image->signature_until = facts.signature.not_after;
    }
    return TC_OK;
}

tc_status tc_imagefile_read(int fd, const char *what, struct tc_imagefile *ret_image,
                            struct tc_error *err)
{
    TC_AUTO_IMAGEFILE struct tc_imagefile image = TC_IMAGEFILE_NONE;
    image.eif_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (image.eif_fd < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot keep %s open", what);
    TC_TRY(read_image(fd, what, &image, err));
    *ret_image = image;
    image = TC_IMAGEFILE_NONE;
    return TC_OK;
}

/* --- the file system and its tree --- */

uint64_t tc_imagefile_root_file_size(const struct tc_imagefile *image)
{
    return image->content.self_contained
               ? 0
               : image->content.verity.total_blocks * (uint64_t)TC_VERITY_BLOCK;
}

struct tree_check {
    int fd;
    const char *what;
    bool differs;
    uint64_t block; /* the first that differs */
};

static tc_status compare_block(void *context, uint64_t block, const uint8_t bytes[TC_VERITY_BLOCK],
                               struct tc_error *err)
{
    struct tree_check *check = context;
    uint8_t seen[TC_VERITY_BLOCK];
    TC_TRY(read_at(check->fd, seen, sizeof seen, block * sizeof seen, check->what, err));
    if (memcmp(seen, bytes, sizeof seen) == 0) return TC_OK;
    if (!check->differs || block < check->block) check->block = block;
    check->differs = true;
    return TC_OK;
}

static tc_status hash_data(int fd, uint64_t blocks, struct tc_veritytree *tree, const char *what,
                           struct tc_error *err)
{
    TC_AUTO_FREE uint8_t *piece = malloc(PIECE);
    if (!piece) return tc_fail(err, TC_SYSTEM, "out of memory to read %s", what);
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    for (uint64_t at = 0; at < blocks;) {
        uint64_t left = blocks - at;
        size_t count = left < PIECE / TC_VERITY_BLOCK ? (size_t)left : PIECE / TC_VERITY_BLOCK;
        TC_TRY(read_at(fd, piece, count * TC_VERITY_BLOCK, at * TC_VERITY_BLOCK, what, err));
        TC_TRY(tc_veritytree_add(tree, piece, count, err));
        at += count;
    }
    return TC_OK;
}

static tc_status check_size(const struct tc_verity *verity, int fd, const char *what,
                            struct tc_error *err)
{
    uint64_t size = 0, expected = verity->total_blocks * (uint64_t)TC_VERITY_BLOCK;
    if (verity->total_blocks != tc_veritytree_total(verity->data_blocks))
        return tc_fail(err, TC_REFUSED,
                       "the image says that its file system of %llu blocks has a file of %llu: "
                       "expected %llu",
                       (unsigned long long)verity->data_blocks,
                       (unsigned long long)verity->total_blocks,
                       (unsigned long long)tc_veritytree_total(verity->data_blocks));
    TC_TRY(file_size(fd, what, &size, err));
    if (size != expected)
        return tc_fail(err, TC_REFUSED,
                       "%s does not belong to this image: expected %llu bytes, saw %llu", what,
                       (unsigned long long)expected, (unsigned long long)size);
    return TC_OK;
}

static tc_status check_tree(const struct tc_verity *verity, int fd, const char *what,
                            struct tc_error *err)
{
    struct tree_check check = {.fd = fd, .what = what};
    struct tc_sha256 root;
    TC_AUTO_VERITYTREE struct tc_veritytree *tree =
        tc_veritytree_new(verity->data_blocks, verity->salt, compare_block, &check);
    if (!tree) return tc_fail(err, TC_SYSTEM, "out of memory to check %s", what);
    TC_TRY(hash_data(fd, verity->data_blocks, tree, what, err));
    TC_TRY(tc_veritytree_root(tree, &root, err));
    if (memcmp(root.bytes, verity->root.bytes, sizeof root.bytes) != 0) {
        char wanted[TC_SHA256_HEX], seen[TC_SHA256_HEX];
        tc_hex((struct tc_span){verity->root.bytes, sizeof verity->root.bytes}, wanted);
        tc_hex((struct tc_span){root.bytes, sizeof root.bytes}, seen);
        return tc_fail(
            err, TC_REFUSED,
            "%s does not belong to this image, or is damaged: expected the root hash %s, "
            "saw %s",
            what, wanted, seen);
    }
    if (check.differs)
        return tc_fail(err, TC_REFUSED,
                       "%s is damaged: block %llu, of its hash tree, is not the hash of its data",
                       what, (unsigned long long)check.block);
    return TC_OK;
}

tc_status tc_imagefile_set_root(struct tc_imagefile *image, int fd, const char *what,
                                const char *advice, struct tc_error *err)
{
    if (image->root_fd >= 0)
        return tc_fail(err, TC_USAGE, "the image has its file system already; %s is not needed",
                       what);
    TC_TRY(check_size(&image->content.verity, fd, what, err));
    TC_AUTO_FREE char *name = strdup(what);
    TC_AUTO_FREE char *kept = advice ? strdup(advice) : NULL;
    if (!name || (advice && !kept)) return tc_fail(err, TC_SYSTEM, "out of memory for a path");
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot keep %s open", what);
    image->root_fd = own;
    image->root_offset = 0;
    image->root_size = image->content.verity.data_blocks * (uint64_t)TC_VERITY_BLOCK;
    image->root_name = TC_TAKE(name);
    image->root_advice = TC_TAKE(kept);
    return TC_OK;
}

tc_status tc_imagefile_check_root(struct tc_imagefile *image, struct tc_error *err)
{
    if (image->root_checked) return TC_OK;
    if (image->root_fd < 0)
        return tc_fail(err, TC_USAGE, "the image has no file system to be checked");
    tc_status status = check_tree(&image->content.verity, image->root_fd, image->root_name, err);
    image->root_checked = status == TC_OK;
    size_t used = strlen(err->message);
    if (status == TC_REFUSED && image->root_advice)
        (void)snprintf(err->message + used, sizeof err->message - used, "; %s", image->root_advice);
    return status;
}

tc_status tc_imagefile_add_root(struct tc_imagefile *image, int fd, const char *what,
                                struct tc_error *err)
{
    TC_TRY(tc_imagefile_set_root(image, fd, what, NULL, err));
    tc_status status = tc_imagefile_check_root(image, err);
    if (status != TC_OK) {
        tc_close_ptr(&image->root_fd);
        free(TC_TAKE(image->root_name));
        image->root_size = 0;
    }
    return status;
}

/* --- by path --- */

tc_status tc_imagefile_beside(const char *path, const char *ending, char **ret_path,
                              struct tc_error *err)
{
    size_t size = strlen(path), cut = strlen(".eif");
    char *beside;
    if (size <= cut || strcmp(path + size - cut, ".eif") != 0 || path[size - cut - 1] == '/')
        return tc_fail(err, TC_USAGE, "%s: expected a name that ends in .eif", path);
    if (asprintf(&beside, "%.*s%s", (int)(size - cut), path, ending) < 0)
        return tc_fail(err, TC_SYSTEM, "out of memory for a path");
    *ret_path = beside;
    return TC_OK;
}

tc_status tc_imagefile_check_owner(int fd, const char *path, struct tc_error *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot look at %s", path);
    if (info.st_uid != geteuid() && info.st_uid != 0)
        return tc_fail(
            err, TC_UNAVAILABLE,
            "%s belongs to user %u, who could change it while it is used: expected it to "
            "be yours or root's; chown it, or take a copy with tee-compile image pull",
            path, (unsigned)info.st_uid);
    if (info.st_mode & (S_IWGRP | S_IWOTH))
        return tc_fail(err, TC_UNAVAILABLE,
                       "others can write to %s, also while it is used: chmod go-w it", path);
    return TC_OK;
}

/* A FIFO must not make it wait. */
static tc_status open_file(const char *path, int *ret_fd, struct tc_error *err)
{
    TC_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open %s", path);
    TC_TRY(tc_imagefile_check_owner(fd, path, err));
    *ret_fd = TC_TAKE_FD(fd);
    return TC_OK;
}

tc_status tc_imagefile_open(const char *path, struct tc_imagefile *ret_image, struct tc_error *err)
{
    TC_AUTO_FREE char *root = NULL;
    TC_AUTO_CLOSE int eif_fd = -1;
    TC_AUTO_CLOSE int root_fd = -1;
    TC_AUTO_IMAGEFILE struct tc_imagefile image = TC_IMAGEFILE_NONE;
    TC_TRY(tc_imagefile_beside(path, ".erofs", &root, err));
    TC_TRY(open_file(path, &eif_fd, err));
    TC_TRY(tc_imagefile_read(eif_fd, path, &image, err));
    if (!image.content.self_contained) {
        if (open_file(root, &root_fd, err) != TC_OK)
            return tc_wrap(err, "the toolchain's file system beside %s", path);
        TC_TRY(tc_imagefile_set_root(&image, root_fd, root, NULL, err));
    }
    *ret_image = image;
    image = TC_IMAGEFILE_NONE;
    return TC_OK;
}
