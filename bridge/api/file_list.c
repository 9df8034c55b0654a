/*
 * The agent sends the entries in no order, in one pass over the directory; here they wait packed,
 * and are sorted when all have come. The answer's text is made as the client takes it.
 */
#include "bridge/api/file_list.h"

#include <stdio.h>

#include "bridge/api/file_ask.h"
#include "bridge/api/file_entry.h"
#include "bridge/api/text.h"
#include "bridge/remote_file.h"
#include "bridge/sandbox/sandbox.h"
#include "proto/lines.h"
#include "proto/msg.h"

#define LINE_MAX_BYTES (128 * 1024)
#define PACKED_MAX     (32 * 1024 * 1024)
#define AT_ONCE        (32 * 1024) /* of the answer's text, about */

/* In front of its name and its target, each with a NUL. */
struct row {
	uint64_t size, mode, uid, gid;
	int64_t mtime_ns;
	int errnum;        /* it could not be looked at */
	uint32_t name_len; /* with the NUL; the target is behind it */
	bool has_target;
	char type[8];
	char name[];
};

struct listing {
	struct call *call;
	struct remote_file file;
	struct lines lines;
	char *path;        /* owned */
	struct buf packed; /* rows, each at a multiple of 8 */
	uint32_t *order;   /* owned; where they begin */
	size_t n, room, at;
	struct text text;
};

/* ---- in ---- */

static void fail(struct listing *l, int status, const char *why)
{
	remote_file_close(&l->file);
	call_error(l->call, status, "%s", why);
}

static bool make_room(struct listing *l)
{
	size_t room = max_of(l->room * 2, (size_t)64);
	uint32_t *order;

	if (l->n < l->room)
		return true;
	order = reallocarray(l->order, room, sizeof(*order));
	if (!order)
		return false;
	l->order = order;
	l->room = room;
	return true;
}

static bool pack(struct listing *l, const struct msg_file_entry *m)
{
	const char *name = m->name ? m->name : m->path ? m->path : "";
	size_t name_len = strlen(name) + 1, target_len = m->target ? strlen(m->target) + 1 : 0;
	size_t size = align_up(sizeof(struct row) + name_len + target_len, 8);
	struct row *r;

	if (!make_room(l))
		return false;
	r = (struct row *)(void *)buf_reserve(&l->packed, size);
	if (!r)
		return false;
	*r = (struct row){.size = m->size,
		.mode = m->mode,
		.uid = m->uid,
		.gid = m->gid,
		.mtime_ns = m->mtime_ns,
		.errnum = (int)min_of(m->errnum, (uint64_t)4095),
		.name_len = (uint32_t)name_len,
		.has_target = m->target != NULL};
	snprintf(r->type, sizeof(r->type), "%s", m->errnum || !m->type ? "unknown" : m->type);
	memcpy(r->name, name, name_len);
	if (m->target)
		memcpy(r->name + name_len, m->target, target_len);
	l->order[l->n++] = (uint32_t)buf_len(&l->packed);
	buf_commit(&l->packed, size);
	return true;
}

/* False: that is the end. */
static bool take(struct listing *l, struct jsonr line)
{
	struct msg_file_entry m;
	struct error e;
	bool ok;

	if (msg_parse_file_entry((const uint8_t *)line.p, line.len, &m, &e) < 0) {
		fail(l, 502, "the agent's answer cannot be read");
		return false;
	}
	ok = l->n < FILE_LIST_MAX && pack(l, &m);
	msg_file_entry_fini(&m);
	if (!ok)
		fail(l, 413, "the directory has too many entries to be listed");
	return ok;
}

static void on_data(struct remote_file *f, uint64_t off, const uint8_t *data, size_t len)
{
	struct listing *l = f->owner;
	struct jsonr line;
	int r;

	(void)off;
	remote_file_consumed(f, len);
	while (len > 0) {
		size_t n;
		uint8_t *to = lines_space(&l->lines, &n);

		if (!to) {
			fail(l, 503, "out of memory");
			return;
		}
		n = min_of(n, len);
		memcpy(to, data, n);
		lines_commit(&l->lines, n);
		data += n;
		len -= n;
		while ((r = lines_next(&l->lines, &line)) != 0) {
			if (!take(l, r > 0 ? line : (struct jsonr){"", 0}))
				return;
		}
	}
}

/* ---- sorted ---- */

static const struct row *row_at(const struct listing *l, uint32_t at)
{
	return (const struct row *)(const void *)(buf_head(&l->packed) + at);
}

static int by_name(const void *a, const void *b, void *ctx)
{
	return strcmp(
		row_at(ctx, *(const uint32_t *)a)->name, row_at(ctx, *(const uint32_t *)b)->name);
}

static void on_close(struct remote_file *f, const struct error *error)
{
	struct listing *l = f->owner;

	if (error) {
		file_error(l->call, error);
		return;
	}
	lines_fini(&l->lines);
	if (l->n > 0)
		qsort_r(l->order, l->n, sizeof(*l->order), by_name, l);
	text_open(&l->text, NULL, '[');
	call_begin(l->call, 200, "application/json", -1);
	call_ready(l->call);
}

/* ---- out ---- */

static void put_row(struct listing *l, const struct row *r)
{
	struct msg_file_entry m = {.name = r->name,
		.type = r->type,
		.target = r->has_target ? r->name + r->name_len : NULL,
		.size = r->size,
		.mode = r->mode,
		.uid = r->uid,
		.gid = r->gid,
		.mtime_ns = r->mtime_ns};

	text_open(&l->text, NULL, '{');
	file_entry_put(&l->text, &m, l->path, (int)r->errnum);
	text_close(&l->text, '}');
}

static ssize_t pull(struct call *c, uint8_t *out, size_t max)
{
	struct listing *l = c->state;
	struct buf *b = &l->text.buf;
	size_t n;

	while (l->at <= l->n && buf_len(b) < AT_ONCE && !l->text.failed) {
		if (l->at < l->n)
			put_row(l, row_at(l, l->order[l->at]));
		else
			text_close(&l->text, ']');
		l->at++;
	}
	if (l->text.failed)
		return CALL_BROKEN;
	n = min_of(buf_len(b), max);
	if (n == 0)
		return CALL_DONE;
	memcpy(out, buf_head(b), n);
	buf_consume(b, n);
	return (ssize_t)n;
}

/* ---- its life ---- */

static void on_end(struct call *c)
{
	struct listing *l = c->state;

	remote_file_close(&l->file);
	lines_fini(&l->lines);
	buf_fini(&l->packed);
	text_fini(&l->text);
	free(l->order);
	free(l->path);
	free(l);
}

void file_list(struct call *c, char *path)
{
	static const struct call_ops ops = {.pull = pull, .on_end = on_end};
	static const struct remote_file_events events = {.on_data = on_data, .on_close = on_close};
	struct listing *l = xcalloc(1, sizeof(*l));
	char message[FILE_MESSAGE];
	struct jsonw w;
	int r;

	l->call = c;
	l->path = path;
	l->packed = BUF_NULL(PACKED_MAX);
	l->file.owner = l;
	lines_init(&l->lines, LINE_MAX_BYTES);
	text_init(&l->text);
	c->ops = &ops;
	c->state = l;
	file_open(&w, message, "list", path);
	jsonw_close(&w, '}');
	r = w.overflow
		    ? -EMSGSIZE
		    : remote_file_open(&l->file, sandbox_guest(c->sandbox), &events, w.out, w.len);
	if (r < 0)
		file_error_sending(c, r);
}
