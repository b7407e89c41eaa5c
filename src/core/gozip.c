/* go reads a zip by the directory at its end, and this reads it from its beginning, since
 * it cannot wait. The two may differ: a zip can hide files from either. So what was seen on
 * the way is kept and compared with the directory, entry for entry and byte for byte of
 * offset, and the file ends with it: then both are one reading.
 *
 *   zip   = file* directory end
 *   file  = "PK\3\4" header(30) name extra data [descriptor]    descriptor: flag 3 is set
 *   directory = ("PK\1\2" header(46) name extra comment)*       one for each file, in order
 *   end   = "PK\5\6" header(22)
 *
 * With a descriptor the header has sizes of 0, and the data says itself where it ends:
 * possible for deflate, not for stored files. */
#include "core/gozip.h"

#include <stdlib.h>
#include <string.h>

#define ZLIB_CONST /* input is const */
#include <zlib.h>

#include "base/cleanup.h"
#include "base/text.h"

enum {
    FILE_MARK = 0x04034b50,
    DIRECTORY_MARK = 0x02014b50,
    END_MARK = 0x06054b50,
    DESCRIPTOR_MARK = 0x08074b50,
    MARK_SIZE = 4,
    FILE_SIZE = 30,
    DIRECTORY_SIZE = 46,
    END_SIZE = 22,
    DESCRIPTOR_SIZE = 16,
    FLAG_DESCRIPTOR = 1 << 3,
    FLAGS_KNOWN = FLAG_DESCRIPTOR | 1 << 1 | 1 << 2 | 1 << 11, /* how well deflated; UTF-8 */
    STORED = 0,
    DEFLATED = 8,
    NAME_MAX_BYTES = 4096,
    OUT_SIZE = 32768,
};

enum state {
    AT_MARK,   /* of a file, a directory entry or the end */
    IN_HEADER, /* of what the mark said */
    IN_NAME,
    IN_EXTRA, /* and an entry's comment */
    IN_DATA,
    IN_DESCRIPTOR,
    AT_END,
    BROKEN,
};

struct file {
    char *name;
    struct tc_sha256 digest;
    uint32_t offset, crc, packed, size; /* packed: in the zip */
    uint16_t method, flags;
};

struct tc_gozip {
    enum state state;
    struct tc_error fault; /* BROKEN */
    uint64_t offset;       /* of the next byte */
    uint64_t size;         /* of all files */
    size_t names;          /* bytes */
    struct file *files;
    size_t count, allocated;
    size_t listed;      /* by the directory so far */
    uint64_t directory; /* where it begins */
    bool in_directory;  /* what is being read is one of its entries */
    uint8_t piece[NAME_MAX_BYTES];
    size_t have, need; /* of piece */
    size_t skip;       /* of IN_EXTRA */
    uint64_t in, out;  /* of the file's data */
    uint32_t crc;
    struct file entry; /* of the directory; its name stays NULL */
    struct tc_hash *hash;
    z_stream inflater;
    uint8_t buffer[OUT_SIZE];
};

tc_status tc_go_mod_digest(const struct tc_sha256 *digest, struct tc_sha256 *ret_h1,
                           struct tc_error *err)
{
    char line[TC_SHA256_HEX + sizeof "  go.mod\n"];
    tc_hex((struct tc_span){digest->bytes, sizeof digest->bytes}, line);
    memcpy(line + TC_SHA256_HEX - 1, "  go.mod\n", sizeof "  go.mod\n");
    return tc_sha256_of(tc_span_of_text(line), ret_h1, err);
}

struct tc_gozip *tc_gozip_new(void)
{
    struct tc_gozip *zip = calloc(1, sizeof *zip);
    if (!zip) return NULL;
    zip->need = MARK_SIZE;
    zip->hash = tc_hash_new(TC_HASH_SHA256);
    /* Raw deflate; its window is the format's. */
    if (!zip->hash || inflateInit2(&zip->inflater, -MAX_WBITS) != Z_OK) {
        tc_hash_free(zip->hash);
        free(zip);
        return NULL;
    }
    return zip;
}

