/*
 * The driver `local`: what happens to a box, and in which order. Files and waiting are work for a
 * thread, the making of namespaces is a program's; between them this goes from phase to phase on
 * the loop:
 *
 *	DOWN -> WORKING (disk, cgroup) -> NESTING -> UP		start, restart
 *	UP   -> ENDING (agentd, in order) -> WORKING (end) -> DOWN	stop
 *	UP   -> WORKING (end, remove) -> DOWN			destroy
 *	UP   -> WORKING (end) -> DOWN, on_gone			agentd died by itself
 *
 * An operation that comes while the last of these is under way waits for it, and takes the place of
 * on_gone.
 */
#include "bridge/box/local.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>

#include "bridge/box/program.h"

#define GRACE_MS 4000 /* agentd gives its sessions 3 s between TERM and KILL */

enum local_phase { LOCAL_DOWN, LOCAL_WORKING, LOCAL_NESTING, LOCAL_UP, LOCAL_ENDING };
enum local_op { OP_NONE, OP_START, OP_RESTART, OP_ADOPT, OP_STOP, OP_DESTROY, OP_GONE, OP_UNDO };

struct local {
	struct box *box; /* NULL: left */
	enum local_phase phase;
	enum local_op op, next;
	struct local_host host;
	struct local_nest *nest;
	struct proc_watch *inner, *agent;
	uv_timer_t *grace; /* ENDING */
	uv_work_t work;
	/* In and out of the thread. */
	char dir[BOX_PATH_MAX], id[BOX_ID_MAX + 1];
	char cgroup[BOX_PATH_MAX + 64];
	struct local_spec spec;
	struct local_pids pids;
	enum box_left left;
	int error;
	char why[256];
	int undone; /* the error that OP_UNDO is for */
};

static void begin(struct local *l, enum local_op op);

static void set_phase(struct local *l, enum local_phase phase)
{
	l->phase = phase;
}

static struct local *state(struct box *b)
{
	struct local *l = b->state;

	if (l)
		return l;
	l = b->state = xcalloc(1, sizeof(*l));
	l->box = b;
	l->host = *(struct local_host *)b->boxes->state;
	snprintf(l->dir, sizeof(l->dir), "%s", b->dir);
	snprintf(l->id, sizeof(l->id), "%s", b->id);
	return l;
}

/* Nobody watches it any more. */
static void let_go(struct local *l)
{
	proc_watch_free(l->inner);
	proc_watch_free(l->agent);
	l->inner = l->agent = NULL;
}

/* ---- ending in order ---- */

static void on_grace_closed(uv_handle_t *h)
{
	free(h);
}

static void end_grace(struct local *l)
{
	uv_timer_t *t = take_ptr(&l->grace);

	if (t)
		uv_close((uv_handle_t *)t, on_grace_closed);
}

static void on_grace_over(uv_timer_t *t)
{
	struct local *l = t->data;

	end_grace(l);
	begin(l, OP_STOP);
}

/* On the loop: many that are slow must not keep all threads from the others. */
static void end_in_order(struct local *l)
{
	set_phase(l, LOCAL_ENDING);
	l->grace = xcalloc(1, sizeof(*l->grace));
	l->grace->data = l;
	uv_timer_init(l->box->boxes->loop, l->grace);
	uv_update_time(l->box->boxes->loop);
	uv_timer_start(l->grace, on_grace_over, GRACE_MS, 0);
	proc_signal(l->agent->pidfd, SIGTERM);
}

/* ---- up ---- */

static void on_end(struct proc_watch *w)
{
	struct local *l = w->owner;

	if (l->phase == LOCAL_ENDING)
		on_grace_over(l->grace);
	else
		begin(l, OP_GONE);
}

static int watch(struct local *l)
{
	uv_loop_t *loop = l->box->boxes->loop;
	int r = proc_watch_new(&l->inner, loop, &l->pids.inner, on_end, l);

	if (r == 0)
		r = proc_watch_new(&l->agent, loop, &l->pids.agent, on_end, l);
	if (r < 0)
		let_go(l);
	return r;
}

