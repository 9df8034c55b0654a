/*
 * Making a machine from an image or a snapshot, looking what a bridge before us left, and taking
 * everything away. A directory without vm.json is one that was never finished.
 */
#include "bridge/box/vm_steps.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "bridge/box/vm_copy.h"

#define REAP_MS 5000

/* ---- making ---- */

static int copy_saved(struct vm *vm, const char *name, const char *prefix, uint64_t sum, uid_t uid,
	char ret[VM_NAME_MAX])
{
	char from[BOX_PATH_MAX + VM_NAME_MAX], to[BOX_PATH_MAX];
	uint64_t copied = 0;
	int r;

	vm_files_name(&vm->snapshot, prefix, "", ret);
	snprintf(from, sizeof(from), "%s/%s", vm->source.dir, name);
	r = vm_path(vm, ret, to, sizeof(to));
	if (r == 0)
		r = vm_copy(from, to, uid, 0600, &copied);
	if (r < 0)
		return r;
	if (copied == sum)
		return 0;
	unlink(to);
	return -EBADMSG;
}

/* Its memory, if that is whole: vm->snapshot is ASLEEP or STOPPED then. */
static int copy_memory(struct vm *vm, const struct vm_saved *from)
{
	struct vm_files *f = &vm->snapshot;
	char ram[BOX_PATH_MAX];
	int r;

	f->saved = (struct vm_saved){0};
	f->life = VM_STOPPED;
	if (from->device[0] == '\0')
		return 0;
	r = copy_saved(vm, from->ram, "ram", from->ram_sum, vm_host_uid(f->cid), f->saved.ram);
	if (r == 0)
		r = copy_saved(vm, from->device, "device", from->device_sum, 0, f->saved.device);
	if (r == -EBADMSG || r == -ENOENT) {
		f->saved = (struct vm_saved){0};
		snprintf(vm->note, sizeof(vm->note), "the saved memory is damaged");
		return 0;
	}
	if (r == 0)
		r = vm_path(vm, f->saved.ram, ram, sizeof(ram));
	if (r == 0)
		r = vm_reserve(ram, f->memory_mb * MIB);
	f->saved.ram_sum = from->ram_sum;
	f->saved.device_sum = from->device_sum;
	f->saved.ram_bytes = from->ram_bytes;
	f->life = VM_ASLEEP;
	vm->sum_checked = r == 0;
	return r;
}

static int job_fill(struct vm *vm)
{
	struct vm_files *f = &vm->snapshot, was = vm->files;
	struct vm_saved saved;
	int r = vm_files_load(vm->source.dir, f);

	if (r < 0)
		return r;
	saved = f->saved;
	f->cid = was.cid;
	f->last = was.last;
	/* What has a memory has its size. */
	if (vm->source.cpus > 0 && f->life == VM_STOPPED) {
		f->cpus = vm->source.cpus;
		f->memory_mb = vm->source.memory_mb;
		f->network = vm->source.network;
	}
	vm->sum_checked = false;
	vm->note[0] = '\0';
	r = vm_files_link(f, vm->source.dir, vm->dir);
	return r < 0 ? r : copy_memory(vm, &saved);
}

static int job_make(struct vm *vm)
{
	int r = vm_files_make(vm->dir, vm_host_uid(vm->files.cid));

	return r < 0 ? r : job_fill(vm);
}

static void step_make(struct vm *vm)
{
	vm->files = (struct vm_files){.cid = vm_host_cid(vm->host)};
	if (vm->files.cid == 0)
		vm_fail(vm, 507, "no number can be given to a machine: is the disk full?");
	else
		vm_job(vm, job_make);
}

static void step_fill(struct vm *vm)
{
	vm_job(vm, job_fill);
}

static void step_overlay(struct vm *vm)
{
	vm_overlay(vm, &vm->snapshot);
}

static int job_commit(struct vm *vm)
{
	struct vm_files f = vm->snapshot;
	uid_t uid = vm_host_uid(f.cid);
	char path[BOX_PATH_MAX];
	int r = vm_files_push(&f, vm->name);

	if (r == 0)
		r = vm_path(vm, vm->name, path, sizeof(path));
	if (r == 0 && uid != 0 && chown(path, uid, uid) < 0)
		r = -errno;
	return r < 0 ? r : vm_save_files(vm, &f);
}

static void step_commit(struct vm *vm)
{
	vm_job(vm, job_commit);
}

/* ---- destroying ---- */

static int job_remove(struct vm *vm)
{
	int r = vm_process_reap(vm->dir, REAP_MS);

	if (r != 0)
		return r < 0 ? r : -EBUSY;
	return vm_files_remove(vm->dir);
}

static void step_remove(struct vm *vm)
{
	vm_job(vm, job_remove);
}

/* ---- looking ---- */

static int job_look(struct vm *vm)
{
	return vm_files_load(vm->dir, &vm->files);
}

static void step_look(struct vm *vm)
{
	vm_job(vm, job_look);
}

static int job_reap(struct vm *vm)
{
	struct vm_files f = vm->files;
	int r = vm_process_reap(vm->dir, REAP_MS);

	if (r != 0)
		return r < 0 ? r : -EBUSY;
	if (f.life == VM_RUNNING) {
		f.life = VM_STOPPED;
		f.saved = (struct vm_saved){0};
		r = vm_save_files(vm, &f);
	}
	vm_files_sweep(vm->dir, &vm->files);
	return r;
}

/* Without QEMU there is nothing; the other can be replaced. */
static void step_adopt(struct vm *vm)
{
	struct vm_process *p = vm->processes;
	uv_loop_t *loop = vm->host->loop;

	if (vm->files.life == VM_RUNNING &&
		(p[VM_QEMU].running || vm_process_adopt(&p[VM_QEMU], loop, vm->dir) == 0) &&
		!p[VM_VSOCK].running)
		vm_process_adopt(&p[VM_VSOCK], loop, vm->dir);
	vm_next(vm);
}

static void step_reap(struct vm *vm)
{
	if (vm->processes[VM_QEMU].running)
		vm_next(vm);
	else
		vm_job(vm, job_reap);
}

/* ---- lists ---- */

const struct vm_step vm_make_steps[] = {
	{step_make, "the sandbox's directory", 0},
	{step_overlay, "the disk", 0},
	{step_commit, "the disk", 0},
	{0},
};

const struct vm_step vm_remake_steps[] = {
	{step_fill, "the snapshot", 0},
	{step_overlay, "the disk", 0},
	{step_commit, "the disk", 0},
	{vm_step_end, "the end of the processes", 10000},
	{vm_step_sweep, "tidying up", 0},
	{0},
};

const struct vm_step vm_unremake_steps[] = {
	{vm_step_sweep, "tidying up", 0},
	{0},
};

const struct vm_step vm_destroy_steps[] = {
	{vm_step_end, "the end of the processes", 10000},
	{step_remove, "the sandbox's directory", 0},
	{0},
};

const struct vm_step vm_look_steps[] = {
	{step_look, "vm.json", 0},
	{step_adopt, "its processes", 0},
	{step_reap, "the end of the processes", 0},
	{0},
};
