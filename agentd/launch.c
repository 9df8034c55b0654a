#include "agentd/launch.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "agentd/cgroup_limits.h"
#include "agentd/proctree.h"
#include "agentd/pty.h"

static void fail(struct launch *l, enum spawn_stage stage, int err)
{
	if (l->stage == SPAWN_OK) {
		l->stage = stage;
		l->err = err;
	}
}

#define SELF_MS 1000

/* Who we are ourselves is looked up once a second at most: nothing but the defaults of HOME, SHELL
 * and the like depends on it. */
static int own_user(struct user *ret)
{
	static struct user self;
	static uint64_t looked_up;
	uint64_t now = now_ms();
	int r = 0;

	if (looked_up == 0 || now - looked_up > SELF_MS) {
		r = user_by_uid(geteuid(), &self);
		looked_up = r == 0 ? now : 0;
	}
	*ret = self;
	return r;
}

static void prepare_user(struct launch *l, const struct config *config)
{
	const char *spec = l->start->user ? l->start->user : config->default_user;
	int r;

	if (spec) {
		r = user_resolve(spec, &l->user);
		l->set_user = r == 0;
	} else {
		r = own_user(&l->user);
	}
	if (r < 0)
		fail(l, SPAWN_USER, -r);
}

static void prepare_cwd(struct launch *l)
{
	struct stat st;

	l->cwd = l->start->cwd;
	if (!l->cwd)
		l->cwd = l->user.home[0] && stat(l->user.home, &st) == 0 && S_ISDIR(st.st_mode)
				 ? l->user.home
				 : "/";
	if (l->cwd[0] == '\0')
		fail(l, SPAWN_CWD, ENOENT);
	if (strlen(l->cwd) >= PATH_MAX) {
		fail(l, SPAWN_CWD, ENAMETOOLONG);
		l->cwd = ""; /* not to be kept: an entry of `list` must fit into a frame */
	}
}

/* "-" and the last part of the path, by which a shell knows that it is a login shell. */
static void prepare_login(struct launch *l)
{
	const char *slash = strrchr(l->argv[0], '/'), *name = slash ? slash + 1 : l->argv[0];
	size_t slots = (l->argc + 2) * sizeof(char *);
	char **block = calloc(1, slots + strlen(name) + 2);

	if (!block) {
		fail(l, SPAWN_LIMITS, ENOMEM);
		return;
	}
	l->login_argv = block;
	memcpy(block + 1, l->argv, l->argc * sizeof(char *));
	block[1] = (char *)block + slots;
	block[1][0] = '-';
	memcpy(block[1] + 1, name, strlen(name) + 1);
}

static void prepare_command(struct launch *l)
{
	const struct msg_start *s = l->start;

	l->argv = s->argv;
	l->argc = s->argc;
	if (s->argc == 0) {
		ASSERT(s->pty.on);
		l->shell[0] = l->shell[2] = NULL;
		l->shell[1] = (char *)(s->pty.shell                     ? s->pty.shell
				       : access("/bin/bash", X_OK) == 0 ? "/bin/bash"
									: "/bin/sh");
		l->argv = l->shell + 1;
		l->argc = 1;
	}
	if (s->pty.login)
		prepare_login(l);
}

#define SPECIAL_MAX 4

/* What a session gets by its kind, over all others' variables and below its own. */
static size_t special_vars(
	const struct msg_start *s, const struct config *config, struct msg_env out[SPECIAL_MAX])
{
	struct msg_env all[] = {
		{"TERM", s->pty.on ? s->pty.term : NULL},
		{"AGENTD_CLAUDE", s->agent ? config->claude : NULL},
	};
	size_t n = 0;

	for (size_t i = 0; i < array_size(all); i++) {
		bool own = !all[i].value || !*all[i].value;

		for (size_t k = 0; k < s->n_env && !own; k++)
			own = strcmp(s->env[k].name, all[i].name) == 0;
		if (!own)
			out[n++] = all[i];
	}
	return n;
}

static size_t text_size(const struct msg_env *vars, size_t n)
{
	size_t size = 0;

	for (size_t i = 0; i < n; i++)
		size += strlen(vars[i].name) + (vars[i].value ? strlen(vars[i].value) : 0) + 2;
	return size;
}

/* Replaces or removes in the list what the base has, else appends. Names in a JSON object are
 * unique, so only the base is searched. */
static void put_vars(struct launch *l, const struct environ_list *base, const struct msg_env *vars,
	size_t n_vars, size_t *n, char **text)
{
	for (size_t i = 0; i < n_vars; i++) {
		const char *name = vars[i].name, *value = vars[i].value;
		ssize_t at = environ_find(base, name, strlen(name));

		if (!value) {
			if (at >= 0)
				l->envp[at] = NULL;
			continue;
		}
		l->envp[at >= 0 ? (size_t)at : (*n)++] = *text;
		*text += sprintf(*text, "%s=%s", name, value) + 1;
	}
}

