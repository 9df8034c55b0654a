#include "agentd/file_many.h"

int file_many_open(struct service_link *l, uint32_t channel, uint64_t window, struct json json,
	const struct file_many_kind *kind, struct error *e)
{
	struct file_many *m = malloc(kind->size);
	int r;

	if (!m)
		return error_set(e, E_FAILED, ENOMEM, "out of memory");
	memset(m, 0, kind->zeroed);
	r = msg_parse_tree(json.text, json.len, &m->msg, e);
	if (r == 0 && m->msg.where.owner.kind == OWNER_ARCHIVE && !kind->archive)
		r = error_set(e, E_BAD_MESSAGE, 0, "\"owner\" can be \"archive\" for untar only");
	if (r == 0)
		r = place_init(&m->place, &m->msg.where, l->sessions->config, e);
	if (r == 0)
		r = stream_open(&m->stream, l, channel, window, kind->flags, &kind->ops, e);
	if (r < 0) {
		place_fini(&m->place);
		msg_tree_fini(&m->msg);
		free(m);
	}
	return r;
}

void file_many_free(struct stream *s)
{
	struct file_many *m = file_many_of(s);

	place_fini(&m->place);
	msg_tree_fini(&m->msg);
	free(m);
}

int file_many_check(struct file_many *m, unsigned *count)
{
	return ++*count % 64 == 0 && stream_cancelled(&m->stream) ? -ECANCELED : 0;
}

void file_many_begin_done(struct jsonw *w, char *out, size_t size)
{
	jsonw_init(w, out, size);
	jsonw_open(w, NULL, '{');
	jsonw_str(w, "event", "done");
}

void file_many_end(struct file_many *m, int err, const struct error *e, struct jsonw *done)
{
	if (err < 0) {
		stream_fail(&m->stream, e);
		return;
	}
	jsonw_close(done, '}');
	ASSERT(!done->overflow);
	stream_done(&m->stream, done->out, done->len);
}
