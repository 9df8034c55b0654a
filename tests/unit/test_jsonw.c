/*
 * test_jsonw.c - what is written is JSON, exactly; any bytes come out as UTF-8; running out of room
 * at any byte is noticed and can be taken back. And what is made of it: the JSON of errors, which
 * carries words of a peer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "proto/error.h"
#include "proto/jsonw.h"
#include "proto/msg.h"
#include "proto/text.h"

/* All there is, once. */
static void write_all(struct jsonw *w)
{
	jsonw_open(w, NULL, '{');
	jsonw_str(w, "s", "a\"b\\c\n\r\t\x01\x1f\x7f/\xc3\xa9");
	jsonw_open(w, "empty", '{');
	jsonw_close(w, '}');
	jsonw_open(w, "list", '[');
	jsonw_open(w, NULL, '[');
	jsonw_close(w, ']');
	jsonw_u64(w, NULL, 0);
	jsonw_u64(w, NULL, UINT64_MAX);
	jsonw_int(w, NULL, INT64_MIN);
	jsonw_int(w, NULL, INT64_MAX);
	jsonw_int(w, NULL, -1);
	jsonw_bool(w, NULL, true);
	jsonw_bool(w, NULL, false);
	jsonw_null(w, NULL);
	jsonw_close(w, ']');
	jsonw_bytes(w, "b", "\xff\xfe", 2);
	jsonw_bytes(w, "nul", "a\0b", 3);
	jsonw_bytes(w, "none", "", 0);
	jsonw_str(w, "\"key\"", "");
	jsonw_close(w, '}');
}

static const char all[] =
	"{\"s\":\"a\\\"b\\\\c\\n\\u000d\\u0009\\u0001\\u001f\x7f/\xc3\xa9\",\"empty\":{},"
	"\"list\":[[],0,18446744073709551615,-9223372036854775808,9223372036854775807,-1,true,"
	"false,null],\"b\":{\"b64\":\"//4=\"},\"nul\":{\"b64\":\"YQBi\"},\"none\":\"\","
	"\"\\\"key\\\"\":\"\"}";

static void test_all(void **state)
{
	char out[1024];
	struct jsonw w;

	(void)state;
	jsonw_init(&w, out, sizeof(out));
	write_all(&w);
	assert_false(w.overflow);
	assert_int_equal(w.len, sizeof(all) - 1);
	assert_memory_equal(out, all, w.len);
	assert_true(utf8_valid(out, w.len));
}

/* Of every size too small: no byte beyond it, and `overflow` is set. base64 needs one byte more,
 * for a NUL of its own. */
static void test_no_room(void **state)
{
	(void)state;
	for (size_t size = 0; size <= sizeof(all); size++) {
		char *out = malloc(size + 1); /* the sanitizer sees a step beyond */
		struct jsonw w;

		assert_non_null(out);
		out[size] = 0x55;
		jsonw_init(&w, out, size);
		write_all(&w);
		assert_true(w.len <= size);
		assert_int_equal(w.overflow, size < sizeof(all) - 1);
		assert_int_equal(out[size], 0x55);
		free(out);
	}
}

static void test_rewind(void **state)
{
	char out[24];
	struct jsonw w, mark;
	unsigned n = 0;

	(void)state;
	jsonw_init(&w, out, sizeof(out) - 1); /* room for the bracket */
	jsonw_open(&w, NULL, '[');
	do {
		mark = jsonw_mark(&w);
		jsonw_str(&w, NULL, "abc");
		n++;
	} while (!w.overflow);
	jsonw_rewind(&w, mark);
	w.size++;
	jsonw_close(&w, ']');
	assert_false(w.overflow);
	assert_int_equal(n, 4);
	assert_int_equal(w.len, 19);
	assert_memory_equal(out, "[\"abc\",\"abc\",\"abc\"]", 19);
}

/* Every byte alone: a string where it is UTF-8, base64 else. */
static void test_each_byte(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 256; i++) {
		char c = (char)i, out[64];
		struct jsonw w;

		jsonw_init(&w, out, sizeof(out));
		jsonw_bytes(&w, NULL, &c, 1);
		assert_false(w.overflow);
		assert_true(utf8_valid(out, w.len));
		assert_int_equal(out[0], i == 0 || i >= 0x80 ? '{' : '"');
		for (size_t at = 0; at < w.len; at++)
			assert_true((unsigned char)out[at] >= 0x20);
	}
}

/* ---- errors ---- */

static void check_error(const struct error *e)
{
	char out[ERROR_JSON_MAX];
	size_t len = error_json(e, out);
	struct error back;

	assert_int_equal(msg_parse_error((uint8_t *)out, len, &back), 1);
	assert_int_equal(back.code, e->code);
	assert_int_equal(back.err, e->err);
	assert_string_equal(back.message, e->message);
}

static void test_errors(void **state)
{
	struct error e;

	(void)state;
	for (int code = 0; code < E_LAST; code++) {
		assert_int_equal(error_set(&e, (enum error_code)code, 0, "%d", code), -EINVAL);
		assert_int_equal(error_code_parse(error_code_str(e.code)), code);
		check_error(&e);
	}
	assert_int_equal(error_code_parse("of_a_newer_agent"), E_LAST);
	assert_int_equal(error_set(&e, E_FAILED, ENOENT, "gone"), -ENOENT);
	check_error(&e);
	memset(e.message, 1, sizeof(e.message) - 1); /* each becomes six */
	check_error(&e);
	assert_string_equal(errno_name(ENOENT), "ENOENT");
	assert_string_equal(errno_name(ENOMEM), "ENOMEM");
	assert_string_equal(errno_name(99999), "E?");
}

/* Bug: a message quotes what a peer sent, cut to a length or decoded from base64, and then the
 * error's JSON was not UTF-8. */
static void test_error_is_utf8(void **state)
{
	char word[300];
	struct error e;

	(void)state;
	for (size_t n = 0; n < 260; n++) {
		memset(word, 'x', n);
		snprintf(word + n, sizeof(word) - n, "\xe2\x82\xac\xf0\x9f\x98\x80!");
		error_set(&e, E_UNKNOWN_OP, 0, "no operation \"%.64s\"", word);
		check_error(&e);
		error_set(&e, E_UNKNOWN_OP, 0, "%s", word);
		check_error(&e);
	}
	error_set(&e, E_UNKNOWN_OP, 0, "%s", "a\xff\xc3\xa9\xc3(\xed\xa0\x80z");
	assert_string_equal(e.message, "a?\xc3\xa9?(???z");
	check_error(&e);
}

/* What the agent sent goes back as it is: the "next" of a page, whatever it is made of. */
static void test_raw(void **state)
{
	char out[40];
	struct jsonw w;

	(void)state;
	jsonw_init(&w, out, sizeof(out));
	jsonw_open(&w, NULL, '{');
	jsonw_u64(&w, "a", 1);
	jsonw_raw(&w, "b", "{\"b64\":\"/w==\"}", 14);
	jsonw_u64(&w, "c", 2);
	jsonw_close(&w, '}');
	assert_false(w.overflow);
	assert_int_equal(w.len, 32);
	assert_memory_equal(out, "{\"a\":1,\"b\":{\"b64\":\"/w==\"},\"c\":2}", 32);
	jsonw_raw(&w, "d", "[1,2,3,4,5,6]", 13);
	assert_true(w.overflow);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_raw),
		cmocka_unit_test(test_all),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_rewind),
		cmocka_unit_test(test_each_byte),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_error_is_utf8),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
