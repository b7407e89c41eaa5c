#include "host/image_make.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/jsonw.h"
#include "os/files.h"
#include "os/tempfile.h"
#include "tc_version.h"

enum { PIECE = 1 << 18 };

/* What AWS's tool writes; neither is measured, and no loader is known to use them. */
#define DEFAULT_MEMORY ((uint64_t)1 << 30)
enum { DEFAULT_CPUS = 2 };

/* An image under way: the writer checks, the file takes. */
struct making {
    struct tc_eif_writer *writer;
    struct tc_tempfile file;
};
#define AUTO_MAKING TC_CLEANUP(making_done)

static void making_done(struct making *making)
{
    tc_eif_writer_free(making->writer);
    tc_tempfile_drop(&making->file);
}

static tc_status begin_image(struct making *making, const struct tc_eif_header *header,
                             const char *output, struct tc_error *err)
{
    TC_TRY(tc_eif_writer_new(header, &making->writer, err));
    TC_TRY(tc_tempfile_open(output, &making->file, err));
    if (lseek(making->file.fd, TC_EIF_HEADER_SIZE, SEEK_SET) != TC_EIF_HEADER_SIZE)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot write %s", output);
    return TC_OK;
}

static tc_status begin_section(struct making *making, enum tc_eif_kind kind, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf head = tc_buf_new(TC_EIF_SECTION_HEADER_SIZE);
    TC_TRY(tc_eif_writer_begin(making->writer, kind, &head, err));
    return tc_write_all(making->file.fd, tc_buf_span(&head), making->file.path, err);
}

static tc_status add_data(struct making *making, struct tc_span bytes, struct tc_error *err)
{
    TC_TRY(tc_eif_writer_data(making->writer, bytes, err));
    return tc_write_all(making->file.fd, bytes, making->file.path, err);
}

/* The header, then the file as a stranger would read it, then its name. */
static tc_status finish_image(struct making *making, const struct tc_sha384 *pcr0,
                              struct tc_image_facts *ret_facts, struct tc_error *err)
{
    uint8_t header[TC_EIF_HEADER_SIZE];
    const char *path = making->file.path;
    int fd = making->file.fd;
    TC_TRY(tc_eif_writer_finish(making->writer, header, err));
    if (lseek(fd, 0, SEEK_SET) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot write %s", path);
    TC_TRY(tc_write_all(fd, (struct tc_span){header, sizeof header}, path, err));
    if (lseek(fd, 0, SEEK_SET) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read %s", path);
    TC_AUTO_IMAGE_FACTS struct tc_image_facts facts = {0};
    TC_TRY(tc_image_read(fd, path, false, &facts, err));
    /* Before the check, which would speak of a signature for another image. */
    if (pcr0 && memcmp(facts.pcr[0].bytes, pcr0->bytes, TC_SHA384_SIZE) != 0)
        return tc_fail(err, TC_REFUSED, "the image changed while it was copied");
    TC_TRY(tc_image_check(&facts, err));
    TC_TRY(tc_tempfile_commit(&making->file, err));
    if (ret_facts) {
        *ret_facts = facts;
        facts = (struct tc_image_facts){0};
    }
    return TC_OK;
}

struct part {
    const char *path;
    int fd;
    uint64_t size;
};

static tc_status open_part(const char *path, struct part *ret_part, struct tc_error *err)
{
    struct stat info;
    TC_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &info) != 0)
        return tc_fail_errno(err, TC_USAGE, errno, "cannot read %s", path);
    if (!S_ISREG(info.st_mode)) return tc_fail(err, TC_USAGE, "%s is no regular file", path);
    *ret_part = (struct part){path, TC_TAKE_FD(fd), (uint64_t)info.st_size};
    return TC_OK;
}

static tc_status copy_part(struct making *making, enum tc_eif_kind kind, const struct part *part,
                           struct tc_error *err)
{
    TC_AUTO_FREE uint8_t *piece = malloc(PIECE);
    if (!piece) return tc_fail(err, TC_SYSTEM, "out of memory");
    TC_TRY(begin_section(making, kind, err));
    for (uint64_t left = part->size; left > 0;) {
        ssize_t got = read(part->fd, piece, left < PIECE ? (size_t)left : PIECE);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read %s", part->path);
        if (got == 0)
            return tc_fail(err, TC_REFUSED, "%s became shorter while it was read", part->path);
        if (add_data(making, (struct tc_span){piece, (size_t)got}, err) != TC_OK)
            return tc_wrap(err, "%s", part->path);
        left -= (uint64_t)got;
    }
    return TC_OK;
}

