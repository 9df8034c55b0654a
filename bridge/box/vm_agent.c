#include "bridge/box/vm_agent.h"

#include <stdio.h>

#include "bridge/guest.h"

static const char request[] = "{\"op\":\"sys.prepare\",\"sync\":true}";

struct vm_agent {
	struct guest guest;
	struct guest_user user;
	uv_timer_t timer;
	unsigned handles;
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
	guest_remove_user(&a->user);
	guest_close(&a->guest, on_guest_closed, a);
	uv_close((uv_handle_t *)&a->timer, on_timer_closed);
}

static void on_prepared(void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	(void)json, (void)len;
	end(owner, error ? error->message : NULL);
}

static void on_up(struct guest_user *u, bool same)
{
	struct vm_agent *a = container_of(u, struct vm_agent, user);

	(void)same;
	if (guest_ask(&a->guest, request, sizeof(request) - 1, on_prepared, a) < 0)
		end(a, "it cannot be asked");
	guest_kick(&a->guest);
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

int vm_agent_prepare(uv_loop_t *loop, const struct target *t, uint64_t ms, vm_agent_fn fn,
	void *owner, struct vm_agent **ret)
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
