/*
 * The vsock device: its process, when the guest's driver is there, out and in again. And what QEMU
 * tells by itself.
 *
 * The guest can be dialed when it has given the device buffers, which is a little after its driver
 * says that it is there (QEMU shows the queue that it fills last), and when the device's process
 * has taken the queues (vm_queues.h). Links that broke with the device before dial whenever they
 * like; so its socket has another name until then.
 */
#include "bridge/box/vm_steps.h"

#include <stdio.h>

#include "bridge/box/vm_queues.h"

#define SETTLE_MS  100 /* where that cannot be seen */
#define STARVED_MS 2000

/* ---- its process ---- */

void vm_step_vsock(struct vm *vm)
{
	struct vm_command c;

	vm_remove_socket(vm, VM_RUN "/vhost");
	vm_remove_socket(vm, VM_EARLY);
	vm_remove_socket(vm, VM_RUN "/vsock");
	vm_command_vsock(&c, &vm->files);
	vm_start_process(vm, VM_VSOCK, &c, "vsock.log");
}

static void look_for_vsock(struct vm *vm)
{
	char path[BOX_PATH_MAX];

	if (vm_path(vm, VM_RUN "/vhost", path, sizeof(path)) == 0 && access(path, F_OK) == 0)
		vm_next(vm);
}

void vm_step_listening(struct vm *vm)
{
	vm_poll(vm, 2, look_for_vsock);
}

/* ---- the guest's driver ---- */

static bool is_driver_ok(struct jsonr value)
{
	struct jsonr status, words;

	return jsonr_member(value, "status", &status) && jsonr_member(status, "statuses", &words) &&
	       memmem(words.p, words.len, "DRIVER_OK", 9);
}

static void on_status(void *owner, struct jsonr value, const char *error)
{
	struct vm *vm = owner;

	if (!error && is_driver_ok(value))
		vm_next(vm);
}

static void ask_status(struct vm *vm, qmp_fn fn)
{
	vm_ask(vm, "x-query-virtio-status", "{\"path\":\"" VM_VSOCK_PATH "\"}", -1, fn);
}

static void look_for_driver(struct vm *vm)
{
	if (vm->unplugged)
		vm_fail(vm, 502, "the guest took its vsock device out");
	else if (!qmp_busy(&vm->qmp))
		ask_status(vm, on_status);
}

void vm_step_driver(struct vm *vm)
{
	vm_poll(vm, 5, look_for_driver);
}

static void settled(struct vm *vm)
{
	char from[BOX_PATH_MAX], to[BOX_PATH_MAX];

	/* A device that is in place has its name already. */
	if (vm_path(vm, VM_EARLY, from, sizeof(from)) == 0 &&
		vm_path(vm, VM_RUN "/vsock", to, sizeof(to)) == 0 && rename(from, to) < 0 &&
		errno != ENOENT)
		vm_fail_errno(vm, -errno, "the vsock device");
	else
		vm_next(vm);
}

static bool has_buffers(struct jsonr value)
{
	struct jsonr avail, idx;
	uint64_t n;

	return jsonr_member(value, "avail", &avail) && jsonr_member(avail, "idx", &idx) &&
	       jsonr_u64(idx, UINT16_MAX, &n) == 0 && n > 0;
}

static void on_queue(void *owner, struct jsonr value, const char *error)
{
	struct vm *vm = owner;
	const struct program *p = vm->processes[VM_VSOCK].program;
	int taken = p ? vm_queues_taken(program_pid(p)) : -ESRCH;

	if (error || taken < 0) {
		vm_poll(vm, SETTLE_MS, settled);
		uv_timer_again(&vm->tick);
	} else if (taken > 0 && has_buffers(value)) {
		settled(vm);
	}
}

static void look_for_buffers(struct vm *vm)
{
	if (vm->unplugged)
		vm_fail(vm, 502, "the guest took its vsock device out");
	else if (!qmp_busy(&vm->qmp))
		vm_ask(vm, "x-query-virtio-queue-element",
			"{\"path\":\"" VM_VSOCK_PATH "\",\"queue\":2}", -1, on_queue);
}

void vm_step_settle(struct vm *vm)
{
	vm_poll(vm, 2, look_for_buffers);
}

void vm_step_unplug(struct vm *vm)
{
	vm->unplugged = false; /* from now on the event is meant */
	vm_ask(vm, "device_del", "{\"id\":\"" VM_VSOCK_ID "\"}", -1, NULL);
}

void vm_step_await_unplugged(struct vm *vm)
{
	if (vm->unplugged)
		vm_next(vm); /* else vm_on_event() */
}

static void on_plugged(void *owner, struct jsonr value, const char *error)
{
	struct vm *vm = owner;

	(void)value;
	if (error) {
		vm_fail(vm, 500, "the vsock device: %s", error);
		return;
	}
	vm->unplugged = false;
	vm_next(vm);
}

