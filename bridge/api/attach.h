/*
 * attach.h - a WebSocket client attached to one session of the guest. Output goes to the client in
 * large messages (pieces.h), no byte twice, none left out; what the client has not taken yet never
 * exceeds ATTACH_WINDOW, and behind that the session waits. Input goes to the session once all of
 * the replay is on its way, and is kept here while the process does not take it.
 *
 * It holds its sandbox in use from begin to end. A client may say something and leave at once: what
 * it has said is still brought to the session, if that is possible within ATTACH_LINGER_MS.
 */
#pragma once

#include "bridge/api/call.h"
#include "bridge/api/pieces.h"
#include "bridge/remote.h"
#include "bridge/sandbox/sandbox.h"

#define ATTACH_WINDOW    (128 * 1024) /* the most that every session gives, whatever its ring */
#define ATTACH_INPUT     (4 * 1024 * 1024) /* kept before the client is read no more */
#define ATTACH_PLACES    8     /* clients of a session that may write: the agent's limit */
#define ATTACH_QUIET_MS  30000 /* then an empty message */
#define ATTACH_CUT_MS    10    /* how long half a character waits */
#define ATTACH_LINGER_MS 5000
#define ATTACH_YIELD_MS  5000 /* a client that takes nothing is waited for, if another waits */
#define ATTACH_SIGNALS   8    /* asked for before the session is live; more are dropped */
#define ATTACH_CONTROL   4096

/* How WebSockets close; codes of our own as in docs/bridge.md. */
enum attach_code {
	CLOSE_DONE = 1000,
	CLOSE_REFUSED = 1008,
	CLOSE_LOST = 1011,
	CLOSE_BUSY = 1013,
	CLOSE_NO_SESSION = 4404,
	CLOSE_NO_SANDBOX = 4410,
};

enum attach_state {
	ATTACH_WAITING, /* for the sandbox */
	ATTACH_REPLAY,
	ATTACH_LIVE,
	ATTACH_OVER, /* how it ends is known; what waits still goes out, if there is a client */
};

struct attach;

/* How messages look. */
struct attach_form {
	unsigned kinds; /* 1 << enum roster_kind: of sessions that may be attached to */
	bool channels;  /* a byte for the kind in front; marks, notes and the exit code are sent */
	const char *done; /* the reason given with CLOSE_DONE */
	void (*on_message)(
		struct attach *a, const uint8_t *data, size_t len, bool first, bool last);
	/* This input is on its way; may be NULL. */
	void (*on_given)(struct attach *a, const uint8_t *data, size_t len);
};

struct attach {
	enum attach_state state; /* changes only in attach_set_state() */
	const struct attach_form *form;
	struct call *call;       /* NULL: the client is gone */
	struct sandbox *sandbox; /* NULL: left */
	struct sandbox_use use;
	struct remote remote;
	struct pieces pieces;
	size_t sent; /* output in the latest message: it counts as taken when the next one is asked
			for */
	struct buf in; /* what the session has not taken yet */
	bool in_end, paused, read_only;
	char id[ROSTER_ID_MAX + 1];
	enum roster_kind kind;
	bool counted; /* in the roster */
	int place;    /* of ATTACH_PLACES; -1: none */
	uint64_t since[2];
	bool since_now, resumes; /* ?since= was given, so notes are understood */
	bool begun;              /* some output has come */
	bool has_exit;
	int exit_code;
	uint16_t code;
	char reason[124];
	uint8_t signals[ATTACH_SIGNALS];
	unsigned n_signals;
	uv_timer_t timer;
	uint64_t sent_ms, cut_ms, gone_ms; /* by uv_now() */
	bool quiet;                        /* an empty message is due */
	/* The form's: of the message that is coming in. */
	bool has_channel;
	uint8_t channel;
	struct buf control;
};

/* Handler of a socket route whose params are the sandbox and the session: 404 before the upgrade
 * when it is known not to be there or is of another kind. */
void attach_socket(struct call *c, const struct attach_form *form);
/* The name at the agent of the sandbox's clients' place `number`, in any session. */
void attach_place(const struct sandbox *s, int number, char ret[MSG_VIEWER_MAX + 1]);

/* For forms. */
void attach_input(struct attach *a, const uint8_t *data, size_t len);
void attach_input_end(struct attach *a); /* what comes later is dropped */
/* Of a terminal; while this client is its owner, which the first one is. */
void attach_resize(struct attach *a, uint16_t cols, uint16_t rows);
void attach_signal(struct attach *a, int sig);