/* AWS's reader wants each of these members. */
static tc_status minimal_metadata(struct tc_buf *buf, struct tc_error *err)
{
    struct tc_jsonw w = tc_jsonw_new(buf);
    tc_jsonw_object(&w, NULL);
    tc_jsonw_text(&w, "ImageName", "");
    tc_jsonw_text(&w, "ImageVersion", "");
    tc_jsonw_object(&w, "BuildMetadata");
    tc_jsonw_text(&w, "BuildTime", ""); /* not said: the same parts give the same bytes */
    tc_jsonw_text(&w, "BuildTool", "tee-compile");
    tc_jsonw_text(&w, "BuildToolVersion", TC_VERSION);
    tc_jsonw_text(&w, "OperatingSystem", "Linux");
    tc_jsonw_text(&w, "KernelVersion", "");
    tc_jsonw_end_object(&w);
    tc_jsonw_object(&w, "DockerInfo");
    tc_jsonw_end_object(&w);
    tc_jsonw_object(&w, "CustomMetadata");
    tc_jsonw_end_object(&w);
    tc_jsonw_end_object(&w);
    return tc_buf_check(buf, "the image's metadata", err);
}

enum { PART_KERNEL, PART_METADATA, PART_RAMDISKS, PARTS_MAX = PART_RAMDISKS + TC_EIF_SECTIONS_MAX };
struct parts {
    struct part all[PARTS_MAX];
    size_t count;
};

static void parts_close(struct parts *parts)
{
    for (size_t i = 0; i < parts->count; i++)
        tc_close_ptr(&parts->all[i].fd);
}

static tc_status open_parts(const struct tc_image_parts *wanted, struct parts *parts,
                            struct tc_error *err)
{
    for (size_t i = 0; i < PARTS_MAX; i++)
        parts->all[i].fd = -1;
    parts->count = PARTS_MAX;
    TC_TRY(open_part(wanted->kernel, &parts->all[PART_KERNEL], err));
    if (wanted->metadata) TC_TRY(open_part(wanted->metadata, &parts->all[PART_METADATA], err));
    for (size_t i = 0; i < wanted->ramdisks_count; i++)
        TC_TRY(open_part(wanted->ramdisks[i], &parts->all[PART_RAMDISKS + i], err));
    return TC_OK;
}

tc_status tc_image_assemble(const struct tc_image_parts *wanted, const char *output,
                            struct tc_image_facts *ret_facts, struct tc_error *err)
{
    enum { FIXED = 3 }; /* kernel, command line, metadata */
    struct parts parts TC_CLEANUP(parts_close) = {0};
    AUTO_MAKING struct making making = {.file = TC_TEMPFILE_NONE};
    TC_AUTO_BUF struct tc_buf metadata = tc_buf_new(TC_EIF_METADATA_MAX);
    struct tc_span cmdline = tc_span_of_text(wanted->cmdline);
    if (wanted->ramdisks_count == 0 || wanted->ramdisks_count > TC_EIF_SECTIONS_MAX - FIXED)
        return tc_fail(err, TC_USAGE, "%zu ramdisks; an image has 1 to %d", wanted->ramdisks_count,
                       TC_EIF_SECTIONS_MAX - FIXED);
    TC_TRY(open_parts(wanted, &parts, err));
    if (!wanted->metadata) TC_TRY(minimal_metadata(&metadata, err));

    struct tc_eif_header header = {.default_memory = DEFAULT_MEMORY,
                                   .default_cpus = DEFAULT_CPUS,
                                   .sections_count = FIXED + wanted->ramdisks_count};
    header.sizes[0] = parts.all[PART_KERNEL].size;
    header.sizes[1] = cmdline.size;
    header.sizes[2] = wanted->metadata ? parts.all[PART_METADATA].size : metadata.size;
    for (size_t i = 0; i < wanted->ramdisks_count; i++)
        header.sizes[FIXED + i] = parts.all[PART_RAMDISKS + i].size;

    TC_TRY(begin_image(&making, &header, output, err));
    TC_TRY(copy_part(&making, TC_EIF_KERNEL, &parts.all[PART_KERNEL], err));
    TC_TRY(begin_section(&making, TC_EIF_CMDLINE, err));
    TC_TRY(add_data(&making, cmdline, err));
    if (wanted->metadata) {
        TC_TRY(copy_part(&making, TC_EIF_METADATA, &parts.all[PART_METADATA], err));
    } else {
        TC_TRY(begin_section(&making, TC_EIF_METADATA, err));
        TC_TRY(add_data(&making, tc_buf_span(&metadata), err));
    }
    for (size_t i = 0; i < wanted->ramdisks_count; i++)
        TC_TRY(copy_part(&making, TC_EIF_RAMDISK, &parts.all[PART_RAMDISKS + i], err));
    return finish_image(&making, NULL, ret_facts, err);
}

/* Signing: the sections go through as they are, but for a signature. */
struct resigning {
    struct making *making;
    bool skip;
};