void vm_step_plug(struct vm *vm)
{
	vm_ask(vm, "device_add", VM_VSOCK_PLUG, -1, on_plugged);
}

/* A device whose process is gone comes back only as a new one. */
void vm_step_drop_device(struct vm *vm)
{
	if (vm->unplugged || vm->processes[VM_VSOCK].running)
		vm_next(vm);
	else
		vm_step_unplug(vm);
}

void vm_step_await_dropped(struct vm *vm)
{
	if (vm->unplugged || vm->processes[VM_VSOCK].running)
		vm_next(vm);
}

static void on_tried_again(void *owner, struct jsonr value, const char *error)
{
	(void)owner, (void)value, (void)error; /* it stands still again, which is told */
}

static void try_again(uv_timer_t *t)
{
	struct vm *vm = t->data;

	if (vm_is_idle(vm))
		qmp_ask(&vm->qmp, "cont", NULL, -1, on_tried_again, vm);
}

static bool is_event(struct jsonr name, const char *word)
{
	return name.len == strlen(word) && memcmp(name.p, word, name.len) == 0;
}

void vm_on_event(struct vm *vm, struct jsonr name, struct jsonr data)
{
	struct jsonr device;

	/* The host's disk is full, and QEMU lets the machine stand still rather than lose a write.
	 * (Whatever is begun with it meanwhile makes it go on, too.) */
	if (is_event(name, "BLOCK_IO_ERROR") && vm_is_idle(vm))
		uv_timer_start(&vm->tick, try_again, STARVED_MS, 0);
	if (!is_event(name, "DEVICE_DELETED") || !jsonr_member(data, "device", &device) ||
		!jsonr_is_str(device, VM_VSOCK_ID))
		return;
	vm->unplugged = true;
	if (vm_is_idle(vm)) /* it let go of it when nobody wanted that any more */
		vm->on_gone(vm, "the guest took its vsock device out");
	else if (vm->step->run == vm_step_await_unplugged || vm->step->run == vm_step_await_dropped)
		vm_next(vm);
}

/* ---- the vsock device, again, in a machine that goes on ---- */

/*
 * The process of the device that was taken out takes no other, so there is a new one, and a new
 * connection to it. Each of these is passed over when the device is in place.
 */
static void look_for_vsock_end(struct vm *vm)
{
	if (vm->processes[VM_VSOCK].running)
		return;
	vm->replacing = false;
	vm_next(vm);
}

void vm_step_end_vsock(struct vm *vm)
{
	vm->replug = vm->unplugged; /* it may be taken out a moment later: too late for this time */
	if (!vm->replug) {
		vm_next(vm);
		return;
	}
	vm->replacing = true;
	vm_process_kill(&vm->processes[VM_VSOCK]);
	vm_poll(vm, 2, look_for_vsock_end);
}

void vm_step_new_vsock(struct vm *vm)
{
	if (vm->replug)
		vm_step_vsock(vm);
	else
		vm_next(vm);
}

void vm_step_await_vsock(struct vm *vm)
{
	if (vm->replug)
		vm_step_listening(vm);
	else
		vm_next(vm);
}

static void on_chardev_removed(void *owner, struct jsonr value, const char *error)
{
	(void)value, (void)error; /* it may be away already, from an attempt before */
	vm_next(owner);
}

void vm_step_drop_chardev(struct vm *vm)
{
	if (vm->replug)
		vm_ask(vm, "chardev-remove", "{\"id\":\"vsock\"}", -1, on_chardev_removed);
	else
		vm_next(vm);
}

/* The socket is there a moment before anybody listens on it. */
static void on_chardev_added(void *owner, struct jsonr value, const char *error)
{
	struct vm *vm = owner;

	(void)value;
	if (!error)
		vm_next(vm);
	else if (!strstr(error, "refused"))
		vm_fail(vm, 500, "the vsock device: %s", error);
}

static void add_chardev(struct vm *vm)
{
	if (!qmp_busy(&vm->qmp))
		vm_ask(vm, "chardev-add",
			"{\"id\":\"vsock\",\"backend\":{\"type\":\"socket\",\"data\":{\"addr\":{"
			"\"type\":\"unix\",\"data\":{\"path\":\"" VM_RUN
			"/vhost\"}},\"server\":false}}}",
			-1, on_chardev_added);
}

void vm_step_add_chardev(struct vm *vm)
{
	if (vm->replug)
		vm_poll(vm, 5, add_chardev);
	else
		vm_next(vm);
}

void vm_step_replug(struct vm *vm)
{
	if (vm->replug)
		vm_step_plug(vm);
	else
		vm_next(vm);
}

static void on_device_known(void *owner, struct jsonr value, const char *error)
{
	struct vm *vm = owner;

	(void)value;
	vm->unplugged = error;
	vm_next(vm);
}

void vm_step_look_for_device(struct vm *vm)
{
	ask_status(vm, on_device_known);
}
