/*
 * The maker is a child of ours that becomes nothing: between fork and exec (program.h,
 * before_exec) it
 *
 *	forks into the box's cgroup
 *	unshares mounts (an ordinary user: with a user namespace), mounts the overlay there
 *	starts bwrap on it, and waits until the namespaces stand: bwrap says which process is PID 1
 *	in them, and a shell in them says that it runs
 *	joins them by a pidfd, starts agentd there, says both process ids, and exits
 *
 * All of this is system calls. While it runs it holds the lock of the box, so that another bridge
 * waits for it. What it mounted is gone with the last process that sees it.
 */
#include "bridge/box/local.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "bridge/box/program.h"

#define NEST_MS   20000
#define ARGS_MAX  96
#define LOCAL_RUN "/run/agentd"
#define HIGH_FD   20 /* above all that dup2() gives away */

struct local_nest {
	struct program *program;
	local_nest_fn fn;
	void *owner;
	char dir[BOX_PATH_MAX], cgroup[BOX_PATH_MAX + 64];
	char lower[2 * BOX_PATH_MAX]; /* as overlayfs wants it */
	struct local_layers layers;
	struct local_args args; /* of bwrap */
	bool root;
	uid_t uid;
	gid_t gid;
	int lock, log;
};

static const char *const environment[] = {
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL};

/* ---- in the maker ---- */

/* For people, through the captured stderr. Returns -1. */
static int __attribute__((format(printf, 1, 2))) say(const char *fmt, ...)
{
	char line[256];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	n = min_of(n, (int)sizeof(line) - 2);
	line[n++] = '\n';
	if (write(2, line, (size_t)n) < 0)
		_exit(1); /* nobody hears */
	return -1;
}

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), r;

	if (fd < 0)
		return -1;
	r = write(fd, text, strlen(text)) < 0 ? -1 : 0;
	close(fd);
	return r;
}

/*
 * A fork that is born in a cgroup: to move there afterwards costs milliseconds, as the kernel
 * waits for every CPU. fd -1: an ordinary one. We have one thread only.
 */
static pid_t fork_into(int fd)
{
	struct clone_args args = {.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD};
	pid_t pid = -1;

	if (fd >= 0) {
		args.cgroup = (uint64_t)fd;
		pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	}
	return pid >= 0 ? pid : fork();
}

static int open_cgroup(const struct local_nest *n, const char *sub)
{
	char path[sizeof(n->cgroup) + 16];

	snprintf(path, sizeof(path), "%s%s", n->cgroup, sub);
	return n->cgroup[0] ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
}

static int own_namespaces(const struct local_nest *n)
{
	char map[64];

	if (n->root)
		return unshare(CLONE_NEWNS) == 0
			       ? 0
			       : say("no mount namespace can be made: %s", strerror(errno));
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return say("user namespaces are not allowed here: %s", strerror(errno));
	write_file("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "%d %d 1", LOCAL_UID, (int)n->uid);
	if (write_file("/proc/self/uid_map", map) < 0)
		return say("the user cannot be mapped: %s", strerror(errno));
	snprintf(map, sizeof(map), "%d %d 1", LOCAL_UID, (int)n->gid);
	if (write_file("/proc/self/gid_map", map) < 0)
		return say("the group cannot be mapped: %s", strerror(errno));
	return 0;
}

static int mount_overlay(const struct local_nest *n, const char *name)
{
	char options[sizeof(n->lower) + 256], at[LOCAL_LAYER_NAME + 8];

	snprintf(at, sizeof(at), "root/%s", name);
	snprintf(options, sizeof(options), "lowerdir=%s%s,upperdir=upper/%s,workdir=work/%s%s",
		n->lower, name, name, name, n->root ? "" : ",userxattr");
	return mount("overlay", at, "overlay", 0, options) < 0 ? -errno : 0;
}

/* With everything that is mounted in it, for reading only. */
static int mount_plain(const char *name)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID};
	char from[LOCAL_LAYER_NAME + 2], at[LOCAL_LAYER_NAME + 8];

	snprintf(from, sizeof(from), "/%s", name);
	snprintf(at, sizeof(at), "root/%s", name);
	if (mount(from, at, NULL, MS_BIND | MS_REC, NULL) < 0)
		return -errno;
	if (syscall(SYS_mount_setattr, AT_FDCWD, at, AT_RECURSIVE, &attr, sizeof(attr)) == 0)
		return 0;
	umount2(at, MNT_DETACH); /* better none than one that can be written to */
	return -ENOSYS;
}

