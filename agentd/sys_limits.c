/*
 * `sys.limits`: of the directory that holds all sessions' cgroups. By a worker, since lowering
 * memory.max waits until enough memory has been reclaimed.
 */
#include <fcntl.h>

#include "agentd/cgroup_limits.h"
#include "agentd/sys.h"
#include "proto/msg_sys.h"

struct limits {
	struct work work;
	struct reply reply;
	struct msg_resources ask;
	int dir; /* owned; -1: there are no cgroups */
	struct error error;
	int result;
	size_t len;
	char json[512];
};

static void run(struct work *work)
{
	struct limits *x = container_of(work, struct limits, work);
	struct jsonw w;

	x->result = cgroup_limits_enable(x->dir, false, &x->ask, &x->error);
	if (x->result == 0)
		x->result = cgroup_limits_set(x->dir, &x->ask, &x->error);
	jsonw_init(&w, x->json, sizeof(x->json));
	jsonw_open(&w, NULL, '{');
	if (x->dir >= 0)
		cgroup_limits_put(x->dir, &w, NULL);
	jsonw_close(&w, '}');
	x->len = w.len;
}

static void done(struct work *work)
{
	struct limits *x = container_of(work, struct limits, work);

	if (x->result < 0)
		reply_error(&x->reply, &x->error);
	else
		reply_send(&x->reply, x->json, x->len);
	close_fd(&x->dir);
	free(x);
}

int sys_limits(struct service_link *l, uint64_t id, struct json json, struct error *e)
{
	struct limits *x = calloc(1, sizeof(*x));
	int r;

	if (!x)
		return error_set(e, E_FAILED, ENOMEM, "out of memory");
	x->work = (struct work){.run = run, .done = done};
	r = msg_parse_sys_limits(json.text, json.len, &x->ask, e);
	if (r < 0) {
		free(x);
		return r;
	}
	x->dir = l->sessions->cgroup.dir < 0 ? -1
					     : fcntl(l->sessions->cgroup.dir, F_DUPFD_CLOEXEC, 3);
	reply_init(&x->reply, l, 0, id);
	r = workers_submit(l->workers, &x->work);
	if (r < 0) {
		list_remove(&x->reply.node);
		close_fd(&x->dir);
		free(x);
		return error_set(e, E_TOO_MANY, -r, "too much is being done already");
	}
	return 0;
}
