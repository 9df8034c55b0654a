/*
 * test_checkpoint.c - what is kept of sandboxes, and the patches for what is forked from it: disks
 * that are full, bridges that come back in the middle. Agents are real; see sandbox_rig.h.
 *
 * ctest: timeout=120
 */
#include "bridge/sandbox/checkpoint.h"

#include <sys/socket.h>

#include "bridge/sandbox/patch_run.h"
#include "tests/unit/full_disk.h"
#include "tests/unit/sandbox_rig.h"

static struct checkpoints *all;

/* ---- the driver's part ---- */

struct drop {
	uv_timer_t timer;
	struct box *box;
};

static unsigned n_dropped;

static void on_drop_closed(uv_handle_t *h)
{
	free(h->data);
}

static void on_drop(uv_timer_t *t)
{
	struct drop *d = t->data;

	n_dropped++;
	box_answer_ok(d->box);
	uv_close((uv_handle_t *)t, on_drop_closed);
}

static void drop(struct box *b, const char *name)
{
	struct drop *d = xcalloc(1, sizeof(*d));

	(void)name;
	d->box = b;
	uv_timer_init(&rig.loop, &d->timer);
	d->timer.data = d;
	uv_timer_start(&d->timer, on_drop, 1, 0);
}

/* ---- its life ---- */

static void on_listed(void *owner, struct sandbox *s)
{
	(void)owner;
	patch_run(all, s, NULL, NULL);
}

static void open_all(void)
{
	char why[256] = "";

	rig.all->config.on_listed = on_listed;
	assert_int_equal(
		checkpoints_open(&all, rig.all, &rig.boxes, rig.store, why, sizeof(why)), 0);
}

static void close_all(void)
{
	patch_runs_close(all);
	rig_close();
	checkpoints_close(all);
}

static int up(void **state)
{
	rig_up(state);
	rig.driver.drop = drop;
	n_dropped = 0;
	open_all();
	return 0;
}

static int down(void **state)
{
	close_all();
	return rig_down(state);
}

/* ---- what tests do ---- */

static struct checkpoint *begin(struct sandbox *s, const struct checkpoint_spec *spec)
{
	struct fault f = {0};
	struct checkpoint *cp = checkpoint_create(all, s, spec, &f);

	if (!cp)
		fail_msg("%s", f.text);
	return cp;
}

static struct checkpoint *make(struct sandbox *s, const char *name)
{
	struct checkpoint *cp = begin(s, &(struct checkpoint_spec){.name = name, .full = true});

	RIG_UNTIL(cp->state != CHECKPOINT_PROCESSING);
	assert_int_equal(cp->state, CHECKPOINT_READY);
	return cp;
}

static void refused(struct sandbox *s, const struct checkpoint_spec *spec, int status)
{
	struct fault f = {0};

	assert_null(checkpoint_create(all, s, spec, &f));
	assert_int_equal(f.status, status);
}

static size_t count(enum checkpoint_state state)
{
	size_t n = 0;

	list_for_each (cp, &all->list, struct checkpoint, node)
		n += cp->state == state;
	return n;
}

struct row {
	const char *id;
	char state[32];
};

static void on_row(void *ctx, const struct store_checkpoint *row)
{
	struct row *r = ctx;

	if (strcmp(row->id, r->id) == 0)
		snprintf(r->state, sizeof(r->state), "%s", row->state);
}

static struct row row_of(const char *id)
{
	struct row r = {.id = id, .state = "none"};

	store_each_checkpoint(rig.store, on_row, &r);
	return r;
}

static void on_patch(void *ctx, const struct store_patch *row)
{
	(void)row;
	++*(size_t *)ctx;
}

static size_t patch_rows(void)
{
	size_t n = 0;

	store_each_patch(rig.store, on_patch, &n);
	return n;
}

/* ---- checkpoints ---- */

static void test_made(void **state)
{
	struct sandbox *s = rig_create(0);
	struct checkpoint *cp = make(s, "one");
	struct fault f;

	(void)state;
	assert_int_equal(cp->bytes, 99);
	assert_string_equal(row_of(cp->id).state, "ready");
	refused(s, &(struct checkpoint_spec){.name = "one", .full = true}, 409);
	assert_true(checkpoint_drop(cp, &f));
	RIG_UNTIL(list_empty(&all->list));
	assert_int_equal(n_dropped, 1);

	/* A guest of others, beside a driver that keeps checkpoints: nothing to ask for one. */
	rig.driver.can &= ~(unsigned)BOX_CAN_CHECKPOINT;
	refused(s, &(struct checkpoint_spec){.name = "two", .full = true}, 501);
	rig.driver.can |= BOX_CAN_CHECKPOINT;
}

