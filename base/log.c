/*
 * A log line must never block the daemon: when stderr is a pipe whose reader has stopped, the line
 * is dropped and the next one that gets through says how many were. A pipe that polls writable
 * takes PIPE_BUF bytes without blocking, which is why a line is no longer than that. One that
 * cannot be written (a full disk) is dropped like that, too; the ring in memory has them all.
 */
#include "base/log.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"

static enum log_level current = LOG_INFO;
static unsigned long dropped;

static char ring[LOG_RING];
static uint64_t ring_head; /* bytes ever kept */
static bool held;
static uint64_t held_from; /* ring_head when it began */

static const char *const names[] = {
	[LOG_ERR] = "err", [LOG_WARN] = "warn", [LOG_INFO] = "info", [LOG_DEBUG] = "debug"};

void log_set_level(enum log_level level)
{
	current = level;
}

enum log_level log_get_level(void)
{
	return current;
}

int log_parse_level(const char *name, enum log_level *ret)
{
	for (size_t i = 0; i < array_size(names); i++) {
		if (strcmp(name, names[i]) == 0) {
			*ret = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

static void put_line(const char *line, size_t len)
{
	struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};

	if (poll(&p, 1, 0) != 1 || write(STDERR_FILENO, line, len) < 0)
		dropped++;
}

static void keep(const char *line, size_t len)
{
	for (size_t i = 0; i < len; i++)
		ring[ring_head++ % LOG_RING] = line[i];
}

/* Copies from position `from` on; a line that the ring has lost the beginning of is left out. */
static size_t copy_ring(uint64_t from, char *out)
{
	uint64_t oldest = ring_head > LOG_RING ? ring_head - LOG_RING : 0;
	size_t n = 0;

	if (from < oldest) {
		for (from = oldest; from < ring_head && ring[from % LOG_RING] != '\n'; from++)
			;
		from++;
	}
	for (; from < ring_head; from++)
		out[n++] = ring[from % LOG_RING];
	return n;
}

size_t log_tail(size_t lines, char *out)
{
	size_t len = copy_ring(0, out), from = len;

	for (; lines > 0 && from > 0; lines--) {
		from--; /* its line end */
		while (from > 0 && out[from - 1] != '\n')
			from--;
	}
	memmove(out, out + from, len - from);
	return len - from;
}

void log_hold(bool on)
{
	static char text[LOG_RING];
	size_t len;

	if (on == held)
		return;
	held = on;
	if (on) {
		held_from = ring_head;
		return;
	}
	len = copy_ring(held_from, text);
	for (char *at = text, *end = text + len, *stop; at < end; at = stop) {
		stop = (char *)memchr(at, '\n', (size_t)(end - at)) + 1;
		put_line(at, (size_t)(stop - at));
	}
}

void log_line(enum log_level level, const char *fmt, ...)
{
	int saved = errno;
	char line[1024];
	va_list ap;
	size_t n, max = sizeof(line) - 1;

	if (level > current)
		return;
	if (dropped > 0 && !held) {
		unsigned long count = dropped;
		int len = snprintf(line, sizeof(line), "warn log lines dropped n=%lu\n", count);

		dropped = 0;
		put_line(line, (size_t)len);
		if (dropped > 0)
			dropped = count; /* the line about them is none of them */
	}
	n = (size_t)snprintf(line, max, "%s ", names[level]);
	va_start(ap, fmt);
	n += (size_t)vsnprintf(line + n, max - n, fmt, ap);
	va_end(ap);
	n = min_of(n, max - 1);
	for (size_t i = 0; i < n; i++) {
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	}
	line[n++] = '\n';
	keep(line, n);
	if (!held)
		put_line(line, n);
	errno = saved;
}
