/*
 * One poll loop over at most seven descriptors. Each pass: what is readable is read and given to
 * the talk, what waits is written, the program's end is seen. Without a turn and without anything
 * to write there is no timeout, so an idle session costs nothing.
 *
 * Backpressure is by not reading: the program's lines while our stdout has more than OUT_HIGH
 * waiting, its stderr and the client's lines likewise. The client's lines are read on meanwhile, so
 * an interrupt gets through to a program whose reader has stopped.
 *
 * Our stdout and stderr may be shared with others, so they are not made non-blocking: when poll(2)
 * says that a pipe has room, PIPE_BUF bytes go without waiting.
 */
#include "agentd/claude.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>

#include "agentd/claude_talk.h"

#define OUT_HIGH (256 * KIB)
#define IN_HIGH  (MSG_CLAUDE_LINE_MAX + MIB) /* so that there is room for answers behind a line */
#define LOG_HIGH (64 * KIB)
#define FLUSH_MS 500 /* for the last lines, once somebody wants us to end */

struct claude {
	struct claude_program program;
	struct claude_talk talk;
	struct lines in;
	struct buf out, log;
	bool in_closed, out_broken;
	int ending; /* the signal that ends us; -1: stdout is broken; 0: nothing does */
	uint64_t ending_until;
};

static volatile sig_atomic_t told_to_end;

static void on_signal(int sig)
{
	told_to_end = sig;
}

bool claude_is_asked_for(int argc, char **argv)
{
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;

	if (argc == 0)
		return false;
	return strcmp(slash ? slash + 1 : argv[0], CLAUDE_WRAPPER_NAME) == 0 ||
	       (argc == 2 && strcmp(argv[1], CLAUDE_VERB) == 0);
}

/* ---- our own streams ---- */

/* 0, or -errno: nobody reads it. */
static int write_some(int fd, struct buf *b)
{
	ssize_t n = write(fd, buf_head(b), min_of(buf_len(b), (size_t)PIPE_BUF));

	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : -errno;
	buf_consume(b, (size_t)n);
	buf_trim(b, 64 * KIB);
	return 0;
}

static void take_lines(struct claude *c)
{
	struct jsonr line;
	int r;

	while ((r = lines_next(&c->in, &line)) != 0) {
		if (r < 0)
			claude_talk_line_too_long(&c->talk);
		else
			claude_talk_line(&c->talk, line);
	}
}

static void read_stdin(struct claude *c)
{
	size_t size;
	uint8_t *space = lines_space(&c->in, &size);
	ssize_t n = space ? read(STDIN_FILENO, space, size) : 0;

	if (n > 0)
		lines_commit(&c->in, (size_t)n);
	else if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	else
		c->in_closed = true;
	if (c->in_closed)
		lines_end(&c->in);
	take_lines(c);
	if (c->in_closed)
		claude_talk_end(&c->talk);
}

static void end(struct claude *c, int sig)
{
	if (c->ending)
		return;
	c->ending = sig;
	c->ending_until = now_ms() + CLAUDE_TERM_MS + FLUSH_MS;
	claude_talk_stop(&c->talk);
}

static void write_stdout(struct claude *c, short events)
{
	if (!(events & (POLLERR | POLLHUP | POLLNVAL)) && write_some(STDOUT_FILENO, &c->out) == 0)
		return;
	c->out_broken = true;
	buf_consume(&c->out, buf_len(&c->out));
	end(c, -1);
}

/* ---- the program ---- */

static void take_cli_lines(struct claude *c)
{
	struct jsonr line;
	int r;

	while ((r = lines_next(&c->talk.cli.from, &line)) != 0) {
		if (r < 0)
			claude_talk_heard_too_long(&c->talk);
		else
			claude_talk_heard(&c->talk, line);
	}
}

/* Whether there was something, or there may be more. */
static bool read_cli(struct claude *c)
{
	bool more = claude_cli_read(&c->talk.cli);

	take_cli_lines(c);
	return more;
}

/* After its end what it has said is read to the last line, as fast as our own reader lets us. */
static void finish_cli(struct claude *c)
{
	struct claude_cli *cli = &c->talk.cli;
	int i;

	for (i = 0; i < 64 && cli->err >= 0; i++) /* children of it may go on for ever */
		claude_cli_read_err(cli, &c->log);
	while (cli->state == CLI_EXITED && buf_len(&c->out) < OUT_HIGH) {
		if (!read_cli(c)) {
			claude_talk_gone(&c->talk);
			return;
		}
	}
}

/* ---- the loop ---- */

enum { P_IN, P_OUT, P_LOG, P_CLI_IN, P_CLI_OUT, P_CLI_ERR, P_CLI_END, P_N };

static void want(struct pollfd *p, int fd, bool wanted, short events)
{
	*p = (struct pollfd){.fd = wanted ? fd : -1, .events = events};
}

static void fill(struct claude *c, struct pollfd p[P_N])
{
	const struct claude_cli *cli = &c->talk.cli;
	size_t out = buf_len(&c->out), log = buf_len(&c->log);
	bool runs = cli->state != CLI_NONE && cli->state != CLI_EXITED;

	want(&p[P_IN], STDIN_FILENO, !c->in_closed && !c->ending && out < IN_HIGH, POLLIN);
	/* Without events: that it is broken is always told. */
	want(&p[P_OUT], STDOUT_FILENO, !c->out_broken, out > 0 ? POLLOUT : 0);
	want(&p[P_LOG], STDERR_FILENO, log > 0, POLLOUT);
	want(&p[P_CLI_IN], cli->in, buf_len(&cli->to) > 0, POLLOUT);
	want(&p[P_CLI_OUT], cli->out, runs && out < OUT_HIGH && log < MIB, POLLIN);
	want(&p[P_CLI_ERR], cli->err, runs && log < LOG_HIGH, POLLIN);
	want(&p[P_CLI_END], cli->pidfd, runs, POLLIN);
}

