/*
 * box_rig.h - boxes on a loop, waited for, and commands run in them through the guest link. In a
 * header, as it is linked with the bridge's layers (tests/CMakeLists.txt).
 */
#pragma once

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "bridge/box/box.h"
#include "bridge/guest.h"
#include "bridge/remote.h"
#include "tests/unit/fake_loop.h"

#define RIG_MS 15000

/* The loop with its drivers' side. */
struct rig {
	uv_loop_t loop;
	struct boxes boxes;
	struct box_config config;
	char dir[BOX_PATH_MAX], why[256];
	size_t fds;
};

struct rig_box {
	struct rig *rig;
	struct box box;
	unsigned answers, gone;
	struct box_result r;
};

struct rig_run {
	struct guest guest;
	struct guest_user user;
	struct remote remote;
	bool up, lost, over, closed;
	struct msg_end end;
	char out[8192];
	size_t len;
};

static inline void on_rig_tick(uv_timer_t *t)
{
	(void)t;
}

/* Runs the loop until *flag is set. */
static inline void rig_wait(struct rig *g, const bool *flag)
{
	uint64_t until = now_ms() + RIG_MS;
	uv_timer_t tick;

	uv_timer_init(&g->loop, &tick);
	uv_timer_start(&tick, on_rig_tick, 50, 50);
	while (!*flag) {
		assert_true(now_ms() < until);
		uv_run(&g->loop, UV_RUN_ONCE);
	}
	uv_close((uv_handle_t *)&tick, NULL);
	uv_run(&g->loop, UV_RUN_NOWAIT);
}

static inline void rig_up_in(struct rig *g, const struct box_driver *driver, const char *dir)
{
	uv_loop_t first;

	uv_loop_init(&first); /* libuv keeps a pipe for signals from here on */
	uv_loop_close(&first);
	*g = (struct rig){.fds = fake_count_fds()};
	snprintf(g->dir, sizeof(g->dir), "%s", dir);
	g->config = (struct box_config){.state_dir = g->dir, .agentd = getenv("AGENTD_STATIC")};
	assert_int_equal(uv_loop_init(&g->loop), 0);
	if (boxes_open(&g->boxes, &g->loop, driver, &g->config, g->why, sizeof(g->why)) < 0)
		fail_msg("%s", g->why);
}

static inline void rig_down(struct rig *g)
{
	uint64_t until = now_ms() + RIG_MS;

	boxes_close(&g->boxes);
	/* After a test that failed in the middle there is something left that goes on. */
	while (uv_run(&g->loop, UV_RUN_NOWAIT) && now_ms() < until)
		usleep(1000);
	assert_int_equal(uv_loop_close(&g->loop), 0);
}

/* ---- boxes ---- */

static inline void on_rig_gone(struct box *b, const char *why)
{
	struct rig_box *x = b->owner;

	(void)why;
	x->gone++;
}

static inline void rig_box_init(struct rig *g, struct rig_box *x, const char *id)
{
	*x = (struct rig_box){.rig = g};
	box_init(&x->box, &g->boxes, id, x, on_rig_gone);
}

static inline void on_rig_answer(struct box *b, const struct box_result *r)
{
	struct rig_box *x = b->owner;

	x->answers++;
	x->r = *r;
}

static inline void rig_answered(struct rig_box *x)
{
	uint64_t until = now_ms() + RIG_MS;

	while (x->answers == 0) {
		assert_true(now_ms() < until);
		uv_run(&x->rig->loop, UV_RUN_ONCE);
	}
	assert_int_equal(x->answers, 1);
}

#define rig_do(x, begin)                                                                           \
	do {                                                                                       \
		(x)->answers = 0;                                                                  \
		begin;                                                                             \
		assert_int_equal((x)->answers, 0);                                                 \
		rig_answered(x);                                                                   \
	} while (0)

static inline void rig_ok(const struct rig_box *x)
{
	if (!x->r.ok)
		fail_msg("%d %s", x->r.fault.status, x->r.fault.text);
}

