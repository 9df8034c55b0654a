/*
 * The child tells of a failure before exec in a pipe that exec closes, and we read it only when the
 * process has ended: so nobody waits for an exec. The end comes through a pidfd, which makes no
 * claim on SIGCHLD and cannot meet another process of the same number.
 *
 * Pipes are read without libuv's streams, since at the end they must be emptied at once.
 */
#include "bridge/box/program.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum stage { STAGE_SESSION, STAGE_OUTPUT, STAGE_CWD, STAGE_BEFORE, STAGE_EXEC };

static const char *const stages[] = {
	[STAGE_SESSION] = "session",
	[STAGE_OUTPUT] = "output",
	[STAGE_CWD] = "directory",
	[STAGE_BEFORE] = "preparation",
	[STAGE_EXEC] = "exec",
};

struct report {
	int stage, error;
};

struct capture {
	uv_poll_t poll;
	struct program *program;
	int fd; /* read end, or -1 */
	char *text;
	size_t len;
};

struct program {
	pid_t pid;
	int pidfd, report_fd;
	uv_poll_t end;
	uv_timer_t deadline;
	struct capture captures[2];
	unsigned open_handles;
	bool timed_out, ended;
	program_fn fn; /* NULL: forgotten */
	void *owner;
};

/* ---- the child ---- */

static int child_prepare(const struct program_spec *spec, const int fds[3], int *stage)
{
	struct rlimit files;
	sigset_t none;
	int r;

	/* The bridge has raised its own; programs that close "all" would be at it for long. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = min_of(files.rlim_max, (rlim_t)1024);
		setrlimit(RLIMIT_NOFILE, &files);
	}
	sigemptyset(&none);
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	*stage = STAGE_SESSION;
	if (sigprocmask(SIG_SETMASK, &none, NULL) < 0 || setsid() < 0)
		return -errno;
	*stage = STAGE_OUTPUT;
	for (int i = 0; i < 3; i++) {
		if (dup2(fds[i], i) < 0)
			return -errno;
	}
	if (syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
		return -errno;
	*stage = STAGE_CWD;
	if (spec->cwd && chdir(spec->cwd) < 0)
		return -errno;
	*stage = STAGE_BEFORE;
	r = spec->before_exec ? spec->before_exec(spec->ctx) : 0;
	if (r < 0)
		return r;
	*stage = STAGE_EXEC;
	return 0;
}

static _Noreturn void child(const struct program_spec *spec, const int fds[3], int report_fd)
{
	struct report report = {0};

	report.error = child_prepare(spec, fds, &report.stage);
	if (report.error == 0) {
		/* They are not written to. */
		execvpe(spec->argv[0], (char *const *)spec->argv,
			spec->envp ? (char *const *)spec->envp : environ);
		report.error = -errno;
	}
	if (write(report_fd, &report, sizeof(report)) < 0)
		_exit(126);
	_exit(127);
}

/* ---- its end ---- */

static void on_handle_closed(uv_handle_t *h)
{
	struct program *p = h->data;

	ASSERT(p->open_handles > 0);
	if (--p->open_handles > 0)
		return;
	for (size_t i = 0; i < array_size(p->captures); i++)
		free(p->captures[i].text);
	free(p);
}

static void close_handle(struct program *p, uv_handle_t *h)
{
	h->data = p;
	uv_close(h, on_handle_closed);
}

static void close_capture(struct program *p, struct capture *c)
{
	if (c->fd < 0)
		return;
	close_handle(p, (uv_handle_t *)&c->poll);
	close_fd(&c->fd);
}

/* Everything but what a callback still looks at; frees itself in the loop's next turn. */
static void release(struct program *p)
{
	p->ended = true;
	for (size_t i = 0; i < array_size(p->captures); i++)
		close_capture(p, &p->captures[i]);
	close_handle(p, (uv_handle_t *)&p->end);
	close_handle(p, (uv_handle_t *)&p->deadline);
	close_fd(&p->pidfd);
	close_fd(&p->report_fd);
}

