/*
 * vm - every sandbox a virtual machine of its own. Here: which steps an operation of box.h is made
 * of, what comes next when they failed, and what is answered.
 *
 * An operation on a saved machine that cannot be woken boots from its disk instead and says so; but
 * only when coming again could not help either (vm->saved_bad). A machine that fails to go on after
 * an interrupted save is ended: stopped, with its disk.
 */
#include <stdio.h>

#include "bridge/box/vm_golden.h"
#include "bridge/box/vm_host.h"
#include "bridge/box/vm_image.h"
#include "bridge/box/vm_process.h"
#include "bridge/box/vm_steps.h"

#define RECOVERIES 3

struct machine {
	struct box *box; /* NULL: left */
	struct vm *vm;
	struct golden_want want;
	struct box_result result; /* of the operation under way, as far as it is known */
	bool fresh;               /* it is being made: what fails is nothing */
	bool gone;                /* what is left of it is being ended */
	unsigned tries;
	void (*then)(struct machine *m);
	char why[240];
};

static void wake_or_boot(struct machine *m);

/* ---- answers ---- */

static void machine_release(struct machine *m)
{
	golden_cancel(&m->want);
	if (m->vm)
		vm_release(m->vm, false);
	m->box->state = NULL;
	free(m);
}

static void on_gone(struct vm *vm, const char *why);

static struct machine *machine(struct box *b)
{
	struct machine *m = b->state;

	if (m) {
		m->result = (struct box_result){0};
		return m;
	}
	m = xcalloc(1, sizeof(*m));
	m->box = b;
	m->vm = vm_new(b->boxes->state, b->dir, m, on_gone);
	ASSERT(m->vm);
	b->state = m;
	return m;
}

static enum box_left left_of(const struct vm *vm)
{
	if (vm->processes[VM_QEMU].running)
		return BOX_LEFT_RUNNING;
	if (vm->files.n_layers == 0)
		return BOX_LEFT_NOTHING;
	return vm->files.life == VM_ASLEEP ? BOX_LEFT_ASLEEP : BOX_LEFT_STOPPED;
}

/* QEMU's user-mode network, which is the same for each of them. */
static const char network[] = "{\"interface\":\"eth0\",\"address\":\"10.0.2.15/24\","
			      "\"gateway\":\"10.0.2.2\",\"dns\":[\"10.0.2.3\"]}";

static void point(struct machine *m)
{
	struct target *t = &m->box->target;

	*t = (struct target){.kind = TARGET_HYBRID, .port = VM_AGENT_PORT};
	vm_path(m->vm, VM_RUN "/vsock", t->path,
		sizeof(t->path)); /* vm_host_open() saw to its length */
	m->box->network = m->vm->files.network ? network : NULL;
}

static void answer(struct machine *m)
{
	struct box_result r = m->result;

	r.ok = true;
	r.left = left_of(m->vm);
	m->box->scaled_mb = m->vm->files.scaled_mb;
	if (r.left == BOX_LEFT_RUNNING)
		point(m);
	box_answer(m->box, &r);
}

static void answer_fault(struct machine *m)
{
	struct box_result r = m->result;

	r.ok = false;
	r.left = m->fresh ? BOX_LEFT_NOTHING : left_of(m->vm);
	if (r.fault.status == 0)
		r.fault = m->vm->fault;
	if (r.left == BOX_LEFT_RUNNING)
		point(m);
	box_answer(m->box, &r);
}

/* The answer to a first failure; those of what is done about it are of no interest. */
static void keep_fault(struct machine *m)
{
	if (m->result.fault.status == 0)
		m->result.fault = m->vm->fault;
}

/* ---- ended by itself ---- */

static void after_gone(struct vm *vm)
{
	struct machine *m = vm->owner;
	struct box *b = m->box;

	m->gone = false;
	if (b->fn)
		m->then(m); /* an operation came meanwhile */
	else if (b->on_gone)
		b->on_gone(b, m->why);
}

