/*
 * A channel is one watcher of one tree. Lines are made from the tree's log when the link can take
 * them, so a watcher that is not read costs nothing; what the log has lost by then is one line,
 * `overflow`.
 */
#include <stdio.h>

#include "agentd/file.h"
#include "agentd/watch_tree.h"
#include "proto/msg_search.h"

#define BUF_SIZE (64 * 1024) /* any two paths, however they are written */
#define BUF_FULL (32 * 1024) /* enough for one turn */

struct file_watch {
	struct channel channel;
	struct service_link *link;
	struct watcher watcher;
	bool begun;  /* the first line is made */
	bool missed; /* and `overflow` is due */
	char *buf;   /* owned; NULL: nothing is on its way */
	size_t len, at;
	uint64_t sent;
};

static struct file_watch *of_channel(struct channel *c)
{
	return container_of(c, struct file_watch, channel);
}

static struct file_watch *of_watcher(struct watcher *w)
{
	return container_of(w, struct file_watch, watcher);
}

/* ---- lines ---- */

static void put_line(struct file_watch *f, const struct watch_event *e)
{
	struct jsonw w;

	jsonw_init(&w, f->buf + f->len, BUF_SIZE - f->len - 1);
	jsonw_open(&w, NULL, '{');
	jsonw_u64(&w, "seq", e->seq);
	jsonw_str(&w, "kind", watch_kind_str(e->kind));
	jsonw_bytes(&w, "path", e->text, e->len);
	if (e->kind == WATCH_RENAME)
		jsonw_bytes(&w, "from", e->text + e->len, e->from_len);
	if (e->dir)
		jsonw_bool(&w, "dir", true);
	if (e->err)
		jsonw_int(&w, "errno", e->err);
	jsonw_close(&w, '}');
	ASSERT(!w.overflow);
	f->len += w.len;
	f->buf[f->len++] = '\n';
}

static void put_overflow(struct file_watch *f, const struct watch_log *log)
{
	struct watch_event e = {.kind = WATCH_OVERFLOW, .seq = log->next - 1};

	put_line(f, &e);
	f->watcher.next = log->next;
}

static void put_start(struct file_watch *f, const struct watch_log *log)
{
	char cursor[WATCH_CURSOR_MAX];

	watch_tree_cursor(f->watcher.tree, f->missed ? log->next - 1 : f->watcher.next - 1, cursor);
	f->len = (size_t)snprintf(
		f->buf, BUF_SIZE, "{\"event\":\"watching\",\"cursor\":\"%s\"}\n", cursor);
	f->begun = true;
	if (f->missed)
		put_overflow(f, log);
}

static void put_lines(struct file_watch *f)
{
	struct watch_log *log = watch_tree_log(f->watcher.tree);

	if (!f->begun)
		put_start(f, log);
	while (f->len < BUF_FULL && f->watcher.next < log->next) {
		const struct watch_event *e = watch_log_get(log, f->watcher.next);

		if (!e) {
			put_overflow(f, log);
			continue;
		}
		/* A little more than BUF_FULL is there for one long line. */
		if (f->len > 0 && (e->len + e->from_len) * 6 + 200 > BUF_SIZE - f->len)
			break;
		put_line(f, e);
		f->watcher.next++;
	}
}

/* Is there anything for put_lines()? */
static bool has_lines(const struct file_watch *f)
{
	struct watch_tree *t = f->watcher.tree;

	return t && watch_tree_live(t) && (!f->begun || f->watcher.next < watch_tree_log(t)->next);
}

static void close_with(struct file_watch *f, const struct error *e)
{
	char text[ERROR_JSON_MAX];

	f->link->wake(f->link);
	channel_close(&f->channel, text, error_json(e, text));
}

/* ---- the channel ---- */

static bool pull(struct channel *c, size_t max, struct mux_item *ret)
{
	struct file_watch *f = of_channel(c);

	if (f->at == f->len) {
		free(take_ptr(&f->buf));
		f->at = f->len = 0;
	}
	if (!f->buf && !has_lines(f)) {
		if (!f->watcher.tree || !watch_tree_over(f->watcher.tree))
			return false;
		*ret = (struct mux_item){.type = FRAME_CLOSE};
		return true;
	}
	if (max == 0)
		return false;
	if (!f->buf) {
		f->buf = malloc(BUF_SIZE);
		if (!f->buf)
			return false; /* the next event comes back to it */
		put_lines(f);
	}
	*ret = (struct mux_item){.type = FRAME_DATA,
		.stream = STREAM_OUT,
		.arg = f->sent,
		.data = f->buf + f->at,
		.len = min_of(max, f->len - f->at)};
	f->at += ret->len;
	f->sent += ret->len;
	return true;
}

