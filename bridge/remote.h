/*
 * remote.h - one session in the guest as one viewer sees it, through any number of broken links.
 *
 * Output comes to on_output slice by slice, straight from the link's read buffer: the consumer
 * takes or copies all of it, and says with remote_consumed() how much it is done with. What it is
 * not done with never exceeds `window`: then the agent stops sending, and a lossless viewer
 * thereby stops the process. Nothing is handed out twice and nothing in between is left out,
 * unless on_gap says so.
 *
 * Input is kept until the session has it, and sent again from where the session says it stands.
 *
 * A remote lives on a guest that outlives it. on_close is called exactly once, as the last
 * callback, and never from within remote_close(), after which there are none at all; memory may be
 * reused from there. The exception is one's own callback: it may call remote_close(), but the
 * memory must stay until the callback has returned.
 */
#pragma once

#include "bridge/guest.h"

#define REMOTE_WINDOW   (1024 * 1024) /* a good default */
#define REMOTE_HOLD_MS  30000         /* how long our place is held while the link is down */
#define REMOTE_INPUT    (256 * 1024)  /* input kept until it is safe */
#define REMOTE_NAME_LEN 12

enum remote_state {
	REMOTE_IDLE,    /* no channel: not asked yet, or the link is down */
	REMOTE_OPENING, /* OPEN is sent */
	REMOTE_OPEN,
	REMOTE_CLOSED,
};

enum remote_why {
	REMOTE_DONE,    /* the end came, and all output */
	REMOTE_REFUSED, /* the first OPEN was; see the error */
	REMOTE_LOST,    /* the link is given up, the agent began a new life, or the session is gone;
			   see the    error. Nothing is known of the process */
};

struct remote;

struct remote_events {
	void (*on_opened)(struct remote *r, const struct msg_opened *o); /* once */
	void (*on_output)(
		struct remote *r, uint8_t stream, uint64_t off, const uint8_t *data, size_t len);
	/* missing 0: cannot be known */
	void (*on_gap)(struct remote *r, uint8_t stream, uint64_t off, uint64_t missing);
	/* All that was there at the attach has been given out; once, may be NULL. */
	void (*on_live)(struct remote *r);
	void (*on_input_room)(
		struct remote *r); /* remote_input_room() grew from below half of it */
	void (*on_input_safe)(struct remote *r);   /* all of it; may be NULL */
	void (*on_stdin_closed)(struct remote *r); /* more input would be dropped; once */
	/* Of a terminal; may be NULL. Somebody changed its size; others own it now, or we. */
	void (*on_size)(struct remote *r, const struct msg_size *size);
	void (*on_owner)(struct remote *r, bool owner);
	void (*on_end)(struct remote *r, const struct msg_end *end); /* the process's; once */
	/* error is NULL with REMOTE_DONE. */
	void (*on_close)(struct remote *r, enum remote_why why, const struct error *error);
};

struct remote_config {
	const char *id; /* NULL with start: one is made up, so that the OPEN can be repeated */
	/* The name of our place at the session, copied: who comes with it again takes the place
	 * over. NULL: one is made up. "": no place, so a broken link may cost output; without input
	 * only. The agent allows 8 names a session. */
	const char *viewer;
	const struct msg_start
		*start;    /* NULL: the session must be there. Borrowed until on_opened */
	uint64_t since[2]; /* of stdout and stderr */
	bool since_now;
	bool input;
	/* Of a terminal: whether we want to own it, and the size it has while we do. */
	enum msg_own own;
	bool has_size;
	struct msg_size size;
	enum msg_policy policy;
	uint64_t yield_ms; /* 0: the session waits for us however long another waits */
	/* How much may be unconsumed; 0: REMOTE_WINDOW. The agent refuses one that is over 128 KiB
	 * more than the session's ring. */
	uint64_t window;
};

struct remote_channel {
	struct channel channel;
	struct remote *remote;
};

struct remote {
	enum remote_state state; /* changes only in remote_set_state() */
	struct guest *guest;
	struct guest_user user;
	struct channel *channel; /* the one in use */
	struct remote_channel
		channels[2]; /* two, because renew() opens one before it leaves the other */
	const struct remote_events *events;
	void *owner; /* for the events' receiver; not used here */
	struct remote_config config;
	char id[MSG_ID_MAX + 1];
	char viewer[MSG_VIEWER_MAX + 1]; /* "": none */
	bool asked;                      /* an OPEN was sent in this life of the agent */
	bool opened;                     /* OPENED has come, at least once */
	bool live;                       /* on_live was called */
	bool ended;
	bool owns;       /* the session's terminal */
	uint64_t off[3]; /* next byte expected, by stream; [0] is not used */
	uint64_t unconsumed;
	uint64_t opened_window; /* of the channel in use, as its OPEN said */
	/* Input: `in` holds [in_safe, in_safe + buf_len(in)). */
	struct buf in;
	uint64_t in_safe, in_sent;
	bool in_end;      /* nothing will be added */
	bool in_end_sent; /* on this channel */
	bool in_low;      /* room went below half: on_input_room is due */
	bool stdin_closed;
};

/* Opens as soon as the link is up. -EINVAL: neither id nor start, or an id that is not one;
 * -ENOTCONN: the link is given up. When it
 * is up already also -E2BIG: over 64 KiB, -EMFILE, -ENOMEM. On failure nothing is called back. */
int remote_open(struct remote *r, struct guest *g, const struct remote_events *events,
	const struct remote_config *config);
/* Leaves the session. Idempotent, also fine after on_close and on a zeroed remote. */
void remote_close(struct remote *r);

void remote_consumed(struct remote *r, size_t n);

size_t remote_input_room(const struct remote *r);
/* Takes as much as there is room for and returns how much that was. */
size_t remote_input(struct remote *r, const void *data, size_t len);
void remote_input_end(struct remote *r);

/* The size of the terminal whenever we own it, from now on. */
void remote_set_size(struct remote *r, const struct msg_size *size);
