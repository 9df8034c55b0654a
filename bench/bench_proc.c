/*
 * Processes: agents, floor programs, helpers of our own. All of them are remembered by floor.h in
 * this file alone, so whatever ends us ends them too; agents and helpers also go when we are
 * killed.
 */
#include "bench/bench.h"

#include <dirent.h>
#include <ftw.h>
#include <sys/stat.h>

#include "base/base.h"
#include "bench/floor.h"

#define MAX_AGENTS 8
#define STOP_MS    8000 /* agentd gives its sessions 3 s */

static char dir[64], shm[80], state[80];
static struct agent *agents[MAX_AGENTS];
static pid_t owner; /* helpers must not clean up after us */

/* ---- beginning and end ---- */

static void end_agent(pid_t pid)
{
	uint64_t limit = floor_now_ns() + STOP_MS * 1000000ULL;

	kill(pid, SIGTERM);
	while (!floor_ended(pid) && floor_now_ns() < limit)
		usleep(2000);
	kill(pid, SIGKILL);
}

static void remove_shm(void)
{
	DIR *d = shm[0] ? opendir(shm) : NULL;
	struct dirent *e;

	while (d && (e = readdir(d)))
		unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
	rmdir(shm);
	shm[0] = '\0';
}

size_t proc_below(const char *below, pid_t *pids, size_t max)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	size_t n = 0, len = strlen(below);

	while (d && n < max && (e = readdir(d))) {
		char path[64], cwd[PATH_MAX] = "";
		pid_t pid = atoi(e->d_name);
		ssize_t r;

		snprintf(path, sizeof(path), "/proc/%d/cwd", pid);
		r = pid > 0 ? readlink(path, cwd, sizeof(cwd) - 1) : -1;
		if (r > (ssize_t)len && memcmp(cwd, below, len) == 0 && cwd[len] == '/')
			pids[n++] = pid;
	}
	if (d)
		closedir(d);
	return n;
}

/* Sandboxes outlive their bridge. */
static void end_sandboxes(void)
{
	pid_t pids[64];
	size_t n = proc_below(state, pids, array_size(pids));

	for (size_t i = 0; i < n; i++)
		kill(pids[i], SIGKILL);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st;
	(void)kind;
	(void)at;
	return remove(path);
}

