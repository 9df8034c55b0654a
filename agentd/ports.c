/*
 * One scan at a time serves everybody. Who comes while one is under way gets the next, as that one
 * may have looked already.
 *
 * A watcher has no queue of events. It remembers what it was told of (`told`, sorted like the
 * table) and is told the next difference when its link takes one; so what it holds is bounded
 * however slow it is, and what came and went meanwhile cancels out.
 */
#include "agentd/ports.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "agentd/user.h"
#include "proto/msg_net.h"

struct port {
	struct sockdiag_entry s;
	unsigned looks; /* how often its holder was looked for */
	pid_t pid;
	char *cmd; /* owned, as are the others */
	size_t cmd_len;
	bool cmd_cut;
	char *user, *session; /* NULL: none */
};

struct ports_scan {
	struct work work;
	struct ports *ports;
	struct portscan scan;
};

/* A request. */
struct asked {
	struct list node;
	struct reply reply;
	struct sockdiag_entry after;
};

struct watcher {
	struct channel channel;
	struct service_link *link;
	struct ports *ports;
	struct list node;
	bool counted; /* the scan under way is for it too */
	bool ready;   /* a scan that began after it came is done */
	bool live;    /* and it has been told of all */
	struct sockdiag_entry *told;
	size_t n_told, room;
	/* Up to here both say the same, as of that version of the table. */
	size_t at_told, at_table;
	unsigned version;
};

#define LOOKS 3 /* then its holder is none that we can see */

static char text[FRAME_PAYLOAD_MAX]; /* an answer, or an event until the mux has it */

/* ---- the table ---- */

static void free_port(struct port *p)
{
	free(p->cmd);
	free(p->user);
	free(p->session);
}

static void drop_table(struct ports *p)
{
	for (size_t i = 0; i < p->n; i++)
		free_port(&p->table[i]);
	free(take_ptr(&p->table));
	p->n = 0;
}

static char *user_name(uid_t uid)
{
	struct user u;

	return user_by_uid(uid, &u) == 0 && u.name[0] ? strdup(u.name) : NULL;
}

static bool in_line(const struct portscan_port *f, pid_t pid)
{
	bool found = f->pid == pid;

	for (size_t i = 0; i < PORTSCAN_LINE && f->line[i] && !found; i++)
		found = f->line[i] == pid;
	return found;
}

/* By cgroup, where there are any; else by its process group, session, or a parent. */
static char *session_of(const struct ports *p, const struct portscan_port *f)
{
	list_for_each (s, &p->sessions->by_age, struct session, by_age) {
		const struct record *rec = s->rec;

		if (f->leaf[0] ? strcmp(rec->cgroup, f->leaf) == 0
			       : rec->pid > 1 && !rec->cgroup[0] && in_line(f, rec->pid))
			return strdup(rec->id);
	}
	return NULL;
}

static struct port *find_port(const struct ports *p, const struct sockdiag_entry *s)
{
	size_t lo = 0, hi = p->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (portscan_compare(&p->table[mid].s, s) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < p->n && portscan_compare(&p->table[lo].s, s) == 0 ? &p->table[lo] : NULL;
}

/* What was found, with what the table knows of it already; it leaves both. */
static struct port merge(struct ports *p, struct portscan_port *f)
{
	struct port *old = find_port(p, &f->s), new = {.s = f->s};

