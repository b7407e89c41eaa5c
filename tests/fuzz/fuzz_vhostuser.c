/* What an emulator says to the vsock device, and what a guest sends through it:
 * whatever is accepted has its one size and stays within what was promised. */
#include "core/vhostuser.h"
#include "core/vsockpkt.h"
#include "fuzz.h"

#include <string.h>

static void check_regions(const struct tc_vhost_message *message)
{
    FUZZ_CHECK(message->regions_count <= TC_VHOST_REGIONS_MAX);
    for (size_t i = 0; i < message->regions_count; i++) {
        const struct tc_vhost_region *a = &message->regions[i];
        FUZZ_CHECK(a->size > 0 && a->guest + a->size > a->guest && a->user + a->size > a->user);
        FUZZ_CHECK(a->offset + a->size <= INT64_MAX);
        for (size_t k = 0; k < i; k++) {
            const struct tc_vhost_region *b = &message->regions[k];
            FUZZ_CHECK(a->guest + a->size <= b->guest || b->guest + b->size <= a->guest);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tc_error err = {0};
    struct tc_vhost_message message;
    size_t payload = 0;
    if (tc_vhost_head_decode((struct tc_span){data, size}, &payload, &err) == TC_OK)
        FUZZ_CHECK(size >= TC_VHOST_HEAD_SIZE && payload <= TC_VHOST_PAYLOAD_MAX);
    if (tc_vhost_decode((struct tc_span){data, size}, &message, &err) == TC_OK) {
        FUZZ_CHECK(size == TC_VHOST_HEAD_SIZE + payload);
        FUZZ_CHECK(message.queue < TC_VHOST_QUEUES);
        FUZZ_CHECK(tc_vhost_descriptors(&message) <= TC_VHOST_REGIONS_MAX);
        FUZZ_CHECK(message.config_offset + message.config_size <= TC_VHOST_CONFIG_MAX);
        if (message.request == TC_VHOST_SET_VRING_NUM)
            FUZZ_CHECK(message.number > 0 && message.number <= TC_VHOST_QUEUE_SIZE_MAX);
        check_regions(&message);
    }
    if (size >= TC_VSOCKPKT_SIZE) {
        uint8_t again[TC_VSOCKPKT_SIZE];
        struct tc_vsockpkt packet = tc_vsockpkt_decode(data);
        tc_vsockpkt_encode(&packet, again);
        FUZZ_CHECK(memcmp(again, data, sizeof again) == 0);
    }
    return 0;
}
