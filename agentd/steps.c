#include "agentd/steps.h"

#include <stdio.h>

#define DETAIL_MAX 200

void steps_init(struct steps *s)
{
	s->open = false;
	jsonw_init(&s->w, s->json, sizeof(s->json));
	jsonw_open(&s->w, NULL, '{');
	jsonw_open(&s->w, "steps", '[');
	s->began_ns = now_ns();
}

void steps_begin(struct steps *s)
{
	s->began_ns = now_ns();
}

static void close_last(struct steps *s)
{
	if (s->open)
		jsonw_close(&s->w, '}');
	s->open = false;
}

void steps_done(struct steps *s, const char *name, const char *detail, int r, const char *what)
{
	char text[64 + DETAIL_MAX];

	snprintf(text, sizeof(text), "%s%s%.*s", name, detail ? " " : "", DETAIL_MAX,
		detail ? detail : "");
	close_last(s);
	s->open = true;
	jsonw_open(&s->w, NULL, '{');
	jsonw_bytes(&s->w, "step", text, strlen(text));
	jsonw_bool(&s->w, "ok", r == 0);
	jsonw_milli(&s->w, "ms", (now_ns() - s->began_ns) / 1000);
	if (r < 0) {
		snprintf(text, sizeof(text), "%.100s%s%.100s", what ? what : "", what ? ": " : "",
			strerror(-r));
		jsonw_open(&s->w, "error", '{');
		jsonw_str(&s->w, "code", error_code_str(E_FAILED));
		jsonw_bytes(&s->w, "message", text, strlen(text));
		jsonw_int(&s->w, "errno", -r);
		jsonw_close(&s->w, '}');
	}
	s->began_ns = now_ns();
}

void steps_add(struct steps *s, const char *name, int64_t v)
{
	ASSERT(s->open);
	jsonw_int(&s->w, name, v);
}

size_t steps_finish(struct steps *s)
{
	close_last(s);
	jsonw_close(&s->w, ']');
	jsonw_close(&s->w, '}');
	ASSERT(!s->w.overflow);
	return s->w.len;
}