/* Was the vsock device lost again meanwhile? Then it is worth another attempt. */
static bool recover_again(struct vm *vm, void (*finish)(struct vm *vm))
{
	struct machine *m = vm->owner;

	if (!vm->failed || !vm->processes[VM_QEMU].running ||
		(vm->processes[VM_VSOCK].running && !vm->unplugged) || ++m->tries > RECOVERIES)
		return false;
	vm_run(vm, vm_recover_steps, NULL, finish);
	return true;
}

/* Links to the agent broke and can be dialled again: nobody has to know. */
static void after_mend(struct vm *vm)
{
	struct machine *m = vm->owner;

	if (recover_again(vm, after_mend))
		return;
	if (vm->failed) {
		snprintf(m->why, sizeof(m->why), "%.230s", vm->fault.text);
		vm_run(vm, vm_unstop_steps, NULL, after_gone);
		return;
	}
	m->gone = false;
	if (m->box->fn)
		m->then(m);
}

static void on_gone(struct vm *vm, const char *why)
{
	struct machine *m = vm->owner;

	m->gone = true;
	m->tries = 0;
	snprintf(m->why, sizeof(m->why), "%s", why);
	if (vm->processes[VM_QEMU].running)
		vm_run(vm, vm_recover_steps, NULL, after_mend);
	else
		vm_run(vm, vm_unstop_steps, NULL, after_gone);
}

/* What happened to it by itself is seen to first. */
static void begin(struct machine *m, void (*fn)(struct machine *m))
{
	m->fresh = false;
	m->tries = 0;
	m->then = fn;
	if (!m->gone)
		fn(m);
}

/* ---- starting ---- */

static void after_boot(struct vm *vm)
{
	struct machine *m = vm->owner;

	if (vm->failed)
		answer_fault(m);
	else
		answer(m);
}

static void boot_instead(struct machine *m, const char *why)
{
	m->result.cold = true;
	snprintf(m->result.note, sizeof(m->result.note), "booted from its disk: %.170s", why);
	vm_run(m->vm, vm_boot_steps, vm_end_steps, after_boot);
}

static void after_wake(struct vm *vm)
{
	struct machine *m = vm->owner;

	if (!vm->failed)
		answer(m);
	else if (m->fresh || vm->saved_bad)
		boot_instead(m, vm->fault.text);
	else
		answer_fault(m);
}

static void wake_or_boot(struct machine *m)
{
	struct vm *vm = m->vm;

	if (vm->files.life == VM_ASLEEP)
		vm_run(vm, vm_wake_steps, vm_end_steps, after_wake);
	else if (vm->note[0])
		boot_instead(m, vm->note);
	else
		vm_run(vm, vm_boot_steps, vm_end_steps, after_boot);
}

static void after_make(struct vm *vm)
{
	struct machine *m = vm->owner;

	if (vm->failed)
		answer_fault(m);
	else
		wake_or_boot(m);
}

static void make(struct machine *m, const char *dir)
{
	snprintf(m->vm->source.dir, sizeof(m->vm->source.dir), "%s", dir);
	vm_run(m->vm, vm_make_steps, NULL, after_make);
}

static void on_golden(
	struct golden_want *w, const char *dir, const char *note, const struct fault *fault)
{
	struct machine *m = w->owner;

	if (fault) {
		m->result.fault = *fault;
		answer_fault(m);
		return;
	}
	m->result.cold = note[0];
	m->vm->source.golden = !note[0];
	snprintf(m->result.note, sizeof(m->result.note), "%s", note);
	make(m, dir);
}

/* vm->fault and the list's end, for what cannot even begin. */
static void step_refuse(struct vm *vm)
{
	const struct machine *m = vm->owner;

	vm_fail(vm, m->result.fault.status, "%s", m->result.fault.text);
}

static const struct vm_step refuse_steps[] = {{step_refuse, "", 0}, {0}};

static void after_refusal(struct vm *vm)
{
	answer_fault(vm->owner);
}

