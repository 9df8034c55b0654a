/*
 * Operation "list": what is in a directory, and below it, as lines of JSON.
 */
#include <fcntl.h>
#include <limits.h>

#include "agentd/file_entry.h"
#include "agentd/file_many.h"
#include "agentd/walk.h"

/* A path whose every byte is written as \u0001, and the entry. */
#define LINE_MAX_BYTES (6 * (WALK_PATH_MAX + 256) + FILE_ENTRY_MAX)

struct file_list {
	struct file_many many;
	uint64_t entries, failed;
	char line[LINE_MAX_BYTES];
};

static void put_entry(struct jsonw *w, const struct walk_entry *e)
{
	char target[PATH_MAX];
	ssize_t n = -1;

	if (e->type == DT_LNK)
		n = readlinkat(e->dir, e->name, target, sizeof(target) - 1);
	if (n >= 0)
		target[n] = '\0';
	file_entry_put(w, e->name, &e->st, n >= 0 ? target : NULL);
}

static int write_line(struct file_list *l, const struct walk_entry *e)
{
	struct jsonw w;

	jsonw_init(&w, l->line, sizeof(l->line) - 1);
	jsonw_open(&w, NULL, '{');
	if (e->err || l->many.msg.recursive)
		jsonw_bytes(&w, "path", e->path, e->path_len);
	if (e->err)
		jsonw_int(&w, "errno", -e->err);
	else
		put_entry(&w, e);
	jsonw_close(&w, '}');
	ASSERT(!w.overflow);
	w.out[w.len++] = '\n';
	if (e->err)
		l->failed++;
	else
		l->entries++;
	return stream_write(&l->many.stream, w.out, w.len);
}

static int list(struct file_list *l, struct error *e)
{
	struct file_many *m = &l->many;
	unsigned flags =
		WALK_STAT | (m->msg.follow ? WALK_FOLLOW : 0) | (m->msg.recursive ? 0 : WALK_FLAT);
	int fd = place_open(&m->place, m->place.path, O_RDONLY | O_DIRECTORY, 0);
	const struct walk_entry *entry;
	struct walk walk;
	unsigned count = 0;
	int r;

	if (fd < 0)
		return place_error(e, -fd, m->place.path);
	r = walk_init(&walk, fd, flags, (unsigned)m->msg.depth, &m->place);
	while (r >= 0 && (r = walk_next(&walk, &entry)) > 0) {
		if (m->msg.hidden || entry->name[0] != '.') {
			r = write_line(l, entry);
		} else {
			walk_skip(&walk);
			r = file_many_check(m, &count);
		}
	}
	walk_fini(&walk);
	return r < 0 ? place_error(e, -r, m->place.path) : 0;
}

static void run(struct stream *s)
{
	struct file_list *l = container_of(file_many_of(s), struct file_list, many);
	struct file_many *m = &l->many;
	struct error e;
	struct jsonw w;
	int r = place_enter(&m->place);

	m->msg.recursive |= m->msg.depth > 1;
	if (r < 0) {
		place_error(&e, -r, m->place.path);
	} else {
		r = list(l, &e);
		place_leave(&m->place);
	}
	file_many_begin_done(&w, l->line, sizeof(l->line));
	jsonw_u64(&w, "entries", l->entries);
	jsonw_u64(&w, "failed", l->failed);
	file_many_end(m, r, &e, &w);
}

static int open_list(struct service_link *l, uint32_t channel, uint64_t window, struct json json,
	struct error *e)
{
	static const struct file_many_kind kind = {
		.size = sizeof(struct file_list),
		.zeroed = offsetof(struct file_list, line),
		.flags = 0,
		.ops = {.run = run, .release = file_many_free},
	};

	return file_many_open(l, channel, window, json, &kind, e);
}

const struct file_op file_list_op = {.name = "list", .open = open_list};
