/* Names of a tree that a pattern fits. Directories that cannot hold any are not looked into. */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>

#include "agentd/file.h"
#include "agentd/file_entry.h"
#include "agentd/search_lines.h"
#include "agentd/search_walk.h"
#include "proto/msg_search.h"

struct file_glob {
	struct stream s;
	struct place place;
	struct msg_glob m;
	struct glob glob;
	struct search_lines out;
};

struct found {
	const struct search_entry *e;
	const struct stat *st; /* NULL: not asked for */
	const char *target;
};

static const char *type_str(uint8_t type)
{
	return type == DT_UNKNOWN ? "unknown" : file_type_str(DTTOIF(type));
}

static void put_found(void *ctx, struct jsonw *w)
{
	const struct found *f = ctx;

	jsonw_open(w, NULL, '{');
	jsonw_bytes(w, "path", f->e->path, f->e->len);
	if (f->st)
		file_entry_put(w, f->e->name, f->st, f->target);
	else
		jsonw_str(w, "type", type_str(f->e->type));
	jsonw_close(w, '}');
}

static bool cancelled(void *ctx)
{
	struct file_glob *g = ctx;

	return stream_cancelled(&g->s);
}

static void failed(void *ctx, const char *path, int err)
{
	struct file_glob *g = ctx;

	search_lines_error(&g->out, path, 0, err, NULL);
}

static int tell(struct file_glob *g, const struct search_entry *e)
{
	struct found f = {.e = e};
	char target[PATH_MAX];
	struct stat st;
	ssize_t n;

	if (g->m.stat) {
		if (fstatat(e->dir, e->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return 0; /* gone already */
		f.st = &st;
		n = S_ISLNK(st.st_mode) ? readlinkat(e->dir, e->name, target, sizeof(target) - 1)
					: -1;
		if (n >= 0) {
			target[n] = '\0';
			f.target = target;
		}
	}
	return search_lines_count(&g->out) ? search_lines_put(&g->out, put_found, &f) : -ECANCELED;
}

static int visit(void *ctx, const struct search_entry *e)
{
	struct file_glob *g = ctx;
	int r = 0;

	g->out.files++;
	if ((!g->m.type || strcmp(g->m.type, type_str(e->type)) == 0) &&
		glob_match(&g->glob, e->path, e->len))
		r = tell(g, e);
	if (r == 0 && e->type == DT_DIR && !glob_below(&g->glob, e->path, e->len))
		return SEARCH_SKIP;
	return r;
}

static int search(struct file_glob *g)
{
	const struct search_walk walk = {
		&g->place, g->m.hidden, g->m.ignore, g->m.same_fs, visit, failed, cancelled, g};
	auto_close int top = -1;
	int r = place_enter(&g->place);

	if (r < 0)
		return r;
	top = place_open(&g->place, g->place.path, O_RDONLY | O_DIRECTORY, 0);
	r = top < 0 ? top : search_walk(&walk, top);
	place_leave(&g->place);
	return r;
}

static void run(struct stream *s)
{
	struct file_glob *g = container_of(s, struct file_glob, s);

	search_lines_end(&g->out, search(g), g->place.path);
	free(take_ptr(&g->out.buf));
}

static void release(struct stream *s)
{
	struct file_glob *g = container_of(s, struct file_glob, s);

	glob_fini(&g->glob);
	place_fini(&g->place);
	msg_glob_fini(&g->m);
	free(g);
}

static const struct stream_ops stream_ops = {.run = run, .release = release};

static int prepare(struct file_glob *g, const struct config *config, struct error *e)
{
	int r = glob_compile(&g->glob, g->m.pattern, strlen(g->m.pattern), 0);

	if (r < 0)
		return error_set(e, r == -ENOMEM ? E_FAILED : E_BAD_MESSAGE, 0,
			r == -ENOMEM ? "out of memory" : "pattern: unclosed, or too long");
	g->out = (struct search_lines){.s = &g->s, .limit = g->m.limit};
	return place_init(&g->place, &g->m.where, config, e);
}

static int open_glob(struct service_link *l, uint32_t channel, uint64_t window, struct json json,
	struct error *e)
{
	struct file_glob *g = calloc(1, sizeof(*g));
	int r;

	if (!g)
		return error_set(e, E_FAILED, ENOMEM, "out of memory");
	r = msg_parse_glob(json.text, json.len, &g->m, e);
	if (r == 0)
		r = prepare(g, l->sessions->config, e);
	if (r == 0)
		r = stream_open(&g->s, l, channel, window, 0, &stream_ops, e);
	if (r < 0)
		release(&g->s);
	return r;
}

const struct file_op file_glob_op = {.name = "glob", .open = open_glob};
