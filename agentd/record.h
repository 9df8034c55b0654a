/*
 * record.h - what of a session lives in the arena: everything the next agentd needs to go on with
 * it. Plain data, no pointers; times are CLOCK_MONOTONIC milliseconds (0 = none) unless they say
 * otherwise. Changing anything here means raising ARENA_VERSION.
 */
#pragma once

#include "agentd/inq.h"
#include "agentd/store.h"
#include "proto/msg.h"

#define RECORD_MAGIC   0x7365737au
#define RECORD_PLACES  8
#define RECORD_CMD_MAX 4096 /* bytes of the command kept for `list` */

/* Where a named viewer stands: survives its link and the agent. */
struct viewer_place {
	char name[MSG_VIEWER_MAX + 1]; /* "": free */
	uint64_t in_off;               /* bytes of input accepted from it */
	uint64_t pos;        /* position in the store up to which it surely has everything */
	uint64_t hold_ms;    /* what it asked for; 0: never held */
	uint64_t hold_until; /* link lost: held so long */
	uint64_t last_used;  /* the longest unused free place is given away first */
	bool attached, lossless;
};

/* What was done to the process before it ended; decides the end state. */
enum cause { CAUSE_NONE, CAUSE_TIMEOUT, CAUSE_CLIENT, CAUSE_DISCONNECT, CAUSE_SHUTDOWN };

/* Accepting input moves two counters; a crash between them is repaired from this note. */
struct input_note {
	uint32_t valid, place;
	uint64_t place_off, accepted;
};

struct record {
	uint32_t magic, size;
	uint64_t serial; /* order of starts */
	uint64_t fingerprint;
	char id[MSG_ID_MAX + 1];
	bool hidden; /* removed, but children still hold its pipes: drained until they are done */

	/* process */
	int32_t pid;
	/* [0] our end of stdin, [1] stdout, [2] stderr; -1 when closed or never there. On a
	 * terminal [0] and [1] are its master, for either direction, and [2] is its slave: held
	 * open until the leader exits, so that the terminal does not end when the program closes it
	 * for a while. */
	int32_t pidfd, fd[3];
	uint64_t identity[4]; /* of pidfd and fd[], see keeper.h; once kept */
	bool kept;            /* the keeper has them, as far as it came to that */
	bool shared;          /* it has had them: closing ours is not the last close */
	uint64_t start_ticks;
	char cgroup[16];    /* leaf, "" when there is none */
	bool process_group; /* setpgid only, no session of its own */

	/* terminal */
	bool pty;
	struct msg_size tty_size;       /* as last set by a viewer */
	char owner[MSG_VIEWER_MAX + 1]; /* name of the viewer that owns it; "" when it has none */
	uint64_t repaint_at;            /* then tty_size is set again */

	/* how it ends */
	uint64_t timeout_at, kill_at, disconnect_at, expire_at;
	uint64_t kill_grace_ms, disconnect_ms, linger_ms, retain_ms;
	uint32_t kill_to;       /* enum msg_target of the KILL at kill_at */
	uint32_t cause;         /* enum cause */
	uint64_t cause_signals; /* bit n - 1: signal n was sent */
	bool kill_fired;        /* the KILL that was to follow has been sent */
	bool exited;            /* the leader has been reaped */
	uint64_t lost_at;       /* it ended, another reaped it, and until then we may be told how */
	int32_t wait_code, wait_status; /* si_code, si_status */
	uint64_t exited_at, last_output;
	uint64_t residue[3]; /* positions per stream that must be read before the leader's output is
				complete */
	uint64_t started_at;
	struct msg_end end; /* state END_RUNNING until it ended */
	uint64_t end_pos;   /* store position at the end */

	/* data */
	uint64_t
		stdin_in_doubt; /* bytes of which a crash left unknown whether the child got them */
	bool stdin_eof;         /* a viewer ended stdin; closed once the queue is empty */
	struct store_state store;
	struct inq_state in; /* extent 0: no stdin */
	struct input_note note;
	struct viewer_place places[RECORD_PLACES];

	bool cmd_cut;
	uint32_t cmd_len, cwd_len, user_len; /* lengths in text, each with its NUL */
	char text[];                         /* arguments, NUL after each; cwd; user */
};
