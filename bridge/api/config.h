/*
 * config.h - what the bridge is told: defaults, then environment, then options. Strings are
 * borrowed from argv and the environment, or lie in the struct itself, which must not move.
 */
#pragma once

#include "base/log.h"
#include "bridge/api/bridge.h"

struct config {
	struct bridge_config bridge;
	const char *guests; /* file of external guests, or NULL */
	enum log_level log_level;
	uint64_t max_sandboxes, max_connections, port;
	bool i_know, help, version;
	char state[BOX_PATH_MAX], agentd[BOX_PATH_MAX], root[BOX_PATH_MAX], images[BOX_PATH_MAX];
	char worker[64];
};

/* Defaults and the environment. -EINVAL and why. */
int config_init(struct config *c, char *why, size_t why_size);
/* argv[i] and on; stops at the first word that is no option and returns its index, or -EINVAL. */
int config_parse(struct config *c, int argc, char **argv, int i, char *why, size_t why_size);
/* What only all of them together can be wrong in. Makes the paths for the drivers absolute. */
int config_check(struct config *c, char *why, size_t why_size);
/* The i-th option's name and what it is for; NULL past the end. ret_value: what stands for its
 * value, NULL when it has none. */
const char *config_option(unsigned i, const char **ret_value, const char **ret_help);
