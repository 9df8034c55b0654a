/*
 * Three ways, the first that the pattern allows: the needle alone; lines with the needle in them,
 * then the regular expression on each; the regular expression on all lines at once, or, when parts
 * of it could fit a newline, line by line.
 *
 * PCRE2 bounds the steps spent on one beginning of a match, not those of a whole text. So it is
 * asked for matches that begin within a slice, and slices are made so long that each takes a few
 * milliseconds; in between we can be cancelled.
 */
#include "agentd/regex.h"

#include <ctype.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "agentd/regex_look.h"

#define STEPS_MAX   1000000 /* for one place where a match may begin */
#define HEAP_KIB    (8 * 1024)
#define STACK_MAX   (512 * 1024)
#define SLICE_FIRST 256
#define SLICE_MIN   16
#define SLICE_MAX   (64 * 1024)
#define SLICE_NS    4000000

struct regex_parts {
	pcre2_code *code;
	pcre2_match_data *match;
	pcre2_match_context *context;
	pcre2_jit_stack *stack;
};

static void parts_free(struct regex_parts *p)
{
	if (!p)
		return;
	pcre2_match_data_free(p->match);
	pcre2_match_context_free(p->context);
	pcre2_jit_stack_free(p->stack);
	pcre2_code_free(p->code);
	free(p);
}

/* `bytes`: the pattern is not UTF-8. */
static pcre2_code *compile_as(const char *pattern, size_t len, unsigned flags, bool bytes,
	pcre2_compile_context *context, int *err, size_t *at)
{
	uint32_t options = PCRE2_USE_OFFSET_LIMIT | PCRE2_MULTILINE | PCRE2_ALT_CIRCUMFLEX |
			   PCRE2_NEVER_BACKSLASH_C;

	if (!bytes)
		options |= PCRE2_MATCH_INVALID_UTF | PCRE2_UTF | PCRE2_UCP;
	if (flags & REGEX_ICASE)
		options |= PCRE2_CASELESS;
	pcre2_set_newline(context, PCRE2_NEWLINE_LF);
	if (flags & REGEX_WORD)
		pcre2_set_compile_extra_options(context, PCRE2_EXTRA_MATCH_WORD);
	return pcre2_compile((PCRE2_SPTR)pattern, len, options, err, at, context);
}

static pcre2_code *compile(const char *pattern, size_t len, unsigned flags, struct error *e)
{
	pcre2_compile_context *context = pcre2_compile_context_create(NULL);
	int err = PCRE2_ERROR_HEAP_FAILED;
	pcre2_code *code = NULL;
	PCRE2_UCHAR why[120];
	size_t at = 0;

	if (context)
		code = compile_as(pattern, len, flags, false, context, &err, &at);
	if (!code && err <= PCRE2_ERROR_UTF8_ERR1 && err >= PCRE2_ERROR_UTF8_ERR21)
		code = compile_as(pattern, len, flags, true, context, &err, &at);
	pcre2_compile_context_free(context);
	if (code)
		return code;
	if (err == PCRE2_ERROR_HEAP_FAILED) {
		error_set(e, E_FAILED, ENOMEM, "out of memory");
		return NULL;
	}
	pcre2_get_error_message(err, why, sizeof(why));
	error_set(e, E_BAD_MESSAGE, 0, "pattern, at byte %zu: %s", at, (const char *)why);
	return NULL;
}

static int compile_parts(
	struct regex *r, const char *pattern, size_t len, unsigned flags, struct error *e)
{
	struct regex_parts *p = calloc(1, sizeof(*p));

	r->parts = p;
	if (!p)
		return error_set(e, E_FAILED, ENOMEM, "out of memory");
	p->code = compile(pattern, len, flags, e);
	if (!p->code)
		return -EINVAL;
	p->match = pcre2_match_data_create(1, NULL);
	p->context = pcre2_match_context_create(NULL);
	if (!p->match || !p->context)
		return error_set(e, E_FAILED, ENOMEM, "out of memory");
	pcre2_set_match_limit(p->context, STEPS_MAX);
	pcre2_set_heap_limit(p->context, HEAP_KIB);
	if (pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE) == 0) {
		p->stack = pcre2_jit_stack_create(32 * 1024, STACK_MAX, NULL);
		pcre2_jit_stack_assign(p->context, NULL, p->stack);
	}
	return 0;
}

static int init_needle(struct regex *r, const char *pattern, size_t len, unsigned flags)
{
	uint8_t *bytes = malloc(len + 1);
	struct regex_look look;
	int e = 0;

	if (!bytes)
		return -ENOMEM;
	regex_look(pattern, len, flags & REGEX_ICASE, bytes, &look);
	r->exact = look.exact && !(flags & REGEX_WORD);
	r->across = look.across;
	if (look.len > 0)
		e = needle_init(&r->needle, bytes + look.from, look.len, flags & REGEX_ICASE);
	free(bytes);
	return e;
}

/* A literal as a pattern. */
static char *quoted(const char *literal, size_t *len)
{
	char *out = malloc(2 * *len + 1);
	size_t n = 0;

	for (size_t i = 0; out && i < *len; i++) {
		if (!isalnum((unsigned char)literal[i]) && !(literal[i] & 0x80))
			out[n++] = '\\';
		out[n++] = literal[i];
	}
	*len = n;
	return out;
}

