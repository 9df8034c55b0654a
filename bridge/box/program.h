/*
 * program.h - run a helper program without blocking the loop.
 *
 * It gets a session (and so a process group) of its own, /dev/null as stdin, default signals, and
 * no descriptor of ours beyond 0, 1, 2 unless before_exec() says so. What it prints is kept up to a
 * limit; beyond that it is read and dropped, so a talkative program never stands still. It has
 * ended when its process has: what that process wrote is there then, and a grandchild that keeps
 * the pipe open holds nobody up. A deadline kills its whole process group.
 *
 * Also for programs that stay: with `output` nothing is captured, and program_leave() stops
 * watching one that goes on after us.
 */
#pragma once

#include <sys/types.h>
#include <uv.h>

#include "base/base.h"

#define PROGRAM_OUTPUT_MAX 16384 /* kept of stdout, and of stderr: the first bytes */

struct program;

struct program_spec {
	const char *const *argv; /* argv[0] is searched in our PATH, unless it has a slash */
	const char *const *envp; /* NULL: ours */
	const char *cwd;         /* NULL: ours */
	/* In the child, last before exec: system calls only, no allocation, no lock. 0, or -errno:
	 * not executed then. All descriptors from 3 on are close-on-exec when it is called. */
	int (*before_exec)(void *ctx);
	void *ctx;
	const int *output;   /* descriptor to be its stdout and stderr; NULL: both are captured */
	uint64_t timeout_ms; /* 0: none */
};

struct program_result {
	int error; /* -errno: it was not executed; `stage` says what failed */
	const char *stage;
	int code;   /* its exit code, when it exited */
	int signal; /* that ended it, or 0 */
	bool timed_out;
	/* NUL-terminated; valid during the callback. */
	const char *out, *err;
	size_t out_len, err_len;
};

/* Once, from the loop, as the last thing; the program is freed after it. */
typedef void (*program_fn)(void *owner, const struct program_result *r);

/* All of spec is borrowed during the call only. 0 or -errno (then nothing was started); that a
 * program cannot be executed comes as a result. */
int program_run(uv_loop_t *loop, const struct program_spec *spec, program_fn fn, void *owner,
	struct program **ret);
pid_t program_pid(const struct program *p);
/* Kills its group; fn comes as usual. */
void program_kill(struct program *p);
/* The same, but fn will not come; its memory goes when the process has gone. */
void program_forget(struct program *p);
/* It goes on, and nobody watches it any more (a zombie until we end, if it ends first). */
void program_leave(struct program *p);

/* 0 when it exited with 0. Otherwise -1 and one line in `out`: what it was and why, with the last
 * line of its stderr. */
int program_explain(const struct program_result *r, const char *name, char *out, size_t size);
