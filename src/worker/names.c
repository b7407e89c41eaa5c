/* An array of names in the order of their addresses, and a table of hashes over it,
 * keyed anew for each build: the build chooses the names. */
#include "worker/names.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum {
    SLOTS = 2 * TC_NAMES_MAX,
    FIRST = 256, /* 198.18.1.0 */
    NET = 198,
    SUBNET = 18,
};

struct tc_names {
    pthread_mutex_t lock;
    uint64_t key;
    size_t count;
    char *list[TC_NAMES_MAX];
    uint32_t slots[SLOTS]; /* index + 1; 0: free */
};

struct tc_names *tc_names_new(void)
{
    struct tc_names *names = calloc(1, sizeof *names);
    if (!names) return NULL;
    if (pthread_mutex_init(&names->lock, NULL) != 0 ||
        getrandom(&names->key, sizeof names->key, 0) != (ssize_t)sizeof names->key) {
        free(names);
        return NULL;
    }
    return names;
}

void tc_names_free(struct tc_names *names)
{
    if (!names) return;
    for (size_t i = 0; i < names->count; i++)
        free(names->list[i]);
    (void)pthread_mutex_destroy(&names->lock);
    free(names);
}

static size_t slot_of(const struct tc_names *names, struct tc_span name)
{
    uint64_t hash = names->key;
    for (size_t i = 0; i < name.size; i++) {
        hash = (hash ^ name.data[i]) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 29;
    }
    return (size_t)(hash % SLOTS);
}

static void write_address(size_t index, uint8_t out[4])
{
    size_t number = FIRST + index;
    out[0] = NET;
    out[1] = (uint8_t)(SUBNET + (number >> 16));
    out[2] = (uint8_t)(number >> 8);
    out[3] = (uint8_t)number;
}

/* With the lock. */
static tc_status give(struct tc_names *names, struct tc_span name, size_t *ret_index,
                      struct tc_error *err)
{
    size_t slot = slot_of(names, name);
    for (; names->slots[slot] != 0; slot = (slot + 1) % SLOTS) {
        size_t index = names->slots[slot] - 1;
        if (tc_span_equal(tc_span_of_text(names->list[index]), name)) {
            *ret_index = index;
            return TC_OK;
        }
    }
    if (names->count == TC_NAMES_MAX)
        return tc_fail(err, TC_LIMIT, "the build asked for more than %d different names",
                       TC_NAMES_MAX);
    char *owned = tc_span_to_text(name);
    if (!owned) return tc_fail(err, TC_SYSTEM, "out of memory for a name");
    names->list[names->count] = owned;
    names->slots[slot] = (uint32_t)++names->count;
    *ret_index = names->count - 1;
    return TC_OK;
}

tc_status tc_names_give(struct tc_names *names, struct tc_span name, uint8_t ret_address[4],
                        struct tc_error *err)
{
    size_t index = 0;
    if (name.size > TC_HOST_NAME_MAX) return tc_fail(err, TC_LIMIT, "a name is too long");
    (void)pthread_mutex_lock(&names->lock);
    tc_status status = give(names, name, &index, err);
    (void)pthread_mutex_unlock(&names->lock);
    if (status == TC_OK) write_address(index, ret_address);
    return status;
}

bool tc_names_find(struct tc_names *names, const uint8_t address[4],
                   char ret_name[TC_HOST_NAME_MAX + 1])
{
    if (address[0] != NET || address[1] < SUBNET || address[1] > SUBNET + 1) return false;
    size_t number = (size_t)(address[1] - SUBNET) << 16 | (size_t)address[2] << 8 | address[3];
    if (number < FIRST) return false;
    (void)pthread_mutex_lock(&names->lock);
    bool found = number - FIRST < names->count;
    if (found) {
        const char *name = names->list[number - FIRST];
        memcpy(ret_name, name, strlen(name) + 1);
    }
    (void)pthread_mutex_unlock(&names->lock);
    return found;
}
