/*
 * The agent tells size and time of what it opened before the first byte, so a plain GET is one
 * round trip. For HEAD, and for a range, which may count from the end, the file is looked at first;
 * a file that has become another one in between is then a broken answer, not a wrong one.
 *
 * A file that says it has no bytes may be empty, or of /proc: it is sent without a length.
 */
#include "bridge/api/file_down.h"

#include <inttypes.h>
#include <stdio.h>

#include "bridge/api/file_head.h"
#include "bridge/api/file_out.h"

struct file_down {
	struct file_out out;
	struct file_ask ask;
	char *path; /* owned */
	bool attach;
	bool known; /* what follows is: a regular file with a size */
	uint64_t size;
	int64_t mtime_ns, ctime_ns;
	bool part;
	uint64_t from, len; /* of the part */
};

static void set_entry(struct file_down *d, const struct msg_file_entry *m)
{
	d->known = m->type && strcmp(m->type, "file") == 0 && m->size > 0;
	d->size = m->size;
	d->mtime_ns = m->mtime_ns;
	d->ctime_ns = m->ctime_ns;
}

/* ---- the head ---- */

static void put_headers(struct file_down *d, char tag[FILE_TAG_MAX])
{
	char text[FILE_DISPOSITION_MAX];
	struct call *c = d->out.call;

	file_tag(tag, d->size, d->mtime_ns, d->ctime_ns);
	if (d->known) {
		call_header(c, "ETag", tag);
		call_header(c, "Accept-Ranges", "bytes");
		file_date(text, d->mtime_ns);
		call_header(c, "Last-Modified", text);
	}
	if (!d->attach)
		return;
	file_disposition(text, d->path, "");
	if (*text)
		call_header(c, "Content-Disposition", text);
}

static void give_head(struct file_down *d)
{
	struct call *c = d->out.call;
	char tag[FILE_TAG_MAX], range[96];

	put_headers(d, tag);
	if (d->known && file_tag_listed(call_get_header(c, "if-none-match"), tag)) {
		call_empty(c, 304);
		return;
	}
	if (d->part) {
		snprintf(range, sizeof(range), "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, d->from,
			d->from + d->len - 1, d->size);
		call_header(c, "Content-Range", range);
	}
	if (d->part)
		call_begin(c, 206, "application/octet-stream", (int64_t)d->len);
	else
		call_begin(c, 200, "application/octet-stream", d->known ? (int64_t)d->size : -1);
}

/* ---- the bytes ---- */

static void on_begin(struct file_out *o)
{
	give_head(container_of(o, struct file_down, out));
}

static void on_event(struct file_out *o, const struct msg_file_event *m)
{
	struct file_down *d = container_of(o, struct file_down, out);

	if (m->kind == FILE_EVENT_ENTRY && !d->part) {
		d->known = m->is_file && m->size > 0;
		d->size = m->size;
		d->mtime_ns = m->mtime_ns;
		d->ctime_ns = m->ctime_ns;
	} else if (m->kind == FILE_EVENT_DONE && d->known &&
		   m->bytes != (d->part ? d->len : d->size)) {
		file_out_fail(o); /* it became shorter meanwhile */
	}
}

static void on_end(struct file_out *o)
{
	struct file_down *d = container_of(o, struct file_down, out);

	file_ask_cancel(&d->ask);
	free(d->path);
	free(d);
}

static const struct file_out_ops out_ops = {
	.on_begin = on_begin, .on_event = on_event, .on_end = on_end};

static void open_file(struct file_down *d)
{
	char message[FILE_MESSAGE];
	struct jsonw w;

	file_open(&w, message, "read", d->path);
	if (d->part) {
		jsonw_u64(&w, "offset", d->from);
		jsonw_u64(&w, "length", d->len);
	}
	file_out_open(&d->out, &w);
}

/* ---- looking first ---- */

static void not_in_it(struct file_down *d)
{
	char range[64];

	snprintf(range, sizeof(range), "bytes */%" PRIu64, d->size);
	call_header(d->out.call, "Content-Range", range);
	call_error(d->out.call, 416, "the file has only %" PRIu64 " bytes", d->size);
}

/* A range is wanted only of what the client has the rest of. */
static bool still_so(const struct file_down *d)
{
	const char *wanted = call_get_header(d->out.call, "if-range");
	char tag[FILE_TAG_MAX], date[FILE_DATE_MAX];

	file_tag(tag, d->size, d->mtime_ns, d->ctime_ns);
	file_date(date, d->mtime_ns);
	return !wanted || strcmp(wanted, tag) == 0 || strcmp(wanted, date) == 0;
}

static void on_stat(struct file_ask *a, const uint8_t *json, size_t len)
{
	struct file_down *d = container_of(a, struct file_down, ask);
	struct call *c = a->call;
	struct msg_file_entry m;
	enum file_range range;
	struct error e;
	bool is_file;

	if (msg_parse_file_entry(json, len, &m, &e) < 0) {
		call_error(c, 502, "the agent's answer cannot be read");
		return;
	}
	set_entry(d, &m);
	is_file = m.type && strcmp(m.type, "file") == 0;
	msg_file_entry_fini(&m);
	range = d->known && still_so(d)
			? file_range_parse(call_get_header(c, "range"), d->size, &d->from, &d->len)
			: FILE_RANGE_WHOLE;
	d->part = range == FILE_RANGE_PART;
	if (range == FILE_RANGE_NONE)
		not_in_it(d);
	else if (c->head && is_file)
		give_head(d);
	else
		open_file(d); /* of what is no file the agent says what is wrong */
}

void file_down(struct call *c, char *path, bool attach)
{
	struct file_down *d = xcalloc(1, sizeof(*d));
	char message[FILE_MESSAGE];
	struct jsonw w;

	d->path = path;
	d->attach = attach;
	file_out_init(&d->out, c, &out_ops);
	if (!c->head && !call_get_header(c, "range")) {
		open_file(d);
		return;
	}
	file_request(&w, message, "file.stat", path);
	file_ask_send(&d->ask, c, &w, on_stat);
}
