#include "agentd/viewer.h"

#include <stdio.h>

#include "agentd/session_internal.h"
#include "agentd/terminal.h"

/* ---- places ---- */

uint64_t place_pin(const struct record *rec)
{
	uint64_t min = UINT64_MAX;

	for (int i = 0; i < RECORD_PLACES; i++) {
		if (rec->places[i].hold_until)
			min = min_of(min, rec->places[i].pos);
	}
	return min;
}

uint64_t place_expire(struct record *rec, uint64_t now)
{
	uint64_t next = 0;

	for (int i = 0; i < RECORD_PLACES; i++) {
		struct viewer_place *p = &rec->places[i];

		if (p->hold_until && p->hold_until <= now)
			p->hold_until = 0;
		else if (p->hold_until && (next == 0 || p->hold_until < next))
			next = p->hold_until;
	}
	return next;
}

unsigned place_held(const struct record *rec)
{
	unsigned n = 0;

	for (int i = 0; i < RECORD_PLACES; i++)
		n += rec->places[i].hold_until != 0;
	return n;
}

static struct viewer_place *place_find(struct record *rec, const char *name)
{
	for (int i = 0; i < RECORD_PLACES; i++) {
		if (strcmp(rec->places[i].name, name) == 0)
			return &rec->places[i];
	}
	return NULL;
}

bool place_is_held(struct record *rec, const char *name)
{
	const struct viewer_place *p = place_find(rec, name);

	return p && p->hold_until;
}

/* The place of that name, else one that nobody will miss; NULL: all are attached or held. */
static struct viewer_place *place_take(struct record *rec, const char *name)
{
	struct viewer_place *best = place_find(rec, name);

	if (best)
		return best;
	for (int i = 0; i < RECORD_PLACES; i++) {
		struct viewer_place *p = &rec->places[i];

		if (!p->attached && !p->hold_until && (!best || p->last_used < best->last_used))
			best = p;
	}
	if (best) {
		*best = (struct viewer_place){0};
		snprintf(best->name, sizeof(best->name), "%s", name);
	}
	return best;
}

static struct viewer *viewer_at(struct session *s, const struct viewer_place *p)
{
	list_for_each (v, &s->viewers, struct viewer, link) {
		if (v->place == p)
			return v;
	}
	return NULL;
}

static int take_place(struct viewer *v, struct session *s, const struct msg_attach *a,
	struct viewer *old, struct error *e)
{
	v->place = place_take(s->rec, a->viewer);
	if (!v->place)
		return error_set(e, E_TOO_MANY, EUSERS, "session %s has %d named viewers already",
			s->rec->id, RECORD_PLACES);
	if (old) {
		/* Between the two nobody would pin the store, and detaching makes room in it. */
		v->place->hold_until = UINT64_MAX;
		viewer_detach(old, false);
		old->events->on_kicked(old, E_TAKEN_OVER);
	}
	v->place->attached = true;
	v->place->hold_until = 0;
	v->place->hold_ms = a->hold_ms;
	v->place->lossless = a->policy == POLICY_LOSSLESS;
	return 0;
}

/* ---- attach and detach ---- */

static bool holds(const struct viewer *v)
{
	return v->place && v->attach.policy == POLICY_LOSSLESS && v->attach.hold_ms > 0;
}

/* old: the viewer whose place is taken over, and which therefore does not count. */
static int check_limits(const struct session *s, const struct msg_attach *a,
	const struct viewer *old, struct error *e)
{
	unsigned viewers = s->n_viewers - (old ? 1 : 0),
		 writers = s->n_writers - (old && old->writer ? 1 : 0);

	if (viewers >= SESSION_VIEWERS)
		return error_set(e, E_TOO_MANY, EUSERS, "session %s has %d viewers already",
			s->rec->id, SESSION_VIEWERS);
	if (a->input && writers >= SESSION_WRITERS)
		return error_set(e, E_TOO_MANY, EUSERS, "session %s has %d writers already",
			s->rec->id, SESSION_WRITERS);
	return 0;
}

