/*
 * vm_process.h - the processes of a VM (QEMU, its vsock device): started so that they survive us,
 * found again, watched, ended.
 *
 * All of them have the machine's directory as their working directory, and nobody else has: so what
 * belongs to a machine is found in /proc without anything having been written down, also what was
 * started in the instant before we died, and a recycled process id cannot be mistaken.
 */
#pragma once

#include "bridge/box/program.h"

enum vm_role { VM_QEMU, VM_VSOCK, VM_ROLES };

struct vm_process;
typedef void (*vm_process_fn)(void *owner, struct vm_process *p);

struct vm_process {
	enum vm_role role;
	struct program *program; /* our child */
	int pidfd;               /* one that is not, or no longer */
	uv_poll_t poll;
	unsigned handles;
	bool running;
	bool killed;          /* by SIGKILL, as far as is known */
	vm_process_fn on_end; /* it ended; from the loop */
	void *owner;
	void (*on_closed)(void *owner);
};

void vm_process_init(struct vm_process *p, enum vm_role role, vm_process_fn on_end, void *owner);
/* uid: its user and group, 0: ours; group: one more, 0: none. Its output goes to the file `log` in
 * dir, which is emptied. */
int vm_process_start(struct vm_process *p, uv_loop_t *loop, const char *dir,
	const char *const *argv, const char *log, uid_t uid, gid_t group);
/* Watches the one found in dir; -ESRCH when there is none. */
int vm_process_adopt(struct vm_process *p, uv_loop_t *loop, const char *dir);
void vm_process_kill(struct vm_process *p); /* on_end comes; fine when it does not run */
/* It goes on unwatched. */
void vm_process_leave(struct vm_process *p);
/* Waiting for handles of the past: may p's memory go? */
bool vm_process_idle(const struct vm_process *p);

/* Kills whatever runs in dir and waits for its end, at most ms. May block: for a worker. The number
 * of those left, or -errno. */
int vm_process_reap(const char *dir, unsigned ms);
