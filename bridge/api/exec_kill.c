#include "bridge/api/exec_kill.h"

#include <signal.h>

#include "bridge/api/dispatch.h"
#include "proto/signame.h"

struct kill {
	int64_t request;
	struct guest *guest; /* NULL: answered */
};

static void on_killed(void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	struct call *c = owner;
	struct kill *k = c->state;
	struct fault f = {0};

	(void)json, (void)len;
	k->guest = NULL;
	if (!error) {
		call_empty(c, 204);
		return;
	}
	if (error->code == E_NOT_FOUND)
		fault_set(&f, 404, "session not found");
	else
		fault_from_error(&f, error, "cannot signal the session");
	call_fault(c, &f);
}

static void on_end(struct call *c)
{
	struct kill *k = c->state;

	if (k->guest)
		guest_cancel(k->guest, k->request);
	free(k);
}

static const struct call_ops ops = {.on_end = on_end};

/* A number or a name; false: answered. */
static bool read_signal(struct call *c, int *ret)
{
	char name[16];
	struct jsonr v;

	*ret = SIGKILL;
	if (!jsonr_member(c->body, "signal", &v) || jsonr_is(v, 'n'))
		return true;
	if (jsonr_is(v, '"'))
		v = (struct jsonr){v.p + 1, v.len - 2};
	*ret = -EINVAL;
	if (v.len < sizeof(name)) {
		memcpy(name, v.p, v.len);
		name[v.len] = '\0';
		*ret = signame_parse(name);
	}
	if (*ret <= 0)
		call_error(c, 400, "signal: the number or the name of a signal is wanted");
	return *ret > 0;
}

void exec_kill(struct call *c, const char *id, enum msg_target to)
{
	struct msg_request m = {.op = OP_KILL, .id = id, .to = to};
	struct kill *k;

	if (!read_signal(c, &m.signal))
		return;
	if (!msg_name_valid(id, MSG_ID_MAX)) {
		call_error(c, 404, "session not found");
		return;
	}
	k = xcalloc(1, sizeof(*k));
	k->guest = sandbox_guest(c->sandbox);
	c->ops = &ops;
	c->state = k;
	k->request = guest_request(k->guest, &m, on_killed, c);
	if (k->request < 0) {
		k->guest = NULL;
		call_error(c, 502, "cannot reach the sandbox's agent");
	}
}