static void act(struct claude *c, const struct pollfd p[P_N])
{
	struct claude_cli *cli = &c->talk.cli;

	if (p[P_IN].revents)
		read_stdin(c);
	if (p[P_CLI_ERR].revents)
		claude_cli_read_err(cli, &c->log);
	if (p[P_CLI_OUT].revents)
		read_cli(c);
	if (p[P_CLI_END].revents)
		claude_cli_reap(cli);
	if (p[P_CLI_IN].revents)
		claude_cli_feed(cli);
	if (p[P_OUT].revents)
		write_stdout(c, p[P_OUT].revents);
	if (p[P_LOG].revents && write_some(STDERR_FILENO, &c->log) < 0)
		buf_consume(&c->log, buf_len(&c->log));
}

static int timeout_of(const struct claude *c, uint64_t now)
{
	uint64_t at = claude_talk_deadline(&c->talk);

	if (c->ending)
		at = min_of(at, c->ending_until);
	if (at == UINT64_MAX)
		return -1;
	return at <= now ? 0 : (int)min_of(at - now, (uint64_t)INT_MAX);
}

static void step(struct claude *c, const sigset_t *unblocked)
{
	struct pollfd p[P_N];
	struct timespec ts;
	int ms = timeout_of(c, now_ms());

	fill(c, p);
	ts = (struct timespec){ms / 1000, ms % 1000 * 1000000L};
	if (ppoll(p, P_N, ms < 0 ? NULL : &ts, unblocked) > 0)
		act(c, p);
	if (told_to_end)
		end(c, told_to_end);
	claude_talk_tick(&c->talk, now_ms());
	if (c->talk.cli.state == CLI_EXITED)
		finish_cli(c);
	if (c->talk.error && !c->ending) {
		fprintf(stderr, "agentd claude: %s\n", strerror(-c->talk.error));
		end(c, -1);
	}
}

static bool is_over(const struct claude *c)
{
	bool written = buf_len(&c->out) == 0 && buf_len(&c->log) == 0;
	bool gone = c->talk.cli.state == CLI_NONE;

	if (c->ending)
		return (gone && written) || now_ms() >= c->ending_until;
	return claude_talk_done(&c->talk) && written;
}

/* ---- the beginning and the end ---- */

static void block_signals(sigset_t *ret_before)
{
	static const int ends[] = {SIGTERM, SIGINT, SIGHUP};
	struct sigaction sa = {.sa_handler = on_signal};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < array_size(ends); i++) {
		sigaction(ends[i], &sa, NULL);
		sigaddset(&set, ends[i]);
	}
	signal(SIGPIPE, SIG_IGN);
	sigprocmask(SIG_BLOCK, &set, ret_before);
	for (size_t i = 0; i < array_size(ends); i++)
		sigdelset(ret_before, ends[i]);
}

/* Says what is missing; true: nothing is. */
static bool check(struct claude *c)
{
	char why[600];
	int r = claude_program_init(&c->program);

	if (r == 0)
		r = claude_program_check(&c->program);
	if (r < 0) {
		snprintf(why, sizeof(why),
			"cannot run %.200s: %s. Is it installed, and in PATH? AGENTD_CLAUDE can name "
			"another program.",
			c->program.words[0], strerror(-r));
		c->talk.error = msg_put_claude_error(&c->out, "no_program", why);
		return false;
	}
	if (!claude_program_has_key(&c->program)) {
		c->talk.error =
			msg_put_claude_error(&c->out, "no_key", "ANTHROPIC_API_KEY is not set");
		return false;
	}
	return true;
}

/* As what was sent to us would have ended anybody else. */
static void die_of(int sig)
{
	sigset_t set;

	signal(sig, SIG_DFL);
	raise(sig);
	sigemptyset(&set);
	sigaddset(&set, sig);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

int claude_main(void)
{
	static struct claude c;
	sigset_t unblocked;
	bool fine;

	prctl(PR_SET_NAME, "agentd-claude");
	setenv("IS_SANDBOX", "1", 0);
	block_signals(&unblocked);
	c.out = BUF_NULL(3 * MSG_CLAUDE_LINE_MAX);
	c.log = BUF_NULL(2 * MSG_CLAUDE_LINE_MAX);
	lines_init(&c.in, MSG_CLAUDE_LINE_MAX);
	claude_talk_init(&c.talk, &c.program, &c.out, &c.log);
	fine = check(&c);
	if (fine) {
		c.talk.error = msg_put_claude_event(&c.out, "ready");
	} else {
		c.in_closed = true;
		claude_talk_end(&c.talk);
	}
	while (!is_over(&c))
		step(&c, &unblocked);
	claude_cli_kill(&c.talk.cli);
	claude_talk_fini(&c.talk);
	claude_program_fini(&c.program);
	lines_fini(&c.in);
	buf_fini(&c.out);
	buf_fini(&c.log);
	if (c.ending > 0)
		die_of(c.ending);
	return fine && !c.ending ? 0 : 1;
}
