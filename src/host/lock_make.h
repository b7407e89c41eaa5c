/* Makes a lock: asks the machine's apt which packages a recipe comes to today. */
#ifndef TC_HOST_LOCK_MAKE_H
#define TC_HOST_LOCK_MAKE_H

#include "host/mirrors.h"

struct tc_lock_request {
    const struct tc_recipe *recipe;
    const struct tc_mirrors *mirrors; /* that of the main archive must be known */
    int64_t now;                      /* becomes the lock's snapshot */
    const char *keyring;              /* NULL: Debian's own, where Debian installs it */
    int interrupt_fd;                 /* readable: stop; -1: none */
    bool *ret_dates_ignored; /* the machine's apt takes indexes of any age, and so this one */
};

/* What is asked of a mirror: SUITE, and what belongs to it. */
enum { TC_SUITE_MAX = TC_RECIPE_NAME_MAX + 16, TC_SUITES_MAX = 3 };
struct tc_suites {
    char names[TC_SUITES_MAX][TC_SUITE_MAX];
    size_t count;
};

/* In state/lists below folder_fd, where apt has put them: that there is one InRelease for
 * each of the suites, and no other, and each calls itself by the suite's codename.
 * apt has checked the signatures. TC_UNAVAILABLE. */
tc_status tc_suites_check(int folder_fd, const struct tc_suites *suites, struct tc_error *err)
    TC_MUST_USE;

/* The essential packages, the recipe's and all they depend on; what is only
 * recommended is left out. SUITE and SUITE-updates, and SUITE-security where a mirror
 * of the security archive is known. apt checks the signatures by the keyring, over a
 * configuration of its own: of the machine's, only proxies and the like are kept, and
 * whether the dates of indexes are looked at. Each suite has to call itself as it was
 * asked for, and a warning of apt's about the indexes is an error.
 * Nothing is installed and nothing of the machine's apt is touched.
 * TC_UNAVAILABLE: apt or keyring is missing, a mirror cannot be used (apt's own words
 * follow), a package does not exist. */
tc_status tc_lock_make(const struct tc_lock_request *request, struct tc_lock *ret_lock,
                       struct tc_error *err) TC_MUST_USE;

/* What apt-get --print-uris printed, as packages; the lock's suite and snapshot are
 * the caller's. TC_MALFORMED. */
tc_status tc_lock_parse_uris(char *text, const struct tc_mirrors *mirrors, struct tc_lock *lock,
                             struct tc_error *err) TC_MUST_USE;

#endif
