/*
 * The sandbox's variables lie in one extent, named by the arena's head: a count, and the strings in
 * order. A change writes another extent and then the name of it, in one store; so a crash leaves
 * the old or the new. Merging sorts pointers and keeps the last of each name.
 */
#include "agentd/environ.h"

#include <fcntl.h>
#include <stdio.h>

#define LOOK_MS      1000
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* ---- the file ---- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}

static bool is_name(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       c == '_';
}

/* The value between `at` and `end`, its quotes and comment taken off. */
static const char *value_of(const char *at, const char *end, size_t *ret_len)
{
	const char *start = at;

	if (at < end && (*at == '"' || *at == '\'')) {
		const char *close = memchr(at + 1, *at, (size_t)(end - at - 1));
		const char *rest = close ? close + 1 : end;

		while (rest < end && is_blank(*rest))
			rest++;
		if (close && (rest == end || *rest == '#')) {
			*ret_len = (size_t)(close - at - 1);
			return at + 1;
		}
	}
	for (; at < end; at++) {
		if (*at == '#' && (at == start || is_blank(at[-1])))
			end = at;
	}
	while (end > start && is_blank(end[-1]))
		end--;
	*ret_len = (size_t)(end - start);
	return start;
}

/* One line; true: a variable was written to *out. */
static bool parse_line(const char *at, const char *end, char **out)
{
	const char *name, *value;
	size_t name_len, len;

	while (at < end && is_blank(*at))
		at++;
	if (end - at > 7 && memcmp(at, "export", 6) == 0 && is_blank(at[6])) {
		at += 7;
		while (at < end && is_blank(*at))
			at++;
	}
	for (name = at; at < end && is_name(*at); at++)
		;
	name_len = (size_t)(at - name);
	if (name_len == 0 || at == end || *at != '=' || memchr(at, 0, (size_t)(end - at)))
		return false;
	value = value_of(at + 1, end, &len);
	memcpy(*out, name, name_len);
	(*out)[name_len] = '=';
	memcpy(*out + name_len + 1, value, len);
	(*out)[name_len + 1 + len] = '\0';
	*out += name_len + len + 2;
	return true;
}

size_t environ_parse(const char *text, size_t len, char *out)
{
	const char *end = text + len;
	size_t n = 0;

	while (text < end) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));
		const char *line_end = newline ? newline : end;

		n += parse_line(text, line_end, &out);
		text = line_end + 1;
	}
	return n;
}

/* The file's variables in a block of their own. None when it cannot be read: nobody waits for an
 * error here. */
static char *read_file(const char *path, size_t *ret_n)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	auto_free char *text = NULL;
	char *out;
	struct stat st;
	size_t len = 0;
	ssize_t n;

	*ret_n = 0;
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return NULL;
	text = malloc(ENVIRON_FILE_MAX);
	if (!text)
		return NULL;
	while (len < ENVIRON_FILE_MAX && (n = read(fd, text + len, ENVIRON_FILE_MAX - len)) > 0)
		len += (size_t)n;
	if (len == ENVIRON_FILE_MAX) {
		while (len > 0 && text[len - 1] != '\n')
			len--;
	}
	out = malloc(len + 1);
	if (out)
		*ret_n = environ_parse(text, len, out);
	return out;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* What was merged is no longer right. */
static void forget_merged(struct environ *e)
{
	free(take_ptr(&e->merged.vars));
	free(take_ptr(&e->own_text));
	free(take_ptr(&e->whose));
	e->merged.n = 0;
}

static void look_at_file(struct environ *e)
{
	uint64_t now = now_ms();
	struct stat st;

	if (e->looked_at && now - e->looked_at < LOOK_MS)
		return;
	e->looked_at = now;
	if (stat(e->file, &st) < 0)
		st = (struct stat){0};
	if (same_file(&st, &e->seen))
		return;
	e->seen = st;
	forget_merged(e);
	free(e->file_text);
	e->file_text = read_file(e->file, &e->file_n);
}

/* ---- lists ---- */

/* By name, which ends at '=' or NUL. */
static int compare_names(const char *a, const char *b)
{
	while (*a == *b && *a != '=' && *a) {
		a++;
		b++;
	}
	return (*a == '=' ? 0 : (unsigned char)*a) - (*b == '=' ? 0 : (unsigned char)*b);
}

struct source {
	char *var;
	size_t order;
};

static int compare_sources(const void *a, const void *b)
{
	const struct source *x = a, *y = b;
	int c = compare_names(x->var, y->var);

	return c ? c : (x->order > y->order) - (x->order < y->order);
}

