#include "bridge/api/text.h"

#include <stdio.h>
#include <time.h>

#include "bridge/api/call.h"
#include "proto/text.h"

void text_init(struct text *t)
{
	*t = (struct text){.buf = BUF_NULL(TEXT_MAX)};
}

void text_fini(struct text *t)
{
	buf_fini(&t->buf);
}

static void put(struct text *t, const char *s, size_t n)
{
	if (!t->failed && buf_append(&t->buf, s, n) < 0)
		t->failed = true;
}

static void put_char(struct text *t, char c)
{
	put(t, &c, 1);
}

/* Of valid UTF-8. */
static void put_escaped(struct text *t, const char *s, size_t n)
{
	size_t from = 0;
	char esc[8];

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f)
			continue;
		put(t, s + from, i - from);
		from = i + 1;
		if (c == '"' || c == '\\')
			snprintf(esc, sizeof(esc), "\\%c", c);
		else if (c == '\n')
			snprintf(esc, sizeof(esc), "\\n");
		else
			snprintf(esc, sizeof(esc), "\\u%04x", c);
		put(t, esc, strlen(esc));
	}
	put(t, s + from, n - from);
}

/* The length of the character at s, 0 when there is none. */
static size_t character(const char *s, size_t n)
{
	unsigned char c = (unsigned char)*s;
	size_t want = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;

	return want <= n && utf8_valid(s, want) ? want : 0;
}

static void put_quoted(struct text *t, const char *s, size_t n)
{
	size_t from = 0, i = 0, len;

	put_char(t, '"');
	if (utf8_valid(s, n)) {
		put_escaped(t, s, n);
		i = from = n;
	}
	while (i < n) {
		len = character(s + i, n - i);
		if (len == 0) {
			put_escaped(t, s + from, i - from);
			put(t, "\xef\xbf\xbd", 3);
			from = i + 1;
		}
		i += len > 0 ? len : 1;
	}
	put_escaped(t, s + from, n - from);
	put_char(t, '"');
}

/* What stands before every value. */
static void begin(struct text *t, const char *name)
{
	if (t->comma)
		put_char(t, ',');
	t->comma = true;
	if (name) {
		put_quoted(t, name, strlen(name));
		put_char(t, ':');
	}
}

void text_open(struct text *t, const char *name, char bracket)
{
	begin(t, name);
	put_char(t, bracket);
	t->comma = false;
}

void text_close(struct text *t, char bracket)
{
	put_char(t, bracket);
	t->comma = true;
}

void text_str(struct text *t, const char *name, const char *s)
{
	if (s)
		text_bytes(t, name, s, strlen(s));
}

void text_bytes(struct text *t, const char *name, const void *data, size_t len)
{
	begin(t, name);
	put_quoted(t, data, len);
}

void text_int(struct text *t, const char *name, int64_t v)
{
	char digits[24];

	snprintf(digits, sizeof(digits), "%lld", (long long)v);
	text_raw(t, name, digits, strlen(digits));
}

void text_bool(struct text *t, const char *name, bool v)
{
	text_raw(t, name, v ? "true" : "false", v ? 4 : 5);
}

void text_null(struct text *t, const char *name)
{
	text_raw(t, name, "null", 4);
}

void text_raw(struct text *t, const char *name, const char *json, size_t len)
{
	begin(t, name);
	put(t, json, len);
}

void text_time(struct text *t, const char *name, uint64_t ms)
{
	time_t s = (time_t)(ms / 1000);
	char date[32], all[40];
	struct tm tm;

	gmtime_r(&s, &tm);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(all, sizeof(all), "%s.%03uZ", date, (unsigned)(ms % 1000));
	text_str(t, name, all);
}

char *text_take(struct text *t, size_t *ret_len)
{
	char *out = NULL;
	size_t len;

	put_char(t, '\0');
	if (!t->failed) {
		len = buf_len(&t->buf) - 1;
		if (t->buf.start > 0)
			memmove(t->buf.data, buf_head(&t->buf), len + 1);
		out = (char *)t->buf.data;
		*ret_len = len;
		t->buf = BUF_NULL(TEXT_MAX);
	}
	text_fini(t);
	t->comma = t->failed = false;
	return out;
}

void text_reply(struct text *t, struct call *c, int status)
{
	size_t len;
	char *out = text_take(t, &len);

	if (out)
		call_reply_take(c, status, NULL, out, len);
	else
		call_error(c, 500, "the answer is too large");
}
