#include "agentd/claude_cli.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "proto/msg_claude.h"
#include "proto/signame.h"
#include "proto/text.h"

static void set_state(struct claude_cli *cli, enum claude_cli_state state)
{
	cli->state = state;
}

void claude_cli_init(struct claude_cli *cli)
{
	*cli = (struct claude_cli){.pidfd = -1, .in = -1, .out = -1, .err = -1};
	cli->to = BUF_NULL(2 * MSG_CLAUDE_LINE_MAX);
	lines_init(&cli->from, MSG_CLAUDE_LINE_MAX);
}

/* ---- the start ---- */

/* Our ends do not block, and are nobody else's. */
static int make_pipes(struct claude_cli *cli, int child[3])
{
	int *ours[] = {&cli->in, &cli->out, &cli->err};

	for (int i = 0; i < 3; i++) {
		int p[2];

		if (pipe2(p, O_CLOEXEC) < 0)
			return -errno;
		*ours[i] = i == 0 ? p[1] : p[0];
		child[i] = i == 0 ? p[0] : p[1];
		if (fcntl(*ours[i], F_SETFL, O_NONBLOCK) < 0)
			return -errno;
	}
	return 0;
}

static int run(pid_t *pid, char *const argv[], const char *cwd, const int child[3])
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, ours;
	int r;

	sigemptyset(&none);
	sigemptyset(&ours);
	sigaddset(&ours, SIGPIPE); /* ignored here, which exec would keep */
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &ours);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawn_file_actions_init(&files);
	r = cwd ? posix_spawn_file_actions_addchdir_np(&files, cwd) : 0;
	for (int i = 0; r == 0 && i < 3; i++)
		r = posix_spawn_file_actions_adddup2(&files, child[i], i);
	if (r == 0)
		r = posix_spawnp(pid, argv[0], &files, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	return -r;
}

static void close_all(struct claude_cli *cli)
{
	close_fd(&cli->in);
	close_fd(&cli->out);
	close_fd(&cli->err);
	close_fd(&cli->pidfd);
	buf_fini(&cli->to);
	lines_fini(&cli->from);
	cli->pid = 0;
}

int claude_cli_start(struct claude_cli *cli, char *const argv[], const char *cwd)
{
	int child[3] = {-1, -1, -1}, r;

	ASSERT(cli->state == CLI_NONE);
	cli->tail_len = 0;
	r = make_pipes(cli, child);
	if (r == 0)
		r = run(&cli->pid, argv, cwd, child);
	for (int i = 0; i < 3; i++)
		close_fd(&child[i]);
	if (r == 0) {
		cli->pidfd = (int)syscall(SYS_pidfd_open, cli->pid, 0);
		if (cli->pidfd < 0) {
			r = -errno;
			kill(cli->pid, SIGKILL);
			waitpid(cli->pid, NULL, 0);
		}
	}
	if (r < 0)
		close_all(cli);
	else
		set_state(cli, CLI_UP);
	return r;
}

/* ---- the end ---- */

void claude_cli_close(struct claude_cli *cli)
{
	if (cli->state != CLI_UP)
		return;
	set_state(cli, CLI_CLOSING);
	cli->deadline = now_ms() + CLAUDE_CLOSE_MS;
	if (buf_len(&cli->to) == 0)
		close_fd(&cli->in);
}

void claude_cli_term(struct claude_cli *cli)
{
	if (cli->state != CLI_UP && cli->state != CLI_CLOSING)
		return;
	set_state(cli, CLI_TERMED);
	cli->deadline = now_ms() + CLAUDE_TERM_MS;
	close_fd(&cli->in);
	kill(cli->pid, SIGTERM);
	kill(cli->pid, SIGCONT); /* one that is stopped would not see it */
}

void claude_cli_tick(struct claude_cli *cli, uint64_t now)
{
	if (now < claude_cli_deadline(cli))
		return;
	if (cli->state == CLI_CLOSING) {
		claude_cli_term(cli);
	} else {
		set_state(cli, CLI_KILLED);
		kill(cli->pid, SIGKILL);
	}
}

uint64_t claude_cli_deadline(const struct claude_cli *cli)
{
	return cli->state == CLI_CLOSING || cli->state == CLI_TERMED ? cli->deadline : UINT64_MAX;
}

