/*
 * The agent tells size and time of what it opened before the first byte, so a plain GET is one
 * round trip. For HEAD, and for a range, which may count from the end, the file is looked at first;
 * but what is said of it is what was opened. When that has not got the range, or is not what the
 * client has the rest of, the answer is broken, not wrong.
 *
 * A file that says it has no bytes may be empty, or of /proc: it is sent without a length. So is
 * one of more bytes than numbers count one by one.
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

static void set_entry(
	struct file_down *d, bool is_file, uint64_t size, int64_t mtime_ns, int64_t ctime_ns)
{
	d->known = is_file && size > 0 && size <= FILE_SIZE_EXACT;
	d->size = size;
	d->mtime_ns = mtime_ns;
	d->ctime_ns = ctime_ns;
}

/* A range is wanted only of what the client has the rest of. A date is not enough to know that: a
 * file can change twice in its second. */
static bool still_so(const struct file_down *d)
{
	const char *wanted = call_get_header(d->out.call, "if-range");
	char tag[FILE_TAG_MAX];

	file_tag(tag, d->size, d->mtime_ns, d->ctime_ns);
	return !wanted || strcmp(wanted, tag) == 0;
}

/* The client has it already. */
static bool not_modified(const struct file_down *d)
{
	char tag[FILE_TAG_MAX];

	file_tag(tag, d->size, d->mtime_ns, d->ctime_ns);
	return d->known && file_tag_listed(call_get_header(d->out.call, "if-none-match"), tag);
}

/* ---- the head ---- */

static void put_headers(struct file_down *d)
{
	char text[FILE_DISPOSITION_MAX];
	struct call *c = d->out.call;

	if (d->known) {
		file_tag(text, d->size, d->mtime_ns, d->ctime_ns);
		call_header(c, "ETag", text);
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
	char range[96];

	put_headers(d);
	if (not_modified(d)) {
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

	if (m->kind == FILE_EVENT_ENTRY && !o->began) {
		set_entry(d, m->is_file, m->size, m->mtime_ns, m->ctime_ns);
		if (d->part && !(still_so(d) && d->from + d->len <= d->size))
			file_out_fail(o);
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

static void on_stat(struct file_ask *a, const uint8_t *json, size_t len)
{
	struct file_down *d = container_of(a, struct file_down, ask);
	struct call *c = a->call;
	struct msg_file_entry m;
	enum file_range range = FILE_RANGE_WHOLE;
	struct error e;
	bool is_file;

	if (msg_parse_file_entry(json, len, &m, &e) < 0) {
		call_error(c, 502, "the agent's answer cannot be read");
		return;
	}
	is_file = m.type && strcmp(m.type, "file") == 0;
	set_entry(d, is_file, m.size, m.mtime_ns, m.ctime_ns);
	msg_file_entry_fini(&m);
	if (is_file && (c->head || not_modified(d))) {
		give_head(d);
		return;
	}
	if (d->known && still_so(d) && !c->head)
		range = file_range_parse(call_get_header(c, "range"), d->size, &d->from, &d->len);
	d->part = range == FILE_RANGE_PART;
	if (range == FILE_RANGE_NONE)
		not_in_it(d);
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
