/*
 * floor_agent - the least an agent can be: requests on a unix socket, vfork and exec with pipes,
 * both outputs to their ends, waitpid, one answer. And the client that measures it.
 *
 * A request is struct request and `len` bytes of NUL-terminated arguments; an answer is struct
 * answer, stdout, stderr (64 KiB of each are kept). Without -j the server runs one command at a
 * time and blocks; with it, one poll() loop keeps many in flight, on any number of connections.
 */
#include "floor.h"

static const char usage[] =
	"usage: floor_agent [options] [--] [COMMAND [ARG...]]   server and client; /bin/true\n"
	"       floor_agent [options] --server PATH             until it is ended\n"
	"       floor_agent [options] --client PATH [--] [COMMAND [ARG...]]\n"
	"  -n N      runs of each kind, default 2000\n"
	"  -j J      in flight at most (64): alone, the second part (default 16, 0 leaves it out);\n"
	"            server: many at once; client: J at once instead of one after another\n"
	"  --time S  seconds at most, default 120; a server's default is 3600\n"
	"  --json    one JSON object per line\n";

#define MAX_JOBS    64
#define MAX_PEERS   16
#define MAX_REQUEST 4096
#define MAX_ARGS    64

struct request {
	uint32_t len, id;
};

struct answer {
	uint32_t id;
	int32_t status; /* of waitpid, or -errno: not started */
	uint32_t len[2];
};

/* ---- the agent ---- */

static bool split(char *args, size_t len, char *argv[MAX_ARGS + 1])
{
	size_t argc = 0;

	if (len == 0 || args[len - 1] != '\0')
		return false;
	for (char *p = args; p < args + len; p += strlen(p) + 1) {
		if (argc == MAX_ARGS)
			return false;
		argv[argc++] = p;
	}
	argv[argc] = NULL;
	return true;
}

static bool reply(int sock, uint32_t id, int status, const struct floor_output out[2])
{
	static uint8_t message[sizeof(struct answer) + 2 * FLOOR_KEEP];
	struct answer a = {id, status, {(uint32_t)out[0].len, (uint32_t)out[1].len}};

	memcpy(message, &a, sizeof(a));
	memcpy(message + sizeof(a), out[0].bytes, out[0].len);
	memcpy(message + sizeof(a) + out[0].len, out[1].bytes, out[1].len);
	return floor_send_all(sock, message, sizeof(a) + out[0].len + out[1].len);
}

static void serve_one_by_one(int sock)
{
	static struct floor_output out[2];
	static char args[MAX_REQUEST];
	char *argv[MAX_ARGS + 1];
	struct request r;
	int status;

	while (floor_recv_all(sock, &r, sizeof(r)) && r.len <= sizeof(args) &&
		floor_recv_all(sock, args, r.len) && split(args, r.len, argv)) {
		status = floor_run(argv, out);
		if (!reply(sock, r.id, status == -1 ? -errno : status, out))
			break;
	}
	close(sock);
}

static struct peer {
	int fd; /* -1: free */
	size_t have;
	char bytes[sizeof(struct request) + MAX_REQUEST];
} peers[MAX_PEERS];

static struct job {
	struct floor_command command; /* pid 0: free */
	uint32_t id;
	struct peer *peer; /* NULL: it has gone */
	struct floor_output out[2];
} jobs[MAX_JOBS];

/* Listener, peers, two streams of every job. */
static struct pollfd fds[1 + MAX_PEERS + 2 * MAX_JOBS];
static size_t width, running;

static void hang_up(struct peer *p)
{
	for (size_t i = 0; i < width; i++)
		if (jobs[i].peer == p)
			jobs[i].peer = NULL;
	close(p->fd);
	p->fd = -1;
}

static void answer_peer(struct peer *p, uint32_t id, int status, const struct floor_output out[2])
{
	if (p && !reply(p->fd, id, status, out))
		hang_up(p);
}

static void start_job(struct peer *p, uint32_t id, char **argv)
{
	struct job *j = jobs;

	while (j->command.pid)
		j++;
	j->out[0].len = j->out[1].len = 0;
	if (!floor_start_command(&j->command, argv)) {
		j->command.pid = 0;
		answer_peer(p, id, -errno, j->out);
		return;
	}
	j->peer = p;
	j->id = id;
	running++;
	for (int s = 0; s < 2; s++)
		fds[1 + MAX_PEERS + 2 * (j - jobs) + s].fd = j->command.fd[s];
}

