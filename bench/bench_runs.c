#include "bench/bench_runs.h"

#include <stdio.h>

#include "bench/floor.h"

#define WINDOW   (64 * 1024)
#define TEMPLATE "b0000000000"
#define DIGITS   10

static char *digits_in(char *json, size_t len)
{
	char *at = memmem(json, len, TEMPLATE, strlen(TEMPLATE));

	ASSERT(at);
	return at + 1;
}

static void on_output(struct job *j, uint8_t stream, const uint8_t *data, size_t len)
{
	struct run *r = container_of(j, struct run, job);

	if (!r->expect)
		return;
	if (stream != STREAM_OUT || strlen(r->expect) < len || memcmp(r->expect, data, len) != 0)
		j->wrong = true;
	else
		r->expect += len;
}

void runs_init(struct runs *r, struct link *l, char *const argv[], enum removal removal)
{
	struct msg_open open = {.service = "exec",
		.id = TEMPLATE,
		.window = WINDOW,
		.has_start = true,
		.start = {.argv = (char **)argv,
			.kill_grace_ms = 2000,
			.linger_ms = 50,
			.ring = MIB,
			.retain_ms = 0,
			.has_retain = removal == REMOVE_RETAIN}};
	struct msg_request remove = {.op = OP_REMOVE, .op_name = "remove", .id = TEMPLATE};

	*r = (struct runs){.link = l, .removal = removal};
	while (argv[open.start.argc])
		open.start.argc++;
	r->open_len = msg_format_open(&open, r->open, sizeof(r->open));
	r->remove_len = msg_format_request(&remove, r->remove, sizeof(r->remove));
	ASSERT(r->open_len > 0 && r->remove_len > 0);
	r->open_id = digits_in(r->open, r->open_len);
	r->remove_id = digits_in(r->remove, r->remove_len);
	for (size_t i = 0; i < RUNS_WIDTH; i++) {
		r->run[i].all = r;
		r->run[i].job.on_output = on_output;
	}
}

static void put_digits(char *out, uint64_t v)
{
	for (size_t i = DIGITS; i-- > 0; v /= 10)
		out[i] = (char)('0' + v % 10);
}

/* Behind the next OPEN: cleaning up after one command need not keep the next one waiting. */
static void send_removal(struct runs *r)
{
	if (!r->removal_waits)
		return;
	r->removal_waits = false;
	mux_request(&r->link->wire.mux, 0, 1, r->remove, r->remove_len);
}

static void start(struct runs *r, struct run *run)
{
	put_digits(r->open_id, ++r->serial);
	memcpy(run->id, r->open_id, DIGITS);
	run->expect = r->expect;
	job_reset(&run->job);
	job_open(&run->job, r->link, WINDOW, r->open, r->open_len);
	send_removal(r);
}

static void settle(struct runs *r, struct run *run)
{
	const struct job *j = &run->job;

	if (!j->ended || !j->good || j->wrong || j->gap || (run->expect && *run->expect))
		r->failed++;
	if (r->removal != REMOVE_REQUEST)
		return;
	send_removal(r);
	memcpy(r->remove_id, run->id, DIGITS);
	r->removal_waits = true;
}

void runs_one(struct runs *r)
{
	start(r, &r->run[0]);
	while (!r->run[0].job.closed)
		link_must_step(r->link);
	settle(r, &r->run[0]);
}

uint64_t runs_many(struct runs *r, size_t n, size_t width)
{
	size_t started = 0, ended = 0;
	uint64_t t0 = floor_now_ns();

	ASSERT(width <= RUNS_WIDTH);
	for (; started < min_of(n, width); started++)
		start(r, &r->run[started]);
	while (ended < n) {
		link_must_step(r->link);
		for (size_t i = 0; i < min_of(n, width); i++) {
			struct run *run = &r->run[i];

			if (!run->job.closed)
				continue;
			settle(r, run);
			ended++;
			run->job.closed = false;
			if (started < n) {
				start(r, run);
				started++;
			}
		}
	}
	t0 = floor_now_ns() - t0;
	send_removal(r);
	link_flush(r->link);
	return t0;
}
