/*
 * test_sandbox_chaos.c - anything at any time: operations and uses on a few sandboxes, drivers that
 * fail, agents that die, a bridge that ends in between. Whatever was asked is answered once; in the
 * end each sandbox is in a state to stay in, and that agrees with what runs.
 *
 * ctest: timeout=240
 */
#include "bridge/sandbox/sandbox_internal.h"

#include "tests/unit/sandbox_rig.h"

#define BOXES  6
#define USES   12
#define OPS    64
#define ROUNDS 400

static struct chaos {
	unsigned seed, first;
	struct rig_op ops[OPS];
	bool asked[OPS];
	struct rig_use uses[USES];
	unsigned n_asked, n_faults, n_told;
} chaos;

static unsigned chance(unsigned n)
{
	chaos.seed = chaos.seed * 1103515245 + 12345;
	return (chaos.seed >> 12) % n;
}

static struct sandbox_op *some_op(void)
{
	for (size_t i = 0; i < OPS; i++) {
		if (chaos.asked[i] && !chaos.ops[i].done)
			continue;
		chaos.n_faults += chaos.asked[i] && chaos.ops[i].fault.status;
		chaos.asked[i] = true;
		chaos.n_asked++;
		return rig_op(&chaos.ops[i]);
	}
	return NULL;
}

static struct sandbox *some_sandbox(void)
{
	unsigned n = (unsigned)sandboxes_live(rig.all), k;

	if (n == 0)
		return NULL;
	k = chance(n);
	list_for_each (s, sandboxes_list(rig.all), struct sandbox, node) {
		if (s->state != SANDBOX_KILLED && k-- == 0)
			return s;
	}
	return NULL;
}

static void use_or_not(struct sandbox *s)
{
	struct rig_use *u = &chaos.uses[chance(USES)];

	if (u->use.sandbox) {
		sandbox_unuse(&u->use);
		return;
	}
	u->use.lasting = chance(2);
	rig_use(s, u);
}

static void checkpoint(struct sandbox *s, void *owner, box_fn fn)
{
	(void)owner;
	box_checkpoint(&s->box, "cp", true, fn);
}

static const struct sandbox_exclusive exclusive[] = {
	{.keep = true, .run = checkpoint}, {.run = checkpoint}};

static void fail_next(void)
{
	static const char *const names[] = {
		"start", "stop", "restart", "hibernate", "wake", "checkpoint", "adopt", "destroy"};
	rig.fail = names[chance(array_size(names))];
	rig.left = BOX_LEFT_NOTHING; /* the driver does not know: it is asked */
}

static void kill_agent(struct sandbox *s)
{
	struct rig_box *f = rig_find(s->id);

	if (f && f->pid && !f->asleep)
		kill(f->pid, SIGKILL);
}

static void act(void)
{
	struct sandbox *s = some_sandbox();
	struct sandbox_op *op;

	if (!s || sandboxes_live(rig.all) < BOXES / 2) {
		op = some_op();
		if (op)
			sandbox_create(rig.all,
				&(struct sandbox_spec){.template = "base", .timeout_s = chance(2)},
				op);
		return;
	}
	switch (chance(16)) {
	case 0:
		if (sandboxes_live(rig.all) >= BOXES || chance(3) == 0)
			sandbox_kill(s, some_op());
		break;
	case 1:
	case 2:
		if ((op = some_op()))
			sandbox_hibernate(s, op);
		break;
	case 3:
		if ((op = some_op()))
			sandbox_wake(s, (int)chance(3) - 1, op);
		break;
	case 4:
		if ((op = some_op()))
			sandbox_reboot(s, op);
		break;
	case 5: sandbox_exclusive(s, &exclusive[chance(2)], NULL, some_op()); break;
	case 6: sandbox_rouse(s); break;
	case 7:
		if (chance(3) == 0)
			fail_next();
		break;
	case 8:
		if (chance(3) == 0)
			kill_agent(s);
		break;
	case 9: sandbox_set_timeout(s, chance(2)); break;
	case 10:
		if (sandboxes_live(rig.all) < BOXES && (op = some_op()))
			sandbox_create(rig.all, &(struct sandbox_spec){.template = "base"}, op);
		break;
	default: use_or_not(s); break;
	}
}

/* ---- is all well? ---- */

