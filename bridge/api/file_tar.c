#include "bridge/api/file_tar.h"

#include "bridge/api/file_head.h"
#include "bridge/api/file_out.h"
#include "bridge/api/file_up.h"
#include "bridge/api/text.h"

#define STRIP_MAX 1000

struct tar {
	struct file_out out;
	char *path; /* owned */
	bool partial;
};

/* ---- out ---- */

static void on_begin(struct file_out *o)
{
	struct tar *t = container_of(o, struct tar, out);
	char name[FILE_DISPOSITION_MAX];

	file_disposition(name, t->path, ".tar");
	if (*name)
		call_header(o->call, "Content-Disposition", name);
	call_begin(o->call, 200, "application/x-tar", -1);
}

/* Something is missing in the archive: only who asked for what can be had gets it. */
static void on_event(struct file_out *o, const struct msg_file_event *m)
{
	const struct tar *t = container_of(o, struct tar, out);

	if (m->kind == FILE_EVENT_DONE && m->failed > 0 && !t->partial)
		file_out_fail(o);
}

static void on_end(struct file_out *o)
{
	struct tar *t = container_of(o, struct tar, out);

	free(t->path);
	free(t);
}

void file_tar_down(struct call *c)
{
	static const struct file_out_ops ops = {
		.on_begin = on_begin, .on_event = on_event, .on_end = on_end};
	auto_free char *path = file_path(c), *exclude = call_query(c, "exclude");
	char message[FILE_MESSAGE];
	bool partial = false;
	struct jsonw w;
	struct tar *t;

	if (!path || !file_flag(c, "partial", &partial))
		return;
	t = xcalloc(1, sizeof(*t));
	file_out_init(&t->out, c, &ops);
	file_open(&w, message, "tar", path);
	if (exclude)
		file_words(&w, "exclude", exclude);
	t->path = take_ptr(&path);
	t->partial = partial;
	file_out_open(&t->out, &w);
}

/* ---- in ---- */

static void answer(struct call *c, const struct msg_file_event *done)
{
	struct text t;

	text_init(&t);
	text_open(&t, NULL, '{');
	text_int(&t, "files", (int64_t)done->files);
	text_int(&t, "dirs", (int64_t)done->dirs);
	text_int(&t, "bytes", (int64_t)done->bytes);
	text_int(&t, "skipped", (int64_t)done->skipped);
	text_close(&t, '}');
	text_reply(&t, c, 200);
}

void file_tar_up(struct call *c)
{
	auto_free char *path = file_path(c), *text = call_query(c, "strip");
	char message[FILE_MESSAGE];
	uint64_t strip = 0;
	struct jsonw w;

	if (!path)
		return;
	if (text && (!call_query_u64(c, "strip", &strip) || strip > STRIP_MAX)) {
		call_error(c, 400, "strip must be a number, at most %d", STRIP_MAX);
		return;
	}
	file_open(&w, message, "untar", path);
	jsonw_u64(&w, "strip", strip);
	file_up_open(c, &w, answer);
}
