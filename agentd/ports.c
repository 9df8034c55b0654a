/*
 * One scan at a time serves everybody. Who comes while one is under way gets the next, as that one
 * may have looked already.
 */
#include "agentd/ports_internal.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "agentd/user.h"

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

#define LOOKS 3 /* then its holder is none that we can see */

char ports_text[FRAME_PAYLOAD_MAX];

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

void ports_fill_msg(const struct sockdiag_entry *s, struct msg_port *m)
{
	*m = (struct msg_port){.v6 = s->v6, .port = s->port, .inode = s->inode, .uid = s->uid};
	inet_ntop(s->v6 ? AF_INET6 : AF_INET, s->addr, m->address, sizeof(m->address));
}

void ports_put_entry(struct jsonw *w, const struct port *e)
{
	struct msg_port m;

	ports_fill_msg(&e->s, &m);
	m.pid = e->pid;
	m.cmd = e->cmd;
	m.cmd_len = e->cmd_len;
	m.cmd_cut = e->cmd_cut;
	m.user = e->user;
	m.session = e->session;
	msg_put_port(w, &m, false);
}

/* ---- looking ---- */

static void on_timer(uv_timer_t *t)
{
	ports_look(t->data);
}

void ports_rest(struct ports *p)
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

static void answer(struct ports *p, int err);

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
		ports_tell(p, err);
		if (!list_empty(&p->asked) || ports_somebody_new(p))
			ports_look(p);
		else if (!list_empty(&p->watchers))
			uv_timer_start(&p->timer, on_timer, PORTS_PERIOD_MS, 0);
		ports_rest(p);
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

void ports_look(struct ports *p)
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
	ports_count_watchers(p);
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
	ports_tell(p, r);
	ports_rest(p);
}

void ports_set_error(struct error *e, int err)
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
	jsonw_init(&w, ports_text, sizeof(ports_text) - 64); /* room for `next` */
	jsonw_open(&w, NULL, '{');
	jsonw_open(&w, "ports", '[');
	for (; i < p->n; i++) {
		mark = jsonw_mark(&w);
		jsonw_open(&w, NULL, '{');
		ports_put_entry(&w, &p->table[i]);
		jsonw_close(&w, '}');
		if (w.overflow) {
			jsonw_rewind(&w, mark);
			break;
		}
	}
	w.size = sizeof(ports_text);
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
		ports_set_error(&e, err);
	list_for_each_safe (a, &p->served, struct asked, node) {
		list_remove(&a->node);
		p->n_asked--;
		if (!a->reply.link)
			; /* nobody is there any more */
		else if (err < 0)
			reply_error(&a->reply, &e);
		else
			reply_send(&a->reply, ports_text, put_page(p, a));
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
	ports_look(p);
	return 0;
}

const struct request_family net_family = {.name = "net", .request = net_request};

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
