/*
 * msg.h - the JSON messages of docs/protocol.md as structs, both ways. cJSON is used behind this
 * header and nowhere else. Reading is strict about types and ranges and blind to unknown members;
 * every failure fills a struct error that can be sent as it is.
 *
 * A parsed message owns one block of memory (`mem`) that all its strings and arrays lie in; the
 * *_fini functions free it and are fine on a zeroed struct. Parsers fill *ret only on success.
 */
#pragma once

#include "proto/error.h"
#include "proto/frame.h"
#include "proto/jsonw.h"

#define MSG_ID_MAX      64 /* session ids; viewer names are at most MSG_VIEWER_MAX */
#define MSG_VIEWER_MAX  23
#define MSG_HOLD_MAX_MS 300000
#define MSG_MS_MAX      (366ULL * 24 * 3600 * 1000) /* longest time in any message */
#define MSG_RLIMITS_MAX 16

/* 1..max characters of A-Z a-z 0-9 . _ - */
bool msg_name_valid(const char *s, size_t max);

/* ---- hello ---- */

struct msg_limits {
	uint64_t frame, channels, sessions, ring_max, stdin_window, viewers, writers, file_window;
};

struct msg_hello {
	void *mem;
	uint64_t proto;
	const char *name; /* "agent" or "client" member; "" when absent */
	const char *version;
	/* Agent only. */
	const char *boot_id, *instance;
	uint64_t epoch;
	struct msg_limits limits;
};

int msg_parse_hello(const uint8_t *json, size_t len, struct msg_hello *ret, struct error *e);
void msg_hello_fini(struct msg_hello *m);
size_t msg_format_hello_client(const char *name, const char *version, char *out, size_t size);
/* Members only, so that `info` can hold them too. */
void msg_put_hello_agent(struct jsonw *w, const struct msg_hello *m);

/* ---- starting and attaching ---- */

struct msg_env {
	const char *name;
	const char *value; /* NULL removes it */
};

struct msg_rlimit {
	int resource;       /* RLIMIT_* */
	int64_t soft, hard; /* -1: unlimited */
};

/* What a cgroup may use; of each 0: not said, RESOURCE_NONE: no limit. */
#define RESOURCE_NONE (-1)
struct msg_resources {
	int64_t memory; /* bytes */
	int64_t pids;
	int64_t cpu_percent; /* 100: one CPU */
};

static inline bool msg_resources_any(const struct msg_resources *r)
{
	return r->memory || r->pids || r->cpu_percent;
}

/* An object named `name`, or (NULL) at the top, of those that are said. */
void msg_put_resources(struct jsonw *w, const char *name, const struct msg_resources *l);

/* Of a terminal. */
struct msg_size {
	uint16_t cols, rows, xpixel, ypixel;
};

/* start.pty */
struct msg_pty {
	bool on; /* it was given: the session is on a terminal, with_stdin is set, cmd may be absent
		  */
	bool login;
	struct msg_size size;
	const char *term;  /* never NULL when on, as read from a message */
	const char *shell; /* NULL: the agent chooses */
};

enum msg_group { GROUP_AUTO, GROUP_SESSION, GROUP_PROCESS };

struct msg_start {
	char **argv; /* NULL-terminated; argv[-1] is a spare slot, see spawn.h. NULL: none given,
			only with pty */
	size_t argc;
	struct msg_env *env;
	size_t n_env;
	bool agent; /* a driver of ours instead of a command: argv is how it is listed */
	bool clear_env, with_stdin;
	enum msg_group group;
	const char *cwd, *user; /* NULL: default */
	uint64_t timeout_ms, kill_grace_ms, disconnect_ms, linger_ms, retain_ms, ring;
	bool has_retain,
		has_ring; /* given, so that the agent's configured default does not apply */
	struct msg_rlimit rlimits[MSG_RLIMITS_MAX];
	size_t n_rlimits;
	struct msg_resources limits;
	struct msg_pty pty;
	uint64_t fingerprint; /* of all of the above but the terminal's size; never 0 */
};

enum msg_policy { POLICY_LOSSLESS, POLICY_LIVE };
enum msg_own { OWN_IF_FREE, OWN_TAKE, OWN_NEVER };

struct msg_attach {
	const char *viewer; /* NULL: unnamed */
	bool since_now, input;
	uint64_t since_out, since_err;
	enum msg_policy policy;
	uint64_t hold_ms;
	uint64_t yield_ms; /* 0: never */
	/* Of a terminal. */
	enum msg_own own;
	bool has_size;
	struct msg_size size;
};

struct msg_open {
	void *mem;
	const char *service;
	const char *id; /* NULL: the agent chooses */
	uint64_t window;
	bool has_start;
	struct msg_start start;
	struct msg_attach attach;
};

int msg_parse_open(const uint8_t *json, size_t len, struct msg_open *ret, struct error *e);
void msg_open_fini(struct msg_open *m);
/* Client. 0 when it does not fit into a frame. */
size_t msg_format_open(const struct msg_open *m, char *out, size_t size);

