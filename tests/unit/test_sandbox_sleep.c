/*
 * test_sandbox_sleep.c - a sandbox is put aside and comes back, and what goes wrong by itself:
 * links, boxes, guests that hang, a store that is full. Agents are real; see sandbox_rig.h.
 *
 * ctest: timeout=240
 */
#include "bridge/sandbox/sandbox_internal.h"

#include <sys/socket.h>

#include "tests/unit/full_disk.h"
#include "tests/unit/sandbox_rig.h"

/* ---- whoever looks at the link ---- */

struct watch {
	struct guest_user user;
	unsigned ups, downs, lost;
	bool same;
};

static void watch_up(struct guest_user *u, bool same)
{
	struct watch *w = container_of(u, struct watch, user);

	w->ups++;
	w->same = same;
}

static void watch_down(struct guest_user *u)
{
	container_of(u, struct watch, user)->downs++;
}

static void watch_lost(struct guest_user *u)
{
	container_of(u, struct watch, user)->lost++;
	guest_remove_user(u);
}

static const struct guest_user_ops watch_ops = {
	.on_up = watch_up, .on_down = watch_down, .on_lost = watch_lost};

/* ---- hibernate, wake ---- */

static void run_checkpoint(struct sandbox *s, void *owner, box_fn fn)
{
	(void)owner;
	assert_int_equal(s->state, SANDBOX_BUSY);
	assert_string_equal(rig_row(s->id).state, "busy");
	assert_false(guest_is_up(&s->guest));
	box_checkpoint(&s->box, "cp", true, fn);
}

static void test_hibernate_and_wake(void **state)
{
	struct sandbox *s = rig_create(0);
	struct rig_op a, b, c;

	(void)state;
	sandbox_hibernate(s, rig_op(&a));
	sandbox_hibernate(s, rig_op(&b));
	RIG_WELL(&a);
	RIG_WELL(&b);
	assert_int_equal(a.op.bytes, 4711);
	assert_int_equal(b.op.bytes, 4711);
	assert_int_equal(s->state, SANDBOX_HIBERNATED);
	sandbox_wake(s, 77, rig_op(&a));
	sandbox_wake(s, 77, rig_op(&b));
	sandbox_hibernate(s, rig_op(&c));
	RIG_WELL(&a);
	RIG_WELL(&b);
	RIG_WELL(&c);
	assert_int_equal(s->state, SANDBOX_HIBERNATED);
	assert_int_equal(s->timeout_s, 77);
	assert_string_equal(rig.log, "start hibernate wake hibernate");
	rig.cold = true;
	sandbox_wake(s, -1, rig_op(&a));
	RIG_WELL(&a);
	assert_string_equal(s->note, "the saved memory was damaged");
	assert_int_equal(s->timeout_s, 77);
}

/* A hibernation waits for operations, not for clients that are attached; nor for ever. */
static void test_hibernate_waits(void **state)
{
	struct sandbox *s = rig_create(0);
	struct rig_use op = {0}, client = {.use.lasting = true}, late = {0};
	struct rig_op o;

	(void)state;
	rig_use(s, &client);
	rig_use(s, &op);
	sandbox_hibernate(s, rig_op(&o));
	rig_pass(100);
	assert_int_equal(s->state, SANDBOX_HIBERNATING);
	assert_false(o.done);
	rig_use(s, &late);
	sandbox_unuse(&op.use);
	RIG_WELL(&o);
	RIG_UNTIL(late.n == 1); /* who came meanwhile has woken it */
	assert_int_equal(late.fault.status, 0);
	sandbox_unuse(&client.use);

	rig.all->drain_ms = 50;
	sandbox_hibernate(s, rig_op(&o));
	RIG_WELL(&o);
	assert_int_equal(s->state, SANDBOX_HIBERNATED);
	sandbox_unuse(&late.use);
}

