/* Dropping a checkpoint: its name goes first, so that half of it is never found. */
#include <stdio.h>

#include "bridge/box/vm_files.h"
#include "bridge/box/vm_host.h"

bool vm_checkpoint_name_ok(const char *name)
{
	size_t n = strlen(name);

	return n > 0 && n < VM_NAME_MAX && name[0] != '.' && !strchr(name, '/') &&
	       (n < 4 || strcmp(name + n - 4, ".new") != 0);
}

struct drop {
	struct list node; /* in vm_host.drops */
	struct box *box;  /* NULL: left */
	uv_work_t work;
	char dir[BOX_PATH_MAX], gone[BOX_PATH_MAX + 8];
	int result;
};

static void drop_work(uv_work_t *w)
{
	struct drop *d = container_of(w, struct drop, work);

	if (rename(d->dir, d->gone) < 0)
		d->result = errno == ENOENT ? 0 : -errno;
	else
		d->result = vm_files_remove(d->gone);
}

static void after_drop(uv_work_t *w, int status)
{
	struct drop *d = container_of(w, struct drop, work);
	struct box *b = d->box;
	int r = d->result;

	(void)status;
	list_remove(&d->node);
	free(d);
	if (!b)
		return;
	if (r < 0)
		box_fail(b, fault_status_of(r), "the checkpoint: %s", strerror(-r));
	else
		box_answer_ok(b);
}

void vm_drop(struct box *b, const char *name)
{
	struct vm_host *h = b->boxes->state;
	struct drop *d = xcalloc(1, sizeof(*d));
	int r;

	d->box = b;
	list_append(&h->drops, &d->node);
	ASSERT(vm_checkpoint_name_ok(name));
	snprintf(d->dir, sizeof(d->dir), "%.180s/%.64s", h->checkpoints, name);
	snprintf(d->gone, sizeof(d->gone), "%s.new", d->dir);
	r = uv_queue_work(h->loop, &d->work, drop_work, after_drop);
	ASSERT(r == 0);
}

void vm_drop_leave(const struct box *b)
{
	const struct vm_host *h = b->boxes->state;

	list_for_each (d, &h->drops, struct drop, node) {
		if (d->box == b)
			d->box = NULL;
	}
}

void vm_drops_close(struct vm_host *h)
{
	while (!list_empty(&h->drops)) /* they end by themselves */
		list_remove(h->drops.next);
}
