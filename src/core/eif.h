/* Enclave image files (EIF, version 4): reader and writer of one exact form.
 *
 *   HEADER (548 bytes) { SECTION HEADER (12 bytes), DATA } x 4..32
 *
 *   HEADER   ".eif" u16 version=4  u16 flags (bit 0: aarch64)  u64 default memory
 *            u64 default CPUs  u16 reserved=0  u16 sections
 *            u64 offset[32]  u64 size[32]  u32 unused=0  u32 CRC-32
 *   SECTION  u16 kind  u16 flags=0  u64 size
 *
 * All integers are big-endian. An offset is that of a section's header, a size
 * that of its data alone. The CRC is zlib's, over the whole file but its own four
 * bytes. The order is kernel, command line, metadata, one or more ramdisks, and
 * at most one signature, as AWS's own tool writes it.
 *
 * What loads an image goes by the table in the header, by the section headers,
 * or by both, and so do the tools that measure one: an image that the two
 * describe differently could be measured as one thing and booted as another.
 * The reader therefore refuses what other readers pass over: gaps, overlaps,
 * trailing bytes, unknown or repeated kinds, another order, reserved fields and
 * unused slots that are not zero, a command line that is not printable ASCII or
 * that a kernel would cut, metadata that is no JSON object. Pure: bytes in, bytes
 * out; the caller owns files. */
#ifndef TC_CORE_EIF_H
#define TC_CORE_EIF_H

#include "base/bytes.h"

#define TC_EIF_MAGIC ".eif"
enum {
    TC_EIF_HEADER_SIZE = 548,
    TC_EIF_CRC_AT = TC_EIF_HEADER_SIZE - 4,
    TC_EIF_SECTION_HEADER_SIZE = 12,
    TC_EIF_VERSION = 4,
    TC_EIF_SECTIONS_MIN = 4, /* kernel, command line, metadata, ramdisk */
    TC_EIF_SECTIONS_MAX = 32,
    TC_EIF_CMDLINE_MAX = 2047, /* the kernel's COMMAND_LINE_SIZE less its NUL */
    TC_EIF_METADATA_MAX = 1 << 20,
    TC_EIF_SIGNATURE_MAX = 32768, /* of the specification */
    TC_EIF_ALIGNMENT = 4,         /* of uncompressed ramdisks */
};
#define TC_EIF_SIZE_MAX ((uint64_t)1 << 40) /* of a file */

enum tc_eif_kind {
    TC_EIF_KERNEL = 1,
    TC_EIF_CMDLINE = 2,
    TC_EIF_RAMDISK = 3,
    TC_EIF_SIGNATURE = 4,
    TC_EIF_METADATA = 5,
};
/* "kernel", "cmdline", "ramdisk", "signature", "metadata". */
const char *tc_eif_kind_name(enum tc_eif_kind kind);

struct tc_eif_header {
    bool aarch64;            /* else x86_64 */
    uint64_t default_memory; /* bytes; a hint that nothing measures */
    uint64_t default_cpus;   /* likewise */
    size_t sections_count;
    uint64_t sizes[TC_EIF_SECTIONS_MAX]; /* of the data, in the order of the file */
    uint64_t file_size;                  /* follows from them; ignored by the writer */
    uint32_t crc;                        /* ignored by the writer */
};

struct tc_eif_section {
    enum tc_eif_kind kind;
    size_t index;    /* in the file */
    size_t ramdisk;  /* of a ramdisk: its index among them */
    uint64_t offset; /* of its data */
    uint64_t size;   /* of its data */
};

/* What is odd, but no error. */
enum tc_eif_warning {
    /* An uncompressed ramdisk does not start at a multiple of four bytes of all
     * ramdisks: Linux looks for an uncompressed archive at such places only, and
     * leaves this one out without a word. */
    TC_EIF_WARNING_UNALIGNED = 1,
};

/* Push reader: feed it bytes in pieces of any size; it calls back. A callback
 * that returns an error stops it; those that are NULL are left out. Constant
 * memory: one header, the metadata up to its cap as the bytes come. */
struct tc_eif_handler {
    void *context;
    tc_status (*header)(void *context, const struct tc_eif_header *header, struct tc_error *err);
    tc_status (*begin)(void *context, const struct tc_eif_section *section, struct tc_error *err);
    tc_status (*data)(void *context, struct tc_span bytes, struct tc_error *err);
    tc_status (*end)(void *context, struct tc_error *err); /* of a section */
};
/* Ignored is for a second reader of the same bytes, on a thread of its own: one
 * that checks must stand beside it. */
enum tc_eif_crc { TC_EIF_CRC_CHECKED, TC_EIF_CRC_IGNORED };

struct tc_eif_reader;
struct tc_eif_reader *tc_eif_reader_new(const struct tc_eif_handler *handler, enum tc_eif_crc crc)
    TC_MUST_USE;                                       /* NULL: no memory */
void tc_eif_reader_free(struct tc_eif_reader *reader); /* accepts NULL */
/* TC_MALFORMED as soon as a rule is broken. */
tc_status tc_eif_reader_add(struct tc_eif_reader *reader, struct tc_span bytes,
                            struct tc_error *err) TC_MUST_USE;
/* TC_MALFORMED: the image is cut off. TC_REFUSED: it is whole, but its CRC is not
 * the one in its header. The CRC covers every byte and so is only known here:
 * until this has returned TC_OK, whatever the callbacks were given may come from a
 * damaged file. Whoever acts on it earlier must be able to take that back. */
tc_status tc_eif_reader_finish(struct tc_eif_reader *reader, struct tc_error *err) TC_MUST_USE;
/* Bits of tc_eif_warning; complete after finish. */
unsigned tc_eif_reader_warnings(const struct tc_eif_reader *reader);
/* Of the bytes so far, where it is checked. */
uint32_t tc_eif_reader_crc(const struct tc_eif_reader *reader);

/* Writer. It keeps no data: it says what stands between the sections and checks
 * what stands in them by the reader's own rules, so that it cannot write what the
 * reader refuses; an unaligned ramdisk, too, is an error here.
 *
 *   new -> (begin -> data...) for each section -> finish
 *
 * The caller leaves TC_EIF_HEADER_SIZE bytes free, writes what begin appends and
 * the data after it, and puts what finish returns at the start of the file. */
struct tc_eif_writer;
tc_status tc_eif_writer_new(const struct tc_eif_header *header, struct tc_eif_writer **ret_writer,
                            struct tc_error *err) TC_MUST_USE;
void tc_eif_writer_free(struct tc_eif_writer *writer); /* accepts NULL */
/* Appends the header of the next section, which has the size announced for it. */
tc_status tc_eif_writer_begin(struct tc_eif_writer *writer, enum tc_eif_kind kind,
                              struct tc_buf *buf, struct tc_error *err) TC_MUST_USE;
tc_status tc_eif_writer_data(struct tc_eif_writer *writer, struct tc_span bytes,
                             struct tc_error *err) TC_MUST_USE;
tc_status tc_eif_writer_finish(struct tc_eif_writer *writer, uint8_t ret_header[TC_EIF_HEADER_SIZE],
                               struct tc_error *err) TC_MUST_USE;

#endif