static void test_hibernate_fails(void **state)
{
	struct sandbox *s = rig_create(0);
	struct rig_use u = {0};
	struct rig_op o;
	static const enum box_left lefts[] = {BOX_LEFT_RUNNING, BOX_LEFT_NOTHING};

	(void)state;
	for (size_t i = 0; i < array_size(lefts); i++) {
		rig.fail = "hibernate";
		rig.left = lefts[i]; /* nothing: the driver does not know; it is asked */
		sandbox_hibernate(s, rig_op(&o));
		RIG_UNTIL(o.done);
		assert_int_equal(o.fault.status, 507);
		assert_int_equal(s->state, SANDBOX_RUNNING);
		rig_use(s, &u);
		RIG_UNTIL(u.n == 1);
		assert_int_equal(u.fault.status, 0);
		sandbox_unuse(&u.use);
	}
}

/* The link was never closed, as it is before everything else that may end a machine: the bridge
 * aborted when the sandbox came up again. */
static void test_ends_while_it_is_scaled(void **state)
{
	struct sandbox *s = rig_create(0);
	struct rig_use u = {0};
	struct rig_op o;

	(void)state;
	sandbox_scale(s, s->memory_mb, rig_op(&o));
	RIG_UNTIL(o.done);
	assert_int_equal(o.fault.status, 502);
	assert_int_equal(s->state, SANDBOX_STOPPED);
	assert_false(s->has_guest);
	rig_use(s, &u);
	RIG_UNTIL(u.n == 1);
	assert_int_equal(u.fault.status, 0);
	assert_int_equal(s->state, SANDBOX_RUNNING);
	sandbox_unuse(&u.use);
	assert_string_equal(rig.log, "start scale adopt restart");
}

/* The guest hangs: it is given up on in time, and the sandbox goes on. */
static void test_prepare_hangs(void **state)
{
	struct sandbox *s = rig_create(0);
	struct rig_use u = {0};
	struct rig_op o;

	(void)state;
	rig.all->prepare_ms = 200;
	kill(rig_find(s->id)->pid, SIGSTOP);
	sandbox_hibernate(s, rig_op(&o));
	RIG_UNTIL(o.done);
	assert_int_equal(o.fault.status, 502);
	assert_int_equal(s->state, SANDBOX_RUNNING);
	kill(rig_find(s->id)->pid, SIGCONT);
	rig_use(s, &u);
	RIG_UNTIL(u.n == 1);
	assert_int_equal(u.fault.status, 0);
	sandbox_unuse(&u.use);
}

/* A link that breaks is renewed, and what ran is the same. What comes meanwhile waits. */
static void test_link_breaks(void **state)
{
	struct sandbox *s = rig_create(0);
	struct watch w = {0};
	struct rig_use u = {0};
	struct rig_op o;

	(void)state;
	guest_add_user(sandbox_guest(s), &w.user, &watch_ops);
	roster_add(&s->roster, "x000000000001", ROSTER_EXEC, "true", NULL);
	shutdown(sandbox_guest(s)->fd, SHUT_RDWR);
	RIG_UNTIL(w.downs == 1);
	rig_use(s, &u);
	assert_int_equal(u.n, 0);
	RIG_UNTIL(u.n == 1);
	assert_int_equal(u.fault.status, 0);
	assert_true(w.same);
	assert_true(roster_find(&s->roster, "x000000000001")->running);
	sandbox_unuse(&u.use);
	shutdown(sandbox_guest(s)->fd, SHUT_RDWR);
	RIG_UNTIL(w.downs == 2);
	sandbox_hibernate(s, rig_op(&o));
	RIG_WELL(&o);
	assert_int_equal(w.lost, 1);
	assert_string_equal(rig.log, "start hibernate");
}

/* The link is found lost while something waits for operations to end. That is given up, and the
 * box asked what it is: nobody else would do so any more. */