int viewer_attach(struct viewer *v, struct session *s, const struct msg_attach *a,
	const struct viewer_events *events, struct error *e)
{
	struct viewer_place *place = a->viewer ? place_find(s->rec, a->viewer) : NULL;
	bool held = place && place->lossless && (place->hold_until || place->attached);
	bool back = place && (place->hold_until || place->attached);
	struct viewer *old = place ? viewer_at(s, place) : NULL;
	struct store_cursor cursor;
	int r = 0;

	if (a->since_now)
		store_seek_now(&s->store, &cursor);
	else
		r = store_seek(&s->store, &cursor, a->since_out, a->since_err, held);
	if (r < 0)
		return error_set(e, E_BAD_OFFSET, 0,
			"session %s has no output at these offsets yet", s->rec->id);
	*v = (struct viewer){.events = events, .attach = *a, .cursor = cursor, .took = true};
	list_init(&v->link);
	if ((r = check_limits(s, a, old, e)) < 0 ||
		(a->viewer && (r = take_place(v, s, a, old, e)) < 0))
		return r;
	v->attach.viewer = NULL;
	v->writer = a->input && s->has_in;
	v->live_pos = store_head(&s->store);
	v->skew = v->pin = store_cursor_pos(&v->cursor);
	if (v->place)
		v->place->pos = v->pin;
	v->session = s;
	session_link_viewer(s, v);
	terminal_attached(v, back);
	return 0;
}

void viewer_detach(struct viewer *v, bool hold)
{
	struct session *s = v->session;
	uint64_t now;

	if (!s)
		return;
	v->session = NULL;
	if (v->place) {
		now = now_ms();
		v->place->attached = false;
		v->place->last_used = now;
		if (hold && holds(v) && !v->yields)
			v->place->hold_until = now + v->attach.hold_ms;
		v->place = NULL;
	}
	session_unlink_viewer(s, v);
}

/* ---- output ---- */

uint64_t viewer_pin(const struct viewer *v)
{
	if (v->attach.policy == POLICY_LIVE || v->yields)
		return UINT64_MAX;
	return holds(v) ? v->pin : store_cursor_pos(&v->cursor);
}

bool viewer_waits(const struct viewer *v)
{
	return viewer_pin(v) != UINT64_MAX &&
	       store_cursor_pos(&v->cursor) == store_head(&v->session->store);
}

static void note_took(struct viewer *v)
{
	v->took = true;
	v->yields = false;
}

/* Payload bytes and positions run in step except where something was skipped; then they are off by
 * `skew`. */
static void note_skew(struct viewer *v)
{
	uint64_t skew = store_cursor_pos(&v->cursor) - v->sent;

	if (skew != v->skew) {
		v->skew = skew;
		v->skew_mark = v->sent;
	}
}

void viewer_consumed(struct viewer *v, uint64_t total)
{
	if (!v->session || !holds(v))
		return;
	if (total > v->taken) {
		v->taken = total;
		note_took(v);
	}
	if (total < v->skew_mark)
		return;
	total = min_of(total, v->sent) + v->skew;
	if (total <= v->pin)
		return;
	v->pin = v->place->pos = total;
	session_unpin(v->session);
}

static bool give_event(struct viewer *v, struct mux_item *ret, size_t len)
{
	*ret = (struct mux_item){.type = FRAME_EVENT, .data = v->scratch, .len = len};
	return true;
}

static bool give_live(struct viewer *v, struct mux_item *ret)
{
	static const char text[] = "{\"event\":\"live\"}";

	v->live_sent = true;
	memcpy(v->scratch, text, sizeof(text));
	return give_event(v, ret, sizeof(text) - 1);
}

static bool give_end(struct viewer *v, struct mux_item *ret)
{
	struct jsonw w;

	v->end_sent = true;
	jsonw_init(&w, (char *)v->scratch, sizeof(v->scratch));
	msg_put_end(&w, NULL, &v->session->rec->end, true);
	ASSERT(!w.overflow);
	return give_event(v, ret, w.len);
}

/* Is there anything that takes credit? A gap in front of it waits for the credit as well: until
 * then it may grow. */
static bool has_data(const struct viewer *v)
{
	struct store *s = &v->session->store;
	struct store_cursor c = v->cursor;
	struct store_piece p;

	for (store_peek(s, &c, 0, &p); p.kind == STORE_GAP; store_peek(s, &c, 0, &p))
		store_advance(s, &c, &p, 0);
	return p.kind == STORE_DATA;
}

