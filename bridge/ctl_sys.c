/*
 * env, stats, log, prepare, resume: requests of the family `sys`. Their answers are printed from
 * the JSON as it came, so what a newer agent tells is shown as well.
 */
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

#include "bridge/ctl.h"
#include "bridge/ctl_json.h"
#include "proto/text.h"

/* Sends what is in w, closed here. */
static void ask(struct ctl *c, struct jsonw *w, guest_response_fn fn)
{
	int64_t r;

	jsonw_close(w, '}');
	r = w->overflow ? -EMSGSIZE : guest_ask(&c->guest, w->out, w->len, fn, c);
	if (r == -EMSGSIZE)
		ctl_say("%s: the request is over 64 KiB, the most the agent takes",
			c->command->name);
	else if (r < 0)
		ctl_say("%s: %s", c->command->name, strerror((int)-r));
	if (r < 0)
		ctl_finish(c, CTL_FAILED);
}

static void begin_request(struct jsonw *w, char *out, size_t size, const char *op)
{
	jsonw_init(w, out, size);
	jsonw_open(w, NULL, '{');
	jsonw_str(w, "op", op);
}

/* True: the answer is an error; the next link repeats the request, or it has been said. */
static bool failed(struct ctl *c, const struct error *error)
{
	char what[32];

	if (!error)
		return false;
	if (ctl_link_broke(error))
		return true;
	snprintf(what, sizeof(what), "cannot %s", c->command->name);
	ctl_say_error(what, error);
	ctl_finish(c, CTL_FAILED);
	return true;
}

static int begin_nothing(struct ctl *c)
{
	(void)c;
	return 0;
}

static struct json_text text_of(const uint8_t *json, size_t len)
{
	return (struct json_text){(const char *)json, len};
}

/* A value for a line of text: strings without their quotes. Of the escapes only those of quotes and
 * backslashes are undone: the others would be control characters. */
static void print_value(struct json_text v)
{
	bool quoted = v.len >= 2 && *v.p == '"';
	const char *end = v.p + v.len - quoted;

	for (const char *at = v.p + quoted; at < end; at++) {
		if (*at == '\\' && end - at > 1 && (at[1] == '"' || at[1] == '\\'))
			at++;
		putchar(*at);
	}
}

static bool print_json(struct ctl *c, const uint8_t *json, size_t len)
{
	if (c->options.json)
		printf("%.*s\n", (int)len, (const char *)json);
	return c->options.json;
}

/* ---- env ---- */

static int begin_env(struct ctl *c)
{
	for (int i = 0; i < c->options.n_args; i++) {
		if (ctl_add_env(&c->options, c->options.args[i]) < 0) {
			ctl_say("'%s' is not KEY=VALUE", c->options.args[i]);
			return CTL_FAILED;
		}
	}
	return 0;
}

static void on_env(void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	struct ctl *c = owner;
	struct json_text names, name, value;
	struct json_walk w;

	if (failed(c, error))
		return;
	if (!print_json(c, json, len) && json_member(text_of(json, len), "env", &names) &&
		json_begin(&w, names)) {
		while (json_next(&w, &name, &value)) {
			print_value(value);
			printf("\n");
		}
	}
	ctl_finish(c, ctl_flush_stdout());
}

static void up_env(struct ctl *c, bool same)
{
	const struct ctl_options *o = &c->options;
	char json[FRAME_PAYLOAD_MAX];
	struct jsonw w;

	(void)same;
	begin_request(&w, json, sizeof(json), "sys.env");
	if (o->n_env > 0)
		jsonw_open(&w, "set", '{');
	for (size_t i = 0; i < o->n_env; i++) {
		if (o->env[i].value)
			jsonw_bytes(&w, o->env[i].name, o->env[i].value, strlen(o->env[i].value));
		else
			jsonw_null(&w, o->env[i].name);
	}
	if (o->n_env > 0)
		jsonw_close(&w, '}');
	ask(c, &w, on_env);
}

const struct ctl_command ctl_env = {
	.name = "env",
	.args = "[-U KEY]... [KEY=VALUE]...",
	.summary = "set variables of all commands to come, list their names",
	.about = "Sets and removes variables that every command finds in its environment from now\n"
		 "on, and prints the names of those that are set. Values are never shown.",
	.options = OPTION(UNSET) | OPTION(JSON),
	.max_args = -1,
	.begin = begin_env,
	.up = up_env,
};

/* ---- stats ---- */

#define PATH_SIZE 256

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), k = strlen(end);

	return n >= k && strcmp(s + n - k, end) == 0;
}

static bool is_bytes(const char *path)
{
	static const char *const ends[] = {"_bytes", ".rss", ".pss", ".size", ".free", ".available",
		".total", ".used", ".cached", ".swap_total", ".swap_used", ".current", ".peak",
		"limits.memory"};

	for (size_t i = 0; i < array_size(ends); i++) {
		if (ends_with(path, ends[i]))
			return true;
	}
	return false;
}

