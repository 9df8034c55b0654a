#include "bridge/box/life.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/syscall.h>

int life_id_of(pid_t pid, struct life_id *ret)
{
	char path[48], text[1024], state;
	const char *rest;
	unsigned long long start;
	auto_close int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -ESRCH;
	n = read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return -ESRCH;
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
	*ret = (struct life_id){pid, start};
	return 0;
}

int life_open(const struct life_id *id)
{
	auto_close int fd = -1;
	struct life_id now;

	if (id->pid <= 0)
		return -ESRCH;
	fd = (int)syscall(SYS_pidfd_open, id->pid, 0);
	if (fd < 0)
		return -errno;
	/* Looked at after it is held: what is there now is what the descriptor means. */
	if (life_id_of(id->pid, &now) < 0 || now.start != id->start)
		return -ESRCH;
	return take_fd(&fd);
}

int life_signal(int pidfd, int sig)
{
	return syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0) < 0 ? -errno : 0;
}

int life_wait(int pidfd, int timeout_ms)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	int r = poll(&p, 1, timeout_ms);

	return r > 0 ? 0 : r < 0 ? -errno : -ETIMEDOUT;
}

static void on_closed(uv_handle_t *h)
{
	free(container_of((uv_poll_t *)(void *)h, struct life, poll));
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct life *l = container_of(poll, struct life, poll);

	(void)status, (void)events;
	uv_poll_stop(poll);
	l->on_end(l);
}

struct life *life_watch(uv_loop_t *loop, const struct life_id *id, life_fn on_end, void *owner)
{
	struct life *l;
	int fd = life_open(id);

	if (fd < 0)
		return NULL;
	l = xcalloc(1, sizeof(*l));
	*l = (struct life){.pidfd = fd, .on_end = on_end, .owner = owner};
	if (uv_poll_init(loop, &l->poll, fd) < 0) {
		close(fd);
		free(l);
		return NULL;
	}
	uv_poll_start(&l->poll, UV_READABLE, on_readable);
	return l;
}

void life_free(struct life *l)
{
	if (!l)
		return;
	uv_close((uv_handle_t *)&l->poll, on_closed);
	close_fd(&l->pidfd);
}
