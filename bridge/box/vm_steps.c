/*
 * Starting, waking, ending. vm.json says ASLEEP until just before the machine's first instruction,
 * as until then its saved memory is as it was; and RUNNING from then on.
 */
#include "bridge/box/vm_steps.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "bridge/box/vm_copy.h"

#define SYNC_MS       5000
#define FIRST_SYNC_MS 60000 /* of an agent that is just starting */

/* ---- files ---- */

int vm_save_files(struct vm *vm, const struct vm_files *f)
{
	char layer[BOX_PATH_MAX];
	int r = 0;

	if (vm->unsettled)
		r = vm_path(vm, f->layers[f->n_layers - 1], layer, sizeof(layer));
	if (r == 0 && vm->unsettled)
		r = vm_files_settle(layer);
	if (r == 0)
		r = vm_files_save(vm->dir, f);
	if (r == 0) {
		vm->files = *f;
		vm->unsaved = vm->unsettled = false;
	}
	return r;
}

int vm_job_running(struct vm *vm)
{
	struct vm_files f = vm->files;

	f.life = VM_RUNNING;
	f.saved.device[0] = '\0';
	return vm_save_files(vm, &f);
}

static int job_stopped(struct vm *vm)
{
	struct vm_files f = vm->files;

	f.life = VM_STOPPED;
	f.saved = (struct vm_saved){0};
	return vm_save_files(vm, &f);
}

static int job_sweep(struct vm *vm)
{
	if (!vm->unsaved)
		vm_files_sweep(vm->dir, &vm->files);
	return 0;
}

void vm_step_sweep(struct vm *vm)
{
	vm_job(vm, job_sweep);
}

/* Memory of nothing, in the place of what was saved. */
static int job_blank(struct vm *vm)
{
	struct vm_files f = vm->files;
	char path[BOX_PATH_MAX];
	int r;

	f.saved = (struct vm_saved){0};
	f.life = VM_RUNNING;
	vm_files_name(&f, "ram", "", f.saved.ram);
	r = vm_path(vm, f.saved.ram, path, sizeof(path));
	if (r == 0)
		r = vm_create(path, vm_host_uid(f.cid));
	if (r == 0)
		r = vm_reserve(path, f.memory_mb * MIB);
	return r < 0 ? r : vm_save_files(vm, &f);
}

static void step_blank(struct vm *vm)
{
	vm->unplugged = false;
	vm_job(vm, job_blank);
}

static void step_running(struct vm *vm)
{
	vm_job(vm, vm_job_running);
}

static void step_stopped(struct vm *vm)
{
	vm_job(vm, job_stopped);
}

/* All layers have the size of the lowest, which is raw. */
void vm_overlay(struct vm *vm, struct vm_files *f)
{
	struct vm_command c;
	char path[BOX_PATH_MAX];
	struct stat st;

	if (vm_path(vm, f->layers[0], path, sizeof(path)) < 0 || stat(path, &st) < 0) {
		vm_fail_errno(vm, -errno, "the lowest layer of the disk");
		return;
	}
	vm_files_name(f, "disk", ".qcow2", vm->name);
	vm_command_overlay(&c, f->layers[f->n_layers - 1], vm->name, (uint64_t)st.st_size);
	vm_program(vm, &c, 30000);
}

/* ---- processes ---- */

void vm_start_process(struct vm *vm, enum vm_role role, const struct vm_command *c, const char *log)
{
	struct vm_host *h = vm->host;
	int r = vm_process_start(&vm->processes[role], h->loop, vm->dir, c->argv, log,
		vm_host_uid(vm->files.cid), h->accel == VM_ACCEL_KVM ? h->kvm_group : 0);

	if (r < 0)
		vm_fail_errno(vm, r, c->argv[0]);
	else
		vm_next(vm);
}

void vm_remove_socket(const struct vm *vm, const char *name)
{
	char path[BOX_PATH_MAX];

	if (vm_path(vm, name, path, sizeof(path)) == 0)
		unlink(path);
}

