#include "agentd/file_request.h"

static const file_request_fn ops[FILE_OPS] = {
	[FILE_STAT] = request_stat,
	[FILE_LIST] = request_list,
	[FILE_MKDIR] = request_mkdir,
	[FILE_REMOVE] = request_remove,
	[FILE_RENAME] = request_rename,
	[FILE_COPY] = request_copy,
	[FILE_CHMOD] = request_chmod,
	[FILE_CHOWN] = request_chown,
	[FILE_UTIMES] = request_utimes,
	[FILE_SYMLINK] = request_symlink,
	[FILE_LINK] = request_link,
	[FILE_READLINK] = request_readlink,
	[FILE_TRUNCATE] = request_truncate,
	[FILE_DU] = request_du,
	[FILE_STATFS] = request_statfs,
	[FILE_SHA256] = request_sha256,
	[FILE_READ_MANY] = request_read_many,
	[FILE_WRITE_MANY] = request_write_many,
};

static unsigned under_work; /* of all links */

bool file_request_cancelled(void *ctx)
{
	const struct file_request *q = ctx;

	return q->reply.gone;
}

int file_request_fail(struct file_request *q, int err, const char *path)
{
	if (err == ECANCELED)
		return error_set(&q->error, E_CANCELLED, 0, "cancelled");
	return place_error(&q->error, err, path);
}

static int run_op(struct file_request *q)
{
	int r;

	if (q->reply.gone)
		return file_request_fail(q, ECANCELED, "");
	q->out = malloc(FRAME_PAYLOAD_MAX);
	if (!q->out)
		return error_set(&q->error, E_FAILED, ENOMEM, "out of memory");
	r = place_enter(&q->place);
	if (r < 0)
		return error_set(&q->error, E_FAILED, -r, "cannot act as user %u: %s",
			q->place.user.uid, strerror(-r));
	jsonw_init(&q->w, q->out, FRAME_PAYLOAD_MAX);
	jsonw_open(&q->w, NULL, '{');
	r = ops[q->m.op](q);
	jsonw_close(&q->w, '}');
	place_leave(&q->place);
	return r;
}

static void run(struct work *w)
{
	struct file_request *q = container_of(w, struct file_request, work);

	q->result = run_op(q);
	ASSERT(q->result < 0 || !q->w.overflow);
}

static void release(struct file_request *q)
{
	under_work--;
	place_fini(&q->place);
	msg_file_request_fini(&q->m);
	free(q->out);
	free(q);
}

static void done(struct work *w)
{
	struct file_request *q = container_of(w, struct file_request, work);

	if (q->result < 0)
		reply_error(&q->reply, &q->error);
	else
		reply_send(&q->reply, q->out, q->w.len);
	release(q);
}

/* The link's own are counted only once all links together have so many. */
static bool too_many(const struct service_link *l)
{
	unsigned n = 0;

	if (under_work < FILE_REQUESTS_MAX)
		return false;
	list_for_each (r, &l->replies, struct reply, node)
		n++;
	return n >= FILE_REQUESTS_MAX;
}

/* From here on q has all it needs. */
static int submit(struct file_request *q, struct service_link *l, uint64_t id, struct error *e)
{
	int r;

	q->work.run = run;
	q->work.done = done;
	reply_init(&q->reply, l, 0, id);
	r = workers_submit(l->workers, &q->work);
	if (r == 0)
		return 0;
	list_remove(&q->reply.node);
	return error_set(e, r == -ESHUTDOWN ? E_STOPPING : E_TOO_MANY, -r, "no thread for it: %s",
		strerror(-r));
}

static int file_request(
	struct service_link *l, uint64_t id, const char *op, struct json json, struct error *e)
{
	struct file_request *q;
	int r;

	if (too_many(l))
		return error_set(e, E_TOO_MANY, EAGAIN,
			"%d file requests of this link are under work", FILE_REQUESTS_MAX);
	q = calloc(1, sizeof(*q));
	if (!q)
		return error_set(e, E_FAILED, ENOMEM, "out of memory");
	under_work++;
	r = msg_parse_file_request(op, json.text, json.len, &q->m, e);
	if (r == 0)
		r = place_init(&q->place, &q->m.where, l->sessions->config, e);
	if (r == 0)
		r = submit(q, l, id, e);
	if (r < 0)
		release(q);
	return r;
}

const struct request_family file_family = {.name = "file", .request = file_request};
