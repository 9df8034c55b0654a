/*
 * A pattern becomes a small program of steps, and a path is run through all places it can be at in
 * the program at once: a set of steps, one bit each. So nothing is ever tried twice, there is no
 * backtracking to blow up, and braces need no expansion.
 */
#include "agentd/glob.h"

#include <ctype.h>

enum kind {
	BYTE,   /* this one */
	ANY,    /* one, not '/' */
	CLASS,  /* one of a set */
	STAR,   /* any number, not '/' */
	DIRS,   /* nothing, or anything that ends with '/' */
	INSIDE, /* the rest of DIRS, when something was taken */
	ALL,    /* any number of anything */
	FORK,   /* on with the next step and with `to` */
	JUMP,   /* on with `to` */
	END
};

struct glob_step {
	uint8_t kind, byte;
	uint16_t to; /* FORK, JUMP: a step; CLASS: an index */
};

#define DEPTH_MAX 32 /* of braces in braces */

struct compiler {
	struct glob *g;
	const char *p, *start, *end;
	unsigned flags;
	/* Open braces: their last FORK, and the chain of JUMPs that will go to the end. */
	struct {
		uint16_t fork, jumps;
		bool boundary; /* a component begins where it opened */
	} open[DEPTH_MAX];
	unsigned depth;
};

static uint16_t emit(struct compiler *c, enum kind kind, uint8_t byte, uint16_t to)
{
	c->g->steps[c->g->n] = (struct glob_step){(uint8_t)kind, byte, to};
	return (uint16_t)c->g->n++;
}

/* ---- classes ---- */

static const struct {
	const char *name;
	int (*is)(int c);
} names[] = {{"alnum", isalnum}, {"alpha", isalpha}, {"blank", isblank}, {"cntrl", iscntrl},
	{"digit", isdigit}, {"graph", isgraph}, {"lower", islower}, {"print", isprint},
	{"punct", ispunct}, {"space", isspace}, {"upper", isupper}, {"xdigit", isxdigit}};

static void set_add(uint8_t *set, unsigned from, unsigned to)
{
	for (unsigned b = from; b <= to; b++)
		set[b / 8] |= (uint8_t)(1 << b % 8);
}

/* At the ':' of "[:alpha:]". */
static int add_named(struct compiler *c, uint8_t *set)
{
	const char *close = memmem(c->p + 1, (size_t)(c->end - c->p - 1), ":]", 2);
	size_t len;

	if (!close)
		return -EINVAL;
	len = (size_t)(close - c->p - 1);
	for (size_t i = 0; i < array_size(names); i++) {
		if (strlen(names[i].name) != len || memcmp(names[i].name, c->p + 1, len) != 0)
			continue;
		for (int b = 0; b < 128; b++) {
			if (names[i].is(b))
				set_add(set, (unsigned)b, (unsigned)b);
		}
		c->p = close + 2;
		return 0;
	}
	return -EINVAL;
}

static int class_byte(struct compiler *c)
{
	if (c->p < c->end && *c->p == '\\')
		c->p++;
	return c->p < c->end ? (uint8_t)*c->p++ : -EINVAL;
}

static int add_range(struct compiler *c, uint8_t *set)
{
	int from = class_byte(c), to = from;

	if (from < 0)
		return from;
	if (c->end - c->p >= 2 && c->p[0] == '-' && c->p[1] != ']') {
		c->p++;
		to = class_byte(c);
		if (to < 0)
			return to;
	}
	if (from <= to)
		set_add(set, (unsigned)from, (unsigned)to);
	return 0;
}

/* Behind the '['. */
static int add_class(struct compiler *c)
{
	uint8_t *set = c->g->classes[c->g->n_classes];
	bool negated = false, first = true;
	int r;

	memset(set, 0, 32);
	if (c->p < c->end && (*c->p == '!' || *c->p == '^')) {
		negated = true;
		c->p++;
	}
	for (;; first = false) {
		if (c->p == c->end)
			return -EINVAL;
		if (*c->p == ']' && !first)
			break;
		if (*c->p == '[' && c->end - c->p > 1 && c->p[1] == ':') {
			c->p++;
			r = add_named(c, set);
		} else {
			r = add_range(c, set);
		}
		if (r < 0)
			return r;
	}
	c->p++;
	for (unsigned i = 0; i < 32 && negated; i++)
		set[i] = (uint8_t)~set[i];
	set['/' / 8] &= (uint8_t) ~(1 << '/' % 8);
	emit(c, CLASS, 0, (uint16_t)c->g->n_classes++);
	return 0;
}

