/*
 * jsonr_parse() is the grammar of RFC 8259, one function a production, on a cursor that only goes
 * forward. The walk afterwards relies on it: there a string ends at the next quote that has no
 * backslash before it, and brackets outside strings match.
 */
#include "proto/jsonr.h"

#include "proto/text.h"

static void skip(struct jsonr *at, size_t n)
{
	at->p += n;
	at->len -= n;
}

static bool take(struct jsonr *at, char c)
{
	if (at->len == 0 || *at->p != c)
		return false;
	skip(at, 1);
	return true;
}

static void skip_blanks(struct jsonr *at)
{
	while (at->len > 0 && (*at->p == ' ' || *at->p == '\t' || *at->p == '\r' || *at->p == '\n'))
		skip(at, 1);
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool take_escape(struct jsonr *at)
{
	char c;

	if (at->len == 0)
		return false;
	c = *at->p;
	skip(at, 1);
	if (c != 'u')
		return c != '\0' && strchr("\"\\/bfnrt", c);
	for (int i = 0; i < 4; i++) {
		if (at->len == 0 || hex_value(*at->p) < 0)
			return false;
		skip(at, 1);
	}
	return true;
}

static bool take_string(struct jsonr *at)
{
	if (!take(at, '"'))
		return false;
	while (at->len > 0) {
		unsigned char c = (unsigned char)*at->p;

		if (c < 0x20)
			return false;
		skip(at, 1);
		if (c == '"')
			return true;
		if (c == '\\' && !take_escape(at))
			return false;
	}
	return false;
}

static bool take_digits(struct jsonr *at)
{
	size_t before = at->len;

	while (at->len > 0 && *at->p >= '0' && *at->p <= '9')
		skip(at, 1);
	return at->len < before;
}

static bool take_number(struct jsonr *at)
{
	take(at, '-');
	if (!take(at, '0') && !take_digits(at))
		return false;
	if (take(at, '.') && !take_digits(at))
		return false;
	if (take(at, 'e') || take(at, 'E')) {
		if (!take(at, '+'))
			take(at, '-');
		return take_digits(at);
	}
	return true;
}

static bool take_word(struct jsonr *at, const char *word)
{
	size_t n = strlen(word);

	if (at->len < n || memcmp(at->p, word, n) != 0)
		return false;
	skip(at, n);
	return true;
}

static bool take_value(struct jsonr *at, unsigned depth);

static bool take_members(struct jsonr *at, char end, unsigned depth)
{
	skip_blanks(at);
	if (take(at, end))
		return true;
	do {
		skip_blanks(at);
		if (end == '}') {
			if (!take_string(at))
				return false;
			skip_blanks(at);
			if (!take(at, ':'))
				return false;
			skip_blanks(at);
		}
		if (!take_value(at, depth))
			return false;
		skip_blanks(at);
	} while (take(at, ','));
	return take(at, end);
}

static bool take_value(struct jsonr *at, unsigned depth)
{
	if (at->len == 0)
		return false;
	switch (*at->p) {
	case '{':
	case '[':
		if (depth == JSONR_DEPTH)
			return false;
		return take(at, '{') ? take_members(at, '}', depth + 1)
				     : (skip(at, 1), take_members(at, ']', depth + 1));
	case '"': return take_string(at);
	case 't': return take_word(at, "true");
	case 'f': return take_word(at, "false");
	case 'n': return take_word(at, "null");
	default: return take_number(at);
	}
}

int jsonr_parse(const void *text, size_t len, struct jsonr *ret)
{
	struct jsonr at = {text, len}, value;

	if (!utf8_valid(text, len))
		return -EINVAL;
	skip_blanks(&at);
	value = at;
	if (!take_value(&at, 0))
		return -EINVAL;
	value.len -= at.len;
	skip_blanks(&at);
	if (at.len > 0)
		return -EINVAL;
	*ret = value;
	return 0;
}

/* ---- the walk ---- */

/* Of the string that begins here, quotes included. */
static size_t string_len(struct jsonr at)
{
	size_t i = 1;

	while (i < at.len && at.p[i] != '"')
		i += at.p[i] == '\\' ? 2 : 1;
	return min_of(i + 1, at.len);
}

/* Of the value that begins here: up to what separates or encloses it. */
static size_t value_len(struct jsonr at)
{
	size_t begin = at.len, depth = 0;

	while (at.len > 0) {
		char c = *at.p;

		if (depth == 0 && strchr(",]} \t\r\n", c))
			break;
		depth += c == '{' || c == '[';
		depth -= c == '}' || c == ']';
		skip(&at, c == '"' ? string_len(at) : 1);
	}
	return begin - at.len;
}

bool jsonr_begin(struct jsonr_walk *w, struct jsonr value)
{
	*w = (struct jsonr_walk){.rest = value, .named = jsonr_is(value, '{')};
	if (!w->named && !jsonr_is(value, '['))
		return false;
	skip(&w->rest, 1);
	return true;
}

bool jsonr_next(struct jsonr_walk *w, struct jsonr *ret_name, struct jsonr *ret_value)
{
	struct jsonr *at = &w->rest;
	size_t n;

	skip_blanks(at);
	if (take(at, ','))
		skip_blanks(at);
	if (at->len == 0 || *at->p == '}' || *at->p == ']')
		return false;
	if (w->named) {
		n = string_len(*at);
		if (ret_name)
			*ret_name = (struct jsonr){at->p + 1, n - 2};
		skip(at, n);
		skip_blanks(at);
		take(at, ':');
		skip_blanks(at);
	} else if (ret_name) {
		*ret_name = (struct jsonr){at->p, 0};
	}
	n = value_len(*at);
	*ret_value = (struct jsonr){at->p, n};
	skip(at, n);
	return true;
}

/* ---- values ---- */

bool jsonr_member(struct jsonr object, const char *name, struct jsonr *ret)
{
	struct jsonr_walk w;
	struct jsonr n, v;

	if (!jsonr_is(object, '{') || !jsonr_begin(&w, object))
		return false;
	while (jsonr_next(&w, &n, &v)) {
		if (n.len == strlen(name) && memcmp(n.p, name, n.len) == 0) {
			*ret = v;
			return true;
		}
	}
	return false;
}

bool jsonr_is_str(struct jsonr v, const char *s)
{
	size_t n = strlen(s);

	return v.len == n + 2 && *v.p == '"' && memcmp(v.p + 1, s, n) == 0;
}

int jsonr_u64(struct jsonr v, uint64_t max, uint64_t *ret)
{
	uint64_t n = 0;

	for (size_t i = 0; i < v.len; i++) {
		unsigned digit = (unsigned char)v.p[i] - (unsigned)'0';

		if (digit > 9 || n > (UINT64_MAX - digit) / 10)
			return -EINVAL;
		n = n * 10 + digit;
	}
	if (v.len == 0 || n > max)
		return -EINVAL;
	*ret = n;
	return 0;
}

static uint32_t four_hex(const char *p)
{
	uint32_t v = 0;

	for (int i = 0; i < 4; i++)
		v = v << 4 | (uint32_t)hex_value(p[i]);
	return v;
}

static char *put_utf8(char *out, uint32_t c)
{
	if (c < 0x80) {
		*out++ = (char)c;
		return out;
	}
	if (c < 0x800) {
		*out++ = (char)(0xc0 | c >> 6);
	} else {
		if (c < 0x10000) {
			*out++ = (char)(0xe0 | c >> 12);
		} else {
			*out++ = (char)(0xf0 | c >> 18);
			*out++ = (char)(0x80 | (c >> 12 & 0x3f));
		}
		*out++ = (char)(0x80 | (c >> 6 & 0x3f));
	}
	*out++ = (char)(0x80 | (c & 0x3f));
	return out;
}

/* The character of the \u that p stands on, and how much of the text it took. */
static uint32_t unicode_escape(const char *p, size_t left, size_t *ret_len)
{
	uint32_t c = four_hex(p + 2), low;

	*ret_len = 6;
	if (c < 0xd800 || c > 0xdfff)
		return c;
	if (c > 0xdbff || left < 12 || p[6] != '\\' || p[7] != 'u')
		return 0xfffd;
	low = four_hex(p + 8);
	if (low < 0xdc00 || low > 0xdfff)
		return 0xfffd;
	*ret_len = 12;
	return 0x10000 + ((c & 0x3ff) << 10) + (low & 0x3ff);
}

int jsonr_str(struct jsonr v, char **ret)
{
	static const char letters[] = "bfnrt", values[] = "\b\f\n\r\t";
	char *text, *out;
	size_t n;

	if (!jsonr_is(v, '"'))
		return -EINVAL;
	text = out = malloc(v.len); /* no escape is shorter than what it stands for */
	if (!text)
		return -ENOMEM;
	for (size_t i = 1; i + 1 < v.len; i += n) {
		const char *p = v.p + i, *letter;
		uint32_t c;

		n = 1;
		if (*p != '\\') {
			*out++ = *p;
		} else if (p[1] == 'u') {
			c = unicode_escape(p, v.len - 1 - i, &n);
			if (c == 0) {
				free(text);
				return -EINVAL;
			}
			out = put_utf8(out, c);
		} else {
			n = 2;
			letter = strchr(letters, p[1]);
			*out++ = letter ? values[letter - letters] : p[1];
		}
	}
	*out = '\0';
	*ret = text;
	return 0;
}
