/*
 * fuzz_sys.c - the requests of the family sys, each reader on the same bytes. What is accepted
 * keeps to the limits of msg_sys.h.
 */
#include "proto/msg_sys.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_strings(const struct msg_strings *s, size_t max)
{
	ASSERT(s->n <= max);
	for (size_t i = 0; i < s->n; i++)
		ASSERT(s->s[i][0]);
}

static void check_env(const struct msg_env *env, size_t n)
{
	for (size_t i = 0; i < n; i++)
		ASSERT(env[i].name[0] && !strchr(env[i].name, '='));
}

static void check_resume(const struct msg_sys_resume *m)
{
	ASSERT(m->n_entropy <= MSG_ENTROPY_MAX && m->clock_ns <= INT64_MAX);
	ASSERT(!m->hostname || (strlen(m->hostname) <= 64 && m->hostname[0]));
	ASSERT(!m->machine_id || strlen(m->machine_id) == 32);
	if (m->has_network) {
		ASSERT(strlen(m->network.interface) <= 15 && m->network.mtu <= 65536);
		check_strings(&m->network.addresses, MSG_ADDRESSES_MAX);
		check_strings(&m->network.gateways, MSG_ADDRESSES_MAX);
		check_strings(&m->network.dns, MSG_DNS_MAX);
		check_strings(&m->network.search, MSG_DNS_MAX);
	}
	check_env(m->env, m->n_env);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct msg_sys_env env;
	struct msg_sys_stats stats;
	struct msg_sys_prepare prepare;
	struct msg_sys_resume resume;
	struct msg_resources limits;
	uint64_t lines;
	struct error e;

	if (msg_parse_sys_env(data, len, &env, &e) == 0)
		check_env(env.set, env.n_set);
	free(env.mem);
	if (msg_parse_sys_stats(data, len, &stats, &e) == 0) {
		check_strings(&stats.sessions, MSG_STATS_SESSIONS);
		check_strings(&stats.mounts, MSG_STATS_MOUNTS);
	}
	free(stats.mem);
	if (msg_parse_sys_prepare(data, len, &prepare, &e) == 0) {
		check_strings(&prepare.freeze, MSG_FREEZE_MAX);
		ASSERT(prepare.thaw_ms <= MSG_THAW_MAX_MS);
	}
	free(prepare.mem);
	if (msg_parse_sys_resume(data, len, &resume, &e) == 0)
		check_resume(&resume);
	free(resume.mem);
	if (msg_parse_sys_limits(data, len, &limits, &e) == 0)
		ASSERT(limits.memory >= -1 && limits.pids >= -1 && limits.cpu_percent >= -1);
	if (msg_parse_sys_log(data, len, &lines, &e) == 0)
		ASSERT(lines <= MSG_LOG_LINES);
	return 0;
}
