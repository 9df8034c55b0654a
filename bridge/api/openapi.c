#include "bridge/api/openapi.h"

#include "base/embed.h"
#include "bridge/api/text.h"
#include "proto/jsonr.h"

#define HEAD_FILE "head.json"

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

/* Did a file before this one have that path? Then it stands there, with what this one has of it. */
static bool is_earlier(const struct embedded *file, const char *path)
{
	for (const struct embedded *e = embedded_openapi; e != file; e++) {
		struct jsonr paths, v;

		if (jsonr_member(parse(e), "paths", &paths) && jsonr_member(paths, path, &v))
			return true;
	}
	return false;
}

/* One path with the methods that all files have of it. */
static void put_path(struct text *t, const struct embedded *file, struct jsonr name)
{
	char path[256];

	ASSERT(name.len < sizeof(path));
	memcpy(path, name.p, name.len);
	path[name.len] = '\0';
	if (is_earlier(file, path))
		return;
	text_open(t, path, '{');
	for (const struct embedded *e = file; e->name; e++) {
		struct jsonr paths, methods, method, v;
		struct jsonr_walk w;

		if (!jsonr_member(parse(e), "paths", &paths) ||
			!jsonr_member(paths, path, &methods) || !jsonr_begin(&w, methods))
			continue;
		while (jsonr_next(&w, &method, &v))
			put_member(t, method, v);
	}
	text_close(t, '}');
}

static void put_paths(struct text *t)
{
	text_open(t, "paths", '{');
	for (const struct embedded *e = embedded_openapi; e->name; e++) {
		struct jsonr paths, name, v;
		struct jsonr_walk w;

		if (!jsonr_member(parse(e), "paths", &paths) || !jsonr_begin(&w, paths))
			continue;
		while (jsonr_next(&w, &name, &v))
			put_path(t, e, name);
	}
	text_close(t, '}');
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

char *openapi_text(size_t *ret_len)
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
