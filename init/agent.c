/*
 * Descriptors are handed over as systemd does it: numbers from 3 up, LISTEN_FDS and LISTEN_PID.
 * Names go along in LISTEN_FDNAMES while they fit into one string of an environment; agentd does
 * not depend on them, it recognises what is its own.
 *
 * Two more, at the end of the list, are ours: "init-exits", a file with the ends of processes that
 * came to us while no agent lived, and "init-link", a socket on which later ones follow.
 */
#include "init/agent.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/log.h"
#include "init/mounts.h"
#include "init/notify.h"

#define DELAY_MIN_MS 20
#define DELAY_MAX_MS 1000
#define WELL_MS      1000 /* who lived that long is started again at once */
#define NAMES_MAX    (96 * 1024)

static char *setting(const char *key, const char *value)
{
	char *word = xcalloc(1, strlen(key) + strlen(value) + 4);

	sprintf(word, "--%s=%s", key, value);
	return word;
}

/* The token agentd reads from the kernel's command line itself: arguments can be seen by everybody.
 * The others are ours. */
static bool is_for_agent(const char *name)
{
	static const char *const ours[] = {"token", "path", "stop_ms"};

	if (strncmp(name, "agentd.", 7) != 0)
		return false;
	for (size_t i = 0; i < array_size(ours); i++) {
		if (strcmp(name + 7, ours[i]) == 0)
			return false;
	}
	return true;
}

void agent_init(struct agent *a, const struct cmdline *c, bool has_cgroup, unsigned long stop_ms)
{
	char grace[24];
	size_t n = 0;

	snprintf(grace, sizeof(grace), "%lu", stop_ms / 2);
	*a = (struct agent){.link = -1, .path = cmdline_get(c, "agentd.path")};
	if (!a->path)
		a->path = AGENT_PATH;
	a->has_cgroup = has_cgroup;
	a->argv = xcalloc(c->n + 5, sizeof(char *));
	a->argv[n++] = (char *)"agentd";
	if (!cmdline_get(c, "agentd.listen"))
		a->argv[n++] = setting("listen", "vsock:1024");
	if (has_cgroup)
		a->argv[n++] = setting("cgroup", MOUNTS_CGROUP_SANDBOX);
	a->argv[n++] = setting("stop_grace_ms", grace);
	for (size_t i = 0; i < c->n; i++) { /* the later wins */
		if (c->value[i] && is_for_agent(c->name[i]))
			a->argv[n++] = setting(c->name[i] + 7, c->value[i]);
	}
}

void agent_fini(struct agent *a)
{
	for (size_t i = 1; a->argv[i]; i++)
		free(a->argv[i]);
	free(take_ptr(&a->argv));
	close_fd(&a->link);
}

/* ---- in the child ---- */

static void write_text(const char *path, const char *text)
{
	auto_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, text, strlen(text)) < 0)
		return; /* it runs without */
}

/* All to numbers above those they are to have, then down. Those in between that nobody wants are
 * closed by exec. */
static int place(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, (int)(3 + n));
		if (fds[i] < 0)
			return -errno;
	}
	for (size_t i = 0; i < n; i++) {
		if (dup2(fds[i], (int)(3 + i)) < 0)
			return -errno;
	}
	return 0;
}

static void name_them(const struct fdstore *s, char *names)
{
	size_t len = 0;

	for (size_t i = 0; i < s->n; i++) {
		size_t n = strlen(s->entries[i].name);

		if (len + n + 64 > NAMES_MAX)
			return;
		memcpy(names + len, s->entries[i].name, n);
		names[len + n] = ':';
		len += n + 1;
	}
	snprintf(names + len, NAMES_MAX - len, "init-exits:init-link");
	setenv("LISTEN_FDNAMES", names, 1);
}

static _Noreturn void run(const struct agent *a, const struct fdstore *s, int link)
{
	size_t n = s->n + 2;
	int *fds = xcalloc(n, sizeof(int));
	struct rlimit files;
	char text[32];
	sigset_t none;
	int r;

	prctl(PR_SET_NAME, "agentd");
	if (a->has_cgroup)
		write_text(MOUNTS_CGROUP_AGENT "/cgroup.procs", "0");
	write_text("/proc/self/oom_score_adj", "-1000");
	setsid();
	for (size_t i = 0; i < s->n; i++)
		fds[i] = s->entries[i].fd;
	fds[s->n] = fdstore_exits(s);
	fds[s->n + 1] = link;
	r = place(fds, n);
	if (r < 0) {
		log_err("descriptors cannot be handed to agentd: %s", strerror(-r));
		_exit(1);
	}
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = min_of(files.rlim_max, (rlim_t)1024);
		setrlimit(RLIMIT_NOFILE, &files);
	}
	snprintf(text, sizeof(text), "%d", getpid());
	setenv("LISTEN_PID", text, 1);
	snprintf(text, sizeof(text), "%zu", n);
	setenv("LISTEN_FDS", text, 1);
	setenv("NOTIFY_SOCKET", NOTIFY_PATH, 1);
	if (a->starts == 0) {
		snprintf(text, sizeof(text), "%llu", (unsigned long long)a->boot_ms);
		setenv("AGENTD_BOOT_MS", text, 1);
	}
	name_them(s, xcalloc(1, NAMES_MAX));
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv(a->path, a->argv);
	log_err("cannot run %s: %s", a->path, strerror(errno));
	_exit(127);
}

/* ---- in init ---- */

int agent_start(struct agent *a, struct fdstore *s)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
		a->start_at = now_ms() + DELAY_MAX_MS;
		return -errno;
	}
	pid = fork();
	if (pid == 0)
		run(a, s, pair[1]);
	close(pair[1]);
	if (pid < 0) {
		int err = errno;

		close(pair[0]);
		a->start_at = now_ms() + DELAY_MAX_MS;
		return -err;
	}
	close_fd(&a->link);
	a->link = pair[0];
	a->behind = false;
	fdstore_all_told(s);
	a->pid = pid;
	a->started = now_ms();
	a->starts++;
	return 0;
}

void agent_died(struct agent *a)
{
	uint64_t now = now_ms();

	a->pid = 0;
	a->behind = false;
	close_fd(&a->link);
	if (now - a->started >= WELL_MS)
		a->delay = 0;
	a->start_at = now + a->delay;
	a->delay = min_of(max_of(a->delay * 2, (uint64_t)DELAY_MIN_MS), (uint64_t)DELAY_MAX_MS);
}

void agent_tell_exits(struct agent *a, struct fdstore *s)
{
	const struct child_exit *e;
	size_t at = 0;

	a->behind = false;
	while (a->link >= 0 && (e = fdstore_untold(s, &at))) {
		if (send(a->link, e, sizeof(*e), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
			/* Anything else is an agent that is going: the next one finds it in the
			 * store. */
			a->behind = errno == EAGAIN;
			return;
		}
		s->entries[at].told = true;
	}
}
