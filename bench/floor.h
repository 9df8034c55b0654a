/*
 * floor.h - what the floor programs share: measuring, reporting, starting a command with vfork, and
 * leaving nothing behind. A floor program does the bare work of one measurement with libc alone;
 * agentd is compared with it as a ratio in the same run. Every name starts with floor_ so that the
 * bench client can include this beside base.h.
 *
 * Exit codes: 0 measured, 1 something failed, 2 usage, 124 out of time.
 */
#pragma once

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "floor_gen.h"

__attribute__((format(printf, 1, 2), noreturn)) static inline void floor_die(const char *fmt, ...);

/* ---- time ---- */

static inline uint64_t floor_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

/* CPU time of a process so far, all its threads, without its children; pid 0 is the caller. Unlike
 * getrusage() it can be asked about an agent that is still running. */
static inline uint64_t floor_cpu_ns(pid_t pid)
{
	struct timespec ts;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &ts) < 0)
		return 0;
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

/* -1: any. Two processes that wait for each other are several times faster on one CPU than on two
 * that have to be woken up: what is compared must be pinned alike. */
static inline void floor_pin(int cpu)
{
	cpu_set_t one;

	if (cpu < 0)
		return;
	CPU_ZERO(&one);
	CPU_SET((size_t)cpu, &one);
	if (sched_setaffinity(0, sizeof(one), &one) < 0)
		floor_die("cannot run on CPU %d", cpu);
}

static inline int floor_compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Sorts; the nearest rank. `per` is 1e3 for microseconds out of nanoseconds. */
static inline double floor_percentile(uint64_t *samples, size_t n, double percent, double per)
{
	size_t rank = (size_t)(percent / 100.0 * (double)n + 0.999999);

	qsort(samples, n, sizeof(*samples), floor_compare_u64);
	return (double)samples[rank > 0 ? rank - 1 : 0] / per;
}

/* ---- report: one line, for people or as one JSON object ---- */

struct floor_field {
	const char *key; /* in JSON, with its unit: "p50_us" */
	const char *label, *unit;
	double value;
};

static inline void floor_report(
	bool json, const char *program, const char *mode, const struct floor_field *f, size_t n)
{
	if (json)
		printf("{\"name\":\"%s\",\"mode\":\"%s\"", program, mode);
	else
		printf("%-12s %-12s", program, mode);
	for (size_t i = 0; i < n; i++) {
		if (json)
			printf(",\"%s\":%.9g", f[i].key, f[i].value);
		else
			printf("%s %s %.6g %s", i ? "," : "", f[i].label, f[i].value, f[i].unit);
	}
	printf(json ? "}\n" : "\n");
	fflush(stdout);
}

/* ---- options ---- */

/* A count, or a size with K, M or G (powers of 1024). */
static inline uint64_t floor_number(const char *text, uint64_t low, uint64_t high)
{
	char *end;
	uint64_t v;
	int shift = 0;

	errno = 0;
	v = strtoull(text, &end, 10);
	if (*end == 'K' || *end == 'M' || *end == 'G')
		shift = *end == 'K' ? 10 : *end == 'M' ? 20 : 30, end++;
	if (errno || end == text || *end || text[0] == '-' || v > (high >> shift) ||
		v << shift < low) {
		fprintf(stderr, "bad number '%s': %llu to %llu\n", text, (unsigned long long)low,
			(unsigned long long)high);
		exit(2);
	}
	return v << shift;
}

/* A program that lies beside this one. */
static inline const char *floor_sibling(const char *name)
{
	static char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	char *slash;

	path[n > 0 ? n : 0] = '\0';
	slash = strrchr(path, '/');
	if (!slash || (size_t)(slash + 1 - path) + strlen(name) >= sizeof(path))
		floor_die("cannot tell where %s lies: give its path", name);
	memcpy(slash + 1, name, strlen(name) + 1);
	return path;
}

/* ---- leaving nothing behind: children and the socket file, also when time runs out ---- */

#define FLOOR_MAX_CHILDREN 128

static volatile struct {
	pid_t pid;
	int sig; /* what ends it: a helper gets the chance to end its own children */
} floor_children[FLOOR_MAX_CHILDREN];
static char floor_socket[sizeof(((struct sockaddr_un *)0)->sun_path)];
static volatile sig_atomic_t floor_term_code = 128 + SIGTERM; /* a server is meant to be ended */

static inline void floor_cleanup(void)
{
	for (size_t i = 0; i < FLOOR_MAX_CHILDREN; i++)
		if (floor_children[i].pid > 0)
			kill(floor_children[i].pid, floor_children[i].sig);
	for (size_t i = 0; i < FLOOR_MAX_CHILDREN; i++)
		if (floor_children[i].pid > 0)
			waitpid(floor_children[i].pid, NULL, 0);
	if (floor_socket[0])
		unlink(floor_socket);
}

static inline void floor_on_signal(int sig)
{
	floor_cleanup();
	_exit(sig == SIGALRM ? 124 : sig == SIGTERM ? floor_term_code : 128 + sig);
}

static inline void floor_die(const char *fmt, ...)
{
	int err = errno;
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, err ? ": %s\n" : "\n", strerror(err));
	floor_cleanup();
	_exit(1);
}

/* First thing in main(): a time limit, and 0 to 2 open so that no pipe of ours gets their number.
 */
static inline void floor_begin(unsigned int seconds)
{
	static const int sigs[] = {SIGALRM, SIGTERM, SIGINT, SIGHUP};
	struct sigaction sa = {.sa_handler = floor_on_signal};
	int fd;

	while ((fd = open("/dev/null", O_RDWR | O_CLOEXEC)) >= 0 && fd <= 2)
		fcntl(fd, F_SETFD, 0);
	close(fd);
	for (size_t i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++)
		sigaction(sigs[i], &sa, NULL);
	alarm(seconds);
	errno = 0;
}

