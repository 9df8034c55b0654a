/* ports_internal.h - what ports.c and ports_watch.c share. */
#pragma once

#include "agentd/ports.h"
#include "proto/msg_net.h"

struct port {
	struct sockdiag_entry s;
	unsigned looks; /* how often its holder was looked for */
	pid_t pid;
	char *cmd; /* owned, as are the others */
	size_t cmd_len;
	bool cmd_cut;
	char *user, *session; /* NULL: none */
};

/* An answer, or an event until the mux has it. */
extern char ports_text[FRAME_PAYLOAD_MAX];

/* ---- ports.c ---- */
void ports_fill_msg(const struct sockdiag_entry *s, struct msg_port *m);
void ports_put_entry(struct jsonw *w, const struct port *e);
void ports_set_error(struct error *e, int err);
/* Begins a scan unless one is under way; whoever waits now is waiting for this one. */
void ports_look(struct ports *p);
/* Nothing is kept for nobody: to be called when somebody went. */
void ports_rest(struct ports *p);

/* ---- ports_watch.c ---- */
/* A scan begins: it is for all watchers that there are. */
void ports_count_watchers(struct ports *p);
/* It is done, or failed with err: those are told. */
void ports_tell(struct ports *p, int err);
/* Is there a watcher that no scan was for yet? */
bool ports_somebody_new(const struct ports *p);
