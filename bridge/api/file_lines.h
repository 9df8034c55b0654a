/*
 * file_lines.h - a channel that tells lines of JSON (search, watch), as text for a client: a line
 * is turned into text when the client takes it.
 */
#pragma once

#include "bridge/api/file_entry.h"
#include "bridge/api/file_out.h"

struct file_lines;

struct file_lines_ops {
	/* Gives the head; see file_out. NULL: it is given. */
	void (*on_begin)(struct file_lines *l);
	/* Adds a line, a JSON object, to l->text. */
	void (*put)(struct file_lines *l, struct jsonr line);
	/* Adds what comes behind the last line; may be NULL. */
	void (*put_end)(struct file_lines *l);
	/* Frees what it is part of. */
	void (*on_end)(struct file_lines *l);
};

struct file_lines {
	struct file_out out;
	const struct file_lines_ops *ops;
	struct text text; /* made, and not yet the client's */
	bool single;      /* one line at a time: WebSocket messages */
	bool ends;        /* a failure ends it like its end does; else it cuts the connection */
	bool ended;       /* put_end was called */
	struct msg_file_event done;
};

/* Takes the call, as file_out_init() does. */
void file_lines_init(struct file_lines *l, struct call *c, const struct file_lines_ops *ops);