static inline void floor_remember(pid_t pid, int sig)
{
	for (size_t i = 0; i < FLOOR_MAX_CHILDREN; i++) {
		if (floor_children[i].pid == 0) {
			floor_children[i].sig = sig;
			floor_children[i].pid = pid;
			return;
		}
	}
}

/* Has it ended? It stays to be reaped. */
static inline bool floor_ended(pid_t pid)
{
	siginfo_t info = {0};

	return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT | WNOHANG) < 0 ||
	       info.si_pid == pid;
}

static inline int floor_reap(pid_t pid)
{
	int status = -1;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			floor_die("waitpid");
	for (size_t i = 0; i < FLOOR_MAX_CHILDREN; i++) {
		if (floor_children[i].pid == pid) {
			floor_children[i].pid = 0;
			break;
		}
	}
	return status;
}

/* A helper process: it goes when its parent goes, and leaves the parent's things alone. */
static inline pid_t floor_fork(void)
{
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		floor_die("fork");
	if (pid > 0) {
		floor_remember(pid, SIGTERM);
		return pid;
	}
	memset((void *)floor_children, 0, sizeof(floor_children));
	floor_socket[0] = '\0';
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(1);
	return 0;
}

/* ---- unix sockets ---- */

static inline void floor_address(struct sockaddr_un *sa, const char *path)
{
	*sa = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(sa->sun_path))
		floor_die("socket path too long: %s", path);
	memcpy(sa->sun_path, path, strlen(path) + 1);
}

static inline int floor_listen(const char *path)
{
	struct sockaddr_un sa;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	floor_address(&sa, path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		floor_die("bind %s", path);
	memcpy(floor_socket, path, strlen(path) + 1);
	if (listen(fd, 64) < 0)
		floor_die("listen %s", path);
	return fd;
}

static inline int floor_connect(const char *path)
{
	struct sockaddr_un sa;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	floor_address(&sa, path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		floor_die("connect %s", path);
	return fd;
}

static inline bool floor_send_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

/* false at the end of the stream, too. */
static inline bool floor_recv_all(int fd, void *data, size_t len)
{
	char *p = data;

	while (len > 0) {
		ssize_t n = recv(fd, p, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

/* ---- commands ---- */

#define FLOOR_KEEP ((size_t)64 * 1024) /* output beyond this is read and dropped */

struct floor_output {
	size_t len;
	uint8_t bytes[FLOOR_KEEP];
};

struct floor_command {
	pid_t pid;
	int fd[2]; /* read ends of stdout and stderr, -1 when at their end */
};

/* vfork and exec with these as 0, 1 and 2 (-1: as ours). Returns -1 with errno when either fails:
 * the child borrows our memory until exec, so it leaves errno in `failed`. */
__attribute__((noinline, unused)) static pid_t floor_vfork(char *const argv[], const int std[3])
{
	volatile int failed = 0;
	pid_t pid = vfork();

	if (pid < 0)
		return -1;
	if (pid == 0) {
		for (int i = 0; i < 3; i++)
			if (std[i] >= 0)
				dup2(std[i], i);
		execvp(argv[0], argv);
		failed = errno;
		_exit(127);
	}
	floor_remember(pid, SIGKILL);
	if (failed) {
		floor_reap(pid);
		errno = failed;
		return -1;
	}
	return pid;
}

/* Starts the command with a pipe each for stdout and stderr. */
static inline bool floor_start_command(struct floor_command *c, char *const argv[])
{
	static int null = -1;
	int out[2], err[2];

	if (null < 0 && (null = open("/dev/null", O_RDONLY | O_CLOEXEC)) < 0)
		floor_die("/dev/null");
	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
		floor_die("pipe");
	c->pid = floor_vfork(argv, (int[3]){null, out[1], err[1]});
	close(out[1]);
	close(err[1]);
	c->fd[0] = out[0];
	c->fd[1] = err[0];
	if (c->pid > 0)
		return true;
	close(out[0]);
	close(err[0]);
	return false;
}

/* One read of a stream that poll() found ready; at its end closes it and returns false. */
static inline bool floor_read_some(int *fd, struct floor_output *o)
{
	static uint8_t dropped[FLOOR_KEEP];
	bool room = o->len < FLOOR_KEEP;
	ssize_t n = read(*fd, room ? o->bytes + o->len : dropped,
		room ? FLOOR_KEEP - o->len : sizeof(dropped));

	if (n < 0 && errno == EINTR)
		return true;
	if (n <= 0) {
		close(*fd);
		*fd = -1;
		return false;
	}
	if (room)
		o->len += (size_t)n;
	return true;
}

/* The whole bare run: start, read both streams to their ends, reap. Returns the wait status, or -1
 * with errno when it could not be started. */
static inline int floor_run(char *const argv[], struct floor_output out[2])
{
	struct floor_command c;
	int open_streams = 2;

	out[0].len = out[1].len = 0;
	if (!floor_start_command(&c, argv))
		return -1;
	while (open_streams > 0) {
		struct pollfd p[2] = {
			{.fd = c.fd[0], .events = POLLIN}, {.fd = c.fd[1], .events = POLLIN}};

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			floor_die("poll");
		for (int i = 0; i < 2; i++)
			if (p[i].revents && !floor_read_some(&c.fd[i], &out[i]))
				open_streams--;
	}
	return floor_reap(c.pid);
}