ssize_t environ_find(const struct environ_list *l, const char *name, size_t n)
{
	size_t from = 0, to = l->n;

	while (from < to) {
		size_t mid = from + (to - from) / 2;
		size_t len = strcspn(l->vars[mid], "=");
		int c = memcmp(name, l->vars[mid], min_of(n, len));

		if (c == 0)
			c = (n > len) - (n < len);
		if (c == 0)
			return (ssize_t)mid;
		if (c < 0)
			to = mid;
		else
			from = mid + 1;
	}
	return -1;
}

static void add_block(struct source *s, size_t *n, char *text, size_t count)
{
	for (; count > 0; count--) {
		s[*n] = (struct source){text, *n};
		(*n)++;
		text += strlen(text) + 1;
	}
}

/* Sorted, each name once, its last. */
static void settle(struct source *s, size_t n, struct environ_list *ret)
{
	qsort(s, n, sizeof(*s), compare_sources);
	ret->n = 0;
	for (size_t i = 0; i < n; i++) {
		if (i + 1 == n || compare_names(s[i].var, s[i + 1].var) != 0)
			ret->vars[ret->n++] = s[i].var;
	}
}

/* ---- the sandbox's ---- */

struct block {
	uint32_t n, len; /* variables, bytes of them */
	char text[];
};

static struct block *sandbox(const struct environ *e)
{
	return e->arena->head->env ? arena_at(e->arena, e->arena->head->env) : NULL;
}

/* What a former agent, or nobody, wrote there. */
static bool block_valid(const struct block *b)
{
	const char *last = NULL;
	size_t at = 0;

	if (b->len > ENVIRON_MAX)
		return false;
	for (uint32_t i = 0; i < b->n; i++) {
		size_t len = at < b->len ? strnlen(b->text + at, b->len - at) : 0;

		if (len == 0 || at + len == b->len || b->text[at] == '=' ||
			!memchr(b->text + at, '=', len) ||
			(last && compare_names(last, b->text + at) >= 0))
			return false;
		last = b->text + at;
		at += len + 1;
	}
	return at == b->len;
}

/* Values may be secrets, and an extent's first page stays where it is. */
static void free_block(struct arena *a, uint64_t off)
{
	struct block *b = arena_at(a, off);
	size_t size = sizeof(*b) + b->len;

	memset(b, 0, size);
	arena_free_extent(a, off, ENVIRON_EXTENT, size);
}

int environ_init(struct environ *e, struct arena *a, const char *file)
{
	uint64_t off = a->head->env;
	int r;

	*e = (struct environ){.arena = a, .file = file};
	if (off == 0)
		return 0;
	r = arena_claim_extent(a, off, ENVIRON_EXTENT);
	if (r == 0 && !block_valid(sandbox(e)))
		r = -EINVAL;
	if (r < 0)
		a->head->env = 0;
	return r;
}

void environ_fini(struct environ *e)
{
	forget_merged(e);
	free(take_ptr(&e->file_text));
}

/* The variables of a request as strings: a removed one is a name without '='. */
static char *write_request(const struct msg_env *set, size_t n)
{
	size_t size = 1;
	char *text, *at;

	for (size_t i = 0; i < n; i++)
		size += strlen(set[i].name) + (set[i].value ? strlen(set[i].value) : 0) + 2;
	text = at = malloc(size);
	for (size_t i = 0; text && i < n; i++)
		at += sprintf(at, "%s%s%s", set[i].name, set[i].value ? "=" : "",
			      set[i].value ? set[i].value : "") +
		      1;
	return text;
}

static size_t drop_removed(struct environ_list *l, size_t *ret_len)
{
	size_t n = 0;

	*ret_len = 0;
	for (size_t i = 0; i < l->n; i++) {
		if (!strchr(l->vars[i], '='))
			continue;
		*ret_len += strlen(l->vars[i]) + 1;
		l->vars[n++] = l->vars[i];
	}
	return n;
}

/* Writes the list to a new extent and makes it the sandbox's. */
static int publish(struct environ *e, const struct environ_list *l, size_t len)
{
	struct arena *a = e->arena;
	uint64_t old = a->head->env, off = 0;

	if (l->n > 0) {
		struct block *b;
		char *at;

		off = arena_alloc_extent(a, ENVIRON_EXTENT);
		if (off == 0)
			return -ENOMEM;
		b = arena_at(a, off);
		b->n = (uint32_t)l->n;
		b->len = (uint32_t)len;
		at = b->text;
		for (size_t i = 0; i < l->n; i++)
			at = stpcpy(at, l->vars[i]) + 1;
	}
	__atomic_store_n(&a->head->env, off, __ATOMIC_RELEASE);
	if (old)
		free_block(a, old);
	return 0;
}

/* What there was and what is asked for, in the room given. */
static int change(struct environ *e, const struct block *old, char *text, size_t n,
	struct source *s, char **vars, struct error *error)
{
	struct environ_list all = {.vars = vars};
	size_t total = 0, len;
	int r;

