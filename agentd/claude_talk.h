/*
 * claude_talk.h - the conversation of an agent session: who says what when. The client's lines come
 * in here, and the program's; out go lines to the client, and to the program. One turn at a time;
 * what is asked meanwhile waits.
 *
 * Nothing here waits or polls. The owner brings the events, calls claude_talk_tick() when the
 * deadline is there, and polls the program's descriptors.
 */
#pragma once

#include "agentd/claude_cli.h"
#include "agentd/claude_program.h"
#include "base/list.h"
#include "proto/msg_claude.h"

#define CLAUDE_PROMPTS_MAX   64 /* waiting */
#define CLAUDE_SESSION_MAX   MSG_CLAUDE_SESSION_MAX
#define CLAUDE_INTERRUPT_MS  10000 /* from an interrupt to TERM */
#define CLAUDE_INTERRUPT_AGN 1000  /* it is said again, since it can come too early */

enum claude_turn {
	TURN_NONE,
	TURN_ASKED,   /* the prompt is on its way */
	TURN_RUNNING, /* the program has begun */
};

struct claude_prompt;

struct claude_talk {
	enum claude_turn turn; /* changes only in set_turn() */
	struct msg_claude_config config;
	const struct claude_program *program;
	struct claude_cli cli;
	struct buf *out, *log; /* to the client; for people */
	struct list prompts;   /* waiting */
	unsigned n_prompts;
	size_t prompt_bytes;
	struct claude_prompt *current; /* of the turn; NULL: none, or the program began by itself */
	bool ended;                    /* the client will say no more */

	char session[CLAUDE_SESSION_MAX + 1]; /* of the conversation; empty: none yet */
	char resumed[CLAUDE_SESSION_MAX + 1]; /* what the program was started to resume */
	bool began;                           /* the program has said system/init */
	bool stale;       /* its command line is not what is configured any more */
	bool again;       /* the turn's prompt was asked a second time */
	bool no_snapshot; /* it does not know --system-prompt-snapshot */

	bool interrupting;
	uint64_t interrupt_at, interrupt_until;            /* say it (again); give up */
	uint64_t next_id, interrupt_id, model_id, mode_id; /* control requests; 0: no answer due */

	uint64_t heard_at; /* of the turn's last sign of life */
	bool stall_said;
	bool explained; /* the client knows why the program will end in this turn */
	int error;      /* -errno: out of memory; the owner ends */
};

void claude_talk_init(struct claude_talk *t, const struct claude_program *program, struct buf *out,
	struct buf *log);
void claude_talk_fini(struct claude_talk *t);

void claude_talk_line(struct claude_talk *t, struct jsonr line);
void claude_talk_line_too_long(struct claude_talk *t);
void claude_talk_end(struct claude_talk *t);
/* The session is ended from outside: the turn is over, what waits is dropped, the program goes. */
void claude_talk_stop(struct claude_talk *t);

/* A line of the program, and when it was too long. */
void claude_talk_heard(struct claude_talk *t, struct jsonr line);
void claude_talk_heard_too_long(struct claude_talk *t);
/* The program has EXITED and all its lines were given to claude_talk_heard(). */
void claude_talk_gone(struct claude_talk *t);

void claude_talk_tick(struct claude_talk *t, uint64_t now);
uint64_t claude_talk_deadline(const struct claude_talk *t);
/* Nothing is left to be done. */
bool claude_talk_done(const struct claude_talk *t);
