/* The command line of `tee-compile build`: DESIGN's spellings and those of the
 * reference (-dir -output -nitro -mem -nonce -debug). */
#ifndef TC_CMD_BUILD_OPTIONS_H
#define TC_CMD_BUILD_OPTIONS_H

#include "base/bytes.h"
#include "base/cleanup.h"

struct tc_build_options {
    const char *folder;
    const char *build_file;
    const char *image;
    const char *backend;
    const char *emulator; /* NULL: not given */
    const char *nitro;    /* the reference's -nitro, which backend and image follow */
    const char *output;   /* NULL: not given */
    const char *detached; /* NULL: not wanted */
    const char *extract;  /* NULL: not wanted */
    const char *archive;  /* of the network, to be written; NULL: not wanted */
    const char *replay;   /* the same, to be read; never both */
    const char **credentials; /* HOST=FILE, NULL-terminated; owned array */
    const char **host_tools; /* absolute, NULL-terminated; owned array */
    uint8_t *nonce;          /* owned */
    size_t nonce_size;
    bool allow_dirty, no_log, json, debug, help;
    unsigned cpus;     /* 0: not given */
    bool memory_given; /* the reference's -mem, which nothing follows */
};
#define TC_AUTO_BUILD_OPTIONS TC_CLEANUP(tc_build_options_free)

void tc_build_options_free(struct tc_build_options *options);

/* TC_USAGE with the reason; nothing is opened or started. */
tc_status tc_build_options_parse(int argc, char **argv, struct tc_build_options *ret_options,
                                 struct tc_error *err) TC_MUST_USE;

extern const char tc_build_usage[];

#endif
