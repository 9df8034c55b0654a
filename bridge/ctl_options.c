/*
 * One table has every option once: its letter, if it has one, its name, its help, and the function
 * that takes its value. The same letter may mean different things to different commands. The global
 * ones are accepted before and behind the command's name.
 */
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>

#include "bridge/ctl.h"
#include "bridge/escape.h"
#include "proto/text.h"

#define GLOBAL                                                                                     \
	(OPTION(CONNECT) | OPTION(TOKEN_FILE) | OPTION(RETRY) | OPTION(VERBOSE) | OPTION(HELP) |   \
		OPTION(VERSION))
#define OPTIONS_MAX 32

struct option_def {
	char letter; /* 0: it has none */
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

/* Takes the name over. The last of a name counts, and each may be said only once to the agent. */
static void add_env(struct ctl_options *o, char *name, const char *value)
{
	struct msg_env *env = reallocarray(o->env, o->n_env + 1, sizeof(*env));

	ASSERT(name && env);
	o->env = env;
	for (size_t i = 0; i < o->n_env; i++) {
		if (strcmp(env[i].name, name) == 0) {
			env[i].value = value;
			free(name);
			return;
		}
	}
	env[o->n_env++] = (struct msg_env){.name = name, .value = value};
}

static const char *take_env(struct ctl_options *o, const char *value)
{
	const char *eq = strchr(value, '=');
	size_t len = eq ? (size_t)(eq - value) : 0;

	if (len == 0 || !utf8_valid(value, len))
		return "NAME=VALUE";
	add_env(o, strndup(value, len), eq + 1);
	return NULL;
}

int ctl_add_env(struct ctl_options *o, const char *text)
{
	return take_env(o, text) ? -EINVAL : 0;
}

static const char *take_unset(struct ctl_options *o, const char *value)
{
	if (*value == '\0' || strchr(value, '=') || !utf8_valid(value, strlen(value)))
		return "a variable's name";
	add_env(o, strdup(value), NULL);
	return NULL;
}

static const char *take_thaw(struct ctl_options *o, const char *value)
{
	return parse_seconds(value, 600000, &o->thaw_ms) && o->thaw_ms
		       ? NULL
		       : "seconds, more than 0 and at most 600";
}

static const char *take_no_sync(struct ctl_options *o, const char *value)
{
	(void)value;
	o->no_sync = true;
	return NULL;
}

static const char *take_json_file(struct ctl_options *o, const char *value)
{
	o->json_file = value;
	return NULL;
}

static const char *take_lines(struct ctl_options *o, const char *value)
{
	return parse_u64(value, 1000, &o->lines) && o->lines ? NULL : "a number from 1 to 1000";
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

static const char *take_shell(struct ctl_options *o, const char *value)
{
	o->shell = value;
	return *value ? NULL : "a program";
}

static const char *take_login(struct ctl_options *o, const char *value)
{
	(void)value;
	o->login = true;
	return NULL;
}

static const char *take_record(struct ctl_options *o, const char *value)
{
	o->record = value;
	return *value ? NULL : "a file";
}

static const char *take_escape(struct ctl_options *o, const char *value)
{
	return escape_parse(value, &o->escape) == 0
		       ? NULL
		       : "a character, ^ and one as in ^], or \"none\"";
}

static const char *take_own(struct ctl_options *o, const char *value)
{
	(void)value;
	o->own = true;
	return NULL;
}

static const char *take_read_only(struct ctl_options *o, const char *value)
{
	(void)value;
	o->read_only = true;
	return NULL;
}

static const char *take_json(struct ctl_options *o, const char *value)
{
	(void)value;
	o->json = true;
	return NULL;
}

static const char *take_model(struct ctl_options *o, const char *value)
{
	o->model = value;
	return *value && utf8_valid(value, strlen(value)) ? NULL : "the name of a model";
}

static const char *take_resume(struct ctl_options *o, const char *value)
{
	o->resume = value;
	return *value && utf8_valid(value, strlen(value)) ? NULL : "the id of a conversation";
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

#define FLAG(name, member)                                                                         \
	static const char *name(struct ctl_options *o, const char *value)                          \
	{                                                                                          \
		(void)value;                                                                       \
		o->member = true;                                                                  \
		return NULL;                                                                       \
	}

FLAG(take_long, details)
FLAG(take_all, all)
FLAG(take_recursive, recursive)
FLAG(take_force, force)
FLAG(take_parents, parents)
FLAG(take_quiet, quiet)
FLAG(take_icase, icase)
FLAG(take_literal, literal)
FLAG(take_word, word)
FLAG(take_ignore, ignore)

static const char *take_glob(struct ctl_options *o, const char *value)
{
	o->glob = value;
	return *value ? NULL : "a pattern, e.g. '*.c'";
}

static const char *take_root(struct ctl_options *o, const char *value)
{
	o->root = value;
	return *value == '/' ? NULL : "an absolute path";
}

/* ---- the table ---- */

static const struct option_def table[] = {
	[OPT_STDIN] = {'i', "stdin", NULL, "pass this program's stdin on", take_stdin},
	[OPT_TIMEOUT] = {0, "timeout", "S",
		"end the command after S seconds (TERM, KILL 2 s later)", take_timeout},
	[OPT_USER] = {0, "user", "U", "run as NAME, UID, NAME:GROUP or UID:GID", take_user},
	[OPT_CWD] = {0, "cwd", "D", "start in directory D (else the user's home)", take_cwd},
	[OPT_ENV] = {'e', "env", "K=V", "set a variable; may be repeated", take_env},
	[OPT_ID] = {0, "id", "ID", "name the session; one of that name is attached to", take_id},
	[OPT_KEEP] = {0, "keep", NULL, "do not remove the session at the end", take_keep},
	[OPT_SINCE] = {0, "since", "OUT,ERR", "from these byte offsets on, or: now", take_since},
	[OPT_SHELL] = {0, "shell", "S", "run shell S (else bash or sh)", take_shell},
	[OPT_LOGIN] = {0, "login", NULL, "as a login shell", take_login},
	[OPT_OWN] = {0, "own", NULL, "on a terminal: take it over, its size becomes ours",
		take_own},
	[OPT_READ_ONLY] = {0, "read-only", NULL, "on a terminal: type nothing", take_read_only},
	[OPT_RECORD] = {0, "record", "FILE", "on a terminal: keep it as an asciicast v2",
		take_record},
	[OPT_ESCAPE] = {0, "escape", "K",
		"on a terminal: the escape key, as ~ (the default), ^] or none", take_escape},
	[OPT_MODEL] = {0, "model", "M", "the model to use (else the program's own)", take_model},
	[OPT_RESUME] = {0, "resume", "SID", "go on with this conversation", take_resume},
	[OPT_TO] = {0, "to", "WHOM", "leader, group (the default) or tree", take_to},
	[OPT_GRACE] = {0, "grace", "S", "send KILL after S seconds", take_grace},
	[OPT_COUNT] = {'n', "count", "N", "how many round trips (100)", take_count},
	[OPT_JSON] = {0, "json", NULL, "print JSON", take_json},
	[OPT_UNSET] = {'U', "unset", "KEY", "remove a variable; may be repeated", take_unset},
	[OPT_THAW] = {0, "thaw", "S", "thaw after S seconds at the latest (10)", take_thaw},
	[OPT_NO_SYNC] = {0, "no-sync", NULL, "do not write out what is cached", take_no_sync},
	[OPT_WATCH] = {0, "watch", NULL, "go on and tell of changes", take_watch},
	[OPT_JSON_FILE] = {0, "json-file", "FILE", "a JSON object with what to do; -: stdin",
		take_json_file},
	[OPT_LINES] = {0, "lines", "N", "how many lines (100)", take_lines},
	[OPT_LONG] = {'l', "long", NULL, "with mode, owner, size and time", take_long},
	[OPT_ALL] = {'a', "all", NULL, "hidden ones, too", take_all},
	[OPT_RECURSIVE] = {'r', "recursive", NULL, "directories, and all that is in them",
		take_recursive},
	[OPT_FORCE] = {'f', "force", NULL, "what is not there is not missed", take_force},
	[OPT_PARENTS] = {'p', "parents", NULL, "make what is above it; fine if it is there",
		take_parents},
	[OPT_QUIET] = {'q', "quiet", NULL, "no progress bar", take_quiet},
	[OPT_IGNORE_CASE] = {'i', "ignore-case", NULL, "small and capital letters are the same",
		take_icase},
	[OPT_FIXED] = {'F', "fixed", NULL, "the pattern is text, not an expression", take_literal},
	[OPT_WORD] = {'w', "word", NULL, "whole words only", take_word},
	[OPT_GLOB] = {0, "glob", "G", "only files whose name matches", take_glob},
	[OPT_GITIGNORE] = {0, "gitignore", NULL, "leave out what .gitignore files say",
		take_ignore},
	[OPT_ROOT] = {0, "root", "DIR", "a directory that no path leads out of", take_root},
	[OPT_AS] = {0, "as", "U", "with the rights of NAME, UID, NAME:GROUP or UID:GID", take_user},
	[OPT_CONNECT] = {0, "connect", "TARGET", TARGET_USAGE, take_connect},
	[OPT_TOKEN_FILE] = {0, "token-file", "FILE", "the file with the agent's token",
		take_token_file},
	[OPT_RETRY] = {0, "retry", "S", "give up S seconds after the link broke (30)", take_retry},
	[OPT_VERBOSE] = {'v', "verbose", NULL, "say what the link does", take_verbose},
	[OPT_HELP] = {'h', "help", NULL, "print this", take_help},
	[OPT_VERSION] = {0, "version", NULL, "print the version", take_version},
};

static bool is_global(const struct option_def *d)
{
	return GLOBAL >> (d - table) & 1;
}

static bool allowed(const struct option_def *d, const struct ctl_command *cmd)
{
	return is_global(d) || (cmd && (cmd->options >> (d - table) & 1));
}

/* What getopt_long() gives back: a letter, or, for a long name, LONG and the place in the table. */
#define LONG 256

static const struct option_def *find_def(int key, const struct ctl_command *cmd)
{
	if (key >= LONG)
		return &table[key - LONG];
	for (size_t i = 0; i < array_size(table); i++) {
		if (allowed(&table[i], cmd) && table[i].letter == key)
			return &table[i];
	}
	return NULL;
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
			.name = d->name, .has_arg = d->arg ? 1 : 0, .val = LONG + (int)i};
		if (d->letter)
			*s++ = d->letter;
		if (d->letter && d->arg)
			*s++ = ':';
	}
	*s = '\0';
	opterr = 0;
	optind = 0; /* 0: getopt begins anew */
	while ((letter = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		const struct option_def *d = find_def(letter, cmd);
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
		char left[40];

		if (is_global(d) != global || !allowed(d, cmd))
			continue;
		if (first)
			printf("\n%s\n", title);
		first = false;
		snprintf(left, sizeof(left), "%c%c --%s %s", d->letter ? '-' : ' ',
			d->letter ? d->letter : ' ', d->name, d->arg ? d->arg : "");
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
