#include "verify/intake.h"

void tc_bundle_view_free(struct tc_bundle_view *view)
{
    if (!view) return;
    tc_statement_free(&view->statement);
    tc_buf_free(&view->statement_json);
    tc_buf_free(&view->document);
    tc_host_traffic_free(view->hosts, view->hosts_count);
    *view = (struct tc_bundle_view){0};
}

tc_status tc_bundle_view_read(int fd, struct tc_bundle_view *ret_view, struct tc_error *err)
{
    struct tc_intake intake;
    tc_status status = tc_intake_read(fd, NULL, &intake, err);
    if (status == TC_OK && !intake.statement_read)
        status = tc_fail(err, TC_MALFORMED, "%s",
                         intake.has_statement ? intake.statement_error.message
                                              : "the bundle has no statement");
    if (status == TC_OK) {
        *ret_view = (struct tc_bundle_view){.statement = intake.statement,
                                            .statement_json = intake.statement_json,
                                            .document = intake.document,
                                            .detached = intake.outputs_count == 0,
                                            .hosts = intake.traffic.hosts,
                                            .hosts_count = intake.traffic.hosts_count,
                                            .transcript_error = intake.transcript_error};
        intake.traffic.hosts = NULL;
        intake.traffic.hosts_count = 0;
        intake.statement = (struct tc_statement){0};
        intake.statement_json = tc_buf_new(0);
        intake.document = tc_buf_new(0);
    }
    tc_intake_free(&intake);
    return status;
}
