/* Archives for tests: a folder with one that is written, and what is put in and taken out. */
#ifndef TC_TESTS_ARCHIVE_LAB_H
#define TC_TESTS_ARCHIVE_LAB_H

#include "core/archive.h"
#include "host/archive.h"

extern char archive_folder[], archive_path[64]; /* the archive's, which commit writes */
extern uint8_t large[300000];                   /* of no pattern that a short test would pass */

/* cmocka's, for the group. archive_tear_down fails where more than the archive is left. */
int archive_set_up(void **state);
int archive_tear_down(void **state);

/* The line of a response; whole: with size and digest of the body. The caller frees. */
void make_line(const char *url, struct tc_span body, bool whole, struct tc_buf *buf);

struct tc_archive_writer *new_writer(void);
void store(struct tc_archive_writer *writer, const char *url, struct tc_span body);
void commit(struct tc_archive_writer *writer);

struct tc_archive *open_archive(const char *name);
/* The response is there, with this body. */
void expect(const struct tc_archive *archive, const char *url, struct tc_span body);

#endif
