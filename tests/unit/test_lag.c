/*
 * test_lag.c - turns are counted from the first event to the wait, and a turn that does not end is
 * seen by another thread.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>

#include "agentd/lag.h"

static void turn(unsigned us)
{
	lag_begin();
	usleep(us);
	lag_begin(); /* a second event in the same turn */
	lag_end();
}

static void test_turns(void **state)
{
	struct lag_figures before, f;

	(void)state;
	lag_read(&before);
	assert_int_equal(before.turns, 0);
	lag_end(); /* nothing happened */
	turn(0);
	turn(6000);
	turn(0);
	lag_read(&f);
	assert_int_equal(f.turns, 3);
	assert_int_equal(f.now_ns, 0);
	assert_true(f.max_ns >= 6000000 && f.busy_ns >= f.max_ns);
	assert_true(f.average_ns > 0 && f.average_ns < f.max_ns);
	assert_true(f.over[2] >= 1 && f.over[0] >= f.over[1] && f.over[1] >= f.over[2]);
	assert_int_equal(f.over[LAG_BUCKETS - 1], 0);
}

static void *look(void *arg)
{
	lag_read(arg);
	return NULL;
}

static void test_from_outside(void **state)
{
	struct lag_figures f;
	pthread_t id;

	(void)state;
	lag_begin();
	usleep(20000);
	pthread_create(&id, NULL, look, &f);
	pthread_join(id, NULL);
	assert_true(f.now_ns >= 20000000);
	lag_end();
	lag_read(&f);
	assert_int_equal(f.now_ns, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_turns),
		cmocka_unit_test(test_from_outside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
