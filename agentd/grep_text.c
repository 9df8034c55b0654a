#include "agentd/grep_text.h"

void grep_text_fini(struct grep_text *g)
{
	free(g->buf);
	g->buf = NULL;
	g->size = 0;
}

/* ---- lines in the buffer ---- */

/* `n` lines back from `at`, which begins one; as far as there are. */
static size_t lines_back(const struct grep_text *g, size_t at, size_t n)
{
	for (; n > 0 && at > 0; n--) {
		const uint8_t *newline = memrchr(g->buf, '\n', at - 1);

		at = newline ? (size_t)(newline + 1 - g->buf) : 0;
	}
	return at;
}

static size_t lines_on(const struct grep_text *g, size_t at, size_t n)
{
	for (; n > 0 && at < g->fill; n--) {
		const uint8_t *newline = memchr(g->buf + at, '\n', g->fill - at);

		at = newline ? (size_t)(newline + 1 - g->buf) : g->fill;
	}
	return at;
}

static void count_to(struct grep_text *g, size_t to)
{
	g->line += count_newlines(g->buf + g->counted, to - g->counted);
	g->counted = to;
}

/* Gives up what lies before `at`, but for the lines around it (half of the buffer at most, so that
 * there is room for more). */
static void make_room(struct grep_text *g)
{
	size_t keep = max_of(lines_back(g, g->at, g->context), g->at - min_of(g->at, g->size / 2));

	if (keep == 0)
		return;
	if (g->counted < keep)
		count_to(g, keep);
	memmove(g->buf, g->buf + keep, g->fill - keep);
	g->fill -= keep;
	g->at -= keep;
	g->counted -= keep;
}

static int grow(struct grep_text *g)
{
	size_t size = g->size ? 2 * g->size : GREP_BLOCK;
	uint8_t *buf = realloc(g->buf, size);

	if (!buf)
		return -ENOMEM;
	g->buf = buf;
	g->size = size;
	return 0;
}

/* Fills the buffer, unless the end comes first. */
static int fill(struct grep_text *g, int fd)
{
	while (!g->eof && g->fill < g->size) {
		ssize_t n = read(fd, g->buf + g->fill, g->size - g->fill);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		g->eof = n == 0;
		g->fill += (size_t)n;
	}
	return 0;
}

/* ---- looking ---- */

/* Up to where can be looked at now: whole lines, with as many behind them as the context asks for.
 * `at`: nowhere. */
static size_t ready_to(const struct grep_text *g)
{
	const uint8_t *newline;
	size_t end;

	if (g->eof)
		return g->fill;
	newline = memrchr(g->buf + g->at, '\n', g->fill - g->at);
	if (!newline)
		return g->at;
	end = (size_t)(newline + 1 - g->buf);
	return g->context ? max_of(lines_back(g, end, g->context), g->at) : end;
}

static int tell(struct grep_text *g, const struct regex_hit *hit)
{
	size_t next = min_of(hit->line_end + 1, g->fill);
	struct grep_hit h = {.text = g->buf + hit->line,
		.len = hit->line_end - hit->line,
		.from = hit->from - hit->line,
		.to = hit->to - hit->line,
		.col = hit->from - hit->line + 1,
		.after = g->buf + next};
	size_t before = lines_back(g, hit->line, g->context);

	if (g->col > 0 && hit->line == g->at)
		h.col += g->col;
	h.before = g->buf + before;
	h.before_len = hit->line - before;
	h.after_len = lines_on(g, next, g->context) - next;
	count_to(g, hit->line);
	h.line = g->line;
	if (h.line == g->told) /* by an earlier part of it */
		return 0;
	g->told = h.line;
	return g->hit(g->ctx, &h);
}

/* Up to `end`, which may be in the middle of a line. */
static void step_over(struct grep_text *g, size_t end)
{
	const uint8_t *newline = memrchr(g->buf + g->at, '\n', end - g->at);

	g->col = newline ? end - (size_t)(newline + 1 - g->buf) : g->col + end - g->at;
	g->at = end;
}

static int look(struct grep_text *g, size_t end, uint64_t *ret_line)
{
	const uint8_t *text = g->buf + g->at;
	size_t len = end - g->at, at = 0;
	struct regex_hit hit;

	while (at < len) {
		int r = regex_next(g->regex, text, len, at, &hit);

		if (r == 0)
			break;
		at = hit.line_end + 1;
		hit.line += g->at;
		hit.line_end += g->at;
		hit.from += g->at;
		hit.to += g->at;
		if (r == 1)
			r = tell(g, &hit);
		if (r == -E2BIG) {
			count_to(g, hit.line);
			*ret_line = g->line;
		}
		if (r != 0)
			return r;
	}
	step_over(g, end);
	return 0;
}

int grep_text_file(struct grep_text *g, int fd, uint64_t *ret_line)
{
	bool first = true;
	int r = 0;

	g->fill = g->at = g->counted = 0;
	g->line = 1;
	g->col = g->told = 0;
	g->eof = false;
	if (!g->buf)
		r = grow(g);
	while (r == 0) {
		size_t end;

		r = g->regex->cancelled(g->regex->ctx) ? -ECANCELED : fill(g, fd);
		if (r < 0 || (first && !g->binary && memchr(g->buf, 0, g->fill)))
			break;
		first = false;
		end = ready_to(g);
		if (end == g->at && !g->eof) {
			if (g->size < GREP_LINE_MAX) {
				r = grow(g);
				continue;
			}
			end = g->fill; /* a line too long, or too much around it */
		}
		r = look(g, end, ret_line);
		if (r != 0 || g->eof)
			break;
		make_room(g);
	}
	if (g->size > GREP_BLOCK)
		grep_text_fini(g);
	return r;
}