static void tell(void)
{
	list_for_each (s, sandboxes_list(rig.all), struct sandbox, node) {
		const struct rig_box *f = rig_find(s->id);

		if (s->state != SANDBOX_KILLED)
			print_message("%s %s%s%s%s%s link=%s why=%s note=%s box=%d%s%s\n", s->id,
				sandbox_state_word(s->state), s->busy ? " busy" : "",
				s->wait ? " waits" : "", s->linked ? " linked" : "",
				s->lost ? " lost" : "",
				s->has_guest ? guest_state_str(s->guest.state) : "none",
				s->has_guest ? guest_why(&s->guest) : "", s->note,
				f ? (int)f->pid : -1, f && f->asleep ? " asleep" : "",
				f && f->name ? f->name : "");
	}
}

static bool quiet(void)
{
	if (rig.expired)
		tell();
	for (size_t i = 0; i < OPS; i++) {
		if (chaos.asked[i] && !chaos.ops[i].done)
			return false;
	}
	list_for_each (s, sandboxes_list(rig.all), struct sandbox, node) {
		if (s->busy || !list_empty(&s->ready) || !list_empty(&s->ops) ||
			!list_empty(&s->turn) || (s->state == SANDBOX_RUNNING && !s->linked))
			return false;
	}
	return true;
}

static void check(void)
{
	size_t running = 0;

	for (size_t i = 0; i < USES; i++) {
		chaos.n_told += chaos.uses[i].n;
		sandbox_unuse(&chaos.uses[i].use);
	}
	list_for_each (s, sandboxes_list(rig.all), struct sandbox, node)
		sandbox_set_timeout(s, 0);
	rig_limit(40000); /* a link may have been lost just now */
	while (!quiet() && !rig.expired)
		uv_run(&rig.loop, UV_RUN_ONCE);
	if (!quiet())
		fail_msg("it does not come to rest, seed %u", chaos.first);
	rig_limit(0);
	list_for_each (s, sandboxes_list(rig.all), struct sandbox, node) {
		struct rig_box *f = rig_find(s->id);
		bool runs = s->state == SANDBOX_RUNNING, sleeps = s->state == SANDBOX_HIBERNATED;

		if (!runs && !sleeps && s->state != SANDBOX_STOPPED && s->state != SANDBOX_ERROR &&
			s->state != SANDBOX_KILLED)
			fail_msg("%s stays %s", s->id, sandbox_state_word(s->state));
		assert_string_equal(rig_row(s->id).state, sandbox_state_word(s->state));
		assert_true(runs == s->has_guest);
		if (sleeps)
			assert_true(f && f->asleep);
		if (s->state == SANDBOX_KILLED || s->state == SANDBOX_STOPPED)
			assert_true(!f || f->pid == 0);
		running += runs || sleeps || (s->state == SANDBOX_ERROR && f && f->pid);
	}
	assert_int_equal(rig_processes(), running);
}

static void run(unsigned seed)
{
	chaos = (struct chaos){.seed = seed, .first = seed};
	rig.all->drain_ms = 100;
	rig.all->prepare_ms = 2000;
	for (int i = 0; i < ROUNDS; i++) {
		act();
		if (chance(3) == 0)
			rig_pass(1 + chance(chance(10) ? 5 : 60));
		if (chance(ROUNDS / 2) == 0) { /* in the middle of everything */
			for (size_t k = 0; k < OPS; k++) {
				sandbox_forget(&chaos.ops[k].op);
				chaos.asked[k] = false;
			}
			rig_close();
			rig_open();
			rig.all->drain_ms = 100;
			rig.all->prepare_ms = 2000;
		}
	}
	rig.fail = NULL;
	check();
	assert_true(chaos.n_asked > 20);
}

static void test_chaos(void **state)
{
	(void)state;
	run(*(unsigned *)*state);
}

static int up(void **state)
{
	static unsigned seed;
	const char *from = getenv("SEED"); /* for more of it, and for a failure again */

	rig_up(state);
	if (seed == 0 && from)
		seed = (unsigned)strtoul(from, NULL, 10);
	seed++;
	*state = &seed;
	return 0;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_chaos, up, rig_down),
		cmocka_unit_test_setup_teardown(test_chaos, up, rig_down),
		cmocka_unit_test_setup_teardown(test_chaos, up, rig_down),
		cmocka_unit_test_setup_teardown(test_chaos, up, rig_down),
		cmocka_unit_test_setup_teardown(test_chaos, up, rig_down),
		cmocka_unit_test_setup_teardown(test_chaos, up, rig_down),
	};

	return cmocka_run_group_tests(tests, rig_warm_up, NULL);
}