static void start_qemu(struct vm *vm, bool incoming)
{
	struct vm_command c;

	vm_remove_socket(vm, VM_RUN "/qmp");
	vm_command_qemu(&c, &vm->files, vm->files.saved.ram, vm->host->accel, incoming);
	vm_start_process(vm, VM_QEMU, &c, "qemu.log");
}

static void step_qemu(struct vm *vm)
{
	start_qemu(vm, false);
}

static void step_qemu_incoming(struct vm *vm)
{
	start_qemu(vm, true);
}

static void look_for_end(struct vm *vm)
{
	if (vm->processes[VM_QEMU].running || vm->processes[VM_VSOCK].running || vm->qmp.open)
		return;
	vm->ending = false;
	vm_next(vm);
}

void vm_step_end(struct vm *vm)
{
	vm->ending = true;
	vm_disconnect(vm);
	for (int i = 0; i < VM_ROLES; i++)
		vm_process_kill(&vm->processes[i]);
	vm_poll(vm, 2, look_for_end);
}

/* QEMU writes what it holds of its disk, if it can be asked. */
static void look_for_quit(struct vm *vm)
{
	if (!vm->processes[VM_QEMU].running)
		vm_next(vm);
}

static void on_quit(void *owner, struct jsonr value, const char *error)
{
	(void)owner, (void)value, (void)error;
}

static void step_quit(struct vm *vm)
{
	vm->ending = true;
	if (!vm->qmp.up) {
		vm_next(vm);
		return;
	}
	vm_poll(vm, 5, look_for_quit);
	vm_ask(vm, "quit", NULL, -1, on_quit);
}

/* ---- running and not ---- */

void vm_step_stop(struct vm *vm)
{
	vm_ask(vm, "stop", NULL, -1, NULL);
}

void vm_step_cont(struct vm *vm)
{
	vm_ask(vm, "cont", NULL, -1, NULL);
}

void vm_step_ignore_shared(struct vm *vm)
{
	vm_ask(vm, "migrate-set-capabilities",
		"{\"capabilities\":[{\"capability\":\"x-ignore-shared\",\"state\":true}]}", -1,
		NULL);
}

/* ---- waking ---- */

static int job_check(struct vm *vm)
{
	const struct vm_saved *s = &vm->files.saved;
	char ram[BOX_PATH_MAX], device[BOX_PATH_MAX];
	uint64_t ram_sum, device_sum;
	int r = vm_path(vm, s->ram, ram, sizeof(ram));

	if (r == 0)
		r = vm_path(vm, s->device, device, sizeof(device));
	if (r == 0)
		r = vm_sum(device, &device_sum, NULL);
	if (r == 0)
		r = vm_sum(ram, &ram_sum, NULL);
	if (r == -ENOENT || (r == 0 && (ram_sum != s->ram_sum || device_sum != s->device_sum))) {
		vm->saved_bad = true;
		return -EBADMSG;
	}
	/* It is its own from now on; what it was shared with may be full one day. */
	return r < 0 ? r : vm_reserve(ram, vm->files.memory_mb * MIB);
}

static void step_begin_check(struct vm *vm)
{
	if (vm->memory != VM_MEMORY_COMING)
		vm->saved_bad = false;
	if (vm->memory == VM_MEMORY_UNCHECKED) {
		vm->memory = VM_MEMORY_COMING;
		vm_begin_job(vm, job_check);
	}
	vm_next(vm);
}

static void step_await_check(struct vm *vm)
{
	if (vm->memory == VM_MEMORY_CHECKED)
		vm_next(vm);
	else
		vm_await_job(vm);
}

