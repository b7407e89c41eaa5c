/* The development attester: stands in for the NSM where there is no enclave.
 * It speaks the NSM's own protocol over a socket and signs with a root that was
 * made on this machine and whose name says that it is no TEE. Nothing that it
 * signs can be taken for AWS's: the verifier decides by the chain alone. */
#ifndef TC_HOST_DEVATTEST_H
#define TC_HOST_DEVATTEST_H

#include "base/bytes.h"
#include "core/digest.h"

/* Where the root is kept: $XDG_DATA_HOME/tee-compile, else
 * $HOME/.local/share/tee-compile. Returns an owned path. */
tc_status tc_devroot_folder(char **ret_path, struct tc_error *err) TC_MUST_USE;

/* Makes the root on first use: FOLDER/development-root.key (0600) and
 * FOLDER/development-root.pem, P-384, subject "tee-compile development root -
 * NOT A TEE". Safe when two processes do it at once. The folder is created
 * 0700. ret_pem_path is owned; *ret_created tells the first use. */
tc_status tc_devroot_ensure(const char *folder, char **ret_pem_path, bool *ret_created,
                            struct tc_error *err) TC_MUST_USE;

struct tc_devattest_config {
    const char *folder;             /* as above, ensured */
    const struct tc_sha384 *pcrs;   /* PCR0, PCR1, PCR2 */
    const struct tc_sha384 *pcr8;   /* of a signed image; NULL: zero, as without a signature */
};

/* Serves one worker on fd until it hangs up, then returns TC_OK. PCR 0 to 15
 * are locked from the start, as on the hardware; at most one worker, at most
 * 4096 requests. Documents carry [root, intermediate] as cabundle and a leaf made for
 * this session, valid from 5 minutes ago for 3 hours, as AWS's are. Called in
 * a process of its own. */
tc_status tc_devattest_serve(int fd, const struct tc_devattest_config *config, struct tc_error *err)
    TC_MUST_USE;

/* Signs what an emulator's NSM claims in its unsigned document, all but its name, and
 * appends the document that carries it to buf. TC_REFUSED when the emulator has measured something
 * else than the config says. */
tc_status tc_devattest_sign(const struct tc_devattest_config *config, struct tc_span claims,
                            struct tc_buf *buf, struct tc_error *err) TC_MUST_USE;

#endif
