/* The host's frames to the worker's receiving side. The first byte says what HELLO
 * said: bit 0 a plain source, bit 1 source.git. The host is a file in memory; the
 * unpacker is a socket in which its DONE already waits. */
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"
#include "worker/unpack.h"

enum { INPUT_MAX = 65536 };

static void receive(const struct tc_wire_hello *hello, int host_fd, int session)
{
    struct tc_channel host, unpacker;
    struct tc_source_received received;
    struct tc_error err = {0};
    FUZZ_CHECK(tc_channel_init(&host, host_fd, 0, "the host", &err) == TC_OK);
    FUZZ_CHECK(tc_channel_init(&unpacker, session, 0, "the unpacker", &err) == TC_OK);
    if (tc_source_receive(&host, &unpacker, hello, NULL, &received, &err) == TC_OK) {
        FUZZ_CHECK(received.build_file.size > 0);
        FUZZ_CHECK(received.has_commit == (hello->source == TC_SOURCE_GIT));
        FUZZ_CHECK(hello->git_folder || received.tags_count == 0);
        tc_source_received_free(&received);
    } else {
        FUZZ_CHECK(err.status != TC_OK && err.message[0]);
    }
    tc_channel_done(&host);
    tc_channel_done(&unpacker);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > INPUT_MAX) return 0;
    bool plain = data[0] & 1;
    const struct tc_wire_hello hello = {.source = plain ? TC_SOURCE_TREE : TC_SOURCE_GIT,
                                        .git_folder = !plain && (data[0] & 2),
                                        .build_file = tc_span_of_text("build.json")};
    uint8_t done[TC_WIRE_HEADER_SIZE];
    int ends[2], host = memfd_create("host", MFD_CLOEXEC);
    FUZZ_CHECK(host >= 0 && write(host, data + 1, size - 1) == (ssize_t)(size - 1) &&
               lseek(host, 0, SEEK_SET) == 0);
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    tc_wire_header_encode(TC_WIRE_DONE, 0, done);
    FUZZ_CHECK(write(ends[1], done, sizeof done) == (ssize_t)sizeof done);
    receive(&hello, host, ends[0]);
    (void)close(host);
    (void)close(ends[0]);
    (void)close(ends[1]);
    return 0;
}
