#include "bridge/api/due.h"

static void on_timer(uv_timer_t *t);

static void arm(struct dues *ds)
{
	uint64_t now = now_ms(), at;

	if (list_empty(&ds->list)) {
		uv_timer_stop(&ds->timer);
		return;
	}
	at = list_first(&ds->list, struct due, node)->at_ms;
	uv_update_time(ds->timer.loop);
	uv_timer_start(&ds->timer, on_timer, at > now ? at - now : 0, 0);
}

static void on_timer(uv_timer_t *t)
{
	struct dues *ds = t->data;
	uint64_t now = now_ms();

	while (!list_empty(&ds->list)) {
		struct due *d = list_first(&ds->list, struct due, node);

		if (d->at_ms > now)
			break;
		list_remove(&d->node);
		d->fn(d);
	}
	arm(ds);
}

int dues_open(struct dues *ds, uv_loop_t *loop)
{
	*ds = (struct dues){0};
	list_init(&ds->list);
	ds->timer.data = ds;
	return uv_timer_init(loop, &ds->timer);
}

static void on_timer_closed(uv_handle_t *h)
{
	struct dues *ds = h->data;

	if (ds->on_closed)
		ds->on_closed(ds->owner);
}

void dues_close(struct dues *ds, void (*fn)(void *owner), void *owner)
{
	while (!list_empty(&ds->list))
		list_remove(ds->list.next);
	ds->on_closed = fn;
	ds->owner = owner;
	uv_close((uv_handle_t *)&ds->timer, on_timer_closed);
}

void due_clear(struct due *d)
{
	if (d->node.next)
		list_remove(&d->node);
}

void due_set(struct dues *ds, struct due *d, uint64_t ms, void (*fn)(struct due *d))
{
	struct list *at;

	due_clear(d);
	d->at_ms = now_ms() + ms;
	d->fn = fn;
	for (at = ds->list.prev; at != &ds->list; at = at->prev) {
		if (list_entry(at, struct due, node)->at_ms <= d->at_ms)
			break;
	}
	list_append(at->next, &d->node); /* before the one after it */
	if (ds->list.next == &d->node)
		arm(ds);
}
