#include "agentd/search_lines.h"

#define OUT_MAX (32 * MIB)

int search_lines_put(
	struct search_lines *o, void (*put)(void *ctx, struct jsonw *w), const void *ctx)
{
	struct jsonw w = {.overflow = true};

	if (o->buf) {
		jsonw_init(&w, o->buf, o->size - 1);
		put((void *)ctx, &w);
	}
	while (w.overflow) {
		size_t size = o->buf ? 2 * o->size : 16384;
		char *buf = size <= OUT_MAX ? realloc(o->buf, size) : NULL;

		if (!buf)
			return -ENOMEM;
		o->buf = buf;
		o->size = size;
		jsonw_init(&w, o->buf, o->size - 1);
		put((void *)ctx, &w);
	}
	o->buf[w.len++] = '\n';
	return stream_write(o->s, o->buf, w.len);
}

bool search_lines_count(struct search_lines *o)
{
	if (o->matches == o->limit) {
		o->truncated = true;
		return false;
	}
	o->matches++;
	return true;
}

struct failure {
	const char *path;
	uint64_t line;
	int err;
	const char *message;
};

static void put_failure(void *ctx, struct jsonw *w)
{
	const struct failure *f = ctx;

	jsonw_open(w, NULL, '{');
	jsonw_bytes(w, "path", f->path, strlen(f->path));
	if (f->line)
		jsonw_u64(w, "line", f->line);
	jsonw_open(w, "error", '{');
	jsonw_str(w, "code", error_code_str(f->message ? E_TOO_LARGE : E_FAILED));
	jsonw_str(w, "message", f->message ? f->message : strerror(f->err));
	if (!f->message)
		jsonw_int(w, "errno", f->err);
	jsonw_close(w, '}');
	jsonw_close(w, '}');
}

void search_lines_error(
	struct search_lines *o, const char *path, uint64_t line, int err, const char *message)
{
	const struct failure f = {path, line, err, message};

	if (o->errors++ < SEARCH_ERRORS_MAX)
		search_lines_put(o, put_failure, &f);
}

void search_lines_end(struct search_lines *o, int r, const char *path)
{
	char text[200];
	struct jsonw w;

	if (r < 0 && !o->truncated) {
		if (r != -ECANCELED)
			stream_fail_errno(o->s, -r, path);
		return;
	}
	jsonw_init(&w, text, sizeof(text));
	jsonw_open(&w, NULL, '{');
	jsonw_str(&w, "event", "done");
	jsonw_u64(&w, "matches", o->matches);
	jsonw_u64(&w, "files", o->files);
	jsonw_u64(&w, "errors", o->errors);
	jsonw_bool(&w, "truncated", o->truncated);
	jsonw_close(&w, '}');
	stream_done(o->s, text, w.len);
}
