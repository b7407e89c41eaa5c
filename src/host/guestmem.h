/* A guest's memory, shared by the emulator that runs it, and the one way to it:
 * every address is looked up here.
 *
 * Both sides may write to it at any time. Whoever reads a number from it reads it
 * once, checks the copy and uses the copy. Nobody can take the memory away: only
 * files that are sealed against shrinking are mapped, since touching a page
 * behind the end of a file that was cut is a SIGBUS. */
#ifndef TC_HOST_GUESTMEM_H
#define TC_HOST_GUESTMEM_H

#include <sys/uio.h>

#include "core/vhostuser.h"

struct tc_guestmem {
    size_t count;
    struct tc_guestmem_region {
        struct tc_vhost_region place;
        uint8_t *bytes; /* place.size of them */
        void *map;
        size_t map_size;
    } regions[TC_VHOST_REGIONS_MAX];
};

/* Maps what the message describes, one file a region, in the place of what was
 * mapped before: on failure that stays. The descriptors are borrowed. TC_REFUSED:
 * a file that is not sealed (memory-backend-memfd is), or has fewer bytes. */
tc_status tc_guestmem_map(struct tc_guestmem *memory, const struct tc_vhost_message *table,
                          const int *fds, struct tc_error *err) TC_MUST_USE;
void tc_guestmem_unmap(struct tc_guestmem *memory); /* accepts a zeroed one */

/* size bytes at an address of the front end, in one region; NULL: there are none. */
void *tc_guestmem_user(const struct tc_guestmem *memory, uint64_t address, uint64_t size)
    TC_MUST_USE;

/* Appends the pieces that make up size bytes at an address of the guest. False:
 * not all of it is memory, or it takes more than max pieces in all. */
bool tc_guestmem_pieces(const struct tc_guestmem *memory, uint64_t address, uint64_t size,
                        struct iovec *pieces, size_t max, size_t *count) TC_MUST_USE;

#endif
