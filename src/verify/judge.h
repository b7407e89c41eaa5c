/* The checks of verify.h, each a function that adds its result to the list. A
 * check whose evidence is not there to be judged fails, and says so. */
#ifndef TC_VERIFY_JUDGE_H
#define TC_VERIFY_JUDGE_H

#include "verify/intake.h"

struct tc_judge {
    const struct tc_verify_options *options;
    const struct tc_intake *intake;
    const struct tc_statement *statement;  /* NULL: could not be read */
    const struct tc_nitrodoc *document;    /* NULL: could not be decoded */
    bool issuer_good;
    bool is_cut; /* the bundle could not be read to its end, through no fault of its own */
    struct tc_verdict *verdict;
    bool failed; /* memory ran out */
};

/* Adds a check. Texts are copied, and escaped where they are not printable. */
void tc_judge_add(struct tc_judge *judge, const char *name, enum tc_check_result result,
                  const char *expected, const char *seen);
void tc_judge_add_bool(struct tc_judge *judge, const char *name, bool good, const char *expected,
                       const char *seen);
/* What the caller should know although it refuses nothing; copied and escaped. */
void tc_judge_warn(struct tc_judge *judge, const char *text);
/* NOT_JUDGED: document or statement is not there. */
void tc_judge_add_unjudged(struct tc_judge *judge, const char *name, const char *expected);
/* Was the document signed within the last max_age seconds, by options->now? Needs a document. */
bool tc_judge_is_recent(const struct tc_judge *judge, uint64_t max_age);

/* checks_signed.c: what the NSM's document says, and whether it may say it. */
void tc_check_issuer(struct tc_judge *judge);
void tc_check_debug(struct tc_judge *judge);
void tc_check_user_data(struct tc_judge *judge);
void tc_check_pcrs(struct tc_judge *judge);
void tc_check_pcrs_asked(struct tc_judge *judge);
void tc_check_binding(struct tc_judge *judge);
void tc_check_nonce(struct tc_judge *judge);
void tc_check_envelope(struct tc_judge *judge);
void tc_check_times(struct tc_judge *judge);
void tc_check_age(struct tc_judge *judge);

/* checks_image.c: which image signed, and whether the caller trusts it. */
void tc_check_image(struct tc_judge *judge);
void tc_check_image_trust(struct tc_judge *judge);

/* checks_content.c: what the statement says against what is there. */
void tc_check_container(struct tc_judge *judge, const struct tc_error *intake_error);
void tc_check_statement(struct tc_judge *judge);
void tc_check_limits(struct tc_judge *judge);
void tc_check_build_file(struct tc_judge *judge);
void tc_check_log(struct tc_judge *judge);
void tc_check_transcript(struct tc_judge *judge);
void tc_check_outputs(struct tc_judge *judge);
void tc_check_artifacts(struct tc_judge *judge);
void tc_check_source(struct tc_judge *judge);
void tc_check_commit(struct tc_judge *judge);

/* checks_network.c: what came over the network, and who vouches for it. */
void tc_check_network(struct tc_judge *judge);
void tc_check_unauthenticated(struct tc_judge *judge);
void tc_check_replayed(struct tc_judge *judge);
/* "policy-network-..." for each key of the policy's network. */
void tc_check_policy_network(struct tc_judge *judge);

/* checks_policy.c: "policy-..." for each key of the policy. After tc_check_image. */
void tc_check_policy(struct tc_judge *judge);

#endif
