/*
 * Memory given back to the host, and had again, through the balloon. Holes come into the memory's
 * file where the guest gave pages away; there must be room for them again before it gets them, as a
 * page for which there is none is the end of QEMU. vm.json says first what is to be: whoever finds
 * the machine tells the balloon so again. A guest that is left too little kills its programs, so it
 * is asked before what it can do without.
 */
#include <stdio.h>

#include "bridge/box/vm_copy.h"
#include "bridge/box/vm_steps.h"

#define LOOK_MS  20
#define STILL_MS 5000       /* the guest lets go of nothing more */
#define SPARE    (24 * MIB) /* left to it beyond what is in use */
#define BALLOON  "\"path\":\"/machine/peripheral/balloon0\",\"property\":\"guest-stats"

static unsigned current_mb(const struct vm_files *f)
{
	return f->scaled_mb ? f->scaled_mb : f->memory_mb;
}

static bool shrinks(const struct vm *vm)
{
	return vm->scale_mb < current_mb(&vm->files);
}

/* ---- what the guest can do without ---- */

/* When it said so last, in seconds, and how much; false: never. */
static bool read_figures(struct jsonr value, uint64_t *at, uint64_t *available)
{
	struct jsonr v, stats;

	return jsonr_member(value, "last-update", &v) && jsonr_u64(v, UINT64_MAX, at) == 0 &&
	       jsonr_member(value, "stats", &stats) &&
	       jsonr_member(stats, "stat-available-memory", &v) &&
	       jsonr_u64(v, UINT64_MAX, available) == 0;
}

static void on_former(void *owner, struct jsonr value, const char *error)
{
	struct vm *vm = owner;
	uint64_t available;

	if (error || !read_figures(value, &vm->balloon_at, &available))
		vm->balloon_at = 0;
	vm_next(vm);
}

static void step_former(struct vm *vm)
{
	vm->former_mb = current_mb(&vm->files);
	if (shrinks(vm))
		vm_ask(vm, "qom-get", "{" BALLOON "\"}", -1, on_former);
	else
		vm_next(vm);
}

/* It says so each second from now on. */
static void step_listen(struct vm *vm)
{
	if (shrinks(vm))
		vm_ask(vm, "qom-set", "{" BALLOON "-polling-interval\",\"value\":1}", -1, NULL);
	else
		vm_next(vm);
}

void vm_step_listened(struct vm *vm)
{
	vm_ask(vm, "qom-set", "{" BALLOON "-polling-interval\",\"value\":0}", -1, NULL);
}

static void on_figures(void *owner, struct jsonr value, const char *error)
{
	struct vm *vm = owner;
	uint64_t at, available, give = (current_mb(&vm->files) - vm->scale_mb) * MIB;

	if (error || !read_figures(value, &at, &available) || at <= vm->balloon_at)
		return;
	if (available >= give + SPARE)
		vm_next(vm);
	else
		vm_fail(vm, 409, "its programs need more: at least %llu MB",
			(unsigned long long)(vm->scale_mb + (give + SPARE - available) / MIB + 1));
}

static void look_at_figures(struct vm *vm)
{
	if (!qmp_busy(&vm->qmp))
		vm_ask(vm, "qom-get", "{" BALLOON "\"}", -1, on_figures);
}

static void step_figures(struct vm *vm)
{
	if (shrinks(vm))
		vm_poll(vm, LOOK_MS, look_at_figures);
	else
		vm_next(vm);
}

/* ---- the balloon ---- */

static int note(struct vm *vm, unsigned mb)
{
	struct vm_files f = vm->files;

	f.scaled_mb = mb < f.memory_mb ? mb : 0;
	return vm_save_files(vm, &f);
}

static int job_begin(struct vm *vm)
{
	char ram[BOX_PATH_MAX];
	int r = vm_path(vm, vm->files.saved.ram, ram, sizeof(ram));

	if (r == 0 && vm->scale_mb > vm->former_mb)
		r = vm_reserve(ram, vm->files.memory_mb * MIB);
	return r < 0 ? r : note(vm, vm->scale_mb);
}

static void step_begin(struct vm *vm)
{
	vm_job(vm, job_begin);
}

static int job_back(struct vm *vm)
{
	return note(vm, vm->former_mb);
}

static void step_back(struct vm *vm)
{
	vm_job(vm, job_back);
}

void vm_step_rescale(struct vm *vm)
{
	char args[64];

	snprintf(args, sizeof(args), "{\"value\":%llu}",
		(unsigned long long)(current_mb(&vm->files) * MIB));
	vm_ask(vm, "balloon", args, -1, NULL);
}

static void on_balloon(void *owner, struct jsonr value, const char *error)
{
	struct vm *vm = owner;
	struct jsonr actual;
	uint64_t bytes;

	if (error || !jsonr_member(value, "actual", &actual) ||
		jsonr_u64(actual, UINT64_MAX, &bytes) < 0) {
		vm_fail(vm, 500, "the balloon: %s", error ? error : "no figure");
		return;
	}
	if (bytes == vm->scale_mb * MIB) {
		vm_next(vm);
		return;
	}
	if (bytes != vm->balloon) {
		vm->balloon = bytes;
		vm->balloon_ms = now_ms();
	} else if (now_ms() - vm->balloon_ms >= STILL_MS) {
		vm_fail(vm, 409, "its programs need more: it has %llu MiB by now, and goes back",
			(unsigned long long)(bytes / MIB));
	}
}

static void look_at_balloon(struct vm *vm)
{
	if (!qmp_busy(&vm->qmp))
		vm_ask(vm, "query-balloon", NULL, -1, on_balloon);
}

static void step_await_balloon(struct vm *vm)
{
	vm->balloon = 0;
	vm->balloon_ms = now_ms();
	vm_poll(vm, LOOK_MS, look_at_balloon);
}

const struct vm_step vm_scale_steps[] = {
	{vm_connect, "QEMU", 5000},
	{step_former, "the guest's figures", 5000},
	{step_listen, "the guest's figures", 5000},
	{step_figures, "the guest's figures", 10000},
	{vm_step_listened, "the guest's figures", 5000},
	{step_begin, "writing vm.json", 0},
	{vm_step_rescale, "the balloon", 5000},
	{step_await_balloon, "the guest's memory", 600000},
	{0},
};

const struct vm_step vm_unscale_steps[] = {
	{step_back, "writing vm.json", 0},
	{vm_connect, "QEMU", 5000},
	{vm_step_listened, "the guest's figures", 5000},
	{vm_step_rescale, "the balloon", 5000},
	{0},
};
