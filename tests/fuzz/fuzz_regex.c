/*
 * fuzz_regex.c - flags, a pattern, a newline, then a text: the short cuts of regex.c (bytes that
 * every match has, many lines at once) must find the lines that the long way finds.
 */
#include "agentd/regex.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static unsigned patience;

static bool cancelled(void *ctx)
{
	(void)ctx;
	return patience == 0 || --patience == 0;
}

/* The beginnings of the lines found; what takes too long is given up. */
static int lines(struct regex *r, const uint8_t *text, size_t len, size_t *found, size_t max)
{
	struct regex_hit hit;
	size_t n = 0;

	patience = 50;
	for (size_t at = 0; at < len && n < max; at = hit.line_end + 1) {
		int e = regex_next(r, text, len, at, &hit);

		if (e < 0)
			return -1;
		if (e == 0)
			break;
		ASSERT(hit.line >= at && hit.line <= hit.from && hit.from <= hit.to);
		ASSERT(hit.to <= hit.line_end && hit.line_end <= len);
		ASSERT(hit.line == 0 || text[hit.line - 1] == '\n');
		ASSERT(hit.line_end == len || text[hit.line_end] == '\n');
		found[n++] = hit.line;
	}
	return (int)n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const uint8_t *newline = len > 1 ? memchr(data + 1, '\n', len - 1) : NULL;
	size_t quick[64], slow[64], n;
	const uint8_t *text;
	struct regex r;
	struct error e;
	int a, b;

	if (!newline || newline - data > 200 || len > 4096)
		return 0;
	text = newline + 1;
	n = len - (size_t)(text - data);
	if (regex_init(&r, (const char *)data + 1, (size_t)(newline - data) - 1, data[0] & 7,
		    cancelled, NULL, &e) < 0)
		return 0;
	a = lines(&r, text, n, quick, array_size(quick));
	needle_fini(&r.needle);
	r.exact = r.across = false;
	b = lines(&r, text, n, slow, array_size(slow));
	if (a >= 0 && b >= 0) {
		ASSERT(a == b);
		ASSERT(memcmp(quick, slow, (size_t)a * sizeof(*quick)) == 0);
	}
	regex_fini(&r);
	return 0;
}
