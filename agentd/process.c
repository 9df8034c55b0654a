/*
 * Each descriptor has its uv_poll handle. libuv never owns the descriptors, so the order is always: stop watching, close
 * the handle, close the descriptor. A poll callback with a negative status means EPOLLERR: for the write end of a
 * pipe, that nobody reads it any more.
 */
#include "agentd/process.h"

#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

static void on_handle_closed(uv_handle_t *h)
{
	struct process *p = h->data;

	if (--p->handles == 0 && p->closing)
		p->events->on_closed(p);
}

static void close_handle(uv_poll_t *h)
{
	uv_poll_stop(h);
	uv_close((uv_handle_t *)h, on_handle_closed);
}

static void on_pidfd(uv_poll_t *h, int status, int events)
{
	struct process *p = h->data;

	(void)status;
	(void)events;
	p->events->on_exit(p);
}

static void on_output(uv_poll_t *h, int status, int events)
{
	struct process *p = h->data;
	int stream = h == &p->poll[1] ? 1 : 2;

	(void)events;
	if (status < 0) { /* libuv stopped it; read(2) will tell what it is */
		p->reading[stream] = false;
		process_read(p, stream, true);
	}
	p->events->on_readable(p, stream);
}

static void on_stdin(uv_poll_t *h, int status, int events)
{
	struct process *p = h->data;

	if (status < 0 || (events & UV_DISCONNECT))
		p->events->on_stdin_gone(p);
	else
		p->events->on_writable(p);
}

static int watch(struct process *p, uv_loop_t *loop, uv_poll_t *h, int fd)
{
	int r = uv_poll_init(loop, h, fd);

	if (r == 0) {
		h->data = p;
		p->handles++;
	}
	return r;
}

int process_init(struct process *p, uv_loop_t *loop, struct record *rec, const struct process_events *events)
{
	int r;

	*p = (struct process){.events = events, .rec = rec};
	for (int i = 0; i < 3; i++) {
		if (rec->fd[i] < 0)
			continue;
		r = watch(p, loop, &p->poll[i], rec->fd[i]);
		if (r < 0)
			return r;
		p->watched[i] = true;
		if (i == 0)
			uv_poll_start(&p->poll[0], UV_DISCONNECT, on_stdin);
		else
			process_read(p, i, true);
	}
	if (rec->pidfd < 0 || rec->exited)
		return 0;
	r = watch(p, loop, &p->exit_poll, rec->pidfd);
	if (r < 0)
		return r;
	p->exit_watched = true;
	return uv_poll_start(&p->exit_poll, UV_READABLE, on_pidfd);
}

void process_read(struct process *p, int stream, bool on)
{
	if (!p->watched[stream] || p->reading[stream] == on)
		return;
	p->reading[stream] = on;
	if (on)
		uv_poll_start(&p->poll[stream], UV_READABLE, on_output);
	else
		uv_poll_stop(&p->poll[stream]);
}

void process_want_write(struct process *p, bool on)
{
	if (!p->watched[0] || p->writing == on)
		return;
	p->writing = on;
	uv_poll_start(&p->poll[0], on ? UV_WRITABLE | UV_DISCONNECT : UV_DISCONNECT, on_stdin);
}

void process_close_fd(struct process *p, int stream)
{
	if (p->watched[stream]) {
		p->watched[stream] = p->reading[stream] = false;
		close_handle(&p->poll[stream]);
	}
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
	if (p->exit_watched)
		close_handle(&p->exit_poll);
	p->exit_watched = false;
	close_fd(&p->rec->pidfd);
}

int process_signal_leader(struct process *p, int sig)
{
	if (p->rec->pidfd < 0 || p->rec->exited)
		return -ESRCH;
	return syscall(SYS_pidfd_send_signal, p->rec->pidfd, sig, NULL, 0) < 0 ? -errno : 0;
}

bool process_close(struct process *p)
{
	p->closing = true;
	if (!p->rec)
		return false;
	for (int i = 0; i < 3; i++)
		process_close_fd(p, i);
	process_forget(p);
	return p->handles > 0;
}
