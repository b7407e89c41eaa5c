/* What an image of this project says of itself: a small text in the second ramdisk,
 * measured into PCR0 and PCR2. The statement quotes it.
 *
 *   "tee-compile/image/1\n"
 *   "name " NAME "\n"          of the recipe: 1 to 64 of a-z 0-9 - . and a letter first
 *   "recipe " HEX "\n"         SHA-256, the recipe's digest (docs/formats.md)
 *   "kernel " N "\n"           bytes of the kernel's section
 *   "ramdisk " N "\n"          bytes of the first ramdisk's section
 *   "cmdline " TEXT "\n"       the command line's section, printable ASCII
 *   "packages " N "\n"         and N lines
 *   NAME " " VERSION " " ARCHITECTURE " " HEX "\n"
 *
 * The sizes and the command line are here because no PCR covers where a section of
 * an EIF ends: PCR0 is over their bytes one after the other. Who has compared them
 * with those of the file holds the one image that was meant. Numbers in decimal
 * without leading zeros, hex in lower case, packages sorted by name and then by
 * architecture, no two alike: one text for one image. */
#ifndef TC_CORE_IMAGETEXT_H
#define TC_CORE_IMAGETEXT_H

#include "core/digest.h"

enum {
    TC_IMAGE_TEXT_NAME_MAX = 64,
    TC_IMAGE_CMDLINE_MAX = 1024,
    TC_IMAGE_PACKAGES_MAX = 4096,
    TC_IMAGE_WORD_MAX = 128, /* of a package's name, version or architecture */
    TC_IMAGE_TEXT_MAX = 1 << 20,
};

struct tc_image_package {
    char *name, *version, *architecture; /* Debian's alphabets: no space, no control */
    struct tc_sha256 digest;             /* of the package's file */
};

struct tc_image_text { /* owns its strings and its list */
    char *name;
    struct tc_sha256 recipe;
    uint64_t kernel_size, ramdisk_size; /* 1 to 2^40 */
    char *cmdline;                      /* 1 to TC_IMAGE_CMDLINE_MAX characters */
    struct tc_image_package *packages;
    size_t packages_count;
};
#define TC_AUTO_IMAGE_TEXT TC_CLEANUP(tc_image_text_free)

void tc_image_text_free(struct tc_image_text *text); /* accepts NULL and a zeroed one */
void tc_image_package_done(struct tc_image_package *package);
void tc_image_packages_free(struct tc_image_package *packages, size_t count);

/* Of that alphabet, and no word that means something else where images are named:
 * "host" is the toolchain of the machine, what ends in ".eif" is a file. */
bool tc_image_text_name_is_good(const char *name) TC_MUST_USE;
/* At most TC_IMAGE_PACKAGES_MAX, each of Debian's alphabets, sorted, no two alike. */
bool tc_image_packages_are_good(const struct tc_image_package *packages, size_t count) TC_MUST_USE;

/* TC_USAGE when the text is not one that decode would take. */
tc_status tc_image_text_encode(const struct tc_image_text *text, struct tc_buf *buf,
                               struct tc_error *err) TC_MUST_USE;
/* Strict: what it takes, encode writes again byte for byte. TC_MALFORMED. */
tc_status tc_image_text_decode(struct tc_span bytes, struct tc_image_text *ret_text,
                               struct tc_error *err) TC_MUST_USE;

/* Is `running`, the text of /proc/cmdline with or without its line feed, the
 * measured command line, alone or followed by what a hypervisor appends? Behind
 * the measured text only words of these forms may stand: virtio_mmio.device=...,
 * pci=off, tsc_early_khz=N and reboot=X (one letter), which say where devices are, how
 * fast an emulated processor's counter runs and how a machine ends.
 * TC_REFUSED names the word that is missing or too many. */
tc_status tc_image_cmdline_check(const char *measured, struct tc_span running, struct tc_error *err)
    TC_MUST_USE;

#endif