/* Closes the gaps of what was removed. */
static void close_gaps(struct launch *l, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++) {
		if (!l->envp[i])
			continue;
		if (strncmp(l->envp[i], "PATH=", 5) == 0)
			l->path = l->envp[i] + 5;
		l->envp[kept++] = l->envp[i];
	}
	l->envp[kept] = NULL;
}

/* One block: the pointers, then the strings of the command's own. Those of the base stay where
 * they are, until the child has them. */
static void prepare_env(struct launch *l, const struct config *config, struct environ *env)
{
	static const struct environ_list empty;
	const struct msg_start *s = l->start;
	const struct environ_list *base = s->clear_env ? &empty : environ_base(env, &l->user);
	struct msg_env special[SPECIAL_MAX];
	size_t n_special = special_vars(s, config, special), n = base ? base->n : 0;
	size_t vars = (n + n_special + s->n_env + 1) * sizeof(char *);
	char *at;

	if (base)
		l->envp =
			malloc(vars + text_size(special, n_special) + text_size(s->env, s->n_env));
	if (!base || !l->envp) {
		fail(l, SPAWN_LIMITS, ENOMEM);
		return;
	}
	if (n > 0)
		memcpy(l->envp, base->vars, n * sizeof(char *));
	at = (char *)l->envp + vars;
	put_vars(l, base, special, n_special, &n, &at);
	put_vars(l, base, s->env, s->n_env, &n, &at);
	close_gaps(l, n);
}

void launch_prepare(struct launch *l, const struct msg_start *start, const struct config *config,
	struct environ *env)
{
	l->start = start;
	l->set_user = false;
	l->envp = l->login_argv = NULL;
	l->path = NULL;
	l->stage = SPAWN_OK;
	l->err = 0;
	l->user.home[0] = l->user.name[0] = l->user.shell[0] = '\0';
	prepare_command(l);
	prepare_user(l, config);
	prepare_cwd(l);
	prepare_env(l, config, env);
}

/* Opened once: most commands have it as their stdin. */
static int dev_null(void)
{
	static int fd = -1;

	if (fd < 0)
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* The slave stays open here, too (record.h). */
static int make_terminal(struct launch *l, struct record *rec, int child[3])
{
	int r = pty_open(
		&rec->tty_size, l->set_user ? l->user.uid : geteuid(), &rec->fd[1], &rec->fd[2]);

	if (r < 0)
		return r;
	rec->fd[0] = fcntl(rec->fd[1], F_DUPFD_CLOEXEC, 3);
	if (rec->fd[0] < 0)
		return -errno;
	child[0] = child[1] = child[2] = rec->fd[2];
	return 0;
}

/* Our ends go into the record at once: whoever sees a failure closes what is there. */
static int make_pipes(struct launch *l, struct record *rec, int child[3])
{
	int p[2];

	for (int i = 0; i < 3; i++) {
		bool input = i == 0;

		if (input && !l->start->with_stdin) {
			child[0] = dev_null();
			if (child[0] < 0)
				return child[0];
			continue;
		}
		if (pipe2(p, O_CLOEXEC) < 0)
			return -errno;
		rec->fd[i] = input ? p[1] : p[0];
		child[i] = input ? p[0] : p[1];
	}
	return 0;
}

static struct rlimit nofile_given; /* rlim_max 0: not raised */

void launch_raise_limits(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) < 0 || l.rlim_cur >= l.rlim_max)
		return;
	nofile_given = l;
	l.rlim_cur = l.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &l) < 0)
		nofile_given = (struct rlimit){0};
}

void launch_restore_limits(void)
{
	if (nofile_given.rlim_max)
		setrlimit(RLIMIT_NOFILE, &nofile_given);
}

static size_t fill_rlimits(const struct msg_start *s, struct spawn_rlimit *out)
{
	size_t n = 0;

	/* First, so that what the command asks for comes after it. */
	if (nofile_given.rlim_max)
		out[n++] = (struct spawn_rlimit){.resource = RLIMIT_NOFILE, .value = nofile_given};
	for (size_t i = 0; i < s->n_rlimits; i++, n++) {
		const struct msg_rlimit *l = &s->rlimits[i];

		out[n].resource = l->resource;
		out[n].value.rlim_cur = l->soft < 0 ? RLIM_INFINITY : (rlim_t)l->soft;
		out[n].value.rlim_max = l->hard < 0 ? RLIM_INFINITY : (rlim_t)l->hard;
	}
	return n;
}

/* An agent protected from the OOM killer must not pass that on; the common one need not pay for the
 * write. */
static bool oom_protected(void)
{
	static int known = -1;
	char text[16] = "0";

	if (known < 0) {
		auto_close int fd = open("/proc/self/oom_score_adj", O_RDONLY | O_CLOEXEC);

		if (fd >= 0 && read(fd, text, sizeof(text) - 1) < 0)
			text[0] = '0';
		known = atoi(text) != 0;
	}
	return known;
}

