/*
 * steps.h - work that is done in steps, each of them told: `steps` of docs/protocol.md section 18.
 */
#pragma once

#include "proto/error.h"
#include "proto/jsonw.h"

#define STEPS_JSON_MAX (32 * 1024)

struct steps {
	uint64_t began_ns; /* the present step */
	struct jsonw w;
	bool open; /* the last step's object */
	char json[STEPS_JSON_MAX];
};

void steps_init(struct steps *s);
/* A step begins; told by the next steps_done(). */
void steps_begin(struct steps *s);
/* r: 0 or -errno. what: of an error, for people (may be NULL); detail: behind the name, cut when it
 * is long (may be NULL). */
void steps_done(struct steps *s, const char *name, const char *detail, int r, const char *what);
/* One more member of the step just done. */
void steps_add(struct steps *s, const char *name, int64_t v);
/* The whole answer; its length. */
size_t steps_finish(struct steps *s);
