/* ports: who listens on TCP in the guest, once or for as long as we watch. */
#include <stdio.h>

#include "bridge/ctl.h"
#include "bridge/ctl_json.h"
#include "proto/msg_net.h"

enum column { COL_ADDRESS, COL_PID, COL_USER, COL_SESSION, COLUMNS };

struct row {
	char cell[COLUMNS][MSG_ID_MAX + 1];
	char *cmd; /* owned */
};

struct ports {
	struct ctl *ctl;
	struct row *rows; /* owned */
	size_t n_rows;
	struct buf json; /* elements, separated by commas */
	char after[MSG_ID_MAX + 1];
	struct channel channel; /* with --watch */
	bool open;
};

#define JSON_MAX (64 * MIB)

/* ---- cells ---- */

/* For a terminal: nothing that a guest's process says of itself may move its cursor. */
static void make_printable(char *s)
{
	for (; *s; s++) {
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			*s = '?';
	}
}

static void fill_row(struct row *r, const struct msg_port *m)
{
	const size_t size = sizeof(r->cell[0]);

	*r = (struct row){.cmd = strdup(m->cmd)};
	ASSERT(r->cmd);
	make_printable(r->cmd);
	snprintf(r->cell[COL_ADDRESS], size, m->v6 ? "[%s]:%u" : "%s:%u", m->address, m->port);
	if (m->pid)
		snprintf(r->cell[COL_PID], size, "%lld", (long long)m->pid);
	if (m->user)
		snprintf(r->cell[COL_USER], size, "%s", m->user);
	else
		snprintf(r->cell[COL_USER], size, "%u", m->uid);
	make_printable(r->cell[COL_USER]);
	make_printable(r->cell[COL_ADDRESS]);
	if (m->session)
		snprintf(r->cell[COL_SESSION], size, "%s", m->session);
}

static void print_row(const struct row *r, const int widths[COLUMNS])
{
	for (int i = 0; i < COLUMNS; i++)
		printf("%*s  ", i == COL_PID ? widths[i] : -widths[i],
			r->cell[i][0] ? r->cell[i] : "-");
	printf("%s\n", r->cmd);
}

static void print_table(const struct ports *p)
{
	static const struct row head = {{"ADDRESS", "PID", "USER", "SESSION"}, (char *)"COMMAND"};
	int widths[COLUMNS] = {0};

	for (size_t i = 0; i <= p->n_rows; i++) {
		const struct row *r = i < p->n_rows ? &p->rows[i] : &head;

		for (int k = 0; k < COLUMNS; k++)
			widths[k] = max_of(widths[k], (int)strlen(r->cell[k]));
	}
	print_row(&head, widths);
	for (size_t i = 0; i < p->n_rows; i++)
		print_row(&p->rows[i], widths);
}

/* ---- once ---- */

static void request_page(struct ctl *c);

static void failed(struct ctl *c, const struct error *error)
{
	ctl_say_error("cannot tell the ports", error);
	ctl_finish(c, CTL_FAILED);
}

static void add_rows(struct ports *p, const struct msg_ports *m)
{
	p->rows = reallocarray(p->rows, p->n_rows + m->n + 1, sizeof(*p->rows));
	ASSERT(p->rows);
	for (size_t i = 0; i < m->n; i++)
		fill_row(&p->rows[p->n_rows++], &m->ports[i]);
}

static void add_json(struct ports *p, const uint8_t *json, size_t len)
{
	struct json_text ports, name, value;
	struct json_walk w;

	if (!json_member((struct json_text){(const char *)json, len}, "ports", &ports) ||
		!json_begin(&w, ports))
		return;
	while (json_next(&w, &name, &value)) {
		const char *sep = buf_len(&p->json) ? ",\n " : "[";
		int r = buf_append(&p->json, sep, strlen(sep));

		ASSERT(r == 0 && buf_append(&p->json, value.p, value.len) == 0);
	}
}

static void finish_once(struct ctl *c)
{
	struct ports *p = c->state;

	if (!c->options.json)
		print_table(p);
	else if (buf_len(&p->json) == 0)
		printf("[]\n");
	else
		printf("%.*s]\n", (int)buf_len(&p->json), (char *)buf_head(&p->json));
	ctl_finish(c, ctl_flush_stdout());
}

static void on_page(void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	struct ctl *c = owner;
	struct ports *p = c->state;
	struct msg_ports m;
	struct error e;

	if (error && ctl_link_broke(error))
		return; /* up() asks for this page again */
	if (!error && msg_parse_ports(json, len, &m, &e) < 0)
		error = &e;
	if (error) {
		failed(c, error);
		return;
	}
	if (c->options.json)
		add_json(p, json, len);
	else
		add_rows(p, &m);
	snprintf(p->after, sizeof(p->after), "%s", m.next ? m.next : "");
	msg_ports_fini(&m);
	if (p->after[0])
		request_page(c);
	else
		finish_once(c);
}

