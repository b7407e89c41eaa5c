/* What the network has in the statement, for src/core/statement*.c alone. */
#ifndef TC_CORE_STATEMENT_INTERNAL_H
#define TC_CORE_STATEMENT_INTERNAL_H

#include "core/json.h"
#include "core/jsonw.h"
#include "core/statement.h"

tc_status tc_statement_check_network(const struct tc_statement *statement, struct tc_error *err)
    TC_MUST_USE;

/* externalParameters.network */
void tc_statement_write_network(struct tc_jsonw *w, const struct tc_statement *statement);
tc_status tc_statement_read_network(const struct tc_json *at, struct tc_statement *statement,
                                    struct tc_error *err) TC_MUST_USE;

/* externalParameters.source.witnessed, where there is one */
void tc_statement_write_witness(struct tc_jsonw *w, const struct tc_part_witness *witness);
tc_status tc_statement_read_witness(const struct tc_json *at, struct tc_part_witness *witness,
                                    struct tc_error *err) TC_MUST_USE;

/* The entries of resolvedDependencies that have annotations, behind source, image and
 * packages: `first` is where they begin. */
void tc_statement_write_dependencies(struct tc_jsonw *w, const struct tc_statement *statement);
tc_status tc_statement_read_dependencies(const struct tc_json *list, size_t first, size_t count,
                                         struct tc_statement *statement, struct tc_error *err)
    TC_MUST_USE;

#endif
