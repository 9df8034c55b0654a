/*
 * start, kill, remove, power, upgrade: one request, one answer. A request whose link broke is sent
 * again on the next: each of them means the same when it is said twice, once the agent has it
 * (start by its id, which is made up here when none is given).
 */
#include <stdio.h>
#include <sys/random.h>

#include "bridge/ctl.h"
#include "bridge/ctl_json.h"
#include "proto/signame.h"

/* The answer is an error: says so and ends, or lets the next link repeat the request. */
static void failed(struct ctl *c, const struct error *error)
{
	char what[MSG_ID_MAX + 32];

	if (ctl_link_broke(error))
		return;
	snprintf(what, sizeof(what), "cannot %s%s%.64s", c->command->name,
		c->command == &ctl_start ? "" : " ",
		c->command == &ctl_start ? "" : c->options.args[0]);
	ctl_say_error(what, error);
	ctl_finish(c, CTL_FAILED);
}

/* ---- start ---- */

struct start {
	char id[17];
	struct msg_start start;
};

static int begin_start(struct ctl *c)
{
	struct start *s = xcalloc(1, sizeof(*s));
	uint8_t bytes[6];

	ASSERT(getrandom(bytes, sizeof(bytes), 0) == sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++)
		sprintf(s->id + 2 * i, "%02x", bytes[i]);
	ctl_fill_start(&c->options, &s->start);
	c->state = s;
	return 0;
}

static void on_started(void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	struct ctl *c = owner;
	struct msg_opened o;
	struct error e;

	if (error) {
		failed(c, error);
		return;
	}
	if (msg_parse_opened(json, len, &o, &e) < 0) {
		failed(c, &e);
		return;
	}
	printf("%s\n", o.id);
	if (o.state == END_START_FAILED) {
		ctl_say("cannot run %s. The reason: agentctl attach %s", c->options.args[0], o.id);
		ctl_flush_stdout();
		ctl_finish(c, CTL_CANNOT);
		return;
	}
	ctl_finish(c, ctl_flush_stdout());
}

static void up_start(struct ctl *c, bool same)
{
	struct start *s = c->state;
	struct msg_request m = {.op = OP_START, .has_start = true, .start = s->start};

	(void)same;
	m.id = c->options.id ? c->options.id : s->id;
	ctl_request(c, &m, on_started);
}

const struct ctl_command ctl_start = {
	.name = "start",
	.args = "[OPTIONS] [--] CMD [ARG]...",
	.summary = "start a command in the background and print its session's id",
	.about = "Starts CMD and leaves it to itself; prints the id for attach, kill and remove.\n"
		 "With -i its stdin stays open for `attach -i`, else it is empty.",
	.options = OPTION(STDIN) | OPTION(TIMEOUT) | OPTION(USER) | OPTION(CWD) | OPTION(ENV) |
		   OPTION(ID),
	.min_args = 1,
	.max_args = -1,
	.begin = begin_start,
	.up = up_start,
};

/* ---- kill ---- */

static int check_id(struct ctl *c)
{
	if (msg_name_valid(c->options.args[0], MSG_ID_MAX))
		return 0;
	ctl_say("'%s' is not a session id: 1 to 64 characters of A-Z a-z 0-9 . _ -",
		c->options.args[0]);
	return CTL_FAILED;
}

static int begin_kill(struct ctl *c)
{
	if (c->options.n_args > 1 && signame_parse(c->options.args[1]) < 0) {
		ctl_say("'%s' is not a signal: a name as TERM, or a number", c->options.args[1]);
		return CTL_FAILED;
	}
	return check_id(c);
}

static void on_killed(void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	struct ctl *c = owner;
	struct json_text v;

	if (error) {
		failed(c, error);
		return;
	}
	if (json_member((struct json_text){(const char *)json, len}, "ended", &v) && *v.p == 't')
		ctl_say("session %s has ended already", c->options.args[0]);
	ctl_finish(c, 0);
}

static void up_kill(struct ctl *c, bool same)
{
	const struct ctl_options *o = &c->options;
	struct msg_request m = {.op = OP_KILL,
		.id = o->args[0],
		.to = o->to,
		.escalate = o->has_grace,
		.grace_ms = o->grace_ms};

	(void)same;
	m.signal = signame_parse(o->n_args > 1 ? o->args[1] : "TERM");
	ctl_request(c, &m, on_killed);
}

