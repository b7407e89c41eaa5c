#include "cmd/find_worker.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

tc_status tc_find_worker(char **ret_path, struct tc_error *err)
{
    const char *given = getenv("TEE_COMPILE_WORKER");
    if (given && *given) {
        if (access(given, X_OK) != 0)
            return tc_fail_errno(err, TC_UNAVAILABLE, errno, "TEE_COMPILE_WORKER is %s", given);
        *ret_path = strdup(given);
        return *ret_path ? TC_OK : tc_fail(err, TC_SYSTEM, "out of memory");
    }
    char self[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
    if (size <= 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot find this program's folder");
    self[size] = '\0';
    char *slash = strrchr(self, '/');
    if (slash) *slash = '\0';
    static const char *const places[] = {"tee-compile-worker",
                                         "../libexec/tee-compile/tee-compile-worker"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char *path;
        if (asprintf(&path, "%s/%s", self, places[i]) < 0)
            return tc_fail(err, TC_SYSTEM, "out of memory");
        if (access(path, X_OK) == 0) {
            *ret_path = path;
            return TC_OK;
        }
        free(path);
    }
    return tc_fail(err, TC_UNAVAILABLE,
                   "tee-compile-worker is neither in %s nor in %s/../libexec/tee-compile: install "
                   "it there or name it in TEE_COMPILE_WORKER",
                   self, self);
}
