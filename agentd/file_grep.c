/* Lines that a pattern fits, of a file or of all files of a tree. */
#include <dirent.h>
#include <fcntl.h>

#include "agentd/file.h"
#include "agentd/grep_text.h"
#include "agentd/search_lines.h"
#include "agentd/search_walk.h"
#include "proto/msg_search.h"

struct file_grep {
	struct stream s;
	struct place place;
	struct msg_grep m;
	struct regex regex;
	struct ignore *globs; /* NULL: all files */
	bool only;            /* some of the globs say which files, not only which not */
	struct grep_text text;
	struct search_lines out;
	const char *path;           /* of the file under way */
	uint64_t hits;              /* in it */
	const struct grep_hit *hit; /* while it is being written */
};

static bool cancelled(void *ctx)
{
	struct file_grep *g = ctx;

	return stream_cancelled(&g->s);
}

/* ---- a hit as JSON ---- */

/* Not in the middle of a character. */
static size_t at_character(const uint8_t *text, size_t at, size_t len)
{
	for (unsigned i = 0; i < 3 && at < len && (text[at] & 0xc0) == 0x80; i++)
		at++;
	return at;
}

static void put_text(struct file_grep *g, struct jsonw *w)
{
	const struct grep_hit *h = g->hit;
	size_t from = 0, to = h->len, max = g->m.max_line;

	if (h->len > max) {
		if (h->to > max) /* so that the match can be seen, and a little before it */
			from = at_character(h->text, h->from - min_of(h->from, max / 4), h->len);
		to = at_character(h->text, min_of(from + max, h->len), h->len);
	}
	jsonw_bytes(w, "text", h->text + from, to - from);
	if (from > 0)
		jsonw_u64(w, "start", from);
	if (to - from < h->len)
		jsonw_bool(w, "cut", true);
}

static void put_around(const struct file_grep *g, struct jsonw *w, const char *name,
	const uint8_t *text, size_t len)
{
	if (len == 0)
		return;
	jsonw_open(w, name, '[');
	for (size_t at = 0; at < len;) {
		const uint8_t *newline = memchr(text + at, '\n', len - at);
		size_t n = (newline ? (size_t)(newline - text) : len) - at;

		jsonw_bytes(w, NULL, text + at,
			n > g->m.max_line ? at_character(text + at, g->m.max_line, n) : n);
		at += n + 1;
	}
	jsonw_close(w, ']');
}

static void put_hit(void *ctx, struct jsonw *w)
{
	struct file_grep *g = ctx;
	const struct grep_hit *h = g->hit;

	jsonw_open(w, NULL, '{');
	jsonw_bytes(w, "path", g->path, strlen(g->path));
	jsonw_u64(w, "line", h->line);
	jsonw_u64(w, "col", h->col);
	put_text(g, w);
	put_around(g, w, "before", h->before, h->before_len);
	put_around(g, w, "after", h->after, h->after_len);
	jsonw_close(w, '}');
}

static int on_hit(void *ctx, const struct grep_hit *h)
{
	struct file_grep *g = ctx;
	int r;

	if (!search_lines_count(&g->out))
		return -ECANCELED;
	g->hit = h;
	r = search_lines_put(&g->out, put_hit, g);
	if (r < 0)
		return r;
	return ++g->hits == g->m.max_per_file ? GREP_ENOUGH : 0;
}

/* ---- files ---- */

static int look_into(struct file_grep *g, int fd, const char *path)
{
	uint64_t line = 0;
	int r;

	g->path = path;
	g->hits = 0;
	g->out.files++;
	r = grep_text_file(&g->text, fd, &line);
	if (r == -E2BIG)
		search_lines_error(&g->out, path, line, 0, "the pattern takes too many steps here");
	else if (r < 0 && r != -ECANCELED)
		search_lines_error(&g->out, path, 0, -r, NULL);
	return r == -ECANCELED ? r : 0;
}

static void failed(void *ctx, const char *path, int err)
{
	struct file_grep *g = ctx;

	search_lines_error(&g->out, path, 0, err, NULL);
}

