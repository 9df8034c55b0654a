/*
 * glob, grep, watch: the agent sends JSON lines, which are printed as they are or for people. What
 * is written to stdout may block: then nothing is taken from the link, and by its credit the agent
 * waits.
 */
#include <stdio.h>

#include "bridge/ctl_path.h"
#include "bridge/remote_file.h"

#define LINE_MAX_BYTES (1024 * 1024)

struct lines {
	struct ctl *ctl;
	struct remote_file file;
	struct buf line; /* of which the end has not come */
	char *cursor;    /* watch: of the last line seen; owned */
	size_t prefix;   /* of the cursor, in front of the number */
	uint64_t matches;
	bool truncated;
	void (*members)(const struct lines *x, struct jsonw *w);
	void (*print)(struct lines *x, const struct msg_file_line *m);
};

/* ---- lines ---- */

static void print_line(struct lines *x, const uint8_t *json, size_t len)
{
	struct msg_file_line m;
	struct error e;

	if (msg_parse_file_line(json, len, &m, &e) < 0)
		return;
	if (x->ctl->options.json)
		printf("%.*s\n", (int)len, (const char *)json);
	x->print(x, &m);
	msg_file_line_fini(&m);
}

static void on_data(struct remote_file *f, uint64_t off, const uint8_t *data, size_t len)
{
	struct lines *x = f->owner;
	const uint8_t *end;
	int r;

	(void)off;
	if (buf_append(&x->line, data, len) < 0) {
		ctl_say("a line of over %d bytes", LINE_MAX_BYTES);
		ctl_finish(x->ctl, CTL_FAILED);
		return;
	}
	while (buf_len(&x->line) > 0 &&
		(end = memchr(buf_head(&x->line), '\n', buf_len(&x->line)))) {
		size_t n = (size_t)(end - buf_head(&x->line));

		print_line(x, buf_head(&x->line), n);
		buf_consume(&x->line, n + 1);
	}
	remote_file_consumed(f, len);
	r = ctl_flush_stdout();
	if (r)
		ctl_finish(x->ctl, r);
}

static void on_event(struct remote_file *f, const struct msg_file_event *m)
{
	struct lines *x = f->owner;

	x->matches = m->matches;
	x->truncated = m->truncated;
}

static void on_close(struct remote_file *f, const struct error *error)
{
	struct lines *x = f->owner;
	struct ctl *c = x->ctl;
	int code = x->matches > 0 || c->command == &ctl_watch_files ? 0 : CTL_NOT_DONE;

	if (error && ctl_link_broke(error) && x->cursor)
		return; /* up() goes on behind what was seen */
	if (error && ctl_link_broke(error)) {
		ctl_say("the link broke before the end");
		ctl_finish(c, CTL_FAILED);
		return;
	}
	if (error) {
		ctl_say_error(c->command->name, error);
		code = 2; /* as grep(1) */
	} else if (x->truncated) {
		ctl_say("there is more than was asked for");
	}
	ctl_finish(c, code);
}

static const struct remote_file_events events = {
	.on_data = on_data, .on_event = on_event, .on_close = on_close};

static void up(struct ctl *c, bool same)
{
	struct lines *x = c->state;
	bool watch = c->command == &ctl_watch_files;
	const char *path = watch ? c->options.args[0] : c->options.args[1];
	char buf[FRAME_PAYLOAD_MAX];
	struct jsonw w;
	int r;

	(void)same;
	buf_consume(&x->line, buf_len(&x->line));
	jsonw_init(&w, buf, sizeof(buf));
	jsonw_open(&w, NULL, '{');
	jsonw_str(&w, "service", "file");
	jsonw_str(&w, "op", c->command->name);
	jsonw_u64(&w, "window", REMOTE_FILE_WINDOW);
	ctl_put_where(&c->options, &w, path ? path : "."); /* NULL ends the arguments */
	x->members(x, &w);
	jsonw_close(&w, '}');
	x->file.owner = x;
	r = w.overflow ? -EMSGSIZE : remote_file_open(&x->file, &c->guest, &events, w.out, w.len);
	if (r < 0) {
		ctl_say("%s: %s", c->command->name, strerror(-r));
		ctl_finish(c, CTL_FAILED);
	}
}

static int begin(struct ctl *c, void (*members)(const struct lines *, struct jsonw *),
	void (*print)(struct lines *, const struct msg_file_line *))
{
	struct lines *x = xcalloc(1, sizeof(*x));

	x->ctl = c;
	x->line = BUF_NULL(LINE_MAX_BYTES);
	x->members = members;
	x->print = print;
	c->state = x;
	return 0;
}