/* ---- stars and braces ---- */

/* Does a component begin at p? */
static bool at_boundary(const struct compiler *c, const char *p)
{
	if (p == c->start || p[-1] == '/')
		return true;
	return c->depth > 0 && (p[-1] == '{' || p[-1] == ',') && c->open[c->depth - 1].boundary;
}

/* At the first of one or more stars. */
static void add_stars(struct compiler *c)
{
	const char *first = c->p;
	bool ends;

	while (c->p < c->end && *c->p == '*')
		c->p++;
	ends = c->p == c->end || (c->depth > 0 && (*c->p == '}' || *c->p == ','));
	if (c->p - first != 2 || !at_boundary(c, first) || !(ends || *c->p == '/')) {
		emit(c, STAR, 0, 0);
	} else if (ends) {
		/* Below a directory there is at least one byte. */
		if (first > c->start && first[-1] == '/')
			emit(c, ANY, 0, 0);
		emit(c, ALL, 0, 0);
	} else {
		c->p++;
		emit(c, DIRS, 0, 0);
		emit(c, INSIDE, 0, 0);
	}
}

static int open_brace(struct compiler *c)
{
	if (c->depth == DEPTH_MAX)
		return -EINVAL;
	c->open[c->depth].boundary = at_boundary(c, c->p - 1);
	c->open[c->depth].fork = emit(c, FORK, 0, 0);
	c->open[c->depth].jumps = UINT16_MAX;
	c->depth++;
	return 0;
}

/* ',': this alternative is over, another follows. */
static void next_alternative(struct compiler *c)
{
	uint16_t jump = emit(c, JUMP, 0, c->open[c->depth - 1].jumps);

	c->open[c->depth - 1].jumps = jump;
	c->g->steps[c->open[c->depth - 1].fork].to = (uint16_t)c->g->n;
	c->open[c->depth - 1].fork = emit(c, FORK, 0, 0);
}

static void close_brace(struct compiler *c)
{
	struct glob_step *steps = c->g->steps;
	uint16_t jump, next;

	c->depth--;
	steps[c->open[c->depth].fork].kind = JUMP; /* the last one has no other way */
	steps[c->open[c->depth].fork].to = (uint16_t)(c->open[c->depth].fork + 1);
	for (jump = c->open[c->depth].jumps; jump != UINT16_MAX; jump = next) {
		next = steps[jump].to;
		steps[jump].to = (uint16_t)c->g->n;
	}
}

static int compile_one(struct compiler *c)
{
	bool braces = !(c->flags & GLOB_NO_BRACES);
	char b = *c->p;

	if (b == '*') {
		add_stars(c);
		return 0;
	}
	c->p++;
	if (b == '[')
		return add_class(c);
	if (b == '{' && braces)
		return open_brace(c);
	if (b == ',' && c->depth > 0)
		next_alternative(c);
	else if (b == '}' && c->depth > 0)
		close_brace(c);
	else if (b == '?')
		emit(c, ANY, 0, 0);
	else if (b == '\\' && c->p == c->end)
		return -EINVAL;
	else
		emit(c, BYTE, (uint8_t)(b == '\\' ? *c->p++ : b), 0);
	return 0;
}

int glob_compile(struct glob *g, const char *pattern, size_t len, unsigned flags)
{
	struct compiler c = {.g = g, .p = pattern, .start = pattern, .end = pattern + len};
	size_t n_classes = 1;
	int r = 0;

	*g = (struct glob){0};
	c.flags = flags;
	if (len > GLOB_LEN_MAX)
		return -EINVAL;
	for (size_t i = 0; i < len; i++)
		n_classes += pattern[i] == '[';
	g->steps = malloc((2 * len + 2) * sizeof(*g->steps));
	g->classes = malloc(n_classes * sizeof(*g->classes));
	if (!g->steps || !g->classes)
		r = -ENOMEM;
	while (r == 0 && c.p < c.end)
		r = compile_one(&c);
	if (r == 0 && c.depth > 0)
		r = -EINVAL;
	if (r == 0) {
		emit(&c, END, 0, 0);
		g->words = (g->n + 63) / 64;
		g->sets = malloc(2 * g->words * sizeof(*g->sets));
		g->todo = malloc((2 * g->n + 2) * sizeof(*g->todo));
		r = g->sets && g->todo ? 0 : -ENOMEM;
	}
	if (r < 0)
		glob_fini(g);
	return r;
}

