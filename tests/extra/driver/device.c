// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0
/*
 * The Nitro Enclaves device where there is none: linked with the kernel's own ne_misc_dev.c,
 * in place of its ne_pci_dev.c. So the rules that a program meets at /dev/nitro_enclaves are
 * the kernel's, and only the hypervisor behind them is made up: it grants everything, keeps
 * CIDs apart, says in the kernel's log what it was asked for, and runs nothing.
 *
 * /dev/nitro_memory is the memory of the enclave that was started last, region by region in
 * the order in which the driver named them. Writing a slot to the parameter "ended" ends its
 * enclave as the hypervisor would.
 */
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "ne_misc_dev.h"
#include "ne_pci_dev.h"

#define SLOTS 8
#define REGIONS 2048

struct slot {
	bool used, runs;
	u64 cid;
	unsigned int count;
	struct {
		u64 at, size;
	} regions[REGIONS];
};

static struct slot *slots; /* the first is number 1 */
static struct slot *shown;
static DEFINE_MUTEX(lock);

static uint pieces = REGIONS;
module_param(pieces, uint, 0644);
MODULE_PARM_DESC(pieces, "how many regions of memory an enclave can have");

static struct slot *find(u64 uid)
{
	return uid >= 1 && uid <= SLOTS && slots[uid - 1].used ? &slots[uid - 1] : NULL;
}

static int alloc(struct ne_pci_dev_cmd_reply *reply)
{
	u64 i;

	for (i = 0; i < SLOTS && slots[i].used; i++)
		;
	if (i == SLOTS)
		return -ENOSPC;
	memset(&slots[i], 0, sizeof(slots[i]));
	slots[i].used = true;
	reply->slot_uid = i + 1;
	reply->mem_regions = min_t(uint, pieces, REGIONS);
	pr_info("device: slot %llu\n", i + 1);
	return 0;
}

static int take_memory(const struct slot_add_mem_req *wanted)
{
	struct slot *slot = find(wanted->slot_uid);

	if (!slot || slot->count == REGIONS)
		return -EINVAL;
	slot->regions[slot->count].at = wanted->paddr;
	slot->regions[slot->count++].size = wanted->size;
	pr_info("device: slot %llu memory %llu MiB\n", wanted->slot_uid, wanted->size >> 20);
	return 0;
}

static int take_cpu(const struct slot_add_vcpu_req *wanted)
{
	if (!find(wanted->slot_uid))
		return -EINVAL;
	pr_info("device: slot %llu processor %u\n", wanted->slot_uid, wanted->vcpu_id);
	return 0;
}

static int start(const struct enclave_start_req *wanted, struct ne_pci_dev_cmd_reply *reply)
{
	struct slot *slot = find(wanted->slot_uid);
	unsigned int i;

	if (!slot || slot->runs)
		return -EINVAL;
	for (i = 0; i < SLOTS; i++)
		if (slots[i].used && slots[i].runs && slots[i].cid == wanted->enclave_cid)
			return -EINVAL;
	slot->runs = true;
	slot->cid = wanted->enclave_cid ? wanted->enclave_cid : 16 + wanted->slot_uid;
	shown = slot;
	reply->enclave_cid = slot->cid;
	pr_info("device: slot %llu started, CID %llu, flags %llu\n", wanted->slot_uid, slot->cid,
		wanted->flags);
	return 0;
}

static int stop(const struct enclave_stop_req *wanted)
{
	struct slot *slot = find(wanted->slot_uid);

	if (!slot)
		return -EINVAL;
	slot->runs = false;
	pr_info("device: slot %llu stopped\n", wanted->slot_uid);
	return 0;
}

static int free_slot(const struct slot_free_req *wanted)
{
	struct slot *slot = find(wanted->slot_uid);

	if (!slot || slot->runs)
		return -EINVAL;
	slot->used = false;
	if (shown == slot)
		shown = NULL;
	pr_info("device: slot %llu free\n", wanted->slot_uid);
	return 0;
}