/*
 * A session of its own costs a scheduling group on kernels with autogroup, some 2 % of a short
 * command, and its use is to find the tree by, and to be rid of our terminal. Where a cgroup does
 * the one and there is no terminal, it is not needed.
 */
static bool process_group_will_do(const struct launch *l, bool has_cgroup)
{
	static int terminal = -1;

	if (l->start->pty.on)
		return false;
	if (l->start->group != GROUP_AUTO)
		return l->start->group == GROUP_PROCESS;
	if (terminal < 0) {
		auto_close int fd = open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC);

		terminal = fd >= 0;
	}
	return has_cgroup && !terminal;
}

static int run(struct launch *l, struct record *rec, int cgroup_fd, const int child[3])
{
	struct spawn_rlimit rlimits[MSG_RLIMITS_MAX + 1];
	struct spawn_request req = {
		.argv = l->login_argv ? l->login_argv + 1 : l->argv,
		/* An agent is ourselves, whatever has become of the file; the child still has this
		 * link. */
		.program = l->start->agent ? "/proc/self/exe" : l->argv[0],
		.envp = l->envp,
		.path = l->path,
		.cwd = l->cwd,
		.fd = {child[0], child[1], child[2]},
		.new_session = !rec->process_group,
		.controlling_tty = rec->pty,
		.set_user = l->set_user,
		.uid = l->user.uid,
		.gid = l->user.gid,
		.groups = l->user.groups,
		.n_groups = l->user.n_groups,
		.rlimits = rlimits,
		.cgroup_fd = cgroup_fd,
		.reset_oom_score = oom_protected(),
	};
	struct spawn_result res;
	int r;

	req.n_rlimits = fill_rlimits(l->start, rlimits);
	r = spawn(&req, &res);
	if (r < 0) {
		fail(l, res.stage, -r);
		return r;
	}
	rec->pid = res.pid;
	rec->pidfd = res.pidfd;
	return 0;
}

/* Its descriptor, or -errno: it runs without one, unless it is to be limited. */
static int open_leaf(struct launch *l, struct record *rec, struct cgroup *cg)
{
	bool limited = msg_resources_any(&l->start->limits);
	struct error ignored;
	int r, leaf = limited ? cgroup_leaf_open_own(cg, rec->cgroup)
			      : cgroup_leaf_open(cg, rec->cgroup);

	if (leaf < 0)
		rec->cgroup[0] = '\0';
	r = leaf;
	if (limited && leaf >= 0)
		r = cgroup_limits_set(leaf, &l->start->limits, &ignored);
	if (limited && r < 0)
		fail(l, SPAWN_CGROUP, -r);
	return leaf;
}

/* Two more descriptors a session are well spent as long as they are plenty. */
static bool may_hold(int fd)
{
	static rlim_t limit;
	struct rlimit l;

	if (limit == 0)
		limit = getrlimit(RLIMIT_NOFILE, &l) < 0 ? 1024 : l.rlim_cur;
	return (rlim_t)fd < limit / 2;
}

int launch_run(struct launch *l, struct record *rec, struct cgroup *cg, int ret_held[2])
{
	int child[3] = {-1, -1, -1};
	int leaf = -EOPNOTSUPP, r;

	ret_held[0] = ret_held[1] = -1;
	if (l->stage != SPAWN_OK)
		return -l->err;
	r = rec->pty ? make_terminal(l, rec, child) : make_pipes(l, rec, child);
	if (r < 0) {
		fail(l, SPAWN_PIPE, -r);
	} else {
		leaf = open_leaf(l, rec, cg);
		rec->process_group = process_group_will_do(l, leaf >= 0);
		r = l->stage == SPAWN_OK ? run(l, rec, leaf < 0 ? -1 : leaf, child) : -l->err;
		/* Somebody removed it: no reason not to run, if there is no limit to keep. */
		if (r < 0 && l->stage == SPAWN_CGROUP && !msg_resources_any(&l->start->limits)) {
			l->stage = SPAWN_OK;
			cgroup_leaf_close(cg, rec->cgroup);
			rec->cgroup[0] = '\0';
			rec->process_group = process_group_will_do(l, false);
			r = run(l, rec, -1, child);
		}
	}
	for (int i = l->start->with_stdin ? 0 : 1; i < 3 && !rec->pty; i++) {
		if (r == 0 && i > 0 && may_hold(child[i]))
			ret_held[i - 1] = take_fd(&child[i]);
		close_fd(&child[i]);
	}
	if (r < 0) {
		for (int i = 0; i < 3; i++)
			close_fd(&rec->fd[i]);
		if (rec->cgroup[0])
			cgroup_leaf_close(cg, rec->cgroup);
		rec->cgroup[0] = '\0';
		return r;
	}
	/* Only where there is no cgroup the tree is found through /proc, and then by this. */
	if (!rec->cgroup[0])
		proctree_start_time(rec->pid, &rec->start_ticks);
	return 0;
}

void launch_fini(struct launch *l)
{
	free(take_ptr(&l->envp));
	free(take_ptr(&l->login_argv));
}