void claude_cli_reap(struct claude_cli *cli)
{
	if (cli->state == CLI_NONE || cli->state == CLI_EXITED ||
		waitpid(cli->pid, &cli->status, WNOHANG) != cli->pid)
		return;
	close_fd(&cli->pidfd);
	close_fd(&cli->in);
	set_state(cli, CLI_EXITED);
}

void claude_cli_forget(struct claude_cli *cli)
{
	ASSERT(cli->state == CLI_EXITED);
	close_all(cli);
	set_state(cli, CLI_NONE);
}

void claude_cli_kill(struct claude_cli *cli)
{
	if (cli->state != CLI_NONE && cli->state != CLI_EXITED) {
		kill(cli->pid, SIGKILL);
		waitpid(cli->pid, &cli->status, 0);
	}
	close_all(cli);
	set_state(cli, CLI_NONE);
}

/* ---- its streams ---- */

void claude_cli_feed(struct claude_cli *cli)
{
	ssize_t n;

	if (cli->in < 0)
		return;
	n = write(cli->in, buf_head(&cli->to), buf_len(&cli->to));
	if (n > 0) {
		buf_consume(&cli->to, (size_t)n);
	} else if (n < 0 && errno != EAGAIN && errno != EINTR) {
		/* It reads no more, so it is of no use; how it ends will say more. */
		buf_consume(&cli->to, buf_len(&cli->to));
		claude_cli_close(cli);
	}
	buf_trim(&cli->to, 64 * KIB);
	if (cli->state == CLI_CLOSING && buf_len(&cli->to) == 0)
		close_fd(&cli->in);
}

bool claude_cli_read(struct claude_cli *cli)
{
	size_t size;
	uint8_t *space = cli->out >= 0 ? lines_space(&cli->from, &size) : NULL;
	ssize_t n = space ? read(cli->out, space, size) : 0;

	if (n > 0) {
		lines_commit(&cli->from, (size_t)n);
		return true;
	}
	if (cli->out >= 0 && (n == 0 || (errno != EAGAIN && errno != EINTR)))
		close_fd(&cli->out);
	if (cli->out < 0 || cli->state == CLI_EXITED)
		lines_end(&cli->from);
	return false;
}

static void remember(struct claude_cli *cli, const char *data, size_t n)
{
	size_t keep;

	if (n >= sizeof(cli->tail)) {
		data += n - sizeof(cli->tail);
		n = sizeof(cli->tail);
	}
	keep = min_of(cli->tail_len, sizeof(cli->tail) - n);
	memmove(cli->tail, cli->tail + cli->tail_len - keep, keep);
	memcpy(cli->tail + keep, data, n);
	cli->tail_len = keep + n;
}

void claude_cli_read_err(struct claude_cli *cli, struct buf *log)
{
	char data[4096];
	ssize_t n = cli->err >= 0 ? read(cli->err, data, sizeof(data)) : -1;

	if (n > 0) {
		remember(cli, data, (size_t)n);
		buf_append(log, data, (size_t)n);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		close_fd(&cli->err);
	}
}

/* ---- words ---- */

/* Without what would not fit into one line of JSON for people. */
static size_t clean_tail(const struct claude_cli *cli, char *out)
{
	const char *p = cli->tail;
	size_t n = cli->tail_len, len = 0;
	bool utf8;

	while (n > 0 && (*p & 0xc0) == 0x80) { /* the rest of a character that was cut off */
		p++;
		n--;
	}
	n = utf8_cut(p, n);
	utf8 = utf8_valid(p, n);
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)p[i];

		if (c < 0x20 && (len == 0 || out[len - 1] == ' '))
			continue;
		out[len++] = (char)(c < 0x20 || c == 0x7f ? ' ' : c >= 0x80 && !utf8 ? '?' : c);
	}
	while (len > 0 && out[len - 1] == ' ')
		len--;
	return len;
}

void claude_cli_why(const struct claude_cli *cli, char out[CLAUDE_WHY_MAX])
{
	char words[CLAUDE_TAIL];
	size_t len = clean_tail(cli, words);
	int n;

	if (WIFSIGNALED(cli->status))
		n = snprintf(
			out, CLAUDE_WHY_MAX, "killed by SIG%s", signame_str(WTERMSIG(cli->status)));
	else
		n = snprintf(out, CLAUDE_WHY_MAX, "exit code %d", WEXITSTATUS(cli->status));
	if (len > 0)
		snprintf(out + n, CLAUDE_WHY_MAX - (size_t)n, "; it said: %.*s", (int)len, words);
}
