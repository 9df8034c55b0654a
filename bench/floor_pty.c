/*
 * floor_pty - the smallest relay between a terminal and a unix socket: one poll, one read, one
 * write, nothing framed and nothing kept. A client says what to run (u32 length, arguments with a
 * NUL after each); from there on its bytes are keys, and what comes is output until the end.
 */
#include "floor.h"
#include <pty.h>

static const char usage[] =
	"usage: floor_pty --server PATH    serves until it is ended, one peer at a "
	"time\n";

#define MOST_ARGS 16

static char buffer[65536];

/* The command, NULL-terminated; false: the peer has nothing to say. */
static bool read_command(int peer, char *argv[MOST_ARGS + 1])
{
	static char text[4096];
	uint32_t len;
	size_t n = 0;

	if (!floor_recv_all(peer, &len, sizeof(len)))
		return false;
	if (len == 0 || len > sizeof(text) || !floor_recv_all(peer, text, len) || text[len - 1])
		floor_die("no command");
	for (char *at = text; at < text + len && n < MOST_ARGS; at += strlen(at) + 1)
		argv[n++] = at;
	argv[n] = NULL;
	return true;
}

static bool write_all(int fd, const char *p, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

/* Until either side is at its end. */
static void relay(int peer, int master)
{
	struct pollfd p[2] = {{.fd = peer, .events = POLLIN}, {.fd = master, .events = POLLIN}};
	ssize_t n;

	for (;;) {
		if (poll(p, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			floor_die("poll");
		}
		if (p[1].revents) {
			n = read(master, buffer, sizeof(buffer));
			if (n <= 0 || !floor_send_all(peer, buffer, (size_t)n))
				return;
		}
		if (p[0].revents) {
			n = recv(peer, buffer, sizeof(buffer), 0);
			if (n <= 0 || !write_all(master, buffer, (size_t)n))
				return;
		}
	}
}

static void serve(int peer)
{
	struct winsize size = {.ws_row = 24, .ws_col = 80};
	char *argv[MOST_ARGS + 1];
	int master;
	pid_t pid;

	if (!read_command(peer, argv))
		return;
	pid = forkpty(&master, NULL, NULL, &size);
	if (pid < 0)
		floor_die("forkpty");
	if (pid == 0) {
		execvp(argv[0], argv);
		_exit(127);
	}
	floor_remember(pid, SIGKILL);
	relay(peer, master);
	close(master);
	kill(pid, SIGKILL);
	floor_reap(pid);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"server", required_argument, NULL, 's'}, {0}};
	const char *server = NULL;
	int opt, fd;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 's')
			server = optarg;
		else
			server = NULL, optind = argc + 1;
	}
	if (!server || optind != argc) {
		fputs(usage, stderr);
		return 2;
	}
	floor_begin(86400);
	floor_term_code = 0;
	fd = floor_listen(server);
	for (;;) {
		int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

		if (peer >= 0)
			serve(peer);
		close(peer);
	}
}
