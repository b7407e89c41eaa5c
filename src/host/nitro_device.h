/* The enclave device: whether this machine has one, whether its driver is there, and
 * whether this process may open it. Also how a line of the machine's files is read. */
#ifndef TC_HOST_NITRO_DEVICE_H
#define TC_HOST_NITRO_DEVICE_H

#include "host/backend.h"
#include "host/nitro_ops.h"

enum { TC_NITRO_PATH_MAX = 512 };

/* The path below ops->root. */
void tc_nitro_locate(const struct tc_nitro_ops *ops, const char *path, char out[TC_NITRO_PATH_MAX]);
bool tc_nitro_is_there(const struct tc_nitro_ops *ops, const char *path);
/* One line without its end; "" when there is none. */
void tc_nitro_read_line(const struct tc_nitro_ops *ops, const char *path, char *out, size_t size);

/* Says in why and fix what of it is missing, and sets present when there is any sign of
 * it: the node, the driver, or the device on the PCI bus. True: something is missing. */
bool tc_nitro_lacks_device(const struct tc_nitro_ops *ops, struct tc_probe *probe);

#endif
