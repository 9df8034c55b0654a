/*
 * `sys.prepare` and `sys.resume`: both are a list of steps that a worker does one after the other.
 * A worker may hang in any of them (a disk, a frozen file system) without holding up the loop.
 */
#include <fcntl.h>
#include <linux/random.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <time.h>

#include "agentd/freeze.h"
#include "agentd/netconf.h"
#include "agentd/sys.h"

struct snapshot {
	struct work work;
	struct reply reply;
	struct sessions *sessions;
	const struct service_host *host;
	void *host_ctx;
	struct msg_sys_prepare prepare;
	struct msg_sys_resume resume;
	int freeze_result; /* of freeze_start */
	struct steps steps;
};

static int submit(struct snapshot *s, struct service_link *l, uint64_t id, struct error *e)
{
	int r;

	s->sessions = l->sessions;
	s->host = l->host;
	s->host_ctx = l->host_ctx;
	reply_init(&s->reply, l, 0, id);
	r = workers_submit(l->workers, &s->work);
	if (r < 0) {
		list_remove(&s->reply.node);
		return error_set(e, E_TOO_MANY, -r, "too much is being done already");
	}
	return 0;
}

static void snapshot_free(struct snapshot *s)
{
	free(s->prepare.mem);
	free(s->resume.mem);
	free(s);
}

/* ---- prepare ---- */

static void run_prepare(struct work *work)
{
	struct snapshot *s = container_of(work, struct snapshot, work);
	const struct msg_sys_prepare *m = &s->prepare;

	steps_init(&s->steps);
	if (m->sync) {
		sync();
		steps_done(&s->steps, "sync", NULL, 0, NULL);
	}
	for (size_t i = 0; i < m->freeze.n; i++) {
		const char *path = m->freeze.s[i];
		int r = s->freeze_result < 0 ? s->freeze_result : freeze_mount(path);

		steps_done(&s->steps, "freeze", path, r, NULL);
	}
	if (m->freeze.n > 0 && s->freeze_result == 0)
		freeze_settle();
}

static void done_prepare(struct work *work)
{
	struct snapshot *s = container_of(work, struct snapshot, work);
	size_t len = steps_finish(&s->steps);

	reply_send(&s->reply, s->steps.json, len);
	/* Links that are there now, in order; the one that asked has its answer before. At the end
	 * of the program there is none. */
	s->host->bye(s->host_ctx, "preparing");
	snapshot_free(s);
}

int sys_prepare(struct service_link *l, uint64_t id, struct json json, struct error *e)
{
	struct snapshot *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return error_set(e, E_FAILED, ENOMEM, "out of memory");
	s->work = (struct work){.run = run_prepare, .done = done_prepare};
	r = msg_parse_sys_prepare(json.text, json.len, &s->prepare, e);
	if (r == 0 && l->sessions->stopping)
		r = error_set(e, E_STOPPING, 0, "agentd is going away");
	if (r == 0 && s->prepare.freeze.n > 0)
		s->freeze_result = freeze_start(l->workers, &l->sessions->arena,
			s->prepare.freeze.s, s->prepare.freeze.n, s->prepare.thaw_ms);
	if (r == 0) {
		r = submit(s, l, id, e);
		if (r < 0 && s->prepare.freeze.n > 0 && s->freeze_result == 0)
			freeze_thaw(NULL);
	}
	if (r < 0)
		snapshot_free(s);
	return r;
}

/* ---- resume ---- */

static void set_clock(struct snapshot *s)
{
	struct timespec now, to = {.tv_sec = (time_t)(s->resume.clock_ns / 1000000000),
				     .tv_nsec = (long)(s->resume.clock_ns % 1000000000)};
	int64_t by;
	int r;

	clock_gettime(CLOCK_REALTIME, &now);
	by = ((int64_t)to.tv_sec - now.tv_sec) * 1000 + (to.tv_nsec - now.tv_nsec) / 1000000;
	r = clock_settime(CLOCK_REALTIME, &to) < 0 ? -errno : 0;
	steps_done(&s->steps, "clock", NULL, r, NULL);
	if (r == 0)
		steps_add(&s->steps, "by_ms", by);
}

/* Credited, and taken into use at once: two machines woken from one snapshot must not go on with
 * the same numbers. */
static int add_entropy(const uint8_t *data, size_t n)
{
	auto_close int fd = open("/dev/urandom", O_RDWR | O_CLOEXEC | O_NOCTTY);
	_Alignas(8) uint8_t room[sizeof(struct rand_pool_info) + MSG_ENTROPY_MAX] = {0};
	struct rand_pool_info *pool = (void *)room;

	if (fd < 0)
		return -errno;
	pool->entropy_count = (int)n * 8;
	pool->buf_size = (int)n;
	memcpy(pool->buf, data, n);
	if (ioctl(fd, RNDADDENTROPY, pool) < 0 || ioctl(fd, RNDRESEEDCRNG, 0) < 0)
		return -errno;
	return 0;
}

static int write_line(const char *path, const char *word, mode_t mode)
{
	char text[128];

	snprintf(text, sizeof(text), "%s\n", word);
	return netconf_write_file(path, text, mode);
}

static int set_hostname(const char *name)
{
	if (sethostname(name, strlen(name)) < 0)
		return -errno;
	return write_line("/etc/hostname", name, 0644);
}

static void run_resume(struct work *work)
{
	struct snapshot *s = container_of(work, struct snapshot, work);
	const struct msg_sys_resume *m = &s->resume;
	struct steps *steps = &s->steps;

	steps_init(steps);
	if (m->has_clock)
		set_clock(s);
	if (m->n_entropy > 0)
		steps_done(steps, "entropy", NULL, add_entropy(m->entropy, m->n_entropy), NULL);
	if (m->thaw && freeze_active())
		steps_done(steps, "thaw", NULL, freeze_thaw(NULL), NULL);
	if (m->hostname)
		steps_done(steps, "hostname", NULL, set_hostname(m->hostname), NULL);
	if (m->machine_id)
		steps_done(steps, "machine_id", NULL,
			write_line("/etc/machine-id", m->machine_id, 0444), NULL);
	if (m->has_network)
		netconf_apply(&m->network, steps);
}

static void done_resume(struct work *work)
{
	struct snapshot *s = container_of(work, struct snapshot, work);
	struct error e;
	int r;

	/* The arena is the loop's; at the end of the program it is gone. */
	if (s->resume.has_env && s->sessions->arena.head) {
		steps_begin(&s->steps);
		r = environ_set(&s->sessions->environ, false, s->resume.env, s->resume.n_env, &e);
		steps_done(&s->steps, "env", NULL, r, r < 0 ? e.message : NULL);
	}
	reply_send(&s->reply, s->steps.json, steps_finish(&s->steps));
	snapshot_free(s);
}

int sys_resume(struct service_link *l, uint64_t id, struct json json, struct error *e)
{
	struct snapshot *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return error_set(e, E_FAILED, ENOMEM, "out of memory");
	s->work = (struct work){.run = run_resume, .done = done_resume};
	r = msg_parse_sys_resume(json.text, json.len, &s->resume, e);
	if (r == 0)
		r = submit(s, l, id, e);
	if (r < 0)
		snapshot_free(s);
	return r;
}
