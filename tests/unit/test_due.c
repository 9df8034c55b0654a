/* Things that come due: in order of their time, once, not when cleared, also set anew from inside.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "bridge/api/due.h"

struct thing {
	struct due due;
	char name;
	unsigned left; /* times that it sets itself again */
};

static struct dues dues;
static char told[64];
static size_t n_told;
static uint64_t began;

static void on_due(struct due *d)
{
	struct thing *t = container_of(d, struct thing, due);

	assert_true(now_ms() >= d->at_ms);
	told[n_told++] = t->name;
	told[n_told] = '\0';
	if (t->left > 0) {
		t->left--;
		due_set(&dues, d, 5, on_due);
	}
}

static void on_closed(void *owner)
{
	*(bool *)owner = true;
}

static uv_loop_t loop;

static void begin(void)
{
	assert_int_equal(uv_loop_init(&loop), 0);
	assert_int_equal(dues_open(&dues, &loop), 0);
	n_told = 0;
	told[0] = '\0';
	began = now_ms();
}

static void end(void)
{
	bool closed = false;

	dues_close(&dues, on_closed, &closed);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_true(closed);
	assert_int_equal(uv_loop_close(&loop), 0);
}

static void test_order(void **state)
{
	struct thing a = {.name = 'a'}, b = {.name = 'b'}, c = {.name = 'c'}, d = {.name = 'd'};

	(void)state;
	begin();
	due_set(&dues, &a.due, 30, on_due);
	due_set(&dues, &b.due, 10, on_due);
	due_set(&dues, &c.due, 30, on_due);
	due_set(&dues, &d.due, 20, on_due);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_string_equal(told, "bdac");
	assert_true(now_ms() - began >= 30);
	end();
}

static void test_clear_and_again(void **state)
{
	struct thing a = {.name = 'a'}, b = {.name = 'b', .left = 2}, c = {.name = 'c'};

	(void)state;
	begin();
	due_clear(&c.due); /* never set */
	due_set(&dues, &a.due, 5, on_due);
	due_set(&dues, &b.due, 5, on_due);
	due_set(&dues, &c.due, 5, on_due);
	due_clear(&a.due);
	due_clear(&a.due);
	due_set(&dues, &c.due, 40, on_due); /* later than said before */
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_string_equal(told, "bbbc");
	end();
}

/* What is set when it is closed is forgotten. */
static void test_close(void **state)
{
	struct thing a = {.name = 'a'};

	(void)state;
	begin();
	due_set(&dues, &a.due, 1, on_due);
	end();
	assert_string_equal(told, "");
	due_clear(&a.due);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_clear_and_again),
		cmocka_unit_test(test_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