static void print_number(const char *path, double v)
{
	static const char units[] = "KMGTPE";
	int u = -1;

	if (ends_with(path, "_ms") || ends_with(path, "_us")) {
		printf("%.3f s\n", v / (ends_with(path, "_ms") ? 1e3 : 1e6));
		return;
	}
	for (; is_bytes(path) && v >= 1024 && units[u + 1]; u++)
		v /= 1024;
	if (u < 0)
		printf("%.12g\n", v);
	else
		printf("%.1f%c\n", v, units[u]);
}

/* What an element of an array is called: by the first of these that it has. */
static bool label_of(struct json_text object, struct json_text *ret)
{
	static const char *const names[] = {"path", "name", "id", "us"};

	for (size_t i = 0; i < array_size(names); i++) {
		if (json_member(object, names[i], ret))
			return true;
	}
	return false;
}

static void print_tree(const char *path, struct json_text value)
{
	struct json_text name, v, label;
	struct json_walk w;
	char below[PATH_SIZE];

	if (!json_begin(&w, value)) {
		printf("%-32s ", path);
		if (value.len > 0 && *value.p >= '0' && *value.p <= '9') {
			print_number(path, strtod(value.p, NULL));
		} else {
			print_value(value);
			printf("\n");
		}
		return;
	}
	while (json_next(&w, &name, &v)) {
		if (w.named) {
			label = name;
		} else if (!label_of(v, &label)) {
			print_tree(path, v);
			continue;
		} else if (*label.p == '"') {
			label = (struct json_text){label.p + 1, label.len - 2};
		}
		snprintf(below, sizeof(below), "%s%s%.*s", path, *path ? "." : "",
			(int)min_of(label.len, (size_t)100), label.p);
		print_tree(below, v);
	}
}

static void on_stats(void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	struct ctl *c = owner;

	if (failed(c, error))
		return;
	if (!print_json(c, json, len))
		print_tree("", text_of(json, len));
	ctl_finish(c, ctl_flush_stdout());
}

static void up_stats(struct ctl *c, bool same)
{
	char json[FRAME_PAYLOAD_MAX];
	struct jsonw w;

	(void)same;
	begin_request(&w, json, sizeof(json), "sys.stats");
	jsonw_open(&w, "sessions", '[');
	for (int i = 0; i < c->options.n_args; i++)
		jsonw_bytes(&w, NULL, c->options.args[i], strlen(c->options.args[i]));
	jsonw_close(&w, ']');
	ask(c, &w, on_stats);
}

const struct ctl_command ctl_stats = {
	.name = "stats",
	.args = "[--json] [ID]...",
	.summary = "show figures of the machine, the agent, and of sessions",
	.about =
		"Shows CPU, memory, disk, network and pressure where the agent is, what the agent\n"
		"itself uses, and what the sessions ID use.",
	.options = OPTION(JSON),
	.max_args = 256,
	.begin = begin_nothing,
	.up = up_stats,
};

/* ---- log ---- */

static void on_log(void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	struct ctl *c = owner;
	struct json_text lines, name, value;
	struct json_walk w;

	if (failed(c, error))
		return;
	if (json_member(text_of(json, len), "lines", &lines) && json_begin(&w, lines)) {
		while (json_next(&w, &name, &value)) {
			print_value(value);
			printf("\n");
		}
	}
	ctl_finish(c, ctl_flush_stdout());
}

static void up_log(struct ctl *c, bool same)
{
	char json[256];
	struct jsonw w;

	(void)same;
	begin_request(&w, json, sizeof(json), "sys.log");
	jsonw_u64(&w, "lines", c->options.lines ? c->options.lines : 100);
	ask(c, &w, on_log);
}

const struct ctl_command ctl_log = {
	.name = "log",
	.args = "[--lines N]",
	.summary = "show the last lines of the agent's log",
	.about = "Shows the last lines of the agent's own log, as far as it keeps them in memory.",
	.options = OPTION(LINES),
	.begin = begin_nothing,
	.up = up_log,
};

/* ---- prepare, resume ---- */

static bool is(struct json_text v, const char *word)
{
	return v.len == strlen(word) && memcmp(v.p, word, v.len) == 0;
}

/* One line a step. True: all of them were done. */
static bool print_steps(struct json_text answer)
{
	struct json_text steps, none, step, name, ok, ms, error, why;
	struct json_walk w;
	bool all = true;

	if (!json_member(answer, "steps", &steps) || !json_begin(&w, steps))
		return false;
	while (json_next(&w, &none, &step)) {
		if (!json_member(step, "step", &name) || !json_member(step, "ok", &ok) ||
			!json_member(step, "ms", &ms))
			return false;
		print_value(name);
		if (is(ok, "true")) {
			printf(": done in %.*s ms\n", (int)ms.len, ms.p);
			continue;
		}
		all = false;
		printf(": failed: ");
		if (json_member(step, "error", &error) && json_member(error, "message", &why))
			print_value(why);
		printf("\n");
	}
	return all;
}

