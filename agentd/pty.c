/*
 * Opened by hand, because openpty(3) finds the slave by its path, which in a namespace of mounts
 * may be another's or nobody's, and leaves gaps without close-on-exec. TIOCGPTPEER opens the very
 * slave; before Linux 4.13 there is only the path.
 */
#include "agentd/pty.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>

#include "agentd/user.h"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

static int open_slave(int master)
{
	char path[32];
	unsigned number;
	int fd = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	if (ioctl(master, TIOCGPTN, &number) < 0)
		return -errno;
	snprintf(path, sizeof(path), "/dev/pts/%u", number);
	fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* write(1) and the like are of group tty: where there is none, only the user may write. */
static void give_to(int slave, uid_t uid)
{
	struct user tty;
	bool has_group = user_resolve("0:tty", &tty) == 0;
	bool ours = fchown(slave, uid, has_group ? tty.gid : (gid_t)-1) == 0;

	/* Without the right to: devpts has made it ours, in the group it was mounted with. */
	if (!ours && fchown(slave, uid, (gid_t)-1) < 0)
		return;
	fchmod(slave, ours && has_group ? 0620 : 0600);
}

static int set_up(int slave, const struct msg_size *size, uid_t uid)
{
	struct termios t;

	if (tcgetattr(slave, &t) < 0)
		return -errno;
	t.c_iflag |= IUTF8; /* so that erasing takes a whole character back */
	if (tcsetattr(slave, TCSANOW, &t) < 0)
		return -errno;
	give_to(slave, uid);
	return pty_set_size(slave, size);
}

int pty_open(const struct msg_size *size, uid_t uid, int *ret_master, int *ret_slave)
{
	auto_close int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	auto_close int slave = -1;
	int unlocked = 0, r;

	if (master < 0 || ioctl(master, TIOCSPTLCK, &unlocked) < 0)
		return -errno;
	r = slave = open_slave(master);
	if (r >= 0)
		r = set_up(slave, size, uid);
	if (r < 0)
		return r;
	*ret_master = take_fd(&master);
	*ret_slave = take_fd(&slave);
	return 0;
}

int pty_set_size(int fd, const struct msg_size *size)
{
	struct winsize w = {.ws_col = size->cols,
		.ws_row = size->rows,
		.ws_xpixel = size->xpixel,
		.ws_ypixel = size->ypixel};

	return ioctl(fd, TIOCSWINSZ, &w) < 0 ? -errno : 0;
}

int pty_get_size(int fd, struct msg_size *ret)
{
	struct winsize w;

	if (ioctl(fd, TIOCGWINSZ, &w) < 0)
		return -errno;
	*ret = (struct msg_size){
		.cols = w.ws_col, .rows = w.ws_row, .xpixel = w.ws_xpixel, .ypixel = w.ws_ypixel};
	return 0;
}
