/*
 * A step may be over before its run() returns; then the list goes on when it has, not inside it.
 *
 * A command of QMP that is not answered in time is a QEMU that hangs: nothing is asked of it any
 * more, so no late answer can be taken for that of another step.
 */
#include "bridge/box/vm.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>

static void go_on(struct vm *vm);

int vm_path(const struct vm *vm, const char *name, char *out, size_t size)
{
	int n = snprintf(out, size, "%s/%s", vm->dir, name);

	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

bool vm_is_idle(const struct vm *vm)
{
	return !vm->finish;
}

/* ---- its end ---- */

static void maybe_free(struct vm *vm)
{
	if (!vm->released || vm->handles > 0 || vm->job_runs || vm->qmp.open)
		return;
	for (int i = 0; i < VM_ROLES; i++) {
		if (!vm_process_idle(&vm->processes[i]))
			return;
	}
	close_fd(&vm->state_fd);
	free(vm);
}

static void on_timer_closed(uv_handle_t *h)
{
	struct vm *vm = h->data;

	vm->handles--;
	maybe_free(vm);
}

static void on_process_closed(void *owner)
{
	maybe_free(owner);
}

static void on_qmp_closed(struct qmp *q)
{
	maybe_free(q->owner);
}

void vm_disconnect(struct vm *vm)
{
	if (vm->qmp.open && !uv_is_closing((uv_handle_t *)&vm->qmp.poll))
		qmp_close(&vm->qmp, on_qmp_closed);
}

/* What the step waits for, but for a worker, is not heard any more. */
static void abandon(struct vm *vm)
{
	if (vm->program)
		program_forget(vm->program);
	if (vm->agent)
		vm_agent_cancel(vm->agent);
	if (vm->qmp.open && qmp_busy(&vm->qmp))
		vm_disconnect(vm);
	vm->program = NULL;
	vm->agent = NULL;
}

void vm_release(struct vm *vm, bool kill)
{
	ASSERT(!vm->released);
	vm->released = true;
	vm->finish = NULL;
	uv_close((uv_handle_t *)&vm->deadline, on_timer_closed);
	uv_close((uv_handle_t *)&vm->tick, on_timer_closed);
	abandon(vm);
	vm_disconnect(vm);
	for (int i = 0; i < VM_ROLES; i++) {
		if (kill)
			vm_process_kill(&vm->processes[i]);
		vm_process_leave(&vm->processes[i]);
	}
}

/* What it said last. */
static void last_words(const struct vm *vm, const char *log, char *out, size_t size)
{
	char path[BOX_PATH_MAX], text[512];
	auto_close int fd = -1;
	ssize_t n = 0;
	const char *line = text;

	*out = '\0';
	if (vm_path(vm, log, path, sizeof(path)) == 0)
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0 && lseek(fd, -(off_t)sizeof(text) + 1, SEEK_END) < 0)
		lseek(fd, 0, SEEK_SET);
	if (fd >= 0)
		n = read(fd, text, sizeof(text) - 1);
	while (n > 0 && text[n - 1] == '\n')
		n--;
	if (n <= 0)
		return;
	text[n] = '\0';
	if (strrchr(text, '\n'))
		line = strrchr(text, '\n') + 1;
	snprintf(out, size, ": %.150s", line);
}

static void on_process_end(void *owner, struct vm_process *p)
{
	struct vm *vm = owner;
	bool qemu = p->role == VM_QEMU;
	char words[160], why[240];

	if (vm->released || vm->ending || (vm->replacing && !qemu))
		return;
	last_words(vm, qemu ? "qemu.log" : "vsock.log", words, sizeof(words));
	snprintf(why, sizeof(why), "%s of the sandbox ended%s", qemu ? "QEMU" : "the vsock device",
		words);
	if (p->killed && vm->files.life == VM_ASLEEP)
		vm->saved_bad = false; /* that was not the saved state's doing */
	if (vm->finish)
		vm_fail(vm, 502, "%s", why);
	else
		vm->on_gone(vm, why);
}

