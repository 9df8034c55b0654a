/*
 * ctl_cp.h - the parts of `cp`: what it is (ctl_cp.c), and the two directions.
 */
#pragma once

#include "bridge/ctl_path.h"
#include "bridge/ctl_progress.h"
#include "bridge/local_tree.h"
#include "bridge/remote_file.h"

#define CP_CHUNK   (256 * 1024)
#define CP_SIGNALS 3

struct cp {
	struct ctl *ctl;
	uv_timer_t kick;
	uv_signal_t signals[CP_SIGNALS];
	struct ctl_progress progress;
	struct remote_file file;
	bool down;       /* out of the guest */
	const char *dst; /* without the colon */
	bool dst_known, dst_is_dir;
	bool busy; /* a request or a copy is under way */
	int at, code;
	/* The copy under way. */
	char *from, *to; /* owned; without the colon */
	int fd;          /* up: read from; owned */
	uint64_t size, moved;
	mode_t mode; /* up: of a file */
	bool sized, failed;
	struct local_file local;     /* down: written to */
	struct local_pack *pack;     /* up, a directory */
	struct local_unpack *unpack; /* down, a directory */
	uint8_t *chunk;              /* owned; of CP_CHUNK */
};

/* ctl_cp.c. A copy that is over, well or not: the next one follows from the loop. */
void cp_next(struct cp *x);
void cp_fail(struct cp *x, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Why a copy did not come to its end; the link's end is the program's. */
void cp_fail_remote(struct cp *x, const char *what, const char *path, const struct error *e);
/* Something in a directory is left out. ctx: the cp. */
void cp_complain(void *ctx, const char *path, const char *why);
/* Begins a copy: the channel `op` on a path of the guest. */
void cp_open(
	struct cp *x, const char *op, const char *path, const struct remote_file_events *events);

/* ctl_cp_up.c: x->from is ours. */
void cp_send(struct cp *x);
/* ctl_cp_down.c: x->from is the guest's. */
void cp_fetch(struct cp *x, bool is_dir);
