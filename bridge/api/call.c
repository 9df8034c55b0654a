/*
 * A call knows no socket: an answer is a status, headers and something to pull from. The front
 * asks for it when the socket takes it.
 */
#include "bridge/api/call.h"

#include <ctype.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

#include "bridge/api/call_wire.h"
#include "bridge/api/front.h"
#include "proto/http.h"
#include "proto/jsonw.h"
#include "proto/text.h"

#define ERROR_MAX                                                                                  \
	8192 /* of an error: its JSON; 1024 bytes of text at their longest, and members            \
	      */

const char *const call_kept[CALL_KEPT] = {"accept", "authorization", "content-type",
	"if-none-match", "range", "last-event-id", "x-api-key", "x-request-id", "x-forwarded-proto",
	"x-osb-async-wake", "host", "origin", "if-range", "content-range"};

struct kept_call {
	struct call call;
	char *kept[CALL_KEPT]; /* owned */
};

static const char *const methods[] = {"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"};

const char *call_method_str(const struct call *c)
{
	return c->head ? "HEAD" : methods[c->method];
}

static void call_set_state(struct call *c, enum call_state state)
{
	ASSERT(c->call_state != CALL_ENDED && state > c->call_state);
	c->call_state = state;
}

/* ---- the request ---- */

struct call *call_new(const char *path, size_t path_len, const char *query, size_t query_len)
{
	struct kept_call *k = calloc(1, sizeof(*k));
	struct call *c = &k->call;
	char *mem;

	if (!k)
		return NULL;
	mem = calloc(1, path_len + 1 + query_len + 1 + path_len + 1);
	if (!mem) {
		free(k);
		return NULL;
	}
	c->mem = mem;
	c->path = memcpy(mem, path, path_len);
	c->query =
		query_len > 0 ? memcpy(mem + path_len + 1, query, query_len) : mem + path_len + 1;
	c->began_ns = now_ns();
	c->answer_length = -1;
	return c;
}

char *call_params_room(struct call *c)
{
	return (char *)c->mem + (c->query - (char *)c->mem) + strlen(c->query) + 1;
}

int call_keep(struct call *c, unsigned kept, const char *value, size_t len)
{
	struct kept_call *k = container_of(c, struct kept_call, call);

	free(k->kept[kept]);
	k->kept[kept] = strndup(value, len);
	return k->kept[kept] ? 0 : -ENOMEM;
}

const char *call_get_header(const struct call *c, const char *name)
{
	const struct kept_call *k = (const struct kept_call *)(const void *)c;

	for (unsigned i = 0; i < CALL_KEPT; i++)
		if (!strcmp(call_kept[i], name))
			return k->kept[i];
	ASSERT(!"this header is not kept");
	return NULL;
}

static bool id_is_sane(const char *id)
{
	size_t n = strlen(id);

	for (size_t i = 0; i < n; i++)
		if (!(id[i] >= '0' && id[i] <= '9') && !(id[i] >= 'a' && id[i] <= 'z') &&
			!(id[i] >= 'A' && id[i] <= 'Z') && !strchr("-_.:/+=", id[i]))
			return false;
	return n > 0 && n <= CALL_REQUEST_ID;
}

/* From the kernel by the page: a request each would be a system call each. */
static uint64_t chance(void)
{
	static uint64_t page[128];
	static size_t left;

	if (left == 0) {
		if (getrandom(page, sizeof(page), 0) != (ssize_t)sizeof(page))
			return now_ns();
		left = array_size(page);
	}
	return page[--left];
}

void call_set_id(struct call *c)
{
	const char *given = call_get_header(c, "x-request-id");
	uint64_t n[2];

	if (given && id_is_sane(given)) {
		memcpy(c->id, given, strlen(given) + 1);
		return;
	}
	for (int i = 0; i < 2; i++)
		n[i] = chance();
	for (int i = 0; i < 32; i++)
		c->id[i] = "0123456789abcdef"[n[i / 16] >> 4 * (i % 16) & 15];
}

static unsigned hex(char c)
{
	return c >= '0' && c <= '9' ? (unsigned)c - '0' : ((unsigned)c | 0x20) - 'a' + 10;
}

