/* An image of this project as files: NAME.eif and, unless it is self-contained,
 * NAME.erofs beside it. The EIF that is opened here has been read whole and compared
 * with its own measured text. So have the file system and its hash tree, with the root
 * hash that is measured, once root_checked is set: PCR0 then names every byte of both,
 * and where each section of the EIF ends. Whether that PCR0 is a trusted one is the
 * caller's question.
 *
 * A file that somebody else replaces meanwhile does no harm, since descriptors are
 * kept; one that is rewritten in place does, and so nobody but this user and root may
 * be able to. */
#ifndef TC_HOST_IMAGEFILE_H
#define TC_HOST_IMAGEFILE_H

#include "core/toolramdisk.h"

#define TC_IMAGEFILE_SIZE_MAX ((uint64_t)1 << 40) /* of either file */

struct tc_imagefile {
    int eif_fd;
    /* What holds the file system, and where in it: the .erofs, from its start and
     * without the hash tree; or the EIF again, where the image is self-contained.
     * -1 until the .erofs was added. */
    int root_fd;
    uint64_t root_offset, root_size;
    bool root_checked;
    char *root_name, *root_advice; /* for messages: its path, and what to do; may be NULL */
    struct tc_sha384 pcr[3];
    bool is_signed;
    struct tc_sha384 pcr8; /* where is_signed; with the certificate's last second */
    int64_t signature_until;
    struct tc_toolramdisk content;
};
#define TC_AUTO_IMAGEFILE TC_CLEANUP(tc_imagefile_done)
#define TC_IMAGEFILE_NONE                                                                          \
    (struct tc_imagefile)                                                                          \
    {                                                                                              \
        .eif_fd = -1, .root_fd = -1                                                                \
    }
void tc_imagefile_done(struct tc_imagefile *image); /* accepts one that was never opened */

/* Measures the EIF and compares it with what it says of itself. fd is a regular
 * file, read from its start, and borrowed (duplicated); what names it in messages.
 * TC_MALFORMED: no EIF; TC_REFUSED: damaged, or no image of this project, or its
 * sections end elsewhere than its text says. */
tc_status tc_imagefile_read(int fd, const char *what, struct tc_imagefile *ret_image,
                            struct tc_error *err) TC_MUST_USE;

/* What the ramdisks behind the first say together, which is what PCR2 is over, and
 * whether the sections end where that says. */
struct tc_imagefile_says {
    bool own; /* else an image of somebody else, and nothing below holds */
    struct tc_toolramdisk content;
    bool fits;
    struct tc_error misfit; /* where it does not: what was expected and seen */
};
#define TC_AUTO_IMAGEFILE_SAYS TC_CLEANUP(tc_imagefile_says_free)
void tc_imagefile_says_free(struct tc_imagefile_says *says); /* accepts a zeroed one */

/* Of an EIF that was read and measured (image_read.h); fd is a regular file in which the
 * image begins at `start`. */
struct tc_image_facts;
tc_status tc_imagefile_ask(int fd, uint64_t start, const struct tc_image_facts *facts,
                           const char *what, struct tc_imagefile_says *ret_says,
                           struct tc_error *err) TC_MUST_USE;

/* Bytes that the .erofs must have; 0 for a self-contained image. */
uint64_t tc_imagefile_root_file_size(const struct tc_imagefile *image);

/* Keeps the .erofs with the image: borrows fd, copies what (its path) and advice (what to
 * do about a bad one; may be NULL). Looks at its size and at nothing else. TC_REFUSED: it
 * has another; the image is then as it was. */
tc_status tc_imagefile_set_root(struct tc_imagefile *image, int fd, const char *what,
                                const char *advice, struct tc_error *err) TC_MUST_USE;
/* Reads the .erofs that was set, computes its tree and compares both: hundreds of
 * megabytes, a second or two. TC_REFUSED says what differs. The file system of a
 * self-contained image is in the EIF and needs none of it. */
tc_status tc_imagefile_check_root(struct tc_imagefile *image, struct tc_error *err) TC_MUST_USE;
/* Both. */
tc_status tc_imagefile_add_root(struct tc_imagefile *image, int fd, const char *what,
                                struct tc_error *err) TC_MUST_USE;

/* Could somebody other than this user and root rewrite it? TC_UNAVAILABLE then, with
 * what to do. A file that is used after it was checked must have passed this. */
tc_status tc_imagefile_check_owner(int fd, const char *path, struct tc_error *err) TC_MUST_USE;

/* By the EIF's path; the .erofs, which has the same name with the other ending, is set
 * and not checked yet. Others may not be able to write either. TC_USAGE: path does not
 * end in ".eif". */
tc_status tc_imagefile_open(const char *path, struct tc_imagefile *ret_image, struct tc_error *err)
    TC_MUST_USE;

/* "a/b.eif" -> "a/b" + ending; owned. NULL with TC_USAGE when it does not end so. */
tc_status tc_imagefile_beside(const char *path, const char *ending, char **ret_path,
                              struct tc_error *err) TC_MUST_USE;

#endif