static tc_status resign_begin(void *context, const struct tc_eif_section *section,
                              struct tc_error *err)
{
    struct resigning *resigning = context;
    resigning->skip = section->kind == TC_EIF_SIGNATURE;
    return resigning->skip ? TC_OK : begin_section(resigning->making, section->kind, err);
}

static tc_status resign_data(void *context, struct tc_span bytes, struct tc_error *err)
{
    struct resigning *resigning = context;
    return resigning->skip ? TC_OK : add_data(resigning->making, bytes, err);
}

static tc_status copy_sections(int fd, const char *what, struct making *making,
                               struct tc_error *err)
{
    struct resigning resigning = {.making = making};
    struct tc_eif_handler handler = {&resigning, NULL, resign_begin, resign_data, NULL};
    TC_AUTO_FREE uint8_t *piece = malloc(PIECE);
    struct tc_eif_reader *reader = tc_eif_reader_new(&handler, TC_EIF_CRC_CHECKED);
    tc_status status = TC_OK;
    if (!piece || !reader) status = tc_fail(err, TC_SYSTEM, "out of memory");
    for (ssize_t got = 1; status == TC_OK && got != 0;) {
        got = read(fd, piece, PIECE);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            status = tc_fail_errno(err, TC_SYSTEM, errno, "cannot read %s", what);
        else
            status = tc_eif_reader_add(reader, (struct tc_span){piece, (size_t)got}, err);
    }
    if (status == TC_OK) status = tc_eif_reader_finish(reader, err);
    tc_eif_reader_free(reader);
    return status;
}

static tc_status check_signer(const struct tc_image_facts *facts,
                              const struct tc_image_signer *signer, struct tc_error *err)
{
    if (!facts->crc_is_good) return tc_fail(err, TC_REFUSED, "%s", facts->crc_problem);
    if (facts->is_signed && !signer->replace)
        return tc_fail(err, TC_REFUSED,
                       "the image is signed already; --replace puts the new signature in place of "
                       "that one");
    if (facts->warnings & TC_EIF_WARNING_UNALIGNED)
        return tc_fail(err, TC_REFUSED,
                       "the image has an uncompressed ramdisk that Linux would leave out; build it "
                       "again with ramdisks padded to a multiple of %d bytes",
                       TC_EIF_ALIGNMENT);
    return TC_OK;
}

static tc_status check_validity(struct tc_span section, int64_t now, struct tc_error *err)
{
    TC_AUTO_EIFSIG struct tc_eifsig signature = {0};
    TC_TRY(tc_eifsig_decode(section, &signature, err));
    if (signature.not_before <= now && now <= signature.not_after) return TC_OK;
    char from[TC_TIME_TEXT_SIZE], until[TC_TIME_TEXT_SIZE];
    tc_format_time(signature.not_before, from);
    tc_format_time(signature.not_after, until);
    return tc_fail(
        err, TC_REFUSED,
        "the certificate is valid from %s until %s, and not now: an image signed with it "
        "would not start",
        from, until);
}

tc_status tc_image_sign(int fd, const char *what, const struct tc_image_signer *signer,
                        const char *output, struct tc_image_facts *ret_facts, struct tc_error *err)
{
    TC_AUTO_IMAGE_FACTS struct tc_image_facts facts = {0};
    AUTO_MAKING struct making making = {.file = TC_TEMPFILE_NONE};
    TC_AUTO_BUF struct tc_buf section = tc_buf_new(TC_EIF_SIGNATURE_MAX);
    TC_TRY(tc_image_read(fd, what, false, &facts, err));
    TC_TRY(check_signer(&facts, signer, err));
    TC_TRY(tc_eifsig_create(signer->certificate, signer->key, &facts.pcr[0], &section, err));
    TC_TRY(check_validity(tc_buf_span(&section), signer->now, err));

    struct tc_eif_header header = facts.header;
    if (facts.is_signed) header.sections_count--;
    if (header.sections_count == TC_EIF_SECTIONS_MAX)
        return tc_fail(err, TC_LIMIT, "the image has %d sections, and no room for a signature",
                       TC_EIF_SECTIONS_MAX);
    header.sizes[header.sections_count++] = section.size;
    TC_TRY(begin_image(&making, &header, output, err));
    if (lseek(fd, 0, SEEK_SET) != 0)
        return tc_fail_errno(err, TC_USAGE, errno, "%s is no regular file", what);
    TC_TRY(copy_sections(fd, what, &making, err));
    TC_TRY(begin_section(&making, TC_EIF_SIGNATURE, err));
    TC_TRY(add_data(&making, tc_buf_span(&section), err));
    return finish_image(&making, &facts.pcr[0], ret_facts, err);
}
