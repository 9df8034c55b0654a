/*
 * Entries are in order of start. There may be thousands (a client that runs one command after the
 * other), so what nobody needs is swept away now and then, when something is added.
 */
#include "bridge/sandbox/roster.h"

#include <stdio.h>
#include <sys/random.h>

#define SWEEP_MS   10000
#define NAME_BYTES 6
#define YOUNG_MS   60000 /* a listing under way may be older than such an entry */

static const char letters[] = {
	[ROSTER_EXEC] = 'x', [ROSTER_RUN] = 'r', [ROSTER_PTY] = 'p', [ROSTER_AGENT] = 'a'};

void roster_init(struct roster *r)
{
	*r = (struct roster){0};
	list_init(&r->entries);
}

void roster_remove(struct roster *r, struct roster_entry *e)
{
	list_remove(&e->node);
	r->n--;
	free(e->cmd);
	free(e->args);
	free(e);
}

void roster_fini(struct roster *r)
{
	list_for_each_safe (e, &r->entries, struct roster_entry, node)
		roster_remove(r, e);
	r->known = false;
}

/* ---- ids ---- */

void roster_new_id(enum roster_kind kind, char ret[ROSTER_ID_MAX + 1])
{
	uint8_t b[NAME_BYTES];

	ASSERT(getrandom(b, sizeof(b), 0) == sizeof(b));
	snprintf(ret, ROSTER_ID_MAX + 1, "%c%02x%02x%02x%02x%02x%02x", letters[kind], b[0], b[1],
		b[2], b[3], b[4], b[5]);
}

/* Is it one of ours? */
static bool kind_of(const char *id, enum roster_kind *ret)
{
	const char *letter = *id ? memchr(letters, *id, sizeof(letters)) : NULL;

	if (!letter || strlen(id) != 1 + 2 * NAME_BYTES ||
		strspn(id + 1, "0123456789abcdef") != 2 * NAME_BYTES)
		return false;
	*ret = (enum roster_kind)(letter - letters);
	return true;
}

enum roster_kind roster_kind_of(const char *id)
{
	enum roster_kind kind = ROSTER_EXEC;

	kind_of(id, &kind);
	return kind;
}

struct roster_entry *roster_find(struct roster *r, const char *id)
{
	list_for_each (e, &r->entries, struct roster_entry, node) {
		if (strcmp(e->id, id) == 0)
			return e;
	}
	return NULL;
}

/* ---- what is in it ---- */

static void sweep(struct roster *r)
{
	uint64_t now = now_ms();

	if (now - r->swept_ms < SWEEP_MS)
		return;
	r->swept_ms = now;
	list_for_each_safe (e, &r->entries, struct roster_entry, node) {
		if (!e->running && e->attached == 0 && !e->turns &&
			now - e->over_ms > ROSTER_KEEP_MS)
			roster_remove(r, e);
	}
}

/* One block: the vector, then the texts. */
static char **copy_args(char *const *args, size_t *ret_n)
{
	size_t n = 0, size = 0;
	char **copy, *at;

	for (; args && args[n]; n++)
		size += strlen(args[n]) + 1;
	copy = malloc((n + 1) * sizeof(*copy) + size);
	if (!copy)
		return NULL;
	at = (char *)(copy + n + 1);
	for (size_t i = 0; i < n; i++) {
		copy[i] = at;
		at = stpcpy(at, args[i]) + 1;
	}
	copy[n] = NULL;
	*ret_n = n;
	return copy;
}

static struct roster_entry *add(struct roster *r, const char *id, enum roster_kind kind)
{
	struct roster_entry *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	snprintf(e->id, sizeof(e->id), "%s", id);
	e->kind = kind;
	e->running = true;
	e->known_ms = now_ms();
	list_append(&r->entries, &e->node);
	r->n++;
	return e;
}

struct roster_entry *roster_add(
	struct roster *r, const char *id, enum roster_kind kind, const char *cmd, char *const *args)
{
	struct roster_entry *e;

	sweep(r);
	e = add(r, id, kind);
	if (!e)
		return NULL;
	e->started_ms = wall_ms();
	e->cmd = strdup(cmd);
	e->args = copy_args(args, &e->n_args);
	if (!e->cmd || !e->args) {
		roster_remove(r, e);
		return NULL;
	}
	return e;
}

void roster_ended(struct roster_entry *e, const struct msg_end *end)
{
	if (!e->running)
		return;
	e->running = false;
	e->end = *end;
	e->over_ms = now_ms();
	e->ended_ms = max_of(wall_ms(), e->started_ms); /* the start is by the agent's clock */
}

void roster_lost(struct roster *r)
{
	struct msg_end end = {.state = END_AGENT_LOST};

	list_for_each (e, &r->entries, struct roster_entry, node)
		roster_ended(e, &end);
}

/* ---- what the agent lists ---- */

static void take(struct roster *r, const struct msg_entry *m)
{
	struct roster_entry *e = roster_find(r, m->id);
	enum roster_kind kind = m->has_pty ? ROSTER_PTY : ROSTER_EXEC;

	kind_of(m->id, &kind);
	if (!e) {
		e = add(r, m->id, kind);
		if (!e)
			return;
		e->cmd = strndup(m->cmd, m->cmd_len);
		e->args = copy_args(NULL, &e->n_args);
		if (!e->cmd || !e->args) {
			roster_remove(r, e);
			return;
		}
		e->started_ms = m->end.started_ms;
	}
	e->listed = true;
	if (m->end.state == END_RUNNING || !e->running)
		return;
	roster_ended(e, &m->end);
	if (m->end.ended_ms)
		e->ended_ms = m->end.ended_ms;
}

void roster_take(struct roster *r, const struct msg_list *list, bool first_page, bool last_page)
{
	uint64_t now = now_ms();

	if (first_page) {
		list_for_each (e, &r->entries, struct roster_entry, node)
			e->listed = false;
	}
	for (size_t i = 0; i < list->n; i++)
		take(r, &list->entries[i]);
	if (!last_page)
		return;
	list_for_each_safe (e, &r->entries, struct roster_entry, node) {
		if (!e->listed && e->attached == 0 && !e->turns && now - e->known_ms > YOUNG_MS &&
			(e->running || e->end.state != END_AGENT_LOST))
			roster_remove(r, e);
	}
	r->known = true;
}

int roster_exit_code(const struct msg_end *end)
{
	switch (end->state) {
	case END_EXITED: return end->code;
	case END_SIGNALED:
	case END_KILLED:
	case END_OOM_KILLED: return end->signal ? 128 + end->signal : end->code;
	case END_START_FAILED:
		return end->err == ENOENT && strcmp(end->stage, "exec") == 0 ? 127 : 126;
	default: return -1;
	}
}
