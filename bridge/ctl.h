/*
 * ctl.h - what the commands of agentctl share: options, one link, messages, the way out.
 *
 * A command is a constant table entry. Its begin() runs once, before the link is dialed; up() each
 * time the link is there. ctl_finish() ends the program from anywhere: end() of the command closes
 * its handles, then the link goes, then the loop runs dry.
 */
#pragma once

#include "bridge/guest.h"

/* Exit codes of our own; others are the command's, as a shell would tell them. */
#define CTL_NOT_DONE  1 /* the agent could not do something to a file, or found nothing */
#define CTL_TIMED_OUT 124
#define CTL_FAILED    125 /* agentctl failed, or the link is lost */
#define CTL_CANNOT    126 /* the command is there and could not be started */
#define CTL_NO_SUCH   127 /* no such command */
#define CTL_BROKEN    141 /* nobody reads our stdout: 128 + SIGPIPE */

struct ctl_options {
	const char *connect;
	const char *token_file;
	uint64_t retry_ms;
	bool verbose, help, version;
	/* run, start */
	bool with_stdin, keep;
	uint64_t timeout_ms;
	const char *user, *cwd, *id;
	struct msg_env *env; /* owned */
	size_t n_env;
	/* agent */
	const char *model, *resume;
	/* attach */
	uint64_t since[2];
	bool since_now;
	/* pty, attach */
	const char *shell, *record;
	bool login, own, read_only;
	int escape; /* key, -1: none */
	/* list, info */
	bool json;
	/* files; `user` as well */
	bool details, all, recursive, force, parents, quiet, icase, literal, word, ignore;
	const char *glob, *root;
	/* ports */
	bool watch;
	/* kill */
	enum msg_target to;
	bool has_grace;
	uint64_t grace_ms;
	/* log, prepare, resume */
	uint64_t lines, thaw_ms;
	bool no_sync;
	const char *json_file;
	/* ping */
	uint64_t count;
	char **args; /* what is not an option; NULL-terminated */
	int n_args;
};

/* Every option there is; a command says which it takes. */
enum ctl_option {
	OPT_STDIN,
	OPT_TIMEOUT,
	OPT_USER,
	OPT_CWD,
	OPT_ENV,
	OPT_ID,
	OPT_KEEP,
	OPT_SINCE,
	OPT_SHELL,
	OPT_LOGIN,
	OPT_OWN,
	OPT_READ_ONLY,
	OPT_RECORD,
	OPT_ESCAPE,
	OPT_MODEL,
	OPT_RESUME,
	OPT_TO,
	OPT_WATCH,
	OPT_GRACE,
	OPT_COUNT,
	OPT_JSON,
	OPT_UNSET,
	OPT_THAW,
	OPT_NO_SYNC,
	OPT_JSON_FILE,
	OPT_LINES,
	OPT_LONG,
	OPT_ALL,
	OPT_RECURSIVE,
	OPT_FORCE,
	OPT_PARENTS,
	OPT_QUIET,
	OPT_IGNORE_CASE,
	OPT_FIXED,
	OPT_WORD,
	OPT_GLOB,
	OPT_GITIGNORE,
	OPT_ROOT,
	OPT_AS,
	OPT_CONNECT,
	OPT_TOKEN_FILE,
	OPT_RETRY,
	OPT_VERBOSE,
	OPT_HELP,
	OPT_VERSION,
	OPT_LAST,
};
#define OPTION(name) (1ULL << OPT_##name)

struct ctl;

struct ctl_command {
	const char *name, *args, *summary;
	const char *about;                    /* the text of --help */
	uint64_t options;                     /* OPTION(A) | OPTION(B) */
	int min_args, max_args;               /* max -1: any number, and options end at the first */
	bool minds_loss;                      /* tells itself when a link that was up is lost */
	int (*begin)(struct ctl *c);          /* 0, or an exit code */
	void (*up)(struct ctl *c, bool same); /* may be NULL */
	void (*end)(struct ctl *c);           /* may be NULL */
};

struct ctl {
	uv_loop_t loop;
	struct guest guest;
	struct guest_user user;
	uv_timer_t patience; /* after a link broke: time to say so */
	const struct ctl_command *command;
	struct ctl_options options;
	char *token;     /* owned */
	bool quiet_loss; /* the link is expected to break: not a word */
	bool said_loss;
	bool finished;
	int exit_code;
	void *state; /* the command's own; freed after the loop ran dry */
};

/* ctl_options.c */
extern const struct ctl_command *const ctl_commands[]; /* agentctl.c; ends with NULL */
/* 0, or -EINVAL after having said what is wrong. Options before the command's name. */
int ctl_parse_global(struct ctl_options *o, int argc, char **argv);
int ctl_parse_command(struct ctl_options *o, const struct ctl_command *cmd, int argc, char **argv);
void ctl_help(const struct ctl_command *cmd); /* NULL: of agentctl as a whole */

/* Adds NAME=VALUE to the variables; -EINVAL: it is none. */
int ctl_add_env(struct ctl_options *o, const char *text);

/* "agentctl: ..." and a line end, on stderr, also while the terminal is raw. */
void ctl_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same about an error of the agent, behind what could not be done: "cannot list: ...". */
void ctl_say_error(const char *what, const struct error *e);
void ctl_finish(struct ctl *c, int exit_code);
/* Did the request fail because the link broke? Then up() comes again, or the end. */
bool ctl_link_broke(const struct error *e);
/* Sends a request; one that cannot even be sent ends the program. */
void ctl_request(struct ctl *c, const struct msg_request *m, guest_response_fn fn);
/* After printing: exit code 0, or that of a stdout that did not take it. */
int ctl_flush_stdout(void);

/* What `run` and `start` ask for; borrows from the options. (ctl_run.c) */
void ctl_fill_start(const struct ctl_options *o, struct msg_start *ret);

/* ctl_run.c */
extern const struct ctl_command ctl_run, ctl_attach;
/* ctl_pty.c, ctl_agent.c */
extern const struct ctl_command ctl_pty, ctl_agent;
/* ctl_simple.c */
extern const struct ctl_command ctl_start, ctl_kill, ctl_remove, ctl_power, ctl_upgrade;
/* ctl_list.c, ctl_ping.c */
extern const struct ctl_command ctl_list, ctl_info, ctl_ping;
/* ctl_ls.c, ctl_file.c, ctl_cat.c, ctl_cp.c */
extern const struct ctl_command ctl_ls, ctl_rm, ctl_mkdir, ctl_stat, ctl_du, ctl_mv, ctl_cat,
	ctl_cp;
/* ctl_lines.c */
extern const struct ctl_command ctl_glob, ctl_grep, ctl_watch_files;
/* ctl_sys.c */
extern const struct ctl_command ctl_env, ctl_stats, ctl_log, ctl_prepare, ctl_resume;
/* ctl_ports.c, ctl_forward.c */
extern const struct ctl_command ctl_ports, ctl_forward;
