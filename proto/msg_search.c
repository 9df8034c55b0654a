#include "proto/msg_search.h"

#include "proto/msg_read.h"

/* A string, or an array of them. */
static int read_globs(struct msg_reader *r, const char *name, const char ***ret, size_t *n)
{
	const cJSON *v = cJSON_GetObjectItemCaseSensitive(r->root, name), *item;
	int e = 0;

	if (!v)
		return 0;
	if (cJSON_GetArraySize(v) > MSG_GLOBS_MAX)
		return msg_reader_fail(r, name, "at most 256 globs");
	*ret = msg_reader_alloc(r, (size_t)max_of(cJSON_GetArraySize(v), 1) * sizeof(**ret));
	if (!cJSON_IsArray(v)) {
		*n = 1;
		return msg_value_str(r, v, name, &(*ret)[0]);
	}
	cJSON_ArrayForEach(item, v)
	{
		e = msg_value_str(r, item, name, &(*ret)[*n]);
		if (e < 0)
			return e;
		(*n)++;
	}
	return 0;
}

static int read_number(
	struct msg_reader *r, const char *name, uint64_t min, uint64_t max, uint64_t *ret)
{
	int e = msg_get_u64(r, r->root, name, max, ret);

	if (e == 0 && *ret < min)
		return msg_reader_fail(r, name, "at least 1");
	return e;
}

static int read_pattern(struct msg_reader *r, const char **ret)
{
	int e = msg_get_str(r, r->root, "pattern", ret);

	return e == 0 && !*ret ? msg_reader_fail(r, "pattern", "there") : e;
}

/* ---- glob ---- */

static int read_glob(struct msg_reader *r, struct msg_glob *m)
{
	int e;

	if ((e = msg_read_where(r, r->root, &m->where)) < 0 ||
		(e = read_pattern(r, &m->pattern)) < 0 ||
		(e = msg_get_bool(r, r->root, "hidden", &m->hidden)) < 0 ||
		(e = msg_get_bool(r, r->root, "ignore", &m->ignore)) < 0 ||
		(e = msg_get_bool(r, r->root, "same_fs", &m->same_fs)) < 0 ||
		(e = msg_get_bool(r, r->root, "stat", &m->stat)) < 0 ||
		(e = msg_get_name(r, r->root, "type", 8, &m->type)) < 0)
		return e;
	return read_number(r, "limit", 1, MSG_INT_MAX, &m->limit);
}

int msg_parse_glob(const uint8_t *json, size_t len, struct msg_glob *ret, struct error *e)
{
	struct msg_glob m = {.stat = true, .limit = MSG_RESULTS_MAX};
	struct msg_reader r;
	int err = msg_reader_init(&r, json, len, true, e);

	if (err < 0)
		return err;
	err = read_glob(&r, &m);
	if (err == 0) {
		m.mem = msg_reader_take(&r);
		*ret = m;
	}
	msg_reader_fini(&r);
	return err;
}

void msg_glob_fini(struct msg_glob *m)
{
	free(take_ptr(&m->mem));
}

/* ---- grep ---- */

static int read_grep(struct msg_reader *r, struct msg_grep *m)
{
	int e;

	if ((e = msg_read_where(r, r->root, &m->where)) < 0 ||
		(e = read_pattern(r, &m->pattern)) < 0 ||
		(e = msg_get_bool(r, r->root, "literal", &m->literal)) < 0 ||
		(e = msg_get_bool(r, r->root, "icase", &m->icase)) < 0 ||
		(e = msg_get_bool(r, r->root, "word", &m->word)) < 0 ||
		(e = msg_get_bool(r, r->root, "hidden", &m->hidden)) < 0 ||
		(e = msg_get_bool(r, r->root, "ignore", &m->ignore)) < 0 ||
		(e = msg_get_bool(r, r->root, "same_fs", &m->same_fs)) < 0 ||
		(e = msg_get_bool(r, r->root, "binary", &m->binary)) < 0 ||
		(e = read_globs(r, "glob", &m->globs, &m->n_globs)) < 0 ||
		(e = read_number(r, "limit", 1, MSG_INT_MAX, &m->limit)) < 0 ||
		(e = read_number(r, "max_per_file", 1, MSG_INT_MAX, &m->max_per_file)) < 0 ||
		(e = read_number(r, "context", 0, MSG_CONTEXT_MAX, &m->context)) < 0)
		return e;
	return read_number(r, "max_line", 1, MSG_LINE_MAX, &m->max_line);
}

int msg_parse_grep(const uint8_t *json, size_t len, struct msg_grep *ret, struct error *e)
{
	struct msg_grep m = {
		.limit = MSG_RESULTS_MAX, .max_per_file = MSG_INT_MAX, .max_line = 4096};
	struct msg_reader r;
	int err = msg_reader_init(&r, json, len, true, e);

	if (err < 0)
		return err;
	err = read_grep(&r, &m);
	if (err == 0) {
		m.mem = msg_reader_take(&r);
		*ret = m;
	}
	msg_reader_fini(&r);
	return err;
}

void msg_grep_fini(struct msg_grep *m)
{
	free(take_ptr(&m->mem));
}

/* ---- watch ---- */

static int read_watch(struct msg_reader *r, struct msg_watch *m)
{
	int e;

	if ((e = msg_read_where(r, r->root, &m->where)) < 0 ||
		(e = msg_get_bool(r, r->root, "recursive", &m->recursive)) < 0 ||
		(e = read_globs(r, "exclude", &m->exclude, &m->n_exclude)) < 0)
		return e;
	return msg_get_str(r, r->root, "since", &m->since);
}

int msg_parse_watch(const uint8_t *json, size_t len, struct msg_watch *ret, struct error *e)
{
	struct msg_watch m = {.recursive = true};
	struct msg_reader r;
	int err = msg_reader_init(&r, json, len, true, e);

	if (err < 0)
		return err;
	err = read_watch(&r, &m);
	if (err == 0) {
		m.mem = msg_reader_take(&r);
		*ret = m;
	}
	msg_reader_fini(&r);
	return err;
}

void msg_watch_fini(struct msg_watch *m)
{
	free(take_ptr(&m->mem));
}
