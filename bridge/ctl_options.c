/*
 * One table has every option once: its letter (the key in a command's `options`, and on the command
 * line where `short_too`), its name, its help, and the function that takes its value. The global
 * ones are accepted before and behind the command's name.
 */
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>

#include "bridge/ctl.h"
#include "proto/text.h"

#define GLOBAL      "CTRvhV"
#define OPTIONS_MAX 32

struct option_def {
	char letter;
	bool short_too;
	const char *name;
	const char *arg; /* NULL: takes none */
	const char *help;
	/* Returns NULL, or what the value must be. */
	const char *(*take)(struct ctl_options *o, const char *value);
};

/* ---- values ---- */

static bool parse_u64(const char *s, uint64_t max, uint64_t *ret)
{
	char *end;
	unsigned long long v;

	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	v = strtoull(s, &end, 10);
	if (errno || *end || v > max)
		return false;
	*ret = v;
	return true;
}

/* Seconds, with up to three places behind the point that count, as milliseconds. */
static bool parse_seconds(const char *s, uint64_t max_ms, uint64_t *ret_ms)
{
	double v;
	char *end;

	if (*s == '\0' || strspn(s, "0123456789.") != strlen(s))
		return false;
	v = strtod(s, &end);
	if (*end || v * 1000 > (double)max_ms)
		return false;
	*ret_ms = (uint64_t)(v * 1000 + 0.5);
	if (v > 0 && *ret_ms == 0)
		*ret_ms = 1;
	return true;
}

static const char *take_connect(struct ctl_options *o, const char *value)
{
	o->connect = value;
	return NULL;
}

static const char *take_token_file(struct ctl_options *o, const char *value)
{
	o->token_file = value;
	return NULL;
}

static const char *take_retry(struct ctl_options *o, const char *value)
{
	return parse_seconds(value, MSG_MS_MAX, &o->retry_ms) ? NULL : "seconds, e.g. 30 or 0.5";
}

static const char *take_verbose(struct ctl_options *o, const char *value)
{
	(void)value;
	o->verbose = true;
	return NULL;
}

static const char *take_help(struct ctl_options *o, const char *value)
{
	(void)value;
	o->help = true;
	return NULL;
}

static const char *take_version(struct ctl_options *o, const char *value)
{
	(void)value;
	o->version = true;
	return NULL;
}

static const char *take_stdin(struct ctl_options *o, const char *value)
{
	(void)value;
	o->with_stdin = true;
	return NULL;
}

static const char *take_timeout(struct ctl_options *o, const char *value)
{
	return parse_seconds(value, MSG_MS_MAX, &o->timeout_ms) ? NULL : "seconds, e.g. 10 or 0.5";
}

static const char *take_user(struct ctl_options *o, const char *value)
{
	if (*value == '\0' || !utf8_valid(value, strlen(value)))
		return "NAME, UID, NAME:GROUP or UID:GID";
	o->user = value;
	return NULL;
}

static const char *take_cwd(struct ctl_options *o, const char *value)
{
	o->cwd = value;
	return *value ? NULL : "a directory";
}

static const char *take_env(struct ctl_options *o, const char *value)
{
	const char *eq = strchr(value, '=');
	size_t len = eq ? (size_t)(eq - value) : 0;
	struct msg_env *env;
	char *name;

	if (len == 0 || !utf8_valid(value, len))
		return "NAME=VALUE";
	name = strndup(value, len);
	env = reallocarray(o->env, o->n_env + 1, sizeof(*env));
	ASSERT(name && env);
	o->env = env;
	/* The last of a name counts, and each may be said only once to the agent. */
	for (size_t i = 0; i < o->n_env; i++) {
		if (strcmp(env[i].name, name) == 0) {
			env[i].value = eq + 1;
			free(name);
			return NULL;
		}
	}
	env[o->n_env++] = (struct msg_env){.name = name, .value = eq + 1};
	return NULL;
}