char *call_decode(char *out, const char *p, size_t len, bool plus)
{
	for (const char *end = p + len; p < end; p++) {
		char ch = plus && *p == '+' ? ' ' : *p;

		if (ch == '%' && end - p > 2 && isxdigit((unsigned char)p[1]) &&
			isxdigit((unsigned char)p[2])) {
			ch = (char)(hex(p[1]) << 4 | hex(p[2]));
			p += 2;
		}
		if (!ch)
			return NULL;
		*out++ = ch;
	}
	*out = '\0';
	return out + 1;
}

static char *query_value(const char *p, size_t len)
{
	char *out = malloc(len + 1);

	if (out && !call_decode(out, p, len, true)) {
		free(out);
		out = NULL;
	}
	return out;
}

char *call_query(const struct call *c, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = c->query; *p;) {
		size_t len = strcspn(p, "&");

		if (len >= n && !memcmp(p, name, n) && (len == n || p[n] == '='))
			return len == n ? strdup("") : query_value(p + n + 1, len - n - 1);
		p += len + (p[len] != '\0');
	}
	return NULL;
}

bool call_query_u64(const struct call *c, const char *name, uint64_t *ret)
{
	char *s = call_query(c, name), *end;
	bool good = s && *s >= '0' && *s <= '9';

	if (good) {
		errno = 0;
		*ret = strtoull(s, &end, 10);
		good = !*end && errno == 0;
	}
	free(s);
	return good;
}

bool call_is_near(const struct call *c)
{
	return strncmp(c->peer, "127.", 4) == 0 || strcmp(c->peer, "::1") == 0;
}

void call_pause(struct call *c, bool pause)
{
	if (c->call_state == CALL_ENDED || c->paused == pause)
		return;
	c->paused = pause;
	front_pause(c, pause);
}

/* ---- the answer ---- */

void call_header(struct call *c, const char *name, const char *value)
{
	size_t room = sizeof(c->headers) - c->headers_len;
	int n;

	if (c->call_state != CALL_ASKED)
		return;
	ASSERT(!strpbrk(name, "\r\n:"));
	if (strpbrk(value, "\r\n")) /* it came from a peer after all: better none than two */
		return;
	n = snprintf(c->headers + c->headers_len, room, "%s: %s\r\n", name, value);
	if (n > 0 && (size_t)n < room)
		c->headers_len += (size_t)n;
	c->headers[c->headers_len] = '\0';
}

void call_begin(struct call *c, int status, const char *type, int64_t length)
{
	if (c->call_state != CALL_ASKED)
		return;
	c->status = status;
	c->answer_type = type ? type : "application/json";
	c->answer_length = length;
	call_set_state(c, CALL_ANSWERING);
	front_ready(c);
}

void call_reply_take(struct call *c, int status, const char *type, char *data, size_t len)
{
	if (c->call_state != CALL_ASKED) {
		free(data);
		return;
	}
	c->whole = data;
	c->whole_len = len;
	call_begin(c, status, type, (int64_t)len);
}

void call_reply(struct call *c, int status, const char *type, const void *data, size_t len)
{
	char *copy = malloc(len + 1);

	if (!copy) {
		call_abort(c);
		return;
	}
	memcpy(copy, data, len);
	call_reply_take(c, status, type, copy, len);
}

void call_empty(struct call *c, int status)
{
	call_reply(c, status, "", "", 0);
}

__attribute__((format(printf, 4, 0))) static void error_v(
	struct call *c, int status, const char *members, const char *fmt, va_list ap)
{
	char text[1024], out[ERROR_MAX];
	struct jsonw w;

	vsnprintf(text, sizeof(text), fmt, ap);
	text[utf8_cut(text, strlen(text))] = '\0';
	if (!utf8_valid(text, strlen(text))) /* what a peer named: still JSON */
		for (char *p = text; *p; p++)
			if (*p & 0x80)
				*p = '?';
	jsonw_init(&w, out, sizeof(out));
	jsonw_open(&w, NULL, '{');
	jsonw_str(&w, "error", text);
	if (w.len + strlen(members) + 1 < sizeof(out))
		w.len += (size_t)snprintf(out + w.len, sizeof(out) - w.len, "%s", members);
	jsonw_close(&w, '}');
	call_reply(c, status, NULL, out, w.len);
}