static int init_all(
	struct regex *r, const char *pattern, size_t len, unsigned flags, struct error *e)
{
	int err = compile_parts(r, pattern, len, flags, e);

	if (err == 0) {
		err = init_needle(r, pattern, len, flags);
		if (err < 0)
			error_set(e, E_FAILED, -err, "out of memory");
	}
	if (err < 0)
		regex_fini(r);
	return err;
}

int regex_init(struct regex *r, const char *pattern, size_t len, unsigned flags,
	bool (*cancelled)(void *ctx), void *ctx, struct error *e)
{
	char *as_pattern;
	int err;

	*r = (struct regex){.slice = SLICE_FIRST, .cancelled = cancelled, .ctx = ctx};
	if (memchr(pattern, '\n', len) || memchr(pattern, 0, len))
		return error_set(e, E_BAD_MESSAGE, 0, "pattern: a newline or NUL is in no line");
	if (!(flags & REGEX_LITERAL))
		return init_all(r, pattern, len, flags, e);
	as_pattern = quoted(pattern, &len);
	if (!as_pattern)
		return error_set(e, E_FAILED, ENOMEM, "out of memory");
	err = init_all(r, as_pattern, len, flags, e);
	free(as_pattern);
	return err;
}

void regex_fini(struct regex *r)
{
	needle_fini(&r->needle);
	parts_free(r->parts);
	r->parts = NULL;
}

/* ---- matching ---- */

static void pace(struct regex *r, uint64_t ns)
{
	if (ns > 2 * SLICE_NS)
		r->slice = max_of(r->slice / 4, (size_t)SLICE_MIN);
	else if (ns < SLICE_NS)
		r->slice = min_of(r->slice * 2, (size_t)SLICE_MAX);
}

/* The first match that begins at `at` or later: 1, 0, -ECANCELED, -E2BIG. */
static int match(struct regex *r, const uint8_t *text, size_t len, size_t at, struct regex_hit *hit)
{
	struct regex_parts *p = r->parts;

	for (;;) {
		size_t slice = r->slice, *found;
		uint64_t began = len - at > slice ? now_ns() : 0;
		int n;

		pcre2_set_offset_limit(p->context, min_of(at + slice, len));
		n = pcre2_match(p->code, text, len, at, 0, p->match, p->context);
		if (n >= 0) {
			found = pcre2_get_ovector_pointer(p->match);
			hit->from = min_of(found[0], found[1]); /* \K can turn them around */
			hit->to = max_of(found[0], found[1]);
			return 1;
		}
		if (n != PCRE2_ERROR_NOMATCH)
			return -E2BIG;
		at += slice + 1;
		while (at < len && (text[at] & 0xc0) == 0x80)
			at++; /* no character begins here */
		if (at > len)
			return 0;
		if (r->cancelled(r->ctx))
			return -ECANCELED;
		pace(r, now_ns() - began);
	}
}

static void line_around(const uint8_t *text, size_t len, size_t at, struct regex_hit *hit)
{
	const uint8_t *start = memrchr(text, '\n', at), *end = memchr(text + at, '\n', len - at);

	hit->line = start ? (size_t)(start + 1 - text) : 0;
	hit->line_end = end ? (size_t)(end - text) : len;
}

/* The expression on the line of *hit alone. */
static int match_line(struct regex *r, const uint8_t *text, struct regex_hit *hit)
{
	struct regex_hit in;
	int n = match(r, text + hit->line, hit->line_end - hit->line, 0, &in);

	if (n == 1) {
		hit->from = hit->line + in.from;
		hit->to = hit->line + in.to;
	}
	return n;
}

static int next_by_needle(
	struct regex *r, const uint8_t *text, size_t len, size_t at, struct regex_hit *hit)
{
	while (at < len) {
		const uint8_t *p = needle_find(&r->needle, text + at, len - at);
		int n;

		if (!p)
			return 0;
		line_around(text, len, (size_t)(p - text), hit);
		hit->from = (size_t)(p - text);
		hit->to = hit->from + r->needle.len;
		n = r->exact ? 1 : match_line(r, text, hit);
		if (n != 0)
			return n;
		at = hit->line_end + 1;
		if (r->cancelled(r->ctx))
			return -ECANCELED;
	}
	return 0;
}

static int next_line(
	struct regex *r, const uint8_t *text, size_t len, size_t at, struct regex_hit *hit)
{
	for (unsigned count = 1; at < len; count++) {
		int n;

		line_around(text, len, at, hit);
		hit->line = at;
		n = match_line(r, text, hit);
		if (n != 0)
			return n;
		at = hit->line_end + 1;
		if (count % 1024 == 0 && r->cancelled(r->ctx))
			return -ECANCELED;
	}
	return 0;
}

int regex_next(struct regex *r, const uint8_t *text, size_t len, size_t at, struct regex_hit *hit)
{
	size_t all = len > 0 && text[len - 1] == '\n' ? len - 1 : len;
	int n;

	*hit = (struct regex_hit){.line = at, .line_end = at};
	if (at >= len)
		return 0;
	if (r->needle.len > 0)
		return next_by_needle(r, text, all, at, hit);
	if (!r->across)
		return next_line(r, text, len, at, hit);
	n = match(r, text, all, at, hit);
	if (n == -E2BIG) /* which line it is */
		return next_line(r, text, len, at, hit);
	if (n == 1)
		line_around(text, all, hit->from, hit);
	return n;
}
