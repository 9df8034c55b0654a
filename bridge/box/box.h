/*
 * box.h - what a sandbox runs in, and the drivers that make such boxes.
 *
 * A driver is a constant table of functions. Each operation is begun by box_*(), runs on the loop
 * without blocking it (programs and copies in processes or threads), and is answered exactly once
 * by the callback given, never from inside the call that began it. One operation at a time for a
 * box; who calls waits for the answer before the next (sandbox.c does; an ASSERT here makes sure).
 *
 * What must survive the bridge lies in the box's directory, in the driver's own files, written
 * before it is acted on. After a restart every box is given to box_adopt() first, which finds out
 * what is left of it: that, and not what we remember, is the truth.
 */
#pragma once

#include <uv.h>

#include "bridge/box/fault.h"
#include "bridge/target.h"

#define BOX_ID_MAX    32
#define BOX_PATH_MAX  256
#define BOX_TOKEN_MAX 64

struct box;
struct box_driver;

/* What a box is made of. Borrowed during box_start() only; a driver keeps what it needs. */
struct box_spec {
	const char *template; /* "base" or the name of an image */
	unsigned cpus;
	unsigned memory_mb;
	unsigned disk_mb;
	bool network;
	const char *checkpoint; /* start as a fork of this one (box_checkpoint's id), or NULL */
	/* external driver */
	const char *address; /* as target_parse() wants it */
	const char *token;
};

enum box_left {
	BOX_LEFT_RUNNING, /* b->target is good */
	BOX_LEFT_STOPPED, /* no process; its disk is there: box_restart() works */
	BOX_LEFT_ASLEEP,  /* hibernated: box_wake() works */
	BOX_LEFT_NOTHING, /* nothing, or nothing that can be used */
};

struct box_result {
	bool ok;
	struct fault fault; /* when not ok */
	enum box_left left; /* adopt; and after a failure: what is left */
	bool cold;          /* start, wake: it came up by a cold boot although more was wanted; */
	char note[200];     /* and why. For people */
	uint64_t bytes;     /* hibernate, checkpoint, adopt: size of what was saved */
};

typedef void (*box_fn)(struct box *b, const struct box_result *r);
/* The box ended by itself (its processes died). Never while an operation runs. */
typedef void (*box_gone_fn)(struct box *b, const char *why);

struct box {
	const struct box_driver *driver;
	struct boxes *boxes;
	void *owner;
	char id[BOX_ID_MAX + 1];       /* the sandbox's */
	char dir[BOX_PATH_MAX];        /* its own directory; the driver makes and removes it */
	struct target target;          /* where its agent is, when it runs */
	char token[BOX_TOKEN_MAX + 1]; /* the agent's; "" none */
	/* What its agent is told of its network, as `network` of sys.resume, a constant of the
	 * driver's; NULL: nothing. */
	const char *network;
	unsigned scaled_mb; /* what it has of its memory by now; 0: as it was made */
	void *state;        /* the driver's; NULL before start or adopt, after destroy */
	box_fn fn;          /* of the operation under way; NULL: none */
	box_gone_fn on_gone;
};

enum box_can {
	BOX_CAN_HIBERNATE = 1 << 0,
	BOX_CAN_CHECKPOINT = 1 << 1,
	BOX_CAN_SCALE = 1 << 2,
	BOX_CAN_RESTART = 1 << 3, /* after stop, with the same disk */
	BOX_KEEPS_AGENT = 1 << 4, /* external: kill only forgets it */
};

struct box_driver {
	const char *name;
	unsigned can; /* BOX_CAN_* */
	/* Once; -errno and why for people. May be NULL. */
	int (*open)(struct boxes *bs, char *why, size_t why_size);
	void (*close)(struct boxes *bs);
	/* All of these answer with box_answer(). Those that `can` lacks are NULL. */
	void (*start)(struct box *b, const struct box_spec *spec);
	void (*adopt)(struct box *b);
	void (*stop)(struct box *b);    /* no process left, disk kept */
	void (*restart)(struct box *b); /* a stopped one */
	void (*destroy)(struct box *b); /* nothing left, whatever there was; never fails for long */
	/* The agent was told to prepare and its link is closed (sandbox.c). On failure the box runs
	 * on, unless `left` says otherwise. */
	void (*hibernate)(struct box *b);
	void (*wake)(struct box *b);
	/* A running box goes on afterwards. name: the checkpoint's id, a file name. */
	void (*checkpoint)(struct box *b, const char *name, bool full);
	void (*restore)(struct box *b, const char *name); /* in place */
	void (*drop)(struct box *b, const char *name);    /* a checkpoint; b may be a dummy */
	void (*scale)(struct box *b, unsigned memory_mb);
	/* Without waiting: the bridge ends and the box goes on (or is asleep). Frees b->state. */
	void (*leave)(struct box *b);
};

struct boxes {
	uv_loop_t *loop;
	const struct box_driver *driver;
	const struct box_config *config;
	void *state; /* the driver's own */
};

/* What the drivers are told once. Borrowed for good. */
struct box_config {
	const char *state_dir; /* absolute; the driver's things are below "boxes/", "images/" */
	const char *agentd;    /* path of the static agentd to run in local boxes */
	const char *root; /* local: directory to be the root (NULL: the host's, homes masked) */
	const char *image_dir; /* vm: kernel, initramfs, root disks */
	bool verbose;
};

extern const struct box_driver box_driver_local, box_driver_external, box_driver_vm;
/* By name, or NULL. */
const struct box_driver *box_driver_find(const char *name);

int boxes_open(struct boxes *bs, uv_loop_t *loop, const struct box_driver *driver,
	const struct box_config *config, char *why, size_t why_size);
void boxes_close(struct boxes *bs);

void box_init(struct box *b, struct boxes *bs, const char *id, void *owner, box_gone_fn on_gone);
/* Begin an operation. */
void box_start(struct box *b, const struct box_spec *spec, box_fn fn);
void box_adopt(struct box *b, box_fn fn);
void box_stop(struct box *b, box_fn fn);
void box_restart(struct box *b, box_fn fn);
void box_destroy(struct box *b, box_fn fn);
void box_hibernate(struct box *b, box_fn fn);
void box_wake(struct box *b, box_fn fn);
void box_checkpoint(struct box *b, const char *name, bool full, box_fn fn);
void box_restore(struct box *b, const char *name, box_fn fn);
void box_drop(struct box *b, const char *name, box_fn fn);
void box_scale(struct box *b, unsigned memory_mb, box_fn fn);
/* For good; no callback comes any more. */
void box_leave(struct box *b);

/* For drivers: the answer to the operation under way. */
void box_answer(struct box *b, const struct box_result *r);
void box_answer_ok(struct box *b);
void box_fail(struct box *b, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
