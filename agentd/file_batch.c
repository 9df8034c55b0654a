/*
 * Operations "batch_write" and "batch_read": records of small files, docs/protocol.md section 13.
 * Here is what both have in common.
 */
#include "agentd/file_batch.h"

#define DONE_REST 200 /* bytes for what is told behind the errors */

static struct file_batch *batch_of(struct stream *s)
{
	return container_of(file_many_of(s), struct file_batch, many);
}

uint8_t *file_batch_room(struct file_batch *b, size_t n)
{
	if (n > b->data_room) {
		free(b->data);
		b->data_room = 0;
		b->data = malloc(n);
		if (b->data)
			b->data_room = n;
	}
	return b->data;
}

int file_batch_next(struct file_batch *b, struct batch_head *h, struct error *e)
{
	struct stream *s = &b->many.stream;
	uint8_t head[BATCH_HEAD];
	ssize_t n = stream_read(s, head, sizeof(head));

	if (n == 0)
		return 0;
	if (n == (ssize_t)sizeof(head)) {
		*h = batch_head_get(head);
		if (h->path_len == 0 || h->path_len > BATCH_PATH_MAX)
			return error_set(e, E_BAD_MESSAGE, 0,
				"record %llu: a path of 1 to %d bytes must follow",
				(unsigned long long)b->index, BATCH_PATH_MAX);
		n = stream_read(s, b->path, h->path_len);
		if (n == h->path_len) {
			b->path[n] = '\0';
			if (strlen(b->path) == h->path_len)
				return 1;
			return error_set(e, E_BAD_MESSAGE, 0, "record %llu: a NUL in the path",
				(unsigned long long)b->index);
		}
	}
	if (n < 0)
		return place_error(e, ECANCELED, "batch");
	return error_set(e, E_BAD_MESSAGE, 0, "record %llu is cut", (unsigned long long)b->index);
}

static int work(struct file_batch *b, bool writing, struct error *e)
{
	const struct place *p = &b->many.place;
	int r = place_enter(p);

	if (r < 0)
		return place_error(e, -r, p->path);
	r = unpack_init(&b->unpack, p, -1);
	if (r < 0)
		place_error(e, -r, p->path);
	else
		r = writing ? file_batch_write_all(b, e) : file_batch_read_all(b, e);
	unpack_fini(&b->unpack);
	place_leave(p);
	return r;
}

static void run(struct stream *s, bool writing)
{
	struct file_batch *b = batch_of(s);
	struct jsonw w;
	struct error e;
	int r;

	b->path[0] = '\0';
	batch_tally_init(&b->tally);
	r = work(b, writing, &e);
	file_many_begin_done(&w, b->done, sizeof(b->done) - DONE_REST);
	if (writing)
		batch_tally_put(&b->tally, &w);
	w.size = sizeof(b->done);
	jsonw_u64(&w, "files", b->tally.files);
	jsonw_u64(&w, "bytes", b->tally.bytes);
	jsonw_u64(&w, "failed", b->tally.failed);
	batch_tally_fini(&b->tally);
	file_many_end(&b->many, r, &e, &w);
}

static void run_write(struct stream *s)
{
	run(s, true);
}

static void run_read(struct stream *s)
{
	stream_bulk(s);
	run(s, false);
}

static void release(struct stream *s)
{
	free(batch_of(s)->data);
	file_many_free(s);
}

static int open_write(struct service_link *l, uint32_t channel, uint64_t window, struct json json,
	struct error *e)
{
	static const struct file_many_kind kind = {
		.size = sizeof(struct file_batch),
		.zeroed = offsetof(struct file_batch, tally),
		.flags = STREAM_INPUT,
		.ops = {.run = run_write, .release = release},
	};

	return file_many_open(l, channel, window, json, &kind, e);
}

static int open_read(struct service_link *l, uint32_t channel, uint64_t window, struct json json,
	struct error *e)
{
	static const struct file_many_kind kind = {
		.size = sizeof(struct file_batch),
		.zeroed = offsetof(struct file_batch, tally),
		.flags = STREAM_INPUT,
		.ops = {.run = run_read, .release = release},
	};

	return file_many_open(l, channel, window, json, &kind, e);
}

const struct file_op file_batch_write_op = {.name = "batch_write", .open = open_write};
const struct file_op file_batch_read_op = {.name = "batch_read", .open = open_read};
