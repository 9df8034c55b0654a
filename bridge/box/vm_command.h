/*
 * vm_command.h - the command lines of a machine's processes. Paths are relative to its directory,
 * which is where they are run; so they need no right to anything above it.
 */
#pragma once

#include "bridge/box/vm_files.h"

#define VM_WORDS_MAX  64
#define VM_TEXT_MAX   4096
#define VM_AGENT_PORT 1024
#define VM_BOOT_FORM  2 /* of what is told at a boot: another makes old goldens useless */

/* The socket to dial the guest by, before it can be: vm_vsock.c gives it its name. */
#define VM_EARLY VM_RUN "/early"

/* The same names in every machine; vm.c adds and removes the devices by them. */
#define VM_VSOCK_ID "vsock0"
#define VM_VSOCK_PLUG                                                                              \
	"{\"driver\":\"vhost-user-vsock-pci\",\"chardev\":\"vsock\",\"id\":\"" VM_VSOCK_ID         \
	"\",\"bus\":\"port0\"}"

enum vm_accel { VM_ACCEL_UNKNOWN, VM_ACCEL_KVM, VM_ACCEL_TCG };

struct vm_command {
	const char *argv[VM_WORDS_MAX + 1];
	size_t n, used;
	char text[VM_TEXT_MAX];
};

/* ram: file for its memory. incoming: it waits for a saved state, and has no vsock device yet. */
void vm_command_qemu(struct vm_command *c, const struct vm_files *f, const char *ram,
	enum vm_accel accel, bool incoming);
void vm_command_vsock(struct vm_command *c, const struct vm_files *f);
/* A machine that ends by itself with 0 if the accelerator works: a kernel that finds no root. */
void vm_command_trial(struct vm_command *c, enum vm_accel accel);
/* What QEMU calls the layer it writes to. */
void vm_command_node(const char *layer, char ret[VM_NAME_MAX]);
/* An empty disk of that size on top of another, which may be in use. */
void vm_command_overlay(struct vm_command *c, const char *below, const char *name, uint64_t size);
