/*
 * Routes are few enough to be looked through: a pattern is walked along with the path and left at
 * the first letter that differs.
 */
#include "bridge/api/route.h"

#include "bridge/api/call_wire.h"

#define PARTS_MAX 12

struct part {
	const char *p;
	size_t len;
};

/* The parts between slashes; -1: too many, or it is no path. One slash at the end does not count.
 */
static int split(const char *path, struct part out[PARTS_MAX])
{
	int n = 0;

	if (*path != '/')
		return -1;
	while (*path == '/' && path[1]) {
		if (n == PARTS_MAX)
			return -1;
		out[n].p = ++path;
		out[n].len = strcspn(path, "/");
		path += out[n++].len;
	}
	return n;
}

/* -1: no match. Else the parts that are static, the earlier ones weighing more. Both are walked at
 * once, so that nearly all routes are done with at their first letters. */
static long match(const char *pattern, const char *path)
{
	long weight = 0;

	for (int i = 0; *pattern == '/' && pattern[1]; i++) {
		if (*path != '/' || !path[1])
			return -1;
		pattern++;
		path++;
		if (*pattern == ':') {
			if (*path == '/')
				return -1;
			pattern += strcspn(pattern, "/");
			path += strcspn(path, "/");
			continue;
		}
		while (*pattern && *pattern != '/')
			if (*pattern++ != *path++)
				return -1;
		if (*path && *path != '/')
			return -1;
		weight |= 1L << (PARTS_MAX - i);
	}
	return *path == '\0' || (*path == '/' && !path[1]) ? weight : -1;
}

static bool take_params(struct call *c, const char *pattern)
{
	char *at = call_params_room(c);
	struct part parts[PARTS_MAX] = {0}, path[PARTS_MAX] = {0};
	int n = split(pattern, parts), k = 0;

	if (split(c->path, path) != n)
		return false;
	for (int i = 0; i < n; i++) {
		if (*parts[i].p != ':')
			continue;
		ASSERT(k < CALL_PARAMS_MAX);
		c->params[k++] = at;
		at = call_decode(at, path[i].p, path[i].len, false);
		if (!at)
			return false;
	}
	return true;
}

int route_find(struct call *c)
{
	const struct route *best = NULL;
	long best_weight = -1;
	bool other = false; /* of another method */

	for (int t = 0; route_tables[t]; t++) {
		for (const struct route *r = route_tables[t]; r->handle; r++) {
			long weight = match(r->pattern, c->path);

			if (weight < 0)
				continue;
			if (r->method != c->method) {
				other = true;
			} else if (weight > best_weight) {
				best_weight = weight;
				best = r;
			}
		}
	}
	if (!best)
		return other ? 405 : 404;
	if (!take_params(c, best->pattern))
		return 404;
	c->route = best;
	return 0;
}

unsigned route_methods(const struct call *c)
{
	unsigned methods = 0;

	for (int t = 0; route_tables[t]; t++)
		for (const struct route *r = route_tables[t]; r->handle; r++)
			if (match(r->pattern, c->path) >= 0)
				methods |= 1U << r->method;
	return methods;
}
