/*
 * bench - agentd measured beside the floor programs, in the same run, round by round. Compare
 * ratios: the absolute numbers belong to the machine. Nothing fails because of a number.
 */
#include "bench/bench.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

static const char usage[] =
	"usage: bench [--quick] [--rounds N] [--time S] [--rt] [--json] [NAME...]\n"
	"  NAME: run many rtt stream echo pty file grep dial idle start flat size http crowd local vm\n"
	"                                                  default: all of these\n"
	"        vm: only a remark when there are no images of ./dev image\n"
	"        stress (correctness, minutes)                   all: everything\n"
	"  --quick     a tenth of the work, 3 rounds\n"
	"  --rounds N  default 5\n"
	"  --time S    seconds at most, default 1800\n"
	"  --rt        for a machine that is busy: all of it runs before other work (SCHED_RR, root)\n"
	"  --json      one JSON object per line\n"
	"Environment: AGENTD and AGENTD_STATIC, the two builds of agentd.\n";

static const struct section {
	const char *name;
	void (*run)(void);
	bool by_default;
} sections[] = {
	{"run", bench_run, true},
	{"many", bench_many, true},
	{"rtt", bench_rtt, true},
	{"stream", bench_stream, true},
	{"echo", bench_echo, true},
	{"pty", bench_pty, true},
	{"file", bench_file, true},
	{"grep", bench_grep, true},
	{"dial", bench_dial, true},
	{"idle", bench_idle, true},
	{"start", bench_start, true},
	{"flat", bench_flat, true},
	{"size", bench_size, true},
	{"http", bench_http, true},
	{"crowd", bench_crowd, true},
	{"local", bench_local, true},
	{"vm", bench_vm, true},
	{"stress", bench_stress, false},
};

struct options options = {.rounds = 0};

static bool known(const char *name)
{
	for (size_t i = 0; i < array_size(sections); i++)
		if (strcmp(sections[i].name, name) == 0)
			return true;
	return strcmp(name, "all") == 0;
}

static bool asked_for(const struct section *s, char **names)
{
	if (!*names)
		return s->by_default;
	for (; *names; names++)
		if (strcmp(*names, s->name) == 0 || strcmp(*names, "all") == 0)
			return true;
	return false;
}

static unsigned number(const char *text, unsigned long max)
{
	char *end;
	unsigned long v = strtoul(text, &end, 10);

	if (end == text || *end || v < 1 || v > max) {
		fprintf(stderr, "bench: bad number '%s': 1 to %lu\n", text, max);
		exit(2);
	}
	return (unsigned)v;
}

static void note_load(bool rt)
{
	double load = 0;

	if (getloadavg(&load, 1) == 1 && load > 0.5)
		table_note("the machine was busy, load %.1f%s", load,
			rt ? "; we went first (--rt)" : ": --rt goes first");
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = {{"quick", no_argument, NULL, 'q'},
		{"rounds", required_argument, NULL, 'r'}, {"time", required_argument, NULL, 't'},
		{"json", no_argument, NULL, 'j'}, {"rt", no_argument, NULL, 'R'}, {0}};
	unsigned seconds = 1800;
	bool rt = false;
	int opt;

	while ((opt = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (opt) {
		case 'q': options.quick = true; break;
		case 'r': options.rounds = number(optarg, 50); break;
		case 't': seconds = number(optarg, 86400); break;
		case 'j': options.json = true; break;
		case 'R': rt = true; break;
		default: fputs(usage, stderr); return 2;
		}
	}
	for (char **name = argv + optind; *name; name++) {
		if (!known(*name)) {
			fprintf(stderr, "bench: no section '%s'\n%s", *name, usage);
			return 2;
		}
	}
	if (options.rounds == 0)
		options.rounds = options.quick ? 3 : 5;
	proc_begin(seconds, rt);
	note_load(rt);
	for (size_t i = 0; i < array_size(sections); i++) {
		if (!asked_for(&sections[i], argv + optind))
			continue;
		say(sections[i].name);
		sections[i].run();
	}
	say("");
	proc_end();
	table_print();
	return 0;
}
