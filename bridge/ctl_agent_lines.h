/*
 * ctl_agent_show.h - the lines of an agent session as a person wants to read them: the answer as it
 * is, what tools are used for in a line each, what went wrong. What would move a terminal's cursor
 * is left out.
 */
#pragma once

#include "proto/buf.h"
#include "proto/jsonr.h"

enum agent_line {
	AGENT_OTHER,
	AGENT_READY,
	AGENT_BEGIN,  /* of a turn */
	AGENT_FAILED, /* an error, or a result that is one; the turn goes on or ends as it would */
	AGENT_TURN_OVER,
};

/* What the line is. What there is to show is appended: answers to `text`, the rest to `notes`
 * (either may be NULL: not wanted). */
enum agent_line agent_show(struct jsonr line, struct buf *text, struct buf *notes);

/* Appended whole, or, with -ENOBUFS or -ENOMEM, not at all. -EILSEQ: the text is not UTF-8. */
int agent_put_prompt(struct buf *b, const char *text, size_t len);
int agent_put_configure(struct buf *b, const char *model, const char *resume); /* NULL: neither */
int agent_put_interrupt(struct buf *b);
