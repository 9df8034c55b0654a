/*
 * A client that gives `cmd` alone means what it would type. What has blanks or shell syntax in it
 * is therefore a shell's, unless it is the path of a program; only the guest knows that, so for a
 * text that looks like a path the shell is asked to look first. That is one start in any case.
 */
#include "bridge/api/exec_start.h"

#include <stdio.h>

#include "bridge/api/fields.h"
#include "bridge/api/route.h"
#include "proto/text.h"

#define WORDS_MAX 20000
#define ENVS_MAX  10000

#define LOOK_FIRST "[ -f \"$0\" ] && [ -x \"$0\" ] && exec \"$0\"; exec /bin/sh -c \"$0\""

bool exec_start_is_shell(const char *cmd)
{
	return strpbrk(cmd, " \t\r\n|&;<>()$`\\\"'*?[]{}~#!=") != NULL;
}

static bool looks_like_path(const char *cmd)
{
	return cmd[0] == '/' || strncmp(cmd, "./", 2) == 0 || strncmp(cmd, "../", 3) == 0;
}

/* The words that are started; they point into cmd and args. */
static bool set_words(struct call *c, struct exec_start *x)
{
	bool shell = x->n_args == 0 && exec_start_is_shell(x->cmd);
	char **w = calloc(x->n_args + 5, sizeof(*w));
	size_t n = 0;

	if (!w) {
		call_error(c, 500, "out of memory");
		return false;
	}
	x->words = w;
	if (shell) {
		w[n++] = (char *)"/bin/sh";
		w[n++] = (char *)"-c";
		if (looks_like_path(x->cmd))
			w[n++] = (char *)LOOK_FIRST;
	}
	w[n++] = x->cmd;
	for (size_t i = 0; i < x->n_args; i++)
		w[n++] = x->args[i];
	x->start.argv = w;
	x->start.argc = n;
	return true;
}

static bool read_command(struct call *c, struct exec_start *x, bool required)
{
	if (!field_str(c, "cmd", BODY_JSON_MAX, &x->cmd) ||
		!field_strs(c, "args", WORDS_MAX, &x->args, &x->n_args))
		return false;
	if (x->cmd && x->cmd[0])
		return set_words(c, x);
	if (required)
		call_error(c, 400, "cmd is required");
	return !required;
}

static bool read_envs(struct call *c, struct exec_start *x)
{
	size_t n = 0;

	if (!field_map(c, "envs", ENVS_MAX, &x->envs, &n))
		return false;
	x->env = calloc(n + 1, sizeof(*x->env));
	if (!x->env) {
		call_error(c, 500, "out of memory");
		return false;
	}
	for (size_t i = 0; i < n; i++) {
		const char *name = x->envs[2 * i];

		if (!name[0] || strchr(name, '=')) {
			call_error(
				c, 400, "envs: a variable's name must not be empty or have a '='");
			return false;
		}
		x->env[i] = (struct msg_env){.name = name, .value = x->envs[2 * i + 1]};
	}
	x->start.env = x->env;
	x->start.n_env = n;
	return true;
}

static bool read_times(struct call *c, struct exec_start *x)
{
	int64_t after = 0;

	if (!field_int(c, "timeout", INT64_MIN, EXEC_TIMEOUT_MAX_S, &x->timeout_s) ||
		!field_int(c, "maxRunAfterDisconnect", 0, EXEC_TIMEOUT_MAX_S, &after))
		return false;
	x->timeout_s = max_of(x->timeout_s, 0);
	x->start.timeout_ms = (uint64_t)x->timeout_s * 1000;
	x->start.disconnect_ms = (uint64_t)after * 1000;
	return true;
}

static bool read_parts(struct call *c, struct exec_start *x, unsigned parts)
{
	if ((parts & (EXEC_START_CMD | EXEC_START_MAY_CMD)) &&
		!read_command(c, x, parts & EXEC_START_CMD))
		return false;
	if (!field_str(c, "cwd", 4095, &x->cwd) || !field_str(c, "user", 255, &x->user) ||
		!read_envs(c, x))
		return false;
	if ((parts & EXEC_START_TIMES) && !read_times(c, x))
		return false;
	if (x->cwd && x->cwd[0])
		x->start.cwd = x->cwd;
	if (x->user && x->user[0])
		x->start.user = x->user;
	return true;
}

bool exec_start_read(struct call *c, struct exec_start *x, unsigned parts)
{
	*x = (struct exec_start){.start = {.kill_grace_ms = 2000, .linger_ms = 50}};
	if (read_parts(c, x, parts))
		return true;
	exec_start_fini(x);
	return false;
}

void exec_start_fini(struct exec_start *x)
{
	free(x->cmd);
	free(x->args);
	free(x->cwd);
	free(x->user);
	free(x->shell);
	free(x->words);
	free(x->envs);
	free(x->env);
	*x = (struct exec_start){0};
}

void exec_start_why(
	const struct msg_end *end, const char *cmd, const char *cwd, char *out, size_t size)
{
	const char *what = strerror(end->err);

	cmd = cmd ? cmd : "the command";
	if (strcmp(end->stage, "cwd") == 0)
		snprintf(
			out, size, "cannot change to directory %s: %s", cwd ? cwd : "(home)", what);
	else if (strcmp(end->stage, "user") == 0)
		snprintf(out, size, "cannot run as this user: %s", what);
	else if (strcmp(end->stage, "exec") == 0 && end->err == ENOENT)
		snprintf(out, size, "no such program: %s", cmd);
	else if (strcmp(end->stage, "exec") == 0)
		snprintf(out, size, "cannot run %s: %s", cmd, what);
	else
		snprintf(out, size, "cannot start %s: %s (%s)", cmd, what, end->stage);
	out[utf8_cut(out, strlen(out))] = '\0'; /* it may have been cut */
}