/* What is there now. False at the end of it. */
static bool capture_read(struct capture *c)
{
	char waste[4096];

	for (;;) {
		size_t room = PROGRAM_OUTPUT_MAX - c->len;
		ssize_t n =
			read(c->fd, room ? c->text + c->len : waste, room ? room : sizeof(waste));

		if (n > 0) {
			c->len += room ? (size_t)n : 0;
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		return n < 0 && errno == EAGAIN;
	}
}

static void on_output(uv_poll_t *poll, int status, int events)
{
	struct capture *c = container_of(poll, struct capture, poll);

	(void)events;
	if (status < 0 || !capture_read(c))
		close_capture(c->program, c);
}

static void fill_result(struct program *p, int status, struct program_result *ret)
{
	struct report report;

	*ret = (struct program_result){.timed_out = p->timed_out, .stage = ""};
	if (WIFSIGNALED(status))
		ret->signal = WTERMSIG(status);
	else
		ret->code = WEXITSTATUS(status);
	if (read(p->report_fd, &report, sizeof(report)) == sizeof(report)) {
		ret->error = report.error;
		ret->stage = stages[report.stage];
	}
	ret->out = p->captures[0].text ? p->captures[0].text : "";
	ret->out_len = p->captures[0].len;
	ret->err = p->captures[1].text ? p->captures[1].text : "";
	ret->err_len = p->captures[1].len;
}

static void on_end(uv_poll_t *poll, int status, int events)
{
	struct program *p = container_of(poll, struct program, end);
	struct program_result r;
	int how = 0;
	pid_t got = waitpid(p->pid, &how, WNOHANG);

	(void)status, (void)events;
	if (got == 0)
		return;
	ASSERT(got == p->pid);
	for (size_t i = 0; i < array_size(p->captures); i++) {
		struct capture *c = &p->captures[i];

		if (c->fd >= 0)
			capture_read(c);
	}
	fill_result(p, how, &r);
	release(p);
	if (p->fn)
		p->fn(p->owner, &r);
}

static void on_deadline(uv_timer_t *t)
{
	struct program *p = container_of(t, struct program, deadline);

	p->timed_out = true;
	program_kill(p);
}

/* ---- its start ---- */

struct pipes {
	int null, report[2], output[2][2];
};

static void close_pipes(struct pipes *f)
{
	close_fd(&f->null);
	for (int i = 0; i < 2; i++) {
		close_fd(&f->report[i]);
		close_fd(&f->output[0][i]);
		close_fd(&f->output[1][i]);
	}
}

static int open_pipes(struct pipes *f, bool capture)
{
	*f = (struct pipes){-1, {-1, -1}, {{-1, -1}, {-1, -1}}};
	f->null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (f->null < 0 || pipe2(f->report, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	for (int i = 0; capture && i < 2; i++) {
		if (pipe2(f->output[i], O_CLOEXEC) < 0)
			return -errno;
		fcntl(f->output[i][0], F_SETFL, O_NONBLOCK);
	}
	return 0;
}

static pid_t start_child(const struct program_spec *spec, const struct pipes *f)
{
	/* None may be below 3, or one dup2() would close what the next needs; ours never are, as 0,
	 * 1 and 2 are open in every program. */
	const int fds[3] = {f->null, spec->output ? *spec->output : f->output[0][1],
		spec->output ? *spec->output : f->output[1][1]};
	sigset_t all, old;
	pid_t pid;

	/* No handler of ours may run in the child, which shares libuv's pipe for them. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pid = fork();
	if (pid == 0)
		child(spec, fds, f->report[1]);
	pid = pid < 0 ? -errno : pid;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return pid;
}

static int init_captures(struct program *p, uv_loop_t *loop, struct pipes *f)
{
	for (size_t i = 0; i < array_size(p->captures); i++) {
		struct capture *c = &p->captures[i];
		int r;

		c->program = p;
		if (f->output[i][0] < 0)
			continue;
		c->text = calloc(1, PROGRAM_OUTPUT_MAX + 1);
		if (!c->text)
			return -ENOMEM;
		r = uv_poll_init(loop, &c->poll, f->output[i][0]);
		if (r < 0)
			return r;
		c->fd = take_fd(&f->output[i][0]);
		p->open_handles++;
		uv_poll_start(&c->poll, UV_READABLE, on_output);
	}
	return 0;
}

static int init_handles(struct program *p, uv_loop_t *loop, struct pipes *f, uint64_t timeout_ms)
{
	int r = uv_timer_init(loop, &p->deadline);

	ASSERT(r == 0);
	p->open_handles++;
	p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
	if (p->pidfd < 0)
		return -errno;
	r = uv_poll_init(loop, &p->end, p->pidfd);
	if (r < 0)
		return r;
	p->open_handles++;
	r = init_captures(p, loop, f);
	if (r < 0)
		return r;
	uv_poll_start(&p->end, UV_READABLE, on_end);
	if (timeout_ms > 0)
		uv_timer_start(&p->deadline, on_deadline, timeout_ms, 0);
	return 0;
}

/* No way to watch it: it must not be there. */
static void undo(struct program *p)
{
	bool polled = p->end.type == UV_POLL;

	kill(-p->pid, SIGKILL);
	kill(p->pid, SIGKILL);
	waitpid(p->pid, NULL, 0);
	for (size_t i = 0; i < array_size(p->captures); i++)
		close_capture(p, &p->captures[i]);
	if (polled)
		close_handle(p, (uv_handle_t *)&p->end);
	close_handle(p, (uv_handle_t *)&p->deadline);
	close_fd(&p->pidfd);
	close_fd(&p->report_fd);
}

int program_run(uv_loop_t *loop, const struct program_spec *spec, program_fn fn, void *owner,
	struct program **ret)
{
	struct program *p = calloc(1, sizeof(*p));
	struct pipes f;
	int r;

	if (!p)
		return -ENOMEM;
	p->fn = fn;
	p->owner = owner;
	p->pidfd = p->captures[0].fd = p->captures[1].fd = -1;
	r = open_pipes(&f, !spec->output);
	if (r == 0)
		r = p->pid = start_child(spec, &f);
	if (r < 0) {
		close_pipes(&f);
		free(p);
		return r;
	}
	p->report_fd = take_fd(&f.report[0]);
	r = init_handles(p, loop, &f, spec->timeout_ms);
	close_pipes(&f);
	if (r < 0) {
		undo(p);
		return r;
	}
	if (ret)
		*ret = p;
	return 0;
}

pid_t program_pid(const struct program *p)
{
	return p->pid;
}

void program_kill(struct program *p)
{
	/* It is not waited for yet, so its number is still its own. Before setsid() there is no
	 * group of it. */
	kill(-p->pid, SIGKILL);
	kill(p->pid, SIGKILL);
}

void program_forget(struct program *p)
{
	p->fn = NULL;
	program_kill(p);
}

void program_leave(struct program *p)
{
	release(p);
}

int program_explain(const struct program_result *r, const char *name, char *out, size_t size)
{
	const char *line = r->err;
	size_t len = r->err_len;

	while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == ' '))
		len--;
	for (size_t i = len; i > 0; i--) {
		if (line[i - 1] == '\n') {
			line += i;
			len -= i;
			break;
		}
	}
	if (r->error == -ENOENT && strcmp(r->stage, stages[STAGE_EXEC]) == 0)
		snprintf(out, size, "%s is not installed", name);
	else if (r->error < 0)
		snprintf(out, size, "%s cannot be started (%s): %s", name, r->stage,
			strerror(-r->error));
	else if (r->timed_out)
		snprintf(out, size, "%s took too long", name);
	else if (r->signal)
		snprintf(out, size, "%s was ended by signal %d", name, r->signal);
	else if (r->code != 0)
		snprintf(out, size, "%s failed (%d)%s%.*s", name, r->code, len ? ": " : "",
			(int)min_of(len, (size_t)160), line);
	else
		return 0;
	return -1;
}