static void test_link_lost_meanwhile(void **state)
{
	static const struct sandbox_exclusive checkpoint = {.keep = true, .run = run_checkpoint};
	struct sandbox *s = rig_create(0);
	char path[128], away[140];

	(void)state;
	rig_socket(rig_find(s->id), path, sizeof(path));
	snprintf(away, sizeof(away), "%s.away", path);
	for (int i = 0; i < 2; i++) {
		struct rig_use op = {0}, late = {0};
		struct rig_op o;

		rig.log[0] = '\0';
		rig_use(s, &op);
		if (i == 0)
			sandbox_hibernate(s, rig_op(&o));
		else
			sandbox_exclusive(s, &checkpoint, NULL, rig_op(&o));
		RIG_UNTIL(s->wait);
		assert_int_equal(rename(path, away), 0);
		s->guest.config.retry_ms = 50;
		shutdown(sandbox_guest(s)->fd, SHUT_RDWR);
		RIG_UNTIL(strstr(rig.log, "adopt"));
		assert_int_equal(rename(away, path), 0);
		RIG_UNTIL(o.done);
		assert_int_equal(o.fault.status, 502);
		assert_int_equal(s->state, SANDBOX_RUNNING);
		sandbox_unuse(&op.use);
		rig_use(s, &late);
		RIG_UNTIL(late.n == 1);
		assert_int_equal(late.fault.status, 0);
		sandbox_unuse(&late.use);
	}
}

/* A link that broke a moment ago, of which nobody was told yet, is no link to begin something on.
 */
static void test_use_between(void **state)
{
	struct sandbox *s = rig_create(0);
	struct rig_use u = {0};

	(void)state;
	guest_pause(sandbox_guest(s), true);
	assert_true(s->linked);
	rig_use(s, &u);
	assert_int_equal(u.n, 0);
	rig_pass(10);
	guest_pause(sandbox_guest(s), false);
	RIG_UNTIL(u.n == 1);
	assert_int_equal(u.fault.status, 0);
	assert_true(guest_is_up(sandbox_guest(s)));
	sandbox_unuse(&u.use);
}

static void test_wake_fails(void **state)
{
	struct sandbox *s = rig_create(0);
	struct rig_use u = {0};
	struct rig_op o;

	(void)state;
	sandbox_hibernate(s, rig_op(&o));
	RIG_WELL(&o);
	rig.fail = "wake";
	rig.left = BOX_LEFT_ASLEEP;
	rig_use(s, &u);
	RIG_UNTIL(u.n == 1);
	assert_int_equal(u.fault.status, 502);
	assert_int_equal(s->state, SANDBOX_HIBERNATED);
	rig_use(s, &u); /* the next try is another one */
	RIG_UNTIL(u.n == 1);
	assert_int_equal(u.fault.status, 0);
	sandbox_unuse(&u.use);
}

static void test_kill_during_hibernate(void **state)
{
	struct rig_op h, k;

	(void)state;
	for (int at = 0; at < 3; at++) {
		struct sandbox *s = rig_create(0);
		struct rig_use u = {0};

		if (at == 0)
			rig_use(s, &u); /* it waits for this */
		rig.hold = at == 1 ? "hibernate" : NULL;
		if (at == 2)
			kill(rig_find(s->id)->pid, SIGSTOP);
		sandbox_hibernate(s, rig_op(&h));
		rig_pass(50);
		sandbox_kill(s, rig_op(&k));
		rig_pass(50);
		rig.hold = NULL;
		RIG_WELL(&k);
		RIG_UNTIL(h.done);
		assert_int_equal(s->state, SANDBOX_KILLED);
		assert_int_equal(rig_processes(), 0);
		sandbox_unuse(&u.use);
	}
}

static void test_cannot(void **state)
{
	struct sandbox *s;
	struct rig_op o;

	(void)state;
	rig.driver.can = 0;
	s = rig_create(0);
	sandbox_hibernate(s, rig_op(&o));
	RIG_UNTIL(o.done);
	assert_int_equal(o.fault.status, 501);
	sandbox_reboot(s, rig_op(&o));
	RIG_UNTIL(o.done);
	assert_int_equal(o.fault.status, 501);
	assert_int_equal(s->state, SANDBOX_RUNNING);
	sandbox_set_timeout(s, 1);
	RIG_UNTIL(s->state == SANDBOX_KILLED);
}

/* ---- what goes wrong by itself ---- */