/* A path too long for a socket's address is said by way of a descriptor of ours. Root inside has
 * the socket's directory, and could put a link to any other socket of the host there. */
static void set_target(struct local *l)
{
	struct box *b = l->box;
	char path[BOX_PATH_MAX + 32];

	b->target = (struct target){.kind = TARGET_UNIX, .no_link = true};
	b->token[0] = '\0';
	snprintf(path, sizeof(path), "%s/link/" LOCAL_SOCKET, b->dir);
	if (strlen(path) >= sizeof(b->target.path))
		snprintf(path, sizeof(path), "/proc/self/fd/%d/%s/link/" LOCAL_SOCKET,
			l->host.boxes_fd, b->id);
	ASSERT(strlen(path) < sizeof(b->target.path));
	memcpy(b->target.path, path, strlen(path) + 1);
}

/* ---- in a thread ---- */

static void run_make(struct local *l)
{
	if (l->op == OP_START) {
		l->error = local_disk_make(&l->host, l->dir, l->id, l->why, sizeof(l->why));
		if (l->error == 0)
			l->error = local_save_spec(l->dir, &l->spec);
		if (l->error == 0)
			l->error = local_write(l->dir, "made", "1\n");
	} else {
		local_load_spec(l->dir, &l->spec);
		l->error = local_end(l->dir);
	}
	if (l->error < 0) {
		if (!l->why[0])
			snprintf(l->why, sizeof(l->why), "the sandbox's directory: %s",
				strerror(-l->error));
		return;
	}
	local_cgroup_make(&l->host, l->dir, l->id, &l->spec, l->cgroup, sizeof(l->cgroup));
	l->error = local_write(l->dir, "nest", "1\n");
}

/* 1, 0 or -errno. */
static int is_made(const struct local *l)
{
	char text[8];
	int r = local_read(l->dir, "made", text, sizeof(text));

	return r < 0 ? r : text[0] == '1';
}

/* 1, 0 or -errno. */
static int lives(const struct local_pids *p)
{
	auto_close int inner = proc_open(&p->inner), agent = proc_open(&p->agent);

	if (inner >= 0 && agent >= 0)
		return 1;
	return inner == -ESRCH || agent == -ESRCH ? 0 : min_of(inner, agent);
}

/* What cannot be looked at is neither ended nor taken for dead. */
static int look(struct local *l)
{
	int lock = local_lock(l->dir, false, 25000), made, r; /* its maker may still be at work */

	if (lock < 0 && lock != -ENOENT)
		return lock;
	close_fd(&lock);
	made = is_made(l);
	r = made < 0 ? made : local_load_pids(l->dir, &l->pids);
	if (made > 0 && r == 0)
		r = lives(&l->pids);
	if (r < 0 && r != -ENOENT)
		return r;
	if (made > 0 && r > 0) {
		l->left = BOX_LEFT_RUNNING;
		return 0;
	}
	l->left = made ? BOX_LEFT_STOPPED : BOX_LEFT_NOTHING;
	return local_end(l->dir);
}

static void run_destroy(struct local *l)
{
	char path[BOX_PATH_MAX + 16];

	l->error = local_end(l->dir);
	if (l->error < 0)
		return;
	snprintf(path, sizeof(path), "%s/made", l->dir);
	unlink(path); /* first: half a box is none */
	l->error = local_disk_remove(l->dir);
}

static void run(uv_work_t *w)
{
	struct local *l = container_of(w, struct local, work);

	switch (l->op) {
	case OP_START:
	case OP_RESTART: run_make(l); break;
	case OP_ADOPT: l->error = look(l); break;
	case OP_DESTROY: run_destroy(l); break;
	case OP_STOP:
	case OP_GONE:
	case OP_UNDO: l->error = local_end(l->dir); break;
	case OP_NONE: break;
	}
}