void glob_fini(struct glob *g)
{
	free(g->steps);
	free(g->classes);
	free(g->sets);
	free(g->todo);
	*g = (struct glob){0};
}

/* ---- matching ---- */

/* With every step that is reached from it without a byte; each is looked at once. */
static void set_reach(const struct glob *g, uint64_t *set, size_t from)
{
	uint16_t *todo = g->todo;
	size_t n = 0;

	todo[n++] = (uint16_t)from;
	while (n > 0) {
		size_t i = todo[--n];
		const struct glob_step *s = &g->steps[i];

		if (set[i / 64] >> i % 64 & 1)
			continue;
		set[i / 64] |= 1ULL << i % 64;
		switch ((enum kind)s->kind) {
		case FORK:
			todo[n++] = s->to;
			todo[n++] = (uint16_t)(i + 1);
			break;
		case STAR:
		case ALL: todo[n++] = (uint16_t)(i + 1); break;
		case JUMP: todo[n++] = s->to; break;
		case DIRS: todo[n++] = (uint16_t)(i + 2); break;
		default: break;
		}
	}
}

static void step(const struct glob *g, uint64_t *to, size_t i, uint8_t b)
{
	const struct glob_step *s = &g->steps[i];

	switch ((enum kind)s->kind) {
	case BYTE:
		if (b == s->byte)
			set_reach(g, to, i + 1);
		break;
	case ANY:
		if (b != '/')
			set_reach(g, to, i + 1);
		break;
	case CLASS:
		if (g->classes[s->to][b / 8] >> b % 8 & 1)
			set_reach(g, to, i + 1);
		break;
	case STAR:
		if (b != '/')
			set_reach(g, to, i);
		break;
	case ALL: set_reach(g, to, i); break;
	case DIRS:
		set_reach(g, to, i + 1);
		if (b == '/')
			set_reach(g, to, i + 2);
		break;
	case INSIDE:
		set_reach(g, to, i);
		if (b == '/')
			set_reach(g, to, i + 1);
		break;
	case FORK:
	case JUMP:
	case END: break;
	}
}

/* The set after all of the path, or NULL when none is left before. */
static uint64_t *run(struct glob *g, const char *path, size_t len)
{
	uint64_t *now = g->sets, *next = g->sets + g->words;

	memset(now, 0, g->words * sizeof(*now));
	set_reach(g, now, 0);
	for (size_t at = 0; at < len; at++) {
		uint64_t any = 0, *swap;

		memset(next, 0, g->words * sizeof(*next));
		for (size_t w = 0; w < g->words; w++) {
			for (uint64_t bits = now[w]; bits; bits &= bits - 1)
				step(g, next, w * 64 + (size_t)__builtin_ctzll(bits),
					(uint8_t)path[at]);
		}
		for (size_t w = 0; w < g->words; w++)
			any |= next[w];
		if (!any)
			return NULL;
		swap = now;
		now = next;
		next = swap;
	}
	return now;
}

bool glob_match(struct glob *g, const char *path, size_t len)
{
	const uint64_t *set = run(g, path, len);

	return set && set[(g->n - 1) / 64] >> (g->n - 1) % 64 & 1;
}

bool glob_below(struct glob *g, const char *path, size_t len)
{
	uint64_t *set = run(g, path, len), any = 0;

	if (!set || len == 0)
		return set;
	/* What could take the '/' that follows? */
	for (size_t w = 0; w < g->words; w++) {
		for (uint64_t bits = set[w]; bits && !any; bits &= bits - 1) {
			const struct glob_step *s =
				&g->steps[w * 64 + (size_t)__builtin_ctzll(bits)];

			any |= (s->kind == BYTE && s->byte == '/') || s->kind == ALL ||
			       s->kind == DIRS || s->kind == INSIDE;
		}
	}
	return any;
}