struct vm *vm_new(struct vm_host *h, const char *dir, void *owner,
	void (*on_gone)(struct vm *vm, const char *why))
{
	struct vm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return NULL;
	vm->host = h;
	vm->owner = owner;
	vm->on_gone = on_gone;
	vm->state_fd = vm->qmp.fd = -1;
	snprintf(vm->dir, sizeof(vm->dir), "%s", dir);
	for (int i = 0; i < VM_ROLES; i++) {
		vm_process_init(&vm->processes[i], (enum vm_role)i, on_process_end, vm);
		vm->processes[i].on_closed = on_process_closed;
	}
	uv_timer_init(h->loop, &vm->deadline);
	uv_timer_init(h->loop, &vm->tick);
	vm->deadline.data = vm->tick.data = vm;
	vm->handles = 2;
	return vm;
}

/* ---- the list ---- */

static void on_deadline(uv_timer_t *t)
{
	struct vm *vm = t->data;

	vm_fail(vm, 504, "gave up on %s after %u s", vm->step->what, (vm->step->ms + 999) / 1000);
}

static void end_list(struct vm *vm)
{
	void (*finish)(struct vm * vm) = vm->finish;

	vm->finish = NULL;
	vm->step = vm->undo = NULL;
	finish(vm);
}

/* From a failed step to the first of the undo list, or to the end. */
static void turn_back(struct vm *vm)
{
	vm->step = vm->undo;
	vm->undo = NULL;
}

/* Begins steps until one takes its time. */
static void go_on(struct vm *vm)
{
	while (vm->step && vm->step->run) {
		uv_timer_stop(&vm->tick);
		uv_timer_stop(&vm->deadline);
		if (vm->step->ms > 0)
			uv_timer_start(&vm->deadline, on_deadline, vm->step->ms, 0);
		vm->moved = false;
		vm->in_step = true;
		vm->step->run(vm);
		vm->in_step = false;
		if (!vm->moved || vm->held)
			return;
	}
	uv_timer_stop(&vm->tick);
	uv_timer_stop(&vm->deadline);
	end_list(vm);
}

static void move(struct vm *vm)
{
	vm->moved = true;
	if (!vm->in_step && !vm->held)
		go_on(vm);
}

void vm_next(struct vm *vm)
{
	ASSERT(vm->finish && vm->step && !vm->moved);
	vm->step++;
	move(vm);
}

static void set_fault(struct vm *vm, int status, const char *text)
{
	if (vm->failed)
		return;
	vm->failed = true;
	fault_set(&vm->fault, status, "%s", text);
}

void vm_fail(struct vm *vm, int status, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	ASSERT(vm->finish);
	if (vm->moved) /* it failed already, and a worker is waited for */
		return;
	vm->held = vm->job_runs;
	abandon(vm);
	uv_timer_stop(&vm->tick);
	uv_timer_stop(&vm->deadline);
	vm->lost |= vm->failed;
	set_fault(vm, status, text);
	turn_back(vm);
	move(vm);
}

void vm_fail_errno(struct vm *vm, int err, const char *what)
{
	if (err == -ENOSPC || err == -EDQUOT)
		vm_fail(vm, 507, "%s: the disk of the host is full", what);
	else
		vm_fail(vm, fault_status_of(err), "%s: %s", what, strerror(-err));
}

static void on_begin(uv_timer_t *t)
{
	go_on(t->data);
}

void vm_run(struct vm *vm, const struct vm_step *steps, const struct vm_step *undo,
	void (*finish)(struct vm *vm))
{
	ASSERT(!vm->finish && !vm->released);
	vm->step = steps;
	vm->undo = undo;
	vm->finish = finish;
	vm->failed = vm->lost = vm->moved = vm->held = false;
	uv_timer_start(&vm->tick, on_begin, 0, 0);
}

/* ---- waiting ---- */

static void on_tick(uv_timer_t *t)
{
	struct vm *vm = t->data;

	vm->on_tick(vm);
}

void vm_poll(struct vm *vm, unsigned ms, void (*fn)(struct vm *vm))
{
	vm->on_tick = fn;
	uv_timer_start(&vm->tick, on_tick, 0, ms);
}

/* ---- jobs ---- */

static void work(uv_work_t *w)
{
	struct vm *vm = container_of(w, struct vm, work);

	vm->job_result = vm->job(vm);
}

