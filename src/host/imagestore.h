/* The images on this machine, by PCR0:
 *
 *     PCR0/image.eif        96 hex digits in lower case
 *     PCR0/image.erofs      unless the image is self-contained
 *     PCR0/image.spdx.json  what is in it; a hint that nothing measures; may be absent
 *     names/NAME            the PCR0 of the newest image of that name, and a line feed
 *     lock                  held while anything is changed
 *     .part-HEX             being put in, or taken out; flocked by who does it
 *
 * Nothing is believed because it lies here: an image is measured and compared each
 * time it is opened (imagefile.h), and its PCR0 must be its folder's name. A folder
 * appears and goes in one step. Symlinks are not followed below the store, and what
 * others could write is refused. */
#ifndef TC_HOST_IMAGESTORE_H
#define TC_HOST_IMAGESTORE_H

#include "host/imagefile.h"

struct tc_imagestore;
#define TC_AUTO_IMAGESTORE TC_CLEANUP(tc_imagestore_free_ptr)

/* Below tc_devroot_folder's. Owned. */
tc_status tc_imagestore_folder(char **ret_path, struct tc_error *err) TC_MUST_USE;

/* A folder that is not there is an empty store, made when an image is put in. */
tc_status tc_imagestore_open(const char *folder, struct tc_imagestore **ret_store,
                             struct tc_error *err) TC_MUST_USE;
void tc_imagestore_free(struct tc_imagestore *store); /* accepts NULL */
void tc_imagestore_free_ptr(struct tc_imagestore **store);

/* word: a PCR0 in hex of either case, or a name, which stands for its newest image.
 * *ret_found false: no such image; nobody has looked into it. TC_USAGE: neither. */
tc_status tc_imagestore_find(const struct tc_imagestore *store, const char *word, bool *ret_found,
                             struct tc_sha384 *ret_pcr0, struct tc_error *err) TC_MUST_USE;

/* Opens, measures and compares, but for the file system, which is set and not checked yet
 * (tc_imagefile_check_root). TC_REFUSED: damaged, or another image than its
 * folder says; the message names the files and what to do. */
tc_status tc_imagestore_load(const struct tc_imagestore *store, const struct tc_sha384 *pcr0,
                             struct tc_imagefile *ret_image, struct tc_error *err) TC_MUST_USE;

struct tc_stored_image {
    struct tc_sha384 pcr0; /* of its folder */
    bool good;             /* else nothing below but the problem holds */
    char problem[TC_ERROR_MAX];
    char *name;  /* owned */
    bool newest; /* the one that the name stands for */
    bool self_contained;
    struct tc_sha384 pcr[3];
    bool is_signed;
    struct tc_sha384 pcr8; /* where is_signed */
    struct tc_sha256 recipe;
    size_t packages_count;
    uint64_t size; /* of its files */
};
struct tc_stored_list {
    struct tc_stored_image *images; /* ascending PCR0 */
    size_t count;
};
#define TC_AUTO_STORED TC_CLEANUP(tc_stored_list_free)
void tc_stored_list_free(struct tc_stored_list *list);

/* Measures each EIF; of the file system it looks at the size alone. */
tc_status tc_imagestore_list(const struct tc_imagestore *store, struct tc_stored_list *ret_list,
                             struct tc_error *err) TC_MUST_USE;

/* --- changes --- */

/* An image on its way in. */
struct tc_imagestage;
#define TC_AUTO_IMAGESTAGE TC_CLEANUP(tc_imagestage_free_ptr)
enum tc_imagestage_part { TC_IMAGESTAGE_EIF, TC_IMAGESTAGE_ROOT, TC_IMAGESTAGE_SBOM };

/* Also takes away what killed commands left. The store outlives the stage. */
tc_status tc_imagestage_open(struct tc_imagestore *store, struct tc_imagestage **ret_stage,
                             struct tc_error *err) TC_MUST_USE;
/* Whatever was not committed is gone. Accepts NULL. */
void tc_imagestage_free(struct tc_imagestage *stage);
void tc_imagestage_free_ptr(struct tc_imagestage **stage);

/* A new empty file for that part, to be written; ret_fd is the stage's. */
tc_status tc_imagestage_file(struct tc_imagestage *stage, enum tc_imagestage_part part, int *ret_fd,
                             struct tc_error *err) TC_MUST_USE;
/* Without that part after all. */
tc_status tc_imagestage_drop(struct tc_imagestage *stage, enum tc_imagestage_part part,
                             struct tc_error *err) TC_MUST_USE;
/* As tc_imagefile_read and _add_root, of the stage's files. */
tc_status tc_imagestage_read(struct tc_imagestage *stage, const char *what,
                             struct tc_imagefile *ret_image, struct tc_error *err) TC_MUST_USE;
tc_status tc_imagestage_add_root(struct tc_imagestage *stage, const char *what,
                                 struct tc_imagefile *image, struct tc_error *err) TC_MUST_USE;
/* image is what was read from it, complete. In one step; what was there under this
 * PCR0 is replaced. From now on its name stands for it. */
tc_status tc_imagestage_commit(struct tc_imagestage *stage, const struct tc_imagefile *image,
                               struct tc_error *err) TC_MUST_USE;

/* A name that stood for it stands for the latest of that name that is left. */
tc_status tc_imagestore_remove(struct tc_imagestore *store, const struct tc_sha384 *pcr0,
                               struct tc_error *err) TC_MUST_USE;

#endif
