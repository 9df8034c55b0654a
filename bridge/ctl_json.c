/* The text was parsed and found in order when it came; here only its joints are looked for. */
#include "bridge/ctl_json.h"

static void skip(struct json_text *at, size_t n)
{
	at->p += n;
	at->len -= n;
}

static void skip_any(struct json_text *at, const char *set)
{
	while (at->len > 0 && *at->p && strchr(set, *at->p))
		skip(at, 1);
}

/* Length of the string that begins here, quotes included; all that is left when it does not end. */
static size_t string_len(struct json_text at)
{
	for (size_t i = 1; i < at.len; i++) {
		if (at.p[i] == '\\')
			i++;
		else if (at.p[i] == '"')
			return i + 1;
	}
	return at.len;
}

/* Length of the value that begins here: up to the ',' or closing bracket behind it. */
static size_t value_len(struct json_text at)
{
	size_t begin = at.len, depth = 0;

	while (at.len > 0) {
		char c = *at.p;

		if (depth == 0 && (c == ',' || c == '}' || c == ']'))
			break;
		depth += c == '{' || c == '[';
		depth -= c == '}' || c == ']';
		skip(&at, c == '"' ? string_len(at) : 1);
	}
	return begin - at.len;
}

bool json_begin(struct json_walk *w, struct json_text value)
{
	*w = (struct json_walk){.rest = value};
	skip_any(&w->rest, " \t\r\n");
	if (w->rest.len == 0 || (*w->rest.p != '{' && *w->rest.p != '['))
		return false;
	w->named = *w->rest.p == '{';
	skip(&w->rest, 1);
	return true;
}

bool json_next(struct json_walk *w, struct json_text *ret_name, struct json_text *ret_value)
{
	struct json_text *at = &w->rest;
	size_t n;

	skip_any(at, " \t\r\n,");
	if (at->len == 0 || *at->p == '}' || *at->p == ']')
		return false;
	*ret_name = (struct json_text){at->p, 0};
	if (w->named) {
		n = string_len(*at);
		if (n < 2)
			return false;
		*ret_name = (struct json_text){at->p + 1, n - 2};
		skip(at, n);
		skip_any(at, " \t\r\n:");
	}
	n = value_len(*at);
	*ret_value = (struct json_text){at->p, n};
	skip(at, n);
	while (ret_value->len > 0 && strchr(" \t\r\n", ret_value->p[ret_value->len - 1]))
		ret_value->len--;
	return n > 0;
}

bool json_member(struct json_text object, const char *name, struct json_text *ret)
{
	struct json_walk w;
	struct json_text n, v;

	if (!json_begin(&w, object))
		return false;
	while (json_next(&w, &n, &v)) {
		if (n.len == strlen(name) && memcmp(n.p, name, n.len) == 0) {
			*ret = v;
			return true;
		}
	}
	return false;
}
