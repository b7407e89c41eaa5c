#include "host/nitro_device.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

#define MODULE "/sys/module/nitro_enclaves"
#define DEVICE "/dev/nitro_enclaves"
#define PCI "/sys/bus/pci/devices"
#define PCI_VENDOR "0x1d0f"
#define PCI_DEVICE "0xe4c1"

enum { PCI_MAX = 4096, GROUPS_MAX = 1024 };

void tc_nitro_locate(const struct tc_nitro_ops *ops, const char *path, char out[TC_NITRO_PATH_MAX])
{
    (void)snprintf(out, TC_NITRO_PATH_MAX, "%s%s", ops->root, path);
}

bool tc_nitro_is_there(const struct tc_nitro_ops *ops, const char *path)
{
    char place[TC_NITRO_PATH_MAX];
    struct stat info;
    tc_nitro_locate(ops, path, place);
    return stat(place, &info) == 0;
}

void tc_nitro_read_line(const struct tc_nitro_ops *ops, const char *path, char *out, size_t size)
{
    char place[TC_NITRO_PATH_MAX];
    tc_nitro_locate(ops, path, place);
    TC_AUTO_CLOSE int fd = open(place, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : read(fd, out, size - 1);
    out[got > 0 ? got : 0] = '\0';
    out[strcspn(out, "\n")] = '\0';
}

/* --- is it here? --- */

static bool has_id(const struct tc_nitro_ops *ops, const char *device, const char *what,
                   const char *id)
{
    char path[TC_NITRO_PATH_MAX / 2], seen[16];
    (void)snprintf(path, sizeof path, PCI "/%.64s/%s", device, what);
    tc_nitro_read_line(ops, path, seen, sizeof seen);
    return strcmp(seen, id) == 0;
}

/* It stays on the bus while no driver is loaded, and is seen in a container without the
 * node. */
static bool is_on_bus(const struct tc_nitro_ops *ops)
{
    char place[TC_NITRO_PATH_MAX];
    bool found = false;
    tc_nitro_locate(ops, PCI, place);
    DIR *folder = opendir(place);
    if (!folder) return false;
    const struct dirent *entry = readdir(folder);
    for (int i = 0; entry && !found && i < PCI_MAX; i++, entry = readdir(folder))
        found = has_id(ops, entry->d_name, "vendor", PCI_VENDOR) &&
                has_id(ops, entry->d_name, "device", PCI_DEVICE);
    (void)closedir(folder);
    return found;
}

static bool lacks_node(const struct tc_nitro_ops *ops, struct tc_probe *probe)
{
    bool node = tc_nitro_is_there(ops, DEVICE), driver = tc_nitro_is_there(ops, MODULE);
    bool device = node || is_on_bus(ops);
    probe->present = device || driver;
    if (node) return false;
    if (driver && device) {
        (void)snprintf(probe->why, sizeof probe->why,
                       "the driver is loaded and the enclave device is on the PCI bus, and there "
                       "is no " DEVICE " here");
        (void)snprintf(probe->fix, sizeof probe->fix,
                       "in a container: give it the device (docker run --device " DEVICE
                       "); elsewhere look for nitro_enclaves in: sudo dmesg");
    } else if (driver) {
        (void)snprintf(probe->why, sizeof probe->why,
                       "the driver is loaded and has found no enclave device: there is no " DEVICE);
        (void)snprintf(probe->fix, sizeof probe->fix,
                       "launch an instance of a type that has enclaves with: aws ec2 run-instances "
                       "--enclave-options Enabled=true ...");
    } else if (device) {
        (void)snprintf(probe->why, sizeof probe->why,
                       "the driver nitro_enclaves is not loaded: the enclave device is on the PCI "
                       "bus, and there is no " DEVICE);
        (void)snprintf(probe->fix, sizeof probe->fix, "sudo modprobe nitro_enclaves");
    } else {
        (void)snprintf(probe->why, sizeof probe->why,
                       "there is no " DEVICE " and no such device on the PCI bus: this is not an "
                       "EC2 instance that was launched with enclaves enabled");
        (void)snprintf(probe->fix, sizeof probe->fix,
                       "launch an instance of a type that has enclaves with --enclave-options "
                       "Enabled=true, and load the driver nitro_enclaves there");
    }
    return true;
}

/* --- may it be opened? --- */

static bool is_own_group(gid_t group)
{
    gid_t groups[GROUPS_MAX];
    int count = getgroups(GROUPS_MAX, groups);
    bool own = group == getegid();
    for (int i = 0; i < count && !own; i++)
        own = groups[i] == group;
    return own;
}

/* Who is kept out by the node's mode, by its group, or by neither. */
static void mend_access(const struct tc_nitro_ops *ops, struct tc_probe *probe)
{
    char place[TC_NITRO_PATH_MAX];
    struct stat info = {0};
    tc_nitro_locate(ops, DEVICE, place);
    (void)stat(place, &info);
    const struct group *group = info.st_gid == 0 ? NULL : getgrgid(info.st_gid);
    bool open = (info.st_mode & (S_IRGRP | S_IWGRP)) == (S_IRGRP | S_IWGRP);
    if (open && is_own_group(info.st_gid))
        (void)snprintf(probe->fix, sizeof probe->fix,
                       "mode and group let this process open it, so something else forbids it: "
                       "look at getfacl " DEVICE ", and for a denial (SELinux, AppArmor) in: sudo "
                       "dmesg");
    else if (open && group)
        (void)snprintf(probe->fix, sizeof probe->fix,
                       "sudo usermod -aG %s \"$USER\", then log in again", group->gr_name);
    else
        (void)snprintf(probe->fix, sizeof probe->fix,
                       "sudo groupadd -f ne && sudo chgrp ne " DEVICE " && sudo chmod 660 " DEVICE
                       " && sudo usermod -aG ne \"$USER\", then log in again");
}

static bool lacks_permission(const struct tc_nitro_ops *ops, struct tc_probe *probe)
{
    int fd = ops->open_device(ops->context);
    int seen = errno;
    if (fd >= 0) {
        (void)ops->close(ops->context, fd);
        return false;
    }
    (void)snprintf(probe->why, sizeof probe->why, "cannot open " DEVICE ": %s", strerror(seen));
    if (seen == EACCES)
        mend_access(ops, probe);
    else if (seen == EPERM)
        /* What a control group's list of devices answers with; modes answer with EACCES. */
        (void)snprintf(
            probe->fix, sizeof probe->fix,
            "allow the device in this container's device rules (docker run --device " DEVICE
            "), or build outside of the container");
    else
        (void)snprintf(
            probe->fix, sizeof probe->fix,
            "look for nitro_enclaves in: sudo dmesg; then: sudo modprobe -r nitro_enclaves "
            "&& sudo modprobe nitro_enclaves");
    return true;
}

bool tc_nitro_lacks_device(const struct tc_nitro_ops *ops, struct tc_probe *probe)
{
    return lacks_node(ops, probe) || lacks_permission(ops, probe);
}