const struct ctl_command ctl_kill = {
	.name = "kill",
	.args = "[OPTIONS] ID [SIGNAL]",
	.summary = "send a signal to a session",
	.about = "Sends SIGNAL (a name or number; TERM) to session ID: to its first process, its\n"
		 "process group, or everything it started.",
	.options = OPTION(TO) | OPTION(GRACE),
	.min_args = 1,
	.max_args = 2,
	.begin = begin_kill,
	.up = up_kill,
};

/* ---- remove ---- */

static void on_removed(void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	(void)json, (void)len;
	if (error)
		failed(owner, error);
	else
		ctl_finish(owner, 0);
}

static void up_remove(struct ctl *c, bool same)
{
	(void)same;
	ctl_request(
		c, &(struct msg_request){.op = OP_REMOVE, .id = c->options.args[0]}, on_removed);
}

const struct ctl_command ctl_remove = {
	.name = "remove",
	.args = "ID",
	.summary = "forget a session that has ended",
	.about = "Removes session ID and its output at once; otherwise the agent keeps them for\n"
		 "some minutes after the end. A session that runs is not removed: kill it first.",
	.options = 0,
	.min_args = 1,
	.max_args = 1,
	.begin = check_id,
	.up = up_remove,
};

/* ---- power ---- */

static int begin_power(struct ctl *c)
{
	const char *how = c->options.args[0];

	if (strcmp(how, "off") == 0 || strcmp(how, "reboot") == 0)
		return 0;
	ctl_say("power: \"off\" or \"reboot\", not \"%s\"", how);
	return CTL_FAILED;
}

static void up_power(struct ctl *c, bool same)
{
	(void)same;
	ctl_request(c,
		&(struct msg_request){.op = OP_POWER, .reboot = c->options.args[0][0] == 'r'},
		on_removed);
}

const struct ctl_command ctl_power = {
	.name = "power",
	.args = "off|reboot",
	.summary = "end the machine in order",
	.about =
		"Asks PID 1 of the VM to end all sessions and power off, or reboot. Only where PID 1\n"
		"is agentd-init.",
	.options = 0,
	.min_args = 1,
	.max_args = 1,
	.begin = begin_power,
	.up = up_power,
};

/* ---- upgrade ---- */

/*
 * Success has no answer: the link goes, and what is there on the next one is the new agent, with
 * the same sessions and an epoch one further.
 */
struct upgrade {
	bool sent;
	uint64_t epoch;
};

static int begin_upgrade(struct ctl *c)
{
	if (c->options.args[0][0] != '/') {
		ctl_say("the path must be absolute: it is the guest's, not '%s'",
			c->options.args[0]);
		return CTL_FAILED;
	}
	c->state = xcalloc(1, sizeof(struct upgrade));
	return 0;
}

static void on_upgraded(void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	(void)json, (void)len;
	if (error)
		failed(owner, error);
}

static void judge_upgrade(struct ctl *c, bool same)
{
	struct upgrade *u = c->state;
	const struct msg_hello *h = &c->guest.hello;

	if (!same) {
		ctl_say("the agent was started anew: its sessions are gone");
		ctl_finish(c, CTL_FAILED);
	} else if (h->epoch == u->epoch) {
		ctl_say("the link broke, but the agent is the old one. Its log says why");
		ctl_finish(c, CTL_FAILED);
	} else {
		printf("%s %s serves now, epoch %llu\n", h->name, h->version,
			(unsigned long long)h->epoch);
		ctl_finish(c, ctl_flush_stdout());
	}
}

static void up_upgrade(struct ctl *c, bool same)
{
	struct upgrade *u = c->state;
	struct msg_request m = {.op = OP_UPGRADE, .path = c->options.args[0]};

	if (u->sent) {
		judge_upgrade(c, same);
		return;
	}
	u->sent = true;
	u->epoch = c->guest.hello.epoch;
	c->quiet_loss = true;
	ctl_request(c, &m, on_upgraded);
}

const struct ctl_command ctl_upgrade = {
	.name = "upgrade",
	.args = "PATH",
	.summary = "replace the running agent by the program at PATH",
	.about = "Makes the agent hand everything over to the program at PATH (in the guest, an\n"
		 "absolute path). Sessions go on, links come back by themselves.",
	.options = 0,
	.min_args = 1,
	.max_args = 1,
	.begin = begin_upgrade,
	.up = up_upgrade,
};