static void take_job(struct vm *vm)
{
	vm->job_awaited = false;
	if (vm->job_result == -EBADMSG)
		vm_fail(vm, 500, "%s: it is damaged", vm->step->what);
	else if (vm->job_result < 0)
		vm_fail_errno(vm, vm->job_result, vm->step->what);
	else
		vm_next(vm);
}

static void after_work(uv_work_t *w, int status)
{
	struct vm *vm = container_of(w, struct vm, work);

	(void)status;
	vm->job_runs = false;
	vm_host_let_go(vm->host);
	if (vm->released)
		maybe_free(vm);
	else if (vm->held) {
		vm->held = false;
		go_on(vm);
	} else if (vm->job_awaited)
		take_job(vm);
}

void vm_begin_job(struct vm *vm, int (*job)(struct vm *vm))
{
	int r;

	ASSERT(!vm->job_runs);
	vm->job = job;
	vm->job_runs = true;
	vm->job_awaited = false;
	vm_host_hold(vm->host);
	r = uv_queue_work(vm->host->loop, &vm->work, work, after_work);
	ASSERT(r == 0);
}

void vm_await_job(struct vm *vm)
{
	vm->job_awaited = true;
	if (!vm->job_runs)
		take_job(vm);
}

void vm_job(struct vm *vm, int (*job)(struct vm *vm))
{
	vm_begin_job(vm, job);
	vm->job_awaited = true;
}

/* ---- programs ---- */

static void on_program_end(void *owner, const struct program_result *r)
{
	struct vm *vm = owner;
	char why[200];

	vm->program = NULL;
	if (program_explain(r, "qemu-img", why, sizeof(why)) == 0)
		vm_next(vm);
	else
		vm_fail(vm, strstr(why, "No space left") ? 507 : 500, "%s", why);
}

void vm_program(struct vm *vm, struct vm_command *c, unsigned ms)
{
	struct program_spec spec = {.argv = c->argv, .cwd = vm->dir, .timeout_ms = ms};
	int r = program_run(vm->host->loop, &spec, on_program_end, vm, &vm->program);

	if (r < 0)
		vm_fail_errno(vm, r, c->argv[0]);
}

/* ---- QMP ---- */

static void on_answer(void *owner, struct jsonr value, const char *error)
{
	struct vm *vm = owner;

	(void)value;
	if (error)
		vm_fail(vm, 500, "%s: %s", vm->step->what, error);
	else
		vm_next(vm);
}

void vm_ask(struct vm *vm, const char *command, const char *args, int fd, qmp_fn fn)
{
	int r = qmp_ask(&vm->qmp, command, args, fd, fn ? fn : on_answer, vm);

	if (r < 0)
		vm_fail(vm, 502, "%s: QEMU does not answer", vm->step->what);
}

static void on_up(struct qmp *q)
{
	struct vm *vm = q->owner;

	if (vm->finish)
		vm_next(vm); /* the step was vm_connect() */
}

static void on_down(struct qmp *q, int err)
{
	struct vm *vm = q->owner;

	(void)err;
	vm_disconnect(vm);
	if (vm->finish && !vm->ending)
		vm_fail(vm, 502, "%s: QEMU went away", vm->step->what);
}

static void on_event(struct qmp *q, struct jsonr name, struct jsonr data)
{
	vm_on_event(q->owner, name, data);
}

static const struct qmp_ops qmp_ops = {.on_up = on_up, .on_event = on_event, .on_down = on_down};

static void connect_qmp(struct vm *vm)
{
	char path[BOX_PATH_MAX];
	int r;

	if (vm->qmp.open) /* it is just being closed */
		return;
	r = vm_path(vm, VM_RUN "/qmp", path, sizeof(path));
	if (r == 0)
		r = qmp_open(&vm->qmp, vm->host->loop, path, &qmp_ops, vm);
	if (r == 0)
		uv_timer_stop(&vm->tick);
	else if (r != -ENOENT && r != -ECONNREFUSED && r != -EAGAIN)
		vm_fail_errno(vm, r, "QEMU's control socket");
}

void vm_connect(struct vm *vm)
{
	if (vm->qmp.up)
		vm_next(vm);
	else if (!vm->processes[VM_QEMU].running)
		vm_fail(vm, 502, "QEMU does not run");
	else
		vm_poll(vm, 5, connect_qmp);
}
