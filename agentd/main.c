/* Options, signals that must not kill, and the run. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>

#include "agentd/claude.h"
#include "agentd/daemon.h"
#include "agentd/spawn.h"
#include "agentd/takeover.h"

static void usage(FILE *f)
{
	const char *help, *key;

	fprintf(f,
		"Usage: agentd --listen unix:PATH|vsock:PORT [--listen ...] [--config FILE] [OPTION=VALUE ...]\n"
		"       agentd claude\n"
		"The agent inside a sandbox: runs commands for the host over a WebSocket protocol.\n"
		"With \"claude\" it is the driver of one agent session, on its stdin and stdout.\n\n"
		"  --config FILE           read settings from FILE, one \"key = value\" a line\n"
		"  --version               print the version\n"
		"  --help                  print this text\n\n"
		"Settings, in the file as \"key = value\", here as --key VALUE (with - or _):\n");
	for (unsigned i = 0; (key = config_key(i, &help)) != NULL; i++)
		fprintf(f, "  %-22s  %s\n", key, help);
	fprintf(f,
		"\nSIGTERM and SIGINT end it in order, SIGUSR1 switches debug logging. See agentd(8).\n");
}

static _Noreturn void fail_usage(const char *why)
{
	fprintf(stderr, "agentd: %s\nTry \"agentd --help\".\n", why);
	exit(2);
}

/* "--key=value" and "--key value" for every key of the configuration, without a second list of
 * them. */
static int parse_setting(
	struct config *c, const char *arg, const char *next, char *why, size_t size)
{
	const char *value = strchr(arg, '=');
	char key[64];
	size_t len = value ? (size_t)(value - arg) : strlen(arg);

	if (len >= sizeof(key)) {
		snprintf(why, size, "there is no option --%s", arg);
		return -EINVAL;
	}
	memcpy(key, arg, len);
	key[len] = '\0';
	for (char *p = key; *p; p++)
		*p = *p == '-' ? '_' : *p;
	if (!value && !next) {
		snprintf(why, size, "--%s needs a value", arg);
		return -EINVAL;
	}
	if (config_set(c, key, value ? value + 1 : next, why, size) < 0)
		return -EINVAL;
	return value ? 1 : 2;
}

/* Handles argv[i]; returns how many words it took. */
static int parse_option(struct config *c, struct inherited *in, char **argv, int i)
{
	const char *arg = argv[i];
	char why[512];
	int n;

	if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
		usage(stdout);
		exit(0);
	}
	if (strcmp(arg, "--version") == 0) {
		printf("agentd %s (protocol %s)\n", AGENTD_VERSION, PROTO_NAME);
		exit(0);
	}
	if (strcmp(arg, "--can-adopt") == 0) {
		takeover_print_versions();
		exit(0);
	}
	if (strncmp(arg, "--adopt", 7) == 0 && strchr(arg, '=')) {
		if (takeover_parse(in, arg + 2) < 0)
			fail_usage("--adopt is for agentd itself: no such descriptor");
		return 1;
	}
	if (strcmp(arg, "--config") == 0 || strncmp(arg, "--config=", 9) == 0) {
		const char *path = arg[8] == '=' ? arg + 9 : argv[i + 1];

		if (!path)
			fail_usage("--config needs a file");
		if (config_read(c, path, why, sizeof(why)) < 0)
			fail_usage(why);
		return arg[8] == '=' ? 1 : 2;
	}
	if (strncmp(arg, "--", 2) != 0) {
		snprintf(why, sizeof(why), "unexpected \"%.100s\"", arg);
		fail_usage(why);
	}
	n = parse_setting(c, arg + 2, argv[i + 1], why, sizeof(why));
	if (n < 0)
		fail_usage(why);
	return n;
}

static void on_nothing(int sig)
{
	(void)sig;
}

/* Started without them, the next files opened would become our standard streams. */
static void ensure_standard_fds(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd >= 0 && fd < 3);
	close_fd(&fd);
}

int main(int argc, char **argv)
{
	static struct daemon daemon;
	struct inherited in = {.arena_fd = -1, .link_fd = -1};
	struct config config;
	char why[512];
	int r;

	ensure_standard_fds();
	if (claude_is_asked_for(argc, argv))
		return claude_main();
	spawn_reserve();
	launch_raise_limits();
	config_init(&config);
	for (int i = 1; i < argc;)
		i += parse_option(&config, &in, argv, i);
	if (config.n_listen == 0)
		fail_usage("nothing to listen on: give --listen unix:PATH or --listen vsock:PORT");
	log_set_level(config.log_level);
	if (config_load_token(&config, why, sizeof(why)) < 0)
		fail_usage(why);
	/* A peer that went away, and a limit on file sizes, are error values to us. Caught and not
	 * ignored: exec resets what is caught by itself, so no child has to. */
	signal(SIGPIPE, on_nothing);
	signal(SIGXFSZ, on_nothing);
	if (daemon_init(&daemon, &config, argv, &in) < 0)
		return 1;
	for (unsigned i = 0; i < daemon.n_listeners; i++)
		log_info("listening on %s version=%s pid=%d", daemon.listeners[i].spec,
			AGENTD_VERSION, (int)getpid());
	r = daemon_run(&daemon);
	log_info("stopped");
	daemon_fini(&daemon);
	return r;
}