static const char *take_id(struct ctl_options *o, const char *value)
{
	if (!msg_name_valid(value, MSG_ID_MAX))
		return "1 to 64 characters of A-Z a-z 0-9 . _ -";
	o->id = value;
	return NULL;
}

static const char *take_keep(struct ctl_options *o, const char *value)
{
	(void)value;
	o->keep = true;
	return NULL;
}

static const char *take_since(struct ctl_options *o, const char *value)
{
	const char *comma = strchr(value, ',');
	char out[24];

	o->since_now = strcmp(value, "now") == 0;
	if (o->since_now)
		return NULL;
	if (comma && (size_t)(comma - value) < sizeof(out)) {
		snprintf(out, sizeof(out), "%.*s", (int)(comma - value), value);
		if (parse_u64(out, 1ULL << 53, &o->since[0]) &&
			parse_u64(comma + 1, 1ULL << 53, &o->since[1]))
			return NULL;
	}
	return "two byte offsets, as in 4096,0, or \"now\"";
}

static const char *take_json(struct ctl_options *o, const char *value)
{
	(void)value;
	o->json = true;
	return NULL;
}

static const char *take_watch(struct ctl_options *o, const char *value)
{
	(void)value;
	o->watch = true;
	return NULL;
}

static const char *take_to(struct ctl_options *o, const char *value)
{
	if (strcmp(value, "leader") == 0)
		o->to = TARGET_LEADER;
	else if (strcmp(value, "group") == 0)
		o->to = TARGET_GROUP;
	else if (strcmp(value, "tree") == 0)
		o->to = TARGET_TREE;
	else
		return "leader, group or tree";
	return NULL;
}

static const char *take_grace(struct ctl_options *o, const char *value)
{
	o->has_grace = true;
	return parse_seconds(value, MSG_MS_MAX, &o->grace_ms) ? NULL : "seconds, e.g. 5 or 0.5";
}

static const char *take_count(struct ctl_options *o, const char *value)
{
	return parse_u64(value, 10000000, &o->count) && o->count > 0 ? NULL : "a number from 1 up";
}

/* ---- the table ---- */

static const struct option_def table[] = {
	{'i', true, "stdin", NULL, "pass this program's stdin on", take_stdin},
	{'t', false, "timeout", "S", "end the command after S seconds (TERM, KILL 2 s later)",
		take_timeout},
	{'u', false, "user", "U", "run as NAME, UID, NAME:GROUP or UID:GID", take_user},
	{'d', false, "cwd", "D", "start in directory D (else the user's home)", take_cwd},
	{'e', true, "env", "K=V", "set a variable; may be repeated", take_env},
	{'I', false, "id", "ID", "name the session; one of that name is attached to", take_id},
	{'k', false, "keep", NULL, "do not remove the session at the end", take_keep},
	{'s', false, "since", "OUT,ERR", "from these byte offsets on, or: now", take_since},
	{'o', false, "to", "WHOM", "leader, group (the default) or tree", take_to},
	{'g', false, "grace", "S", "send KILL after S seconds", take_grace},
	{'n', true, "count", "N", "how many round trips (100)", take_count},
	{'j', false, "json", NULL, "print JSON", take_json},
	{'w', false, "watch", NULL, "go on and tell of changes", take_watch},
	{'C', false, "connect", "TARGET", TARGET_USAGE, take_connect},
	{'T', false, "token-file", "FILE", "the file with the agent's token", take_token_file},
	{'R', false, "retry", "S", "give up S seconds after the link broke (30)", take_retry},
	{'v', true, "verbose", NULL, "say what the link does", take_verbose},
	{'h', true, "help", NULL, "print this", take_help},
	{'V', false, "version", NULL, "print the version", take_version},
};

static const struct option_def *find_def(int letter)
{
	for (size_t i = 0; i < array_size(table); i++) {
		if (table[i].letter == letter)
			return &table[i];
	}
	return NULL;
}

static bool allowed(const struct option_def *d, const struct ctl_command *cmd)
{
	return strchr(GLOBAL, d->letter) || (cmd && strchr(cmd->options, d->letter));
}

