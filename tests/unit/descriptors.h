/* Whether anything was left open. */
#ifndef TC_TESTS_DESCRIPTORS_H
#define TC_TESTS_DESCRIPTORS_H

/* Comparable with another count of the same process, and no more. */
int count_fds(void);

#endif
