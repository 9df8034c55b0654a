/*
 * msg_sys.h - messages of the family `sys` (docs/protocol.md sections 17 and 18); the rules are
 * those of msg.h.
 */
#pragma once

#include "proto/msg.h"

#define MSG_STATS_SESSIONS 256
#define MSG_STATS_MOUNTS   16
#define MSG_LOG_LINES      1000
#define MSG_FREEZE_MAX     16
#define MSG_THAW_MAX_MS    600000
#define MSG_ENTROPY_MAX    1024
#define MSG_ADDRESSES_MAX  8
#define MSG_DNS_MAX        8

struct msg_strings {
	const char **s;
	size_t n;
};

struct msg_sys_env {
	void *mem;
	bool clear;
	struct msg_env *set;
	size_t n_set;
};

struct msg_sys_stats {
	void *mem;
	struct msg_strings sessions, mounts;
};

struct msg_sys_prepare {
	void *mem;
	bool sync;
	struct msg_strings freeze;
	uint64_t thaw_ms;
};

struct msg_network {
	const char *interface;
	struct msg_strings addresses, gateways, dns, search;
	uint64_t mtu; /* 0: as it is */
};

struct msg_sys_resume {
	void *mem;
	bool has_clock, thaw, has_network, has_env;
	uint64_t clock_ns; /* since 1970 */
	uint8_t *entropy;
	size_t n_entropy;
	const char *hostname, *machine_id; /* NULL: as they are */
	struct msg_network network;
	struct msg_env *env;
	size_t n_env;
};

int msg_parse_sys_env(const uint8_t *json, size_t len, struct msg_sys_env *ret, struct error *e);
int msg_parse_sys_stats(
	const uint8_t *json, size_t len, struct msg_sys_stats *ret, struct error *e);
int msg_parse_sys_limits(
	const uint8_t *json, size_t len, struct msg_resources *ret, struct error *e);
int msg_parse_sys_log(const uint8_t *json, size_t len, uint64_t *ret_lines, struct error *e);
int msg_parse_sys_prepare(
	const uint8_t *json, size_t len, struct msg_sys_prepare *ret, struct error *e);
int msg_parse_sys_resume(
	const uint8_t *json, size_t len, struct msg_sys_resume *ret, struct error *e);