static bool give_piece(
	struct viewer *v, size_t max, const struct store_piece *p, struct mux_item *ret)
{
	struct session *s = v->session;

	*ret = (struct mux_item){.stream = (uint8_t)p->stream, .arg = p->off};
	if (max == 0 && has_data(v))
		return false;
	if (p->kind == STORE_GAP) {
		ret->type = FRAME_GAP;
		put_u64(v->scratch, p->len);
		ret->data = v->scratch;
		ret->len = 8;
	} else {
		ret->type = FRAME_DATA;
		ret->data = p->data;
		ret->len = (size_t)p->len;
		v->sent += p->len;
		if (!holds(v))
			note_took(v);
	}
	store_advance(&s->store, &v->cursor, p, (size_t)p->len);
	note_skew(v);
	return true;
}

bool viewer_next(struct viewer *v, size_t max, struct mux_item *ret)
{
	struct session *s = v->session;
	struct store_piece p;
	uint64_t pos;
	size_t len;

	if (!s)
		return false;
	if (terminal_news(v, (char *)v->scratch, sizeof(v->scratch), &len))
		return give_event(v, ret, len);
	/* Only now, not when the last piece was given: room is made by dropping what is behind the
	 * cursor, and until the next call the mux may still be sending that from its place in the
	 * ring. */
	session_unpin(s);
	store_peek(&s->store, &v->cursor, max_of(max, (size_t)1), &p);
	note_skew(v);
	pos = store_cursor_pos(&v->cursor);
	if (!v->live_sent && pos >= v->live_pos)
		return give_live(v, ret);
	if (v->live_sent && !v->end_sent && session_ended(s) && pos >= s->rec->end_pos)
		return give_end(v, ret);
	if (p.kind != STORE_NOTHING)
		return give_piece(v, max, &p, ret);
	if (!v->end_sent || !session_silent(s))
		return false;
	*ret = (struct mux_item){.type = FRAME_CLOSE};
	return true;
}

/* ---- input ---- */

static bool stdin_open(const struct session *s)
{
	return s->rec->fd[0] >= 0 && !s->rec->stdin_eof;
}

uint64_t viewer_input_offset(const struct viewer *v)
{
	return v->place ? v->place->in_off : v->in_off;
}

uint64_t viewer_input_space(const struct viewer *v)
{
	if (!v->session || !v->writer || !stdin_open(v->session))
		return 0;
	return SESSION_STDIN_WINDOW - min_of(inq_len(&v->session->in), SESSION_STDIN_WINDOW);
}

/* Queue and offset move together, also for an agent that finds only the note (record.h): it redoes
 * both. */
static void accept_input(struct viewer *v, const uint8_t *data, size_t len)
{
	struct record *r = v->session->rec;
	struct inq *q = &v->session->in;

	inq_fill(q, data, len);
	if (v->place) {
		r->note.place = (uint32_t)(v->place - r->places);
		r->note.place_off = v->place->in_off + len;
		r->note.accepted = r->in.accepted + len;
		__atomic_store_n(&r->note.valid, 1, __ATOMIC_RELEASE);
		__atomic_store_n(&v->place->in_off, r->note.place_off, __ATOMIC_RELEASE);
	} else {
		v->in_off += len;
	}
	inq_accept(q, len);
	__atomic_store_n(&r->note.valid, 0, __ATOMIC_RELEASE);
}

int viewer_input(struct viewer *v, uint64_t off, const uint8_t *data, size_t len, bool fin)
{
	struct session *s = v->session;
	uint64_t have, overlap;

	if (!s)
		return 0;
	if (!v->writer)
		return -EPERM;
	if (!stdin_open(s))
		return 0; /* stdin_closed told so */
	have = viewer_input_offset(v);
	if (off > have)
		return -ERANGE;
	overlap = have - off;
	if (overlap < len)
		accept_input(v, data + overlap, len - overlap);
	if (fin && overlap <= len && !s->rec->pty) /* a terminal has no end of input */
		s->rec->stdin_eof = true;
	session_feed_stdin(s);
	return 0;
}