static void test_box_goes(void **state)
{
	struct sandbox *s = rig_create(0);
	struct watch w = {0};
	struct rig_use u = {0};

	(void)state;
	guest_add_user(sandbox_guest(s), &w.user, &watch_ops);
	roster_add(&s->roster, "x000000000001", ROSTER_EXEC, "true", NULL);
	kill(rig_find(s->id)->pid, SIGKILL);
	RIG_UNTIL(s->state == SANDBOX_STOPPED);
	assert_int_equal(w.lost, 1);
	assert_string_equal(s->note, "the agent died");
	assert_string_equal(rig_row(s->id).state, "stopped");
	rig_use(s, &u);
	RIG_UNTIL(u.n == 1);
	assert_int_equal(u.fault.status, 0);
	assert_string_equal(s->note, "");
	assert_false(roster_find(&s->roster, "x000000000001")->running);
	sandbox_unuse(&u.use);
}

/* The same address, another agent: what ran is lost, and the environment is told again. */
static void test_new_instance(void **state)
{
	struct sandbox *s = rig_create_of(
		&(struct sandbox_spec){.template = "base", .envs = "{\"COLOR\":\"red\"}"});
	struct rig_box *f = rig_find(s->id);
	struct watch w = {0};

	(void)state;
	guest_add_user(sandbox_guest(s), &w.user, &watch_ops);
	roster_add(&s->roster, "x000000000001", ROSTER_EXEC, "true", NULL);
	f->box = NULL; /* nobody tells of its end */
	rig_end(f);
	rig_spawn(f);
	RIG_UNTIL(w.ups == 1);
	assert_false(w.same);
	RIG_UNTIL(s->linked);
	assert_int_equal(roster_find(&s->roster, "x000000000001")->end.state, END_AGENT_LOST);
	assert_non_null(strstr(rig_ask(s, "{\"op\":\"sys.env\"}"), "COLOR"));
	assert_int_equal(s->state, SANDBOX_RUNNING);
	f->box = &s->box;
	guest_remove_user(&w.user);
}

static void test_reboot(void **state)
{
	struct sandbox *s = rig_create(0);
	struct watch w = {0};
	struct rig_op o;

	(void)state;
	guest_add_user(sandbox_guest(s), &w.user, &watch_ops);
	sandbox_reboot(s, rig_op(&o));
	RIG_WELL(&o);
	assert_int_equal(w.lost, 1);
	assert_int_equal(s->state, SANDBOX_RUNNING);
	assert_string_equal(rig.log, "start stop restart");
	rig.fail = "restart";
	rig.left = BOX_LEFT_STOPPED;
	sandbox_reboot(s, rig_op(&o));
	RIG_UNTIL(o.done);
	assert_int_equal(o.fault.status, 502);
	assert_int_equal(s->state, SANDBOX_STOPPED);
}

/* What cannot be stored does not happen. */
static void test_store_fails(void **state)
{
	struct sandbox *s = rig_create(7), *asleep = rig_create(7);
	struct rig_op h, w, r, c;
	struct rig_use u = {0};

	(void)state;
	sandbox_hibernate(asleep, rig_op(&h));
	RIG_WELL(&h);
	rig.log[0] = '\0';
	fill_disk();
	sandbox_hibernate(s, rig_op(&h));
	sandbox_wake(asleep, 99, rig_op(&w));
	sandbox_wake(s, 99, rig_op(&r));
	sandbox_create(rig.all, &(struct sandbox_spec){.template = "base"}, rig_op(&c));
	RIG_UNTIL(h.done && w.done && r.done && c.done);
	free_disk();
	assert_in_range(h.fault.status, 500, 507);
	assert_in_range(w.fault.status, 500, 507);
	assert_in_range(r.fault.status, 500, 507);
	assert_in_range(c.fault.status, 500, 507);
	assert_int_equal(s->state, SANDBOX_RUNNING);
	assert_int_equal(asleep->state, SANDBOX_HIBERNATED);
	assert_string_equal(rig_row(s->id).state, "running");
	assert_string_equal(rig.log, "");
	assert_int_equal(s->timeout_s, 7);
	assert_int_equal(asleep->timeout_s, 7);
	rig_use(s, &u);
	assert_int_equal(u.n, 1);
	sandbox_unuse(&u.use);
}

/* But for a kill, which makes room. A restart finds nothing of the box, and nobody is led astray.
 */