/* ---- what a session tells ---- */

enum end_state {
	END_RUNNING,
	END_EXITED,
	END_SIGNALED,
	END_TIMED_OUT,
	END_KILLED,
	END_OOM_KILLED,
	END_START_FAILED,
	END_AGENT_LOST,
	END_LAST
};

enum end_by { BY_NONE, BY_CLIENT, BY_DISCONNECT, BY_SHUTDOWN, BY_LAST };

const char *end_state_str(enum end_state s);

struct msg_end {
	enum end_state state;
	enum end_by by;
	bool core;
	int code; /* when signal is 0 */
	int signal;
	int err; /* START_FAILED */
	char stage[12];
	uint64_t out, err_bytes;
	uint64_t started_ms, ended_ms, wall_ms; /* since 1970; since 1970; by the monotonic clock */
	uint64_t user_us, sys_us, maxrss_kb;
};

/* An object named `name` (NULL: at the top, with "event":"end" when event is set). */
void msg_put_end(struct jsonw *w, const char *name, const struct msg_end *m, bool event);

struct msg_span {
	uint64_t oldest, head;
};

struct msg_opened {
	char id[MSG_ID_MAX + 1];
	bool is_new, stdin_open;
	enum end_state state;
	int64_t pid;
	struct msg_span out, err;
	uint64_t stdin_offset, window;
	bool has_pty, owner;
	struct msg_size size;
};

size_t msg_format_opened(const struct msg_opened *m, char *out, size_t size);
int msg_parse_opened(const uint8_t *json, size_t len, struct msg_opened *ret, struct error *e);

enum msg_event_kind {
	EVENT_UNKNOWN,
	EVENT_LIVE,
	EVENT_END,
	EVENT_STDIN_CLOSED,
	EVENT_OWNER,
	EVENT_SIZE
};

struct msg_event {
	enum msg_event_kind kind;
	struct msg_end end;
	uint64_t offset;      /* STDIN_CLOSED */
	bool owner;           /* OWNER */
	struct msg_size size; /* SIZE */
};

int msg_parse_event(const uint8_t *json, size_t len, struct msg_event *ret, struct error *e);
size_t msg_format_size_event(const struct msg_size *m, char *out, size_t size);

/* ---- requests ---- */

enum msg_op {
	OP_UNKNOWN,
	OP_PING,
	OP_INFO,
	OP_LIST,
	OP_START,
	OP_KILL,
	OP_REMOVE,
	OP_UPGRADE,
	OP_POWER,
	OP_SIGNAL,
	OP_RESIZE,
	OP_OWN,
	OP_REPAINT
};
enum msg_target { TARGET_GROUP, TARGET_LEADER, TARGET_TREE };

struct msg_request {
	void *mem;
	enum msg_op op;
	const char *op_name;
	const char *id;    /* LIST, START: may be NULL; KILL, REMOVE: never */
	const char *after; /* LIST; may be NULL */
	uint64_t limit;
	int signal; /* KILL, SIGNAL */
	enum msg_target to;
	bool escalate; /* grace_ms was given */
	uint64_t grace_ms;
	const char *path;     /* UPGRADE */
	bool reboot;          /* POWER */
	struct msg_size size; /* RESIZE */
	bool has_start;
	struct msg_start start;
};

int msg_parse_request(const uint8_t *json, size_t len, struct msg_request *ret, struct error *e);
void msg_request_fini(struct msg_request *m);
size_t msg_format_request(const struct msg_request *m, char *out, size_t size);

/* One entry of `list`. The argv bytes are NUL-separated. */
struct msg_entry {
	const char *id;
	struct msg_end end; /* state RUNNING: still running */
	const char *cmd;
	size_t cmd_len;
	bool cmd_cut;
	const char *cwd, *user;
	int64_t pid;
	struct msg_span out, err;
	bool stdin_open;
	uint64_t stdin_accepted, stdin_written, stdin_in_doubt;
	uint64_t viewers, held;
	int64_t disconnect_left_ms, retain_left_ms, timeout_left_ms; /* -1: not running */
	uint64_t ring_size, ring_used;
	bool has_pty;
	struct msg_size size;
};

void msg_put_entry(struct jsonw *w, const struct msg_entry *m);

struct msg_list {
	void *mem;
	struct msg_entry *entries; /* cmd is one line, arguments joined by blanks, for people */
	size_t n;
	const char *next; /* NULL at the end */
};

int msg_parse_list(const uint8_t *json, size_t len, struct msg_list *ret, struct error *e);
void msg_list_fini(struct msg_list *m);

/* If the JSON is {"error":{...}}: 1 and *ret filled. 0: some other object. -EINVAL: not an object.
 */
int msg_parse_error(const uint8_t *json, size_t len, struct error *ret);
/* {"notice":word}; the word, cut to size. */
int msg_parse_notice(const uint8_t *json, size_t len, char *word, size_t size);