void call_error(struct call *c, int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	error_v(c, status, "", fmt, ap);
	va_end(ap);
}

void call_error_with(struct call *c, int status, const char *members, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	error_v(c, status, members, fmt, ap);
	va_end(ap);
}

void call_ready(struct call *c)
{
	if (c->call_state == CALL_ANSWERING || c->call_state == CALL_SOCKET)
		front_ready(c);
}

void call_abort(struct call *c)
{
	if (c->call_state != CALL_ENDED)
		front_abort(c);
}

/* ---- WebSocket ---- */

void call_accept(struct call *c, const struct call_ops *ops, void *state)
{
	ASSERT(c->websocket);
	if (c->call_state != CALL_ASKED)
		return;
	c->ops = ops;
	c->state = state;
	c->status = 101;
	c->close_code = 1000;
	call_set_state(c, CALL_SOCKET);
	front_ready(c);
}

void call_close(struct call *c, uint16_t code, const char *reason)
{
	size_t n = strlen(reason);

	c->close_code = code;
	n = utf8_cut(reason, min_of(n, sizeof(c->close_reason) - 1));
	memcpy(c->close_reason, reason, n);
	c->close_reason[n] = '\0';
	call_ready(c);
}

/* ---- for the front ---- */

enum call_framing call_framing(const struct call *c, bool http10)
{
	if (c->status == 204 || c->status == 304)
		return CALL_FRAME_NONE;
	if (c->answer_length >= 0)
		return CALL_FRAME_LENGTH;
	return http10 ? CALL_FRAME_CLOSE : CALL_FRAME_CHUNKED;
}

static const char *date(void)
{
	static char text[40];
	static time_t of;
	time_t now = time(NULL);
	struct tm tm;

	if (now != of) {
		gmtime_r(&now, &tm);
		strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
		of = now;
	}
	return text;
}

size_t call_head(const struct call *c, enum call_framing framing, bool keep, char *out)
{
	char body[128] = "";
	int n;

	if (framing == CALL_FRAME_LENGTH)
		snprintf(body, sizeof(body), "Content-Length: %lld\r\n",
			(long long)c->answer_length);
	else if (framing == CALL_FRAME_CHUNKED)
		snprintf(body, sizeof(body), "Transfer-Encoding: chunked\r\n");
	n = snprintf(out, CALL_HEAD_MAX,
		"HTTP/1.1 %d %s\r\n"
		"Date: %s\r\n"
		"%s%.200s%s"
		"%s"
		"X-Request-Id: %s\r\n"
		"Access-Control-Allow-Origin: *\r\n"
		"Access-Control-Expose-Headers: X-Request-Id, Retry-After, Content-Range, "
		"Content-Disposition, ETag, Location\r\n"
		"%.*s"
		"Connection: %s\r\n\r\n",
		c->status, http_status_text(c->status), date(),
		*c->answer_type ? "Content-Type: " : "", c->answer_type,
		*c->answer_type ? "\r\n" : "", body, c->id, (int)c->headers_len, c->headers,
		keep ? "keep-alive" : "close");
	ASSERT(n > 0 && n < CALL_HEAD_MAX);
	return (size_t)n;
}

ssize_t call_pull(struct call *c, uint8_t *out, size_t max)
{
	size_t n;

	if (!c->whole)
		return c->ops && c->ops->pull ? c->ops->pull(c, out, max) : CALL_DONE;
	n = min_of(max, c->whole_len - c->whole_at);
	if (n == 0)
		return CALL_DONE;
	memcpy(out, c->whole + c->whole_at, n);
	c->whole_at += n;
	return (ssize_t)n;
}

void call_end(struct call *c)
{
	if (c->call_state == CALL_ENDED)
		return;
	call_set_state(c, CALL_ENDED);
	if (c->ops)
		c->ops->on_end(c);
}

void call_free(struct call *c)
{
	struct kept_call *k = container_of(c, struct kept_call, call);

	for (unsigned i = 0; i < CALL_KEPT; i++)
		free(k->kept[i]);
	free(c->whole);
	free(c->text);
	free(c->mem);
	free(k);
}
