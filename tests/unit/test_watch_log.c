/* test_watch_log.c - the history of a watched tree: numbers, what is kept, what goes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "agentd/watch_log.h"

static void add(struct watch_log *l, const char *path, size_t len)
{
	struct watch_event *e = watch_event_new(WATCH_CREATE, path, len, "", 0);

	assert_non_null(e);
	watch_log_add(l, e);
}

static void test_events(void **state)
{
	struct watch_log l;

	(void)state;
	assert_int_equal(watch_log_init(&l), 0);
	assert_null(watch_log_get(&l, 0));
	assert_null(watch_log_get(&l, 1));
	for (uint64_t n = 1; n <= 3 * WATCH_LOG_EVENTS; n++) {
		char name[32];

		add(&l, name, (size_t)sprintf(name, "f%llu", (unsigned long long)n));
		assert_int_equal(watch_log_get(&l, n)->seq, n);
		assert_null(watch_log_get(&l, n + 1));
	}
	assert_int_equal(l.next - l.first, WATCH_LOG_EVENTS);
	assert_null(watch_log_get(&l, l.first - 1));
	for (uint64_t n = l.first; n < l.next; n++) {
		const struct watch_event *e = watch_log_get(&l, n);
		char name[32];

		assert_int_equal(e->len, sprintf(name, "f%llu", (unsigned long long)n));
		assert_memory_equal(e->text, name, e->len);
	}
	watch_log_fini(&l);
	watch_log_fini(&l);
}

/* Long paths: fewer events, not more memory. */
static void test_bytes(void **state)
{
	char path[8000] = {0};
	struct watch_log l;

	(void)state;
	assert_int_equal(watch_log_init(&l), 0);
	for (unsigned n = 0; n < 1000; n++) {
		add(&l, path, sizeof(path));
		assert_true(l.bytes <= WATCH_LOG_BYTES);
	}
	assert_int_equal(l.next - l.first, WATCH_LOG_BYTES / sizeof(path));
	watch_log_fini(&l);
}

static void test_rename(void **state)
{
	struct watch_event *e = watch_event_new(WATCH_RENAME, "to", 2, "from", 4);

	(void)state;
	assert_memory_equal(e->text, "tofrom", 6);
	assert_string_equal(watch_kind_str(e->kind), "rename");
	assert_string_equal(watch_kind_str(WATCH_OVERFLOW), "overflow");
	free(e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_events),
		cmocka_unit_test(test_bytes), cmocka_unit_test(test_rename)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