void tc_gozip_free(struct tc_gozip *zip)
{
    if (!zip) return;
    for (size_t i = 0; i < zip->count; i++)
        free(zip->files[i].name);
    free(zip->files);
    tc_hash_free(zip->hash);
    (void)inflateEnd(&zip->inflater);
    free(zip);
}

void tc_gozip_free_ptr(struct tc_gozip **zip)
{
    tc_gozip_free(*zip);
    *zip = NULL;
}

static bool fail(struct tc_gozip *zip, tc_status status, const char *why)
{
    (void)tc_fail(&zip->fault, status, "no digest of a Go module: %s", why);
    zip->state = BROKEN;
    return false;
}

static bool malformed(struct tc_gozip *zip, const char *why)
{
    return fail(zip, TC_MALFORMED, why);
}

static void expect(struct tc_gozip *zip, enum state state, size_t size)
{
    zip->state = state;
    zip->have = 0;
    zip->need = size;
}

/* Little-endian number in the piece. */
static uint32_t number(const struct tc_gozip *zip, size_t at, size_t size)
{
    uint32_t value = 0;
    while (size-- > 0)
        value = value << 8 | zip->piece[at + size];
    return value;
}

/* --- files */

static struct file *current(struct tc_gozip *zip)
{
    return &zip->files[zip->count - 1];
}

static bool new_file(struct tc_gozip *zip)
{
    enum { FIRST = 64 };
    if (zip->count == TC_GOZIP_FILES_MAX) return fail(zip, TC_LIMIT, "it has too many files");
    if (zip->count == zip->allocated) {
        size_t wanted = zip->allocated ? 2 * zip->allocated : FIRST;
        struct file *files = realloc(zip->files, wanted * sizeof *files);
        if (!files) return fail(zip, TC_SYSTEM, "out of memory");
        zip->files = files;
        zip->allocated = wanted;
    }
    zip->files[zip->count++] = (struct file){.name = NULL};
    return true;
}

/* What headers of files and of the directory have alike; `at`: where it begins. */
static void read_common(const struct tc_gozip *zip, size_t at, struct file *file)
{
    file->flags = (uint16_t)number(zip, at, 2);
    file->method = (uint16_t)number(zip, at + 2, 2);
    file->crc = number(zip, at + 8, 4);
    file->packed = number(zip, at + 12, 4);
    file->size = number(zip, at + 16, 4);
}

static bool sizes_are_good(struct tc_gozip *zip, const struct file *file)
{
    if (zip->size > TC_GOZIP_SIZE_MAX || file->size > TC_GOZIP_SIZE_MAX - zip->size ||
        file->packed > TC_GOZIP_SIZE_MAX)
        return fail(zip, TC_LIMIT, "its files are larger than 500 MiB");
    return true;
}

static bool read_file_header(struct tc_gozip *zip)
{
    uint64_t offset = zip->offset - FILE_SIZE;
    if (!new_file(zip)) return false;
    struct file *file = current(zip);
    read_common(zip, 6, file);
    file->offset = (uint32_t)offset;
    if ((file->flags & ~FLAGS_KNOWN) || (file->method != STORED && file->method != DEFLATED))
        return malformed(zip, "a file is encrypted or packed in an unusual way");
    if (file->flags & FLAG_DESCRIPTOR) {
        if (file->method != DEFLATED) return malformed(zip, "a stored file does not say its size");
        if (file->crc != 0 || file->packed != 0 || file->size != 0)
            return malformed(zip, "a file has its sizes twice");
    } else if (file->method == STORED && file->packed != file->size) {
        return malformed(zip, "a stored file has two sizes");
    }
    if (!sizes_are_good(zip, file)) return false;
    size_t name = number(zip, 26, 2);
    if (name == 0 || name > NAME_MAX_BYTES) return malformed(zip, "a file has no good name");
    zip->names += name;
    if (zip->names > TC_GOZIP_NAMES_MAX) return fail(zip, TC_LIMIT, "its names are too long");
    zip->skip = number(zip, 28, 2);
    expect(zip, IN_NAME, name);
    return true;
}

