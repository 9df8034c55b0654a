/*
 * Saving a running machine: to go to sleep, or as a snapshot while it goes on. Both stop it with
 * its vsock device taken out, and write what QEMU knows (the device state) to a descriptor of ours.
 * Its memory is a file already.
 *
 * A machine that goes to sleep may keep using its memory file until vm.json says ASLEEP; a snapshot
 * gets a copy. The layer a snapshot shares is frozen by a new one put on top while the machine
 * stands still.
 *
 * The memory is not forced to disk: after a loss of power its sum tells whether it is whole, and a
 * cold boot from the disk is the answer then.
 */
#include "bridge/box/vm_steps.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "bridge/box/vm_copy.h"

/* ---- the device state ---- */

/* vm->name, in `dir`. */
static void give_file(struct vm *vm, const char *dir)
{
	char path[BOX_PATH_MAX + VM_NAME_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, vm->name);
	close_fd(&vm->state_fd);
	vm->state_fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (vm->state_fd < 0)
		vm_fail_errno(vm, -errno, "the saved state");
	else
		vm_ask(vm, "getfd", "{\"fdname\":\"state\"}", vm->state_fd, NULL);
}

static void step_file(struct vm *vm)
{
	vm_files_name(&vm->files, "device", "", vm->name);
	give_file(vm, vm->dir);
}

static void step_snapshot_file(struct vm *vm)
{
	vm_files_name(&vm->files, "device", "", vm->name);
	give_file(vm, vm->target);
}

static void step_migrate(struct vm *vm)
{
	vm_ask(vm, "migrate", "{\"uri\":\"fd:state\"}", -1, NULL);
}

static void on_migrating(void *owner, struct jsonr value, const char *error)
{
	struct vm *vm = owner;
	struct jsonr status;

	if (error || !jsonr_member(value, "status", &status))
		vm_fail(vm, 500, "saving: %s", error ? error : "no status");
	else if (jsonr_is_str(status, "completed"))
		vm_next(vm);
	else if (jsonr_is_str(status, "failed") || jsonr_is_str(status, "cancelled"))
		vm_fail(vm, 507, "QEMU could not write what it is to save (is the disk full?)");
}

static void look_for_migrated(struct vm *vm)
{
	if (!qmp_busy(&vm->qmp))
		vm_ask(vm, "query-migrate", NULL, -1, on_migrating);
}

static void step_await_migrated(struct vm *vm)
{
	vm_poll(vm, 3, look_for_migrated);
}

/* ---- to sleep ---- */

static int job_asleep(struct vm *vm)
{
	struct vm_files f = vm->files;
	char ram[BOX_PATH_MAX], device[BOX_PATH_MAX];
	struct stat st = {0};
	int r = vm_path(vm, f.saved.ram, ram, sizeof(ram));

	snprintf(f.saved.device, sizeof(f.saved.device), "%s", vm->name);
	if (r == 0)
		r = vm_path(vm, vm->name, device, sizeof(device));
	if (r == 0 && (fsync(vm->state_fd) < 0 || fstat(vm->state_fd, &st) < 0))
		r = -errno;
	if (r == 0)
		r = vm_sum(device, &f.saved.device_sum, NULL);
	if (r == 0)
		r = vm_sum(ram, &f.saved.ram_sum, &f.saved.ram_bytes);
	if (r < 0)
		return r;
	vm->bytes = f.saved.ram_bytes + (uint64_t)st.st_size;
	f.life = VM_ASLEEP;
	return vm_save_files(vm, &f);
}

static void step_asleep(struct vm *vm)
{
	vm_job(vm, job_asleep);
}

/* What sleeps needs no more than it has; waking reserves it again. */
static int job_trim(struct vm *vm)
{
	char ram[BOX_PATH_MAX];

	if (vm_path(vm, vm->files.saved.ram, ram, sizeof(ram)) == 0)
		vm_trim(ram);
	return 0;
}

static void step_trim(struct vm *vm)
{
	vm_job(vm, job_trim);
}

static void step_close_file(struct vm *vm)
{
	close_fd(&vm->state_fd);
	vm_next(vm);
}

