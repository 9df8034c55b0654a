/*
 * What viewers are told is how things are, not what happened: a viewer that does not read misses
 * what was in between, and however often others change something, no queue grows for it.
 *
 * The owner is a viewer, and by name also a fact of the record: so that a viewer whose link broke,
 * or whose agent was replaced, is the owner again when it comes back to its place. Until then the
 * place being held keeps the ownership from being passed on.
 *
 * A repaint is two changes of size with a while between: programs look only at the size there is
 * when they get to it (less paints nothing when it is the one it knew), and two signals at once are
 * one. Its second half is a time in the record, so that it survives an upgrade.
 */
#include "agentd/terminal.h"

#include <stdio.h>

#include "agentd/pty.h"
#include "agentd/session_internal.h"
#include "agentd/viewer.h"

#define REPAINT_MS 40

static bool is_open(const struct session *s)
{
	return s->rec->pty && s->rec->fd[1] >= 0;
}

static int check_open(const struct session *s, struct error *e)
{
	if (!s->rec->pty)
		return error_set(e, E_FAILED, ENOTTY, "session %s has no terminal", s->rec->id);
	if (!is_open(s))
		return error_set(
			e, E_FAILED, EIO, "the terminal of session %s is closed", s->rec->id);
	return 0;
}

/* ---- size ---- */

void terminal_size(const struct session *s, struct msg_size *ret)
{
	*ret = s->rec->tty_size;
	/* Programs may set it as well. */
	if (is_open(s) && s->rec->repaint_at == 0)
		pty_get_size(s->rec->fd[1], ret);
}

static void tell_size(struct session *s, const struct viewer *but)
{
	list_for_each (v, &s->viewers, struct viewer, link) {
		if (v == but)
			continue;
		v->size_news = true;
		v->events->on_ready(v);
	}
}

/* Is it another size than before? `but` is not told. */
static bool set_size(struct session *s, const struct msg_size *size, const struct viewer *but)
{
	struct msg_size before;
	bool changed;

	terminal_size(s, &before);
	changed = memcmp(&before, size, sizeof(before)) != 0;
	s->rec->tty_size = *size;
	s->rec->repaint_at = 0;
	pty_set_size(s->rec->fd[1], size);
	if (changed)
		tell_size(s, but);
	return changed;
}

static void repaint(struct session *s)
{
	struct record *r = s->rec;
	struct msg_size other;

	if (r->repaint_at)
		return;
	terminal_size(s, &r->tty_size);
	other = r->tty_size;
	other.rows = (uint16_t)(other.rows > 1 ? other.rows - 1 : other.rows + 1);
	r->repaint_at = now_ms() + REPAINT_MS;
	pty_set_size(r->fd[1], &other);
	session_arm(s);
}

int terminal_resize(
	struct session *s, const struct viewer *by, const struct msg_size *size, struct error *e)
{
	int r = check_open(s, e);

	if (r < 0)
		return r;
	if (s->owner != by)
		return error_set(e, E_NOT_OWNER, EPERM, "another viewer owns the terminal of %s",
			s->rec->id);
	set_size(s, size, NULL);
	return 0;
}

int terminal_repaint(struct session *s, struct error *e)
{
	int r = check_open(s, e);

	if (r == 0)
		repaint(s);
	return r;
}

/* ---- the owner ---- */

bool terminal_is_owner(const struct viewer *v)
{
	return v->session && v->session->owner == v;
}

static void tell_owner(struct viewer *v)
{
	v->owner_news = true;
	v->events->on_ready(v);
}

bool terminal_news(struct viewer *v, char *out, size_t size, size_t *ret_len)
{
	struct msg_size now;

	if (v->owner_news) {
		v->owner_news = false;
		*ret_len = (size_t)snprintf(out, size, "{\"event\":\"owner\",\"owner\":%s}",
			terminal_is_owner(v) ? "true" : "false");
		return true;
	}
	if (!v->size_news)
		return false;
	v->size_news = false;
	terminal_size(v->session, &now);
	*ret_len = msg_format_size_event(&now, out, size);
	return true;
}

/* NULL: nobody, as it is while the owner's place is held. */
static void set_owner(struct session *s, struct viewer *v)
{
	s->owner = v;
	if (v)
		snprintf(
			s->rec->owner, sizeof(s->rec->owner), "%s", v->place ? v->place->name : "");
}

static void take(struct session *s, struct viewer *v)
{
	struct viewer *old = s->owner;

	set_owner(s, v);
	if (old && old != v)
		tell_owner(old);
}

int terminal_own(struct session *s, struct viewer *by, struct error *e)
{
	int r = check_open(s, e);

	if (r < 0 || s->owner == by)
		return r;
	take(s, by);
	tell_owner(by);
	return 0;
}

/* Somebody who was the owner may yet come back. */
static bool is_awaited(const struct session *s)
{
	return s->rec->owner[0] && place_is_held(s->rec, s->rec->owner);
}

static void pass_on(struct session *s)
{
	if (s->owner || !is_open(s) || is_awaited(s))
		return;
	s->rec->owner[0] = '\0';
	list_for_each (v, &s->viewers, struct viewer, link) {
		if (v->writer && v->attach.own != OWN_NEVER) {
			set_owner(s, v);
			tell_owner(v);
			return;
		}
	}
}

static bool becomes_owner(const struct session *s, const struct viewer *v)
{
	const char *name = v->place ? v->place->name : "";
	bool was = name[0] && strcmp(name, s->rec->owner) == 0;

	switch (v->attach.own) {
	case OWN_TAKE: return true;
	case OWN_NEVER: return false;
	default: return !s->owner && (was || (v->writer && !is_awaited(s)));
	}
}

void terminal_attached(struct viewer *v, bool back)
{
	struct session *s = v->session;
	bool resized = false;

	if (!is_open(s))
		return;
	if (becomes_owner(s, v)) {
		take(s, v);
		if (v->attach.has_size)
			resized = set_size(s, &v->attach.size, v);
		if (!resized && !back && store_head(&s->store) > 0)
			repaint(s);
	} else {
		pass_on(s); /* it had been the owner, and does not want to be */
	}
}

void terminal_detached(struct session *s, const struct viewer *v)
{
	if (s->owner != v)
		return;
	set_owner(s, NULL);
	pass_on(s);
}

void terminal_tick(struct session *s, uint64_t now)
{
	struct record *r = s->rec;

	if (!r->pty)
		return;
	if (r->repaint_at && r->repaint_at <= now) {
		r->repaint_at = 0;
		if (is_open(s))
			pty_set_size(r->fd[1], &r->tty_size);
	}
	pass_on(s);
}