static void end(struct ctl *c)
{
	struct lines *x = c->state;

	remote_file_close(&x->file);
	buf_fini(&x->line);
	free(take_ptr(&x->cursor));
}

/* ---- glob, grep ---- */

static void search_members(const struct lines *x, struct jsonw *w)
{
	const struct ctl_options *o = &x->ctl->options;

	jsonw_bytes(w, "pattern", o->args[0], strlen(o->args[0]));
	jsonw_bool(w, "hidden", o->all);
	jsonw_bool(w, "ignore", o->ignore);
	if (o->glob)
		jsonw_bytes(w, "glob", o->glob, strlen(o->glob));
	if (o->icase)
		jsonw_bool(w, "icase", true);
	if (o->literal)
		jsonw_bool(w, "literal", true);
	if (o->word)
		jsonw_bool(w, "word", true);
}

static void print_match(struct lines *x, const struct msg_file_line *m)
{
	if (x->ctl->options.json || !m->path)
		return;
	ctl_print_name(m->path);
	if (m->text) {
		printf(":%llu:", (unsigned long long)m->line);
		ctl_print_name(m->text);
	}
	putchar('\n');
}

static int begin_search(struct ctl *c)
{
	return begin(c, search_members, print_match);
}

/* ---- watch ---- */

static void watch_members(const struct lines *x, struct jsonw *w)
{
	if (x->cursor)
		jsonw_str(w, "since", x->cursor);
}

/* The cursor of a line is its number behind what stands before the number in the first one. */
static void keep_cursor(struct lines *x, const struct msg_file_line *m)
{
	char *old = x->cursor;

	if (m->cursor) {
		x->cursor = strdup(m->cursor);
		ASSERT(x->cursor);
		x->prefix = strlen(m->cursor);
		while (x->prefix > 0 && x->cursor[x->prefix - 1] >= '0' &&
			x->cursor[x->prefix - 1] <= '9')
			x->prefix--;
		free(old);
	} else if (m->seq && x->cursor) {
		ASSERT(asprintf(&x->cursor, "%.*s%llu", (int)x->prefix, old,
			       (unsigned long long)m->seq) >= 0);
		free(old);
	}
}

static void print_change(struct lines *x, const struct msg_file_line *m)
{
	keep_cursor(x, m);
	if (x->ctl->options.json || !m->kind)
		return;
	printf("%-8s ", m->kind);
	if (m->from) {
		ctl_print_name(m->from);
		printf(" -> ");
	}
	ctl_print_name(m->path ? m->path : "");
	putchar('\n');
}

static int begin_watch(struct ctl *c)
{
	return begin(c, watch_members, print_change);
}

/* ---- the commands ---- */

const struct ctl_command ctl_glob = {
	.name = "glob",
	.args = "[OPTIONS] PATTERN [PATH]",
	.summary = "find files in the guest by name",
	.about =
		"Prints the files below PATH (the user's home) that match PATTERN, in which ** goes\n"
		"through directories. Exit code 1: there is none.",
	.options = OPTION(ALL) | OPTION(GITIGNORE) | OPTION(JSON) | OPTION(ROOT) | OPTION(AS),
	.min_args = 1,
	.max_args = 2,
	.begin = begin_search,
	.up = up,
	.end = end,
};

const struct ctl_command ctl_grep = {
	.name = "grep",
	.args = "[OPTIONS] PATTERN [PATH]",
	.summary = "find lines in the guest's files",
	.about =
		"Prints the lines that match PATTERN, in files below PATH (the user's home). Exit\n"
		"code 1: there is none; 2: it failed.",
	.options = OPTION(ALL) | OPTION(IGNORE_CASE) | OPTION(FIXED) | OPTION(WORD) | OPTION(GLOB) |
		   OPTION(GITIGNORE) | OPTION(JSON) | OPTION(ROOT) | OPTION(AS),
	.min_args = 1,
	.max_args = 2,
	.begin = begin_search,
	.up = up,
	.end = end,
};

const struct ctl_command ctl_watch_files = {
	.name = "watch",
	.args = "[--json] PATH",
	.summary = "tell what changes below a directory in the guest",
	.about = "Prints a line for each change below PATH, until it is ended. After a link that\n"
		 "broke it goes on with what was missed, or says \"overflow\".",
	.options = OPTION(JSON) | OPTION(ROOT) | OPTION(AS),
	.min_args = 1,
	.max_args = 1,
	.begin = begin_watch,
	.up = up,
	.end = end,
};