const struct vm_step vm_save_steps[] = {
	{vm_connect, "QEMU", 5000},
	{vm_step_unplug, "the vsock device", 5000},
	{vm_step_await_unplugged, "the guest's letting go of its vsock device", 10000},
	{vm_step_stop, "the machine's standstill", 5000},
	{vm_step_ignore_shared, "QEMU's capabilities", 5000},
	{step_file, "the saved state", 5000},
	{step_migrate, "the saved state", 5000},
	{step_await_migrated, "the saved state", 30000},
	{step_asleep, "the check of what was saved", 0},
	{step_close_file, "the saved state", 0},
	{vm_step_end, "the end of the processes", 10000},
	{step_trim, "tidying up", 0},
	{vm_step_sweep, "tidying up", 0},
	{0},
};

/* ---- snapshots ---- */

static int job_begin(struct vm *vm)
{
	int r;

	vm->pushed = false;
	vm_files_remove(vm->target);
	r = vm_files_make(vm->target, 0);
	return r < 0 ? r : vm_files_link(&vm->files, vm->dir, vm->target);
}

static void step_begin(struct vm *vm)
{
	vm_job(vm, job_begin);
}

static void step_overlay(struct vm *vm)
{
	if (vm->files.n_layers == VM_LAYERS_MAX)
		vm_fail(vm, 409, "this sandbox has had %d checkpoints; fork it to go on",
			VM_LAYERS_MAX - 2);
	else
		vm_overlay(vm, &vm->files);
}

static int job_own(struct vm *vm)
{
	uid_t uid = vm_host_uid(vm->files.cid);
	char path[BOX_PATH_MAX];
	int r = vm_path(vm, vm->name, path, sizeof(path));

	if (r == 0 && uid != 0 && chown(path, uid, uid) < 0)
		r = -errno;
	return r < 0 ? r : vm_files_settle(path);
}

static void step_own(struct vm *vm)
{
	vm_job(vm, job_own);
}

static void step_open_layer(struct vm *vm)
{
	char node[VM_NAME_MAX], args[512];

	vm_command_node(vm->name, node);
	snprintf(args, sizeof(args),
		"{\"driver\":\"qcow2\",\"node-name\":\"%s\",\"discard\":\"unmap\",\"backing\":null,"
		"\"file\":{\"driver\":\"file\",\"filename\":\"%s\",\"discard\":\"unmap\"}}",
		node, vm->name);
	vm_ask(vm, "blockdev-add", args, -1, NULL);
}

/* The snapshot is what the machine is now; then the machine has one layer more. */
static int job_push(struct vm *vm)
{
	struct vm_files f = vm->files;
	int r = vm_files_push(&f, vm->name);

	vm->snapshot = vm->files;
	if (r == 0)
		r = vm_save_files(vm, &f);
	vm->pushed = r == 0;
	return r;
}

static void step_push(struct vm *vm)
{
	vm_job(vm, job_push);
}

static void on_snapshot(void *owner, struct jsonr value, const char *error)
{
	struct vm *vm = owner;

	(void)value;
	if (error) {
		vm_fail(vm, 500, "the disk's new layer: %s", error);
		return;
	}
	vm->pushed = false;
	vm_next(vm);
}

static void step_snapshot(struct vm *vm)
{
	char below[VM_NAME_MAX], node[VM_NAME_MAX], args[256];
	const struct vm_files *f = &vm->files;

	vm_command_node(f->layers[f->n_layers - 2], below);
	vm_command_node(f->layers[f->n_layers - 1], node);
	snprintf(args, sizeof(args), "{\"node\":\"%s\",\"overlay\":\"%s\"}", below, node);
	vm_ask(vm, "blockdev-snapshot", args, -1, on_snapshot);
}

static int job_copy(struct vm *vm)
{
	struct vm_saved *s = &vm->snapshot.saved;
	char from[BOX_PATH_MAX], to[BOX_PATH_MAX + VM_NAME_MAX];
	char device[BOX_PATH_MAX + VM_NAME_MAX];
	int r = vm_path(vm, s->ram, from, sizeof(from));

	snprintf(s->device, sizeof(s->device), "%s", vm->name);
	snprintf(to, sizeof(to), "%s/%s", vm->target, s->ram);
	snprintf(device, sizeof(device), "%s/%s", vm->target, s->device);
	if (r == 0)
		r = vm_copy(from, to, 0, 0600, &s->ram_sum);
	if (r == 0)
		r = vm_sum(device, &s->device_sum, &s->ram_bytes);
	vm->bytes = s->ram_bytes;
	if (r == 0)
		r = vm_sum(to, &s->ram_sum, &s->ram_bytes);
	vm->bytes += s->ram_bytes;
	return r;
}