static int visit(void *ctx, const struct search_entry *e)
{
	struct file_grep *g = ctx;
	int verdict = g->globs ? ignore_match(g->globs, e->path, e->len, e->type == DT_DIR) : -1;
	auto_close int fd = -1;

	if (e->type == DT_DIR)
		return verdict == 0 ? SEARCH_SKIP : 0;
	if (e->type != DT_REG || verdict == 0 || (verdict < 0 && g->only))
		return 0;
	fd = openat(e->dir, e->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0) {
		if (errno != ENOENT)
			failed(g, e->path, errno);
		return 0;
	}
	return look_into(g, fd, e->path);
}

static int search(struct file_grep *g, struct error *e)
{
	auto_close int top = place_open(&g->place, g->place.path, O_RDONLY | O_DIRECTORY, 0);
	const struct search_walk walk = {
		&g->place, g->m.hidden, g->m.ignore, g->m.same_fs, visit, failed, cancelled, g};
	const char *slash;
	struct stat st;

	e->code = E_NONE;
	if (top >= 0)
		return search_walk(&walk, top);
	if (top != -ENOTDIR)
		return top;
	top = place_open_file(&g->place, g->place.path, O_RDONLY, false, &st, e);
	slash = strrchr(g->place.path, '/');
	return top < 0 ? top : look_into(g, top, slash ? slash + 1 : g->place.path);
}

static void run(struct stream *s)
{
	struct file_grep *g = container_of(s, struct file_grep, s);
	unsigned flags = (g->m.literal ? REGEX_LITERAL : 0) | (g->m.icase ? REGEX_ICASE : 0) |
			 (g->m.word ? REGEX_WORD : 0);
	struct error e;
	int r = regex_init(&g->regex, g->m.pattern, strlen(g->m.pattern), flags, cancelled, g, &e);

	if (r == 0) {
		r = place_enter(&g->place);
		e.code = E_NONE;
		if (r == 0) {
			r = search(g, &e);
			place_leave(&g->place);
		}
	}
	if (r < 0 && e.code != E_NONE)
		stream_fail(s, &e);
	else
		search_lines_end(&g->out, r, g->place.path);
	regex_fini(&g->regex);
	grep_text_fini(&g->text);
	free(take_ptr(&g->out.buf));
}

static void release(struct stream *s)
{
	struct file_grep *g = container_of(s, struct file_grep, s);

	ignore_unref(g->globs);
	place_fini(&g->place);
	msg_grep_fini(&g->m);
	free(g);
}

static const struct stream_ops stream_ops = {.run = run, .release = release};

static int prepare(struct file_grep *g, const struct config *config, struct error *e)
{
	int r;

	g->out = (struct search_lines){.s = &g->s, .limit = g->m.limit};
	g->text = (struct grep_text){.regex = &g->regex,
		.binary = g->m.binary,
		.context = g->m.context,
		.hit = on_hit,
		.ctx = g};
	if (g->m.n_globs > 0) {
		g->globs = ignore_globs(g->m.globs, g->m.n_globs, &r);
		if (!g->globs)
			return error_set(e, r == -ENOMEM ? E_FAILED : E_BAD_MESSAGE, 0,
				r == -ENOMEM ? "out of memory" : "glob: one is broken");
	}
	for (size_t i = 0; i < g->m.n_globs; i++)
		g->only |= g->m.globs[i][0] != '!';
	return place_init(&g->place, &g->m.where, config, e);
}

static int open_grep(struct service_link *l, uint32_t channel, uint64_t window, struct json json,
	struct error *e)
{
	struct file_grep *g = calloc(1, sizeof(*g));
	int r;

	if (!g)
		return error_set(e, E_FAILED, ENOMEM, "out of memory");
	r = msg_parse_grep(json.text, json.len, &g->m, e);
	if (r == 0)
		r = prepare(g, l->sessions->config, e);
	if (r == 0)
		r = stream_open(&g->s, l, channel, window, 0, &stream_ops, e);
	if (r < 0)
		release(&g->s);
	return r;
}

const struct file_op file_grep_op = {.name = "grep", .open = open_grep};