static bool read_file_name(struct tc_gozip *zip)
{
    struct tc_span name = {zip->piece, zip->need};
    /* dirhash refuses line feeds, which would make two lists of files one text. */
    if (!tc_is_utf8(name) || memchr(name.data, '\n', name.size))
        return malformed(zip, "a file has no good name");
    current(zip)->name = tc_span_to_text(name);
    if (!current(zip)->name) return fail(zip, TC_SYSTEM, "out of memory");
    expect(zip, IN_EXTRA, 0);
    return true;
}

static bool begin_data(struct tc_gozip *zip)
{
    zip->in = zip->out = 0;
    zip->crc = (uint32_t)crc32(0, NULL, 0);
    tc_hash_restart(zip->hash);
    if (inflateReset(&zip->inflater) != Z_OK) return fail(zip, TC_SYSTEM, "zlib failed");
    expect(zip, IN_DATA, 0);
    return true;
}

static bool end_data(struct tc_gozip *zip)
{
    struct file *file = current(zip);
    struct tc_error err = {0};
    if (tc_hash_finish(zip->hash, file->digest.bytes, sizeof file->digest.bytes, &err) != TC_OK)
        return fail(zip, TC_SYSTEM, "the digest's library failed");
    zip->size += zip->out;
    if (file->flags & FLAG_DESCRIPTOR) {
        expect(zip, IN_DESCRIPTOR, DESCRIPTOR_SIZE);
        return true;
    }
    if (zip->in != file->packed || zip->out != file->size || zip->crc != file->crc)
        return malformed(zip, "a file's bytes are not of the size and checksum that it says");
    expect(zip, AT_MARK, MARK_SIZE);
    return true;
}

static bool read_descriptor(struct tc_gozip *zip)
{
    struct file *file = current(zip);
    if (number(zip, 0, 4) != DESCRIPTOR_MARK || number(zip, 4, 4) != zip->crc ||
        number(zip, 8, 4) != zip->in || number(zip, 12, 4) != zip->out)
        return malformed(zip, "a file's bytes are not of the size and checksum that it says");
    file->crc = zip->crc;
    file->packed = (uint32_t)zip->in;
    file->size = (uint32_t)zip->out;
    expect(zip, AT_MARK, MARK_SIZE);
    return true;
}

static bool take_plain(struct tc_gozip *zip, const uint8_t *data, size_t size)
{
    zip->out += size;
    if (zip->out > TC_GOZIP_SIZE_MAX - zip->size)
        return fail(zip, TC_LIMIT, "its files are larger than 500 MiB");
    zip->crc = (uint32_t)crc32(zip->crc, data, (uInt)size);
    tc_hash_add(zip->hash, data, size);
    return true;
}

/* Takes from bytes what belongs to the file; false: broken. */
static bool take_stored(struct tc_gozip *zip, struct tc_span *bytes)
{
    uint64_t left = current(zip)->packed - zip->in;
    size_t size = bytes->size < left ? bytes->size : (size_t)left;
    if (size > UINT32_MAX) size = UINT32_MAX; /* zlib counts in unsigned int */
    if (size > 0 && !take_plain(zip, bytes->data, size)) return false;
    zip->in += size;
    zip->offset += size;
    bytes->data += size;
    bytes->size -= size;
    return zip->in < current(zip)->packed || end_data(zip);
}

