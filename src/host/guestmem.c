#include "host/guestmem.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static tc_status check_file(const struct tc_vhost_region *place, int fd, struct tc_error *err)
{
    struct stat info;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & F_SEAL_SHRINK) == 0)
        return tc_fail(err, TC_REFUSED,
                       "the guest's memory is not in a file that is sealed against shrinking: give "
                       "the emulator a memory-backend-memfd");
    if (fstat(fd, &info) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot look at the guest's memory");
    /* The decoder has seen to it that the sum does not wrap. */
    if (info.st_size < 0 || place->offset + place->size > (uint64_t)info.st_size)
        return tc_fail(err, TC_REFUSED,
                       "the front end names %llu bytes of guest memory at %llu of a file of %lld",
                       (unsigned long long)place->size, (unsigned long long)place->offset,
                       (long long)info.st_size);
    return TC_OK;
}

static tc_status map_region(const struct tc_vhost_region *place, int fd,
                            struct tc_guestmem_region *ret_region, struct tc_error *err)
{
    TC_TRY(check_file(place, fd, err));
    uint64_t within = place->offset % (uint64_t)sysconf(_SC_PAGESIZE);
    size_t size = (size_t)(place->size + within);
    void *map =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)(place->offset - within));
    if (map == MAP_FAILED)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot map the guest's memory");
    *ret_region = (struct tc_guestmem_region){*place, (uint8_t *)map + within, map, size};
    return TC_OK;
}

tc_status tc_guestmem_map(struct tc_guestmem *memory, const struct tc_vhost_message *table,
                          const int *fds, struct tc_error *err)
{
    struct tc_guestmem new = {0};
    for (size_t i = 0; i < table->regions_count; i++) {
        tc_status status = map_region(&table->regions[i], fds[i], &new.regions[i], err);
        if (status != TC_OK) {
            tc_guestmem_unmap(&new);
            return status;
        }
        new.count++;
    }
    tc_guestmem_unmap(memory);
    *memory = new;
    return TC_OK;
}

void tc_guestmem_unmap(struct tc_guestmem *memory)
{
    for (size_t i = 0; i < memory->count; i++)
        (void)munmap(memory->regions[i].map, memory->regions[i].map_size);
    *memory = (struct tc_guestmem){0};
}

void *tc_guestmem_user(const struct tc_guestmem *memory, uint64_t address, uint64_t size)
{
    for (size_t i = 0; i < memory->count; i++) {
        const struct tc_vhost_region *place = &memory->regions[i].place;
        if (address < place->user || address - place->user >= place->size) continue;
        uint64_t at = address - place->user;
        return size <= place->size - at ? memory->regions[i].bytes + at : NULL;
    }
    return NULL;
}

static const struct tc_guestmem_region *find(const struct tc_guestmem *memory, uint64_t address)
{
    for (size_t i = 0; i < memory->count; i++) {
        const struct tc_vhost_region *place = &memory->regions[i].place;
        if (address >= place->guest && address - place->guest < place->size)
            return &memory->regions[i];
    }
    return NULL;
}

bool tc_guestmem_pieces(const struct tc_guestmem *memory, uint64_t address, uint64_t size,
                        struct iovec *pieces, size_t max, size_t *count)
{
    size_t used = *count;
    while (size > 0) {
        const struct tc_guestmem_region *region = find(memory, address);
        if (!region || used == max) return false;
        uint64_t at = address - region->place.guest, left = region->place.size - at;
        uint64_t taken = size < left ? size : left;
        pieces[used++] = (struct iovec){region->bytes + at, (size_t)taken};
        size -= taken;
        /* Regions do not wrap, so a sum that does names no region. */
        address += taken;
    }
    *count = used;
    return true;
}
