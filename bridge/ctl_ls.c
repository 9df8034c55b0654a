/* ls: a directory page by page, as names, as a table or as the JSON the agent sent. */
#include <stdio.h>
#include <time.h>

#include "bridge/ctl_json.h"
#include "bridge/ctl_path.h"

struct listing {
	char *after; /* owned; the JSON of "next" */
	size_t after_len;
	bool one;     /* the path is no directory: its own entry */
	bool printed; /* --json: an element */
};

static void mode_text(const struct msg_file_entry *m, char out[12])
{
	static const char bits[] = "rwxrwxrwx";
	const char *t = m->type ? m->type : "file";

	out[0] = strcmp(t, "file") == 0 ? '-' : *t;
	for (int i = 0; i < 9; i++)
		out[i + 1] = m->mode & (0400U >> i) ? bits[i] : '-';
	if (m->mode & 04000)
		out[3] = m->mode & 0100 ? 's' : 'S';
	if (m->mode & 02000)
		out[6] = m->mode & 0010 ? 's' : 'S';
	if (m->mode & 01000)
		out[9] = m->mode & 0001 ? 't' : 'T';
	out[10] = '\0';
}

static void print_long(const struct msg_file_entry *m)
{
	time_t at = (time_t)(m->mtime_ns / 1000000000);
	char mode[12], when[32];
	struct tm tm;

	mode_text(m, mode);
	strftime(when, sizeof(when), "%Y-%m-%d %H:%M", localtime_r(&at, &tm));
	printf("%s %3llu %5llu %5llu %12llu %s ", mode, (unsigned long long)m->nlink,
		(unsigned long long)m->uid, (unsigned long long)m->gid, (unsigned long long)m->size,
		when);
}

static void print_entry(struct ctl *c, struct json_text text)
{
	struct listing *l = c->state;
	struct msg_file_entry m;
	struct error e;

	if (c->options.json) {
		printf("%s%.*s", l->printed ? ",\n " : "[", (int)text.len, text.p);
		l->printed = true;
		return;
	}
	if (msg_parse_file_entry((const uint8_t *)text.p, text.len, &m, &e) < 0)
		return;
	if (c->options.details)
		print_long(&m);
	ctl_print_name(l->one ? c->options.args[0] : m.name ? m.name : "?");
	if (m.target && c->options.details) {
		printf(" -> ");
		ctl_print_name(m.target);
	}
	putchar('\n');
	msg_file_entry_fini(&m);
}

static void finish(struct ctl *c)
{
	struct listing *l = c->state;

	if (c->options.json)
		printf("%s]\n", l->printed ? "" : "[");
	ctl_finish(c, ctl_flush_stdout());
}

static void request(struct ctl *c);

static void print_page(struct ctl *c, struct json_text answer)
{
	struct listing *l = c->state;
	struct json_text entries, next, name, value;
	struct json_walk w;

	if (json_member(answer, "entries", &entries) && json_begin(&w, entries)) {
		while (json_next(&w, &name, &value))
			print_entry(c, value);
	}
	free(take_ptr(&l->after));
	if (!json_member(answer, "next", &next)) {
		finish(c);
		return;
	}
	l->after = strndup(next.p, next.len);
	l->after_len = next.len;
	ASSERT(l->after);
	request(c);
}

static void on_page(void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	struct ctl *c = owner;
	struct listing *l = c->state;
	struct json_text answer = {(const char *)json, len};

	if (error && ctl_link_broke(error))
		return; /* up() asks for this page again */
	if (error && error->err == ENOTDIR && !l->one) {
		l->one = true;
		request(c);
	} else if (error) {
		ctl_say_file("list", c->options.args[0], error);
		ctl_finish(c, CTL_NOT_DONE);
	} else if (l->one) {
		print_entry(c, answer);
		finish(c);
	} else {
		print_page(c, answer);
	}
}

static void request(struct ctl *c)
{
	struct listing *l = c->state;
	char buf[FRAME_PAYLOAD_MAX];
	struct jsonw w;
	int64_t r;

	jsonw_init(&w, buf, sizeof(buf));
	jsonw_open(&w, NULL, '{');
	jsonw_str(&w, "op", l->one ? "file.stat" : "file.list");
	ctl_put_where(&c->options, &w, c->options.args[0]);
	if (l->one)
		jsonw_bool(&w, "follow", false);
	else
		jsonw_bool(&w, "hidden", c->options.all);
	if (l->after)
		jsonw_raw(&w, "after", l->after, l->after_len);
	jsonw_close(&w, '}');
	r = w.overflow ? -EMSGSIZE : guest_ask(&c->guest, w.out, w.len, on_page, c);
	if (r < 0) {
		ctl_say("cannot list %s: %s", c->options.args[0], strerror((int)-r));
		ctl_finish(c, CTL_FAILED);
	}
}

static int begin(struct ctl *c)
{
	static char *here[] = {(char *)".", NULL};

	if (c->options.n_args == 0) {
		c->options.args = here;
		c->options.n_args = 1;
	}
	c->state = xcalloc(1, sizeof(struct listing));
	return 0;
}

static void up(struct ctl *c, bool same)
{
	(void)same;
	request(c);
}

static void end(struct ctl *c)
{
	free(take_ptr(&((struct listing *)c->state)->after));
}

const struct ctl_command ctl_ls = {
	.name = "ls",
	.args = "[-l] [-a] [--json] [PATH]",
	.summary = "list a directory in the guest",
	.about = "Lists what is in the directory PATH (the user's home), sorted by name.",
	.options = OPTION(LONG) | OPTION(ALL) | OPTION(JSON) | OPTION(ROOT) | OPTION(AS),
	.min_args = 0,
	.max_args = 1,
	.begin = begin,
	.up = up,
	.end = end,
};
