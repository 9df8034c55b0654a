/*
 * A rule is a glob, and where it applies: to names anywhere below its file (no `/` in it), or to
 * paths from there. The last rule that fits decides; of several files the deepest that has one.
 */
#include "agentd/ignore.h"

#include <stdio.h>

#define RULES_MAX 8192 /* of one link */

struct rule {
	struct glob glob; /* when `plain` is NULL */
	char *plain;      /* owned: no pattern at all, just these bytes */
	size_t plain_len;
	bool negated, only_dirs, by_name;
};

struct ignore {
	struct ignore *up;
	unsigned refs;
	bool above;
	bool given; /* by a client: braces, and no mercy for what is broken */
	char *base; /* owned */
	size_t base_len;
	struct rule *rules; /* owned */
	size_t n, cap;
};

/* ---- reading ---- */

/* Blanks at the end do not count, unless there is a \ before them. */
static size_t trimmed(const char *line, size_t len)
{
	if (len > 0 && line[len - 1] == '\r')
		len--;
	while (len > 0 && line[len - 1] == ' ') {
		size_t slashes = 0;

		while (slashes + 1 < len && line[len - 2 - slashes] == '\\')
			slashes++;
		if (slashes % 2)
			break;
		len--;
	}
	return len;
}

static int add_rule(struct ignore *i, struct rule rule, const char *p, size_t len)
{
	if (i->n == i->cap) {
		size_t cap = i->cap ? 2 * i->cap : 16;
		struct rule *rules = realloc(i->rules, cap * sizeof(*rules));

		if (!rules)
			return -ENOMEM;
		i->rules = rules;
		i->cap = cap;
	}
	if (!memchr(p, '*', len) && !memchr(p, '?', len) && !memchr(p, '[', len) &&
		!memchr(p, '\\', len) && !(i->given && memchr(p, '{', len))) {
		rule.plain = malloc(len);
		if (!rule.plain)
			return -ENOMEM;
		memcpy(rule.plain, p, len);
		rule.plain_len = len;
	} else {
		int r = glob_compile(&rule.glob, p, len, i->given ? 0 : GLOB_NO_BRACES);

		if (r == -EINVAL && !i->given) /* such a line fits nothing */
			return 0;
		if (r < 0)
			return r;
	}
	i->rules[i->n++] = rule;
	return 0;
}

static int read_line(struct ignore *i, const char *p, size_t len)
{
	struct rule rule = {0};

	len = trimmed(p, len);
	if (len == 0 || *p == '#')
		return 0;
	if (*p == '!') {
		rule.negated = true;
		p++;
		len--;
	}
	if (len > 0 && p[len - 1] == '/') {
		rule.only_dirs = true;
		len--;
	}
	rule.by_name = !memchr(p, '/', len);
	if (len > 0 && *p == '/') {
		p++;
		len--;
	}
	return len > 0 && i->n < RULES_MAX ? add_rule(i, rule, p, len) : 0;
}

static int read_text(struct ignore *i, const char *text, size_t len)
{
	const char *end = text + len;
	int r = 0;

	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		text += 3;
	while (r == 0 && text < end) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));
		const char *stop = newline ? newline : end;

		r = read_line(i, text, (size_t)(stop - text));
		text = newline ? newline + 1 : end;
	}
	return r;
}

struct ignore *ignore_new(
	struct ignore *up, const char *base, bool above, const char *text, size_t len)
{
	struct ignore *i = calloc(1, sizeof(*i));

	if (!i) {
		ignore_unref(up);
		return NULL;
	}
	*i = (struct ignore){.up = up, .refs = 1, .above = above, .base = strdup(base)};
	i->base_len = strlen(base);
	if (!i->base || read_text(i, text, len) < 0) {
		ignore_unref(i);
		return NULL;
	}
	return i;
}

struct ignore *ignore_globs(const char *const *globs, size_t n, int *ret)
{
	struct ignore *i = calloc(1, sizeof(*i));

	*ret = -ENOMEM;
	if (!i)
		return NULL;
	*i = (struct ignore){.refs = 1, .given = true, .base = strdup("")};
	if (i->base)
		*ret = 0;
	for (size_t g = 0; g < n && *ret == 0; g++)
		*ret = read_line(i, globs[g], strlen(globs[g]));
	if (*ret == 0)
		return i;
	ignore_unref(i);
	return NULL;
}

struct ignore *ignore_ref(struct ignore *i)
{
	if (i)
		i->refs++;
	return i;
}

void ignore_unref(struct ignore *i)
{
	while (i && --i->refs == 0) {
		struct ignore *up = i->up;

		for (size_t n = 0; n < i->n; n++) {
			glob_fini(&i->rules[n].glob);
			free(i->rules[n].plain);
		}
		free(i->rules);
		free(i->base);
		free(i);
		i = up;
	}
}

/* ---- matching ---- */

static bool rule_fits(struct rule *r, const char *path, size_t len)
{
	if (r->plain)
		return len == r->plain_len && memcmp(path, r->plain, len) == 0;
	return glob_match(&r->glob, path, len);
}

/* 1: left out, 0: not, -1: no rule of this link says anything. */
static int verdict(struct ignore *i, const char *path, size_t len, const char *name, bool dir)
{
	size_t name_len = len - (size_t)(name - path);

	for (size_t n = i->n; n-- > 0;) {
		struct rule *r = &i->rules[n];

		if (r->only_dirs && !dir)
			continue;
		if (r->by_name ? rule_fits(r, name, name_len) : rule_fits(r, path, len))
			return !r->negated;
	}
	return -1;
}

int ignore_match(struct ignore *i, const char *path, size_t len, bool dir)
{
	const char *slash = memrchr(path, '/', len), *name = slash ? slash + 1 : path;
	char joined[2 * GLOB_LEN_MAX];

	for (; i; i = i->up) {
		const char *p = path, *in = name;
		size_t n = len;
		int r;

		if (i->above && i->base_len > 0) {
			n = (size_t)snprintf(
				joined, sizeof(joined), "%s/%.*s", i->base, (int)len, path);
			if (n >= sizeof(joined))
				continue;
			p = joined;
			in = joined + n - (len - (size_t)(name - path));
		} else if (i->base_len > 0) {
			if (len <= i->base_len)
				continue;
			p += i->base_len + 1;
			n -= i->base_len + 1;
		}
		r = verdict(i, p, n, in, dir);
		if (r >= 0)
			return r;
	}
	return -1;
}