	if (old)
		add_block(s, &total, (char *)old->text, old->n);
	add_block(s, &total, text, n);
	settle(s, total, &all);
	all.n = drop_removed(&all, &len);
	if (len > ENVIRON_MAX)
		return error_set(error, E_TOO_LARGE, E2BIG,
			"the sandbox's variables would be %zu bytes, over %llu", len, ENVIRON_MAX);
	r = publish(e, &all, len);
	if (r < 0)
		return error_set(error, E_FAILED, -r, "no room in the arena");
	forget_merged(e);
	return 0;
}

int environ_set(
	struct environ *e, bool clear, const struct msg_env *set, size_t n, struct error *error)
{
	const struct block *old = clear ? NULL : sandbox(e);
	size_t most = (old ? old->n : 0) + n + 1;
	char *text = write_request(set, n), **vars = malloc(most * sizeof(*vars));
	struct source *s = malloc(most * sizeof(*s));
	int r;

	if (text && s && vars)
		r = change(e, old, text, n, s, vars, error);
	else
		r = error_set(error, E_FAILED, ENOMEM, "out of memory");
	free(s);
	free(vars);
	free(text);
	return r;
}

/* Room for what comes behind the names. */
#define TAIL 64

void environ_put(const struct environ *e, struct jsonw *w)
{
	const struct block *b = sandbox(e);
	const char *at = b ? b->text : NULL;
	bool cut = false;

	w->size -= TAIL;
	jsonw_open(w, "env", '[');
	for (uint32_t i = 0; b && i < b->n && !cut; i++) {
		struct jsonw mark = jsonw_mark(w);

		jsonw_bytes(w, NULL, at, strcspn(at, "="));
		cut = w->overflow;
		if (cut)
			jsonw_rewind(w, mark);
		at += strlen(at) + 1;
	}
	w->size += TAIL;
	jsonw_close(w, ']');
	jsonw_u64(w, "bytes", b ? b->len : 0);
	if (cut)
		jsonw_bool(w, "cut", true);
}

/* ---- all of it ---- */

/* The base, as one block. */
static char *write_base(const struct user *u, size_t *ret_n)
{
	const struct {
		const char *name, *value;
	} base[] = {
		{"PATH", DEFAULT_PATH},
		{"HOME", u->home},
		{"USER", u->name},
		{"LOGNAME", u->name},
		{"SHELL", u->shell},
		{"LANG", "C.UTF-8"},
	};
	size_t size = 1;
	char *text, *at;

	for (size_t i = 0; i < array_size(base); i++)
		size += strlen(base[i].name) + strlen(base[i].value) + 2;
	text = at = malloc(size);
	*ret_n = 0;
	for (size_t i = 0; text && i < array_size(base); i++) {
		if (!base[i].value[0])
			continue;
		at += sprintf(at, "%s=%s", base[i].name, base[i].value) + 1;
		(*ret_n)++;
	}
	return text;
}

/* "name\0home\0shell\0" */
static bool is_for(const struct environ *e, const struct user *u)
{
	const char *home = e->whose + strlen(e->whose) + 1;

	return strcmp(e->whose, u->name) == 0 && strcmp(home, u->home) == 0 &&
	       strcmp(home + strlen(home) + 1, u->shell) == 0;
}

static char *write_whose(const struct user *u)
{
	char *text = malloc(strlen(u->name) + strlen(u->home) + strlen(u->shell) + 3);

	if (text)
		stpcpy(stpcpy(stpcpy(text, u->name) + 1, u->home) + 1, u->shell);
	return text;
}

static int merge(struct environ *e, const struct user *u)
{
	const struct block *b = sandbox(e);
	struct source *s;
	size_t n_base, n, total = 0;

	e->own_text = write_base(u, &n_base);
	e->whose = write_whose(u);
	n = n_base + e->file_n + (b ? b->n : 0);
	s = malloc((n + 1) * sizeof(*s));
	e->merged.vars = malloc((n + 1) * sizeof(char *));
	if (!e->own_text || !e->whose || !s || !e->merged.vars) {
		free(s);
		forget_merged(e);
		return -ENOMEM;
	}
	add_block(s, &total, e->own_text, n_base);
	add_block(s, &total, e->file_text, e->file_n);
	if (b)
		add_block(s, &total, (char *)b->text, b->n);
	settle(s, total, &e->merged);
	free(s);
	return 0;
}

const struct environ_list *environ_base(struct environ *e, const struct user *u)
{
	look_at_file(e);
	if (e->whose && is_for(e, u))
		return &e->merged;
	forget_merged(e);
	return merge(e, u) == 0 ? &e->merged : NULL;
}
