/*
 * log.h - one line each to stderr, "level sentence key=value ...". Only programs (agentd, bridge,
 * agentctl) log, at the point where they give up on something, once; library layers return errors.
 * Never payload, argv, environment or credentials.
 */
#pragma once

enum log_level { LOG_ERR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_set_level(enum log_level level);
enum log_level log_get_level(void);
/* 0, or -EINVAL when `name` is none of err, warn, info, debug. */
int log_parse_level(const char *name, enum log_level *ret);

void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_err(...)  log_line(LOG_ERR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
	do {                                                                                       \
		if (log_get_level() >= LOG_DEBUG)                                                  \
			log_line(LOG_DEBUG, __VA_ARGS__);                                          \
	} while (0)
