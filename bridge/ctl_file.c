/*
 * rm, mkdir, stat, du, mv: one request for each path, one after the other. What fails is said, the
 * rest is done all the same, and the exit code tells. After a link that broke the request is sent
 * again only where saying it twice does no harm (stat, du); else it is said that it may be done.
 */
#include <stdio.h>
#include <time.h>

#include "bridge/ctl_json.h"
#include "bridge/ctl_path.h"

#define REQUEST_MAX FRAME_PAYLOAD_MAX

struct verb {
	const char *op, *what; /* "cannot WHAT PATH" */
	void (*members)(const struct ctl_options *o, struct jsonw *w);
	void (*print)(struct ctl *c, const char *path, const uint8_t *json, size_t len);
	bool repeatable;
};

struct task {
	const struct verb *verb;
	int at; /* the argument under work */
	int code;
	char *to;    /* mv; owned */
	bool looked; /* mv: it is known what `to` is */
};

static void next(struct ctl *c);

static void send_request(struct ctl *c, struct jsonw *w, guest_response_fn fn)
{
	const struct task *t = c->state;
	int64_t r;

	jsonw_close(w, '}');
	r = w->overflow ? -EMSGSIZE : guest_ask(&c->guest, w->out, w->len, fn, c);
	if (r < 0) {
		ctl_say("cannot %s: %s", t->verb->what, strerror((int)-r));
		ctl_finish(c, CTL_FAILED);
	}
}

static void begin_request(struct jsonw *w, char *buf, const char *op)
{
	jsonw_init(w, buf, REQUEST_MAX);
	jsonw_open(w, NULL, '{');
	jsonw_str(w, "op", op);
}

static void on_answer(void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	struct ctl *c = owner;
	struct task *t = c->state;
	const char *path = c->options.args[t->at];

	if (error && ctl_link_broke(error)) {
		if (t->verb->repeatable)
			return; /* up() asks again */
		ctl_say("the link broke: whether %s is done is not known", path);
		ctl_finish(c, CTL_FAILED);
		return;
	}
	if (error) {
		ctl_say_file(t->verb->what, path, error);
		t->code = CTL_NOT_DONE;
	} else if (t->verb->print) {
		t->verb->print(c, path, json, len);
	}
	t->at++;
	next(c);
}

static void next(struct ctl *c)
{
	struct task *t = c->state;
	char buf[REQUEST_MAX];
	struct jsonw w;

	if (t->at == c->options.n_args) {
		int r = ctl_flush_stdout();

		ctl_finish(c, r ? r : t->code);
		return;
	}
	begin_request(&w, buf, t->verb->op);
	ctl_put_where(&c->options, &w, c->options.args[t->at]);
	if (t->verb->members)
		t->verb->members(&c->options, &w);
	send_request(c, &w, on_answer);
}

static int begin(struct ctl *c, const struct verb *verb)
{
	struct task *t = xcalloc(1, sizeof(*t));

	t->verb = verb;
	c->state = t;
	return 0;
}

static void up(struct ctl *c, bool same)
{
	(void)same;
	next(c);
}

/* ---- rm, mkdir ---- */

static void rm_members(const struct ctl_options *o, struct jsonw *w)
{
	jsonw_bool(w, "recursive", o->recursive);
	jsonw_bool(w, "missing_ok", o->force);
}

static void mkdir_members(const struct ctl_options *o, struct jsonw *w)
{
	jsonw_bool(w, "parents", o->parents);
}

static int begin_rm(struct ctl *c)
{
	static const struct verb verb = {
		.op = "file.remove", .what = "remove", .members = rm_members};

	return begin(c, &verb);
}

static int begin_mkdir(struct ctl *c)
{
	static const struct verb verb = {
		.op = "file.mkdir", .what = "make", .members = mkdir_members};

	return begin(c, &verb);
}

/* ---- stat, du ---- */

static void print_stat(struct ctl *c, const char *path, const uint8_t *json, size_t len)
{
	struct msg_file_entry m;
	struct error e;
	char when[32];
	time_t at;
	struct tm tm;

	(void)path;
	if (c->options.json) {
		printf("%.*s\n", (int)len, (const char *)json);
		return;
	}
	if (msg_parse_file_entry(json, len, &m, &e) < 0) {
		ctl_say_error("cannot read the answer", &e);
		return;
	}
	at = (time_t)(m.mtime_ns / 1000000000);
	strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", localtime_r(&at, &tm));
	ctl_print_name(c->options.args[((struct task *)c->state)->at]);
	if (m.target) {
		printf(" -> ");
		ctl_print_name(m.target);
	}
	printf("\n  type %s  mode %04llo  owner %llu:%llu  links %llu\n  size %llu  blocks %llu\n"
	       "  modified %s\n",
		m.type ? m.type : "?", (unsigned long long)m.mode, (unsigned long long)m.uid,
		(unsigned long long)m.gid, (unsigned long long)m.nlink, (unsigned long long)m.size,
		(unsigned long long)m.blocks, when);
	msg_file_entry_fini(&m);
}

