/*
 * bench.h - what the parts of `bench` share: options, the table, and the processes it starts. A
 * section is a file with one function; it measures agentd and the floor programs in turn, round by
 * round, and hands every pair of values to the table, which keeps the median of their ratios.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- what was asked for ---- */

struct options {
	unsigned rounds;
	bool quick; /* a tenth of the work: does it run, and roughly where are we */
	bool json;
};

extern struct options options;

/* n, or what --quick makes of it. */
static inline size_t work(size_t n)
{
	return options.quick ? n / 10 : n;
}

/* ---- the table ---- */

enum bar { BAR_NONE, RATIO_MAX, RATIO_MIN, VALUE_MAX };

/* A line of the table; its address tells it from others. The bar is shown, not enforced. */
struct line {
	const char *section, *name, *unit;
	const char *floor; /* what it is compared with; NULL: nothing */
	enum bar bar;
	double limit;
};

/* One round's value, and the floor's beside it (ignored when the line has none). */
void table_add(const struct line *line, double value, double floor);
/* What was added to a section's lines so far was warm-up. */
void table_forget(const char *section);
/* A remark below the table. */
__attribute__((format(printf, 1, 2))) void table_note(const char *fmt, ...);
void table_print(void);

/* ---- processes ---- */

struct agent {
	pid_t pid;
	char path[108];
};

/* Time limit, signal handlers, a directory for sockets. rt: we and what we start go before all
 * other work of the machine (SCHED_RR), if that is allowed. */
void proc_begin(unsigned seconds, bool rt);
void proc_end(void);
/* Ends what was started, removes what was made. */
__attribute__((format(printf, 1, 2), noreturn)) void die(const char *fmt, ...);
void say(const char *what); /* progress, on stderr */

/* A directory on tmpfs, where there is one; it goes with the files that lie in it. */
const char *proc_shm(void);
/* A new one for what a program keeps; it goes with all that is in it. */
const char *proc_state(void);

/* A program of the dynamic or the static build; NULL when it is not there. */
const char *program(const char *name);
const char *static_program(const char *name);

/* extra: NULL or further arguments, NULL-terminated. Returns when it accepts. */
void agent_start(struct agent *a, const char *binary, const char *const *extra);
/* floor_agent; width 0: one after another. */
void agent_start_minimal(struct agent *a, unsigned width);
void agent_start_relay(struct agent *a); /* floor_pty */
/* A program with arguments that says the port it listens on, behind this word, on stdout or stderr;
 * the port. Ended by agent_stop(). */
unsigned server_start(struct agent *a, const char *const *argv, const char *word);
void agent_stop(struct agent *a);

/* A helper process of ours: 0 in the child, which must _exit(). */
pid_t helper_fork(void);
int helper_wait(pid_t pid); /* exit code, or 128 + signal */

/* Runs a floor program (program(argv[0])) with --json behind its name; its lines, until the next
 * call. */
const char *floor_json(const char *name, ...) __attribute__((sentinel));
/* A number out of them: of the first line with this mode (NULL: any). */
double floor_value(const char *json, const char *mode, const char *key);

uint64_t proc_cpu_ns(pid_t pid);
size_t proc_pss_kib(pid_t pid);
uint64_t proc_switches(pid_t pid); /* of all threads, voluntary or not */
size_t proc_fds(pid_t pid);
void proc_pin(pid_t pid, int cpu); /* 0: ourselves; -1: any CPU */

/* ---- sections ---- */

void bench_run(void);
void bench_many(void);
void bench_rtt(void);
void bench_stream(void);
void bench_echo(void);
void bench_pty(void);
void bench_file(void);
void bench_grep(void);
void bench_http(void);
void bench_crowd(void);
void bench_local(void);
void bench_dial(void);
void bench_idle(void);
void bench_start(void);
void bench_flat(void);
void bench_size(void);
void bench_vm(void);
void bench_stress(void);
