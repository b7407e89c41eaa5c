/* The collector's main: reads the patterns, finds the files, streams them as
 * often as it is told to, at most twice. */
#include "worker/collect.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "worker/collect_find.h"

enum { SESSION_PATIENCE_MS = 600 * 1000, PASSES = 2 };

static tc_status read_u32(struct tc_channel *session, uint32_t max, uint32_t *ret_value,
                          struct tc_error *err)
{
    uint8_t bytes[4];
    uint32_t value;
    TC_TRY(tc_channel_read_bytes(session, bytes, sizeof bytes, err));
    struct tc_cursor cursor = tc_cursor_of((struct tc_span){bytes, sizeof bytes});
    if (!tc_cursor_u32(&cursor, &value) || value > max)
        return tc_fail(err, TC_MALFORMED, "the session sent a number out of range");
    *ret_value = value;
    return TC_OK;
}

static tc_status find_all(struct tc_channel *session, int root_fd, struct tc_found *found,
                          struct tc_error *err)
{
    uint32_t count = 0;
    TC_TRY(read_u32(session, TC_BUILDSPEC_LIST_MAX, &count, err));
    for (uint32_t i = 0; i < count; i++) {
        uint32_t size = 0;
        char pattern[TC_PATH_MAX + 1];
        TC_TRY(read_u32(session, TC_PATH_MAX, &size, err));
        TC_TRY(tc_channel_read_bytes(session, (uint8_t *)pattern, size, err));
        pattern[size] = '\0';
        TC_TRY(tc_find_outputs(root_fd, pattern, found, err));
    }
    tc_found_sort(found);
    return TC_OK;
}

static tc_status send_file(struct tc_channel *session, int root_fd, const char *path,
                           struct tc_error *err)
{
    TC_AUTO_CLOSE int fd = -1;
    struct stat info;
    TC_TRY(tc_open_output(root_fd, path, &fd, err));
    if (fstat(fd, &info) != 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot look at an output");
    struct tc_entry entry = {.kind = TC_ENTRY_FILE,
                             .executable = (info.st_mode & S_IXUSR) != 0,
                             .size = (uint64_t)info.st_size,
                             .path = tc_span_of_text(path)};
    TC_AUTO_BUF struct tc_buf record = tc_buf_new(TC_ENTRY_MAX);
    tc_entry_encode(&entry, &record);
    TC_TRY(tc_buf_check(&record, "an output's record", err));
    TC_TRY(tc_channel_write(session, TC_WIRE_OUTPUT, tc_buf_span(&record), err));
    for (uint64_t left = entry.size; left > 0;) {
        uint8_t bytes[TC_WIRE_DATA_MAX];
        ssize_t got = read(fd, bytes, left < sizeof bytes ? left : sizeof bytes);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return tc_fail(err, TC_REFUSED, "output %s became shorter", path);
        TC_TRY(tc_channel_write_data(session, (struct tc_span){bytes, (size_t)got}, err));
        left -= (uint64_t)got;
    }
    return TC_OK;
}

static tc_status collect(struct tc_channel *session, int root_fd, struct tc_found *found,
                         struct tc_error *err)
{
    TC_TRY(find_all(session, root_fd, found, err));
    for (int pass = 1; pass <= PASSES; pass++) {
        uint8_t asked;
        TC_TRY(tc_channel_read_bytes(session, &asked, 1, err));
        if (asked != pass) return tc_fail(err, TC_MALFORMED, "the session asked for another pass");
        for (size_t i = 0; i < found->count; i++)
            TC_TRY(send_file(session, root_fd, found->paths[i], err));
        TC_TRY(tc_channel_write(session, TC_WIRE_DONE, (struct tc_span){0}, err));
    }
    return TC_OK;
}

int tc_collect_main(int fd, int root_fd)
{
    struct tc_error err = {0}, ignored = {0};
    struct tc_channel session;
    struct tc_found found = {0};
    if (tc_channel_init(&session, fd, SESSION_PATIENCE_MS, "the session", &err) != TC_OK)
        return EXIT_FAILURE;
    tc_status status = collect(&session, root_fd, &found, &err);
    if (status != TC_OK) {
        TC_AUTO_BUF struct tc_buf failure = tc_buf_new(2 * TC_ERROR_MAX);
        tc_wire_fail_encode(&err, &failure);
        (void)!tc_channel_write(&session, TC_WIRE_FAIL, tc_buf_span(&failure), &ignored);
    }
    tc_found_free(&found);
    tc_channel_done(&session);
    return status == TC_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
