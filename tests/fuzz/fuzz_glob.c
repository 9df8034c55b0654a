/*
 * fuzz_glob.c - a pattern, a 0, then a path: the matcher against one that simply tries everything,
 * where that one can be paid for. What fits must be found on the way down too. The same bytes are
 * also read as an ignore file.
 */
#include "agentd/ignore.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* ?, * and ** only; -1: too much work. */
static int naive(
	const char *p, const char *pe, const char *start, const char *s, const char *se, int *left)
{
	const char *first = p;
	bool deep;

	if (--*left < 0)
		return -1;
	if (p == pe)
		return s == se;
	if (*p != '*')
		return s < se && (*p == '?' ? *s != '/' : *p == *s)
			       ? naive(p + 1, pe, start, s + 1, se, left)
			       : 0;
	while (p < pe && *p == '*')
		p++;
	deep = p - first == 2 && (first == start || first[-1] == '/') && (p == pe || *p == '/');
	if (deep && p < pe) { /* directories */
		for (bool begin = true;; begin = *s++ == '/') {
			int r = begin ? naive(p + 1, pe, start, s, se, left) : 0;

			if (r != 0 || s == se)
				return r;
		}
	}
	if (deep)
		return first == start || (s < se && *s != '/');
	for (;; s++) {
		int r = naive(p, pe, start, s, se, left);

		if (r != 0 || s == se || *s == '/')
			return r;
	}
}

static void compare(struct glob *g, const char *pattern, size_t n, const char *path, size_t len)
{
	bool fits = glob_match(g, path, len);
	int left = 20000, r;

	for (size_t i = 0; fits && i < len; i++) {
		if (path[i] == '/')
			ASSERT(glob_below(g, path, i));
	}
	for (size_t i = 0; i < n; i++) {
		if (strchr("[]{},\\", pattern[i]))
			return;
	}
	r = naive(pattern, pattern + n, pattern, path, path + len, &left);
	ASSERT(r < 0 || r == fits);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const uint8_t *zero = len > 0 ? memchr(data, 0, len) : NULL;
	const char *pattern = (const char *)data, *path = zero ? (const char *)zero + 1 : "";
	size_t n = zero ? (size_t)(zero - data) : len, rest = zero ? len - n - 1 : 0;
	struct ignore *i;
	struct glob g;

	if (rest > 4096)
		return 0;
	if (glob_compile(&g, pattern, n, 0) == 0) {
		compare(&g, pattern, n, path, rest);
		glob_fini(&g);
	}
	i = ignore_new(NULL, "", false, pattern, n);
	if (i && rest > 0)
		ignore_match(i, path, rest, n % 2);
	ignore_unref(i);
	return 0;
}
