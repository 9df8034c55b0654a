/*
 * target.h - where an agent is, and the way to a byte stream there.
 *
 *	unix:PATH         a unix socket agentd listens on
 *	vsock:CID:PORT    the guest with this context id, straight through AF_VSOCK
 *	hybrid:PATH:PORT  a hypervisor's unix socket for a guest's vsock: "CONNECT PORT" is said
 *first (Firecracker, Cloud Hypervisor, vhost-device-vsock)
 *
 * A dial makes one attempt. It never blocks and knows no loop: dial_start() and dial_step() say
 * which event on the descriptor to wait for before the next dial_step().
 */
#pragma once

#include "base/base.h"

#define TARGET_PATH_MAX 108 /* sun_path, with its NUL */
#define TARGET_USAGE    "unix:PATH, vsock:CID:PORT or hybrid:PATH:PORT"

enum target_kind { TARGET_UNIX, TARGET_VSOCK, TARGET_HYBRID };

struct target {
	enum target_kind kind;
	/* UNIX: the file must be a socket, not a link to one: somebody else has its directory. */
	bool no_link;
	char path[TARGET_PATH_MAX];
	uint32_t cid, port;
};

/* 0, or -EINVAL and a sentence in *ret_why (a constant). */
int target_parse(const char *text, struct target *ret, const char **ret_why);
/* What dial_start() or dial_step() failed with, in words and with what to do about it. */
void target_explain(const struct target *t, int err, char *out, size_t size);

#define DIAL_DONE     0
#define DIAL_READABLE 1
#define DIAL_WRITABLE 2
#define DIAL_LINE_MAX 64 /* longest answer to CONNECT */

enum dial_state {
	DIAL_IDLE,
	DIAL_CONNECTING,
	DIAL_ASKED, /* CONNECT is said, the answer is not there yet */
	DIAL_CONNECTED,
};

struct dial {
	enum dial_state state;
	const struct target *target; /* borrowed */
	int fd;                      /* owned; non-blocking, close-on-exec */
	char line[DIAL_LINE_MAX];
	size_t line_len;
};

#define DIAL_NULL ((struct dial){.fd = -1})

/*
 * Both return DIAL_DONE, DIAL_READABLE or DIAL_WRITABLE, or -errno. Beside what connect(2) gives:
 * -EPROTO: the answer to CONNECT is not one; -ECONNRESET: hung up instead of answering it.
 */
int dial_start(struct dial *d, const struct target *t);
int dial_step(struct dial *d);
void dial_fini(struct dial *d); /* closes the descriptor unless it was taken; idempotent */