/* /etc has our changes, so it must be an overlay; the others need not. */
static int mount_root(const struct local_nest *n)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return say("mounts cannot be made private: %s", strerror(errno));
	if (chdir(n->dir) < 0)
		return say("%s: %s", n->dir, strerror(errno));
	for (size_t i = 0; i < n->layers.n; i++) {
		const char *name = n->layers.names[i];
		int r = mount_overlay(n, name);

		if (r < 0 && (!name[0] || strcmp(name, "etc") == 0))
			return say("overlayfs cannot be mounted here (on %s%s, for %s): %s",
				n->lower, name, n->dir, strerror(-r));
		if (r < 0)
			mount_plain(name);
	}
	return chdir("/") < 0 ? -1 : 0;
}

static int high_pipe(int fds[2])
{
	int low[2];

	if (pipe2(low, O_CLOEXEC) < 0)
		return -1;
	fds[0] = fcntl(low[0], F_DUPFD_CLOEXEC, HIGH_FD);
	fds[1] = fcntl(low[1], F_DUPFD_CLOEXEC, HIGH_FD);
	close(low[0]);
	close(low[1]);
	return fds[0] < 0 || fds[1] < 0 ? -1 : 0;
}

/* The shell's stdin has its own other end, so it never comes to an end. */
static _Noreturn void become_bwrap(const struct local_nest *n, int said, const int hold[2])
{
	if (dup2(hold[0], 0) < 0 || dup2(said, 1) < 0 || dup2(said, 3) < 0 || dup2(hold[1], 9) < 0)
		_exit(126);
	/* Searched in our PATH, but nothing of our environment is for those inside to see. */
	execvpe(n->args.list[0], (char *const *)n->args.list, (char *const *)environment);
	if (errno == ENOENT)
		say("bubblewrap (bwrap) is not installed");
	else
		say("bwrap cannot be started: %s", strerror(errno));
	_exit(127);
}

/* {"child-pid": N, ...} and then "up": the namespaces stand. */
static pid_t read_inner(int fd)
{
	char text[1024], *pid;
	size_t len = 0;
	ssize_t n;

	do {
		n = read(fd, text + len, sizeof(text) - 1 - len);
		if (n <= 0)
			return -1;
		len += (size_t)n;
		text[len] = '\0';
		pid = strstr(text, "\"child-pid\":");
	} while ((!pid || !strstr(text, "up\n")) && len < sizeof(text) - 1);
	return pid ? atoi(pid + 12) : -1;
}

/* ret: bwrap outside, which waits for the one inside, and that one, PID 1 there. */
static int start_bwrap(const struct local_nest *n, int cgroup, pid_t *ret_outer, pid_t *ret_inner)
{
	int said[2], hold[2];
	pid_t pid, inner;

	if (high_pipe(said) < 0 || high_pipe(hold) < 0)
		return say("no pipe: %s", strerror(errno));
	pid = fork_into(cgroup);
	if (pid == 0)
		become_bwrap(n, said[1], hold);
	close(said[1]);
	close(hold[0]);
	close(hold[1]);
	inner = pid < 0 ? -1 : read_inner(said[0]);
	close(said[0]);
	if (inner <= 0 && pid > 0)
		waitpid(pid, NULL, 0); /* so that what it said is there */
	*ret_outer = pid;
	*ret_inner = inner;
	return inner > 0 ? 0 : -1;
}

static int join(const struct local_nest *n, pid_t inner)
{
	int fd = (int)syscall(SYS_pidfd_open, inner, 0);
	int flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS;

	if (fd < 0 || setns(fd, flags | (n->root ? 0 : CLONE_NEWUSER)) < 0)
		return say("the namespaces cannot be joined: %s", strerror(errno));
	/* bwrap mounts everything nosuid; here nothing runs under it. */
	if (n->root &&
		mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_NODEV | MS_RELATIME, NULL) < 0)
		return say("the root cannot be remounted: %s", strerror(errno));
	return chdir("/") < 0 ? -1 : 0;
}

