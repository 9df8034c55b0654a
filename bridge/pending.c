#include "bridge/pending.h"

struct waiter {
	struct list node;
	uint64_t id;
	guest_response_fn fn; /* NULL: cancelled */
	void *owner;
};

void pending_init(struct pending *p)
{
	*p = (struct pending){0};
	list_init(&p->waiting);
}

uint64_t pending_add(struct pending *p, guest_response_fn fn, void *owner)
{
	struct waiter *w = xcalloc(1, sizeof(*w));

	*w = (struct waiter){.id = ++p->last, .fn = fn, .owner = owner};
	list_append(&p->waiting, &w->node);
	return w->id;
}

static struct waiter *find(struct pending *p, uint64_t id)
{
	list_for_each (w, &p->waiting, struct waiter, node) {
		if (w->id == id)
			return w;
	}
	return NULL;
}

/* Forgotten first: the callback may ask again, cancel, or end everything. */
static void tell(struct waiter *w, const uint8_t *json, size_t len, const struct error *error)
{
	guest_response_fn fn = w->fn;
	void *owner = w->owner;

	list_remove(&w->node);
	free(w);
	if (fn)
		fn(owner, json, len, error);
}

void pending_cancel(struct pending *p, uint64_t id)
{
	struct waiter *w = find(p, id);

	if (w)
		w->fn = NULL; /* its answer is on the way, and finds nobody */
}

void pending_answer(struct pending *p, uint64_t id, const uint8_t *json, size_t len)
{
	struct waiter *w = find(p, id);
	struct error e;
	int r;

	if (!w)
		return;
	r = msg_parse_error(json, len, &e);
	if (r < 0)
		error_set(&e, E_BAD_MESSAGE, 0, "the agent's answer is not understood");
	if (r)
		tell(w, NULL, 0, &e);
	else
		tell(w, json, len, NULL);
}

void pending_fail(struct pending *p)
{
	struct error e;

	error_set(&e, E_FAILED, ECONNRESET, "the link broke before the answer came");
	list_for_each_safe (w, &p->waiting, struct waiter, node)
		tell(w, NULL, 0, &e);
}
