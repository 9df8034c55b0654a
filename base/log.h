/*
 * log.h - one line each to stderr, "level sentence key=value ...". Only programs (agentd, bridge,
 * agentctl) log, at the point where they give up on something, once; library layers return errors.
 * Never payload, argv, environment or credentials.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum log_level { LOG_ERR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_set_level(enum log_level level);
enum log_level log_get_level(void);
/* 0, or -EINVAL when `name` is none of err, warn, info, debug. */
int log_parse_level(const char *name, enum log_level *ret);

/*
 * The last lines, whatever level they have that is logged at all, are also kept in memory: for
 * `sys.log`, and while stderr may not be written to because a file system is frozen.
 */
#define LOG_RING 16384
/* The last `lines` of them into out (each with its line end, oldest first; out holds LOG_RING
 * bytes). Returns the length. */
size_t log_tail(size_t lines, char *out);
/* From now on lines are only kept; with false what was held back is written. */
void log_hold(bool on);

void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_err(...)  log_line(LOG_ERR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
	do {                                                                                       \
		if (log_get_level() >= LOG_DEBUG)                                                  \
			log_line(LOG_DEBUG, __VA_ARGS__);                                          \
	} while (0)
