/* The order of versions of Debian packages, as dpkg has it (deb-version(7)). Pure. */
#ifndef TC_CORE_DEBVERSION_H
#define TC_CORE_DEBVERSION_H

/* Below 0, 0 or above 0: left is older than right, as old (though perhaps spelled
 * otherwise: "1.0" and "0:1.00-0" are one version), or newer. Both are in the alphabet that
 * tc_package_version_is_good knows; any other text has some place in the order too. */
int tc_debversion_compare(const char *left, const char *right);

#endif
