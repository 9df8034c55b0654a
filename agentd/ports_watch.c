/*
 * A watcher has no queue of events. It remembers what it was told of (`told`, sorted like the
 * table) and is told the next difference when its link takes one; so what it holds is bounded
 * however slow it is, and what came and went meanwhile cancels out.
 */
#include "agentd/ports_internal.h"

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
	/* Up to here it was told what closed, then what opened, as of that version of the table. */
	size_t at_told, at_table;
	bool opening;
	unsigned version;
};

bool ports_somebody_new(const struct ports *p)
{
	return !list_empty(&p->watchers) &&
	       !list_entry(p->watchers.prev, struct watcher, node)->ready;
}

void ports_count_watchers(struct ports *p)
{
	list_for_each (w, &p->watchers, struct watcher, node)
		w->counted = true;
}

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

static void begin_pass(struct watcher *w, bool opening)
{
	w->opening = opening;
	w->at_told = w->at_table = 0;
}

/*
 * Goes on to the first difference. < 0: told of, but gone; > 0: there, but not told; 0: none.
 * All that closed comes first: a socket that takes over another's address may have any inode.
 */
static int next_difference(struct watcher *w)
{
	const struct ports *p = w->ports;

	if (w->version != p->version)
		begin_pass(w, false);
	w->version = p->version;
	for (;;) {
		bool more_told = w->at_told < w->n_told, more_table = w->at_table < p->n;
		int order = !more_told    ? more_table
			    : !more_table ? -1
					  : portscan_compare(
						    &w->told[w->at_told], &p->table[w->at_table].s);

		if (order < 0 || (order > 0 && w->opening))
			return order;
		if (!more_told && !more_table && w->opening)
			return 0;
		if (!more_told && !w->opening) {
			begin_pass(w, true);
			continue;
		}
		w->at_told += order == 0;
		w->at_table++;
	}
}

static void put_event(struct jsonw *w, const char *word)
{
	jsonw_init(w, ports_text, sizeof(ports_text));
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
		ports_fill_msg(&w->told[w->at_told], &m);
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
		ports_put_entry(&out, e);
	} else {
		put_event(&out, "live");
		w->live = true;
	}
	jsonw_close(&out, '}');
	ASSERT(!out.overflow);
	*ret = (struct mux_item){.type = FRAME_EVENT, .data = ports_text, .len = out.len};
	return true;
}

void ports_tell(struct ports *p, int err)
{
	struct error e;

	if (err < 0)
		ports_set_error(&e, err);
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
	ports_rest(p);
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
	ports_look(l->ports);
	return 0;
}

const struct service ports_service = {.name = "ports", .open = ports_open};
