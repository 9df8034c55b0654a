/*
 * bench_link.h - the lightest client that speaks the protocol: proto/wire.h over a blocking socket.
 * What there is to send leaves in one writev(), then one recv() is waited for.
 */
#pragma once

#include "bench/bench.h"
#include "proto/msg.h"
#include "proto/wire.h"

#define LINK_READ (256 * 1024)

struct link {
	int fd; /* -1: down */
	struct wire wire;
	bool up; /* HELLO has come */
	char instance[32];
	uint64_t file_window; /* of a channel that takes data, before it is open */
	size_t read_size;     /* bytes per recv(); LINK_READ unless changed */
	uint64_t answered;    /* id of the latest answer on channel 0 */
	char *reply;          /* the latest answer, NUL-terminated */
	bool keep_replies;    /* fill `reply`: off while time is measured */
	/* To be cut after exactly so many bytes of either direction. UINT64_MAX: never. */
	uint64_t cut_in, cut_out;
	uint8_t *buf;
};

/* A blocking socket to a target (bridge/target.h). */
int link_dial(const char *target);
/* Connected to a unix socket's path or a target and greeted; dies when that does not work (false
 * only with a cut, when the cut came). */
bool link_open(struct link *l, const char *path, uint64_t cut_in, uint64_t cut_out);
/* Without a word, as a link that breaks; link_finish() says goodbye. Both idempotent. */
void link_cut(struct link *l);
void link_finish(struct link *l);

/* Sends all that is queued. Both are false once the link is down. */
bool link_flush(struct link *l);
/* link_flush(), and one read. Dies when nothing comes for a minute. */
bool link_step(struct link *l);
/* The same, but dies when the link goes down. */
void link_must_step(struct link *l);

/* A request on channel 0, answered; the answer is in l->reply. */
const char *link_ask(struct link *l, const struct msg_request *m);
/* Unsigned member `key` of the first object behind `after` (NULL: the start) in a JSON text; dies
 * without. */
uint64_t link_number(const char *json, const char *after, const char *key);

/* ---- one exec channel ---- */

struct job {
	struct channel channel;
	uint64_t window;  /* kept open by granting what was received */
	uint64_t next[3]; /* offset of the byte to come, by stream */
	uint64_t bytes;   /* received in all */
	uint64_t gap;     /* bytes reported missing */
	struct msg_opened opened_as;
	bool opened, live, ended, closed;
	bool good;         /* ended as exited(0) */
	bool wrong;        /* an offset that does not follow, or a refusal */
	bool parse_opened; /* fill opened_as, needed for input */
	/* Optional: each piece of output. */
	void (*on_output)(struct job *j, uint8_t stream, const uint8_t *data, size_t len);
	/* Optional: up to `max` bytes of input at in_off, 0 when there are none now. */
	size_t (*input)(struct job *j, size_t max, const uint8_t **data, bool *fin);
	uint64_t in_off;
	bool fin_sent;
	void *owner;
};

/* What was received so far is forgotten: for a new session. */
void job_reset(struct job *j);
/* Queues the OPEN. The job's options are set before; what belongs to the channel is cleared. */
void job_open(struct job *j, struct link *l, uint64_t window, const char *json, size_t len);
/* The same from a message; dies when it is too long. */
void job_open_msg(struct job *j, struct link *l, const struct msg_open *m);

/* bench_file.c: the file "0" in a directory, to there or from there; nanoseconds. */
uint64_t file_large(struct link *link, const char *where, bool write, uint64_t bytes);