/* ---- parsing ---- */

static int usage_error(const struct ctl_command *cmd)
{
	fprintf(stderr, "Try: agentctl %s%s--help\n", cmd ? cmd->name : "", cmd ? " " : "");
	return -EINVAL;
}

static int parse(struct ctl_options *o, const struct ctl_command *cmd, bool stop_at_first, int argc,
	char **argv)
{
	struct option longs[array_size(table) + 1] = {0};
	char shorts[3 + 2 * array_size(table)], *s = shorts;
	size_t n = 0;
	int letter;

	if (stop_at_first)
		*s++ = '+';
	*s++ = ':';
	for (size_t i = 0; i < array_size(table); i++) {
		const struct option_def *d = &table[i];

		if (!allowed(d, cmd))
			continue;
		longs[n++] = (struct option){
			.name = d->name, .has_arg = d->arg ? 1 : 0, .val = d->letter};
		if (d->short_too)
			*s++ = d->letter;
		if (d->short_too && d->arg)
			*s++ = ':';
	}
	*s = '\0';
	opterr = 0;
	optind = 0; /* 0: getopt begins anew */
	while ((letter = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		const struct option_def *d = find_def(letter);
		const char *must;

		if (letter == ':' || letter == '?') {
			ctl_say(letter == ':' ? "%s wants a value" : "there is no option %s",
				argv[optind - 1]);
			return usage_error(cmd);
		}
		must = d->take(o, optarg);
		if (must) {
			ctl_say("--%s %s: it must be %s", d->name, optarg, must);
			return usage_error(cmd);
		}
	}
	o->args = argv + optind;
	o->n_args = argc - optind;
	return 0;
}

int ctl_parse_global(struct ctl_options *o, int argc, char **argv)
{
	return parse(o, NULL, true, argc, argv);
}

int ctl_parse_command(struct ctl_options *o, const struct ctl_command *cmd, int argc, char **argv)
{
	int r = parse(o, cmd, cmd->max_args < 0, argc, argv);

	if (r < 0 || o->help || o->version)
		return r;
	if (o->n_args < cmd->min_args)
		ctl_say("something is missing: agentctl %s %s", cmd->name, cmd->args);
	else if (cmd->max_args >= 0 && o->n_args > cmd->max_args)
		ctl_say("'%s' is too much: agentctl %s %s", o->args[cmd->max_args], cmd->name,
			cmd->args);
	else
		return 0;
	return usage_error(cmd);
}

/* ---- help ---- */

static void print_options(const char *title, const struct ctl_command *cmd, bool global)
{
	bool first = true;

	for (size_t i = 0; i < array_size(table); i++) {
		const struct option_def *d = &table[i];
		bool is_global = strchr(GLOBAL, d->letter);
		char left[40];

		if (is_global != global || !allowed(d, cmd))
			continue;
		if (first)
			printf("\n%s\n", title);
		first = false;
		snprintf(left, sizeof(left), "%c%c --%s %s", d->short_too ? '-' : ' ',
			d->short_too ? d->letter : ' ', d->name, d->arg ? d->arg : "");
		printf("  %-24s %s\n", left, d->help);
	}
}

void ctl_help(const struct ctl_command *cmd)
{
	if (cmd) {
		printf("usage: agentctl %s %s\n\n%s\n", cmd->name, cmd->args, cmd->about);
		print_options("Options:", cmd, false);
	} else {
		printf("usage: agentctl [--connect TARGET] COMMAND ...\n\n"
		       "Talks to an agentd: runs commands where it is, and looks after them.\n\n"
		       "Commands:\n");
		for (int i = 0; ctl_commands[i]; i++)
			printf("  %-10s %s\n", ctl_commands[i]->name, ctl_commands[i]->summary);
	}
	print_options("Options of all commands:", cmd, true);
	printf("\nTARGET is $AGENTCTL_CONNECT when it is not given, else unix:/run/agentd.sock.\n");
	if (!cmd)
		printf("More: agentctl COMMAND --help, and agentctl(1).\n");
}