/* The process id of who sent the one byte, as we know it, whatever it is in its namespace. */
static pid_t read_sender(int fd)
{
	char byte, control[CMSG_SPACE(sizeof(struct ucred))];
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	struct msghdr m = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control)};
	struct ucred cred;
	struct cmsghdr *c;

	if (recvmsg(fd, &m, 0) != 1 || !(c = CMSG_FIRSTHDR(&m)) || c->cmsg_type != SCM_CREDENTIALS)
		return -1;
	memcpy(&cred, CMSG_DATA(c), sizeof(cred));
	return cred.pid;
}

/*
 * Returns in agentd's process only. Its parent, in the namespace too, is gone by then, so PID 1
 * there has it: it is reaped whoever reaps on the host, and the namespace cannot end before all in
 * it are reaped.
 */
static void fork_agent(const struct local_nest *n, int said)
{
	pid_t pid = fork();

	if (pid != 0)
		_exit(pid < 0 ? 1 : 0);
	if (write(said, "", 1) != 1 || setsid() < 0 || dup2(n->log, 1) < 0 || dup2(n->log, 2) < 0)
		_exit(1);
}

/* Whoever dials too early has to come again, which takes longer than to wait for it here. */
static int wait_listening(int agent_fd)
{
	struct sockaddr_un sa = {
		.sun_family = AF_UNIX, .sun_path = LOCAL_RUN "/link/" LOCAL_SOCKET};

	for (;;) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		int r = connect(fd, (struct sockaddr *)&sa, sizeof(sa));

		close(fd);
		if (r == 0)
			return 0;
		if (proc_wait(agent_fd, 1) == 0)
			return say("agentd ended at once");
	}
}

