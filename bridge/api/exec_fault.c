#include "bridge/api/exec_fault.h"

void exec_fault_open(struct fault *f, int err)
{
	if (err == -E2BIG)
		fault_set(f, 400, "command and environment are over 64 KiB");
	else if (err == -EMFILE)
		fault_set(f, 503, "too much is done at once in this sandbox");
	else
		fault_set(f, 503, "cannot reach the sandbox's agent: %s", strerror(-err));
}

void exec_fault_close(
	struct fault *f, const struct sandbox *s, enum remote_why why, const struct error *e)
{
	if (why == REMOTE_REFUSED && e->code == E_NOT_FOUND)
		fault_set(f, 404, "session not found");
	else if (why == REMOTE_REFUSED && e->code == E_TOO_MANY)
		fault_set(f, 503, "%s", e->message);
	else if (why == REMOTE_REFUSED)
		fault_from_error(f, e, NULL);
	else if (s->state >= SANDBOX_KILLING)
		fault_set(f, 410, "%s", e->message);
	else
		fault_set(f, 502, "the sandbox's agent is lost: %s", e->message);
}
