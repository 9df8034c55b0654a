#include "bridge/box/proc.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/syscall.h>

int proc_id_of(pid_t pid, struct proc_id *ret)
{
	char path[48], text[1024], state;
	const char *rest;
	unsigned long long start;
	auto_close int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	n = read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return n < 0 ? -errno : -ESRCH;
	text[n] = '\0';
	/* The name may hold anything, parentheses too. Then the state is the third value, and the
	 * start the 22nd. */
	rest = strrchr(text, ')');
	if (!rest || sscanf(rest + 1,
			     " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
			     "%*d %*d %llu",
			     &state, &start) != 2)
		return -ESRCH;
	if (state == 'Z' || state == 'X')
		return -ESRCH;
	*ret = (struct proc_id){pid, start};
	return 0;
}

int proc_open(const struct proc_id *id)
{
	auto_close int fd = -1;
	struct proc_id now = {0};
	int r;

	if (id->pid <= 0)
		return -ESRCH;
	fd = (int)syscall(SYS_pidfd_open, id->pid, 0);
	if (fd < 0) /* EINVAL: a thread has that number now */
		return errno == EINVAL ? -ESRCH : -errno;
	/* Looked at after it is held: what is there now is what the descriptor means. */
	r = proc_id_of(id->pid, &now);
	if (r < 0 || now.start != id->start)
		return r < 0 ? r : -ESRCH;
	return take_fd(&fd);
}

int proc_signal(int pidfd, int sig)
{
	return syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0) < 0 ? -errno : 0;
}

int proc_wait(int pidfd, int timeout_ms)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	int r = poll(&p, 1, timeout_ms);

	return r > 0 ? 0 : r < 0 ? -errno : -ETIMEDOUT;
}

static void on_closed(uv_handle_t *h)
{
	free(container_of((uv_poll_t *)(void *)h, struct proc_watch, poll));
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct proc_watch *l = container_of(poll, struct proc_watch, poll);

	(void)status, (void)events;
	uv_poll_stop(poll);
	l->on_end(l);
}

int proc_watch_new(struct proc_watch **ret, uv_loop_t *loop, const struct proc_id *id,
	proc_watch_fn on_end, void *owner)
{
	struct proc_watch *l;
	int fd = proc_open(id), r;

	if (fd < 0)
		return fd;
	l = xcalloc(1, sizeof(*l));
	*l = (struct proc_watch){.pidfd = fd, .on_end = on_end, .owner = owner};
	r = uv_poll_init(loop, &l->poll, fd);
	if (r < 0) {
		close(fd);
		free(l);
		return r;
	}
	uv_poll_start(&l->poll, UV_READABLE, on_readable);
	*ret = l;
	return 0;
}

void proc_watch_free(struct proc_watch *l)
{
	if (!l)
		return;
	uv_close((uv_handle_t *)&l->poll, on_closed);
	close_fd(&l->pidfd);
}