static void step_give_state(struct vm *vm)
{
	char path[BOX_PATH_MAX];

	if (vm_path(vm, vm->files.saved.device, path, sizeof(path)) == 0)
		vm->state_fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (vm->state_fd < 0)
		vm_fail_errno(vm, -errno, "the saved state");
	else
		vm_ask(vm, "getfd", "{\"fdname\":\"state\"}", vm->state_fd, NULL);
}

static void step_load(struct vm *vm)
{
	close_fd(&vm->state_fd);
	vm->saved_bad = true; /* until it is loaded */
	vm_ask(vm, "migrate-incoming", "{\"uri\":\"fd:state\"}", -1, NULL);
}

static void on_loading(void *owner, struct jsonr value, const char *error)
{
	struct vm *vm = owner;
	struct jsonr status;

	if (error || !jsonr_member(value, "status", &status))
		vm_fail(vm, 500, "loading the saved state: %s", error ? error : "no status");
	else if (!jsonr_is_str(status, "inmigrate") && !jsonr_is_str(status, "prelaunch"))
		vm_next(vm);
}

static void look_for_loaded(struct vm *vm)
{
	if (!qmp_busy(&vm->qmp))
		vm_ask(vm, "query-status", NULL, -1, on_loading);
}

static void step_await_loaded(struct vm *vm)
{
	vm_poll(vm, 5, look_for_loaded);
}

/* ---- going on after something ---- */

static void step_cancel(struct vm *vm)
{
	vm_ask(vm, "migrate_cancel", NULL, -1, NULL);
}

static void on_cancelling(void *owner, struct jsonr value, const char *error)
{
	struct vm *vm = owner;
	struct jsonr status;

	if (error || !jsonr_member(value, "status", &status) ||
		(!jsonr_is_str(status, "active") && !jsonr_is_str(status, "setup") &&
			!jsonr_is_str(status, "device") && !jsonr_is_str(status, "cancelling")))
		vm_next(vm);
}

static void look_for_cancelled(struct vm *vm)
{
	if (!qmp_busy(&vm->qmp))
		vm_ask(vm, "query-migrate", NULL, -1, on_cancelling);
}

static void step_await_cancelled(struct vm *vm)
{
	close_fd(&vm->state_fd);
	vm_poll(vm, 5, look_for_cancelled);
}

/* A snapshot that was cut short between vm.json and QEMU: the new layer is unknown to QEMU, and
 * empty. */
static void on_blocks(void *owner, struct jsonr value, const char *error)
{
	struct vm *vm = owner;
	struct vm_files *f = &vm->files;
	char node[VM_NAME_MAX + 3], text[VM_NAME_MAX];

	vm_command_node(f->layers[f->n_layers - 1], text);
	snprintf(node, sizeof(node), "\"%s\"", text);
	if (!error && !memmem(value.p, value.len, node, strlen(node)) && f->n_layers > 1) {
		f->n_layers--;
		vm->unsaved = true;
	}
	vm_next(vm);
}

/* A disk that is full is no reason to end the machine: that layer does no harm. */
static int job_popped(struct vm *vm)
{
	if (vm->unsaved)
		vm_save_files(vm, &vm->files);
	return 0;
}

static void step_popped(struct vm *vm)
{
	vm_job(vm, job_popped);
}

static void step_blocks(struct vm *vm)
{
	vm_ask(vm, "query-named-block-nodes", "{\"flat\":true}", -1, on_blocks);
}

/* ---- the agent ---- */

static void on_synced(void *owner, const char *why)
{
	struct vm *vm = owner;

	vm->agent = NULL;
	if (why)
		vm_fail(vm, 502, "the agent did not get ready: %s", why);
	else
		vm_next(vm);
}

static void on_tried_to_sync(void *owner, const char *why)
{
	struct vm *vm = owner;

	(void)why;
	vm->agent = NULL;
	vm_next(vm);
}

