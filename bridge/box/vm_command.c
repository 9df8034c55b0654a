/*
 * The memory is a shared file and the vsock device sits on a port of its own, so that the machine
 * can be saved: what lies in the file is not written again, and QEMU does not save a machine with
 * that device in place. The serial console goes to a ring in QEMU's memory: a guest that prints
 * without end fills nothing.
 */
#include "bridge/box/vm_command.h"

#include <stdarg.h>
#include <stdio.h>

static void __attribute__((format(printf, 2, 3))) add(struct vm_command *c, const char *fmt, ...)
{
	char *at = c->text + c->used;
	size_t room = sizeof(c->text) - c->used;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(at, room, fmt, ap);
	va_end(ap);
	ASSERT(n >= 0 && (size_t)n < room && c->n < VM_WORDS_MAX);
	c->used += (size_t)n + 1;
	c->argv[c->n++] = at;
	c->argv[c->n] = NULL;
}

static void add_pair(struct vm_command *c, const char *option, const char *value)
{
	add(c, "%s", option);
	add(c, "%s", value);
}

static const char *format_of(const char *layer)
{
	size_t n = strlen(layer);

	return n > 6 && strcmp(layer + n - 6, ".qcow2") == 0 ? "qcow2" : "raw";
}

static void add_machine(struct vm_command *c, enum vm_accel accel)
{
	*c = (struct vm_command){0};
	add(c, "qemu-system-x86_64");
	add_pair(c, "-name", "sandbox");
	add(c, "-nodefaults");
	add(c, "-no-user-config");
	add(c, "-no-reboot");
	add_pair(c, "-display", "none");
	add_pair(c, "-sandbox",
		"on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
	add_pair(c, "-machine", "q35");
	add_pair(c, "-accel", accel == VM_ACCEL_KVM ? "kvm" : "tcg");
	add_pair(c, "-cpu", accel == VM_ACCEL_KVM ? "host" : "max");
	add_pair(c, "-kernel", "vmlinuz");
}

void vm_command_node(const char *layer, char ret[VM_NAME_MAX])
{
	char *end;

	snprintf(ret, VM_NAME_MAX, "%s", layer);
	end = strrchr(ret, '.');
	if (end)
		*end = '\0';
}

static void add_disk(struct vm_command *c, const char *layer)
{
	char node[VM_NAME_MAX];

	vm_command_node(layer, node);
	add(c, "-blockdev");
	add(c,
		"driver=%s,node-name=%s,discard=unmap,file.driver=file,file.filename=%s,"
		"file.discard=unmap",
		format_of(layer), node, layer);
	add(c, "-device");
	add(c, "virtio-blk-pci,drive=%s,werror=enospc,rerror=report", node);
}

void vm_command_qemu(struct vm_command *c, const struct vm_files *f, const char *ram,
	enum vm_accel accel, bool incoming)
{
	add_machine(c, accel);
	add_pair(c, "-initrd", "initramfs.img");
	add_pair(c, "-append",
		"console=ttyS0 quiet loglevel=4 panic=-1 net.ifnames=0 agentd.default_user=1000");
	add(c, "-smp");
	add(c, "%u", f->cpus);
	add(c, "-m");
	add(c, "%u", f->memory_mb);
	add(c, "-object");
	add(c, "memory-backend-file,id=ram,size=%uM,share=on,mem-path=%s", f->memory_mb, ram);
	add_pair(c, "-numa", "node,memdev=ram");
	add_pair(c, "-device", "pcie-root-port,id=port0,chassis=1");
	add_disk(c, f->layers[f->n_layers - 1]);
	add_pair(c, "-device", "virtio-rng-pci");
	add_pair(c, "-device", "virtio-balloon-pci,id=balloon0");
	if (f->network) {
		add_pair(c, "-netdev", "user,id=net0");
		add_pair(c, "-device", "virtio-net-pci,netdev=net0");
	}
	add_pair(c, "-chardev", "ringbuf,id=console,size=65536");
	add_pair(c, "-serial", "chardev:console");
	add_pair(c, "-qmp", "unix:" VM_RUN "/qmp,server=on,wait=off");
	add_pair(c, "-chardev", "socket,id=vsock,path=" VM_RUN "/vhost");
	if (incoming)
		add_pair(c, "-incoming", "defer");
	else
		add_pair(c, "-device",
			"vhost-user-vsock-pci,chardev=vsock,id=" VM_VSOCK_ID ",bus=port0");
}

void vm_command_vsock(struct vm_command *c, const struct vm_files *f)
{
	*c = (struct vm_command){0};
	add(c, "./vhost-device-vsock");
	add(c, "--vm");
	add(c, "guest-cid=%u,uds-path=" VM_EARLY ",socket=" VM_RUN "/vhost", f->cid);
}

void vm_command_trial(struct vm_command *c, enum vm_accel accel)
{
	add_machine(c, accel);
	add_pair(c, "-m", "256");
	add_pair(c, "-append", "panic=-1");
}

void vm_command_overlay(struct vm_command *c, const char *below, const char *name, uint64_t size)
{
	*c = (struct vm_command){0};
	add(c, "qemu-img");
	add(c, "create");
	add(c, "-q");
	add(c, "-u");
	add_pair(c, "-f", "qcow2");
	add_pair(c, "-F", format_of(below));
	add_pair(c, "-b", below);
	add(c, "%s", name);
	add(c, "%llu", (unsigned long long)size);
}
