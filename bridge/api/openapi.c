#include "bridge/api/openapi.h"

#include "base/embed.h"
#include "bridge/api/text.h"
#include "proto/jsonr.h"

#define HEAD_FILE "head.json"
#define PATHS_MAX 512

extern const struct embedded embedded_openapi[];

/* They are ours, and the build's tests read them: what is wrong in them is our mistake. */
static struct jsonr parse(const struct embedded *e)
{
	struct jsonr v = {0};

	ASSERT(jsonr_parse(e->data, e->len, &v) == 0);
	return v;
}

static void put_member(struct text *t, struct jsonr name, struct jsonr value)
{
	char quoted[256];

	ASSERT(name.len < sizeof(quoted));
	memcpy(quoted, name.p, name.len);
	quoted[name.len] = '\0';
	text_raw(t, quoted, value.p, value.len);
}

/* A path as one file has it; several may have methods of it. */
struct path {
	struct jsonr name, methods;
};

static size_t collect(struct path paths[PATHS_MAX])
{
	size_t n = 0;

	for (const struct embedded *e = embedded_openapi; e->name; e++) {
		struct jsonr all;
		struct jsonr_walk w;

		if (!jsonr_member(parse(e), "paths", &all) || !jsonr_begin(&w, all))
			continue;
		while (jsonr_next(&w, &paths[n].name, &paths[n].methods))
			ASSERT(++n < PATHS_MAX);
	}
	return n;
}

static bool is_same(const struct path *a, const struct path *b)
{
	return a->name.len == b->name.len && memcmp(a->name.p, b->name.p, a->name.len) == 0;
}

/* The methods that all files have of it, where it comes first. */
static void put_path(struct text *t, struct path *paths, size_t n, size_t at)
{
	struct jsonr method, v;
	struct jsonr_walk w;
	char name[256];

	for (size_t i = 0; i < at; i++)
		if (is_same(&paths[i], &paths[at]))
			return;
	ASSERT(paths[at].name.len < sizeof(name));
	memcpy(name, paths[at].name.p, paths[at].name.len);
	name[paths[at].name.len] = '\0';
	text_open(t, name, '{');
	for (size_t i = at; i < n; i++) {
		if (!is_same(&paths[i], &paths[at]) || !jsonr_begin(&w, paths[i].methods))
			continue;
		while (jsonr_next(&w, &method, &v))
			put_member(t, method, v);
	}
	text_close(t, '}');
}

static void put_paths(struct text *t)
{
	struct path *paths = xcalloc(PATHS_MAX, sizeof(*paths));
	size_t n = collect(paths);

	text_open(t, "paths", '{');
	for (size_t i = 0; i < n; i++)
		put_path(t, paths, n, i);
	text_close(t, '}');
	free(paths);
}

static void put_components(struct text *t, struct jsonr head)
{
	struct jsonr part, name, v;
	struct jsonr_walk w;

	text_open(t, "components", '{');
	ASSERT(jsonr_member(head, "securitySchemes", &part));
	text_raw(t, "securitySchemes", part.p, part.len);
	text_open(t, "schemas", '{');
	for (const struct embedded *e = embedded_openapi; e->name; e++) {
		if (!jsonr_member(parse(e), "schemas", &part) || !jsonr_begin(&w, part))
			continue;
		while (jsonr_next(&w, &name, &v))
			put_member(t, name, v);
	}
	text_close(t, '}');
	text_close(t, '}');
}

static char *join(size_t *ret_len)
{
	static const char *const copied[] = {"openapi", "info", "servers", "security"};
	const struct embedded *file = embedded_openapi;
	struct jsonr head, v;
	struct text t;
	char *text;

	while (strcmp(file->name, HEAD_FILE) != 0)
		ASSERT((++file)->name);
	head = parse(file);
	text_init(&t);
	text_open(&t, NULL, '{');
	for (size_t i = 0; i < array_size(copied); i++) {
		ASSERT(jsonr_member(head, copied[i], &v));
		text_raw(&t, copied[i], v.p, v.len);
	}
	put_paths(&t);
	put_components(&t, head);
	text_close(&t, '}');
	text = text_take(&t, ret_len);
	text_fini(&t);
	return text;
}

/* Joining takes long enough to be felt by others: once is enough. */
const char *openapi_text(size_t *ret_len)
{
	static char *text;
	static size_t len;

	if (!text)
		text = join(&len);
	*ret_len = len;
	return text;
}
