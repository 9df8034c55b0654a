#include "proto/signame.h"

#include <signal.h>
#include <stdlib.h>
#include <strings.h>

#include "base/base.h"

static const struct {
	const char *name;
	int sig;
} table[] = {
	{"HUP", SIGHUP},
	{"INT", SIGINT},
	{"QUIT", SIGQUIT},
	{"ILL", SIGILL},
	{"TRAP", SIGTRAP},
	{"ABRT", SIGABRT},
	{"BUS", SIGBUS},
	{"FPE", SIGFPE},
	{"KILL", SIGKILL},
	{"USR1", SIGUSR1},
	{"SEGV", SIGSEGV},
	{"USR2", SIGUSR2},
	{"PIPE", SIGPIPE},
	{"ALRM", SIGALRM},
	{"TERM", SIGTERM},
	{"CHLD", SIGCHLD},
	{"CONT", SIGCONT},
	{"STOP", SIGSTOP},
	{"TSTP", SIGTSTP},
	{"TTIN", SIGTTIN},
	{"TTOU", SIGTTOU},
	{"URG", SIGURG},
	{"XCPU", SIGXCPU},
	{"XFSZ", SIGXFSZ},
	{"VTALRM", SIGVTALRM},
	{"PROF", SIGPROF},
	{"WINCH", SIGWINCH},
	{"IO", SIGIO},
	{"PWR", SIGPWR},
	{"SYS", SIGSYS},
};

int signame_parse(const char *word)
{
	char *end;
	long n;

	if (strncasecmp(word, "SIG", 3) == 0)
		word += 3;
	for (size_t i = 0; i < array_size(table); i++) {
		if (strcasecmp(word, table[i].name) == 0)
			return table[i].sig;
	}
	if (*word < '0' || *word > '9')
		return -EINVAL;
	n = strtol(word, &end, 10);
	return *end == '\0' && n >= 1 && n <= 64 ? (int)n : -EINVAL;
}

const char *signame_str(int sig)
{
	for (size_t i = 0; i < array_size(table); i++) {
		if (table[i].sig == sig)
			return table[i].name;
	}
	return "?";
}