static void on_steps(void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	struct ctl *c = owner;
	int r;
	bool ok;

	/* Asked twice, it would not be the same. */
	if (error && ctl_link_broke(error) && c->command == &ctl_prepare) {
		ctl_say("prepare: the link broke before the answer");
		ctl_finish(c, CTL_FAILED);
		return;
	}
	if (failed(c, error))
		return;
	ok = print_json(c, json, len) ? !memmem(json, len, "\"ok\":false", 10)
				      : print_steps(text_of(json, len));
	r = ctl_flush_stdout();
	ctl_finish(c, r ? r : ok ? 0 : CTL_FAILED);
}

static void up_prepare(struct ctl *c, bool same)
{
	const struct ctl_options *o = &c->options;
	char json[FRAME_PAYLOAD_MAX];
	struct jsonw w;

	(void)same;
	begin_request(&w, json, sizeof(json), "sys.prepare");
	jsonw_bool(&w, "sync", !o->no_sync);
	if (o->thaw_ms)
		jsonw_u64(&w, "thaw_ms", o->thaw_ms);
	jsonw_open(&w, "freeze", '[');
	for (int i = 0; i < o->n_args; i++)
		jsonw_bytes(&w, NULL, o->args[i], strlen(o->args[i]));
	jsonw_close(&w, ']');
	ask(c, &w, on_steps);
}

const struct ctl_command ctl_prepare = {
	.name = "prepare",
	.args = "[OPTIONS] [MOUNT-POINT]...",
	.summary = "make ready for a snapshot: sync, freeze, close all links",
	.about =
		"Writes out what is cached, freezes the file systems at the MOUNT-POINTs, and has\n"
		"the agent close all links. They are thawed by `resume`, or after a while.",
	.options = OPTION(THAW) | OPTION(NO_SYNC) | OPTION(JSON),
	.max_args = 16,
	.begin = begin_nothing,
	.up = up_prepare,
};

struct resume {
	size_t len; /* of the request from the file; 0: there is no file */
	char json[FRAME_PAYLOAD_MAX];
};

/* The members of the file's object behind our own. */
static int read_members(const char *path, struct resume *s)
{
	char text[FRAME_PAYLOAD_MAX];
	FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	size_t n, at;
	int len;

	if (!f) {
		ctl_say("cannot read %s: %s", path, strerror(errno));
		return CTL_FAILED;
	}
	n = fread(text, 1, sizeof(text) - 1, f);
	if (f != stdin)
		fclose(f);
	text[n] = '\0';
	at = strspn(text, " \t\r\n");
	if (n == sizeof(text) - 1 || text[at] != '{') {
		ctl_say("%s must hold one JSON object of less than 64 KiB", path);
		return CTL_FAILED;
	}
	at++;
	at += strspn(text + at, " \t\r\n");
	len = snprintf(s->json, sizeof(s->json), "{\"op\":\"sys.resume\"%s%s",
		text[at] == '}' ? "" : ",", text + at);
	if (len < 0 || (size_t)len >= sizeof(s->json)) {
		ctl_say("%s is too large", path);
		return CTL_FAILED;
	}
	s->len = (size_t)len;
	return 0;
}

static int begin_resume(struct ctl *c)
{
	struct resume *s = xcalloc(1, sizeof(*s));

	c->state = s;
	return c->options.json_file ? read_members(c->options.json_file, s) : 0;
}

/* Without a file: what every machine needs that has been asleep. */
static void ask_default(struct ctl *c)
{
	char json[512], text[BASE64_LEN(32) + 1];
	uint8_t random[32];
	struct timespec now;
	struct jsonw w;

	ASSERT(getrandom(random, sizeof(random), 0) == sizeof(random));
	base64_encode(random, sizeof(random), text);
	begin_request(&w, json, sizeof(json), "sys.resume");
	jsonw_str(&w, "entropy", text);
	clock_gettime(CLOCK_REALTIME, &now);
	snprintf(text, sizeof(text), "%lld%09ld", (long long)now.tv_sec, now.tv_nsec);
	jsonw_str(&w, "clock_ns", text);
	ask(c, &w, on_steps);
}

static void up_resume(struct ctl *c, bool same)
{
	struct resume *s = c->state;

	(void)same;
	if (s->len == 0)
		ask_default(c);
	else if (guest_ask(&c->guest, s->json, s->len, on_steps, c) < 0)
		ctl_finish(c, CTL_FAILED);
}

const struct ctl_command ctl_resume = {
	.name = "resume",
	.args = "[--json-file FILE]",
	.summary = "after a snapshot: set the clock and what else has changed",
	.about =
		"Tells the agent that its machine was asleep. Without a file its clock is set to this\n"
		"machine's, its random numbers are seeded anew, and what is frozen is thawed.",
	.options = OPTION(JSON_FILE) | OPTION(JSON),
	.begin = begin_resume,
	.up = up_resume,
};
