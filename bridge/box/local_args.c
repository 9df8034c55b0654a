/*
 * What bubblewrap is told. Later arguments mount over earlier ones.
 */
#include "bridge/box/local.h"

#include <stdio.h>

static void add(struct local_args *a, const char *arg)
{
	ASSERT(a->n < LOCAL_ARGS_MAX - 1);
	a->list[a->n++] = arg;
}

static void add3(struct local_args *a, const char *option, const char *from, const char *to)
{
	add(a, option);
	add(a, from);
	add(a, to);
}

static const char *text(struct local_args *a, const char *dir, const char *name)
{
	ASSERT(a->n_texts < array_size(a->texts));
	snprintf(a->texts[a->n_texts], sizeof(a->texts[0]), "%s/%s", dir, name);
	return a->texts[a->n_texts++];
}

static bool is_below(const char *path, const char *dir)
{
	size_t len = strlen(dir);

	return strncmp(path, dir, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

/* The state directory, where it would be seen through the root: those below what is replaced
 * anyway are not. */
static bool state_shows(const struct box_config *c)
{
	static const char *const replaced[] = {"/home", "/root", "/tmp", "/run", "/dev", "/proc"};

	for (size_t i = 0; i < array_size(replaced); i++) {
		if (is_below(c->state_dir, replaced[i]))
			return false;
	}
	return !c->root;
}

void local_args_fill(struct local_args *a, const struct local_host *h, const char *dir,
	const char *id, const char *cgroup)
{
	const struct box_config *c = h->config;

	*a = (struct local_args){0};
	add(a, "bwrap");
	add3(a, "--bind", text(a, dir, "root"), "/");
	add(a, "--unshare-pid");
	add(a, "--unshare-ipc");
	add(a, "--unshare-uts");
	if (!h->root) {
		add(a, "--unshare-user");
		add(a, "--uid");
		add(a, "1000");
		add(a, "--gid");
		add(a, "1000");
	}
	add(a, "--hostname");
	add(a, id);
	add(a, "--proc");
	add(a, "/proc");
	add(a, "--dev");
	add(a, "/dev");
	if (h->root) { /* by mistake even root should not change the machine */
		add3(a, "--ro-bind-try", "/proc/sys", "/proc/sys");
		add3(a, "--ro-bind-try", "/proc/sysrq-trigger", "/proc/sysrq-trigger");
	}
	add3(a, "--ro-bind-try", "/sys", "/sys");
	if (cgroup[0])
		add3(a, "--bind", cgroup, "/sys/fs/cgroup");
	add(a, "--tmpfs");
	add(a, "/run");
	add3(a, "--bind", text(a, dir, "tmp"), "/tmp");
	add3(a, "--bind", text(a, dir, "home"), "/home");
	add3(a, "--bind", text(a, dir, "roothome"), "/root");
	add3(a, "--bind", text(a, dir, "workspace"), "/workspace");
	if (state_shows(c)) {
		add(a, "--tmpfs");
		add(a, c->state_dir);
	}
	add3(a, "--ro-bind", c->agentd, LOCAL_RUN "/agentd");
	add3(a, "--bind", text(a, dir, "link"), LOCAL_RUN "/link");
	add(a, "--chdir");
	add(a, "/");
	add(a, "--info-fd");
	add(a, "3");
	add(a, "--");
	add(a, "/bin/sh");
	add(a, "-c");
	add(a, "echo up; read forever");
	a->list[a->n] = NULL;
}
