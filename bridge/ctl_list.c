/* list and info: what the agent knows, as a table or as the JSON it sent. */
#include <stdio.h>
#include <sys/ioctl.h>
#include <time.h>

#include "bridge/ctl.h"
#include "bridge/ctl_json.h"
#include "bridge/ctl_path.h"
#include "proto/signame.h"
#include "proto/text.h"

#define JSON_MAX (256 * MIB)

enum column { COL_ID, COL_STATE, COL_PID, COL_AGE, COL_OUT, COL_ERR, COL_VIEWERS, COLUMNS };

struct row {
	char cell[COLUMNS][MSG_ID_MAX + 1];
	char *cmd; /* owned */
};

struct list_state {
	struct row *rows; /* owned */
	size_t n_rows;
	struct buf json; /* elements, separated by commas */
	char after[MSG_ID_MAX + 1];
};

static void request_page(struct ctl *c);

/* ---- cells ---- */

static void put_state(char *out, size_t size, const struct msg_end *e)
{
	if (e->state == END_EXITED)
		snprintf(out, size, "exited %d", e->code);
	else if (e->signal)
		snprintf(out, size, "%s %s", end_state_str(e->state), signame_str(e->signal));
	else
		snprintf(out, size, "%s", end_state_str(e->state));
}

static void put_age(char *out, size_t size, uint64_t started_ms)
{
	uint64_t now = (uint64_t)time(NULL), started = started_ms / 1000;
	unsigned long long s =
		now > started ? now - started : 0; /* the guest's clock may be ahead */

	if (s < 100)
		snprintf(out, size, "%llus", s);
	else if (s < 100 * 60)
		snprintf(out, size, "%llum", s / 60);
	else if (s < 48 * 3600)
		snprintf(out, size, "%lluh", s / 3600);
	else
		snprintf(out, size, "%llud", s / 86400);
}

/* For a terminal: nothing in a command line may move its cursor. */
static char *printable(const char *s, size_t len)
{
	char *p = strndup(s, len);

	ASSERT(p);
	for (char *c = p; *c; c++) {
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	}
	return p;
}

static void add_row(struct list_state *l, const struct msg_entry *m)
{
	struct row *r;

	l->rows = reallocarray(l->rows, l->n_rows + 1, sizeof(*l->rows));
	ASSERT(l->rows);
	r = &l->rows[l->n_rows++];
	snprintf(r->cell[COL_ID], sizeof(r->cell[0]), "%s", m->id);
	put_state(r->cell[COL_STATE], sizeof(r->cell[0]), &m->end);
	snprintf(r->cell[COL_PID], sizeof(r->cell[0]), "%lld", (long long)m->pid);
	put_age(r->cell[COL_AGE], sizeof(r->cell[0]), m->end.started_ms);
	ctl_format_bytes(r->cell[COL_OUT], sizeof(r->cell[0]), m->out.head);
	ctl_format_bytes(r->cell[COL_ERR], sizeof(r->cell[0]), m->err.head);
	snprintf(r->cell[COL_VIEWERS], sizeof(r->cell[0]), "%llu", (unsigned long long)m->viewers);
	r->cmd = printable(m->cmd, m->cmd_len);
}

/* ---- the table ---- */

/* How wide a line may be; 0: as wide as it is. */
static int line_width(void)
{
	struct winsize ws;
	const char *columns = getenv("COLUMNS");

	if (!isatty(STDOUT_FILENO))
		return 0;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 0)
		return ws.ws_col;
	return columns ? atoi(columns) : 80;
}

/* The first `width` characters, counting each as one column. */
static void print_cut(const char *s, int width)
{
	size_t n = 0;

	for (; s[n] && width > 0; width--) {
		n++;
		while ((s[n] & 0xc0) == 0x80)
			n++;
	}
	printf("%.*s\n", (int)n, s);
}

static void print_row(const struct row *r, const int widths[COLUMNS], int line)
{
	int used = 0;

	for (int i = 0; i < COLUMNS; i++) {
		/* Words to the left, numbers to the right. */
		int w = i <= COL_STATE ? -widths[i] : widths[i];

		printf("%*s  ", w, r->cell[i]);
		used += widths[i] + 2;
	}
	if (line == 0)
		printf("%s\n", r->cmd);
	else
		print_cut(r->cmd, max_of(line - used, 8));
}

static void print_table(const struct list_state *l)
{
	static struct row head = {
		{"ID", "STATE", "PID", "AGE", "OUT", "ERR", "VIEWERS"}, (char *)"COMMAND"};
	int widths[COLUMNS] = {0}, line = line_width();

	for (size_t i = 0; i <= l->n_rows; i++) {
		const struct row *r = i < l->n_rows ? &l->rows[i] : &head;

		for (int k = 0; k < COLUMNS; k++)
			widths[k] = max_of(widths[k], (int)strlen(r->cell[k]));
	}
	print_row(&head, widths, line);
	for (size_t i = 0; i < l->n_rows; i++)
		print_row(&l->rows[i], widths, line);
}