static void stat_members(const struct ctl_options *o, struct jsonw *w)
{
	(void)o;
	jsonw_bool(w, "follow", false);
}

static int begin_stat(struct ctl *c)
{
	static const struct verb verb = {.op = "file.stat",
		.what = "look at",
		.members = stat_members,
		.print = print_stat,
		.repeatable = true};

	return begin(c, &verb);
}

static void print_du(struct ctl *c, const char *path, const uint8_t *json, size_t len)
{
	uint64_t bytes = 0;
	struct error e;
	char text[16];

	if (c->options.json) {
		printf("%.*s\n", (int)len, (const char *)json);
		return;
	}
	if (msg_parse_file_number(json, len, "bytes", &bytes, &e) < 0) {
		ctl_say_error("cannot read the answer", &e);
		return;
	}
	ctl_format_bytes(text, sizeof(text), bytes);
	printf("%s\t", text);
	ctl_print_name(path);
	putchar('\n');
}

static int begin_du(struct ctl *c)
{
	static const struct verb verb = {
		.op = "file.du", .what = "measure", .print = print_du, .repeatable = true};

	return begin(c, &verb);
}

/* ---- mv ---- */

static void move(struct ctl *c)
{
	struct task *t = c->state;
	char buf[REQUEST_MAX];
	struct jsonw w;

	begin_request(&w, buf, "file.rename");
	ctl_put_where(&c->options, &w, c->options.args[0]);
	jsonw_bytes(&w, "to", t->to, strlen(t->to));
	c->options.n_args = 1; /* next() ends behind it */
	send_request(c, &w, on_answer);
}

/* Into a directory, under its own name. */
static void on_looked(void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	struct ctl *c = owner;
	struct task *t = c->state;
	struct msg_file_entry m;
	struct error e;

	if (error && ctl_link_broke(error))
		return;
	if (!error && msg_parse_file_entry(json, len, &m, &e) == 0) {
		if (m.type && strcmp(m.type, "dir") == 0) {
			char *name = ctl_base_name(c->options.args[0]), *dir = t->to;

			t->to = ctl_join(dir, name);
			free(dir);
			free(name);
		}
		msg_file_entry_fini(&m);
	}
	t->looked = true;
	move(c);
}

static int begin_mv(struct ctl *c)
{
	static const struct verb verb = {.op = "file.rename", .what = "move"};
	int r = begin(c, &verb);

	((struct task *)c->state)->to = ctl_join("", c->options.args[1]);
	return r;
}

static void up_mv(struct ctl *c, bool same)
{
	struct task *t = c->state;
	char buf[REQUEST_MAX];
	struct jsonw w;

	(void)same;
	if (t->looked)
		return;
	begin_request(&w, buf, "file.stat");
	ctl_put_where(&c->options, &w, t->to);
	send_request(c, &w, on_looked);
}

static void end_mv(struct ctl *c)
{
	free(take_ptr(&((struct task *)c->state)->to));
}

/* ---- the commands ---- */

const struct ctl_command ctl_rm = {
	.name = "rm",
	.args = "[-r] [-f] PATH...",
	.summary = "remove files in the guest",
	.about =
		"Removes each PATH; with -r directories and all below them. Links are not followed,\n"
		"and neither / nor a mount point is removed.",
	.options = OPTION(RECURSIVE) | OPTION(FORCE) | OPTION(ROOT) | OPTION(AS),
	.min_args = 1,
	.max_args = 100000,
	.begin = begin_rm,
	.up = up,
};

const struct ctl_command ctl_mkdir = {
	.name = "mkdir",
	.args = "[-p] PATH...",
	.summary = "make directories in the guest",
	.about = "Makes each PATH. A new directory belongs to the owner of the one it is made in.",
	.options = OPTION(PARENTS) | OPTION(ROOT) | OPTION(AS),
	.min_args = 1,
	.max_args = 100000,
	.begin = begin_mkdir,
	.up = up,
};

const struct ctl_command ctl_stat = {
	.name = "stat",
	.args = "[--json] PATH...",
	.summary = "show what a file in the guest is",
	.about = "Shows type, mode, owner, size and time of each PATH; of a link, the link's own.",
	.options = OPTION(JSON) | OPTION(ROOT) | OPTION(AS),
	.min_args = 1,
	.max_args = 100000,
	.begin = begin_stat,
	.up = up,
};

const struct ctl_command ctl_du = {
	.name = "du",
	.args = "[--json] PATH...",
	.summary = "show how much room a file or directory in the guest takes",
	.about = "Shows the room each PATH takes with all below it, on one file system.",
	.options = OPTION(JSON) | OPTION(ROOT) | OPTION(AS),
	.min_args = 1,
	.max_args = 100000,
	.begin = begin_du,
	.up = up,
};

const struct ctl_command ctl_mv = {
	.name = "mv",
	.args = "FROM TO",
	.summary = "rename a file in the guest",
	.about = "Renames FROM to TO, or moves it into the directory TO. A file TO is replaced.",
	.options = OPTION(ROOT) | OPTION(AS),
	.min_args = 2,
	.max_args = 2,
	.begin = begin_mv,
	.up = up_mv,
	.end = end_mv,
};
