#include "proto/msg_file_told.h"

#include "proto/msg_read.h"

/* The frame of all readers here: `read` fills m; *mem, if wanted, has what m refers to. */
static int read_message(const uint8_t *json, size_t len, int (*read)(struct msg_reader *r, void *m),
	void *m, void **mem, struct error *e)
{
	struct msg_reader r;
	int err = msg_reader_init(&r, json, len, true, e);

	if (err < 0)
		return err;
	err = read(&r, m);
	if (err == 0 && mem)
		*mem = msg_reader_take(&r);
	msg_reader_fini(&r);
	return err;
}

static int get_number(struct msg_reader *r, const char *name, uint64_t *ret)
{
	return msg_get_u64(r, r->root, name, (uint64_t)MSG_INT_MAX, ret);
}

/* The largest number that is both a double and an int64_t. */
#define WIDE_MAX (INT64_MAX - 1023)

static int get_size(struct msg_reader *r, uint64_t *ret)
{
	return msg_get_u64(r, r->root, "size", WIDE_MAX, ret);
}

static int get_time(struct msg_reader *r, const char *name, int64_t *ret)
{
	return msg_get_i64(r, r->root, name, -WIDE_MAX, WIDE_MAX, ret);
}

static int read_entry(struct msg_reader *r, void *ret)
{
	struct msg_file_entry *m = ret;
	const struct {
		const char *name;
		uint64_t *ret;
	} numbers[] = {
		{"mode", &m->mode},
		{"uid", &m->uid},
		{"gid", &m->gid},
		{"nlink", &m->nlink},
		{"blocks", &m->blocks},
		{"errno", &m->errnum},
	};
	int e;

	if ((e = msg_get_str(r, r->root, "name", &m->name)) < 0 ||
		(e = msg_get_str(r, r->root, "path", &m->path)) < 0 ||
		(e = msg_get_str(r, r->root, "type", &m->type)) < 0 ||
		(e = msg_get_str(r, r->root, "target", &m->target)) < 0 ||
		(e = get_size(r, &m->size)) < 0 ||
		(e = get_time(r, "mtime_ns", &m->mtime_ns)) < 0 ||
		(e = get_time(r, "ctime_ns", &m->ctime_ns)) < 0)
		return e;
	for (size_t i = 0; i < array_size(numbers) && e == 0; i++)
		e = get_number(r, numbers[i].name, numbers[i].ret);
	return e;
}

int msg_parse_file_entry(
	const uint8_t *json, size_t len, struct msg_file_entry *ret, struct error *e)
{
	struct msg_file_entry m = {0};
	int err = read_message(json, len, read_entry, &m, &m.mem, e);

	if (err == 0)
		*ret = m;
	return err;
}

void msg_file_entry_fini(struct msg_file_entry *m)
{
	free(m->mem);
	*m = (struct msg_file_entry){0};
}

static int read_event(struct msg_reader *r, void *ret)
{
	struct msg_file_event *m = ret;
	const char *event = "", *type = "", *sha256 = "";
	const struct {
		const char *name;
		uint64_t *ret;
	} numbers[] = {
		{"mode", &m->mode},
		{"bytes", &m->bytes},
		{"files", &m->files},
		{"dirs", &m->dirs},
		{"skipped", &m->skipped},
		{"failed", &m->failed},
		{"matches", &m->matches},
	};
	int e = 0;

	for (size_t i = 0; i < array_size(numbers) && e == 0; i++)
		e = get_number(r, numbers[i].name, numbers[i].ret);
	if (e < 0 || (e = get_size(r, &m->size)) < 0 ||
		(e = get_time(r, "mtime_ns", &m->mtime_ns)) < 0 ||
		(e = get_time(r, "ctime_ns", &m->ctime_ns)) < 0 ||
		(e = msg_get_str(r, r->root, "event", &event)) < 0 ||
		(e = msg_get_str(r, r->root, "type", &type)) < 0 ||
		(e = msg_get_str(r, r->root, "sha256", &sha256)) < 0 ||
		(e = msg_get_bool(r, r->root, "truncated", &m->truncated)) < 0)
		return e;
	if (strcmp(event, "entry") == 0)
		m->kind = FILE_EVENT_ENTRY;
	else if (strcmp(event, "done") == 0)
		m->kind = FILE_EVENT_DONE;
	m->is_file = strcmp(type, "file") == 0;
	m->has_size = msg_has(r->root, "size");
	if (strlen(sha256) < sizeof(m->sha256))
		memcpy(m->sha256, sha256, strlen(sha256) + 1);
	return 0;
}

int msg_parse_file_event(
	const uint8_t *json, size_t len, struct msg_file_event *ret, struct error *e)
{
	struct msg_file_event m = {0};
	int err = read_message(json, len, read_event, &m, NULL, e);

	if (err == 0)
		*ret = m;
	return err;
}

static int read_line(struct msg_reader *r, void *ret)
{
	struct msg_file_line *m = ret;
	const struct {
		const char *name, **ret;
	} words[] = {
		{"event", &m->event},
		{"cursor", &m->cursor},
		{"kind", &m->kind},
		{"path", &m->path},
		{"from", &m->from},
		{"text", &m->text},
	};
	int e = 0;

	for (size_t i = 0; i < array_size(words) && e == 0; i++)
		e = msg_get_str(r, r->root, words[i].name, words[i].ret);
	if (e == 0)
		e = get_number(r, "seq", &m->seq);
	return e < 0 ? e : get_number(r, "line", &m->line);
}

int msg_parse_file_line(const uint8_t *json, size_t len, struct msg_file_line *ret, struct error *e)
{
	struct msg_file_line m = {0};
	int err = read_message(json, len, read_line, &m, &m.mem, e);

	if (err == 0)
		*ret = m;
	return err;
}

void msg_file_line_fini(struct msg_file_line *m)
{
	free(m->mem);
	*m = (struct msg_file_line){0};
}

int msg_parse_file_number(
	const uint8_t *json, size_t len, const char *name, uint64_t *ret, struct error *e)
{
	struct msg_reader r;
	int err = msg_reader_init(&r, json, len, false, e);

	if (err < 0)
		return err;
	err = get_number(&r, name, ret);
	msg_reader_fini(&r);
	return err;
}
