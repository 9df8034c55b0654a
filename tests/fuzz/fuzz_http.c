/*
 * fuzz_http.c - the HTTP head, the same bytes as a request and as a response. Fed whole, cut, and
 * byte by byte, they must come to the same. A head that is taken ends with its empty line and keeps
 * no string that could break a line elsewhere; a request that is accepted is answered, and our own
 * client takes that answer.
 */
#include <stdio.h>

#include "base/base.h"
#include "proto/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Feeds in pieces of `step` bytes, 0: varying. Where the head ended, the status, or 0: it did not.
 */
static int parse(struct http *h, const uint8_t *data, size_t len, size_t step)
{
	uint32_t seed = (uint32_t)len;
	bool done = false;
	size_t taken = 0;

	while (taken < len && !done) {
		size_t n = step;
		int r;

		if (n == 0) {
			seed = (seed + data[taken]) * 16777619U;
			n = 1 + (seed >> 16) % (seed >> 31 ? 8 : 100);
		}
		n = min_of(n, len - taken);

		uint8_t *piece = malloc(n); /* of exactly its size, for the sanitizer */

		ASSERT(piece);
		memcpy(piece, data + taken, n);
		r = http_feed(h, piece, n, &done);
		free(piece);
		if (r < 0) {
			ASSERT(!done && (r == -400 || r == -431));
			return r;
		}
		ASSERT(done ? r > 0 && (size_t)r <= n : (size_t)r == n);
		taken += (size_t)r;
		ASSERT(taken <= HTTP_HEAD_MAX);
	}
	return done ? (int)taken : 0;
}

static void check_string(const char *s)
{
	ASSERT(strlen(s) <= HTTP_VALUE_MAX);
	ASSERT(!strpbrk(s, "\r\n"));
}

static void check_same(const struct http_head *a, const struct http_head *b)
{
	const char *const as[] = {a->target, a->ws_key, a->ws_version, a->ws_protocol, a->ws_accept,
		a->authorization};
	const char *const bs[] = {b->target, b->ws_key, b->ws_version, b->ws_protocol, b->ws_accept,
		b->authorization};

	for (size_t i = 0; i < array_size(as); i++) {
		check_string(as[i]);
		ASSERT(strcmp(as[i], bs[i]) == 0);
	}
	ASSERT(a->is_get == b->is_get && a->status == b->status);
	ASSERT(a->upgrade_websocket == b->upgrade_websocket && a->has_body == b->has_body);
}

static void check_accepted(const struct http_head *head)
{
	struct http *client = http_new(HTTP_CLIENT);
	char text[512];
	int n = http_format_switching(text, sizeof(text), head->ws_key, "agentd.v1");

	ASSERT(client && n > 0);
	ASSERT(parse(client, (const uint8_t *)text, (size_t)n, 0) == n);
	ASSERT(http_check_switching(http_head(client), head->ws_key, "agentd.v1") == 0);
	http_free(client);
}

static void check_head(enum http_role role, const struct http_head *head)
{
	int status;

	if (role == HTTP_CLIENT) {
		ASSERT(!head->is_get && !head->target[0]);
		http_check_switching(head, "dGhlIHNhbXBsZSBub25jZQ==", "agentd.v1");
		return;
	}
	ASSERT(head->status == 0 && head->target[0]);
	status = http_check_upgrade(head, "/v1", "agentd.v1");
	ASSERT(!head->has_body || status == 400);
	if (status == 0)
		check_accepted(head);
	else
		ASSERT(status == 400 || status == 404 || status == 405 || status == 426);
}

/* Of a value that is both too long and broken, either may be said first: llhttp hands a value over
 * where it or the piece ends. */
static bool same_end(int a, int b)
{
	return a == b || (a < 0 && b < 0);
}

static void test_role(enum http_role role, const uint8_t *data, size_t len)
{
	struct http *whole = http_new(role), *cut = http_new(role), *bytes = http_new(role);
	int end;

	ASSERT(whole && cut && bytes);
	end = parse(whole, data, len, len);
	ASSERT(same_end(parse(cut, data, len, 0), end));
	ASSERT(same_end(parse(bytes, data, len, 1), end));
	if (end > 0) {
		ASSERT(end >= 4 && memcmp(data + end - 4, "\r\n\r\n", 4) == 0);
		check_same(http_head(whole), http_head(cut));
		check_same(http_head(whole), http_head(bytes));
		check_head(role, http_head(whole));
	} else if (end == 0) {
		ASSERT(len < HTTP_HEAD_MAX);
	}
	http_free(whole);
	http_free(cut);
	http_free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	test_role(HTTP_SERVER, data, len);
	test_role(HTTP_CLIENT, data, len);
	return 0;
}