/* What a restart would remove must not be called ready. */
static void test_not_stored(void **state)
{
	struct sandbox *s = rig_create(0);
	struct checkpoint *cp;

	(void)state;
	rig.hold = "checkpoint";
	cp = begin(s, &(struct checkpoint_spec){.name = "one", .full = true});
	RIG_UNTIL(strstr(rig.log, "checkpoint"));
	fill_disk();
	rig.hold = NULL;
	RIG_UNTIL(cp->state != CHECKPOINT_PROCESSING);
	free_disk();
	assert_int_equal(cp->state, CHECKPOINT_FAILED);
	assert_non_null(strstr(cp->error, "cannot be stored"));
	RIG_UNTIL(s->state == SANDBOX_RUNNING);
	close_all();
	rig_open();
	open_all();
	RIG_UNTIL(list_empty(&all->list));
	assert_int_equal(n_dropped, 1);
}

/* To drop is what makes room. */
static void test_dropped_on_a_full_disk(void **state)
{
	struct checkpoint *cp = make(rig_create(0), "one");
	struct fault f;
	bool dropped;

	(void)state;
	fill_disk();
	dropped = checkpoint_drop(cp, &f);
	RIG_UNTIL(list_empty(&all->list));
	free_disk();
	assert_true(dropped);
	assert_int_equal(n_dropped, 1);
}

/* The oldest goes when there is a new one, and not for one that fails. */
static void test_oldest_goes(void **state)
{
	struct checkpoint_spec spec = {.name = "b", .full = true, .max = 1, .drop_oldest = true};
	struct sandbox *s = rig_create(0);
	struct checkpoint *a = make(s, "a"), *b;

	(void)state;
	rig.fail = "checkpoint";
	rig.left = BOX_LEFT_RUNNING;
	b = begin(s, &spec);
	RIG_UNTIL(b->state == CHECKPOINT_FAILED);
	assert_int_equal(a->state, CHECKPOINT_READY);
	assert_string_equal(b->error, "the disk is full");

	a->forks++;
	refused(s, &spec, 409);
	a->forks--;
	rig.hold = "checkpoint";
	b = begin(s, &spec);
	spec.name = "c";
	refused(s, &spec, 409); /* as many as may be are being made */
	spec.drop_oldest = false;
	refused(s, &spec, 400);
	assert_int_equal(a->state, CHECKPOINT_READY);
	rig.hold = NULL;
	RIG_UNTIL(b->state == CHECKPOINT_READY);
	RIG_UNTIL(n_dropped == 1);
	assert_int_equal(count(CHECKPOINT_READY), 1);
	assert_string_equal(row_of(b->id).state, "ready");
}

static void test_many_fail(void **state)
{
	struct sandbox *s = rig_create(0);

	(void)state;
	rig.fail = "checkpoint";
	rig.left = BOX_LEFT_RUNNING;
	rig.fails = CHECKPOINT_FAILED_MAX + 3;
	for (int i = 0; i < CHECKPOINT_FAILED_MAX + 3; i++) {
		struct checkpoint *cp =
			begin(s, &(struct checkpoint_spec){.name = "one", .full = true});

		RIG_UNTIL(cp->state == CHECKPOINT_FAILED);
	}
	assert_int_equal(count(CHECKPOINT_FAILED), CHECKPOINT_FAILED_MAX);
}

/* ---- patches ---- */

static struct patch *add(struct checkpoint *cp, const char *script)
{
	struct fault f = {0};
	struct patch *p = patch_add(cp, script, "", &f);

	if (!p)
		fail_msg("%s", f.text);
	return p;
}

static struct sandbox *fork_of(const struct checkpoint *cp)
{
	return rig_create_of(&(struct sandbox_spec){.template = "base", .checkpoint = cp->id});
}

static bool file_is(const char *name, const char *expected)
{
	char path[128], text[256];
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), "%s/%s", rig.dir, name);
	f = fopen(path, "re");
	if (!f)
		return false;
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = '\0';
	fclose(f);
	return strcmp(text, expected) == 0;
}

/* A file tells the loop nothing. */
static void until_file(const char *name, const char *expected)
{
	for (int i = 0; i < 4000 && !file_is(name, expected); i++)
		rig_pass(5);
	assert_true(file_is(name, expected));
}

/* Of which each @ is the test's directory. */
static const char *script(const char *form)
{
	static char text[512];
	size_t n = 0;

	for (; *form; form++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%.*s", *form == '@' ? 64 : 1,
			*form == '@' ? rig.dir : form);
	return text;
}

/* A sandbox that has run one that was dropped runs the next one all the same. */
static void test_sequences(void **state)
{
	struct checkpoint *cp = make(rig_create(0), "one");
	struct sandbox *s = fork_of(cp);
	struct patch *p;

	(void)state;
	p = add(cp, script("echo one >>@/out"));
	assert_int_equal(p->sequence, 1);
	patch_run(all, s, NULL, NULL);
	RIG_UNTIL(patch_last(s) == 1);
	assert_int_equal(patch_drop(cp, p->id), 0);
	assert_int_equal(patch_drop(cp, p->id), -ENOENT);
	p = add(cp, script("echo two >>@/out"));
	assert_int_equal(p->sequence, 2);
	patch_run(all, s, NULL, NULL);
	RIG_UNTIL(patch_last(s) == 2);
	assert_true(file_is("out", "one\ntwo\n"));
}

