/*
 * file_out.h - what a channel of service "file" tells, as the body of an answer: bytes wait here,
 * at most a window of them, until the client takes them; behind that the agent waits.
 *
 * The head is given when the first bytes are there or when it ended without any, so that whatever
 * goes wrong before has a status of its own. What goes wrong later cuts the connection: a body that
 * came to its end is whole.
 */
#pragma once

#include "bridge/api/file_ask.h"
#include "bridge/remote_file.h"

struct file_out;

struct file_out_ops {
	/* Gives the head with call_begin(), or another answer. */
	void (*on_begin)(struct file_out *o);
	/* Entry and done; may be NULL. */
	void (*on_event)(struct file_out *o, const struct msg_file_event *m);
	/* NULL: the bytes as they are. Otherwise as pull of call_ops, of what is `held`, and also
	 * when it FAILED. */
	ssize_t (*pull)(struct file_out *o, uint8_t *out, size_t max);
	/* The call is over: frees what it is part of. */
	void (*on_end)(struct file_out *o);
};

enum file_out_state {
	FILE_OUT_IDLE,
	FILE_OUT_OPEN,
	FILE_OUT_DONE,   /* all of it is here */
	FILE_OUT_FAILED, /* and cannot be finished */
};

struct file_out {
	enum file_out_state state; /* changes only in file_out.c */
	struct call *call;
	struct remote_file file;
	const struct file_out_ops *ops;
	struct buf held;
	size_t owed; /* taken from held, and not yet told to the agent */
	bool began;
	struct error error; /* FAILED: why */
};

/* Takes the call: its ops and state are the file_out's from here on. */
void file_out_init(struct file_out *o, struct call *c, const struct file_out_ops *ops);
/* Sends w, which it ends. When it fails the call is answered. */
void file_out_open(struct file_out *o, struct jsonw *w);
/* Bytes of held are done with; the agent may send as many, at the latest after half a window. */
void file_out_took(struct file_out *o, size_t n);
/* And now: for who needs more before the next byte of held can go. */
void file_out_grant(struct file_out *o);
/* What pull says when there are no bytes (left). */
ssize_t file_out_nothing(const struct file_out *o);
/* It is not whole after all (from on_event of done). */
void file_out_fail(struct file_out *o);
