/* The turns of an agent session, counted from its lines: what holds a sandbox awake. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "bridge/api/turn_count.h"

#define IN(text)  turn_count_in(&t, text "\n", sizeof(text))
#define OUT(text) turn_count_out(&t, text "\n", sizeof(text))

#define INIT   "{\"type\":\"system\",\"subtype\":\"init\",\"session_id\":\"s-1\"}"
#define DONE   "{\"type\":\"turn_complete\",\"claude_session_id\":\"s-2\"}"
#define PROMPT "{\"type\":\"prompt\",\"text\":\"hello\"}"
#define BAD    "{\"type\":\"error\",\"code\":\"bad_input\",\"message\":\"no\"}"

static void test_one_turn(void **state)
{
	struct turn_count t;

	(void)state;
	turn_count_init(&t);
	OUT("{\"type\":\"ready\"}");
	assert_int_equal(t.pending, 0);
	IN(PROMPT);
	assert_int_equal(t.pending, 1);
	OUT(INIT);
	OUT("{\"type\":\"assistant\",\"message\":{}}");
	assert_string_equal(t.conversation, "s-1");
	assert_int_equal(t.pending, 1);
	OUT("{\"type\":\"result\",\"session_id\":\"s-1\"}");
	assert_int_equal(t.pending, 1);
	OUT(DONE);
	assert_int_equal(t.pending, 0);
	assert_string_equal(t.conversation, "s-2");
	turn_count_fini(&t);
}

/* Prompts wait for each other; lines come in any pieces. */
static void test_many_in_pieces(void **state)
{
	static const char in[] = PROMPT "\n\n" PROMPT "\n" PROMPT "\n";
	static const char out[] = INIT "\n" DONE "\n" INIT "\n";
	struct turn_count t;

	(void)state;
	turn_count_init(&t);
	for (size_t i = 0; i < sizeof(in) - 1; i++)
		turn_count_in(&t, in + i, 1);
	assert_int_equal(t.pending, 3);
	assert_int_equal(t.unanswered, 0); /* a blank line is nothing */
	for (size_t i = 0; i < sizeof(out) - 1; i++)
		turn_count_out(&t, out + i, 1);
	assert_int_equal(t.pending, 2);
	turn_count_fini(&t);
}

/* What was not taken is no turn; what else was wrong is not taken for a prompt. */
static void test_errors(void **state)
{
	struct turn_count t;

	(void)state;
	turn_count_init(&t);
	IN("{\"type\":\"prompt\",\"text\":\"\"}");
	OUT(BAD);
	assert_int_equal(t.pending, 0);
	IN(PROMPT);
	IN("{\"type\":\"configure\",\"maxTurns\":\"many\"}");
	OUT(BAD);
	assert_int_equal(t.pending, 1);
	IN("{\"type\":\"configure\",\"model\":\"m\"}");
	OUT("{\"type\":\"configured\"}");
	assert_int_equal(t.unanswered, 0);
	IN("no json");
	OUT(BAD);
	assert_int_equal(t.pending, 1);
	IN(PROMPT);
	OUT("{\"type\":\"error\",\"code\":\"too_many\",\"message\":\"\"}");
	assert_int_equal(t.pending, 1);
	OUT("{\"type\":\"error\",\"code\":\"crashed\",\"message\":\"\"}");
	assert_int_equal(t.pending, 1); /* turn_complete follows */
	OUT("{\"type\":\"interrupted\"}");
	OUT(DONE);
	OUT(DONE);
	assert_int_equal(t.pending, 0);
	turn_count_fini(&t);
}

/* A turn that began before we looked, or by itself; what comes between turns is none. */
static void test_found(void **state)
{
	struct turn_count t;

	(void)state;
	turn_count_init(&t);
	turn_count_out(&t, "sistant\",\"x\":1}\n", 16);
	OUT("{\"type\":\"system\",\"subtype\":\"status\"}");
	OUT("{\"type\":\"tool_use_summary\"}");
	assert_int_equal(t.pending, 0);
	OUT("{\"type\":\"assistant\"}");
	assert_int_equal(t.pending, 1);
	turn_count_out(&t, "{\"type\":\"assis", 14);
	turn_count_gap(&t);
	OUT("\":\"turn_complete\"}");
	OUT(DONE);
	assert_int_equal(t.pending, 0);
	turn_count_fini(&t);
}

/* A line over the maximum is skipped, and what follows it is seen. */
static void test_long_line(void **state)
{
	static char blob[1024 * 1024];
	struct turn_count t;

	(void)state;
	turn_count_init(&t);
	memset(blob, 'x', sizeof(blob));
	IN(PROMPT);
	turn_count_out(&t, "{\"type\":\"assistant\",\"x\":\"", 24);
	turn_count_out(&t, blob, sizeof(blob));
	OUT("\"}");
	assert_int_equal(t.pending, 1);
	OUT(DONE);
	assert_int_equal(t.pending, 0);
	turn_count_fini(&t);
}

/* Bug: that such a line was refused was taken for the end of the turn under way. */
static void test_long_prompt(void **state)
{
	static char blob[1024 * 1024];
	struct turn_count t;

	(void)state;
	turn_count_init(&t);
	memset(blob, 'x', sizeof(blob));
	IN(PROMPT);
	for (int i = 0; i < 18; i++)
		turn_count_in(&t, blob, sizeof(blob));
	IN("");
	OUT(BAD);
	assert_int_equal(t.pending, 1);
	assert_int_equal(t.unanswered, 0);
	OUT(DONE);
	assert_int_equal(t.pending, 0);
	turn_count_fini(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_turn),
		cmocka_unit_test(test_many_in_pieces),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_found),
		cmocka_unit_test(test_long_line),
		cmocka_unit_test(test_long_prompt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