/* What could not be run is not taken. */
static void test_large_script(void **state)
{
	struct checkpoint *cp = make(rig_create(0), "one");
	char *text = calloc(1, PATCH_SCRIPT_MAX + 1);
	struct sandbox *s = fork_of(cp);
	struct fault f = {0};

	(void)state;
	memset(text, '#', PATCH_SCRIPT_MAX);
	assert_null(patch_add(cp, text, "", &f));
	assert_int_equal(f.status, 400);
	text[PATCH_SCRIPT_MAX - 2] = '\0';
	add(cp, text);
	memset(text, '\n', PATCH_SCRIPT_MAX / 2); /* two bytes each */
	assert_null(patch_add(cp, text, "", &f));
	patch_run(all, s, NULL, NULL);
	RIG_UNTIL(patch_last(s) == 1);
	free(text);
}

/* The session is asked for, and the link breaks before it is there: it is asked for again. */
static void test_link_breaks(void **state)
{
	struct checkpoint *cp = make(rig_create(0), "one");
	struct sandbox *s = fork_of(cp);
	pid_t pid = rig_find(s->id)->pid;

	(void)state;
	add(cp, script("echo one >>@/out"));
	kill(pid, SIGSTOP);
	patch_run(all, s, NULL, NULL);
	rig_pass(50);
	shutdown(sandbox_guest(s)->fd, SHUT_RDWR);
	rig_pass(50);
	kill(pid, SIGCONT);
	RIG_UNTIL(patch_last(s) == 1);
	assert_true(file_is("out", "one\n"));
}

static void one_run_over_two_bridges(const char *end, bool passes)
{
	struct checkpoint *cp = make(rig_create(0), "one");
	struct sandbox *s = fork_of(cp);
	char id[BOX_ID_MAX + 1], path[128], text[256];
	struct jsonr why;
	int fd;

	snprintf(id, sizeof(id), "%s", s->id);
	snprintf(text, sizeof(text),
		"echo run >>@/out; until test -e @/go; do sleep 0.02; done; %s", end);
	add(cp, script(text));
	patch_run(all, s, NULL, NULL);
	until_file("out", "run\n");
	close_all();
	rig_open();
	open_all();
	s = sandboxes_find(rig.all, id);
	RIG_UNTIL(s->linked);
	snprintf(path, sizeof(path), "%s/go", rig.dir);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	RIG_UNTIL(passes ? patch_last(s) == 1 : patch_error(s, &why));
	assert_true(file_is("out", "run\n"));
	if (passes)
		return;
	/* The next time it is begun anew. */
	RIG_UNTIL(list_empty(&all->runs));
	patch_run(all, s, NULL, NULL);
	until_file("out", "run\nrun\n");
	RIG_UNTIL(list_empty(&all->runs));
}

/* The bridge is restarted while a script runs: it goes on, and is not run beside itself. */
static void test_bridge_restarts(void **state)
{
	(void)state;
	one_run_over_two_bridges("true", true);
}

static void test_bridge_restarts_and_it_fails(void **state)
{
	(void)state;
	one_run_over_two_bridges("false", false);
}

/* What is taken back to before a patch gets it again. */
static void test_restored(void **state)
{
	struct checkpoint *cp = make(rig_create(0), "one"), *before;
	struct sandbox *s = fork_of(cp);
	struct rig_op o;

	(void)state;
	before = make(s, "before");
	add(cp, script("echo one >>@/out"));
	patch_run(all, s, NULL, NULL);
	RIG_UNTIL(patch_last(s) == 1);
	RIG_UNTIL(list_empty(&all->runs));
	checkpoint_restore(before, s, rig_op(&o));
	RIG_WELL(&o);
	until_file("out", "one\none\n");
	RIG_UNTIL(patch_last(s) == 1);
}

/* A bridge that was killed while it dropped one leaves nothing of it. */
static void test_half_dropped(void **state)
{
	struct checkpoint *cp = make(rig_create(0), "one");
	struct store_checkpoint row = {.id = cp->id,
		.sandbox = cp->sandbox,
		.name = cp->name,
		.kind = "full",
		.state = "going",
		.error = "",
		.config = "{}"};

	(void)state;
	add(cp, "true");
	assert_int_equal(store_put_checkpoint(rig.store, &row), 0);
	close_all();
	rig_open();
	open_all();
	RIG_UNTIL(list_empty(&all->list));
	assert_int_equal(n_dropped, 1);
	assert_int_equal(patch_rows(), 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, up, down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_made),
		TEST(test_not_stored),
		TEST(test_dropped_on_a_full_disk),
		TEST(test_oldest_goes),
		TEST(test_many_fail),
		TEST(test_sequences),
		TEST(test_large_script),
		TEST(test_link_breaks),
		TEST(test_bridge_restarts),
		TEST(test_bridge_restarts_and_it_fails),
		TEST(test_restored),
		TEST(test_half_dropped),
	};

	return cmocka_run_group_tests(tests, rig_warm_up, NULL);
}
