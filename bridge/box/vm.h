/*
 * vm.h - one machine: QEMU, its vsock device, its files, and what is being done with it.
 *
 * Whatever is done is a list of steps. A step begins something and says vm_next() or vm_fail() when
 * it is over; each has a deadline. A list that failed is followed by its `undo` list, and then
 * comes `finish`, once, never from inside vm_run(). What blocks is a job in a worker; while one
 * runs, the loop leaves the machine's files alone.
 *
 * vm_steps.h has what can be done. Files of the driver only.
 */
#pragma once

#include "base/list.h"
#include "bridge/box/box.h"
#include "bridge/box/qmp.h"
#include "bridge/box/vm_agent.h"
#include "bridge/box/vm_command.h"
#include "bridge/box/vm_process.h"

struct vm;

struct vm_step {
	void (*run)(struct vm *vm);
	const char *what; /* in "gave up on WHAT after N s" */
	unsigned ms;      /* 0: it ends for certain */
};

/* What all machines of a bridge share. */
struct vm_host {
	uv_loop_t *loop;
	const struct box_config *config;
	char images[BOX_PATH_MAX], checkpoints[BOX_PATH_MAX];
	enum vm_accel accel; /* what trying has shown */
	uint32_t cid, cid_end;
	gid_t kvm_group;
	struct goldens *goldens;
	struct list drops; /* of checkpoints, under way; vm_drop.c's */
	unsigned users;    /* the driver, and workers: they may end later */
};

void vm_host_hold(struct vm_host *h);
void vm_host_let_go(struct vm_host *h);

/* The next number that no machine of this state directory ever had; 0: the disk is full. */
uint32_t vm_host_cid(struct vm_host *h);
/* The user such a machine runs as; 0: ours. */
uid_t vm_host_uid(uint32_t cid);

struct vm_source {
	char dir[BOX_PATH_MAX]; /* image or snapshot it is made from */
	unsigned cpus, memory_mb;
	bool network;
	bool golden;           /* one that can be made again */
	char ram[VM_NAME_MAX]; /* its memory */
};

/* Of one that sleeps. */
enum vm_memory {
	VM_MEMORY_UNCHECKED,
	VM_MEMORY_COMING, /* a job checks it, or fills it; it is waited for before it is used */
	VM_MEMORY_CHECKED,
};

struct vm {
	struct vm_host *host;
	void *owner;
	char dir[BOX_PATH_MAX];
	struct vm_files files; /* as vm.json says, or is about to say */
	struct vm_process processes[VM_ROLES];
	struct qmp qmp;
	bool ending;    /* its processes are meant to end */
	bool unplugged; /* the vsock device is away */
	bool replug;    /* and is coming back */
	bool replacing; /* its process is meant to end */
	bool unsaved;   /* vm.json names a layer more than there is: an empty one */
	bool saved_bad; /* the saved state cannot be used, or was used up */
	bool unsettled; /* the uppermost layer is new, and may not be on the host's disk yet */
	bool shared;    /* its memory shares storage with the source's: nothing is to be copied */
	enum vm_memory memory;
	/* The list of steps. */
	const struct vm_step *step, *undo;
	void (*finish)(struct vm *vm);
	bool in_step, moved, held, failed, lost;
	struct fault fault; /* of the first failure */
	uv_timer_t deadline, tick;
	void (*on_tick)(struct vm *vm);
	/* Its job. */
	uv_work_t work;
	int (*job)(struct vm *vm);
	int job_result;
	bool job_runs, job_awaited;
	struct program *program;
	struct vm_agent *agent;
	/* For the operation under way. */
	struct vm_source source;
	char name[VM_NAME_MAX];    /* a new file */
	char target[BOX_PATH_MAX]; /* a new snapshot's directory */
	struct vm_files snapshot;
	bool full;
	unsigned scale_mb, former_mb;
	uint64_t balloon, balloon_ms; /* what the guest has in bytes; since when */
	uint64_t balloon_at;          /* its figures were of this second */
	bool pushed;                  /* vm.json names a layer that QEMU does not have yet */
	uint64_t bytes;
	int state_fd;
	char note[200];
	void (*on_gone)(struct vm *vm, const char *why);
	/* Its end. */
	unsigned handles;
	bool released;
};

/* on_gone: QEMU ended, or the machine lost its vsock device (vm_recover_steps help then), while
 * nothing was being done with it. NULL: no memory. */
struct vm *vm_new(struct vm_host *h, const char *dir, void *owner,
	void (*on_gone)(struct vm *vm, const char *why));
/* Without waiting; processes go on (kill: they do not). No callback comes any more. */
void vm_release(struct vm *vm, bool kill);

void vm_run(struct vm *vm, const struct vm_step *steps, const struct vm_step *undo,
	void (*finish)(struct vm *vm));
bool vm_is_idle(const struct vm *vm);

/* ---- for steps ---- */

void vm_next(struct vm *vm);
void vm_fail(struct vm *vm, int status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The same for an errno. */
void vm_fail_errno(struct vm *vm, int err, const char *what);
/* fn comes every ms until the step is over; at once, too. */
void vm_poll(struct vm *vm, unsigned ms, void (*fn)(struct vm *vm));
/* Runs in a worker; 0 is vm_next(), else it fails with `what`'s step. */
void vm_job(struct vm *vm, int (*job)(struct vm *vm));
/* The same beside the next steps, until vm_await_job(). */
void vm_begin_job(struct vm *vm, int (*job)(struct vm *vm));
void vm_await_job(struct vm *vm);
/* A command of QMP. fn NULL: its end is the step's. */
void vm_ask(struct vm *vm, const char *command, const char *args, int fd, qmp_fn fn);
void vm_program(struct vm *vm, struct vm_command *c, unsigned ms);
/* The connection to QEMU, new if there is none. */
void vm_connect(struct vm *vm);
void vm_disconnect(struct vm *vm);
int vm_path(const struct vm *vm, const char *name, char *out, size_t size);

/* ---- for vm.c: what vm_vsock.c makes of it ---- */

void vm_on_event(struct vm *vm, struct jsonr name, struct jsonr data);
