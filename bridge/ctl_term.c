#include "bridge/ctl_term.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>

/* Those that end the program at once; the others end it through its loop. */
static const int deadly[] = {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGQUIT, SIGSEGV};

static struct termios saved;
static volatile sig_atomic_t is_raw;

bool ctl_term_size(struct msg_size *ret)
{
	struct winsize w;

	for (int fd = 0; fd <= 2; fd++) {
		if (ioctl(fd, TIOCGWINSZ, &w) < 0 || w.ws_col == 0 || w.ws_row == 0)
			continue;
		*ret = (struct msg_size){.cols = w.ws_col,
			.rows = w.ws_row,
			.xpixel = w.ws_xpixel,
			.ypixel = w.ws_ypixel};
		return true;
	}
	return false;
}

static void on_deadly(int sig)
{
	ctl_term_restore();
	raise(sig); /* its default is back, see SA_RESETHAND */
}

bool ctl_term_is_raw(void)
{
	return is_raw;
}

void ctl_term_restore(void)
{
	void (*old)(int);

	if (!is_raw)
		return;
	is_raw = 0;
	old = signal(SIGTTOU, SIG_IGN); /* in the background it would stop us now */
	tcsetattr(STDIN_FILENO, TCSANOW, &saved);
	signal(SIGTTOU, old);
}

bool ctl_term_raw(bool watch_only)
{
	struct sigaction sa = {.sa_handler = on_deadly, .sa_flags = (int)SA_RESETHAND};
	static bool ready;
	struct termios raw;

	if (!is_raw && tcgetattr(STDIN_FILENO, &saved) < 0)
		return false;
	raw = saved;
	cfmakeraw(&raw);
	if (watch_only)
		raw.c_lflag |= ISIG;
	if (!ready) {
		for (size_t i = 0; i < array_size(deadly); i++)
			sigaction(deadly[i], &sa, NULL);
		atexit(ctl_term_restore);
	}
	ready = true;
	is_raw = 1;
	return tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
}
