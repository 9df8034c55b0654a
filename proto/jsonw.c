#include "proto/jsonw.h"

#include "proto/text.h"

void jsonw_init(struct jsonw *w, char *out, size_t size)
{
	*w = (struct jsonw){.out = out, .size = size};
}

static void put(struct jsonw *w, const char *s, size_t n)
{
	if (w->overflow || n > w->size - w->len) {
		w->overflow = true;
		return;
	}
	memcpy(w->out + w->len, s, n);
	w->len += n;
}

static void put_char(struct jsonw *w, char c)
{
	put(w, &c, 1);
}

static void put_quoted(struct jsonw *w, const char *s, size_t n)
{
	static const char hex[] = "0123456789abcdef";
	size_t from = 0;

	put_char(w, '"');
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		put(w, s + from, i - from);
		from = i + 1;
		if (c == '"' || c == '\\') {
			put_char(w, '\\');
			put_char(w, (char)c);
		} else if (c == '\n') {
			put(w, "\\n", 2);
		} else {
			char esc[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};

			put(w, esc, sizeof(esc));
		}
	}
	put(w, s + from, n - from);
	put_char(w, '"');
}

/* What stands before every value. */
static void begin(struct jsonw *w, const char *name)
{
	if (w->comma)
		put_char(w, ',');
	w->comma = true;
	if (name) {
		put_quoted(w, name, strlen(name));
		put_char(w, ':');
	}
}

void jsonw_open(struct jsonw *w, const char *name, char bracket)
{
	begin(w, name);
	put_char(w, bracket);
	w->comma = false;
}

void jsonw_close(struct jsonw *w, char bracket)
{
	put_char(w, bracket);
	w->comma = true;
}

void jsonw_str(struct jsonw *w, const char *name, const char *s)
{
	begin(w, name);
	put_quoted(w, s, strlen(s));
}

void jsonw_bytes(struct jsonw *w, const char *name, const void *data, size_t len)
{
	begin(w, name);
	if (utf8_valid(data, len) && !memchr(data, 0, len)) {
		put_quoted(w, data, len);
		return;
	}
	put(w, "{\"b64\":\"", 8);
	if (BASE64_LEN(len) + 1 > w->size - w->len)
		w->overflow = true;
	else
		w->len += base64_encode(data, len, w->out + w->len);
	put(w, "\"}", 2);
}

void jsonw_raw(struct jsonw *w, const char *name, const char *json, size_t len)
{
	begin(w, name);
	put(w, json, len);
}

static void put_u64_dec(struct jsonw *w, uint64_t v)
{
	char digits[20];
	size_t n = sizeof(digits);

	do
		digits[--n] = (char)('0' + v % 10);
	while (v /= 10);
	put(w, digits + n, sizeof(digits) - n);
}

void jsonw_u64(struct jsonw *w, const char *name, uint64_t v)
{
	begin(w, name);
	put_u64_dec(w, v);
}

void jsonw_int(struct jsonw *w, const char *name, int64_t v)
{
	begin(w, name);
	if (v < 0)
		put_char(w, '-');
	put_u64_dec(w, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

void jsonw_milli(struct jsonw *w, const char *name, uint64_t v)
{
	uint64_t rest = v % 1000;

	jsonw_u64(w, name, v / 1000);
	if (rest)
		put_char(w, '.');
	for (uint64_t digit = 100; rest; rest %= digit, digit /= 10)
		put_char(w, (char)('0' + rest / digit));
}

void jsonw_bool(struct jsonw *w, const char *name, bool v)
{
	begin(w, name);
	if (v)
		put(w, "true", 4);
	else
		put(w, "false", 5);
}

void jsonw_null(struct jsonw *w, const char *name)
{
	begin(w, name);
	put(w, "null", 4);
}
