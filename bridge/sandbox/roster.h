/*
 * roster.h - the sessions of one sandbox as the bridge knows them: those it started, and those the
 * agent listed when the link came up (so a bridge that was restarted knows them again). The agent
 * has the truth; this is what routes need at once: does the id exist, what is it, who is attached.
 *
 * An id begins with a letter for its kind, then 12 hex digits: 'x' commands, 'r' the commands of
 * run and run-async, 'p' terminals, 'a' agents. Ids of others (agentctl's) are commands or
 * terminals, as the agent says.
 */
#pragma once

#include "base/list.h"
#include "proto/msg.h"

#define ROSTER_ID_MAX MSG_ID_MAX

enum roster_kind { ROSTER_EXEC, ROSTER_RUN, ROSTER_PTY, ROSTER_AGENT };

struct roster_entry {
	struct list node; /* by start */
	char id[ROSTER_ID_MAX + 1];
	enum roster_kind kind;
	bool running;
	struct msg_end end;            /* when not running */
	uint64_t started_ms, ended_ms; /* for people: a clock may be set */
	uint64_t known_ms, over_ms;    /* since when we know it, and its end; by now_ms() */
	char *cmd, **args;             /* args NULL-terminated; owned, one block each */
	size_t n_args;
	unsigned attached; /* clients */
	uint8_t places;    /* names that they use at the agent, a bit each (attach.c) */
	void *turns;       /* ROSTER_AGENT: its watcher (agent_turns.c), or NULL */
	bool listed;       /* on a page of the listing under way */
};

/* An entry that ended goes this long after, unless clients are attached: the agent keeps it for 5
 * min. So keep ids, not entries. */
#define ROSTER_KEEP_MS (10 * 60 * 1000)

struct roster {
	struct list entries;
	size_t n;
	uint64_t swept_ms;
	bool known; /* the agent's list was read in this life of the box: what is not here is not
		       there */
};

void roster_init(struct roster *r);
void roster_fini(struct roster *r);
/* A new id of that kind. */
void roster_new_id(enum roster_kind kind, char ret[ROSTER_ID_MAX + 1]);
enum roster_kind roster_kind_of(const char *id);
struct roster_entry *roster_find(struct roster *r, const char *id);
/* NULL: out of memory. args may be NULL. */
struct roster_entry *roster_add(struct roster *r, const char *id, enum roster_kind kind,
	const char *cmd, char *const *args);
void roster_ended(struct roster_entry *e, const struct msg_end *end);
void roster_remove(struct roster *r, struct roster_entry *e);
/* Takes over what the agent lists: adds, ends, and forgets what is not in it any more, except for
 * the lost, which are kept like the ended. */
void roster_take(struct roster *r, const struct msg_list *list, bool first_page, bool last_page);
/* The agent began a new life: nobody saw the end of what ran. */
void roster_lost(struct roster *r);
/* The exit code the API gives for an end: the code; 128 + signal; -1 for a timeout of ours and
 * where the end was not seen; 127 or 126 for a start that failed. */
int roster_exit_code(const struct msg_end *end);
