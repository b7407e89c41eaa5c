/* build.json: what to build and how. The same reader serves the client, which
 * refuses early, and the worker, which decides. Pure; strict: unknown keys,
 * duplicate keys, wrong types and values out of range are errors that name the
 * place (line and column for syntax, the key's path otherwise) and, for an
 * unknown key, the nearest known one. */
#ifndef TC_CORE_BUILDSPEC_H
#define TC_CORE_BUILDSPEC_H

#include "core/netpolicy.h"

enum {
    TC_BUILDSPEC_SIZE_MAX = 65536, /* bytes of the file */
    TC_BUILDSPEC_LIST_MAX = 256,   /* entries of any list or map in it */
    TC_BUILDSPEC_TEXT_MAX = 16384, /* bytes of any string in it */
};

/* Defaults where build.json is silent, and the range that is accepted. */
#define TC_LIMIT_TIMEOUT_DEFAULT ((uint64_t)3600) /* seconds; 1 to 30 days */
#define TC_LIMIT_MEMORY_DEFAULT ((uint64_t)2 << 30) /* bytes; 16M to 2^50 */
#define TC_LIMIT_DISK_DEFAULT ((uint64_t)2 << 30)   /* bytes; 1M to 2^50 */
#define TC_LIMIT_LOG_DEFAULT ((uint64_t)64 << 20)   /* bytes; 1K to 4G */
#define TC_LIMIT_PROCESSES_DEFAULT ((uint64_t)1024) /* 8 to 100000 */

struct tc_limits {
    uint64_t timeout;   /* seconds, for all commands of the build together */
    uint64_t memory;    /* bytes, of the build's processes */
    uint64_t disk;      /* bytes, of source, /tmp, HOME and outputs together */
    uint64_t log;       /* bytes */
    uint64_t processes; /* processes and threads alive at one time */
};

struct tc_named_command {
    char *name;
    char *command;
};

/* Everything in it is owned; strings are UTF-8 without NUL. Lists are counted
 * arrays. Optional strings are NULL when absent. */
struct tc_buildspec {
    char *language;
    char *image;   /* optional */
    char *command; /* input.cmd */
    char *vendor;  /* input.vendor, optional: runs before the command */
    char *folder;  /* input.dir: safe relative path, or "." */
    char **environment;
    size_t environment_count; /* "NAME=value"; NAME is [A-Za-z_][A-Za-z0-9_]* */
    struct tc_named_command *collect;
    size_t collect_count; /* input.collect, in the order of the file */
    char **outputs;
    size_t outputs_count; /* output.files: at least one, each checked by outmatch.h */
    bool source_git;      /* source.git */
    char **omitted;
    size_t omitted_count; /* source.omit: submodules left out, safe paths */
    struct tc_network network; /* build.json says nothing of it: offline */
    struct tc_limits limits;
};
#define TC_AUTO_BUILDSPEC TC_CLEANUP(tc_buildspec_free)

void tc_buildspec_free(struct tc_buildspec *spec); /* accepts NULL and a zeroed one */
void tc_text_list_free(char **list, size_t count); /* strings and list; accepts NULL */

/* Are all limits in the ranges above? */
bool tc_limits_are_valid(const struct tc_limits *limits);

/* name is how messages call the file ("build.json"). */
tc_status tc_buildspec_parse(struct tc_span json, const char *name, struct tc_buildspec *ret_spec,
                             struct tc_error *err) TC_MUST_USE;

#endif
