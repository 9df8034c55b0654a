/*
 * agentctl - talk to an agentd directly. This file has the program: options, the link, how it ends;
 * each command is in its ctl_*.c.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/log.h"
#include "bridge/ctl.h"
#include "bridge/ctl_term.h"

#define DEFAULT_TARGET "unix:/run/agentd.sock"
#define SAY_LOSS_MS    1000 /* a link that is back by then was not worth a word */
#define TOKEN_MAX      1024

const struct ctl_command *const ctl_commands[] = {&ctl_run, &ctl_pty, &ctl_start, &ctl_attach,
	&ctl_list, &ctl_kill, &ctl_remove, &ctl_ping, &ctl_info, &ctl_power, &ctl_upgrade, &ctl_env,
	&ctl_agent, &ctl_stats, &ctl_log, &ctl_prepare, &ctl_resume, &ctl_ls, &ctl_cat, &ctl_cp,
	&ctl_mv, &ctl_rm, &ctl_mkdir, &ctl_stat, &ctl_du, &ctl_glob, &ctl_grep, &ctl_watch_files,
	&ctl_ports, &ctl_forward, NULL};

/* ---- words ---- */

void ctl_say(const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(stderr, "agentctl: %s%s\n", text, ctl_term_is_raw() ? "\r" : "");
}

void ctl_say_error(const char *what, const struct error *e)
{
	const char *text = e->message;

	if (!*text)
		text = e->code < E_LAST ? error_code_str(e->code) : "the agent gave no reason";
	/* Elsewhere the code has said it, and the errno is only how. */
	if (e->code == E_FAILED && e->err && !strstr(text, strerror(e->err)))
		ctl_say("%s: %s (%s)", what, text, strerror(e->err));
	else
		ctl_say("%s: %s", what, text);
}

int ctl_flush_stdout(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return 0;
	if (errno == EPIPE)
		return CTL_BROKEN;
	ctl_say("cannot write to stdout: %s", strerror(errno));
	return CTL_FAILED;
}

/* ---- the link ---- */

bool ctl_link_broke(const struct error *e)
{
	return e->code == E_FAILED && e->err == ECONNRESET;
}

void ctl_request(struct ctl *c, const struct msg_request *m, guest_response_fn fn)
{
	int64_t r = guest_request(&c->guest, m, fn, c);

	if (r == -EMSGSIZE)
		ctl_say("%s: the request is over 64 KiB, the most the agent takes",
			c->command->name);
	else if (r < 0)
		ctl_say("%s: %s", c->command->name, strerror((int)-r));
	if (r < 0)
		ctl_finish(c, CTL_FAILED);
}

static void on_patience_over(uv_timer_t *t)
{
	struct ctl *c = t->data;

	if (!c->quiet_loss)
		ctl_say("link lost, reconnecting");
	c->said_loss = !c->quiet_loss;
}

static void on_up(struct guest_user *u, bool same)
{
	struct ctl *c = container_of(u, struct ctl, user);

	uv_timer_stop(&c->patience);
	if (c->said_loss)
		ctl_say("link is back");
	c->said_loss = false;
	if (c->command->up)
		c->command->up(c, same);
}

static void on_down(struct guest_user *u)
{
	struct ctl *c = container_of(u, struct ctl, user);

	uv_timer_start(&c->patience, on_patience_over, SAY_LOSS_MS, 0);
}

static void on_lost(struct guest_user *u)
{
	struct ctl *c = container_of(u, struct ctl, user);
	const char *why = guest_why(&c->guest);

	if (c->guest.was_up && c->command->minds_loss)
		return;
	if (c->guest.was_up)
		ctl_say("the link to %s is lost: %s", c->options.connect, why);
	else
		ctl_say("cannot connect to %s: %s%s", c->options.connect, why,
			c->guest.error == -ENOENT ? " (--connect)" : "");
	ctl_finish(c, CTL_FAILED);
}

static const struct guest_user_ops user_ops = {
	.on_up = on_up, .on_down = on_down, .on_lost = on_lost};

void ctl_finish(struct ctl *c, int exit_code)
{
	if (c->finished)
		return;
	c->finished = true;
	c->exit_code = exit_code;
	guest_remove_user(&c->user);
	if (c->command->end)
		c->command->end(c);
	uv_close((uv_handle_t *)&c->patience, NULL);
	guest_close(&c->guest, NULL, NULL);
}