static void clean_up(void)
{
	if (getpid() != owner)
		return;
	for (size_t i = 0; i < MAX_AGENTS; i++) {
		if (!agents[i])
			continue;
		end_agent(agents[i]->pid);
		unlink(agents[i]->path);
	}
	floor_cleanup();
	remove_shm();
	if (state[0]) {
		end_sandboxes();
		nftw(state, remove_one, 8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	}
	rmdir(dir);
}

static void on_signal(int sig)
{
	static const char late[] = "bench: out of time\n";

	if (sig == SIGALRM && write(2, late, sizeof(late) - 1) < 0)
		_exit(124);
	clean_up();
	_exit(sig == SIGALRM ? 124 : 128 + sig);
}

void die(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "bench: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	clean_up();
	_exit(1);
}

void proc_begin(unsigned seconds, bool rt)
{
	static const int sigs[] = {SIGALRM, SIGTERM, SIGINT, SIGHUP};
	struct sigaction sa = {.sa_handler = on_signal};
	const char *tmp = getenv("TMPDIR");

	if (rt && sched_setscheduler(0, SCHED_RR, &(struct sched_param){.sched_priority = 1}) < 0)
		die("--rt: %s", strerror(errno));
	floor_begin(seconds);
	owner = getpid();
	sigfillset(&sa.sa_mask);
	for (size_t i = 0; i < array_size(sigs); i++)
		sigaction(sigs[i], &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
	snprintf(dir, sizeof(dir), "%s/bench-XXXXXX", tmp && strlen(tmp) < 32 ? tmp : "/tmp");
	if (!mkdtemp(dir))
		die("cannot make %s: %s", dir, strerror(errno));
}

const char *proc_shm(void)
{
	snprintf(shm, sizeof(shm), "/dev/shm/bench-XXXXXX");
	if (!mkdtemp(shm))
		snprintf(shm, sizeof(shm), "%s/shm", dir);
	if (access(shm, W_OK) < 0 && mkdir(shm, 0700) < 0)
		die("cannot make %s: %s", shm, strerror(errno));
	return shm;
}

const char *proc_state(void)
{
	static char path[sizeof(state) + 16];
	static unsigned serial;

	snprintf(state, sizeof(state), "%s/state", dir);
	snprintf(path, sizeof(path), "%s/%u", state, ++serial);
	if ((mkdir(state, 0700) < 0 && errno != EEXIST) || mkdir(path, 0700) < 0)
		die("cannot make %s: %s", path, strerror(errno));
	return path;
}

void proc_end(void)
{
	clean_up();
}

void say(const char *what)
{
	fprintf(stderr, "\r\033[K%s", what);
	if (!*what)
		fprintf(stderr, "\r");
	fflush(stderr);
}

/* ---- where things are ---- */

static const char *keep_if_there(const char *path)
{
	return access(path, X_OK) == 0 ? strdup(path) : NULL; /* a few short strings, for good */
}

const char *program(const char *name)
{
	const char *given = strcmp(name, "agentd") == 0 ? getenv("AGENTD") : NULL;

	return keep_if_there(given ? given : floor_sibling(name));
}

/* Beside AGENTD_STATIC, or in the build directory beside ours. */
const char *static_program(const char *name)
{
	const char *given = getenv("AGENTD_STATIC");
	const char *base = given ? given : floor_sibling("../../static/bin/agentd");
	char path[PATH_MAX];
	const char *slash = strrchr(base, '/');

	snprintf(path, sizeof(path), "%.*s/%s", slash ? (int)(slash - base) : 1, slash ? base : ".",
		name);
	return keep_if_there(strcmp(name, "agentd") == 0 ? base : path);
}

/* ---- agents ---- */

static void exec_agent(const struct agent *a, const char *binary, const char *const *extra)
{
	const char *argv[32] = {binary, "--listen", NULL, "--log-level", "warn"};
	char listen[128];
	size_t n = 5;

	snprintf(listen, sizeof(listen), "unix:%s", a->path);
	argv[2] = listen;
	for (; extra && *extra && n < array_size(argv) - 1; extra++)
		argv[n++] = *extra;
	argv[n] = NULL;
	execv(binary, (char **)argv);
	fprintf(stderr, "bench: %s: %s\n", binary, strerror(errno));
	_exit(127);
}

static void exec_minimal(const struct agent *a, unsigned width)
{
	const char *binary = program("floor_agent");
	char j[16];

	snprintf(j, sizeof(j), "%u", width);
	if (binary)
		execl(binary, binary, "--server", a->path, "-j", j, NULL);
	fprintf(stderr, "bench: floor_agent: %s\n", strerror(errno));
	_exit(127);
}

static bool accepts(const char *path)
{
	struct sockaddr_un sa;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool yes;

	floor_address(&sa, path);
	yes = connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0;
	close(fd);
	return yes;
}

/* Forks: true in the child, which is to exec. */
static bool agent_fork(struct agent *a)
{
	static unsigned serial;
	size_t i = 0;

	while (i < MAX_AGENTS && agents[i])
		i++;
	ASSERT(i < MAX_AGENTS);
	snprintf(a->path, sizeof(a->path), "%s/%u.sock", dir, ++serial);
	a->pid = floor_fork();
	if (a->pid > 0)
		agents[i] = a;
	return a->pid == 0;
}

static void agent_await(const struct agent *a)
{
	uint64_t limit = floor_now_ns() + 10000000000ULL;

	while (!accepts(a->path)) {
		if (floor_ended(a->pid) || floor_now_ns() > limit)
			die("the agent does not accept");
		usleep(1000);
	}
}

void agent_start(struct agent *a, const char *binary, const char *const *extra)
{
	if (!binary)
		die("agentd is not built (or set AGENTD, AGENTD_STATIC)");
	if (agent_fork(a))
		exec_agent(a, binary, extra);
	agent_await(a);
}

void agent_start_minimal(struct agent *a, unsigned width)
{
	if (agent_fork(a))
		exec_minimal(a, width);
	agent_await(a);
}

static _Noreturn void exec_relay(const struct agent *a)
{
	const char *binary = program("floor_pty");

	if (!binary)
		die("floor_pty is not built");
	execl(binary, binary, "--server", a->path, NULL);
	_exit(127);
}

void agent_start_relay(struct agent *a)
{
	if (agent_fork(a))
		exec_relay(a);
	agent_await(a);
}

/* The number behind `word` in what it has said so far; 0: not yet. */
static unsigned port_said(const struct agent *a, const char *word)
{
	char text[4096];
	FILE *f = fopen(a->path, "re");
	size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
	const char *at;

	if (f)
		fclose(f);
	text[n] = '\0';
	at = strstr(text, word);
	return at && strchr(at, '\n') ? (unsigned)strtoul(at + strlen(word), NULL, 10) : 0;
}

unsigned server_start(struct agent *a, const char *const *argv, const char *word)
{
	uint64_t limit = floor_now_ns() + 10000000000ULL;
	unsigned port;

	if (agent_fork(a)) {
		int fd = open(a->path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

		dup2(fd, 1);
		dup2(fd, 2);
		execv(argv[0], (char **)argv);
		_exit(127);
	}
	while ((port = port_said(a, word)) == 0) {
		if (floor_ended(a->pid) || floor_now_ns() > limit)
			die("%s does not listen", argv[0]);
		usleep(1000);
	}
	return port;
}

void agent_stop(struct agent *a)
{
	for (size_t i = 0; i < MAX_AGENTS; i++)
		if (agents[i] == a)
			agents[i] = NULL;
	end_agent(a->pid);
	floor_reap(a->pid);
	unlink(a->path);
	a->pid = 0;
}

pid_t helper_fork(void)
{
	fflush(NULL);
	return floor_fork();
}

int helper_wait(pid_t pid)
{
	int status = floor_reap(pid);

	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* ---- floor programs ---- */

const char *floor_json(const char *name, ...)
{
	static struct floor_output out[2];
	char *argv[32] = {(char *)program(name), (char *)"--json"};
	size_t n = 2;
	va_list ap;
	int status;

	if (!argv[0])
		die("%s is not built", name);
	va_start(ap, name);
	while (n < array_size(argv) - 1 && (argv[n] = va_arg(ap, char *)))
		n++;
	va_end(ap);
	status = floor_run(argv, out);
	if (status != 0)
		die("%s failed (%#x): %.*s", name, (unsigned)status, (int)out[1].len,
			(const char *)out[1].bytes);
	out[0].bytes[min_of(out[0].len, FLOOR_KEEP - 1)] = '\0';
	free(argv[0]);
	return (const char *)out[0].bytes;
}

double floor_value(const char *json, const char *mode, const char *key)
{
	char quoted[64];
	const char *at;

	snprintf(quoted, sizeof(quoted), "\"mode\":\"%s\"", mode ? mode : "");
	at = mode ? strstr(json, quoted) : json;
	snprintf(quoted, sizeof(quoted), "\"%s\":", key);
	at = at ? strstr(at, quoted) : NULL;
	if (!at)
		die("a floor program says nothing about %s %s: %s", mode ? mode : "", key, json);
	return strtod(at + strlen(quoted), NULL);
}

/* ---- what the kernel knows of a process ---- */

uint64_t proc_cpu_ns(pid_t pid)
{
	return floor_cpu_ns(pid);
}

/* The number behind `key` in /proc/PID/file; all of them are added. */
static uint64_t sum_of(const char *path, const char *key)
{
	FILE *f = fopen(path, "re");
	char text[256];
	uint64_t sum = 0;

	if (!f)
		die("%s: %s", path, strerror(errno));
	while (fgets(text, sizeof(text), f)) {
		const char *at = strstr(text, key);

		if (at && (at == text || strcmp(key, "ctxt_switches:") == 0))
			sum += strtoull(at + strlen(key), NULL, 10);
	}
	fclose(f);
	return sum;
}

size_t proc_pss_kib(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
	return sum_of(path, "Pss:");
}

/* Calls back with the path of each entry; returns how many there are. */
static size_t each_entry(const char *path, void (*entry)(const char *path, void *arg), void *arg)
{
	DIR *d = opendir(path);
	struct dirent *e;
	char full[512];
	size_t n = 0;

	if (!d)
		die("%s: %s", path, strerror(errno));
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		n++;
		snprintf(full, sizeof(full), "%s/%s", path, e->d_name);
		if (entry)
			entry(full, arg);
	}
	closedir(d);
	return n;
}

static void add_switches(const char *path, void *arg)
{
	char status[600];

	snprintf(status, sizeof(status), "%s/status", path);
	*(uint64_t *)arg += sum_of(status, "ctxt_switches:");
}

uint64_t proc_switches(pid_t pid)
{
	char path[64];
	uint64_t sum = 0;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	each_entry(path, add_switches, &sum);
	return sum;
}

size_t proc_fds(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	return each_entry(path, NULL, NULL);
}

void proc_pin(pid_t pid, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	for (int i = 0; i < CPU_SETSIZE && cpu < 0; i++)
		CPU_SET((size_t)i, &set);
	if (cpu >= 0)
		CPU_SET((size_t)cpu, &set);
	if (sched_setaffinity(pid, sizeof(set), &set) < 0)
		die("cannot choose the CPU of %d: %s", pid, strerror(errno));
}
