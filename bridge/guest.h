/*
 * guest.h - the link to one agent: dial, greet, keep it up, come back after it broke.
 *
 * A guest has users (the owner is one of them): each is told when the link comes up, goes down, and
 * when it is lost for good. Up comes with whether the agent is still in the same life (`instance`
 * of docs/protocol.md section 3); when it is not, sessions known before are gone. Whoever keeps
 * channels on the link opens them in on_up and again in the next on_up: a broken link closes them
 * all (channel_ops.on_close with mux_linked() false) before on_down is called.
 *
 * Requests are for channel 0. Each is answered exactly once, with a broken link if need be.
 *
 * Any function may be called from any callback. Callbacks come from the loop, except that
 * guest_cancel() and guest_remove_user() make sure there will be none any more. Memory may be
 * reused from on_closed on.
 *
 * What is queued (through the mux, or here) leaves at the end of the loop's turn, after a
 * guest_kick(): whoever touches a channel calls it.
 */
#pragma once

#include <uv.h>

#include "bridge/guest_user.h"
#include "bridge/pending.h"
#include "bridge/target.h"
#include "proto/wire.h"

#define GUEST_ATTEMPT_MS   10000 /* from dialing to the agent's HELLO */
#define GUEST_DELAY_MIN_MS 10
#define GUEST_DELAY_MAX_MS 1000
#define GUEST_BUSY_MS      10000 /* how long to come again when the listener's queue is full */

enum guest_state {
	GUEST_IDLE,    /* not started */
	GUEST_WAITING, /* until the next attempt */
	GUEST_DIALING,
	GUEST_GREETING, /* HTTP upgrade and HELLO */
	GUEST_UP,
	GUEST_DROPPING, /* the link ended, its handle is being closed */
	GUEST_LOST,     /* given up; nothing will come any more */
	GUEST_CLOSING,
	GUEST_CLOSED,
};

const char *guest_state_str(enum guest_state s);

struct guest_config {
	struct target target;
	const char *name;  /* how HELLO calls us; borrowed, as is the token */
	const char *token; /* may be NULL */
	uint64_t first_ms; /* for how long to try for the first link; 0: one attempt */
	uint64_t retry_ms; /* and after it broke */
	/* When nobody listens there for so long the first link is given up, and of another that has
	 * not come back users are told. 0: it makes no difference. */
	uint64_t refused_ms;
};

typedef void (*guest_closed_fn)(void *owner);

struct guest {
	enum guest_state state; /* changes only in guest_set_state() */
	struct guest_config config;
	uv_loop_t *loop;
	uv_poll_t poll;   /* one attempt's; watches fd */
	uv_timer_t timer; /* WAITING: the next attempt; DIALING and GREETING: the end of patience */
	uv_idle_t flush;  /* active while something may have to be written */
	bool has_poll;
	unsigned open_handles;
	int events; /* what poll watches now */
	int fd;     /* owned from GREETING on; before, it is the dial's */
	struct dial dial;
	struct wire wire;
	bool blocked;    /* the socket takes no more; WRITABLE is watched */
	struct buf held; /* input that wire_input() would not take yet */
	struct guest_users users;
	struct pending pending;
	struct msg_hello hello; /* the agent's, latest; empty before the first */
	char instance[40];
	bool paused;
	bool was_up;          /* ever */
	bool told_up;         /* users think the link is up */
	uint64_t linkless_ms; /* since when there is none, by now_ms() */
	unsigned attempt;     /* of this linkless time */
	uint32_t jitter;
	int error;  /* of the last link or attempt: -errno */
	bool final; /* and coming again cannot help */
	char why[200];
	guest_closed_fn on_closed;
	void *on_closed_owner;
};

int guest_init(struct guest *g, uv_loop_t *loop, const struct guest_config *config);
void guest_start(struct guest *g);
/* The link is ended, as if it had broken, and none is dialed until the pause is over: somebody
 * takes a snapshot of the machine. Users keep what they have. */
void guest_pause(struct guest *g, bool pause);
/* Ends the link in order, as far as the socket takes it at once. Pending requests fail, remaining
 * channels close, users are not told. fn may be NULL. */
void guest_close(struct guest *g, guest_closed_fn fn, void *owner);

/* guest_remove_user() is in guest_user.h. */
void guest_add_user(struct guest *g, struct guest_user *u, const struct guest_user_ops *ops);

/* The same, but users are told that it is lost, with that reason. */
void guest_give_up(struct guest *g, const char *why, guest_closed_fn fn, void *owner);

static inline bool guest_is_up(const struct guest *g)
{
	return g->state == GUEST_UP;
}
/* Why the last link or attempt ended, for people; and its -errno. */
const char *guest_why(const struct guest *g);

/* Sends a request on channel 0 and returns its number (> 0), or -ENOTCONN, or -EMSGSIZE: over 64
 * KiB. */
int64_t guest_request(
	struct guest *g, const struct msg_request *m, guest_response_fn fn, void *owner);
/* The same for any JSON object. */
int64_t guest_ask(struct guest *g, const void *json, size_t len, guest_response_fn fn, void *owner);
/* The answer is no longer wanted. Fine when it came already. */
void guest_cancel(struct guest *g, int64_t id);

/* mux_open() on the link. -ENOTCONN when it is not up, else as mux_open(). */
int guest_open(struct guest *g, struct channel *c, const struct channel_ops *ops, uint64_t window,
	const void *json, size_t len);
void guest_kick(struct guest *g);