static void refuse(struct machine *m, int status, const char *text)
{
	fault_set(&m->result.fault, status, "%s", text);
	vm_run(m->vm, refuse_steps, NULL, after_refusal);
}

static int checkpoint_path(
	const struct machine *m, const char *name, const char *suffix, char *out, size_t size)
{
	int n = snprintf(out, size, "%s/%s%s", m->vm->host->checkpoints, name, suffix);

	return n < 0 || (size_t)n >= size || !vm_checkpoint_name_ok(name) ? -EINVAL : 0;
}

static void vm_start(struct box *b, const struct box_spec *spec)
{
	struct machine *m = machine(b);
	struct vm_source *s = &m->vm->source;

	m->fresh = true;
	*s = (struct vm_source){.cpus = max_of(spec->cpus, 1U),
		.memory_mb = max_of(spec->memory_mb, 128U),
		.network = spec->network};
	if (spec->checkpoint) {
		ASSERT(checkpoint_path(m, spec->checkpoint, "", s->dir, sizeof(s->dir)) == 0);
		vm_run(m->vm, vm_make_steps, NULL, after_make);
	} else if (!vm_image_name_ok(spec->template)) {
		refuse(m, 400, "that is no name of an image");
	} else {
		golden_want(m->vm->host, spec->template, s, &m->want, on_golden, m);
	}
}

static void restart(struct machine *m)
{
	vm_run(m->vm, vm_boot_steps, vm_unstop_steps, after_boot);
}

static void vm_restart(struct box *b)
{
	begin(machine(b), restart);
}

static void vm_wake(struct box *b)
{
	struct machine *m = machine(b);

	m->vm->note[0] = '\0';
	m->vm->memory = VM_MEMORY_UNCHECKED;
	begin(m, wake_or_boot);
}

/* ---- adopting ---- */

static void after_hopeless(struct vm *vm)
{
	answer(vm->owner);
}

static void after_recovery(struct vm *vm)
{
	struct machine *m = vm->owner;

	if (recover_again(vm, after_recovery))
		return;
	if (!vm->failed) {
		answer(m);
		return;
	}
	snprintf(m->result.note, sizeof(m->result.note), "%.190s", vm->fault.text);
	vm_run(vm, vm_unstop_steps, NULL, after_hopeless);
}

static void after_look(struct vm *vm)
{
	struct machine *m = vm->owner;

	if (vm->failed) {
		vm->files.n_layers = 0; /* nothing that can be used */
		snprintf(m->result.note, sizeof(m->result.note), "%.190s", vm->fault.text);
		answer(m);
	} else if (vm->files.life == VM_RUNNING) {
		vm_run(vm, vm_recover_steps, NULL, after_recovery);
	} else {
		m->result.bytes = vm->files.saved.ram_bytes;
		answer(m);
	}
}

static void adopt(struct machine *m)
{
	vm_run(m->vm, vm_look_steps, NULL, after_look);
}

static void vm_adopt(struct box *b)
{
	begin(machine(b), adopt);
}

/* ---- ending ---- */

static void after_stop(struct vm *vm)
{
	struct machine *m = vm->owner;

	if (left_of(vm) == BOX_LEFT_RUNNING)
		answer_fault(m);
	else
		answer(m);
}

static void stop(struct machine *m)
{
	vm_run(m->vm, vm_stop_steps, vm_unstop_steps, after_stop);
}

static void vm_stop(struct box *b)
{
	begin(machine(b), stop);
}

static void after_destroy(struct vm *vm)
{
	struct machine *m = vm->owner;
	struct box *b = m->box;
	struct box_result r = {.ok = !vm->failed, .fault = vm->fault, .left = BOX_LEFT_NOTHING};

	machine_release(m);
	box_answer(b, &r);
}

static void destroy(struct machine *m)
{
	vm_run(m->vm, vm_destroy_steps, NULL, after_destroy);
}

static void vm_destroy(struct box *b)
{
	begin(machine(b), destroy);
}