static void step_copy(struct vm *vm)
{
	vm_job(vm, job_copy);
}

/* Everything into place: the frozen layer nobody may write any more, the description, the name. */
static int job_commit(struct vm *vm)
{
	struct vm_files *s = &vm->snapshot;
	char layer[BOX_PATH_MAX + VM_NAME_MAX], final[BOX_PATH_MAX], parent[BOX_PATH_MAX];
	struct stat st;
	int r;

	s->life = vm->full ? VM_ASLEEP : VM_STOPPED;
	if (!vm->full)
		s->saved = (struct vm_saved){0};
	snprintf(layer, sizeof(layer), "%s/%s", vm->target, s->layers[s->n_layers - 1]);
	if (chown(layer, 0, 0) < 0 && errno != EPERM)
		return -errno;
	if (chmod(layer, 0444) < 0 || stat(layer, &st) < 0)
		return -errno;
	vm->bytes += (uint64_t)st.st_blocks * 512;
	r = vm_files_save(vm->target, s);
	if (r < 0)
		return r;
	snprintf(final, sizeof(final), "%s", vm->target);
	*strrchr(final, '.') = '\0'; /* NAME.new */
	if (rename(vm->target, final) < 0)
		return -errno;
	snprintf(parent, sizeof(parent), "%s", final);
	*strrchr(parent, '/') = '\0';
	return vm_files_settle(parent);
}

static void step_commit(struct vm *vm)
{
	close_fd(&vm->state_fd);
	vm_job(vm, job_commit);
}

/* QEMU did not take the layer that vm.json names. */
static int job_undo(struct vm *vm)
{
	struct vm_files f = vm->files;

	vm_files_remove(vm->target);
	if (!vm->pushed)
		return 0;
	vm->pushed = false;
	f.n_layers--;
	return vm_save_files(vm, &f);
}

static void step_undo(struct vm *vm)
{
	close_fd(&vm->state_fd);
	vm_job(vm, job_undo);
}

const struct vm_step vm_checkpoint_steps[] = {
	{step_begin, "the snapshot's directory", 0},
	{step_overlay, "a new disk layer", 0},
	{step_own, "a new disk layer", 0},
	{vm_connect, "QEMU", 5000},
	{step_open_layer, "a new disk layer", 5000},
	{vm_step_unplug, "the vsock device", 5000},
	{vm_step_await_unplugged, "the guest's letting go of its vsock device", 10000},
	{vm_step_stop, "the machine's standstill", 5000},
	{step_push, "writing vm.json", 0},
	{step_snapshot, "a new disk layer", 10000},
	{vm_step_ignore_shared, "QEMU's capabilities", 5000},
	{step_snapshot_file, "the saved state", 5000},
	{step_migrate, "the saved state", 5000},
	{step_await_migrated, "the saved state", 30000},
	{step_copy, "the copy of the memory", 0},
	{vm_step_cont, "going on", 5000},
	VM_REPLUG_STEPS,
	{vm_step_driver, "the guest's driver", 30000},
	{vm_step_settle, "the guest's buffers", 30000},
	{step_commit, "the snapshot", 0},
	{vm_step_sweep, "tidying up", 0},
	{0},
};

const struct vm_step vm_disk_checkpoint_steps[] = {
	{step_begin, "the snapshot's directory", 0},
	{step_overlay, "a new disk layer", 0},
	{step_own, "a new disk layer", 0},
	{vm_connect, "QEMU", 5000},
	{step_open_layer, "a new disk layer", 5000},
	{step_push, "writing vm.json", 0},
	{step_snapshot, "a new disk layer", 10000},
	{step_commit, "the snapshot", 0},
	{vm_step_sweep, "tidying up", 0},
	{0},
};

/* Then vm_recover_steps. */
const struct vm_step vm_uncheckpoint_steps[] = {
	{step_undo, "tidying up", 0},
	{0},
};