/* The same; the maker ends. */
static int start_agent(const struct local_nest *n, pid_t outer, pid_t inner, int cgroup)
{
	int said[2], on = 1, fd;
	char text[64], byte;
	pid_t pid, agent;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, said) < 0 ||
		setsockopt(said[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
		return say("no socket: %s", strerror(errno));
	pid = fork_into(cgroup);
	if (pid < 0)
		return say("agentd cannot be started: %s", strerror(errno));
	if (pid == 0) {
		close(n->lock); /* exec would do it, but may be far */
		fork_agent(n, said[1]);
		return 0;
	}
	close(said[1]);
	agent = read_sender(said[0]);
	waitpid(pid, NULL, 0);
	fd = agent > 0 ? (int)syscall(SYS_pidfd_open, agent, 0) : -1;
	/* Exec closes the socket, and so does its end. */
	if (fd < 0 || read(said[0], &byte, 1) != 0 || proc_wait(fd, 0) == 0)
		return say("agentd cannot be executed there");
	if (wait_listening(fd) < 0)
		return -1;
	snprintf(text, sizeof(text), "%d %d %d\n", (int)outer, (int)inner, (int)agent);
	_exit(write(1, text, strlen(text)) < 0 ? 1 : 0);
}

/* Waits for the one who does it in the box's cgroup. */
static void go_into_cgroup(const struct local_nest *n)
{
	int status, fd = open_cgroup(n, "");
	pid_t pid;

	if (fd < 0)
		return;
	pid = fork_into(fd);
	close(fd);
	if (pid <= 0)
		return;
	close(n->lock);
	waitpid(pid, &status, 0);
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

/* The root of the cgroup namespace is the box's; what runs is one below, because a cgroup with
 * processes of its own could not hand controllers down. */
static int make(void *ctx)
{
	const struct local_nest *n = ctx;
	pid_t outer = -1, inner = -1;
	int cgroup;

	umask(022);
	go_into_cgroup(n);
	alarm(NEST_MS / 1000); /* when there is no bridge any more to end us */
	if (own_namespaces(n) < 0 || mount_root(n) < 0)
		_exit(1);
	if (n->cgroup[0])
		unshare(CLONE_NEWCGROUP);
	cgroup = open_cgroup(n, "/init");
	if (start_bwrap(n, cgroup, &outer, &inner) < 0)
		_exit(1);
	if (join(n, inner) < 0 || start_agent(n, outer, inner, cgroup) < 0) {
		kill(inner, SIGKILL);
		_exit(1);
	}
	return 0;
}

/* ---- its start ---- */

/* Commas and colons separate there. */
static int fill_lower(struct local_nest *n, const struct local_host *h)
{
	const char *root = h->config->root ? h->config->root : "/";
	size_t len = 0;

	for (; *root; root++) {
		if (len > sizeof(n->lower) - 3)
			return -ENAMETOOLONG;
		if (strchr(",:\\", *root))
			n->lower[len++] = '\\';
		n->lower[len++] = *root;
	}
	n->lower[len] = '\0';
	return 0;
}

/* ---- its result ---- */

static int take_pids(const struct program_result *r, struct local_pids *ret)
{
	int outer, inner, agent;

	if (sscanf(r->out, "%d %d %d", &outer, &inner, &agent) != 3 ||
		proc_id_of(outer, &ret->outer) < 0 || proc_id_of(inner, &ret->inner) < 0)
		return -ESRCH;
	return proc_id_of(agent, &ret->agent);
}

static void on_made(void *owner, const struct program_result *r)
{
	struct local_nest *n = owner;
	struct local_pids pids = {0};
	char why[256] = "";
	const char *line = r->err;

	if (r->timed_out)
		snprintf(why, sizeof(why), "the sandbox's namespaces were not made in time");
	else if (r->code != 0 || r->signal || r->error)
		snprintf(why, sizeof(why), "the sandbox cannot be made: %.*s",
			r->err_len ? (int)strcspn(line, "\n") : 14,
			r->err_len ? line : "no reason told");
	else if (take_pids(r, &pids) < 0)
		snprintf(why, sizeof(why), "the sandbox's agent ended at once");
	n->fn(n->owner, &pids, why);
	free(n);
}

int local_nest_start(struct local_nest **ret, uv_loop_t *loop, const struct local_host *h,
	const char *dir, const char *id, const char *cgroup, local_nest_fn fn, void *owner)
{
	static const char *const agentd[] = {LOCAL_RUN "/agentd", "--listen",
		"unix:" LOCAL_RUN "/link/" LOCAL_SOCKET, "--default-user", "sandbox", "--cgroup",
		"/sys/fs/cgroup/sandbox", NULL};
	static const char *const agentd_plain[] = {LOCAL_RUN "/agentd", "--listen",
		"unix:" LOCAL_RUN "/link/" LOCAL_SOCKET, "--default-user", "sandbox", "--cgroup",
		"none", NULL};
	struct local_nest *n = xcalloc(1, sizeof(*n));
	struct program_spec spec = {
		.envp = environment, .before_exec = make, .ctx = n, .timeout_ms = NEST_MS};
	char path[BOX_PATH_MAX + 16];
	int r;

	*n = (struct local_nest){.fn = fn,
		.owner = owner,
		.root = h->root,
		.uid = geteuid(),
		.gid = getegid(),
		.lock = -1,
		.log = -1};
	snprintf(n->dir, sizeof(n->dir), "%s", dir);
	snprintf(n->cgroup, sizeof(n->cgroup), "%s", cgroup);
	local_args_fill(&n->args, h, dir, id, cgroup);
	spec.argv = cgroup[0] ? agentd : agentd_plain;
	local_layers_find(h, &n->layers);
	r = fill_lower(n, h);
	if (r == 0)
		r = n->lock = local_lock(dir, true, 0);
	if (r >= 0) {
		snprintf(path, sizeof(path), "%s/log", dir);
		n->log = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
		r = n->log < 0 ? -errno : 0;
	}
	if (r >= 0)
		r = program_run(loop, &spec, on_made, n, &n->program);
	/* The maker has its own copies. */
	close_fd(&n->lock);
	close_fd(&n->log);
	if (r < 0) {
		free(n);
		return r;
	}
	*ret = n;
	return 0;
}

void local_nest_leave(struct local_nest *n)
{
	program_leave(n->program);
	free(n);
}