static void test_kill_on_a_full_disk(void **state)
{
	struct sandbox *s = rig_create(0);
	char id[BOX_ID_MAX + 1], path[192];
	struct rig_op k;

	(void)state;
	snprintf(id, sizeof(id), "%s", s->id);
	fill_disk();
	sandbox_kill(s, rig_op(&k));
	RIG_UNTIL(k.done);
	free_disk();
	assert_int_equal(k.fault.status, 0);
	assert_int_equal(s->state, SANDBOX_KILLED);
	assert_int_equal(rig_processes(), 0);
	assert_string_equal(rig_row(id).state, "running");

	rig_close();
	snprintf(path, sizeof(path), "%s/%s.gone", rig.dir, id);
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	rig_open();
	s = sandboxes_find(rig.all, id);
	RIG_UNTIL(!s->busy);
	assert_int_equal(s->state, SANDBOX_ERROR);
	sandbox_kill(s, rig_op(&k));
	RIG_WELL(&k);
	assert_string_equal(rig_row(id).state, "killed");
}

/* ---- exclusive operations ---- */

static unsigned n_done;

static void run_restore(struct sandbox *s, void *owner, box_fn fn)
{
	(void)owner;
	box_restore(&s->box, "cp", fn);
}

static void on_exclusive(
	struct sandbox *s, void *owner, const struct box_result *r, const struct fault *fault)
{
	(void)s, (void)owner;
	assert_true(r || fault);
	n_done++;
}

static void test_exclusive(void **state)
{
	static const struct sandbox_exclusive checkpoint = {.keep = true,
						      .run = run_checkpoint,
						      .done = on_exclusive},
					      restore = {.run = run_restore, .done = on_exclusive};
	struct sandbox *s = rig_create(0);
	struct watch w = {0};
	struct rig_use u = {0};
	struct rig_op o;

	(void)state;
	n_done = 0;
	guest_add_user(sandbox_guest(s), &w.user, &watch_ops);
	sandbox_exclusive(s, &checkpoint, NULL, rig_op(&o));
	rig_pass(1);
	rig_use(s, &u);
	RIG_WELL(&o);
	RIG_UNTIL(u.n == 1);
	assert_int_equal(o.op.bytes, 99);
	assert_int_equal(w.lost, 0); /* who is attached stays */
	assert_int_equal(w.downs, 1);
	assert_int_equal(w.ups, 1);
	assert_true(w.same);
	sandbox_unuse(&u.use);

	rig.fail = "checkpoint";
	rig.left = BOX_LEFT_RUNNING;
	sandbox_exclusive(s, &checkpoint, NULL, rig_op(&o));
	RIG_UNTIL(o.done);
	assert_int_equal(o.fault.status, 507);
	assert_int_equal(s->state, SANDBOX_RUNNING);

	sandbox_exclusive(s, &restore, NULL, rig_op(&o));
	RIG_WELL(&o);
	assert_int_equal(w.lost, 1); /* what they were attached to is another now */
	assert_int_equal(n_done, 3);
	sandbox_hibernate(s, rig_op(&o));
	RIG_WELL(&o);
	sandbox_exclusive(s, &restore, NULL, rig_op(&o));
	RIG_UNTIL(o.done);
	assert_int_equal(o.fault.status, 400);
	assert_int_equal(n_done, 4);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, rig_up, rig_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_hibernate_and_wake),
		TEST(test_hibernate_waits),
		TEST(test_hibernate_fails),
		TEST(test_ends_while_it_is_scaled),
		TEST(test_prepare_hangs),
		TEST(test_link_breaks),
		TEST(test_link_lost_meanwhile),
		TEST(test_use_between),
		TEST(test_wake_fails),
		TEST(test_kill_during_hibernate),
		TEST(test_cannot),
		TEST(test_box_goes),
		TEST(test_new_instance),
		TEST(test_reboot),
		TEST(test_store_fails),
		TEST(test_kill_on_a_full_disk),
		TEST(test_exclusive),
	};

	return cmocka_run_group_tests(tests, rig_warm_up, NULL);
}
