#include "agentd/regex_look.h"

#include <ctype.h>

struct look {
	const char *p, *end;
	uint8_t *bytes;
	size_t n;     /* bytes written */
	size_t begin; /* of the run under way */
	size_t last;  /* of its last character, which a quantifier would take away */
	bool icase, plain;
	struct regex_look best;
};

static void end_run(struct look *l)
{
	if (l->n - l->begin > l->best.len) {
		l->best.from = l->begin;
		l->best.len = l->n - l->begin;
	}
	l->begin = l->last = l->n;
}

/* Letters that another character is the small or capital form of. */
static bool has_strange_case(uint8_t b)
{
	return b >= 0x80 || strchr("kKsS", b);
}

static void add_byte(struct look *l, uint8_t b)
{
	if (l->icase && has_strange_case(b)) {
		l->plain = false;
		end_run(l);
		return;
	}
	if ((b & 0xc0) != 0x80)
		l->last = l->n;
	l->bytes[l->n++] = b;
}

/* ---- what is required ---- */

/* Behind '['. False: not understood. */
static bool skip_class(struct look *l)
{
	if (l->p < l->end && *l->p == '^')
		l->p++;
	if (l->p < l->end && *l->p == ']')
		l->p++;
	for (; l->p < l->end && *l->p != ']'; l->p++) {
		if (*l->p == '\\' && (++l->p == l->end || *l->p == 'Q' || *l->p == 'E'))
			return false;
		if (*l->p == '[' && l->end - l->p > 1 && strchr(":.=", l->p[1]))
			return false;
	}
	if (l->p == l->end)
		return false;
	l->p++;
	return true;
}

/* Escapes of one letter without an argument. */
static bool is_simple_escape(char c)
{
	return c && (strchr("bBdDwWsShHvVntrfeaAzZ", c) || !isalnum((unsigned char)c));
}

/* Behind '(': a group whose content may be anything that is optional, or turned around. */
static bool skip_group(struct look *l)
{
	unsigned depth = 1;

	while (l->p < l->end && depth > 0) {
		char c = *l->p++;

		if (c == '\\') {
			if (l->p == l->end || !is_simple_escape(*l->p))
				return false;
			l->p++;
		} else if (c == '[') {
			if (!skip_class(l))
				return false;
		} else if (c == '(') {
			depth++;
		} else if (c == ')') {
			depth--;
		}
		if (c != '(' || l->p == l->end)
			continue;
		if (*l->p == '*' ||
			(*l->p == '?' && (l->end - l->p < 2 || !strchr(":=!<", l->p[1]))))
			return false;
	}
	return depth == 0;
}

/* At a quantifier, or not; true: what stood before may be absent. */
static bool skip_quantifier(struct look *l, bool *ret_any)
{
	bool optional = false;
	const char *p = l->p;

	*ret_any = false;
	if (p == l->end || !strchr("?*+{", *p))
		return false;
	if (*p == '{') {
		for (p++; p < l->end && strchr("0123456789, ", *p) && *p; p++)
			;
		if (p == l->end || *p != '}' || p == l->p + 1)
			return false; /* just a brace */
		optional = true;
	} else {
		optional = *p != '+';
	}
	p++;
	if (p < l->end && (*p == '?' || *p == '+'))
		p++;
	l->p = p;
	*ret_any = true;
	return optional;
}

static void quantify(struct look *l, bool is_byte)
{
	bool any, optional = skip_quantifier(l, &any);

	if (!any)
		return;
	l->plain = false;
	if (is_byte && optional)
		l->n = max_of(l->last, l->begin);
	end_run(l);
}

/* One item of the pattern. False: not understood, or an alternative: nothing is required. */
static bool look_item(struct look *l)
{
	char c = *l->p++;
	bool is_byte = false, ok = true;

	if (c == '|')
		return false;
	if (strchr("^$.[(", c) && c) {
		l->plain = false;
		end_run(l);
	}
	if (c == '[') {
		ok = skip_class(l);
	} else if (c == '(') {
		l->p--;
		if (l->end - l->p > 1 &&
			(l->p[1] == '*' || (l->p[1] == '?' && (l->end - l->p < 3 ||
								      !strchr(":=!<", l->p[2])))))
			return false;
		l->p++;
		ok = skip_group(l);
	} else if (c == '\\') {
		if (l->p == l->end || !is_simple_escape(*l->p))
			return false;
		c = *l->p++;
		if (isalnum((unsigned char)c)) {
			l->plain = false;
			end_run(l);
		} else {
			add_byte(l, (uint8_t)c);
			is_byte = true;
		}
	} else if (!strchr("^$.", c)) {
		add_byte(l, (uint8_t)c);
		is_byte = true;
	}
	if (ok && (l->p == l->end || ((uint8_t)*l->p & 0xc0) != 0x80))
		quantify(l, is_byte);
	return ok;
}

/* ---- what can fit a newline ---- */

static bool class_is_tame(const char **p, const char *end)
{
	const char *at = *p;

	if (at < end && (*at == '^' || *at == ']'))
		return false;
	for (; at < end && *at != ']'; at++) {
		if (*at == '[' || (unsigned char)*at < ' ')
			return false;
		if (*at == '\\' &&
			(++at == end || (isalnum((unsigned char)*at) && !strchr("dw", *at))))
			return false;
	}
	*p = at + 1;
	return at < end;
}

static bool is_tame(const char *p, const char *end)
{
	while (p < end) {
		char c = *p++;

		if ((unsigned char)c < ' ')
			return false;
		if (c == '\\') {
			if (p == end || (isalnum((unsigned char)*p) && !strchr("bBdw", *p)))
				return false;
			p++;
		} else if (c == '(') {
			if (p < end && (*p == '*' || (*p == '?' && (end - p < 2 || p[1] != ':'))))
				return false;
		} else if (c == '[' && !class_is_tame(&p, end)) {
			return false;
		}
	}
	return true;
}

void regex_look(const char *pattern, size_t len, bool icase, uint8_t *bytes, struct regex_look *ret)
{
	struct look l = {
		.p = pattern, .end = pattern + len, .bytes = bytes, .icase = icase, .plain = true};
	bool understood = true;

	while (l.p < l.end && understood)
		understood = look_item(&l);
	end_run(&l);
	*ret = l.best;
	if (!understood)
		ret->len = 0;
	ret->exact = understood && l.plain && ret->len > 0;
	ret->across = is_tame(pattern, pattern + len);
}
