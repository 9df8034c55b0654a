#include "agentd/launch.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "agentd/proctree.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

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

/* An environment under construction. Only the base variables can be replaced or removed: names in a
 * JSON object are unique, and a search through them all would cost the square of what a client
 * sends. */
struct env {
	char **vars;
	size_t n, n_base;
	char *text;
};

static void env_put(struct env *e, const char *name, const char *value)
{
	size_t len = strlen(name), i = 0;

	while (i < e->n_base && !(strncmp(e->vars[i], name, len) == 0 && e->vars[i][len] == '='))
		i++;
	if (!value && i < e->n_base) {
		e->vars[i] = e->vars[--e->n_base];
		e->vars[e->n_base] = e->vars[--e->n];
	}
	if (!value)
		return;
	if (i == e->n_base)
		i = e->n++;
	e->vars[i] = e->text;
	e->text += sprintf(e->text, "%s=%s", name, value) + 1;
}

static void prepare_env(struct launch *l, const struct config *config)
{
	const struct msg_start *s = l->start;
	const struct msg_env base[] = {
		{"PATH", DEFAULT_PATH},
		{"HOME", l->user.home},
		{"USER", l->user.name},
		{"LOGNAME", l->user.name},
		{"SHELL", l->user.shell},
		{"LANG", "C.UTF-8"},
		{"AGENTD_CLAUDE", s->agent && config->claude ? config->claude : ""},
	};
	size_t n_base = s->clear_env ? 0 : array_size(base);
	size_t vars = (n_base + s->n_env + 1) * sizeof(char *), text = 0;
	struct env e = {0};

	for (size_t i = 0; i < n_base; i++)
		text += strlen(base[i].name) + strlen(base[i].value) + 2;
	for (size_t i = 0; i < s->n_env; i++)
		text += strlen(s->env[i].name) + (s->env[i].value ? strlen(s->env[i].value) : 0) +
			2;
	e.vars = calloc(1, vars + text + 1);
	if (!e.vars) {
		fail(l, SPAWN_LIMITS, ENOMEM);
		return;
	}
	e.text = (char *)e.vars + vars;
	for (size_t i = 0; i < n_base; i++) {
		if (base[i].value[0])
			env_put(&e, base[i].name, base[i].value);
	}
	e.n_base = e.n;
	for (size_t i = 0; i < s->n_env; i++)
		env_put(&e, s->env[i].name, s->env[i].value);
	e.vars[e.n] = NULL;
	l->envp = e.vars;
	for (size_t i = 0; i < e.n; i++) {
		if (strncmp(e.vars[i], "PATH=", 5) == 0)
			l->path = e.vars[i] + 5;
	}
}

void launch_prepare(struct launch *l, const struct msg_start *start, const struct config *config)
{
	l->start = start;
	l->set_user = false;
	l->envp = NULL;
	l->path = NULL;
	l->stage = SPAWN_OK;
	l->err = 0;
	l->user.home[0] = l->user.name[0] = l->user.shell[0] = '\0';
	prepare_user(l, config);
	prepare_cwd(l);
	prepare_env(l, config);
}

/* Opened once: most commands have it as their stdin. */
static int dev_null(void)
{
	static int fd = -1;

	if (fd < 0)
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
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
		.argv = l->start->argv,
		/* Ourselves, whatever has become of the file; the child still has this link. */
		.program = l->start->agent ? "/proc/self/exe" : NULL,
		.envp = l->envp,
		.path = l->path,
		.cwd = l->cwd,
		.fd = {child[0], child[1], child[2]},
		.new_session = !rec->process_group,
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

int launch_run(struct launch *l, struct record *rec, struct cgroup *cg)
{
	int child[3] = {-1, -1, -1};
	int leaf = -EOPNOTSUPP, r;

	if (l->stage != SPAWN_OK)
		return -l->err;
	r = make_pipes(l, rec, child);
	if (r < 0) {
		fail(l, SPAWN_PIPE, -r);
	} else {
		leaf = cgroup_leaf_open(cg, rec->cgroup);
		if (leaf < 0)
			rec->cgroup[0] = '\0';
		rec->process_group = process_group_will_do(l, leaf >= 0);
		r = run(l, rec, leaf < 0 ? -1 : leaf, child);
		if (r < 0 &&
			l->stage == SPAWN_CGROUP) { /* somebody removed it: no reason not to run */
			l->stage = SPAWN_OK;
			cgroup_leaf_close(cg, rec->cgroup);
			rec->cgroup[0] = '\0';
			rec->process_group = process_group_will_do(l, false);
			r = run(l, rec, -1, child);
		}
	}
	for (int i = l->start->with_stdin ? 0 : 1; i < 3; i++)
		close_fd(&child[i]);
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
}