/* Starts what has come completely, as far as there is room for it. */
static void take_requests(struct peer *p)
{
	char *argv[MAX_ARGS + 1];
	struct request r;
	size_t used = 0;

	while (p->fd >= 0 && running < width && p->have - used >= sizeof(r)) {
		memcpy(&r, p->bytes + used, sizeof(r));
		if (r.len > MAX_REQUEST) {
			hang_up(p);
			return;
		}
		if (p->have - used - sizeof(r) < r.len)
			break;
		if (!split(p->bytes + used + sizeof(r), r.len, argv)) {
			hang_up(p);
			return;
		}
		start_job(p, r.id, argv);
		used += sizeof(r) + r.len;
	}
	p->have -= used;
	memmove(p->bytes, p->bytes + used, p->have);
}

static void read_peer(struct peer *p)
{
	ssize_t n = recv(p->fd, p->bytes + p->have, sizeof(p->bytes) - p->have, 0);

	if (n > 0)
		p->have += (size_t)n;
	else if (n == 0 || errno != EINTR)
		hang_up(p);
}

static void read_job(struct job *j, int stream)
{
	struct pollfd *p = &fds[1 + MAX_PEERS + 2 * (j - jobs) + stream];

	if (p->fd < 0 || !p->revents || floor_read_some(&j->command.fd[stream], &j->out[stream]))
		return;
	p->fd = -1;
	if (j->command.fd[0] >= 0 || j->command.fd[1] >= 0)
		return;
	answer_peer(j->peer, j->id, floor_reap(j->command.pid), j->out);
	j->command.pid = 0;
	running--;
}

static void accept_peer(int listener)
{
	struct peer *p = peers;
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	while (p < peers + MAX_PEERS && p->fd >= 0)
		p++;
	if (p == peers + MAX_PEERS) {
		close(fd);
		return;
	}
	p->fd = fd;
	p->have = 0;
}

/* Until it is ended, or with a first peer instead of a listener, until that has gone. */
static void serve_many(int listener, int first)
{
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		fds[i] = (struct pollfd){.fd = -1, .events = POLLIN};
	for (size_t i = 0; i < MAX_PEERS; i++)
		peers[i].fd = -1;
	fds[0].fd = listener;
	peers[0].fd = first;
	while (listener >= 0 || peers[0].fd >= 0 || running > 0) {
		for (size_t i = 0; i < MAX_PEERS; i++) {
			bool room = running < width && peers[i].have < sizeof(peers[i].bytes);

			fds[1 + i].fd = room ? peers[i].fd : -1;
		}
		if (poll(fds, 1 + MAX_PEERS + 2 * width, -1) < 0)
			continue;
		for (size_t i = 0; i < 2 * width; i++)
			read_job(&jobs[i / 2], i % 2);
		for (size_t i = 0; i < MAX_PEERS; i++) {
			if (peers[i].fd >= 0 && fds[1 + i].fd == peers[i].fd && fds[1 + i].revents)
				read_peer(&peers[i]);
			take_requests(&peers[i]);
		}
		if (listener >= 0 && fds[0].revents)
			accept_peer(listener);
	}
}

/* ---- the client ---- */

static char message[sizeof(struct request) + MAX_REQUEST];
static size_t message_len, failed;
static bool json, any_failed;

static void make_request(char **argv)
{
	size_t len = 0;

	for (; *argv; argv++) {
		size_t n = strlen(*argv) + 1;

		if (len + n > MAX_REQUEST)
			floor_die("the command is too long");
		memcpy(message + sizeof(struct request) + len, *argv, n);
		len += n;
	}
	memcpy(message, &(struct request){.len = (uint32_t)len}, sizeof(struct request));
	message_len = sizeof(struct request) + len;
}

static void ask(int sock, uint32_t id)
{
	memcpy(message + offsetof(struct request, id), &id, sizeof(id));
	if (!floor_send_all(sock, message, message_len))
		floor_die("send to the agent");
}

static uint32_t await(int sock)
{
	static char output[2 * FLOOR_KEEP];
	struct answer a;

	if (!floor_recv_all(sock, &a, sizeof(a)) || a.len[0] > FLOOR_KEEP ||
		a.len[1] > FLOOR_KEEP || !floor_recv_all(sock, output, a.len[0] + a.len[1]))
		floor_die("no answer from the agent");
	errno = a.status < 0 ? -a.status : 0;
	if (errno)
		floor_die("the agent cannot start the command");
	failed += a.status != 0;
	any_failed |= a.status != 0;
	return a.id;
}

