/* The canonical tree format: one record a file, symlink, folder or submodule,
 * a file's bytes following in separate data frames. The same record carries
 * the source from the host to the worker, from the worker's session to the
 * unpacker, and outputs from the collector back to the host.
 *
 *   record = kind:u8 executable:u8 size:u64 path:block extra:block
 *   block  = length:u32 bytes          integers big-endian
 *
 * extra is the target of a symlink, the 20-byte commit id of a submodule, and
 * empty otherwise. size is 0 but for files. executable is 0 but for files.
 *
 * Order: strictly ascending by the bytes of the path, a folder's and a
 * submodule's path counted with a '/' at its end, so that what lies in one place
 * stands together. Git orders a tree the same way but for submodules, which it
 * sorts as files; gitobj.h has the walk that puts them right. A folder is
 * recorded only when it is empty; others are implied. */
#ifndef TC_CORE_ENTRY_H
#define TC_CORE_ENTRY_H

#include "core/digest.h"

enum tc_entry_kind {
    TC_ENTRY_FILE = 1,
    TC_ENTRY_SYMLINK = 2,
    TC_ENTRY_FOLDER = 3,    /* empty */
    TC_ENTRY_SUBMODULE = 4, /* its commit; its files follow, or it was left out */
};

enum {
    TC_PATH_MAX = 4095,      /* bytes of a path */
    TC_NAME_MAX = 255,       /* bytes of one name in it */
    TC_PATH_DEPTH_MAX = 128, /* names in it */
    TC_ENTRY_MAX = 1 + 1 + 8 + 4 + TC_PATH_MAX + 4 + TC_PATH_MAX,
};
#define TC_FILE_SIZE_MAX ((uint64_t)1 << 40)

struct tc_entry {
    enum tc_entry_kind kind;
    bool executable;
    uint64_t size;
    struct tc_span path;   /* borrowed */
    struct tc_span target; /* of a symlink; borrowed */
    struct tc_sha1 commit; /* of a submodule */
};

/* Relative, no empty, "." or ".." name, no NUL, within the caps above. */
bool tc_path_is_safe(struct tc_span path) TC_MUST_USE;

/* True when a name of the path is one that git treats as its own folder:
 * ".git" in any case, with trailing dots or spaces, "git~1", or with code
 * points that HFS+ ignores. Refused in every source, as git fsck does. */
bool tc_path_has_dotgit(struct tc_span path) TC_MUST_USE;
/* The same for the one name .gitmodules, which must not be a symlink. */
bool tc_name_is_gitmodules(struct tc_span name) TC_MUST_USE;

/* Compares by the order above: negative, 0, positive. */
int tc_entry_compare(const struct tc_entry *a, const struct tc_entry *b);

void tc_entry_encode(const struct tc_entry *entry, struct tc_buf *buf);
/* Decodes exactly one record (trailing bytes are an error) and validates all
 * of the above but the order; ret_entry borrows from bytes. */
tc_status tc_entry_decode(struct tc_span bytes, struct tc_entry *ret_entry, struct tc_error *err)
    TC_MUST_USE;

#endif
