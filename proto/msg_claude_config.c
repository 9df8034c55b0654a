/*
 * What `configure` sets. The members are a table: reading, comparing and replacing them is the same
 * for all.
 */
#include "proto/msg_claude.h"

static int fail(struct error *e, const char *name, const char *what)
{
	return error_set(e, E_BAD_MESSAGE, 0, "\"%.64s\" must be %s", name, what);
}

#define DEFAULT_MAX_TURNS 50
#define DEFAULT_STALL_MS  600000
#define STALL_MAX_MS      (366ULL * 24 * 3600 * 1000)

enum kind { KIND_STRING, KIND_LIST, KIND_OBJECT, KIND_ARGS, KIND_NUMBER, KIND_BOOL };

static const struct member {
	const char *name;
	enum kind kind;
	size_t offset;
	unsigned change;
	uint64_t min, max; /* of a number; max of a string's length, 0: MSG_CLAUDE_STRING_MAX */
} members[] = {
#define FIELD(f) offsetof(struct msg_claude_config, f)
	{"model", KIND_STRING, FIELD(model), CLAUDE_CHANGED_MODEL, 0, 0},
	{"permissionMode", KIND_STRING, FIELD(permission_mode), CLAUDE_CHANGED_MODE, 0, 0},
	{"allowedTools", KIND_LIST, FIELD(allowed), CLAUDE_CHANGED_REST, 0, 0},
	{"disallowedTools", KIND_LIST, FIELD(disallowed), CLAUDE_CHANGED_REST, 0, 0},
	{"systemPrompt", KIND_STRING, FIELD(system_prompt), CLAUDE_CHANGED_REST, 0, 0},
	{"appendSystemPrompt", KIND_STRING, FIELD(append_prompt), CLAUDE_CHANGED_REST, 0, 0},
	{"maxTurns", KIND_NUMBER, FIELD(max_turns), CLAUDE_CHANGED_REST, 1, 1000000},
	{"cwd", KIND_STRING, FIELD(cwd), CLAUDE_CHANGED_REST, 0, 0},
	{"mcpServers", KIND_OBJECT, FIELD(mcp_servers), CLAUDE_CHANGED_REST, 0, 0},
	{"resume", KIND_STRING, FIELD(resume), 0, 0, MSG_CLAUDE_SESSION_MAX},
	{"includePartialMessages", KIND_BOOL, FIELD(partial), CLAUDE_CHANGED_REST, 0, 0},
	{"args", KIND_ARGS, FIELD(args), CLAUDE_CHANGED_REST, 0, 0},
	{"stallMs", KIND_NUMBER, FIELD(stall_ms), 0, 0, STALL_MAX_MS},
	{"stallKill", KIND_BOOL, FIELD(stall_kill), 0, 0, 0},
#undef FIELD
};

static void *field(struct msg_claude_config *c, const struct member *m)
{
	return (char *)c + m->offset;
}

static bool owns_text(const struct member *m)
{
	return m->kind != KIND_NUMBER && m->kind != KIND_BOOL;
}

void msg_claude_config_init(struct msg_claude_config *c)
{
	*c = (struct msg_claude_config){
		.max_turns = DEFAULT_MAX_TURNS, .stall_ms = DEFAULT_STALL_MS};
}

void msg_claude_config_fini(struct msg_claude_config *c)
{
	for (size_t i = 0; i < array_size(members); i++) {
		if (owns_text(&members[i]))
			free(take_ptr((char **)field(c, &members[i])));
	}
}

static int read_string(struct jsonr v, size_t max, char **ret)
{
	int r = jsonr_is(v, '"') && v.len > 2 ? jsonr_str(v, ret) : -EINVAL;

	if (r == 0 && strlen(*ret) > (max ? max : MSG_CLAUDE_STRING_MAX)) {
		free(take_ptr(ret));
		r = -E2BIG;
	}
	return r;
}

/* Of strings only; how many, or -EINVAL. */
static int count_strings(struct jsonr v)
{
	struct jsonr_walk w;
	struct jsonr one;
	int n = 0;

	if (!jsonr_is(v, '[') || !jsonr_begin(&w, v))
		return -EINVAL;
	while (jsonr_next(&w, NULL, &one)) {
		if (!jsonr_is(one, '"'))
			return -EINVAL;
		n++;
	}
	return n;
}

static int read_list(struct jsonr v, char **ret)
{
	int n = count_strings(v), r = 0;
	struct jsonr_walk w;
	struct jsonr one;
	char *text, *part;
	size_t len = 0;

	if (n <= 0)
		return n; /* none of them is the default */
	if (v.len > MSG_CLAUDE_STRING_MAX)
		return -E2BIG;
	text = malloc(v.len + 1);
	if (!text)
		return -ENOMEM;
	jsonr_begin(&w, v);
	while (r == 0 && jsonr_next(&w, NULL, &one)) {
		r = read_string(one, 0, &part);
		if (r == 0) {
			if (len > 0)
				text[len++] = ',';
			len = (size_t)(stpcpy(text + len, part) - text);
			free(part);
		}
	}
	if (r < 0)
		free(text);
	else
		*ret = text;
	return r;
}

