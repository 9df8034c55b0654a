#include "agentd/takeover.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "agentd/spawn.h"

#define CHECK_MS 2000 /* the loop stands still for this question, so it must be answered soon */

void takeover_print_versions(void)
{
	printf("agentd-arena %u\n", ARENA_VERSION);
}

/* ---- asking the new binary ---- */

static int read_answer(int fd, char *out, size_t size)
{
	uint64_t until = now_ms() + CHECK_MS;
	size_t len = 0;

	while (len < size - 1) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		uint64_t now = now_ms();
		ssize_t n;

		if (now >= until || poll(&p, 1, (int)(until - now)) <= 0)
			return -ETIMEDOUT;
		n = read(fd, out + len, size - 1 - len);
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	out[len] = '\0';
	return 0;
}

static int ask(const char *path, char *answer, size_t size)
{
	char *args[] = {NULL, (char *)path, (char *)"--can-adopt", NULL};
	char *env[] = {NULL};
	auto_close int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	auto_close int out = -1, in = -1;
	struct spawn_request req = {
		.argv = args + 1, .envp = env, .cwd = "/", .cgroup_fd = -1, .new_session = true};
	struct spawn_result res;
	int p[2], r;

	if (null < 0 || pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	out = p[0];
	in = p[1];
	req.fd[0] = req.fd[2] = null;
	req.fd[1] = in;
	r = spawn(&req, &res);
	if (r < 0)
		return r;
	close_fd(&in);
	r = read_answer(out, answer, size);
	kill(res.pid, SIGKILL); /* it has said what it had to say */
	waitpid(res.pid, NULL, 0);
	close(res.pidfd);
	return r;
}

int takeover_check(const char *path, struct error *e)
{
	char answer[256] = "";
	unsigned version = 0;
	int r = ask(path, answer, sizeof(answer));

	if (r < 0)
		return error_set(e, E_FAILED, -r, "%.100s cannot be asked: %s", path, strerror(-r));
	if (sscanf(answer, "agentd-arena %u", &version) != 1)
		return error_set(e, E_FAILED, ENOEXEC, "%.100s is not an agentd", path);
	if (version != ARENA_VERSION)
		return error_set(e, E_FAILED, EPROTO,
			"%.100s keeps sessions in layout %u, this agent in %u", path, version,
			ARENA_VERSION);
	return 0;
}

/* ---- exec ---- */

/* Makes the descriptors that must survive survive, or (back) not. */
static void set_cloexec(struct daemon *d, bool on)
{
	int flag = on ? FD_CLOEXEC : 0;
	struct list *lists[] = {&d->sessions.by_age, &d->sessions.hidden};

	fcntl(d->sessions.arena.fd, F_SETFD, flag);
	if (d->keeper.link >= 0)
		fcntl(d->keeper.link, F_SETFD, flag);
	for (unsigned i = 0; i < d->n_listeners; i++)
		fcntl(d->listeners[i].fd, F_SETFD, flag);
	for (size_t i = 0; i < array_size(lists); i++) {
		list_for_each (s, lists[i], struct session, by_age) {
			const int32_t fds[] = {
				s->rec->pidfd, s->rec->fd[0], s->rec->fd[1], s->rec->fd[2]};

			for (size_t k = 0; k < array_size(fds); k++) {
				if (fds[k] >= 0)
					fcntl(fds[k], F_SETFD, flag);
			}
		}
	}
}

static bool is_adopt_option(const char *arg)
{
	return strncmp(arg, "--adopt", 7) == 0;
}

static char *option(const char *name, int fd, const char *spec)
{
	size_t size = strlen(name) + strlen(spec) + 16;
	char *out = xcalloc(1, size);

	snprintf(out, size, "%s=%d%s%s", name, fd, *spec ? ":" : "", spec);
	return out;
}

/* The command line as it was, without what a former upgrade added, and with what this one adds. */
static char **make_argv(struct daemon *d, const char *path, size_t *ret_own)
{
	size_t n = 0, argc = 0;
	char **argv;

	while (d->argv[argc])
		argc++;
	argv = xcalloc(argc + d->n_listeners + 4, sizeof(char *));
	argv[n++] = (char *)path;
	for (size_t i = 1; i < argc; i++) {
		if (!is_adopt_option(d->argv[i]))
			argv[n++] = d->argv[i];
	}
	*ret_own = n;
	argv[n++] = option("--adopt", d->sessions.arena.fd, "");
	if (d->keeper.link >= 0)
		argv[n++] = option("--adopt-link", d->keeper.link, "");
	for (unsigned i = 0; i < d->n_listeners; i++)
		argv[n++] = option("--adopt-listen", d->listeners[i].fd, d->listeners[i].spec);
	return argv;
}

int takeover_exec(struct daemon *d, const char *path)
{
	size_t own = 0;
	char **argv = make_argv(d, path, &own);
	int err;

	set_cloexec(d, false);
	launch_restore_limits();
	execv(path, argv);
	err = errno;
	launch_raise_limits();
	set_cloexec(d, true);
	for (size_t i = own; argv[i]; i++)
		free(argv[i]);
	free(argv);
	return -err;
}

static bool is_named(const char *option, size_t len, const char *name)
{
	return strlen(name) == len && memcmp(option, name, len) == 0;
}

int takeover_parse(struct inherited *in, const char *option)
{
	const char *value = strchr(option, '=') + 1;
	size_t name = (size_t)(value - option) - 1;
	char *end;
	long fd = strtol(value, &end, 10);

	if (end == value || fd < 3 || fcntl((int)fd, F_SETFD, FD_CLOEXEC) < 0)
		return -EINVAL;
	if (is_named(option, name, "adopt") && *end == '\0') {
		in->arena_fd = (int)fd;
		return 0;
	}
	if (is_named(option, name, "adopt-link") && *end == '\0') {
		in->link_fd = (int)fd;
		return 0;
	}
	if (!is_named(option, name, "adopt-listen") || *end != ':' ||
		in->n_listen == CONFIG_LISTEN_MAX)
		return -EINVAL;
	in->listen[in->n_listen].fd = (int)fd;
	in->listen[in->n_listen++].spec = end + 1;
	return 0;
}
