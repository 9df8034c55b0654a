#include "init/system.h"

#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/log.h"

#define FILES_MAX (1024 * 1024)

static int write_text(const char *path, const char *text)
{
	auto_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	return fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* The first line of a file; "" when there is none. */
static void read_line(const char *path, char *out, size_t size)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);

	out[n > 0 ? n : 0] = '\0';
	out[strcspn(out, "\n")] = '\0';
}

static void name_machine(const struct cmdline *c)
{
	const char *given = cmdline_get(c, "hostname");
	char name[65];

	read_line("/etc/hostname", name, sizeof(name));
	if (given && *given)
		snprintf(name, sizeof(name), "%s", given);
	if (!*name)
		snprintf(name, sizeof(name), "sandbox");
	if (sethostname(name, strlen(name)) < 0)
		log_warn("hostname: %s", strerror(errno));
}

/*
 * 32 hex digits that tell machines apart. Made once; where /etc cannot be written they are made for
 * this boot, in /run, and laid over the file.
 */
static void identify_machine(void)
{
	unsigned char random[16];
	char id[40];

	read_line("/etc/machine-id", id, sizeof(id));
	if (strlen(id) == 32)
		return;
	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return;
	random[6] = (random[6] & 0x0f) | 0x40;
	random[8] = (random[8] & 0x3f) | 0x80;
	for (size_t i = 0; i < sizeof(random); i++)
		sprintf(id + 2 * i, "%02x", random[i]);
	memcpy(id + 32, "\n", 2);
	if (write_text("/etc/machine-id", id) == 0)
		return;
	if (write_text("/run/machine-id", id) < 0 ||
		mount("/run/machine-id", "/etc/machine-id", NULL, MS_BIND, NULL) < 0)
		log_warn("machine-id: %s", strerror(errno));
}

static void loopback_up(void)
{
	auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq r = {.ifr_name = "lo"};

	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &r) < 0)
		return; /* a kernel without network */
	r.ifr_flags |= IFF_UP | IFF_RUNNING;
	if (ioctl(fd, SIOCSIFFLAGS, &r) < 0)
		log_warn("loopback: %s", strerror(errno));
}

/* Ours must be high for the store. Those we start get a low soft limit (agent.c): programs that
 * close "all" descriptors suffer from a high one. */
static void raise_limits(void)
{
	static const struct {
		const char *path, *value;
	} sysctls[] = {
		{"/proc/sys/fs/inotify/max_user_watches", "524288"},
		{"/proc/sys/fs/inotify/max_user_instances", "8192"},
		{"/proc/sys/kernel/pid_max", "4194304"},
		{"/proc/sys/net/ipv4/ping_group_range", "0 2147483647"},
	};
	struct rlimit files = {FILES_MAX, FILES_MAX}, core = {0, RLIM_INFINITY};

	setrlimit(RLIMIT_NOFILE, &files);
	setrlimit(RLIMIT_CORE, &core);
	for (size_t i = 0; i < array_size(sysctls); i++) {
		auto_close int fd = open(sysctls[i].path, O_WRONLY | O_CLOEXEC);

		if (fd >= 0 && write(fd, sysctls[i].value, strlen(sysctls[i].value)) < 0)
			log_debug("%s: %s", sysctls[i].path, strerror(errno));
	}
}

void system_setup(const struct cmdline *c)
{
	umask(022);
	name_machine(c);
	loopback_up();
	raise_limits();
	identify_machine();
	mkdir("/run/lock", 01777);
	mkdir("/run/agentd", 0700);
}

void system_take_keys(void)
{
	reboot(RB_DISABLE_CAD);
}
