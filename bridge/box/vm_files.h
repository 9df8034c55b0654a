/*
 * vm_files.h - what lies in the directory of a machine or of a snapshot, and what it means.
 *
 * "vm.json" describes it and is replaced as a whole (written, fsync, renamed) before what it says
 * is acted on. Every other file has a name that is used once (the machine's CID and a number), so a
 * description that is replaced switches from one set of files to another in one step; what no
 * description names is swept.
 *
 * Disks are chains of layers, all but the last of a running machine frozen. A directory has a hard
 * link to each layer it needs, and a layer names the one below it without a path: so the file
 * system counts the references. Removing a directory is all there is to do, and can take nothing
 * from anybody.
 *
 * All of this blocks: for workers.
 */
#pragma once

#include <sys/types.h>

#include "base/base.h"

#define VM_LAYERS_MAX 200
#define VM_NAME_MAX   64
#define VM_JSON       "vm.json"
#define VM_RUN        "run" /* directory for sockets, the only one a machine can write to */

enum vm_life {
	VM_STOPPED, /* no process */
	VM_RUNNING, /* its processes are the truth */
	VM_ASLEEP,  /* ram and saved are whole */
};

struct vm_saved {
	char ram[VM_NAME_MAX], device[VM_NAME_MAX]; /* files; "" none */
	uint64_t ram_sum, ram_bytes, device_sum;
};

struct vm_files {
	enum vm_life life;
	uint32_t cid;
	unsigned cpus, memory_mb;
	unsigned scaled_mb; /* what it has of its memory by now; 0: all */
	bool network;
	uint64_t last; /* number used last for a file's name */
	struct vm_saved saved;
	unsigned n_layers;
	char layers[VM_LAYERS_MAX][VM_NAME_MAX]; /* the lowest first */
};

/* 0, -ENOENT, -EBADMSG, or another -errno. */
int vm_files_load(const char *dir, struct vm_files *ret);
int vm_files_save(const char *dir, const struct vm_files *f);
/* A name that no machine of this state directory ever used: PREFIX-CID.NUMBER + suffix. */
void vm_files_name(
	struct vm_files *f, const char *prefix, const char *suffix, char ret[VM_NAME_MAX]);
/* -E2BIG: too many. */
int vm_files_push(struct vm_files *f, const char *layer);
/* Links what the machine starts from (kernel, initramfs, vsock device) and its layers. */
int vm_files_link(const struct vm_files *f, const char *from, const char *to);
/* Removes what no machine in this state needs. */
void vm_files_sweep(const char *dir, const struct vm_files *f);
/* A new directory, and VM_RUN in it for processes of that user. -EEXIST. */
int vm_files_make(const char *dir, uid_t uid);
/* With everything in it; one level. 0 when it is gone. */
int vm_files_remove(const char *dir);
/* fsync of a file, or of a directory, so that names in it last. */
int vm_files_settle(const char *path);
