/*
 * config.h - everything that can be set, from defaults, file and command line (in this order; later
 * wins). A file has lines "key = value" and "#" comments; the keys are those of the table in
 * config.c, and every key is also a long option.
 */
#pragma once

#include "base/base.h"
#include "base/log.h"

#define CONFIG_LISTEN_MAX 8

struct config {
	char *listen[CONFIG_LISTEN_MAX]; /* owned: "unix:PATH", "vsock:PORT" */
	unsigned n_listen;
	char *token_file;   /* owned; NULL: none */
	char *token;        /* owned; from the file or the kernel command line; NULL: none wanted */
	char *default_user; /* owned; NULL: our own */
	char *claude;       /* owned: AGENTD_CLAUDE of agent sessions; NULL: not set */
	char *cgroup;       /* owned: "auto", "none" or a path */
	uint64_t max_connections, max_channels, max_sessions, retain_max;
	uint64_t ring_default, store_max, retain_ms, hello_timeout_ms, stop_grace_ms;
	enum log_level log_level;
};

void config_init(struct config *c); /* defaults */
void config_fini(struct config *c);
/* One setting. -EINVAL, with what is wrong in `why`. */
int config_set(struct config *c, const char *key, const char *value, char *why, size_t why_size);
/* All lines of a file; the message names file and line. */
int config_read(struct config *c, const char *path, char *why, size_t why_size);
/* Reads the token from token_file, if there is one. */
int config_load_token(struct config *c, char *why, size_t why_size);
/* Without a token so far: agentd.token= in /proc/cmdline. */
void config_token_from_kernel(struct config *c);
/* The i-th key and what it is for, for --help; NULL past the end. */
const char *config_key(unsigned i, const char **ret_help);