static bool take_deflated(struct tc_gozip *zip, struct tc_span *bytes)
{
    z_stream *z = &zip->inflater;
    bool known = !(current(zip)->flags & FLAG_DESCRIPTOR);
    uint64_t left = (known ? current(zip)->packed : (uint64_t)TC_GOZIP_SIZE_MAX) - zip->in;
    size_t size = bytes->size < left ? bytes->size : (size_t)left;
    if (size == 0) return malformed(zip, "a deflated file does not end where it must");
    z->next_in = bytes->data;
    z->avail_in = (uInt)size; /* at most 500 MiB */
    int result;
    do {
        z->next_out = zip->buffer;
        z->avail_out = sizeof zip->buffer;
        result = inflate(z, Z_NO_FLUSH);
        if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
            return malformed(zip, "a deflated file is damaged");
        if (!take_plain(zip, zip->buffer, sizeof zip->buffer - z->avail_out)) return false;
    } while (result == Z_OK && (z->avail_in > 0 || z->avail_out == 0));
    size_t taken = size - z->avail_in;
    zip->in += taken;
    zip->offset += taken;
    bytes->data += taken;
    bytes->size -= taken;
    return result != Z_STREAM_END || end_data(zip);
}

/* --- the directory */

static bool read_directory_header(struct tc_gozip *zip)
{
    struct file *entry = &zip->entry;
    if (zip->listed == zip->count) return malformed(zip, "its directory lists too many files");
    const struct file *file = &zip->files[zip->listed];
    read_common(zip, 8, entry);
    if (entry->flags != file->flags || entry->method != file->method || entry->crc != file->crc ||
        entry->packed != file->packed || entry->size != file->size ||
        number(zip, 42, 4) != file->offset || number(zip, 34, 2) != 0)
        return malformed(zip, "its directory says something else than its files");
    size_t name = number(zip, 28, 2);
    if (name != strlen(file->name))
        return malformed(zip, "its directory says something else than its files");
    zip->skip = number(zip, 30, 2) + number(zip, 32, 2);
    expect(zip, IN_NAME, name);
    return true;
}

static bool read_directory_name(struct tc_gozip *zip)
{
    if (memcmp(zip->piece, zip->files[zip->listed].name, zip->need) != 0)
        return malformed(zip, "its directory says something else than its files");
    zip->listed++;
    expect(zip, IN_EXTRA, 0);
    return true;
}

static bool read_end(struct tc_gozip *zip)
{
    uint64_t begin = zip->in_directory ? zip->directory : zip->offset - END_SIZE;
    if (zip->listed != zip->count || number(zip, 4, 4) != 0 || number(zip, 8, 2) != zip->count ||
        number(zip, 10, 2) != zip->count || number(zip, 12, 4) != zip->offset - END_SIZE - begin ||
        number(zip, 16, 4) != begin || number(zip, 20, 2) != 0)
        return malformed(zip, "its last record says something else than its directory");
    expect(zip, AT_END, 0);
    return true;
}

/* --- one after the other */

static bool read_mark(struct tc_gozip *zip)
{
    uint32_t mark = number(zip, 0, MARK_SIZE);
    bool file = mark == FILE_MARK && !zip->in_directory;
    if (mark == DIRECTORY_MARK && !zip->in_directory) {
        zip->in_directory = true;
        zip->directory = zip->offset - MARK_SIZE;
    }
    zip->state = IN_HEADER; /* the mark stays in front of it */
    if (file)
        zip->need = FILE_SIZE;
    else if (mark == DIRECTORY_MARK)
        zip->need = DIRECTORY_SIZE;
    else if (mark == END_MARK)
        zip->need = END_SIZE;
    else
        return malformed(zip, "it is no zip, or has gaps");
    return true;
}

static bool read_header(struct tc_gozip *zip)
{
    if (zip->need == FILE_SIZE) return read_file_header(zip);
    return zip->need == END_SIZE ? read_end(zip) : read_directory_header(zip);
}

