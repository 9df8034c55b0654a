/*
 * The bridge's program. Its parts are made in the order of start() and unmade in reverse: the front
 * first, so that nobody asks any more, then the sandboxes' links, then what they stand on. The loop
 * ends when all of that is off it.
 */
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "bridge/api/agent_turns.h"
#include "bridge/api/dispatch.h"
#include "bridge/api/exec_runs.h"
#include "bridge/api/exec_visit.h"
#include "bridge/api/front.h"
#include "bridge/api/metrics.h"
#include "bridge/main.h"
#include "bridge/sandbox/patch_run.h"

/* What a bridge that was killed had begun may hold its port for a moment. */
#define PORT_MS       2000
#define PORT_AGAIN_US 20000
#define GRACE_MS      5000 /* for calls under way when we are told to end */

struct program {
	struct bridge bridge;
	struct config *config;
	uv_loop_t loop;
	struct boxes boxes, external;
	bool has_boxes, has_external;
	uv_signal_t term, intr, hup;
	int lock_fd;
};

/* ---- systemd ---- */

/* Says it to the service manager, when there is one. */
static void notify(const char *what)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	size_t len = path ? strlen(path) : 0;
	auto_close int fd = -1;

	if (len < 2 || len >= sizeof(a.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(a.sun_path, path, len);
	if (a.sun_path[0] == '@')
		a.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || sendto(fd, what, strlen(what), MSG_NOSIGNAL, (struct sockaddr *)&a,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
		log_warn("cannot tell the service manager: %s", strerror(errno));
}

/* ---- the end ---- */

static void on_sandboxes_closed(void *owner)
{
	struct program *p = owner;

	if (p->has_external)
		boxes_close(&p->external);
	checkpoints_close(p->bridge.checkpoints);
	if (p->has_boxes)
		boxes_close(&p->boxes);
	uv_close((uv_handle_t *)&p->term, NULL);
	uv_close((uv_handle_t *)&p->intr, NULL);
	uv_close((uv_handle_t *)&p->hup, NULL);
}

static void on_runs_closed(void *owner)
{
	struct program *p = owner;

	guests_forget();
	if (p->bridge.sandboxes)
		sandboxes_close(p->bridge.sandboxes, on_sandboxes_closed, p);
	else
		on_sandboxes_closed(p);
}

static void on_front_closed(void *owner)
{
	struct program *p = owner;

	if (!p->bridge.runs) {
		on_runs_closed(p);
		return;
	}
	exec_visits_end(&p->bridge);
	agent_turns_close(take_ptr(&p->bridge.turns));
	patch_runs_close(p->bridge.checkpoints);
	exec_runs_close(p->bridge.runs, on_runs_closed, p);
}

static void stop(struct program *p)
{
	p->bridge.stopping = true;
	if (p->bridge.front)
		front_close(p->bridge.front, GRACE_MS, on_front_closed, p);
	else
		on_front_closed(p);
}

static void on_end_signal(uv_signal_t *h, int number)
{
	struct program *p = h->data;

	if (p->bridge.stopping) {
		log_warn("a second signal: ended at once");
		_exit(1);
	}
	log_info("ending signal=%d", number);
	notify("STOPPING=1");
	stop(p);
}

static void on_reload(uv_signal_t *h, int number)
{
	struct program *p = h->data;

	(void)number;
	if (keys_reload(p->bridge.keys) < 0)
		log_err("cannot read the keys: %s", store_why(p->bridge.store));
	else
		log_info("keys read anew");
}

static void watch_signal(struct program *p, uv_signal_t *h, uv_signal_cb fn, int number)
{
	ASSERT(uv_signal_init(&p->loop, h) == 0);
	h->data = p;
	ASSERT(uv_signal_start(h, fn, number) == 0);
	uv_unref((uv_handle_t *)h); /* the loop ends with the work, not with us */
}

/* ---- the start ---- */

static int open_store(struct program *p, char *why, size_t size)
{
	struct bridge *b = &p->bridge;
	char path[BOX_PATH_MAX + 16];
	int r = state_open(p->config, why, size);

	if (r == 0)
		r = state_lock(p->config->bridge.state_dir, &p->lock_fd, why, size);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "%s/bridge.db", p->config->bridge.state_dir);
	r = store_open(path, &b->store, why, size);
	if (r == 0)
		r = keys_open(&b->keys, b->store, why, size);
	if (r == 0 && !p->config->bridge.open)
		r = state_first_key(p->config->bridge.state_dir, b->store, b->keys, why, size);
	return r;
}

/* Its link came up: sessions of before are known again. */
static void on_listed(void *owner, struct sandbox *s)
{
	struct program *p = owner;

	agent_turns_listed(p->bridge.turns, s);
	if (p->bridge.checkpoints && !p->bridge.stopping)
		patch_run(p->bridge.checkpoints, s, NULL, NULL);
}

static int open_boxes(struct program *p, char *why, size_t size)
{
	const struct bridge_config *c = &p->bridge.config;
	const struct box_driver *driver = box_driver_find(c->driver);
	int r;

	ASSERT(driver); /* check_driver() */
	r = boxes_open(&p->boxes, &p->loop, driver, &c->box, why, size);
	p->has_boxes = r == 0;
	if (r == 0)
		r = boxes_open(&p->external, &p->loop, &box_driver_external, &c->box, why, size);
	p->has_external = r == 0 && p->has_boxes;
	if (r < 0)
		return r;
	return sandboxes_open(&p->bridge.sandboxes, &p->loop, p->bridge.store, &p->boxes,
		&p->external,
		&(struct sandboxes_config){
			.max = p->config->max_sandboxes,
			.region = c->region,
			.worker = c->worker,
			.on_listed = on_listed,
			.owner = p,
		},
		why, size);
}

/* The front can only say that it cannot use them. */
static int check_files(const struct bridge_config *c, char *why, size_t size)
{
	const char *const files[] = {c->cert, c->cert_key};

	for (size_t i = 0; i < array_size(files); i++) {
		if (files[i] && access(files[i], R_OK) < 0) {
			snprintf(why, size, "cannot read %s: %s", files[i], strerror(errno));
			return -EINVAL;
		}
	}
	return 0;
}

static int open_front(struct program *p, char *why, size_t size)
{
	struct bridge *b = &p->bridge;
	const struct front_config config = {
		.host = b->config.host,
		.port = b->config.port,
		.cert = b->config.cert,
		.cert_key = b->config.cert_key,
		.max_connections = b->config.max_calls,
		.on_call = dispatch_call,
		.on_done = dispatch_done,
	};
	uint64_t limit = now_ms() + PORT_MS;
	int r = check_files(&b->config, why, size);

	if (r < 0)
		return r;
	while ((r = front_open(&b->front, &p->loop, b, &config, why, size)) == -EADDRINUSE &&
		now_ms() < limit)
		usleep(PORT_AGAIN_US);
	if (r < 0)
		return r;
	b->config.port = front_port(b->front);
	log_info("listening on %s://%s%s%s:%u version=%s pid=%d driver=%s",
		b->config.cert ? "https" : "http", strchr(b->config.host, ':') ? "[" : "",
		b->config.host, strchr(b->config.host, ':') ? "]" : "", b->config.port,
		AGENTD_VERSION, (int)getpid(), b->config.driver);
	return 0;
}

/* Whatever of it was made is unmade by stop() and the end of main(). */
static int start(struct program *p, char *why, size_t size)
{
	struct bridge *b = &p->bridge;
	int r = open_store(p, why, size);

	if (r < 0)
		return r;
	b->config = p->config->bridge;
	b->loop = &p->loop;
	b->metrics = metrics_new();
	list_init(&b->visits);
	exec_runs_open(&b->runs, &p->loop);
	agent_turns_open(&b->turns, &p->loop);
	r = open_boxes(p, why, size);
	if (r == 0)
		r = checkpoints_open(&b->checkpoints, b->sandboxes, &p->boxes, b->store, why, size);
	if (r == 0)
		r = open_front(p, why, size);
	if (r == 0 && p->config->guests)
		r = guests_register(b, p->config->guests, why, size);
	return r;
}

static int run(struct config *config)
{
	static struct program program;
	struct program *p = &program;
	char why[512] = "";
	int r;

	p->config = config;
	p->lock_fd = -1;
	ASSERT(uv_loop_init(&p->loop) == 0);
	watch_signal(p, &p->term, on_end_signal, SIGTERM);
	watch_signal(p, &p->intr, on_end_signal, SIGINT);
	watch_signal(p, &p->hup, on_reload, SIGHUP);
	r = start(p, why, sizeof(why));
	if (r < 0) {
		log_err("%s", why);
		stop(p);
	} else {
		notify("READY=1");
	}
	uv_run(&p->loop, UV_RUN_DEFAULT);
	ASSERT(uv_loop_close(&p->loop) == 0);
	metrics_free(p->bridge.metrics);
	keys_close(p->bridge.keys);
	store_close(p->bridge.store);
	close_fd(&p->lock_fd);
	if (r == 0)
		log_info("ended");
	return r < 0 ? 1 : 0;
}

/* ---- the command line ---- */

static void usage(FILE *f)
{
	const char *name, *value, *help;
	char option[64];

	fprintf(f, "Usage: bridge [OPTIONS]\n"
		   "       bridge [--state DIR] keys add [NAME] | list | revoke ID\n"
		   "       bridge routes\n"
		   "Serves OpenComputer's HTTP and WebSocket API for sandboxes on this host.\n\n");
	for (unsigned i = 0; (name = config_option(i, &value, &help)) != NULL; i++) {
		snprintf(option, sizeof(option), "--%s%s%s", name, value ? " " : "",
			value ? value : "");
		fprintf(f, "  %-22s  %s\n", option, help);
	}
	fprintf(f, "\nSIGTERM and SIGINT end it in order, a second one at once. See bridge(8).\n");
}

static int fail_usage(const char *why)
{
	fprintf(stderr, "bridge: %s\nTry \"bridge --help\".\n", why);
	return 2;
}

/* For people and for the test that compares them with openapi.json. */
static int print_routes(void)
{
	static const char *const methods[] = {"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"};
	static const struct {
		unsigned flag;
		const char *name;
	} flags[] = {
		{R_PUBLIC, "public"},
		{R_SIGNED, "signed"},
		{R_TOKEN, "token"},
		{R_SANDBOX, "sandbox"},
		{R_DATA, "data"},
		{R_JSON, "json"},
		{R_STREAM, "stream"},
		{R_SOCKET, "socket"},
		{R_LARGE, "large"},
		{R_ADMIN, "admin"},
	};

	for (const struct route *const *table = route_tables; *table; table++) {
		for (const struct route *r = *table; r->handle; r++) {
			const char *comma = "";

			printf("%-6s %-50s %-28s ", methods[r->method], r->pattern, r->name);
			for (size_t i = 0; i < array_size(flags); i++) {
				if (!(r->flags & flags[i].flag))
					continue;
				printf("%s%s", comma, flags[i].name);
				comma = ",";
			}
			printf("%s\n", r->flags ? "" : "-");
		}
	}
	return 0;
}

/* Each client is a descriptor, each sandbox some. */
static void raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

#define WORDS_MAX 4

int main(int argc, char **argv)
{
	static struct config config;
	char *words[WORDS_MAX];
	char why[512];
	int n = 0;

	if (config_init(&config, why, sizeof(why)) < 0)
		return fail_usage(why);
	for (int i = 1; i < argc;) {
		i = config_parse(&config, argc, argv, i, why, sizeof(why));
		if (i < 0)
			return fail_usage(why);
		if (i < argc && n == WORDS_MAX)
			return fail_usage("too many words");
		if (i < argc)
			words[n++] = argv[i++];
	}
	if (config.help || config.version) {
		if (config.help)
			usage(stdout);
		else
			printf("bridge %s\n", AGENTD_VERSION);
		return 0;
	}
	log_set_level(config.log_level);
	if (n > 0 && strcmp(words[0], "keys") == 0)
		return keys_command(&config, n - 1, words + 1);
	if (n == 1 && strcmp(words[0], "routes") == 0)
		return print_routes();
	if (n > 0) {
		snprintf(why, sizeof(why), "there is no command \"%.40s\"", words[0]);
		return fail_usage(why);
	}
	if (!box_driver_find(config.bridge.driver)) {
		snprintf(why, sizeof(why), "there is no driver \"%.40s\"; see --help",
			config.bridge.driver);
		return fail_usage(why);
	}
	if (config_check(&config, why, sizeof(why)) < 0)
		return fail_usage(why);
	signal(SIGPIPE, SIG_IGN);
	raise_descriptors();
	return run(&config);
}
