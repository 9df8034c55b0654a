/*
 * The read ends and pidfds are mostly referred to by nobody but us (every child closes what it
 * inherits), so closing one ends its watch as well. Not so with a terminal, which is two
 * descriptors of one master, nor with what the keeper has: there the watch would outlive us. The
 * write end of stdin is watched for nothing but its error while there is nothing to write: that
 * error says that nobody reads it any more.
 */
#include "agentd/process.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

/* Watched for nothing; a hang-up, which cannot be left out, is reported once. (Removing the watch
 * and adding it again could fail for want of memory.) */
#define PAUSED ((uint32_t)EPOLLONESHOT)

static void on_pidfd(struct watch *w, uint32_t events)
{
	struct process *p = container_of(w, struct process, exit);

	(void)events;
	p->events->on_exit(p);
}

static void on_stdout(struct watch *w, uint32_t events)
{
	struct process *p = container_of(w, struct process, pipe[1]);

	(void)events;
	if (w->events != PAUSED)
		p->events->on_readable(p, 1);
}

static void on_stderr(struct watch *w, uint32_t events)
{
	struct process *p = container_of(w, struct process, pipe[2]);

	(void)events;
	if (w->events != PAUSED)
		p->events->on_readable(p, 2);
}

static void on_stdin(struct watch *w, uint32_t events)
{
	struct process *p = container_of(w, struct process, pipe[0]);

	if (events & (EPOLLERR | EPOLLHUP))
		p->events->on_stdin_gone(p);
	else
		p->events->on_writable(p);
}

static int watch_pipe(struct process *p, int i)
{
	static void (*const on_ready[])(struct watch *, uint32_t) = {
		on_stdin, on_stdout, on_stderr};
	int fd = p->rec->fd[i];

	if (fd < 0 || (p->rec->pty && i == 2))
		return 0;
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	return watch_add(p->poller, &p->pipe[i], fd, i == 0 ? 0 : EPOLLIN, on_ready[i]);
}

void process_prepare(struct process *p, struct poller *poller, struct record *rec)
{
	*p = (struct process){.poller = poller, .rec = rec, .exit = WATCH_NULL, .held = {-1, -1}};
	for (int i = 0; i < 3; i++)
		p->pipe[i] = WATCH_NULL;
}

void process_hold(struct process *p, const int held[2])
{
	ASSERT(p->held[0] < 0 && p->held[1] < 0);
	memcpy(p->held, held, sizeof(p->held));
}

void process_let_go(struct process *p)
{
	close_fd(&p->held[0]);
	close_fd(&p->held[1]);
}

int process_watch(struct process *p, const struct process_events *events)
{
	int r = 0;

	p->events = events;
	for (int i = 0; i < 3 && r == 0; i++)
		r = watch_pipe(p, i);
	if (r == 0 && p->rec->pidfd >= 0 && !p->rec->exited)
		r = watch_add(p->poller, &p->exit, p->rec->pidfd, EPOLLIN, on_pidfd);
	return r;
}

void process_read(struct process *p, int stream, bool on)
{
	watch_change(p->poller, &p->pipe[stream], on ? EPOLLIN : PAUSED);
}

void process_want_write(struct process *p, bool on)
{
	watch_change(p->poller, &p->pipe[0], on ? EPOLLOUT : 0);
}

void process_close_fd(struct process *p, int stream)
{
	watch_remove(p->poller, &p->pipe[stream], !p->rec->pty && !p->rec->shared);
	close_fd(&p->rec->fd[stream]);
}

int process_reap(struct process *p, struct rusage *ret)
{
	siginfo_t si = {0};
	struct record *rec = p->rec;
	long r;

	/* The system call and not waitid(3): only it returns the rusage. */
	r = syscall(SYS_waitid, P_PIDFD, rec->pidfd, &si, WEXITED | WNOHANG, ret);
	if (r < 0)
		return -errno;
	if (si.si_pid == 0)
		return -EAGAIN;
	rec->wait_code = si.si_code;
	rec->wait_status = si.si_status;
	return 0;
}

void process_forget(struct process *p)
{
	watch_remove(p->poller, &p->exit, !p->rec->shared);
	close_fd(&p->rec->pidfd);
}

int process_signal_leader(struct process *p, int sig)
{
	if (p->rec->pidfd < 0 || p->rec->exited)
		return -ESRCH;
	return syscall(SYS_pidfd_send_signal, p->rec->pidfd, sig, NULL, 0) < 0 ? -errno : 0;
}

void process_close(struct process *p)
{
	if (!p->rec)
		return;
	for (int i = 0; i < 3; i++)
		process_close_fd(p, i);
	process_let_go(p);
	process_forget(p);
	p->rec = NULL;
}