static bool read_piece(struct tc_gozip *zip)
{
    switch (zip->state) {
    case AT_MARK: return read_mark(zip);
    case IN_HEADER: return read_header(zip);
    case IN_NAME: return zip->in_directory ? read_directory_name(zip) : read_file_name(zip);
    case IN_DESCRIPTOR: return read_descriptor(zip);
    case IN_EXTRA:
    case IN_DATA:
    case AT_END:
    case BROKEN: break;
    }
    return malformed(zip, "something follows its end");
}

static bool take_piece(struct tc_gozip *zip, struct tc_span *bytes)
{
    size_t left = zip->need - zip->have;
    size_t size = bytes->size < left ? bytes->size : left;
    memcpy(zip->piece + zip->have, bytes->data, size);
    zip->have += size;
    zip->offset += size;
    bytes->data += size;
    bytes->size -= size;
    return zip->have < zip->need || read_piece(zip);
}

static bool take_extra(struct tc_gozip *zip, struct tc_span *bytes)
{
    size_t size = bytes->size < zip->skip ? bytes->size : zip->skip;
    zip->skip -= size;
    zip->offset += size;
    bytes->data += size;
    bytes->size -= size;
    if (zip->skip > 0) return true;
    if (!zip->in_directory) return begin_data(zip);
    expect(zip, AT_MARK, MARK_SIZE);
    return true;
}

/* States that are over without a byte: no extra field, an empty stored file. */
static bool settle(struct tc_gozip *zip)
{
    struct tc_span none = {NULL, 0};
    if (zip->state == IN_EXTRA && zip->skip == 0 && !take_extra(zip, &none)) return false;
    bool empty =
        zip->state == IN_DATA && current(zip)->method == STORED && current(zip)->packed == 0;
    return !empty || end_data(zip);
}

void tc_gozip_add(struct tc_gozip *zip, struct tc_span bytes)
{
    while (bytes.size > 0 && zip->state != BROKEN) {
        bool good;
        if (zip->state == IN_EXTRA)
            good = take_extra(zip, &bytes);
        else if (zip->state == IN_DATA)
            good = current(zip)->method == STORED ? take_stored(zip, &bytes)
                                                  : take_deflated(zip, &bytes);
        else if (zip->state == AT_END)
            good = malformed(zip, "something follows its end");
        else
            good = take_piece(zip, &bytes);
        if (good) good = settle(zip);
        if (good && zip->offset > TC_GOZIP_SIZE_MAX)
            (void)fail(zip, TC_LIMIT, "it is larger than 500 MiB");
    }
}

static int compare_names(const void *a, const void *b)
{
    const struct file *left = a, *right = b;
    return strcmp(left->name, right->name);
}

tc_status tc_gozip_finish(struct tc_gozip *zip, struct tc_sha256 *ret_h1, struct tc_error *err)
{
    if (zip->state != AT_END && zip->state != BROKEN) (void)malformed(zip, "it is cut off");
    if (zip->state == AT_END) {
        if (zip->count > 0) qsort(zip->files, zip->count, sizeof *zip->files, compare_names);
        tc_hash_restart(zip->hash);
    }
    for (size_t i = 0; zip->state == AT_END && i < zip->count; i++) {
        const struct file *file = &zip->files[i];
        char hex[TC_SHA256_HEX];
        if (i > 0 && compare_names(file - 1, file) == 0)
            (void)malformed(zip, "it has a file twice");
        tc_hex((struct tc_span){file->digest.bytes, sizeof file->digest.bytes}, hex);
        tc_hash_add(zip->hash, hex, sizeof hex - 1);
        tc_hash_add(zip->hash, "  ", 2);
        tc_hash_add(zip->hash, file->name, strlen(file->name));
        tc_hash_add(zip->hash, "\n", 1);
    }
    if (zip->state == BROKEN) {
        *err = zip->fault;
        return err->status;
    }
    return tc_hash_finish(zip->hash, ret_h1->bytes, sizeof ret_h1->bytes, err);
}
