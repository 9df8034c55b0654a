/*
 * init - PID 1 of a sandbox VM. In an initramfs: modules, root disk, switch. On the root: mounts,
 * the machine's settings, then one loop that reaps, looks after agentd, keeps its descriptors, and
 * ends the machine when asked.
 *
 * The loop sleeps in poll() on two descriptors: signals and agentd's notifications.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "base/log.h"
#include "init/agent.h"
#include "init/modules.h"
#include "init/mounts.h"
#include "init/notify.h"
#include "init/power.h"
#include "init/root.h"
#include "init/system.h"

struct init {
	struct cmdline cmdline;
	struct fdstore store;
	struct agent agent;
	struct power power;
	int signals, notify;
	unsigned long stop_ms; /* for the end of the machine */
	bool alone;            /* no children at all */
};

/* ---- children ---- */

static uint64_t us_of(struct timeval t)
{
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_usec;
}

static void say_how(const struct agent *a, int status)
{
	uint64_t lived = now_ms() - a->started;

	if (WIFSIGNALED(status))
		log_warn("agentd ended signal=%d lived_ms=%llu", WTERMSIG(status),
			(unsigned long long)lived);
	else
		log_warn("agentd ended code=%d lived_ms=%llu", WEXITSTATUS(status),
			(unsigned long long)lived);
}

static void reap(struct init *in)
{
	struct rusage ru;
	bool news = false;
	int status;
	pid_t pid;

	while ((pid = wait4(-1, &status, WNOHANG, &ru)) > 0) {
		struct child_exit e = {.pid = pid,
			.status = status,
			.user_us = us_of(ru.ru_utime),
			.sys_us = us_of(ru.ru_stime),
			.maxrss_kb = (uint64_t)ru.ru_maxrss};

		if (pid == in->agent.pid) {
			if (in->power.stage == POWER_ON)
				say_how(&in->agent, status);
			agent_died(&in->agent);
		} else {
			news |= fdstore_note_exit(&in->store, &e);
		}
	}
	if (news || in->agent.behind)
		agent_tell_exits(&in->agent, &in->store);
	in->alone = pid < 0 && errno == ECHILD;
}

/* ---- what is asked of us ---- */

static uint64_t boot_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void on_ready(void *owner)
{
	struct init *in = owner;

	if (in->agent.starts == 1)
		log_info("agentd serves init_ms=%llu ready_ms=%llu",
			(unsigned long long)in->agent.boot_ms, (unsigned long long)boot_ms());
}

static void on_power(void *owner, bool reboot)
{
	struct init *in = owner;

	power_begin(&in->power, reboot, in->stop_ms, in->agent.pid);
}

static const struct notify_events notify_events = {.on_ready = on_ready, .on_power = on_power};

static void on_signals(struct init *in)
{
	struct signalfd_siginfo si;

	while (read(in->signals, &si, sizeof(si)) == sizeof(si)) {
		switch (si.ssi_signo) {
		case SIGINT: on_power(in, true); break; /* ctrl-alt-del */
		case SIGTERM:
		case SIGPWR: on_power(in, false); break;
		default: break; /* SIGCHLD: everything is looked at anyway */
		}
	}
}

/* ---- the loop ---- */

static int timeout_ms(const struct init *in)
{
	uint64_t now = now_ms(), at = UINT64_MAX;

	if (in->power.stage != POWER_ON)
		at = in->power.stage_at;
	else if (in->agent.pid == 0)
		at = in->agent.start_at;
	return at == UINT64_MAX ? -1 : at <= now ? 0 : (int)min_of(at - now, (uint64_t)60000);
}

static void look_after_agent(struct init *in)
{
	int r;

	if (in->power.stage != POWER_ON || in->agent.pid || now_ms() < in->agent.start_at)
		return;
	r = agent_start(&in->agent, &in->store);
	if (r < 0)
		log_err("cannot start agentd: %s", strerror(-r));
}

static _Noreturn void run(struct init *in)
{
	for (;;) {
		struct pollfd p[] = {{.fd = in->signals, .events = POLLIN},
			{.fd = in->notify, .events = POLLIN}, {.fd = -1, .events = POLLOUT}};

		look_after_agent(in);
		power_step(&in->power, in->agent.pid != 0, in->alone);
		if (in->power.stage == POWER_OFF)
			power_end(&in->power);
		if (in->agent.behind)
			p[2].fd = in->agent.link;
		if (poll(p, array_size(p), timeout_ms(in)) < 0 && errno != EINTR)
			ASSERT(!"poll");
		/* Before the reaping: what an agent that died said last is still its word. */
		if (in->notify >= 0)
			notify_read(in->notify, in->agent.pid, &in->store, &notify_events, in);
		on_signals(in);
		reap(in);
	}
}

static int block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGPWR);
	sigprocmask(SIG_SETMASK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Where nothing was opened for us, the console; and where there is none, nothing. */
static void open_console(void)
{
	int fd = open("/dev/console", O_RDWR | O_NOCTTY);

	if (fd < 0)
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd < 2)
		fd = dup(fd);
	if (fd > 2)
		close(fd);
}

/* A machine without an agent is of no use, and must not stay there for ever unnoticed. */
static _Noreturn void give_up(void)
{
	log_err("giving up");
	sleep(2);
	power_end(&(struct power){.reboot = false});
}

static _Noreturn void boot_initramfs(struct init *in, char **argv)
{
	mounts_make();
	cmdline_read(&in->cmdline, "/proc/cmdline", argv);
	modules_load("/lib/modules/list");
	if (root_mount(&in->cmdline) < 0 || root_switch(&in->cmdline, argv) < 0)
		give_up();
	give_up();
}

int main(int argc, char **argv)
{
	static struct init in = {.notify = -1};
	uint64_t began = boot_ms();

	(void)argc;
	if (getpid() != 1) {
		fprintf(stderr,
			"init is PID 1 of a sandbox VM; see agentd-init(8). Nothing to do here.\n");
		return 2;
	}
	if (fcntl(2, F_GETFD) < 0) /* not one of the three is open: an initramfs without /dev */
		open_console();
	if (root_in_initramfs())
		boot_initramfs(&in, argv);
	in.signals = block_signals();
	mounts_make();
	cmdline_read(&in.cmdline, "/proc/cmdline", argv);
	system_setup(&in.cmdline);
	system_take_keys();
	in.notify = notify_open(NOTIFY_PATH);
	if (in.notify < 0)
		log_err("no notifications, descriptors are not kept: %s", strerror(-in.notify));
	in.stop_ms = cmdline_number(&in.cmdline, "agentd.stop_ms", POWER_BUDGET_MS, 600000);
	agent_init(&in.agent, &in.cmdline, mounts_cgroup(), in.stop_ms);
	in.agent.boot_ms = began;
	run(&in);
}
