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

static int copy_device(struct vm *vm, const struct vm_saved *from)
{
	struct vm_files *f = &vm->snapshot;
	char here[BOX_PATH_MAX + VM_NAME_MAX], to[BOX_PATH_MAX];
	uint64_t sum = 0;
	int r;

	vm_files_name(f, "device", "", f->saved.device);
	snprintf(here, sizeof(here), "%s/%s", vm->source.dir, from->device);
	r = vm_path(vm, f->saved.device, to, sizeof(to));
	if (r == 0)
		r = vm_copy(here, to, 0, 0600, &sum);
	return r == 0 && sum != from->device_sum ? -EBADMSG : r;
}

static int source_ram(const struct vm *vm, char *out, size_t size)
{
	int n = snprintf(out, size, "%s/%s", vm->source.dir, vm->source.ram);

	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

/* The file its memory will be in. */
static int begin_ram(struct vm *vm)
{
	struct vm_files *f = &vm->snapshot;
	char from[BOX_PATH_MAX + VM_NAME_MAX], to[BOX_PATH_MAX];
	int r = source_ram(vm, from, sizeof(from));

	vm_files_name(f, "ram", "", f->saved.ram);
	if (r == 0)
		r = vm_path(vm, f->saved.ram, to, sizeof(to));
	return r < 0 ? r : vm_copy_begin(from, to, vm_host_uid(f->cid), &vm->shared);
}

static bool is_damage(int r)
{
	return r == -EBADMSG || r == -ENOENT;
}

/* What can be made again is, next time. */
static void spoil_source(const struct vm *vm)
{
	char json[BOX_PATH_MAX + VM_NAME_MAX];

	snprintf(json, sizeof(json), "%s/" VM_JSON, vm->source.dir);
	if (vm->source.golden)
		unlink(json);
}

/* It boots from its disk instead. */
static void give_up_memory(struct vm *vm)
{
	vm->snapshot.saved = (struct vm_saved){0};
	vm->snapshot.life = VM_STOPPED;
	snprintf(vm->note, sizeof(vm->note), "the saved memory is damaged");
	spoil_source(vm);
}

/* vm->snapshot is ASLEEP then, but for what is in its memory, or STOPPED. */
static int begin_memory(struct vm *vm, const struct vm_saved *from)
{
	struct vm_files *f = &vm->snapshot;
	int r;

	f->saved = (struct vm_saved){0};
	f->life = VM_STOPPED;
	if (from->device[0] == '\0')
		return 0;
	memcpy(vm->source.ram, from->ram, sizeof(from->ram));
	r = copy_device(vm, from);
	if (r == 0)
		r = begin_ram(vm);
	f->saved.ram_sum = from->ram_sum;
	f->saved.device_sum = from->device_sum;
	f->saved.ram_bytes = from->ram_bytes;
	f->life = VM_ASLEEP;
	if (!is_damage(r))
		return r;
	give_up_memory(vm);
	return 0;
}

static int fill_memory(const struct vm *vm, const struct vm_saved *s)
{
	char from[BOX_PATH_MAX + VM_NAME_MAX], to[BOX_PATH_MAX];
	uint64_t sum = 0;
	int r = source_ram(vm, from, sizeof(from));

	if (r == 0)
		r = vm_path(vm, s->ram, to, sizeof(to));
	if (r == 0)
		r = vm->shared ? vm_sum(to, &sum, NULL) : vm_copy_rest(from, to, &sum);
	return r == 0 && sum != s->ram_sum ? -EBADMSG : r;
}

static int job_fill_memory(struct vm *vm)
{
	int r = fill_memory(vm, &vm->snapshot.saved);

	if (!is_damage(r))
		return r;
	vm->saved_bad = true;
	spoil_source(vm);
	return -EBADMSG;
}

static int lay_out(struct vm *vm)
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
		f->scaled_mb = 0;
		f->network = vm->source.network;
	}
	vm->memory = VM_MEMORY_UNCHECKED;
	vm->note[0] = '\0';
	r = vm_files_link(f, vm->source.dir, vm->dir);
	return r < 0 ? r : begin_memory(vm, &saved);
}

static int job_make(struct vm *vm)
{
	int r = vm_files_make(vm->dir, vm_host_uid(vm->files.cid));

	return r < 0 ? r : lay_out(vm);
}

static void step_make(struct vm *vm)
{
	vm->files = (struct vm_files){.cid = vm_host_cid(vm->host)};
	if (vm->files.cid == 0)
		vm_fail(vm, 507, "no number can be given to a machine: is the disk full?");
	else
		vm_job(vm, job_make);
}

/* Its memory is filled while other things are done. */
static void step_begin_memory(struct vm *vm)
{
	if (vm->snapshot.life == VM_ASLEEP) {
		vm->memory = VM_MEMORY_COMING;
		vm_begin_job(vm, job_fill_memory);
	}
	vm_next(vm);
}

static int job_remake(struct vm *vm)
{
	int r = lay_out(vm);

	if (r < 0 || vm->snapshot.life != VM_ASLEEP)
		return r;
	r = fill_memory(vm, &vm->snapshot.saved);
	if (is_damage(r)) {
		give_up_memory(vm);
		return 0;
	}
	vm->memory = VM_MEMORY_CHECKED;
	return r;
}

static void step_remake(struct vm *vm)
{
	vm_job(vm, job_remake);
}

static void step_overlay(struct vm *vm)
{
	vm_overlay(vm, &vm->snapshot);
}

static int push(struct vm *vm)
{
	struct vm_files *f = &vm->snapshot;
	uid_t uid = vm_host_uid(f->cid);
	char path[BOX_PATH_MAX];
	int r = vm_files_push(f, vm->name);

	vm->unsettled = true;
	if (r == 0)
		r = vm_path(vm, vm->name, path, sizeof(path));
	return r == 0 && uid != 0 && chown(path, uid, uid) < 0 ? -errno : r;
}

/* vm.json comes when it runs: until then there is nothing that anybody could come back to. */
static void step_push(struct vm *vm)
{
	int r = push(vm);

	if (r < 0) {
		vm_fail_errno(vm, r, "the disk");
		return;
	}
	vm->files = vm->snapshot;
	vm_next(vm);
}

static int job_commit(struct vm *vm)
{
	int r = push(vm);

	return r < 0 ? r : vm_save_files(vm, &vm->snapshot);
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
	{step_begin_memory, "the memory", 0},
	{step_overlay, "the disk", 0},
	{step_push, "the disk", 0},
	{0},
};

const struct vm_step vm_remake_steps[] = {
	{step_remake, "the snapshot", 0},
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
