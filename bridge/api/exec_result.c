#include "bridge/api/exec_result.h"

#include <stdio.h>

#define BETWEEN "\",\"stderr\":\""

enum part { HEAD, OUT, MIDDLE, ERR, TAIL, PARTS };

static void put_tail(struct exec_result *e, const struct run *r, bool polled)
{
	struct jsonw w;

	jsonw_init(&w, e->tail, sizeof(e->tail) - 1);
	jsonw_open(&w, NULL, '{');
	if (r->truncated)
		jsonw_bool(&w, "truncated", true);
	if (!r->failed && r->end.signal)
		jsonw_int(&w, "signal", r->end.signal);
	if (!r->failed && r->end.state == END_TIMED_OUT)
		jsonw_bool(&w, "timedOut", true);
	if (!r->failed && r->end.state == END_OOM_KILLED)
		jsonw_bool(&w, "oomKilled", true);
	if (polled && !r->failed)
		jsonw_u64(&w, "commandMs", r->end.wall_ms);
	if (polled && r->failed)
		jsonw_str(&w, "error", r->fault.text);
	jsonw_close(&w, '}');
	ASSERT(!w.overflow);
	/* Goes on behind the string of stderr. */
	e->tail[w.len] = '\0';
	if (w.len == 2) {
		strcpy(e->tail, "\"}");
	} else {
		memmove(e->tail + 2, e->tail + 1, w.len);
		memcpy(e->tail, "\",", 2);
	}
}

void exec_result_init(struct exec_result *e, const struct run *r, bool polled)
{
	*e = (struct exec_result){.run = r};
	snprintf(e->head, sizeof(e->head), "{%s\"exitCode\":%d,\"stdout\":\"",
		polled ? "\"running\":false," : "", r->exit_code);
	put_tail(e, r, polled);
}

size_t exec_result_max(const struct exec_result *e)
{
	return strlen(e->head) + strlen(BETWEEN) + strlen(e->tail) +
	       6 * (e->run->out[0].len + e->run->out[1].len);
}

static size_t put_text(struct exec_result *e, const char *text, char *out, size_t max)
{
	size_t n = min_of(strlen(text + e->at), max);

	memcpy(out, text + e->at, n);
	e->at += n;
	return n;
}

static size_t put_part(struct exec_result *e, char *out, size_t max)
{
	switch ((enum part)e->part) {
	case HEAD: return put_text(e, e->head, out, max);
	case MIDDLE: return put_text(e, BETWEEN, out, max);
	case TAIL: return put_text(e, e->tail, out, max);
	case OUT: return exec_output_json(&e->run->out[0], &e->output, out, max);
	case ERR: return exec_output_json(&e->run->out[1], &e->output, out, max);
	case PARTS: break;
	}
	return 0;
}

size_t exec_result_next(struct exec_result *e, char *out, size_t max)
{
	size_t n = 0;

	while (e->part < PARTS && max - n >= 12) {
		size_t got = put_part(e, out + n, max - n);

		n += got;
		if (got > 0)
			continue;
		e->part++;
		e->at = 0;
		e->output = (struct exec_output_at){0};
	}
	return n;
}