/* ---- back on the loop ---- */

static void answer(struct local *l, bool ok, enum box_left left)
{
	struct box *b = l->box;
	struct box_result r = {.ok = ok, .left = left};
	int error = l->op == OP_UNDO ? l->undone : l->error;

	if (!ok)
		fault_set(&r.fault, error == -ENOSPC || error == -EDQUOT ? 507 : 500, "%s",
			l->why[0] ? l->why : strerror(-error));
	l->op = OP_NONE;
	box_answer(b, &r);
}

static void undo(struct local *l, int error)
{
	l->undone = error;
	begin(l, OP_UNDO);
}

static void on_nest(void *owner, const struct local_pids *pids, const char *why)
{
	struct local *l = owner;
	int r = 0;

	l->nest = NULL;
	l->pids = *pids;
	snprintf(l->why, sizeof(l->why), "%s", why);
	if (!why[0]) {
		r = local_save_pids(l->dir, pids);
		if (r < 0)
			snprintf(l->why, sizeof(l->why), "the sandbox's directory: %s",
				strerror(-r));
		else if ((r = watch(l)) < 0)
			snprintf(l->why, sizeof(l->why), "the sandbox's agent %s%s",
				r == -ESRCH ? "ended at once" : "cannot be watched: ",
				r == -ESRCH ? "" : strerror(-r));
	}
	if (l->why[0]) {
		undo(l, r);
		return;
	}
	set_phase(l, LOCAL_UP);
	set_target(l);
	answer(l, true, BOX_LEFT_RUNNING);
}

static void nest(struct local *l)
{
	int r;

	set_phase(l, LOCAL_NESTING);
	r = local_nest_start(
		&l->nest, l->box->boxes->loop, &l->host, l->dir, l->id, l->cgroup, on_nest, l);
	if (r == 0)
		return;
	snprintf(l->why, sizeof(l->why), "no process can be started: %s", strerror(-r));
	undo(l, r);
}

static void adopted(struct local *l)
{
	if (l->error == 0 && l->left == BOX_LEFT_RUNNING)
		l->error = watch(l);
	if (l->error == -ESRCH) {
		begin(l, OP_ADOPT); /* it ended between the two looks */
		return;
	}
	if (l->error == 0 && l->left == BOX_LEFT_RUNNING) {
		set_phase(l, LOCAL_UP);
		set_target(l);
	}
	answer(l, l->error == 0, l->left);
}

static void destroyed(struct local *l)
{
	struct box *b = l->box;
	struct box_result r = {.ok = l->error == 0, .left = BOX_LEFT_NOTHING};

	if (!r.ok)
		fault_set(&r.fault, 500, "the sandbox cannot be removed: %s", strerror(-l->error));
	b->state = NULL;
	free(l);
	box_answer(b, &r);
}

static void gone(struct local *l)
{
	struct box *b = l->box;
	enum local_op next = l->next;

	l->op = l->next = OP_NONE;
	if (next != OP_NONE)
		begin(l, next);
	else if (b->on_gone)
		b->on_gone(b, "the sandbox's agent ended");
}

static void done(uv_work_t *w, int status)
{
	struct local *l = container_of(w, struct local, work);

	ASSERT(status == 0);
	set_phase(l, LOCAL_DOWN);
	if (!l->box) {
		free(l);
		return;
	}
	switch (l->op) {
	case OP_START:
	case OP_RESTART:
		if (l->error < 0)
			undo(l, l->error);
		else
			nest(l);
		break;
	case OP_ADOPT: adopted(l); break;
	case OP_STOP: answer(l, l->error == 0, BOX_LEFT_STOPPED); break;
	case OP_DESTROY: destroyed(l); break;
	case OP_GONE: gone(l); break;
	case OP_UNDO: answer(l, false, BOX_LEFT_STOPPED); break;
	case OP_NONE: ASSERT(!"done with nothing");
	}
}