	if (old) {
		new = *old;
		*old = (struct port){.s = f->s};
	} else {
		new.user = user_name(f->s.uid);
	}
	new.looks += f->looked;
	if (f->pid) {
		free(new.cmd);
		free(new.session);
		new.pid = f->pid;
		new.cmd = take_ptr(&f->cmd);
		new.cmd_len = f->cmd_len;
		new.cmd_cut = f->cmd_cut;
		new.session = session_of(p, f);
	}
	return new;
}

static int take_found(struct ports *p, struct portscan *found)
{
	struct port *table = calloc(found->n + 1, sizeof(*table));
	size_t n = found->n;

	if (!table)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		table[i] = merge(p, &found->ports[i]);
	drop_table(p);
	p->table = table;
	p->n = n;
	p->version++;
	return 0;
}

static void fill_msg(const struct sockdiag_entry *s, struct msg_port *m)
{
	*m = (struct msg_port){.v6 = s->v6, .port = s->port, .inode = s->inode, .uid = s->uid};
	inet_ntop(s->v6 ? AF_INET6 : AF_INET, s->addr, m->address, sizeof(m->address));
}

static void put_entry(struct jsonw *w, const struct port *e)
{
	struct msg_port m;

	fill_msg(&e->s, &m);
	m.pid = e->pid;
	m.cmd = e->cmd;
	m.cmd_len = e->cmd_len;
	m.cmd_cut = e->cmd_cut;
	m.user = e->user;
	m.session = e->session;
	msg_put_port(w, &m, false);
}

/* ---- looking ---- */

static void look(struct ports *p);

static void on_timer(uv_timer_t *t)
{
	look(t->data);
}

/* Nothing is kept for nobody. */
static void rest(struct ports *p)
{
	if (!list_empty(&p->watchers) || !list_empty(&p->asked) || p->scan)
		return;
	uv_timer_stop(&p->timer);
	drop_table(p);
}

static void run(struct work *w)
{
	portscan_run(&container_of(w, struct ports_scan, work)->scan);
}

static bool somebody_new(const struct ports *p)
{
	return !list_empty(&p->watchers) &&
	       !list_entry(p->watchers.prev, struct watcher, node)->ready;
}

static void answer(struct ports *p, int err);
static void tell(struct ports *p, int err);

static void done(struct work *w)
{
	struct ports_scan *s = container_of(w, struct ports_scan, work);
	struct ports *p = s->ports;
	int err = s->scan.error;

	p->scan = NULL;
	if (!p->closing) {
		if (err == 0)
			err = take_found(p, &s->scan);
		answer(p, err);
		tell(p, err);
		if (!list_empty(&p->asked) || somebody_new(p))
			look(p);
		else if (!list_empty(&p->watchers))
			uv_timer_start(&p->timer, on_timer, PORTS_PERIOD_MS, 0);
		rest(p);
	}
	portscan_fini(&s->scan);
	free(s);
}

static int compare_inodes(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static int fill_scan(const struct ports *p, struct portscan *s)
{
	const char *path = p->sessions->cgroup.path, *base = strrchr(path, '/');

	snprintf(s->cgroup, sizeof(s->cgroup), "%s", base ? base + 1 : "");
	s->known = calloc(p->n + 1, sizeof(*s->known));
	if (!s->known)
		return -ENOMEM;
	for (size_t i = 0; i < p->n; i++) {
		if (p->table[i].pid || p->table[i].looks >= LOOKS)
			s->known[s->n_known++] = p->table[i].s.inode;
	}
	if (s->n_known > 0)
		qsort(s->known, s->n_known, sizeof(*s->known), compare_inodes);
	return 0;
}

/* Begins a scan unless one is under way; whoever waits now is waiting for this one. */
static void look(struct ports *p)
{
	struct ports_scan *s;
	int r = -ENOMEM;

	if (p->scan)
		return;
	uv_timer_stop(&p->timer);
	while (!list_empty(&p->asked)) {
		struct list *node = p->asked.next;

		list_remove(node);
		list_append(&p->served, node);
	}
	list_for_each (w, &p->watchers, struct watcher, node)
		w->counted = true;
	s = calloc(1, sizeof(*s));
	if (s) {
		s->ports = p;
		s->work = (struct work){.run = run, .done = done};
		r = fill_scan(p, &s->scan);
		r = r < 0 ? r : workers_submit(p->workers, &s->work);
	}
	if (r == 0) {
		p->scan = s;
		return;
	}
	if (s)
		portscan_fini(&s->scan);
	free(s);
	answer(p, r);
	tell(p, r);
	rest(p);
}

static void set_error(struct error *e, int err)
{
	error_set(e, E_FAILED, -err, "the kernel does not tell who listens: %s", strerror(-err));
}

/* ---- net.ports ---- */

static size_t put_page(const struct ports *p, const struct asked *a)
{
	struct jsonw w, mark;
	size_t i = 0;
	char next[48];

	while (i < p->n && portscan_compare(&p->table[i].s, &a->after) <= 0)
		i++;
	jsonw_init(&w, text, sizeof(text) - 64); /* room for `next` */
	jsonw_open(&w, NULL, '{');
	jsonw_open(&w, "ports", '[');
	for (; i < p->n; i++) {
		mark = jsonw_mark(&w);
		jsonw_open(&w, NULL, '{');
		put_entry(&w, &p->table[i]);
		jsonw_close(&w, '}');
		if (w.overflow) {
			jsonw_rewind(&w, mark);
			break;
		}
	}
	w.size = sizeof(text);
	jsonw_close(&w, ']');
	if (i < p->n) {
		snprintf(next, sizeof(next), "%u.%llu", p->table[i - 1].s.port,
			(unsigned long long)p->table[i - 1].s.inode);
		jsonw_str(&w, "next", next);
	}
	jsonw_close(&w, '}');
	ASSERT(!w.overflow);
	return w.len;
}

static void answer(struct ports *p, int err)
{
	struct error e;

	if (err < 0)
		set_error(&e, err);
	list_for_each_safe (a, &p->served, struct asked, node) {
		list_remove(&a->node);
		p->n_asked--;
		if (!a->reply.link)
			; /* nobody is there any more */
		else if (err < 0)
			reply_error(&a->reply, &e);
		else
			reply_send(&a->reply, text, put_page(p, a));
		free(a);
	}
}

static int net_request(
	struct service_link *l, uint64_t id, const char *op, struct json json, struct error *e)
{
	struct ports *p = l->ports;
	struct sockdiag_entry after = {0};
	struct asked *a;
	int r;

	if (strcmp(op, "ports") != 0)
		return error_set(e, E_UNKNOWN_OP, 0, "there is no operation \"net.%.64s\"", op);
	r = msg_parse_ports_request(json.text, json.len, &after.port, &after.inode, e);
	if (r < 0)
		return r;
	if (p->n_asked >= PORTS_ASKED_MAX)
		return error_set(e, E_TOO_MANY, 0, "too many are asking already");
	a = calloc(1, sizeof(*a));
	if (!a)
		return error_set(e, E_FAILED, ENOMEM, "out of memory");
	a->after = after;
	list_init(&a->node);
	list_append(&p->asked, &a->node);
	p->n_asked++;
	reply_init(&a->reply, l, 0, id);
	look(p);
	return 0;
}

const struct request_family net_family = {.name = "net", .request = net_request};

/* ---- watchers ---- */

static int add_told(struct watcher *w, const struct sockdiag_entry *s)
{
	if (w->n_told == w->room) {
		size_t room = w->room ? w->room * 2 : 16;
		struct sockdiag_entry *told = realloc(w->told, room * sizeof(*told));

		if (!told)
			return -ENOMEM;
		w->told = told;
		w->room = room;
	}
	memmove(w->told + w->at_told + 1, w->told + w->at_told,
		(w->n_told - w->at_told) * sizeof(*w->told));
	w->told[w->at_told] = *s;
	w->n_told++;
	return 0;
}

static void remove_told(struct watcher *w)
{
	w->n_told--;
	memmove(w->told + w->at_told, w->told + w->at_told + 1,
		(w->n_told - w->at_told) * sizeof(*w->told));
}

/* Goes on to the first difference. < 0: told of, but gone; > 0: there, but not told; 0: none. */
static int next_difference(struct watcher *w)
{
	const struct ports *p = w->ports;

	if (w->version != p->version)
		w->at_told = w->at_table = 0;
	w->version = p->version;
	while (w->at_told < w->n_told && w->at_table < p->n) {
		int order = portscan_compare(&w->told[w->at_told], &p->table[w->at_table].s);

		if (order)
			return order;
		w->at_told++;
		w->at_table++;
	}
	return w->at_told < w->n_told ? -1 : w->at_table < p->n;
}

static void put_event(struct jsonw *w, const char *word)
{
	jsonw_init(w, text, sizeof(text));
	jsonw_open(w, NULL, '{');
	jsonw_str(w, "event", word);
}

static void close_with(struct watcher *w, const struct error *e)
{
	char json[ERROR_JSON_MAX];

	w->link->wake(w->link);
	channel_close(&w->channel, json, error_json(e, json));
}

static bool pull(struct channel *c, size_t max, struct mux_item *ret)
{
	struct watcher *w = container_of(c, struct watcher, channel);
	int difference = w->ready ? next_difference(w) : 0;
	struct msg_port m;
	struct jsonw out;

	(void)max;
	if (!w->ready || (difference == 0 && w->live))
		return false;
	if (difference < 0) {
		put_event(&out, "close");
		fill_msg(&w->told[w->at_told], &m);
		msg_put_port(&out, &m, true);
		remove_told(w);
	} else if (difference > 0) {
		struct port *e = &w->ports->table[w->at_table];

		if (add_told(w, &e->s) < 0) {
			struct error error;

			error_set(&error, E_FAILED, ENOMEM, "out of memory");
			close_with(w, &error);
			return false;
		}
		put_event(&out, "open");
		put_entry(&out, e);
	} else {
		put_event(&out, "live");
		w->live = true;
	}
	jsonw_close(&out, '}');
	ASSERT(!out.overflow);
	*ret = (struct mux_item){.type = FRAME_EVENT, .data = text, .len = out.len};
	return true;
}

static void tell(struct ports *p, int err)
{
	struct error e;

	if (err < 0)
		set_error(&e, err);
	list_for_each_safe (w, &p->watchers, struct watcher, node) {
		if (!w->counted)
			continue;
		w->counted = false;
		w->ready = true;
		if (err < 0) {
			close_with(w, &e);
			continue;
		}
		channel_ready(&w->channel);
		w->link->wake(w->link);
	}
}

static void on_data(
	struct channel *c, uint8_t stream, uint64_t off, const uint8_t *data, size_t len, bool fin)
{
	(void)c, (void)stream, (void)off, (void)data, (void)len,
		(void)fin; /* only a FIN can come */
}

static void on_request(struct channel *c, uint64_t id, const uint8_t *json, size_t len)
{
	struct error e;
	char answer_text[ERROR_JSON_MAX];

	(void)json, (void)len;
	error_set(&e, E_UNKNOWN_OP, 0, "there are no operations on a ports channel");
	mux_respond(c->mux, c->id, id, answer_text, error_json(&e, answer_text));
}

static void on_close(struct channel *c, const uint8_t *error, size_t len)
{
	struct watcher *w = container_of(c, struct watcher, channel);
	struct ports *p = w->ports;

	(void)error, (void)len;
	list_remove(&w->node);
	free(w->told);
	free(w);
	rest(p);
}

static const struct channel_ops channel_ops = {
	.pull = pull,
	.on_data = on_data,
	.on_request = on_request,
	.on_close = on_close,
};

static int ports_open(struct service_link *l, uint32_t channel, const struct msg_open *m,
	struct json json, struct error *e)
{
	struct watcher *w = calloc(1, sizeof(*w));

	(void)json; /* it has no members of its own */
	if (!w)
		return error_set(e, E_FAILED, ENOMEM, "out of memory");
	w->link = l;
	w->ports = l->ports;
	list_init(&w->node);
	list_append(&l->ports->watchers, &w->node);
	mux_accept(l->mux, channel, &w->channel, &channel_ops, 0, m->window, true, "{\"window\":0}",
		12);
	look(l->ports);
	return 0;
}

const struct service ports_service = {.name = "ports", .open = ports_open};

/* ---- life ---- */

int ports_init(struct ports *p, uv_loop_t *loop, struct workers *workers, struct sessions *sessions)
{
	*p = (struct ports){.workers = workers, .sessions = sessions};
	list_init(&p->asked);
	list_init(&p->served);
	list_init(&p->watchers);
	p->timer.data = p;
	return uv_timer_init(loop, &p->timer);
}

void ports_close(struct ports *p)
{
	ASSERT(list_empty(&p->watchers));
	p->closing = true;
	while (!list_empty(&p->asked)) {
		struct list *node = p->asked.next;

		list_remove(node);
		list_append(&p->served, node);
	}
	answer(p, -ECANCELED); /* to nobody: the links are gone */
	drop_table(p);
	uv_close((uv_handle_t *)&p->timer, NULL);
}
