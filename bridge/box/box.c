/*
 * The rules of box.h, in one place, so that a driver that breaks them is found at once: one
 * operation at a time, one answer to each, and that not from inside the call that began it.
 */
#include "bridge/box/box.h"

#include <stdarg.h>
#include <stdio.h>

static const struct box_driver *const drivers[] = {
	&box_driver_local,
	&box_driver_external,
	&box_driver_vm,
};

const struct box_driver *box_driver_find(const char *name)
{
	for (size_t i = 0; i < array_size(drivers); i++) {
		if (strcmp(drivers[i]->name, name) == 0)
			return drivers[i];
	}
	return NULL;
}

int boxes_open(struct boxes *bs, uv_loop_t *loop, const struct box_driver *driver,
	const struct box_config *config, char *why, size_t why_size)
{
	*bs = (struct boxes){.loop = loop, .driver = driver, .config = config};
	if (why_size > 0)
		why[0] = '\0';
	return driver->open ? driver->open(bs, why, why_size) : 0;
}

void boxes_close(struct boxes *bs)
{
	if (bs->driver && bs->driver->close)
		bs->driver->close(bs);
	*bs = (struct boxes){0};
}

void box_init(struct box *b, struct boxes *bs, const char *id, void *owner, box_gone_fn on_gone)
{
	size_t len = strlen(id);
	int n;

	ASSERT(len > 0 && len <= BOX_ID_MAX && !strchr(id, '/') && id[0] != '.');
	*b = (struct box){.driver = bs->driver, .boxes = bs, .owner = owner, .on_gone = on_gone};
	memcpy(b->id, id, len + 1);
	n = snprintf(b->dir, sizeof(b->dir), "%s/boxes/%s", bs->config->state_dir, id);
	ASSERT(n > 0 && (size_t)n < sizeof(b->dir)); /* the state directory was checked */
}

/* ---- operations ---- */

/* The box whose operation is just being begun. There is one loop and one thread. */
static const struct box *beginning;

static void begin(struct box *b, box_fn fn)
{
	ASSERT(!b->fn && fn);
	ASSERT(!beginning);
	b->fn = fn;
	beginning = b;
}

static void begun(void)
{
	beginning = NULL;
}

void box_start(struct box *b, const struct box_spec *spec, box_fn fn)
{
	begin(b, fn);
	b->driver->start(b, spec);
	begun();
}

void box_adopt(struct box *b, box_fn fn)
{
	begin(b, fn);
	b->driver->adopt(b);
	begun();
}

void box_stop(struct box *b, box_fn fn)
{
	begin(b, fn);
	b->driver->stop(b);
	begun();
}

void box_restart(struct box *b, box_fn fn)
{
	ASSERT(b->driver->can & BOX_CAN_RESTART);
	begin(b, fn);
	b->driver->restart(b);
	begun();
}

void box_destroy(struct box *b, box_fn fn)
{
	begin(b, fn);
	b->driver->destroy(b);
	begun();
}

void box_hibernate(struct box *b, box_fn fn)
{
	ASSERT(b->driver->can & BOX_CAN_HIBERNATE);
	begin(b, fn);
	b->driver->hibernate(b);
	begun();
}

void box_wake(struct box *b, box_fn fn)
{
	ASSERT(b->driver->can & BOX_CAN_HIBERNATE);
	begin(b, fn);
	b->driver->wake(b);
	begun();
}

void box_checkpoint(struct box *b, const char *name, bool full, box_fn fn)
{
	ASSERT(b->driver->can & BOX_CAN_CHECKPOINT);
	begin(b, fn);
	b->driver->checkpoint(b, name, full);
	begun();
}

void box_restore(struct box *b, const char *name, box_fn fn)
{
	ASSERT(b->driver->can & BOX_CAN_CHECKPOINT);
	begin(b, fn);
	b->driver->restore(b, name);
	begun();
}

void box_drop(struct box *b, const char *name, box_fn fn)
{
	ASSERT(b->driver->can & BOX_CAN_CHECKPOINT);
	begin(b, fn);
	b->driver->drop(b, name);
	begun();
}

void box_scale(struct box *b, unsigned memory_mb, box_fn fn)
{
	ASSERT(b->driver->can & BOX_CAN_SCALE);
	begin(b, fn);
	b->driver->scale(b, memory_mb);
	begun();
}

void box_leave(struct box *b)
{
	b->fn = NULL;
	b->on_gone = NULL;
	b->driver->leave(b);
	ASSERT(!b->state);
}

/* ---- answers ---- */

void box_answer(struct box *b, const struct box_result *r)
{
	box_fn fn = b->fn;

	ASSERT(fn);
	ASSERT(beginning != b);
	ASSERT(r->ok || r->fault.status >= 400);
	b->fn = NULL;
	fn(b, r);
}

void box_answer_ok(struct box *b)
{
	box_answer(b, &(struct box_result){.ok = true});
}

void box_fail(struct box *b, int status, const char *fmt, ...)
{
	struct box_result r = {.left = BOX_LEFT_NOTHING};
	va_list ap;

	r.fault.status = status;
	va_start(ap, fmt);
	vsnprintf(r.fault.text, sizeof(r.fault.text), fmt, ap);
	va_end(ap);
	box_answer(b, &r);
}