static void begin(struct local *l, enum local_op op)
{
	if (l->phase == LOCAL_WORKING) { /* OP_GONE is on its way */
		ASSERT(l->op == OP_GONE && l->next == OP_NONE);
		l->next = op;
		return;
	}
	ASSERT(l->phase != LOCAL_NESTING || op == OP_UNDO);
	let_go(l);
	l->op = op;
	l->error = 0;
	if (op != OP_UNDO)
		l->why[0] = '\0';
	set_phase(l, LOCAL_WORKING);
	ASSERT(uv_queue_work(l->box->boxes->loop, &l->work, run, done) == 0);
}

/* ---- the table ---- */

static void local_start(struct box *b, const struct box_spec *spec)
{
	struct local *l = state(b);

	l->spec = (struct local_spec){.cpus = spec->cpus, .memory_mb = spec->memory_mb};
	begin(l, OP_START);
}

static void local_restart(struct box *b)
{
	begin(state(b), OP_RESTART);
}

static void local_adopt(struct box *b)
{
	begin(state(b), OP_ADOPT);
}

static void local_stop(struct box *b)
{
	struct local *l = state(b);

	if (l->phase == LOCAL_UP)
		end_in_order(l);
	else
		begin(l, OP_STOP);
}

static void local_destroy(struct box *b)
{
	begin(state(b), OP_DESTROY);
}

static void local_leave(struct box *b)
{
	struct local *l = b->state;

	if (!l)
		return;
	b->state = NULL;
	l->box = NULL;
	let_go(l);
	end_grace(l);
	if (l->nest)
		local_nest_leave(l->nest);
	if (l->phase != LOCAL_WORKING)
		free(l);
}

static int local_open(struct boxes *bs, char *why, size_t why_size)
{
	const struct box_config *c = bs->config;
	struct local_host *h = xcalloc(1, sizeof(*h));
	char path[BOX_PATH_MAX];
	struct stat st;
	int r = -EINVAL;

	*h = (struct local_host){.boxes_fd = -1, .root = geteuid() == 0, .config = c};
	if (c->state_dir[0] != '/' ||
		strlen(c->state_dir) > BOX_PATH_MAX - sizeof("/boxes/") - BOX_ID_MAX)
		snprintf(why, why_size, "the path of the state directory is too long");
	else if (!c->agentd || access(c->agentd, X_OK) < 0)
		snprintf(why, why_size, "%s is no program: local sandboxes need a static agentd",
			c->agentd ? c->agentd : "(none)");
	else if (c->root && (c->root[0] != '/' || strlen(c->root) >= BOX_PATH_MAX ||
				    stat(c->root, &st) < 0 || !S_ISDIR(st.st_mode)))
		snprintf(why, why_size, "%s is no directory that could be a root", c->root);
	else
		r = 0;
	if (r == 0) {
		snprintf(path, sizeof(path), "%s/boxes", c->state_dir);
		if (mkdir(path, 0700) < 0 && errno != EEXIST)
			r = -errno;
		h->boxes_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (r < 0 || h->boxes_fd < 0) {
			r = r < 0 ? r : -errno;
			snprintf(why, why_size, "%s: %s", path, strerror(-r));
		}
	}
	if (r < 0) {
		close_fd(&h->boxes_fd);
		free(h);
		return r;
	}
	if (h->root)
		local_cgroup_find(c->state_dir, h->cgroup, sizeof(h->cgroup));
	bs->state = h;
	return 0;
}

static void local_close(struct boxes *bs)
{
	struct local_host *h = bs->state;

	close_fd(&h->boxes_fd);
	free(h);
	bs->state = NULL;
}

const struct box_driver box_driver_local = {
	.name = "local",
	.can = BOX_CAN_RESTART,
	.open = local_open,
	.close = local_close,
	.start = local_start,
	.adopt = local_adopt,
	.stop = local_stop,
	.restart = local_restart,
	.destroy = local_destroy,
	.leave = local_leave,
};
