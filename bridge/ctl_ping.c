/* ping: round trips, one at a time, and how long they took. */
#include <stdio.h>

#include "bridge/ctl.h"

struct ping {
	uint64_t *ns; /* owned */
	uint64_t n, begun;
};

static void send_one(struct ctl *c);

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* The value that `percent` of all are not above. */
static double percentile(const struct ping *p, unsigned percent)
{
	uint64_t rank = (p->n * percent + 99) / 100;

	return (double)p->ns[rank - 1] / 1000;
}

static void print(const struct ping *p)
{
	qsort(p->ns, p->n, sizeof(*p->ns), compare);
	printf("%llu round trips: min %.1f  p50 %.1f  p99 %.1f  max %.1f us\n",
		(unsigned long long)p->n, (double)p->ns[0] / 1000, percentile(p, 50),
		percentile(p, 99), percentile(p, 100));
}

static void on_pong(void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	struct ctl *c = owner;
	struct ping *p = c->state;

	(void)json, (void)len;
	if (error && ctl_link_broke(error))
		return; /* up() goes on */
	if (error) {
		ctl_say_error("ping", error);
		ctl_finish(c, CTL_FAILED);
		return;
	}
	p->ns[p->n++] = now_ns() - p->begun;
	if (p->n < c->options.count) {
		send_one(c);
		return;
	}
	print(p);
	ctl_finish(c, ctl_flush_stdout());
}

static void send_one(struct ctl *c)
{
	struct ping *p = c->state;

	p->begun = now_ns();
	ctl_request(c, &(struct msg_request){.op = OP_PING}, on_pong);
}

static int begin(struct ctl *c)
{
	struct ping *p = xcalloc(1, sizeof(*p));

	p->ns = xcalloc(c->options.count, sizeof(*p->ns));
	c->state = p;
	return 0;
}

static void up(struct ctl *c, bool same)
{
	(void)same;
	send_one(c);
}

static void end(struct ctl *c)
{
	free(take_ptr(&((struct ping *)c->state)->ns));
}

const struct ctl_command ctl_ping = {
	.name = "ping",
	.args = "[-n N]",
	.summary = "measure round trips to the agent",
	.about = "Sends N requests, one after the other, and prints how long the answers took.",
	.options = OPTION(COUNT),
	.begin = begin,
	.up = up,
	.end = end,
};