static int prepare(struct vm *vm, bool warm, uint64_t ms, vm_agent_fn fn)
{
	struct target t = {.kind = TARGET_HYBRID, .port = VM_AGENT_PORT};
	int r = vm_path(vm, VM_RUN "/vsock", t.path, sizeof(t.path));

	return r < 0 ? r : vm_agent_prepare(vm->host->loop, &t, warm, ms, fn, vm, &vm->agent);
}

void vm_step_warm(struct vm *vm)
{
	int r = prepare(vm, true, FIRST_SYNC_MS, on_synced);

	if (r < 0)
		vm_fail_errno(vm, r, "the agent");
}

/* As far as it answers. */
static void step_try_to_sync(struct vm *vm)
{
	if (!vm->processes[VM_QEMU].running || prepare(vm, false, SYNC_MS, on_tried_to_sync) < 0)
		vm_next(vm);
}

/* ---- lists ---- */

const struct vm_step vm_boot_steps[] = {
	{vm_step_end, "the end of what ran before", 10000},
	{step_blank, "a new memory", 0},
	{vm_step_vsock, "the vsock device", 0},
	{vm_step_listening, "the vsock device", 5000},
	{step_qemu, "QEMU", 0},
	{vm_connect, "QEMU", 10000},
	{vm_step_driver, "the guest's kernel", 60000},
	{vm_step_settle, "the guest's buffers", 30000},
	{vm_step_rescale, "the balloon", 5000},
	{vm_step_sweep, "tidying up", 0},
	{0},
};

const struct vm_step vm_wake_steps[] = {
	{vm_step_end, "the end of what ran before", 10000},
	{step_begin_check, "the check of what was saved", 0},
	{vm_step_vsock, "the vsock device", 0},
	{vm_step_listening, "the vsock device", 5000},
	{step_qemu_incoming, "QEMU", 0},
	{vm_connect, "QEMU", 10000},
	{step_await_check, "the check of what was saved", 0},
	{vm_step_ignore_shared, "QEMU's capabilities", 10000},
	{step_give_state, "the saved state", 10000},
	{step_load, "the saved state", 10000},
	{step_await_loaded, "the saved state", 30000},
	{step_running, "writing vm.json", 0},
	{vm_step_cont, "going on", 10000},
	{vm_step_plug, "the vsock device", 10000},
	{vm_step_driver, "the guest's driver", 30000},
	{vm_step_settle, "the guest's buffers", 30000},
	{vm_step_sweep, "tidying up", 0},
	{0},
};

const struct vm_step vm_recover_steps[] = {
	{vm_connect, "QEMU", 5000},
	{step_cancel, "the end of saving", 5000},
	{step_await_cancelled, "the end of saving", 10000},
	{vm_step_cont, "going on", 10000},
	{vm_step_look_for_device, "the vsock device", 10000},
	{vm_step_drop_device, "the vsock device", 10000},
	{vm_step_await_dropped, "the guest's letting go of its vsock device", 10000},
	VM_REPLUG_STEPS,
	{vm_step_driver, "the guest's driver", 30000},
	{vm_step_settle, "the guest's buffers", 30000},
	{step_blocks, "QEMU's disks", 10000},
	{step_popped, "writing vm.json", 0},
	{vm_step_rescale, "the balloon", 5000},
	{vm_step_listened, "the balloon", 5000},
	{vm_step_sweep, "tidying up", 0},
	{0},
};

const struct vm_step vm_end_steps[] = {
	{vm_step_end, "the end of the processes", 10000},
	{0},
};

const struct vm_step vm_unstop_steps[] = {
	{vm_step_end, "the end of the processes", 10000},
	{step_stopped, "writing vm.json", 0},
	{vm_step_sweep, "tidying up", 0},
	{0},
};

const struct vm_step vm_stop_steps[] = {
	{step_try_to_sync, "the guest's disk", 0},
	{step_quit, "QEMU's end", 5000},
	{vm_step_end, "the end of the processes", 10000},
	{step_stopped, "writing vm.json", 0},
	{vm_step_sweep, "tidying up", 0},
	{0},
};
