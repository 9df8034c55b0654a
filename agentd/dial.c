/*
 * Nothing is stored that the other side could still hold. Towards the client there is no buffer at
 * all: the peer's socket is read when the mux asks for a frame, which it does when the link takes
 * one and there is credit; so the peer feels the client's window as its own. Towards the peer it is
 * written at once, and only what the socket does not take waits in `out`, at most a window.
 *
 * The socket is watched edge-triggered, with one call over its life: an edge sets `readable` or
 * `writable`, EAGAIN takes it back. What is not wanted now (no credit, nothing to write) can so
 * never wake us again and again, a hang-up included.
 *
 * The end is found by reading, since only that has the order right: what came, then FIN or the
 * error. A socket that fails in writing may have much to read still; the failure is kept (`broken`)
 * until that is done.
 */
#include "agentd/dial.h"

#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>

#include "agentd/netaddr.h"
#include "proto/msg_net.h"

#define RETRY_MS 20 /* a unix listener whose queue is full: nothing tells when there is room */

enum dial_state {
	DIAL_CONNECTING,
	DIAL_OPEN,
	DIAL_ENDED, /* both directions are; the client's CLOSE is awaited */
};

struct dial {
	struct channel channel;
	struct dials *all;
	struct service_link *link;
	enum dial_state state; /* changes only in dial_set_state() */
	struct list node;      /* in all->connecting */
	int fd;                /* owned; -1 while there is none */
	struct watch watch;
	bool readable, writable; /* as far as we know */
	bool peer_ended;         /* its FIN was passed on */
	bool fin;                /* the client's has come */
	bool shut;               /* and was carried out */
	int broken;              /* errno of a write that failed */
	uint64_t sent;           /* bytes from the peer */
	struct buf out;          /* bytes to it */
	/* CONNECTING */
	struct netaddr to;
	unsigned at; /* the address being tried */
	int error;   /* of the first one that failed */
	uint64_t deadline, retry_at;
};

static struct dial *of_channel(struct channel *c)
{
	return container_of(c, struct dial, channel);
}

/* Forwards only, any number of steps. */
static void dial_set_state(struct dial *d, enum dial_state state)
{
	ASSERT(state > d->state);
	d->state = state;
}

/* ---- how it ends ---- */

static void close_socket(struct dial *d)
{
	if (d->fd < 0)
		return;
	watch_remove(d->all->poller, &d->watch, true);
	close_fd(&d->fd);
}

/* Tells the client, which ends the channel: d is gone afterwards. */
static void close_with(struct dial *d, enum error_code code, int err, const char *message)
{
	struct error e;
	char text[ERROR_JSON_MAX];

	error_set(&e, code, err, "%s%s%s", message, err ? ": " : "", err ? strerror(err) : "");
	d->link->wake(d->link);
	channel_close(&d->channel, text, error_json(&e, text));
}

/* Until all of the client's bytes are written, whatever closes the socket (even the end of this
 * program) resets the connection: the peer must not take half of a stream for the whole. */
