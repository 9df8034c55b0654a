/*
 * ctl_view.h - one session before a person: its output on ours, perhaps our stdin on its. Made by
 * run, pty and attach (ctl_run.c); what is different when the session has a terminal is in
 * ctl_pty.c.
 */
#pragma once

#include <signal.h>

#include "bridge/cast.h"
#include "bridge/ctl.h"
#include "bridge/ctl_sink.h"
#include "bridge/ctl_source.h"
#include "bridge/escape.h"
#include "bridge/remote.h"

static const int view_signals[] = {SIGINT, SIGTERM, SIGHUP};

struct view {
	struct ctl *ctl;
	struct remote remote;
	struct remote_config config;
	struct msg_start start;
	struct ctl_sink out, err;
	struct ctl_source in;
	uv_signal_t signals[array_size(view_signals)];
	bool runs; /* else it attaches */
	bool own;  /* made here and for us only */
	bool opened, concluded, removing, gap, begun;
	int code;     /* once concluded */
	int out_code; /* not 0: stdout failed, and this is the exit code whatever comes */
	unsigned interrupts;
	struct msg_request pending; /* a kill to be sent when the link is there; op 0: none */

	/* of a session on a terminal */
	bool terminal;
	struct escape escape;
	struct cast cast;
	bool keyboard;  /* our stdin is a terminal */
	bool leaving;   /* as soon as the session has what was typed before */
	bool cast_said; /* that the file cannot be written */
	uint8_t last;   /* key sent */
	uv_signal_t winch, cont;
	uv_timer_t eof; /* our stdin has ended: EOF is typed now and then */
	bool handles;
};

/* ctl_run.c. begin: 0, or an exit code. */
int view_begin(struct ctl *c, struct view *v);
void view_up(struct ctl *c, bool same);
void view_end(struct ctl *c);
/* Now, or when the link is back; then only the last one counts. */
void view_kill(struct view *v, const struct msg_request *m);

/* ctl_pty.c. All but prepare are called only when the session has a terminal. */
int view_pty_prepare(struct view *v); /* before the link is dialed; 0, or an exit code */
void view_pty_opened(struct view *v, const struct msg_opened *o);
void view_pty_output(struct view *v, const uint8_t *data, size_t len);
void view_pty_size(struct remote *r, const struct msg_size *size);
void view_pty_input_safe(struct remote *r);
void view_pty_input(struct view *v, const uint8_t *data, size_t len);
void view_pty_input_end(struct view *v);
void view_pty_signal(struct view *v, int sig);
void view_pty_end(struct view *v); /* idempotent, fine when there was none */
