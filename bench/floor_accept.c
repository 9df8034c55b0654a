/*
 * floor_accept PATH - the least a server can do before its first accept: floor_start measures how
 * soon after exec one can connect to it. Nothing of floor.h, so that its size is what it is.
 */
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct sockaddr_un address = {.sun_family = AF_UNIX};

static void out_of_time(int sig)
{
	(void)sig;
	unlink(address.sun_path);
	_exit(124);
}

int main(int argc, char **argv)
{
	int fd;

	if (argc != 2 || strlen(argv[1]) >= sizeof(address.sun_path)) {
		fputs("usage: floor_accept PATH\n", stderr);
		return 2;
	}
	memcpy(address.sun_path, argv[1], strlen(argv[1]) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
		listen(fd, 16) < 0) {
		perror(argv[1]);
		return 1;
	}
	signal(SIGALRM, out_of_time);
	alarm(30);
	fd = accept(fd, NULL, NULL);
	unlink(address.sun_path);
	return fd < 0;
}