/* ---- saving ---- */

static void after_failed_save(struct vm *vm)
{
	answer_fault(vm->owner);
}

static void after_undo(struct vm *vm)
{
	if (recover_again(vm, after_undo))
		return;
	if (vm->failed) /* it could not be made to go on */
		vm_run(vm, vm_unstop_steps, NULL, after_failed_save);
	else
		answer_fault(vm->owner);
}

static void go_on_again(struct vm *vm)
{
	keep_fault(vm->owner);
	vm_run(vm, vm_recover_steps, NULL, after_undo);
}

static void after_last_save(struct vm *vm)
{
	answer(vm->owner);
}

/* It may be saved although something was killed meanwhile. */
static void after_save(struct vm *vm)
{
	struct machine *m = vm->owner;

	m->result.bytes = vm->bytes;
	if (vm->files.life != VM_ASLEEP)
		go_on_again(vm);
	else if (vm->failed)
		vm_run(vm, vm_end_steps, NULL, after_last_save);
	else
		answer(m);
}

static void hibernate(struct machine *m)
{
	vm_run(m->vm, vm_save_steps, NULL, after_save);
}

static void vm_hibernate(struct box *b)
{
	begin(machine(b), hibernate);
}

static void after_checkpoint(struct vm *vm)
{
	struct machine *m = vm->owner;

	m->result.bytes = vm->bytes;
	if (vm->failed)
		go_on_again(vm);
	else
		answer(m);
}

static void checkpoint(struct machine *m)
{
	struct vm *vm = m->vm;

	vm_run(vm, vm->full ? vm_checkpoint_steps : vm_disk_checkpoint_steps, vm_uncheckpoint_steps,
		after_checkpoint);
}

static void vm_checkpoint(struct box *b, const char *name, bool full)
{
	struct machine *m = machine(b);
	struct vm *vm = m->vm;

	ASSERT(checkpoint_path(m, name, ".new", vm->target, sizeof(vm->target)) == 0);
	vm->full = full;
	begin(m, checkpoint);
}

static void after_scale(struct vm *vm)
{
	if (vm->failed)
		go_on_again(vm);
	else
		answer(vm->owner);
}

static void scale(struct machine *m)
{
	vm_run(m->vm, vm_scale_steps, vm_unscale_steps, after_scale);
}

static void vm_scale(struct box *b, unsigned memory_mb)
{
	struct machine *m = machine(b);

	m->vm->scale_mb = memory_mb;
	begin(m, scale);
}

static void after_remake(struct vm *vm)
{
	struct machine *m = vm->owner;

	if (vm->failed && left_of(vm) == BOX_LEFT_RUNNING)
		answer_fault(m);
	else
		wake_or_boot(m);
}

static void restore(struct machine *m)
{
	vm_run(m->vm, vm_remake_steps, vm_unremake_steps, after_remake);
}

static void vm_restore(struct box *b, const char *name)
{
	struct machine *m = machine(b);
	struct vm_source *s = &m->vm->source;

	*s = (struct vm_source){0};
	ASSERT(checkpoint_path(m, name, "", s->dir, sizeof(s->dir)) == 0);
	begin(m, restore);
}

static void vm_leave(struct box *b)
{
	vm_drop_leave(b);
	if (b->state)
		machine_release(b->state);
}

const struct box_driver box_driver_vm = {
	.name = "vm",
	.can = BOX_CAN_HIBERNATE | BOX_CAN_CHECKPOINT | BOX_CAN_SCALE | BOX_CAN_RESTART,
	.open = vm_host_open,
	.close = vm_host_close,
	.start = vm_start,
	.adopt = vm_adopt,
	.stop = vm_stop,
	.restart = vm_restart,
	.destroy = vm_destroy,
	.hibernate = vm_hibernate,
	.wake = vm_wake,
	.checkpoint = vm_checkpoint,
	.restore = vm_restore,
	.drop = vm_drop,
	.scale = vm_scale,
	.leave = vm_leave,
};