static int copy_text(struct jsonr v, char **ret)
{
	if (v.len > MSG_CLAUDE_STRING_MAX)
		return -E2BIG;
	*ret = malloc(v.len + 1);
	if (!*ret)
		return -ENOMEM;
	memcpy(*ret, v.p, v.len);
	(*ret)[v.len] = '\0';
	return 0;
}

static int read_args(struct jsonr v, char **ret)
{
	int n = count_strings(v);
	struct jsonr_walk w;
	struct jsonr one;
	char *decoded;

	if (n <= 0)
		return n;
	if (n > MSG_CLAUDE_ARGS_MAX)
		return -E2BIG;
	jsonr_begin(&w, v);
	while (jsonr_next(&w, NULL, &one)) { /* can each be an argument? */
		int r = jsonr_str(one, &decoded);

		if (r < 0)
			return r;
		free(decoded);
	}
	return copy_text(v, ret);
}

static const char *const musts[] = {
	[KIND_STRING] = "a string that is not empty, or null",
	[KIND_LIST] = "an array of strings, or null",
	[KIND_OBJECT] = "an object, or null",
	[KIND_ARGS] = "an array of strings, or null",
	[KIND_NUMBER] = "a whole number in its range, or null",
	[KIND_BOOL] = "true, false or null",
};

/* Into a field that is at its default. */
static int read_member(const struct member *m, struct jsonr v, void *ret, struct error *e)
{
	uint64_t n;
	int r = 0;

	if (jsonr_is(v, 'n'))
		return 0;
	switch (m->kind) {
	case KIND_STRING: r = read_string(v, m->max, ret); break;
	case KIND_LIST: r = read_list(v, ret); break;
	case KIND_OBJECT: r = jsonr_is(v, '{') ? copy_text(v, ret) : -EINVAL; break;
	case KIND_ARGS: r = read_args(v, ret); break;
	case KIND_NUMBER:
		r = jsonr_u64(v, m->max, &n);
		if (r == 0 && n < m->min)
			r = -EINVAL;
		if (r == 0)
			*(uint64_t *)ret = n;
		break;
	case KIND_BOOL:
		r = jsonr_is(v, 't') || jsonr_is(v, 'f') ? 0 : -EINVAL;
		*(bool *)ret = jsonr_is(v, 't');
		break;
	}
	if (r == -ENOMEM)
		return error_set(e, E_FAILED, ENOMEM, "out of memory");
	return r == -E2BIG ? fail(e, m->name, "shorter")
	       : r < 0     ? fail(e, m->name, musts[m->kind])
			   : 0;
}

static bool same(const struct member *m, void *a, void *b)
{
	const char *x, *y;

	if (m->kind == KIND_NUMBER)
		return *(uint64_t *)a == *(uint64_t *)b;
	if (m->kind == KIND_BOOL)
		return *(bool *)a == *(bool *)b;
	x = *(char **)a;
	y = *(char **)b;
	return x && y ? strcmp(x, y) == 0 : x == y;
}

static void swap(const struct member *m, void *a, void *b)
{
	size_t size = m->kind == KIND_NUMBER ? sizeof(uint64_t)
		      : m->kind == KIND_BOOL ? sizeof(bool)
					     : sizeof(char *);
	uint8_t tmp[sizeof(uint64_t)];

	memcpy(tmp, a, size);
	memcpy(a, b, size);
	memcpy(b, tmp, size);
}

int msg_claude_configure(
	struct msg_claude_config *c, struct jsonr object, unsigned *ret_changed, struct error *e)
{
	struct msg_claude_config fresh;
	bool given[array_size(members)];
	struct jsonr v;
	int r = 0;

	msg_claude_config_init(&fresh);
	for (size_t i = 0; r == 0 && i < array_size(members); i++) {
		given[i] = jsonr_member(object, members[i].name, &v);
		if (given[i])
			r = read_member(&members[i], v, field(&fresh, &members[i]), e);
	}
	*ret_changed = 0;
	for (size_t i = 0; r == 0 && i < array_size(members); i++) {
		void *now = field(c, &members[i]), *then = field(&fresh, &members[i]);

		if (!given[i] || same(&members[i], now, then))
			continue;
		swap(&members[i], now, then);
		*ret_changed |= members[i].change;
	}
	msg_claude_config_fini(&fresh);
	return r;
}

int msg_claude_args(const struct msg_claude_config *c, char *argv[MSG_CLAUDE_ARGS_MAX])
{
	struct jsonr_walk w;
	struct jsonr v;
	int n = 0;

	if (!c->args || !jsonr_begin(&w, (struct jsonr){c->args, strlen(c->args)}))
		return 0;
	while (jsonr_next(&w, NULL, &v)) {
		ASSERT(n < MSG_CLAUDE_ARGS_MAX);
		if (jsonr_str(v, &argv[n]) < 0) {
			while (n > 0)
				free(argv[--n]);
			return -ENOMEM;
		}
		n++;
	}
	return n;
}