static void one_by_one(int sock, pid_t agent, size_t n)
{
	uint64_t *samples = calloc(n, sizeof(*samples)), t0, cpu = 0;

	if (!samples)
		floor_die("no memory");
	for (size_t i = 0, warm = n / 20 + 1; i < warm + n; i++) {
		if (i == warm) {
			failed = 0;
			cpu = floor_cpu_ns(agent);
		}
		t0 = floor_now_ns();
		ask(sock, (uint32_t)i);
		if (await(sock) != (uint32_t)i)
			floor_die("answer to another request");
		if (i >= warm)
			samples[i - warm] = floor_now_ns() - t0;
	}
	cpu = floor_cpu_ns(agent) - cpu;

	struct floor_field f[] = {
		{"p50_us", "p50", "us", floor_percentile(samples, n, 50, 1e3)},
		{"p99_us", "p99", "us", floor_percentile(samples, n, 99, 1e3)},
		{"cpu_us", "agent cpu", "us/run", (double)cpu / 1e3 / (double)n},
		{"n", "of", "runs", (double)n},
		{"failed", "failed", "", (double)failed},
	};
	floor_report(json, "floor_agent", "sequential", f, failed ? 5 : 4);
	free(samples);
}

static void keep_in_flight(int sock, size_t n, size_t j)
{
	size_t asked = 0;

	for (size_t ended = 0; ended < n; ended++) {
		for (; asked < n && asked < ended + j; asked++)
			ask(sock, (uint32_t)asked);
		if (await(sock) >= asked)
			floor_die("answer to no request");
	}
}

static void at_once(int sock, pid_t agent, size_t n, size_t j)
{
	uint64_t t0, cpu;
	char mode[32];

	keep_in_flight(sock, n / 20 + j, j);
	failed = 0;
	cpu = floor_cpu_ns(agent);
	t0 = floor_now_ns();
	keep_in_flight(sock, n, j);
	t0 = floor_now_ns() - t0;
	cpu = floor_cpu_ns(agent) - cpu;
	snprintf(mode, sizeof(mode), "%zu_at_once", j);

	struct floor_field f[] = {
		{"runs_per_s", "rate", "runs/s", (double)n * 1e9 / (double)t0},
		{"cpu_us", "agent cpu", "us/run", (double)cpu / 1e3 / (double)n},
		{"n", "of", "runs", (double)n},
		{"failed", "failed", "", (double)failed},
	};
	floor_report(json, "floor_agent", mode, f, failed ? 4 : 3);
}

static void server(const char *path)
{
	int listener = floor_listen(path);

	floor_term_code = 0;
	if (width > 0)
		serve_many(listener, -1);
	for (;;) {
		int sock = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (sock >= 0)
			serve_one_by_one(sock);
	}
}

static void client(const char *path, size_t n, size_t j)
{
	struct ucred peer = {.pid = 0};
	socklen_t len = sizeof(peer);
	int sock = floor_connect(path);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		floor_die("SO_PEERCRED");
	if (j > 0)
		at_once(sock, peer.pid, n, j);
	else
		one_by_one(sock, peer.pid, n);
	close(sock);
}

static void both(size_t n, size_t j)
{
	int pair[2];
	pid_t agent;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		floor_die("socketpair");
	agent = floor_fork();
	if (agent == 0) {
		close(pair[0]);
		width = j;
		if (j > 0)
			serve_many(-1, pair[1]);
		else
			serve_one_by_one(pair[1]);
		_exit(0);
	}
	close(pair[1]);
	if (j > 0)
		at_once(pair[0], agent, n, j);
	else
		one_by_one(pair[0], agent, n);
	close(pair[0]);
	floor_reap(agent);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"server", required_argument, NULL, 's'},
		{"client", required_argument, NULL, 'c'}, {"time", required_argument, NULL, 't'},
		{"json", no_argument, NULL, 'J'}, {0}};
	static char *default_command[] = {"/bin/true", NULL};
	const char *server_path = NULL, *client_path = NULL;
	unsigned int seconds = 0;
	size_t n = 2000;
	int j = -1, opt;

	while ((opt = getopt_long(argc, argv, "+n:j:", options, NULL)) != -1) {
		switch (opt) {
		case 'n': n = floor_number(optarg, 1, 10000000); break;
		case 'j': j = (int)floor_number(optarg, 0, MAX_JOBS); break;
		case 's': server_path = optarg; break;
		case 'c': client_path = optarg; break;
		case 't': seconds = (unsigned int)floor_number(optarg, 1, 86400); break;
		case 'J': json = true; break;
		default: fputs(usage, stderr); return 2;
		}
	}
	if ((server_path && client_path) || (server_path && optind < argc)) {
		fputs(usage, stderr);
		return 2;
	}
	floor_begin(seconds ? seconds : server_path ? 3600 : 120);
	make_request(optind < argc ? argv + optind : default_command);
	if (server_path) {
		width = j > 0 ? (size_t)j : 0;
		server(server_path);
	} else if (client_path) {
		client(client_path, n, j > 0 ? (size_t)j : 0);
	} else {
		both(n, 0);
		if (j != 0)
			both(n, j < 0 ? 16 : (size_t)j);
	}
	return any_failed;
}