static void reset_on_close(struct dial *d, bool on)
{
	struct linger linger = {.l_onoff = on};

	if (d->to.at[0].any.sa_family != AF_UNIX)
		setsockopt(d->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

static void on_close(struct channel *c, const uint8_t *error, size_t len)
{
	struct dial *d = of_channel(c);

	(void)error, (void)len;
	close_socket(d);
	list_remove(&d->node);
	if (list_empty(&d->all->connecting))
		uv_timer_stop(&d->all->timer);
	buf_fini(&d->out);
	d->all->n--;
	free(d);
}

/* ---- from the client to the peer ---- */

/* As much as goes now; returns it. A failure is left in d->broken. */
static size_t write_some(struct dial *d, const uint8_t *data, size_t len)
{
	size_t done = 0;

	while (done < len && d->writable && !d->broken) {
		ssize_t n = send(d->fd, data + done, len - done, MSG_NOSIGNAL);

		if (n >= 0)
			done += (size_t)n;
		else if (errno == EAGAIN)
			d->writable = false;
		else if (errno != EINTR)
			d->broken = errno;
	}
	return done;
}

/* After writing: what follows from it. d may be gone afterwards. */
static void settle(struct dial *d)
{
	if (d->broken && d->peer_ended) {
		close_with(d, E_FAILED, d->broken, "the connection broke");
		return;
	}
	if (d->broken) {
		buf_fini(&d->out);
		d->readable = true; /* the error, if nothing else */
		channel_ready(&d->channel);
	}
	if (buf_len(&d->out) == 0)
		buf_fini(&d->out);
	if (d->fin && !d->shut && buf_len(&d->out) == 0) {
		shutdown(d->fd, SHUT_WR);
		reset_on_close(d, false);
		d->shut = true;
		channel_ready(&d->channel); /* perhaps that was the last */
	}
	channel_grant(&d->channel, d->channel.received + DIAL_WINDOW - buf_len(&d->out));
	d->link->wake(d->link);
}

static void on_data(
	struct channel *c, uint8_t stream, uint64_t off, const uint8_t *data, size_t len, bool fin)
{
	struct dial *d = of_channel(c);
	size_t n = 0;

	if (stream != STREAM_IN) {
		close_with(d, E_NOT_INPUT, 0, "only stream 0 goes to the peer");
		return;
	}
	if (off != c->received - len) {
		close_with(d, E_BAD_OFFSET, 0, "bytes that do not follow on those before");
		return;
	}
	if (d->fin)
		len = 0;
	d->fin |= fin;
	if (d->state != DIAL_OPEN)
		return;
	if (buf_len(&d->out) == 0)
		n = write_some(d, data, len);
	if (n < len && !d->broken && buf_append(&d->out, data + n, len - n) < 0) {
		close_with(d, E_FAILED, ENOMEM, "no memory for what the peer does not take");
		return;
	}
	settle(d);
}

/* ---- from the peer to the client ---- */

static bool pull_end(struct dial *d, struct mux_item *ret)
{
	if (!d->shut)
		return false;
	dial_set_state(d, DIAL_ENDED);
	close_socket(d);
	*ret = (struct mux_item){.type = FRAME_CLOSE};
	return true;
}

/* Without credit the end, or the error, is looked for behind nothing. */
static bool pull(struct channel *c, size_t max, struct mux_item *ret)
{
	static uint8_t data[FRAME_PAYLOAD_MAX]; /* good until the next call, as the mux asks */
	struct dial *d = of_channel(c);
	ssize_t n;

	if (d->peer_ended)
		return pull_end(d, ret);
	if (!d->readable)
		return false;
	do
		n = recv(d->fd, data, max ? min_of(max, sizeof(data)) : 1, max ? 0 : MSG_PEEK);
	while (n < 0 && errno == EINTR);
	if (n > 0 && max == 0)
		return false;
	if (n < 0 && errno == EAGAIN) {
		d->readable = false;
		return false;
	}
	if (n < 0 || (n == 0 && d->broken)) {
		close_with(d, E_FAILED, n < 0 ? errno : d->broken, "the connection broke");
		return false;
	}
	*ret = (struct mux_item){
		.type = FRAME_DATA, .stream = STREAM_OUT, .arg = d->sent, .data = data};
	ret->len = (size_t)n;
	d->sent += (uint64_t)n;
	if (n == 0) {
		d->peer_ended = true;
		ret->flags = FRAME_FIN;
	}
	return true;
}

static void on_request(struct channel *c, uint64_t id, const uint8_t *json, size_t len)
{
	struct error e;
	char text[ERROR_JSON_MAX];

	(void)json, (void)len;
	error_set(&e, E_UNKNOWN_OP, 0, "there are no operations on a dial channel");
	mux_respond(c->mux, c->id, id, text, error_json(&e, text));
}

static const struct channel_ops channel_ops = {
	.pull = pull,
	.on_data = on_data,
	.on_request = on_request,
	.on_close = on_close,
};

/* ---- the socket ---- */

static void on_open_ready(struct dial *d, uint32_t events)
{
	bool broken = events & (EPOLLERR | EPOLLHUP);
	socklen_t len = sizeof(d->broken);

	if (broken || events & (EPOLLIN | EPOLLRDHUP)) {
		d->readable = true;
		channel_ready(&d->channel);
	}
	/* Nothing is read any more that would tell. */
	if (events & EPOLLERR && d->peer_ended && !d->broken)
		getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &d->broken, &len);
	if (broken || events & EPOLLOUT) {
		d->writable = true;
		buf_consume(&d->out, write_some(d, buf_head(&d->out), buf_len(&d->out)));
		settle(d);
	} else {
		d->link->wake(d->link);
	}
}

static void on_tried(struct dial *d, uint32_t events);

static void on_ready(struct watch *w, uint32_t events)
{
	struct dial *d = container_of(w, struct dial, watch);

	if (d->state == DIAL_CONNECTING)
		on_tried(d, events);
	else
		on_open_ready(d, events);
}

/* ---- connecting ---- */

static void on_timer(uv_timer_t *t);

static void arm(struct dials *all)
{
	uint64_t first = UINT64_MAX, now = now_ms();

	list_for_each (d, &all->connecting, struct dial, node)
		first = min_of(first, d->retry_at ? min_of(d->retry_at, d->deadline) : d->deadline);
	if (first == UINT64_MAX)
		uv_timer_stop(&all->timer);
	else
		uv_timer_start(&all->timer, on_timer, first > now ? first - now : 0, 0);
}

static void connected(struct dial *d)
{
	int on = 1, n;
	char text[32];

	dial_set_state(d, DIAL_OPEN);
	list_remove(&d->node);
	if (d->to.at[0].any.sa_family != AF_UNIX)
		setsockopt(d->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	reset_on_close(d, true);
	d->readable = d->writable = true;
	n = snprintf(text, sizeof(text), "{\"window\":%llu}", (unsigned long long)DIAL_WINDOW);
	channel_accept(&d->channel, DIAL_WINDOW, text, (size_t)n);
	settle(d);
}

/* 0: connected; -EINPROGRESS: on_tried() will hear of it; -errno. */
static int begin(struct dial *d)
{
	const struct sockaddr *addr = &d->to.at[d->at].any;
	int r, type = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;

	d->fd = socket(addr->sa_family, type, 0);
	if (d->fd < 0)
		return -errno;
	d->watch = WATCH_NULL;
	r = connect(d->fd, addr, d->to.at[d->at].len) < 0 ? -errno : 0;
	if (r == 0 || r == -EINPROGRESS) {
		int err = watch_add(d->all->poller, &d->watch, d->fd,
			EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, on_ready);

		r = err < 0 ? err : r;
	}
	if (r < 0 && r != -EINPROGRESS)
		close_socket(d);
	return r;
}

/* From d->at on: each address in turn, until one answers or has to be waited for. */
static void connect_next(struct dial *d)
{
	d->retry_at = 0;
	for (; d->at < d->to.n; d->at++) {
		int r = begin(d);

		if (r == 0) {
			connected(d);
			return;
		}
		if (r == -EAGAIN && d->to.at[d->at].any.sa_family == AF_UNIX)
			d->retry_at = now_ms() + RETRY_MS;
		if (d->retry_at || r == -EINPROGRESS) {
			arm(d->all);
			return;
		}
		d->error = d->error ? d->error : -r;
	}
	close_with(d, E_FAILED, d->error, "cannot connect");
}

static void on_tried(struct dial *d, uint32_t events)
{
	socklen_t len = sizeof(int);
	int err = 0;

	if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
		return;
	if (getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		err = errno;
	if (err == 0) {
		connected(d);
		arm(d->all);
		return;
	}
	d->error = d->error ? d->error : err;
	close_socket(d);
	d->at++;
	connect_next(d);
}

static void on_timer(uv_timer_t *t)
{
	struct dials *all = t->data;
	uint64_t now = now_ms();

	list_for_each_safe (d, &all->connecting, struct dial, node) {
		if (now >= d->deadline)
			close_with(d, E_FAILED, ETIMEDOUT, "cannot connect");
		else if (d->retry_at && now >= d->retry_at)
			connect_next(d);
	}
	arm(all);
}

/* ---- open ---- */

/* NULL: the error is filled. */
static struct dial *prepare(struct service_link *l, const struct msg_dial *m, struct error *e)
{
	struct netaddr to;
	struct dial *d;

	if (netaddr_parse(m->to, &to, e) < 0)
		return NULL;
	if (l->dials->n >= DIAL_MAX) {
		error_set(e, E_TOO_MANY, 0, "there are %d connections already", DIAL_MAX);
		return NULL;
	}
	d = calloc(1, sizeof(*d));
	if (!d) {
		error_set(e, E_FAILED, ENOMEM, "out of memory");
		return NULL;
	}
	d->all = l->dials;
	d->link = l;
	d->fd = -1;
	d->watch = WATCH_NULL;
	d->to = to;
	d->out = BUF_NULL(DIAL_WINDOW);
	d->deadline = now_ms() + m->timeout_ms;
	return d;
}

static int dial_open(struct service_link *l, uint32_t channel, const struct msg_open *m,
	struct json json, struct error *e)
{
	struct msg_dial want;
	struct dial *d;
	int r = msg_parse_dial(json.text, json.len, &want, e);

	if (r < 0)
		return r;
	d = prepare(l, &want, e);
	msg_dial_fini(&want);
	if (!d)
		return -EINVAL;
	if (mux_defer(l->mux, channel, &d->channel, &channel_ops, m->window) < 0) {
		free(d);
		return error_set(e, E_FAILED, ENOMEM, "out of memory");
	}
	l->dials->n++;
	list_init(&d->node);
	list_append(&l->dials->connecting, &d->node);
	connect_next(d);
	return 0;
}

const struct service dial_service = {.name = "dial", .open = dial_open};

/* ---- what they share ---- */

int dials_init(struct dials *all, uv_loop_t *loop, struct poller *poller)
{
	*all = (struct dials){.poller = poller};
	list_init(&all->connecting);
	all->timer.data = all;
	return uv_timer_init(loop, &all->timer);
}

void dials_close(struct dials *all)
{
	ASSERT(all->n == 0);
	uv_close((uv_handle_t *)&all->timer, NULL);
}
