/*
 * floor_vsock - what a program in a guest can do over vsock with blocking calls alone: echo, send
 * from memory, copy a command's pipe, run commands. It listens in the guest, with a process for
 * each connection; `bench vm` asks from the host, once a connection.
 */
#include "floor.h"
#include "floor_vsock.h"

#include <linux/vm_sockets.h>

static const char usage[] = "usage: floor_vsock [--time S] PORT      serves until it is ended\n"
			    "  --time S  seconds at most, default 600\n"
			    "Beside it lies floor_gen.\n";

static uint8_t buffer[FLOOR_VSOCK_MAX];

static void echo(int fd, size_t size)
{
	while (floor_recv_all(fd, buffer, size) && floor_send_all(fd, buffer, size))
		;
}

static void send_bytes(int fd, size_t size, uint64_t bytes)
{
	for (uint64_t n; bytes > 0; bytes -= n) {
		n = bytes < size ? bytes : size;
		if (!floor_send_all(fd, buffer, n))
			return;
	}
}

static void copy(int fd, size_t size, uint64_t bytes)
{
	char count[32], *command[] = {(char *)floor_sibling("floor_gen"), count, NULL};
	int p[2], null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	bool well = true;
	ssize_t n;
	pid_t pid;

	snprintf(count, sizeof(count), "%llu", (unsigned long long)bytes);
	if (null < 0 || pipe2(p, O_CLOEXEC) < 0 || fcntl(p[1], F_SETPIPE_SZ, 1024 * 1024) < 0)
		floor_die("pipe");
	pid = floor_vfork(command, (int[3]){null, p[1], -1});
	if (pid < 0)
		floor_die("cannot start %s", command[0]);
	close(p[1]);
	while (well && (n = read(p[0], buffer, size)) > 0)
		well = floor_send_all(fd, buffer, (size_t)n);
	close(p[0]);
	close(null);
	floor_reap(pid);
}

static void spawn(int fd, uint32_t runs)
{
	static char *const command[] = {"/bin/true", NULL};
	static struct floor_output out[2];
	uint64_t ns[FLOOR_VSOCK_RUNS];
	uint8_t go;

	while (runs <= FLOOR_VSOCK_RUNS && floor_recv_all(fd, &go, 1)) {
		for (uint32_t i = 0; i < runs; i++) {
			uint64_t t0 = floor_now_ns();

			if (floor_run(command, out) != 0)
				floor_die("%s failed", command[0]);
			ns[i] = floor_now_ns() - t0;
		}
		if (!floor_send_all(fd, ns, runs * sizeof(*ns)))
			return;
	}
}

static void serve(int fd)
{
	struct floor_vsock_request r;

	if (floor_recv_all(fd, &r, sizeof(r)) && r.size > 0 && r.size <= sizeof(buffer)) {
		switch (r.what) {
		case FLOOR_VSOCK_ECHO: echo(fd, r.size); break;
		case FLOOR_VSOCK_SEND: send_bytes(fd, r.size, r.bytes); break;
		case FLOOR_VSOCK_COPY: copy(fd, r.size, r.bytes); break;
		case FLOOR_VSOCK_SPAWN: spawn(fd, r.size); break;
		default: break;
		}
	}
	/* Closed by the host first: what is on its way must not be cut off by a reset. */
	shutdown(fd, SHUT_WR);
	while (recv(fd, buffer, sizeof(buffer), 0) > 0)
		;
	close(fd);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"time", required_argument, NULL, 't'}, {0}};
	struct sockaddr_vm sa = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY};
	unsigned int seconds = 600;
	int fd, opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt != 't') {
			fputs(usage, stderr);
			return 2;
		}
		seconds = (unsigned int)floor_number(optarg, 1, 86400);
	}
	if (argc - optind != 1) {
		fputs(usage, stderr);
		return 2;
	}
	sa.svm_port = (unsigned int)floor_number(argv[optind], 1, UINT32_MAX);
	floor_begin(seconds);
	floor_term_code = 0;
	signal(SIGCHLD, SIG_IGN); /* one for each connection, of which nobody asks how it ended */
	memset(buffer, 1, sizeof(buffer)); /* page faults are not what is measured */
	fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, 8) < 0)
		floor_die("vsock port %u", sa.svm_port);
	printf("listening\n");
	fflush(stdout);
	for (;;) {
		int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

		if (peer < 0 && errno != EINTR)
			floor_die("accept");
		if (peer >= 0 && fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			signal(SIGCHLD, SIG_DFL);
			serve(peer);
			_exit(0);
		}
		if (peer >= 0)
			close(peer);
	}
}