int ne_do_request(struct pci_dev *pdev, enum ne_pci_dev_cmd_type cmd_type, void *cmd_request,
		  size_t cmd_request_size, struct ne_pci_dev_cmd_reply *cmd_reply,
		  size_t cmd_reply_size)
{
	int rc;

	mutex_lock(&lock);
	switch (cmd_type) {
	case SLOT_ALLOC: rc = alloc(cmd_reply); break;
	case SLOT_ADD_MEM: rc = take_memory(cmd_request); break;
	case SLOT_ADD_VCPU: rc = take_cpu(cmd_request); break;
	case ENCLAVE_START: rc = start(cmd_request, cmd_reply); break;
	case ENCLAVE_STOP: rc = stop(cmd_request); break;
	case SLOT_FREE: rc = free_slot(cmd_request); break;
	default: rc = -EOPNOTSUPP;
	}
	mutex_unlock(&lock);
	return rc;
}

/* As the driver's own handler of the device's events does it. */
static int set_ended(const char *text, const struct kernel_param *param)
{
	struct ne_pci_dev *device = ne_devs.ne_pci_dev;
	struct ne_enclave *enclave;
	u64 uid;
	int rc = kstrtou64(text, 0, &uid);

	if (rc < 0 || !device)
		return rc < 0 ? rc : -ENODEV;
	rc = -ENOENT;
	mutex_lock(&device->enclaves_list_mutex);
	list_for_each_entry(enclave, &device->enclaves_list, enclave_list_entry) {
		if (enclave->slot_uid != uid)
			continue;
		mutex_lock(&enclave->enclave_info_mutex);
		mutex_lock(&lock);
		slots[uid - 1].runs = false;
		mutex_unlock(&lock);
		enclave->state = NE_STATE_STOPPED;
		enclave->has_event = true;
		mutex_unlock(&enclave->enclave_info_mutex);
		wake_up_interruptible(&enclave->eventq);
		rc = 0;
	}
	mutex_unlock(&device->enclaves_list_mutex);
	return rc;
}

static const struct kernel_param_ops ended_ops = { .set = set_ended };
module_param_cb(ended, &ended_ops, NULL, 0200);
MODULE_PARM_DESC(ended, "the slot whose enclave ends");

static ssize_t read_memory(struct file *file, char __user *out, size_t size, loff_t *offset)
{
	u64 begin = 0, inside;
	ssize_t got = 0;
	unsigned int i;

	mutex_lock(&lock);
	for (i = 0; shown && i < shown->count && got == 0; i++) {
		if (*offset < begin + shown->regions[i].size) {
			inside = *offset - begin;
			size = min_t(u64, size, shown->regions[i].size - inside);
			got = copy_to_user(out, phys_to_virt(shown->regions[i].at) + inside, size) ?
				      -EFAULT : size;
		}
		begin += shown->regions[i].size;
	}
	mutex_unlock(&lock);
	if (got > 0)
		*offset += got;
	return got;
}

static const struct file_operations memory_calls = {
	.owner = THIS_MODULE, .read = read_memory, .llseek = default_llseek,
};

static struct miscdevice memory = {
	.minor = MISC_DYNAMIC_MINOR, .name = "nitro_memory", .fops = &memory_calls, .mode = 0400,
};

static int probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct ne_pci_dev *device = kzalloc(sizeof(*device), GFP_KERNEL);
	int rc = -ENOMEM;

	slots = kvcalloc(SLOTS, sizeof(*slots), GFP_KERNEL);
	if (!device || !slots)
		goto failed;
	INIT_LIST_HEAD(&device->enclaves_list);
	mutex_init(&device->enclaves_list_mutex);
	mutex_init(&device->pci_dev_mutex);
	device->pdev = pdev;
	rc = misc_register(&memory);
	if (rc < 0)
		goto failed;
	ne_devs.ne_pci_dev = device;
	rc = misc_register(ne_devs.ne_misc_dev);
	if (rc == 0)
		return 0;
	ne_devs.ne_pci_dev = NULL;
	misc_deregister(&memory);
failed:
	kvfree(slots);
	kfree(device);
	return rc;
}

static void remove(struct pci_dev *pdev)
{
	misc_deregister(ne_devs.ne_misc_dev);
	misc_deregister(&memory);
	kfree(ne_devs.ne_pci_dev);
	ne_devs.ne_pci_dev = NULL;
	kvfree(slots);
}

/* Whose place it takes: QEMU's pci-testdev. */
static const struct pci_device_id ids[] = { { PCI_DEVICE(0x1b36, 0x0005) }, { 0 } };

struct pci_driver ne_pci_driver = {
	.name = "nitro_enclaves", .id_table = ids, .probe = probe, .remove = remove,
};