static inline void rig_start(struct rig_box *x)
{
	struct box_spec spec = {.template = "base", .network = true};

	rig_do(x, box_start(&x->box, &spec, on_rig_answer));
	rig_ok(x);
}

/* ---- a command in one ---- */

static inline void on_rig_up(struct guest_user *u, bool same)
{
	(void)same;
	container_of(u, struct rig_run, user)->up = true;
}

static inline void on_rig_lost(struct guest_user *u)
{
	struct rig_run *run = container_of(u, struct rig_run, user);

	run->lost = run->up = true;
}

static inline void on_rig_output(
	struct remote *r, uint8_t stream, uint64_t off, const uint8_t *data, size_t len)
{
	struct rig_run *run = r->owner;
	size_t n = min_of(len, sizeof(run->out) - 1 - run->len);

	(void)stream, (void)off;
	memcpy(run->out + run->len, data, n);
	run->len += n;
	run->out[run->len] = '\0';
	remote_consumed(r, len);
}

static inline void on_rig_gap(struct remote *r, uint8_t stream, uint64_t off, uint64_t missing)
{
	(void)r, (void)stream, (void)off, (void)missing;
}

static inline void on_rig_nothing(struct remote *r)
{
	(void)r;
}

static inline void on_rig_opened(struct remote *r, const struct msg_opened *o)
{
	(void)r, (void)o;
}

static inline void on_rig_end(struct remote *r, const struct msg_end *end)
{
	((struct rig_run *)r->owner)->end = *end;
}

static inline void on_rig_close(struct remote *r, enum remote_why why, const struct error *e)
{
	struct rig_run *run = r->owner;

	(void)why;
	if (e)
		print_message("%s\n", e->message);
	run->over = true;
}

static inline void on_rig_closed(void *owner)
{
	((struct rig_run *)owner)->closed = true;
}

static inline void rig_link(struct rig_box *x, struct rig_run *run)
{
	static const struct guest_user_ops user_ops = {.on_up = on_rig_up, .on_lost = on_rig_lost};
	struct guest_config config = {.target = x->box.target, .name = "test", .first_ms = RIG_MS};

	*run = (struct rig_run){0};
	assert_int_equal(guest_init(&run->guest, &x->rig->loop, &config), 0);
	guest_add_user(&run->guest, &run->user, &user_ops);
	guest_start(&run->guest);
	rig_wait(x->rig, &run->up);
	if (run->lost)
		fail_msg("%s", guest_why(&run->guest));
}

static inline void rig_unlink(struct rig_box *x, struct rig_run *run)
{
	guest_close(&run->guest, on_rig_closed, run);
	rig_wait(x->rig, &run->closed);
}

/* `script` run by sh; its output (both) is in run->out. Returns the exit code. */
static inline int rig_run_as(
	struct rig_box *x, struct rig_run *run, const char *user, const char *script)
{
	static const struct remote_events events = {.on_opened = on_rig_opened,
		.on_output = on_rig_output,
		.on_gap = on_rig_gap,
		.on_input_room = on_rig_nothing,
		.on_stdin_closed = on_rig_nothing,
		.on_end = on_rig_end,
		.on_close = on_rig_close};
	char *argv[] = {NULL, (char *)"sh", (char *)"-c", (char *)script, NULL};
	struct msg_start start = {.argv = argv + 1, .argc = 3, .user = user};
	struct remote_config config = {.start = &start};

	rig_link(x, run);
	run->remote.owner = run;
	assert_int_equal(remote_open(&run->remote, &run->guest, &events, &config), 0);
	run->remote.owner = run;
	rig_wait(x->rig, &run->over);
	remote_close(&run->remote);
	rig_unlink(x, run);
	return run->end.signal ? 128 + run->end.signal : run->end.code;
}

static inline int rig_run(struct rig_box *x, struct rig_run *run, const char *script)
{
	return rig_run_as(x, run, NULL, script);
}
