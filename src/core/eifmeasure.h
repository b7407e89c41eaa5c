/* What the hardware measures of an enclave image, computed while it is read:
 *
 *   PCR0  kernel, command line, all ramdisks
 *   PCR1  kernel, command line, first ramdisk
 *   PCR2  the ramdisks after the first; of nothing, where there is one alone
 *   PCR8  the signing certificate in DER (eifsig.h)
 *
 * each SHA-384(48 zero bytes || SHA-384(the sections' data, one after the other)).
 * Header, metadata and signature are not measured, and neither is where a section
 * ends and the next begins: bytes moved from the start of the command line to the
 * end of the kernel, or from the end of one ramdisk to the start of the next, leave
 * PCR0 as it is. A command line is no place for what a host must not take away. */
#ifndef TC_CORE_EIFMEASURE_H
#define TC_CORE_EIFMEASURE_H

#include "core/digest.h"
#include "core/eif.h"

/* PCR0 and PCR1 come out of one pass over the data, PCR2 wants another over the
 * later ramdisks: two objects on two threads do not wait for one another. */
enum { TC_EIFMEASURE_BOOT = 1, TC_EIFMEASURE_REST = 2 };

struct tc_eifmeasure;
#define TC_AUTO_EIFMEASURE TC_CLEANUP(tc_eifmeasure_free_ptr)

/* which: BOOT (PCR0, PCR1), REST (PCR2) or both. NULL: no memory. */
struct tc_eifmeasure *tc_eifmeasure_new(unsigned which) TC_MUST_USE;
void tc_eifmeasure_free(struct tc_eifmeasure *measure); /* accepts NULL */
void tc_eifmeasure_free_ptr(struct tc_eifmeasure **measure);

/* To be called with what a reader's handler is called with. */
void tc_eifmeasure_begin(struct tc_eifmeasure *measure, const struct tc_eif_section *section);
void tc_eifmeasure_data(struct tc_eifmeasure *measure, struct tc_span bytes);
tc_status tc_eifmeasure_end(struct tc_eifmeasure *measure, struct tc_error *err) TC_MUST_USE;

/* After the reader has finished. ret_pcr has PCR0, PCR1, PCR2; those that were not
 * asked for stay untouched. */
tc_status tc_eifmeasure_finish(struct tc_eifmeasure *measure, struct tc_sha384 ret_pcr[3],
                               struct tc_error *err) TC_MUST_USE;

#endif