/* ---- pages ---- */

static void add_json(struct list_state *l, const uint8_t *json, size_t len)
{
	struct json_text sessions, name, value;
	struct json_walk w;

	if (!json_member((struct json_text){(const char *)json, len}, "sessions", &sessions) ||
		!json_begin(&w, sessions))
		return;
	while (json_next(&w, &name, &value)) {
		const char *sep = buf_len(&l->json) ? ",\n " : "[";
		int r = buf_append(&l->json, sep, strlen(sep));

		ASSERT(r == 0 && buf_append(&l->json, value.p, value.len) == 0);
	}
}

static void finish_list(struct ctl *c)
{
	struct list_state *l = c->state;

	if (!c->options.json)
		print_table(l);
	else if (buf_len(&l->json) == 0)
		printf("[]\n");
	else
		printf("%.*s]\n", (int)buf_len(&l->json), (char *)buf_head(&l->json));
	ctl_finish(c, ctl_flush_stdout());
}

static void on_page(void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	struct ctl *c = owner;
	struct list_state *l = c->state;
	struct msg_list m;
	struct error e;

	if (error && ctl_link_broke(error))
		return; /* up() asks for this page again */
	if (!error && msg_parse_list(json, len, &m, &e) < 0)
		error = &e;
	if (error) {
		ctl_say_error("cannot list", error);
		ctl_finish(c, CTL_FAILED);
		return;
	}
	for (size_t i = 0; i < m.n && !c->options.json; i++)
		add_row(l, &m.entries[i]);
	if (c->options.json)
		add_json(l, json, len);
	snprintf(l->after, sizeof(l->after), "%s", m.next ? m.next : "");
	msg_list_fini(&m);
	if (l->after[0])
		request_page(c);
	else
		finish_list(c);
}

static void request_page(struct ctl *c)
{
	struct list_state *l = c->state;
	struct msg_request m = {
		.op = OP_LIST, .limit = 256, .after = l->after[0] ? l->after : NULL};

	ctl_request(c, &m, on_page);
}

static int begin_list(struct ctl *c)
{
	struct list_state *l = xcalloc(1, sizeof(*l));

	l->json = BUF_NULL(JSON_MAX);
	c->state = l;
	return 0;
}

static void up_list(struct ctl *c, bool same)
{
	(void)same;
	request_page(c);
}

static void end_list(struct ctl *c)
{
	struct list_state *l = c->state;

	for (size_t i = 0; i < l->n_rows; i++)
		free(l->rows[i].cmd);
	free(take_ptr(&l->rows));
	buf_fini(&l->json);
}

const struct ctl_command ctl_list = {
	.name = "list",
	.args = "[--json]",
	.summary = "list the sessions",
	.about = "Lists the agent's sessions in the order they were started, those that ended a\n"
		 "short while ago included. OUT and ERR are bytes of output so far.",
	.options = OPTION(JSON),
	.begin = begin_list,
	.up = up_list,
	.end = end_list,
};

/* ---- info ---- */

static void print_info(struct json_text object)
{
	struct json_text name, value;
	struct json_walk w;

	if (!json_begin(&w, object))
		return;
	while (json_next(&w, &name, &value)) {
		bool quoted = value.len >= 2 && value.p[0] == '"';

		printf("%-14.*s %.*s\n", (int)name.len, name.p, (int)(value.len - 2 * quoted),
			value.p + quoted);
	}
}

static void on_info(void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	struct ctl *c = owner;

	if (error && ctl_link_broke(error))
		return;
	if (error) {
		ctl_say_error("cannot get info", error);
		ctl_finish(c, CTL_FAILED);
		return;
	}
	if (c->options.json)
		printf("%.*s\n", (int)len, (const char *)json);
	else
		print_info((struct json_text){(const char *)json, len});
	ctl_finish(c, ctl_flush_stdout());
}

static int begin_info(struct ctl *c)
{
	(void)c;
	return 0;
}

static void up_info(struct ctl *c, bool same)
{
	(void)same;
	ctl_request(c, &(struct msg_request){.op = OP_INFO}, on_info);
}

const struct ctl_command ctl_info = {
	.name = "info",
	.args = "[--json]",
	.summary = "show what the agent says of itself",
	.about = "Shows the agent's version, limits, what it listens on, and its load.",
	.options = OPTION(JSON),
	.begin = begin_info,
	.up = up_info,
};
