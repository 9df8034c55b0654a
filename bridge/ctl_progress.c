#include "bridge/ctl_progress.h"

#include <stdio.h>
#include <sys/ioctl.h>

#include "bridge/ctl_path.h"

#define STEP_MS    100
#define RATE_MS    500
#define BAR_MAX    40
#define NAME_WIDTH 30

static int terminal_width(void)
{
	struct winsize ws;

	return ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 0 ? ws.ws_col : 80;
}

/* Bytes a second: at first since the beginning, then of the last moments, smoothed. */
static void measure(struct ctl_progress *p)
{
	uint64_t now = now_ms(), span = now - p->mark_ms;
	double recent;

	if (span < RATE_MS && now - p->began_ms > RATE_MS)
		return;
	recent = span ? (double)(p->done - p->mark) * 1000 / (double)span : 0;
	p->rate = p->rate > 0 && p->mark > 0 ? p->rate * 0.6 + recent * 0.4 : recent;
	if (span >= RATE_MS) {
		p->mark = p->done;
		p->mark_ms = now;
	}
}

static void format_time(char *out, size_t size, uint64_t s)
{
	if (s >= 3600)
		snprintf(out, size, "%llu:%02llu:%02llu", (unsigned long long)s / 3600,
			(unsigned long long)s / 60 % 60, (unsigned long long)s % 60);
	else
		snprintf(out, size, "%llu:%02llu", (unsigned long long)s / 60,
			(unsigned long long)s % 60);
}

static void put_bar(const struct ctl_progress *p, int width)
{
	int full = (int)((double)width * (double)min_of(p->done, p->total) / (double)p->total);

	fputs(" [", stderr);
	for (int i = 0; i < width; i++)
		fputc(i < full ? '=' : i == full ? '>' : ' ', stderr);
	fputc(']', stderr);
}

static void put_name(const char *name)
{
	size_t len = strlen(name);

	for (size_t i = len > NAME_WIDTH ? len - NAME_WIDTH : 0; i < len; i++)
		fputc((unsigned char)name[i] < 0x20 || name[i] == 0x7f ? '?' : name[i], stderr);
}

static void show(struct ctl_progress *p, bool last)
{
	char done[16], rate[16], eta[24] = "";
	uint64_t ms = max_of(now_ms() - p->began_ms, (uint64_t)1);
	double speed = last ? (double)p->done * 1000 / (double)ms : p->rate;
	int room;

	ctl_format_bytes(done, sizeof(done), p->done);
	ctl_format_bytes(rate, sizeof(rate), (uint64_t)speed);
	if (last)
		format_time(eta, sizeof(eta), ms / 1000);
	else if (p->total > p->done && speed > 1)
		format_time(eta, sizeof(eta), (uint64_t)((double)(p->total - p->done) / speed) + 1);
	fputs("\r\033[K", stderr);
	put_name(p->name);
	room = terminal_width() - NAME_WIDTH - 36;
	if (p->total > 0) {
		fprintf(stderr, " %3d%%",
			(int)(100.0 * (double)min_of(p->done, p->total) / (double)p->total));
		if (room > 8)
			put_bar(p, min_of(room, BAR_MAX));
	}
	fprintf(stderr, " %s %s/s %s%s", done, rate, last || !*eta ? "" : "ETA ", eta);
	if (last)
		fputc('\n', stderr);
	fflush(stderr);
	p->shown = !last;
}

static void on_timer(uv_timer_t *t)
{
	struct ctl_progress *p = t->data;

	measure(p);
	show(p, false);
}

void ctl_progress_init(struct ctl_progress *p, uv_loop_t *loop, bool on)
{
	*p = (struct ctl_progress){.on = on && isatty(STDERR_FILENO), .open = true};
	uv_timer_init(loop, &p->timer);
	p->timer.data = p;
}

void ctl_progress_begin(struct ctl_progress *p, const char *name, uint64_t total)
{
	p->name = name;
	p->done = p->mark = 0;
	p->total = total;
	p->rate = 0;
	p->began_ms = p->mark_ms = now_ms();
	if (p->on)
		uv_timer_start(&p->timer, on_timer, STEP_MS, STEP_MS);
}

void ctl_progress_add(struct ctl_progress *p, uint64_t n)
{
	p->done += n;
}

void ctl_progress_end(struct ctl_progress *p, bool done)
{
	if (!p->on || !p->name)
		return;
	uv_timer_stop(&p->timer);
	if (done)
		show(p, true);
	else if (p->shown)
		fputs("\r\033[K", stderr);
	p->shown = false;
	p->name = NULL;
}

void ctl_progress_close(struct ctl_progress *p)
{
	if (!p->open)
		return;
	p->open = false;
	ctl_progress_end(p, false);
	uv_close((uv_handle_t *)&p->timer, NULL);
}
