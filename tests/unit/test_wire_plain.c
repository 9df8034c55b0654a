/*
 * test_wire_plain.c - plain requests on a link's socket: who answers, with which methods, in which
 * order after token and body, at any cut, and that the link ends behind the answer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "proto/wire.h"

static struct {
	int refuse;     /* status of authorize */
	unsigned asked; /* answer_plain */
	char path[64];
	size_t body_len;
} owner;

static char body[200000];

static int authorize(void *ctx, const struct http_head *head)
{
	(void)ctx;
	(void)head;
	return owner.refuse;
}

static bool answer_plain(void *ctx, const char *path, struct http_answer *ret)
{
	(void)ctx;
	owner.asked++;
	snprintf(owner.path, sizeof(owner.path), "%s", path);
	if (strcmp(path, "/plain") != 0 && strcmp(path, "/ill") != 0)
		return false;
	*ret = (struct http_answer){.status = path[1] == 'i' ? 503 : 200,
		.type = "text/x",
		.body = body,
		.len = owner.body_len};
	return true;
}

static void on_upgraded(void *ctx)
{
	(void)ctx;
	fail();
}

static const struct wire_events events = {
	.authorize = authorize, .answer_plain = answer_plain, .on_upgraded = on_upgraded};

/* The answer to a request that comes in pieces of `step`, taken `take` bytes at a time. */
static char *exchange(const char *request, size_t step, size_t take, int *ret_code)
{
	static char out[300000];
	size_t len = strlen(request), used = 0;
	struct iovec iov[WIRE_IOV_MAX];
	struct wire w;

	owner.asked = 0;
	assert_int_equal(wire_init_server(&w, &events, NULL, 4), 0);
	for (size_t at = 0; at < len; at += step) {
		size_t k = min_of(step, len - at);
		uint8_t piece[2048];

		memcpy(piece, request + at, k);
		assert_int_equal(wire_input(&w, piece, k), k);
	}
	while (wire_output(&w, iov) > 0) {
		size_t k = min_of(take, iov[0].iov_len);

		assert_true(used + k < sizeof(out));
		memcpy(out + used, iov[0].iov_base, k);
		used += k;
		wire_wrote(&w, k);
	}
	out[used] = '\0';
	*ret_code = w.close_code;
	assert_int_equal(w.state, *ret_code ? WIRE_CLOSED : WIRE_HTTP);
	wire_fini(&w);
	return out;
}

static void test_answers(void **state)
{
	static const struct {
		const char *request;
		int code;
		unsigned asked;
		const char *answer; /* how it begins */
	} cases[] = {
		{"GET /plain HTTP/1.1\r\n\r\n", 200, 1,
			"HTTP/1.1 200 OK\r\nContent-Type: text/x\r\nContent-Length: 3\r\n"
			"Connection: close\r\n\r\nabc"},
		{"GET /plain?a=/b HTTP/1.1\r\n\r\n", 200, 1, "HTTP/1.1 200 OK\r\n"},
		{"HEAD /plain HTTP/1.1\r\n\r\n", 200, 1, "HTTP/1.1 200 OK\r\n"},
		{"GET /ill HTTP/1.1\r\n\r\n", 503, 1, "HTTP/1.1 503 Service Unavailable\r\n"},
		{"POST /plain HTTP/1.1\r\n\r\n", 405, 1, "HTTP/1.1 405 "},
		{"GET /other HTTP/1.1\r\n\r\n", 404, 1, "HTTP/1.1 404 "},
		{"GET /plain/ HTTP/1.1\r\n\r\n", 404, 1, "HTTP/1.1 404 "},
		{"GET /plain HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", 400, 0, "HTTP/1.1 400 "},
		{"GET /plain HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", 404, 0,
			"HTTP/1.1 404 "},
		{"GET /plain HTTP/1.0\r\n\r\n", 400, 0, "HTTP/1.1 400 "},
		{"GET /plain HTTP/1.1\r\nHost: a\r\n", 0, 0, ""},
	};

	(void)state;
	strcpy(body, "abc");
	owner.body_len = 3;
	for (size_t i = 0; i < array_size(cases); i++) {
		for (size_t step = 1; step < 200; step = step * 3 + 1) {
			int code;
			char *out = exchange(cases[i].request, step, step, &code);

			assert_int_equal(code, cases[i].code);
			assert_int_equal(owner.asked, cases[i].asked);
			assert_memory_equal(out, cases[i].answer, strlen(cases[i].answer));
			if (strncmp(cases[i].request, "HEAD", 4) == 0)
				assert_string_equal(out + strlen(out) - 4, "\r\n\r\n");
		}
	}
	exchange("GET /plain?a=/b HTTP/1.1\r\n\r\n", 1, 1, &(int){0});
	assert_string_equal(owner.path, "/plain");
}

static void test_who_may_not_in_learns_nothing(void **state)
{
	static const char *const requests[] = {"GET /plain HTTP/1.1\r\n\r\n",
		"POST /plain HTTP/1.1\r\n\r\n", "GET /none HTTP/1.1\r\n\r\n"};

	(void)state;
	owner.refuse = 401;
	for (size_t i = 0; i < array_size(requests); i++) {
		int code;

		exchange(requests[i], 1000, 1000, &code);
		assert_int_equal(code, 401);
		assert_int_equal(owner.asked, 0);
	}
	owner.refuse = 0;
}

static void test_large_body(void **state)
{
	int code;
	char *out;

	(void)state;
	memset(body, 'y', sizeof(body));
	owner.body_len = sizeof(body);
	out = exchange("GET /plain HTTP/1.1\r\n\r\n", 1000, 777, &code);
	assert_int_equal(code, 200);
	out = strstr(out, "\r\n\r\n") + 4;
	assert_int_equal(strlen(out), sizeof(body));
	assert_memory_equal(out, body, sizeof(body));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_who_may_not_in_learns_nothing),
		cmocka_unit_test(test_large_body),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
