#include "bridge/api/fields.h"

#include <stdio.h>

static bool wrong(struct call *c, const char *name, const char *what)
{
	call_error(c, 400, "%s %s", name, what);
	return false;
}

/* Is it there, and not null? */
static bool member(const struct call *c, const char *name, struct jsonr *ret)
{
	return jsonr_member(c->body, name, ret) && !jsonr_is(*ret, 'n');
}

bool field_str(struct call *c, const char *name, size_t max, char **ret)
{
	auto_free char *s = NULL;
	struct jsonr v;

	if (!member(c, name, &v))
		return true;
	if (!jsonr_is(v, '"'))
		return wrong(c, name, "must be a string");
	if (jsonr_str(v, &s) < 0)
		return wrong(c, name, "must be a string without NUL");
	if (strlen(s) > max)
		return wrong(c, name, "is too long");
	*ret = take_ptr(&s);
	return true;
}

/* "-12", "12", also "12.0" and "1e3": every number that is a whole one. */
static bool whole_number(struct jsonr v, int64_t *ret)
{
	char digits[40], *end;
	double d;

	if (v.len == 0 || v.len >= sizeof(digits) || (*v.p != '-' && (*v.p < '0' || *v.p > '9')))
		return false;
	memcpy(digits, v.p, v.len);
	digits[v.len] = '\0';
	errno = 0;
	*ret = strtoll(digits, &end, 10);
	if (!*end)
		return errno == 0;
	d = strtod(digits, &end);
	if (*end || !(d > -9e15 && d < 9e15))
		return false;
	*ret = (int64_t)d;
	return (double)*ret == d;
}

bool field_int(struct call *c, const char *name, int64_t min, int64_t max, int64_t *ret)
{
	struct jsonr v;
	char what[96];
	int64_t n;

	if (!member(c, name, &v))
		return true;
	if (!whole_number(v, &n))
		return wrong(c, name, "must be a whole number");
	if (n < min || n > max) {
		snprintf(what, sizeof(what), "must be from %lld to %lld", (long long)min,
			(long long)max);
		return wrong(c, name, what);
	}
	*ret = n;
	return true;
}

bool field_bool(struct call *c, const char *name, bool *ret)
{
	struct jsonr v;

	if (!member(c, name, &v))
		return true;
	if (!jsonr_is(v, 't') && !jsonr_is(v, 'f'))
		return wrong(c, name, "must be true or false");
	*ret = jsonr_is(v, 't');
	return true;
}

bool field_raw(struct call *c, const char *name, char bracket, struct jsonr *ret)
{
	struct jsonr v;

	if (!member(c, name, &v))
		return true;
	if (!jsonr_is(v, bracket))
		return wrong(c, name, bracket == '{' ? "must be an object" : "must be an array");
	*ret = v;
	return true;
}

/* ---- many strings, in one block ---- */

struct strings {
	char **all; /* NULL at the end; the texts behind */
	size_t n, max;
	char *at;
};

/* Decoded text is never longer than what stands between quotes. */
static bool strings_init(struct strings *s, struct jsonr from, size_t max)
{
	s->max = max;
	s->n = 0;
	s->all = malloc((max + 1) * sizeof(char *) + from.len + max + 1);
	if (!s->all)
		return false;
	s->at = (char *)(s->all + max + 1);
	s->all[0] = NULL;
	return true;
}

static bool strings_add(struct strings *s, struct jsonr v)
{
	auto_free char *text = NULL;
	size_t len;

	if (s->n == s->max || jsonr_str(v, &text) < 0)
		return false;
	len = strlen(text);
	memcpy(s->at, text, len + 1);
	s->all[s->n++] = s->at;
	s->all[s->n] = NULL;
	s->at += len + 1;
	return true;
}

static size_t count(struct jsonr v)
{
	struct jsonr_walk w;
	struct jsonr each;
	size_t n = 0;

	if (jsonr_begin(&w, v))
		while (jsonr_next(&w, NULL, &each))
			n++;
	return n;
}

bool field_strs(struct call *c, const char *name, size_t max_n, char ***ret, size_t *ret_n)
{
	struct jsonr v = {0}, each;
	struct jsonr_walk w;
	struct strings s;
	size_t n;

	if (!field_raw(c, name, '[', &v))
		return false;
	if (v.len == 0)
		return true;
	n = count(v);
	if (n > max_n)
		return wrong(c, name, "has too many elements");
	if (!strings_init(&s, v, n)) {
		call_error(c, 503, "out of memory");
		return false;
	}
	jsonr_begin(&w, v);
	while (jsonr_next(&w, NULL, &each)) {
		if (!strings_add(&s, each)) {
			free(s.all);
			return wrong(c, name, "must be an array of strings");
		}
	}
	*ret = s.all;
	*ret_n = n;
	return true;
}

char **fields_map_of(struct jsonr object, size_t max_n, size_t *ret_n)
{
	struct jsonr name, value;
	struct jsonr_walk w;
	struct strings s;
	size_t n;

	if (!jsonr_is(object, '{') || (n = count(object)) > max_n ||
		!strings_init(&s, object, 2 * n))
		return NULL;
	jsonr_begin(&w, object);
	while (jsonr_next(&w, &name, &value)) {
		/* With the quotes it is a value like any other. */
		struct jsonr quoted = {name.p - 1, name.len + 2};

		if (!strings_add(&s, quoted) || !strings_add(&s, value)) {
			free(s.all);
			return NULL;
		}
	}
	*ret_n = n;
	return s.all;
}

bool field_map(struct call *c, const char *name, size_t max_n, char ***ret, size_t *ret_n)
{
	struct jsonr v = {0};
	char **map;

	if (!field_raw(c, name, '{', &v))
		return false;
	if (v.len == 0)
		return true;
	if (count(v) > max_n)
		return wrong(c, name, "has too many members");
	map = fields_map_of(v, max_n, ret_n);
	if (!map)
		return wrong(c, name, "must be an object of strings");
	*ret = map;
	return true;
}
