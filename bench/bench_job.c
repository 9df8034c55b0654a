/* One exec channel of the bench client. JSON is searched rather than parsed where time is measured.
 */
#include "bench/bench_link.h"

#include <stdio.h>

static struct job *of(struct channel *c)
{
	return container_of(c, struct job, channel);
}

static bool has(const uint8_t *json, size_t len, const char *text)
{
	return memmem(json, len, text, strlen(text)) != NULL;
}

static bool pull(struct channel *c, size_t max, struct mux_item *ret)
{
	struct job *j = of(c);
	const uint8_t *data = NULL;
	bool fin = false;
	size_t n;

	if (!j->input || j->fin_sent || j->closed)
		return false;
	n = j->input(j, max, &data, &fin);
	if (n == 0 && !fin)
		return false;
	*ret = (struct mux_item){.type = FRAME_DATA,
		.flags = fin ? FRAME_FIN : 0,
		.stream = STREAM_IN,
		.arg = j->in_off,
		.data = data,
		.len = n};
	j->in_off += n;
	j->fin_sent = fin;
	return true;
}

static void on_data(
	struct channel *c, uint8_t stream, uint64_t off, const uint8_t *data, size_t len, bool fin)
{
	struct job *j = of(c);

	(void)fin;
	if (stream > STREAM_ERR || off != j->next[stream]) {
		j->wrong = true;
		return;
	}
	j->next[stream] += len;
	j->bytes += len;
	if (j->on_output)
		j->on_output(j, stream, data, len);
	channel_grant(c, c->received + j->window);
}

static void on_gap(struct channel *c, uint8_t stream, uint64_t off, uint64_t missing)
{
	struct job *j = of(c);

	if (stream > STREAM_ERR || off != j->next[stream]) {
		j->wrong = true;
		return;
	}
	j->next[stream] += missing;
	j->gap += missing;
}

static void on_opened(struct channel *c, const uint8_t *json, size_t len)
{
	struct job *j = of(c);
	struct error e;

	j->opened = true;
	if (!j->parse_opened)
		return;
	if (msg_parse_opened(json, len, &j->opened_as, &e) < 0)
		die("OPENED: %s", e.message);
	c->send_limit = j->opened_as.window;
	j->in_off = j->opened_as.stdin_offset;
	channel_ready(c);
}

static void on_event(struct channel *c, const uint8_t *json, size_t len)
{
	struct job *j = of(c);

	if (has(json, len, "\"event\":\"live\"")) {
		j->live = true;
	} else if (has(json, len, "\"event\":\"end\"")) {
		j->ended = true;
		j->good = has(json, len, "\"state\":\"exited\"") && has(json, len, "\"code\":0");
	}
}

static void on_ack(struct channel *c, uint8_t stream, uint64_t off)
{
	(void)c;
	(void)stream;
	(void)off;
}

static void on_response(struct channel *c, uint64_t id, const uint8_t *json, size_t len)
{
	(void)c;
	(void)id;
	(void)json;
	(void)len;
}

/* Refused, or closed by an error: the job has not ended, or the reason says so. */
static void on_close(struct channel *c, const uint8_t *error, size_t len)
{
	struct job *j = of(c);

	if (len > 0) {
		j->wrong = true;
		fprintf(stderr, "bench: channel closed: %.*s\n", (int)len, (const char *)error);
	}
	j->closed = true;
}

static const struct channel_ops ops = {
	.pull = pull,
	.on_data = on_data,
	.on_opened = on_opened,
	.on_gap = on_gap,
	.on_ack = on_ack,
	.on_event = on_event,
	.on_response = on_response,
	.on_close = on_close,
};

void job_reset(struct job *j)
{
	memset(j->next, 0, sizeof(j->next));
	j->bytes = j->gap = j->in_off = 0;
	j->wrong = false;
}

void job_open(struct job *j, struct link *l, uint64_t window, const char *json, size_t len)
{
	j->window = window;
	j->opened = j->live = j->ended = j->closed = j->good = j->fin_sent = false;
	if (mux_open(&l->wire.mux, &j->channel, &ops, window, json, len) < 0)
		die("no channel");
}

void job_open_msg(struct job *j, struct link *l, const struct msg_open *m)
{
	char text[FRAME_PAYLOAD_MAX];
	size_t n = msg_format_open(m, text, sizeof(text));

	ASSERT(n > 0);
	job_open(j, l, m->window, text, n);
}