static void request_page(struct ctl *c)
{
	struct ports *p = c->state;
	char json[256];
	size_t len = msg_format_ports_request(p->after[0] ? p->after : NULL, json, sizeof(json));
	int64_t r = guest_ask(&c->guest, json, len, on_page, c);

	if (r < 0) {
		ctl_say("ports: %s", strerror((int)-r));
		ctl_finish(c, CTL_FAILED);
	}
}

/* ---- watching ---- */

static void print_event(const struct msg_port_event *m)
{
	static const int narrow[COLUMNS] = {0};
	struct row r;

	if (m->kind == PORT_EVENT_LIVE)
		return;
	fill_row(&r, &m->port);
	if (m->kind == PORT_EVENT_OPEN) {
		printf("open   ");
		print_row(&r, narrow);
	} else {
		printf("close  %s\n", r.cell[COL_ADDRESS]);
	}
	free(r.cmd);
}

static struct ports *of_channel(struct channel *c)
{
	return container_of(c, struct ports, channel);
}

static void on_event(struct channel *c, const uint8_t *json, size_t len)
{
	struct ctl *ctl = of_channel(c)->ctl;
	struct msg_port_event m;
	struct error e;
	int r;

	if (msg_parse_port_event(json, len, &m, &e) < 0) {
		failed(ctl, &e);
		return;
	}
	if (ctl->options.json)
		printf("%.*s\n", (int)len, (const char *)json);
	else if (m.kind != PORT_EVENT_UNKNOWN)
		print_event(&m);
	msg_port_event_fini(&m);
	r = ctl_flush_stdout();
	if (r)
		ctl_finish(ctl, r);
}

/* A link that breaks brings up() again, and all there is is told again. */
static void on_close(struct channel *c, const uint8_t *json, size_t len)
{
	struct ports *p = of_channel(c);
	struct error e;

	p->open = false;
	if (p->ctl->finished || !mux_linked(c->mux))
		return;
	if (len == 0 || msg_parse_error(json, len, &e) != 1)
		error_set(&e, E_FAILED, 0, "the agent closed the channel");
	failed(p->ctl, &e);
}

static bool pull(struct channel *c, size_t max, struct mux_item *ret)
{
	(void)c, (void)max, (void)ret;
	return false;
}

static void on_opened(struct channel *c, const uint8_t *json, size_t len)
{
	(void)c, (void)json, (void)len;
}

static void on_response(struct channel *c, uint64_t id, const uint8_t *json, size_t len)
{
	(void)c, (void)id, (void)json, (void)len;
}

static void on_data(
	struct channel *c, uint8_t stream, uint64_t off, const uint8_t *data, size_t len, bool fin)
{
	(void)c, (void)stream, (void)off, (void)data, (void)len, (void)fin;
}

static void on_gap(struct channel *c, uint8_t stream, uint64_t off, uint64_t missing)
{
	(void)c, (void)stream, (void)off, (void)missing;
}

static void on_ack(struct channel *c, uint8_t stream, uint64_t off)
{
	(void)c, (void)stream, (void)off;
}

static const struct channel_ops channel_ops = {
	.pull = pull,
	.on_data = on_data,
	.on_opened = on_opened,
	.on_gap = on_gap,
	.on_ack = on_ack,
	.on_event = on_event,
	.on_response = on_response,
	.on_close = on_close,
};

/* ---- the command ---- */

static int begin(struct ctl *c)
{
	struct ports *p = xcalloc(1, sizeof(*p));

	p->ctl = c;
	p->json = BUF_NULL(JSON_MAX);
	c->state = p;
	return 0;
}

static void up(struct ctl *c, bool same)
{
	static const char open[] = "{\"service\":\"ports\"}";
	struct ports *p = c->state;
	int r;

	(void)same;
	if (!c->options.watch) {
		request_page(c);
		return;
	}
	r = guest_open(&c->guest, &p->channel, &channel_ops, 0, open, sizeof(open) - 1);
	p->open = r == 0;
	if (r < 0) {
		ctl_say("ports: %s", strerror(-r));
		ctl_finish(c, CTL_FAILED);
	}
}

static void end(struct ctl *c)
{
	struct ports *p = c->state;

	if (p->open)
		channel_close(&p->channel, NULL, 0);
	for (size_t i = 0; i < p->n_rows; i++)
		free(p->rows[i].cmd);
	free(take_ptr(&p->rows));
	buf_fini(&p->json);
}

const struct ctl_command ctl_ports = {
	.name = "ports",
	.args = "[--json] [--watch]",
	.summary = "list who listens on TCP in the guest",
	.about =
		"Lists the listening sockets, with the process that holds each and the session it\n"
		"belongs to. With --watch it lists them and goes on to tell what opens and closes,\n"
		"one line (with --json: one object) each; after a broken link all is told again.",
	.options = OPTION(JSON) | OPTION(WATCH),
	.begin = begin,
	.up = up,
	.end = end,
};
