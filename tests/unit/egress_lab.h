/* A recorder's side of the host's egress, for the tests that play the recorder. */
#ifndef TC_TESTS_EGRESS_LAB_H
#define TC_TESTS_EGRESS_LAB_H

#include <stdbool.h>
#include <stddef.h>

#include "core/egress.h"
#include "host/egress.h"

/* The recorder's end of a new stream. */
int open_stream(struct tc_egress *egress);

/* --- for any thread --- */
/* False where the other end is gone. */
bool send_all(int fd, const void *data, size_t size);
bool send_frame(int fd, uint8_t kind, const void *payload, size_t size);
bool send_dial(int fd, const char *name, uint16_t port);

enum {
    NO_FRAME = -1,  /* the stream ended */
    BAD_FRAME = -2, /* its header is none, or its payload larger than most */
};
/* The kind, with the payload and a zero behind it in out, which has room for most + 1. */
int receive_frame(int fd, void *out, size_t most, size_t *ret_size);

/* --- for the thread of the test, which fails where the other end does not go along --- */
void write_all(int fd, const void *data, size_t size);
void read_all(int fd, void *data, size_t size);
void expect_end(int fd);
void write_frame(int fd, uint8_t kind, const void *payload, size_t size);
void ask_dial(int fd, const char *name, uint16_t port);
uint8_t read_answer(int fd, char text[TC_EGRESS_TEXT_MAX + 1]);

#endif
