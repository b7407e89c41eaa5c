/* A statement as a build would make it, for tests: everything owned. */
#ifndef TC_TESTS_STATEMENT_SAMPLE_H
#define TC_TESTS_STATEMENT_SAMPLE_H

#include "core/statement.h"

/* Two outputs ("bin/app", executable, and "notes.txt"), a git source with a
 * claimed repository, one collected value, a log, an empty transcript. Digests
 * are those of the contents that sample_*_bytes return. */
void sample_statement(struct tc_statement *ret_statement);

struct tc_span sample_build_file_bytes(void);
struct tc_span sample_log_bytes(void);
struct tc_span sample_output_bytes(size_t index);

#endif
