#include "bridge/box/vm_agent.h"

#include <stdio.h>

#include "bridge/remote.h"

static const char request[] = "{\"op\":\"sys.prepare\",\"sync\":true}";

struct vm_agent {
	struct guest guest;
	struct guest_user user;
	struct remote remote;
	uv_timer_t timer;
	unsigned handles;
	bool warm; /* still to be done */
	bool ended;
	bool failed;
	char why[200];
	vm_agent_fn fn; /* NULL: cancelled */
	void *owner;
};

static void on_closed(struct vm_agent *a)
{
	if (--a->handles > 0)
		return;
	if (a->fn)
		a->fn(a->owner, a->failed ? a->why : NULL);
	free(a);
}

static void on_guest_closed(void *owner)
{
	on_closed(owner);
}

static void on_timer_closed(uv_handle_t *h)
{
	on_closed(h->data);
}

/* why NULL: done. */
static void end(struct vm_agent *a, const char *why)
{
	if (a->ended)
		return;
	a->ended = true;
	a->failed = why;
	snprintf(a->why, sizeof(a->why), "%s", why ? why : "");
	remote_close(&a->remote);
	guest_remove_user(&a->user);
	guest_close(&a->guest, on_guest_closed, a);
	uv_close((uv_handle_t *)&a->timer, on_timer_closed);
}

static void on_prepared(void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	(void)json, (void)len;
	end(owner, error ? error->message : NULL);
}

static void ask(struct vm_agent *a)
{
	if (guest_ask(&a->guest, request, sizeof(request) - 1, on_prepared, a) < 0)
		end(a, "it cannot be asked");
	guest_kick(&a->guest);
}

/* ---- a shell that does nothing ---- */

static void on_opened(struct remote *r, const struct msg_opened *o)
{
	(void)r, (void)o;
}

static void on_output(
	struct remote *r, uint8_t stream, uint64_t off, const uint8_t *data, size_t len)
{
	(void)stream, (void)off, (void)data;
	remote_consumed(r, len);
}

static void on_gap(struct remote *r, uint8_t stream, uint64_t off, uint64_t missing)
{
	(void)r, (void)stream, (void)off, (void)missing;
}

static void on_input(struct remote *r)
{
	(void)r;
}

static void on_end(struct remote *r, const struct msg_end *end)
{
	(void)r, (void)end;
}

/* However it ended: an image may be without one. */
static void on_close(struct remote *r, enum remote_why why, const struct error *error)
{
	struct vm_agent *a = r->owner;

	(void)why, (void)error;
	if (!a->ended)
		ask(a);
}

static const struct remote_events events = {.on_opened = on_opened,
	.on_output = on_output,
	.on_gap = on_gap,
	.on_input_room = on_input,
	.on_stdin_closed = on_input,
	.on_end = on_end,
	.on_close = on_close};

static bool run_shell(struct vm_agent *a)
{
	static char sh[] = "/bin/sh", c[] = "-c", nothing[] = ":";
	static char *argv[] = {NULL, sh, c, nothing, NULL};
	static const struct msg_start start = {.argv = argv + 1, .argc = 3, .has_retain = true};
	struct remote_config config = {.start = &start, .viewer = ""};

	a->remote.owner = a;
	return remote_open(&a->remote, &a->guest, &events, &config) == 0;
}

/* ---- the link ---- */

static void on_up(struct guest_user *u, bool same)
{
	struct vm_agent *a = container_of(u, struct vm_agent, user);
	bool warm = a->warm;

	(void)same;
	a->warm = false;
	if (!warm || !run_shell(a))
		ask(a);
}

static void on_lost(struct guest_user *u)
{
	struct vm_agent *a = container_of(u, struct vm_agent, user);

	end(a, guest_why(&a->guest));
}

static const struct guest_user_ops user_ops = {.on_up = on_up, .on_lost = on_lost};

static void on_timer(uv_timer_t *t)
{
	end(t->data, "it does not answer");
}

int vm_agent_prepare(uv_loop_t *loop, const struct target *t, bool warm, uint64_t ms,
	vm_agent_fn fn, void *owner, struct vm_agent **ret)
{
	struct vm_agent *a = calloc(1, sizeof(*a));
	struct guest_config config = {.target = *t, .name = "bridge", .first_ms = ms};
	int r;

	if (!a)
		return -ENOMEM;
	r = guest_init(&a->guest, loop, &config);
	if (r < 0) {
		free(a);
		return r;
	}
	a->fn = fn;
	a->owner = owner;
	a->warm = warm;
	a->handles = 2;
	uv_timer_init(loop, &a->timer);
	a->timer.data = a;
	uv_timer_start(&a->timer, on_timer, ms, 0);
	guest_add_user(&a->guest, &a->user, &user_ops);
	guest_start(&a->guest);
	*ret = a;
	return 0;
}

void vm_agent_cancel(struct vm_agent *a)
{
	a->fn = NULL;
	end(a, "not wanted any more");
}
