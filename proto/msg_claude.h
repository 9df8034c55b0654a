/*
 * msg_claude.h - the lines of an agent session (docs/protocol.md section 15), and those of the
 * command line program's stream-json interface: both ways, as structs.
 *
 * A parsed line points into its text. What is written is appended to a buffer as a whole line, or,
 * without room or memory (-ENOBUFS, -ENOMEM), not at all.
 */
#pragma once

#include "proto/buf.h"
#include "proto/error.h"
#include "proto/jsonr.h"

#define MSG_CLAUDE_LINE_MAX    (16 * MIB)
#define MSG_CLAUDE_STRING_MAX  (100 * KIB) /* the kernel takes 128 KiB for an argument */
#define MSG_CLAUDE_SESSION_MAX 256
#define MSG_CLAUDE_ARGS_MAX    256

/* ---- from the client ---- */

enum msg_claude_in_kind { CLAUDE_CONFIGURE, CLAUDE_PROMPT, CLAUDE_INTERRUPT };

struct msg_claude_in {
	enum msg_claude_in_kind kind;
	struct jsonr object;
	struct jsonr content; /* PROMPT: a string or an array */
	struct jsonr resume;  /* PROMPT: a string; len 0: none */
};

int msg_parse_claude_in(const void *line, size_t len, struct msg_claude_in *ret, struct error *e);

/* All strings are owned; NULL: the default. */
struct msg_claude_config {
	char *model, *permission_mode;
	char *allowed, *disallowed; /* joined by commas */
	char *system_prompt, *append_prompt;
	char *cwd, *resume;
	char *mcp_servers, *args; /* as the JSON they came in: an object, an array of strings */
	uint64_t max_turns, stall_ms;
	bool partial, stall_kill;
};

/* Which of them a merge changed; the rest matters to nobody who runs already. */
enum { CLAUDE_CHANGED_MODEL = 1, CLAUDE_CHANGED_MODE = 2, CLAUDE_CHANGED_REST = 4 };

void msg_claude_config_init(struct msg_claude_config *c);
void msg_claude_config_fini(struct msg_claude_config *c);
/* Merges a `configure`; all of it or, with the error, nothing. */
int msg_claude_configure(
	struct msg_claude_config *c, struct jsonr object, unsigned *ret_changed, struct error *e);
/* The strings of `args` as argv[0..n), each for free(); n, or -ENOMEM. */
int msg_claude_args(const struct msg_claude_config *c, char *argv[MSG_CLAUDE_ARGS_MAX]);

/* ---- from the program ---- */

enum msg_claude_out_kind {
	CLAUDE_OTHER,
	CLAUDE_INIT, /* system/init: a turn begins */
	CLAUDE_RESULT,
	/* These are the control channel's and not for the client. */
	CLAUDE_RESPONSE,
	CLAUDE_REQUEST,
	CLAUDE_QUIET,
};

struct msg_claude_out {
	enum msg_claude_out_kind kind;
	struct jsonr session_id;  /* a string; len 0: none */
	struct jsonr request_id;  /* RESPONSE, REQUEST: any value; len 0: none */
	bool failed;              /* RESPONSE, RESULT */
	struct jsonr why;         /* the same: a string; len 0: none */
	struct jsonr subtype;     /* REQUEST; len 0: none */
	struct jsonr tool, input; /* REQUEST; len 0: none */
};

/* -EINVAL: not a JSON object. */
int msg_parse_claude_out(const void *line, size_t len, struct msg_claude_out *ret);

/* ---- to the program ---- */

int msg_put_claude_prompt(struct buf *b, struct jsonr content);
/* A control request; `key` (may be NULL) is a member with the string `value`. */
int msg_put_claude_control(
	struct buf *b, uint64_t id, const char *subtype, const char *key, const char *value);
/* May the tool be used? Input is given back as it came. */
int msg_put_claude_permission(struct buf *b, const struct msg_claude_out *request, bool allow);
int msg_put_claude_refusal(struct buf *b, const struct msg_claude_out *request);

/* ---- to the client ---- */

int msg_put_claude_event(struct buf *b, const char *type);
int msg_put_claude_error(struct buf *b, const char *code, const char *message);
int msg_put_claude_complete(struct buf *b, const char *session_id); /* NULL: none */
