#include "agentd/batch_tally.h"

void batch_tally_init(struct batch_tally *t)
{
	t->files = t->bytes = t->failed = 0;
	t->n = 0;
	t->end = (struct batch_error){0};
	pthread_mutex_init(&t->lock, NULL);
}

void batch_tally_fini(struct batch_tally *t)
{
	for (unsigned i = 0; i < t->n; i++)
		free(t->errors[i].path);
	free(t->end.path);
	pthread_mutex_destroy(&t->lock);
}

static bool ends_all(int err)
{
	return err == ENOSPC || err == EDQUOT || err == EROFS || err == ENOMEM;
}

/* In its place; the last of too many falls out. */
static void keep(struct batch_tally *t, const struct batch_error *e)
{
	unsigned at = t->n;

	while (at > 0 && t->errors[at - 1].index > e->index)
		at--;
	if (at == BATCH_ERRORS_TOLD) {
		free(e->path);
		return;
	}
	if (t->n == BATCH_ERRORS_TOLD)
		free(t->errors[--t->n].path);
	memmove(&t->errors[at + 1], &t->errors[at], (t->n - at) * sizeof(*e));
	t->errors[at] = *e;
	t->n++;
}

static void add_error(struct batch_tally *t, uint64_t index, const char *path, int err)
{
	struct batch_error e = {.index = index, .err = err, .path = strdup(path)};

	if (!ends_all(err)) {
		t->failed++;
		keep(t, &e);
	} else if (t->end.err == 0 || index < t->end.index) {
		free(t->end.path);
		t->end = e;
	} else {
		free(e.path);
	}
}

void batch_tally_add(
	struct batch_tally *t, uint64_t index, const char *path, uint64_t size, int result)
{
	pthread_mutex_lock(&t->lock);
	if (result < 0) {
		add_error(t, index, path, -result);
	} else {
		t->files++;
		t->bytes += size;
	}
	pthread_mutex_unlock(&t->lock);
}

bool batch_tally_over(struct batch_tally *t)
{
	bool over;

	pthread_mutex_lock(&t->lock);
	over = t->end.err != 0;
	pthread_mutex_unlock(&t->lock);
	return over;
}

void batch_tally_put(const struct batch_tally *t, struct jsonw *w)
{
	jsonw_open(w, "errors", '[');
	for (unsigned i = 0; i < t->n; i++) {
		const struct batch_error *e = &t->errors[i];
		struct jsonw before = jsonw_mark(w);

		jsonw_open(w, NULL, '{');
		jsonw_u64(w, "index", e->index);
		jsonw_bytes(w, "path", e->path ? e->path : "", e->path ? strlen(e->path) : 0);
		jsonw_int(w, "errno", e->err);
		jsonw_close(w, '}');
		if (w->overflow)
			jsonw_rewind(w, before);
	}
	jsonw_close(w, ']');
}
