/*
 * Both forms are sent while the search goes on, and as fast as the client takes them; it is
 * cancelled when the client goes. What failed before the first match has a status; later it cuts
 * the connection.
 */
#include "bridge/api/file_search.h"

#include "bridge/api/fields.h"
#include "bridge/api/file_lines.h"

#define SEARCH_DEFAULT 1000
#define GLOB_DEFAULT   10000
#define RESULTS_MAX    100000
#define CONTEXT_MAX    10 /* lines on each side: so a line of the answer fits into a window */
#define PATTERN_MAX    16384
#define GLOBS_MAX      256
#define ERRORS_MAX     (1024 * 1024) /* bytes, about: the agent tells the first 100 */

struct search {
	struct file_lines lines;
	struct text errors; /* of files that could not be looked at */
	bool single;        /* a line each */
};

static struct search *search_of(struct file_lines *l)
{
	return container_of(l, struct search, lines);
}

/* ---- the answer ---- */

static void on_begin(struct file_lines *l)
{
	struct search *s = search_of(l);

	if (!s->single) {
		text_open(&l->text, NULL, '{');
		text_open(&l->text, "matches", '[');
		text_open(&s->errors, NULL, '[');
	}
	call_begin(l->out.call, 200, s->single ? "application/x-ndjson" : "application/json", -1);
}

static void put_object(struct text *t, struct jsonr line)
{
	text_open(t, NULL, '{');
	file_members_put(t, line);
	text_close(t, '}');
}

static void end_line(struct text *t)
{
	t->comma = false;
	if (!t->failed && buf_append(&t->buf, "\n", 1) < 0)
		t->failed = true;
}

static void put(struct file_lines *l, struct jsonr line)
{
	struct search *s = search_of(l);
	struct jsonr error;

	if (s->single) {
		put_object(&l->text, line);
		end_line(&l->text);
	} else {
		bool wrong = jsonr_member(line, "error", &error);

		if (!wrong)
			put_object(&l->text, line);
		else if (buf_len(&s->errors.buf) < ERRORS_MAX)
			put_object(&s->errors, line);
	}
}

static void put_end(struct file_lines *l)
{
	struct search *s = search_of(l);
	struct text *t = &l->text;
	auto_free char *errors = NULL;
	size_t len = 0;

	if (s->single) {
		text_open(t, NULL, '{');
		text_bool(t, "done", true);
	} else {
		text_close(t, ']');
		text_close(&s->errors, ']');
		errors = text_take(&s->errors, &len);
		if (errors)
			text_raw(t, "errors", errors, len);
		else
			t->failed = true;
	}
	text_int(t, "files", (int64_t)l->done.files);
	text_bool(t, "truncated", l->done.truncated);
	text_close(t, '}');
	if (s->single)
		end_line(t);
}

static void on_end(struct file_lines *l)
{
	struct search *s = search_of(l);

	text_fini(&s->errors);
	free(s);
}

/* ---- the question ---- */

struct question {
	char *path, *pattern, *type, *glob;
	char **globs;
	size_t n_globs;
	bool hidden, ignore, icase, literal, word, binary;
	int64_t limit, context, per_file;
};

static void forget(struct question *q)
{
	free(q->path);
	free(q->pattern);
	free(q->type);
	free(q->glob);
	free(q->globs);
}

/* One glob or an array of them. */
static bool read_globs(struct call *c, struct question *q)
{
	struct jsonr value;

	if (jsonr_member(c->body, "glob", &value) && jsonr_is(value, '['))
		return field_strs(c, "glob", GLOBS_MAX, &q->globs, &q->n_globs);
	return field_str(c, "glob", PATTERN_MAX, &q->glob);
}

static bool read_common(struct call *c, struct question *q)
{
	q->path = file_path_field(c, "path", ".");
	if (!q->path || !field_str(c, "pattern", PATTERN_MAX, &q->pattern) ||
		!field_bool(c, "hidden", &q->hidden) || !field_bool(c, "ignore", &q->ignore) ||
		!field_int(c, "maxResults", 1, RESULTS_MAX, &q->limit))
		return false;
	if (q->pattern)
		return true;
	call_error(c, 400, "pattern is required");
	return false;
}

static bool read_search(struct call *c, struct question *q)
{
	return read_globs(c, q) && field_bool(c, "ignoreCase", &q->icase) &&
	       field_bool(c, "literal", &q->literal) && field_bool(c, "word", &q->word) &&
	       field_bool(c, "binary", &q->binary) &&
	       field_int(c, "context", 0, CONTEXT_MAX, &q->context) &&
	       field_int(c, "maxPerFile", 1, RESULTS_MAX, &q->per_file);
}

static void put_common(struct jsonw *w, const struct question *q)
{
	file_member(w, "pattern", q->pattern);
	jsonw_bool(w, "hidden", q->hidden);
	jsonw_bool(w, "ignore", q->ignore);
	jsonw_u64(w, "limit", (uint64_t)q->limit);
}

static void put_search(struct jsonw *w, const struct question *q)
{
	jsonw_bool(w, "icase", q->icase);
	jsonw_bool(w, "literal", q->literal);
	jsonw_bool(w, "word", q->word);
	jsonw_bool(w, "binary", q->binary);
	jsonw_u64(w, "context", (uint64_t)q->context);
	if (q->per_file)
		jsonw_u64(w, "max_per_file", (uint64_t)q->per_file);
	file_member(w, "glob", q->glob);
	if (q->n_globs == 0)
		return;
	jsonw_open(w, "glob", '[');
	for (size_t i = 0; i < q->n_globs; i++)
		file_member(w, NULL, q->globs[i]);
	jsonw_close(w, ']');
}

static void begin(struct call *c, struct jsonw *w)
{
	static const struct file_lines_ops ops = {
		.on_begin = on_begin, .put = put, .put_end = put_end, .on_end = on_end};
	const char *accept = call_get_header(c, "accept");
	struct search *s = xcalloc(1, sizeof(*s));

	s->single = accept && strstr(accept, "application/x-ndjson");
	text_init(&s->errors);
	file_lines_init(&s->lines, c, &ops);
	file_out_open(&s->lines.out, w);
}

void file_search(struct call *c)
{
	struct question q = {.limit = SEARCH_DEFAULT};
	char message[FILE_MESSAGE];
	struct jsonw w;

	if (read_common(c, &q) && read_search(c, &q)) {
		file_open(&w, message, "grep", q.path);
		put_common(&w, &q);
		put_search(&w, &q);
		begin(c, &w);
	}
	forget(&q);
}

void file_glob(struct call *c)
{
	struct question q = {.limit = GLOB_DEFAULT};
	char message[FILE_MESSAGE];
	struct jsonw w;

	if (read_common(c, &q) && field_str(c, "type", 16, &q.type)) {
		file_open(&w, message, "glob", q.path);
		put_common(&w, &q);
		file_member(&w, "type", q.type);
		begin(c, &w);
	}
	forget(&q);
}
