/*
 * Names, by the slot of the session: s<slot> for what lives as long as it does, i<slot> for the end
 * of a pipe whose closing is the end of its stdin, t<slot> for the slave of its terminal.
 */
#include "agentd/keep.h"

#include <stdio.h>

#include "agentd/session_internal.h"

static void forget(struct session *s, char kind)
{
	char name[24];

	snprintf(name, sizeof(name), "%c%u", kind, s->slot);
	keeper_forget(s->all->keeper, name);
}

void keep_forget_all(struct keeper *k, unsigned slots)
{
	static const char kinds[] = "sit";
	char name[24];

	keeper_forget(k, "arena");
	for (unsigned slot = 0; slot < slots; slot++) {
		for (size_t i = 0; kinds[i]; i++) {
			snprintf(name, sizeof(name), "%c%u", kinds[i], slot);
			keeper_forget(k, name);
		}
	}
}

static int give(struct session *s, char kind, const int32_t *const which[], size_t n)
{
	int fds[4];
	char name[24];
	size_t count = 0;

	for (size_t i = 0; i < n; i++) {
		if (*which[i] >= 0)
			fds[count++] = *which[i];
	}
	if (count == 0)
		return 0;
	snprintf(name, sizeof(name), "%c%u", kind, s->slot);
	return keeper_keep(s->all->keeper, name, fds, count);
}

/* The identities first: who finds them in the arena knows what to look for. */
static void keep(struct session *s)
{
	struct record *r = s->rec;
	const int32_t *const whole[] = {&r->pidfd, &r->fd[1], &r->fd[r->pty ? 0 : 2]};
	const int32_t *const in[] = {&r->fd[0]}, *const slave[] = {&r->fd[2]};
	int e;

	r->identity[0] = r->pidfd >= 0 ? keeper_identity(r->pidfd) : 0;
	for (int i = 0; i < 3; i++)
		r->identity[i + 1] = r->fd[i] >= 0 ? keeper_identity(r->fd[i]) : 0;
	r->kept = true;
	e = give(s, 's', whole, array_size(whole));
	if (e == 0)
		e = r->pty ? give(s, 't', slave, 1) : give(s, 'i', in, 1);
	if (e < 0)
		keep_forget(s);
}

static void on_timer(uv_timer_t *t)
{
	struct sessions *all = container_of(t, struct sessions, keep_timer);
	uint64_t now = now_ms();

	while (!list_empty(&all->young)) {
		struct session *s = list_first(&all->young, struct session, young);
		uint64_t at = s->rec->started_at + KEEP_AFTER_MS;

		if (at > now) {
			uv_timer_start(t, on_timer, at - now, 0);
			break;
		}
		list_remove(&s->young);
		if (!session_ended(s) || !session_silent(s))
			keep(s);
	}
}

static void tell_all(struct list *list_of)
{
	list_for_each_safe (s, list_of, struct session, by_age) {
		if (s->rec->lost_at)
			session_gone(s);
	}
}

/* Ends of processes: those that somebody waits for. */
static void on_link(struct watch *w, uint32_t events)
{
	struct sessions *all = container_of(w, struct sessions, keeper_link);

	(void)events;
	if (!keeper_read_link(all->keeper)) {
		watch_remove(&all->poller, w, true);
		close_fd(&all->keeper->link);
	}
	tell_all(&all->by_age);
	tell_all(&all->hidden);
}

void keep_init(struct sessions *all, struct keeper *k)
{
	all->keeper = keeper_there(k) ? k : NULL;
	all->keeper_link = (struct watch)WATCH_NULL;
	list_init(&all->young);
	uv_timer_init(all->loop, &all->keep_timer);
	if (!all->keeper)
		return;
	if (k->link >= 0)
		watch_add(&all->poller, &all->keeper_link, k->link, EPOLLIN, on_link);
}

void keep_arena(struct sessions *all)
{
	if (all->keeper)
		keeper_keep(all->keeper, "arena", &all->arena.fd, 1);
}

void keep_close(struct sessions *all)
{
	uv_close((uv_handle_t *)&all->keep_timer, NULL);
	watch_remove(&all->poller, &all->keeper_link, false);
	if (all->keeper) /* an orderly end: there is nothing to come back to */
		keeper_forget(all->keeper, "arena");
}

void keep_started(struct session *s)
{
	struct sessions *all = s->all;

	if (!all->keeper)
		return;
	list_append(&all->young, &s->young);
	if (!uv_is_active((uv_handle_t *)&all->keep_timer))
		uv_timer_start(&all->keep_timer, on_timer, KEEP_AFTER_MS, 0);
}

static int32_t claim(struct session *s, int32_t was, uint64_t identity)
{
	return was < 0 || !s->all->keeper ? -1 : keeper_claim(s->all->keeper, identity);
}

void keep_claim(struct session *s)
{
	struct record *r = s->rec;

	r->pidfd = claim(s, r->pidfd, r->identity[0]);
	for (int i = 0; i < 3; i++)
		r->fd[i] = claim(s, r->fd[i], r->identity[i + 1]);
}

void keep_forget_stdin(struct session *s)
{
	if (s->rec->kept && !s->rec->pty)
		forget(s, 'i');
}

void keep_forget_slave(struct session *s)
{
	if (s->rec->kept && s->rec->pty)
		forget(s, 't');
}

void keep_forget(struct session *s)
{
	list_remove(&s->young);
	if (!s->rec->kept)
		return;
	forget(s, s->rec->pty ? 't' : 'i');
	forget(s, 's');
	s->rec->kept = false;
}

int keep_exit(struct session *s, struct child_exit *ret)
{
	struct keeper *k = s->all->keeper;

	if (!k)
		return -ECHILD;
	if (keeper_exit_of(k, s->rec->pid, ret))
		return 1;
	return k->link >= 0 ? 0 : -ECHILD;
}