static void on_data(
	struct channel *c, uint8_t stream, uint64_t off, const uint8_t *data, size_t len, bool fin)
{
	struct error e;

	(void)stream;
	(void)off;
	(void)data;
	(void)len;
	(void)fin;
	error_set(&e, E_NOT_INPUT, 0, "nothing is to be sent there");
	close_with(of_channel(c), &e);
}

static void on_request(struct channel *c, uint64_t id, const uint8_t *json, size_t len)
{
	char text[ERROR_JSON_MAX];
	struct error e;

	(void)json;
	(void)len;
	error_set(&e, E_UNKNOWN_OP, 0, "a watch has no operations");
	mux_respond(c->mux, c->id, id, text, error_json(&e, text));
}

static void on_close(struct channel *c, const uint8_t *error, size_t len)
{
	struct file_watch *f = of_channel(c);

	(void)error;
	(void)len;
	watch_detach(&f->watcher);
	free(f->buf);
	free(f);
}

static const struct channel_ops channel_ops = {
	.pull = pull, .on_data = on_data, .on_request = on_request, .on_close = on_close};

static void on_ready(struct watcher *w)
{
	struct file_watch *f = of_watcher(w);

	channel_ready(&f->channel);
	f->link->wake(f->link);
}

static void on_failed(struct watcher *w, const struct error *e)
{
	close_with(of_watcher(w), e);
}

/* ---- opening ---- */

/* What makes two watches the same: all but the cursor, in one block. */
static int make_key(const struct msg_watch *m, const struct place *p, struct buf *key)
{
	uint8_t flags[9] = {m->recursive, p->as_user};
	const char *root = p->root ? p->root : "";
	int r;

	if (p->as_user) {
		put_u32(flags + 1, p->user.uid);
		put_u32(flags + 5, p->user.gid);
	}
	if ((r = buf_append(key, flags, sizeof(flags))) < 0 ||
		(r = buf_append(key, root, strlen(root) + 1)) < 0 ||
		(r = buf_append(key, p->path, strlen(p->path) + 1)) < 0)
		return r;
	for (size_t i = 0; i < m->n_exclude && r == 0; i++)
		r = buf_append(key, m->exclude[i], strlen(m->exclude[i]) + 1);
	return r;
}

static int attach(struct file_watch *f, const struct msg_watch *m, struct error *e)
{
	struct service_link *l = f->link;
	struct buf key = BUF_NULL(256 * 1024);
	struct watch_spec spec = {.recursive = m->recursive};
	struct place place;
	int r = place_init(&place, &m->where, l->sessions->config, e);

	if (r < 0)
		return r;
	r = make_key(m, &place, &key);
	if (r == 0 && m->n_exclude > 0)
		spec.exclude = ignore_globs(m->exclude, m->n_exclude, &r);
	if (r == 0) {
		spec.place = &place;
		spec.key = buf_head(&key);
		spec.key_len = buf_len(&key);
		r = watch_attach(l->watches, &f->watcher, &spec, m->since, &f->missed, e);
	} else {
		place_fini(&place);
		error_set(e, r == -EINVAL ? E_BAD_MESSAGE : E_FAILED, r == -EINVAL ? 0 : -r,
			"exclude: %s", r == -EINVAL ? "one is broken" : strerror(-r));
	}
	buf_fini(&key);
	return r;
}

static struct file_watch *file_watch_new(
	struct service_link *l, const struct msg_watch *m, struct error *e)
{
	struct file_watch *f = calloc(1, sizeof(*f));

	if (!f) {
		error_set(e, E_FAILED, ENOMEM, "out of memory");
		return NULL;
	}
	f->link = l;
	f->watcher = (struct watcher){.on_ready = on_ready, .on_failed = on_failed};
	if (attach(f, m, e) == 0)
		return f;
	free(f);
	return NULL;
}

static int open_watch(struct service_link *l, uint32_t channel, uint64_t window, struct json json,
	struct error *e)
{
	static const char opened[] = "{\"window\":0}";
	struct file_watch *f;
	struct msg_watch m;
	int r = msg_parse_watch(json.text, json.len, &m, e);

	if (r < 0)
		return r;
	f = file_watch_new(l, &m, e);
	msg_watch_fini(&m);
	if (!f)
		return -EINVAL;
	mux_accept(l->mux, channel, &f->channel, &channel_ops, 0, window, true, opened,
		sizeof(opened) - 1);
	if (has_lines(f))
		channel_ready(&f->channel);
	return 0;
}

const struct file_op file_watch_op = {.name = "watch", .open = open_watch};