/* ---- the program ---- */

/* The first line, as agentd reads its own file. */
static int read_token(struct ctl *c)
{
	const char *path = c->options.token_file;
	char text[TOKEN_MAX + 2];
	FILE *f;
	size_t n;

	if (!path)
		return 0;
	f = fopen(path, "re");
	if (!f) {
		ctl_say("cannot read the token file %s: %s", path, strerror(errno));
		return -errno;
	}
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	text[strcspn(text, "\r\n")] = '\0';
	if (text[0] == '\0' || strlen(text) > TOKEN_MAX) {
		ctl_say("the first line of the token file %s must have 1 to %d bytes", path,
			TOKEN_MAX);
		return -EINVAL;
	}
	c->token = strdup(text);
	ASSERT(c->token);
	return 0;
}

static int make_link(struct ctl *c)
{
	struct guest_config config = {.name = "agentctl", .retry_ms = c->options.retry_ms};
	const char *why;

	if (target_parse(c->options.connect, &config.target, &why) < 0) {
		ctl_say("cannot connect to '%s': %s. (--connect)", c->options.connect, why);
		return -EINVAL;
	}
	if (read_token(c) < 0)
		return -EINVAL;
	config.token = c->token;
	guest_init(&c->guest, &c->loop, &config);
	guest_add_user(&c->guest, &c->user, &user_ops);
	return 0;
}

static int run_command(struct ctl *c)
{
	int r;

	ASSERT(uv_loop_init(&c->loop) == 0);
	if (make_link(c) < 0) {
		uv_loop_close(&c->loop);
		free(c->token);
		return CTL_FAILED;
	}
	uv_timer_init(&c->loop, &c->patience);
	c->patience.data = c;
	r = c->command->begin(c);
	if (r)
		ctl_finish(c, r);
	else
		guest_start(&c->guest);
	uv_run(&c->loop, UV_RUN_DEFAULT);
	ASSERT(uv_loop_close(&c->loop) == 0);
	free(c->state);
	free(c->token);
	return c->exit_code;
}

/* A descriptor that came closed must not become one of our sockets. */
static void open_standard_fds(void)
{
	for (int fd = 0; fd <= 2; fd++) {
		if (fcntl(fd, F_GETFD) < 0)
			(void)!open("/dev/null", O_RDWR);
	}
}

static const struct ctl_command *find_command(const char *name)
{
	for (int i = 0; ctl_commands[i]; i++) {
		if (strcmp(ctl_commands[i]->name, name) == 0)
			return ctl_commands[i];
	}
	return NULL;
}

static int parse_and_run(struct ctl *c, int argc, char **argv)
{
	struct ctl_options *o = &c->options;

	if (ctl_parse_global(o, argc, argv) < 0)
		return CTL_FAILED;
	if (o->n_args > 0 && !o->help && !o->version) {
		c->command = find_command(o->args[0]);
		if (!c->command) {
			ctl_say("there is no command '%s'. Try: agentctl --help", o->args[0]);
			return CTL_FAILED;
		}
		if (ctl_parse_command(o, c->command, o->n_args, o->args) < 0)
			return CTL_FAILED;
	}
	if (o->version) {
		printf("agentctl %s\n", AGENTD_VERSION);
		return ctl_flush_stdout();
	}
	if (o->help) {
		ctl_help(c->command);
		return ctl_flush_stdout();
	}
	if (!c->command) {
		ctl_say("what is to be done? Try: agentctl --help");
		return CTL_FAILED;
	}
	if (o->verbose)
		log_set_level(LOG_DEBUG);
	return run_command(c);
}

int main(int argc, char **argv)
{
	static struct ctl c;
	int r;

	open_standard_fds();
	signal(SIGPIPE, SIG_IGN);
	c.options.connect = getenv("AGENTCTL_CONNECT");
	if (!c.options.connect || !*c.options.connect)
		c.options.connect = DEFAULT_TARGET;
	c.options.retry_ms = 30000;
	c.options.count = 100;
	c.options.to = TARGET_GROUP;
	c.options.escape = '~';
	r = parse_and_run(&c, argc, argv);
	for (size_t i = 0; i < c.options.n_env; i++)
		free((char *)c.options.env[i].name);
	free(c.options.env);
	return r;
}
