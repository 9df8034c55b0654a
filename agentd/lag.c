#include "agentd/lag.h"

const unsigned lag_bounds_us[LAG_BUCKETS] = {100, 1000, 5000, 20000, 100000, 500000, 2000000};

/* Of one writer; a reader may see one turn more in the one than in the other. */
static struct lag_figures all;
static uint64_t since; /* 0: waiting */

static uint64_t load(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static void store(uint64_t *p, uint64_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELAXED);
}

void lag_begin(void)
{
	if (!since)
		store(&since, now_ns());
}

void lag_end(void)
{
	uint64_t ns;

	if (!since)
		return;
	ns = now_ns() - since;
	store(&since, 0);
	store(&all.turns, all.turns + 1);
	store(&all.busy_ns, all.busy_ns + ns);
	/* A sixteenth of each turn. */
	store(&all.average_ns, all.average_ns - all.average_ns / 16 + ns / 16);
	if (ns > all.max_ns)
		store(&all.max_ns, ns);
	for (size_t i = 0; i < LAG_BUCKETS && ns > lag_bounds_us[i] * 1000ULL; i++)
		store(&all.over[i], all.over[i] + 1);
}

void lag_read(struct lag_figures *ret)
{
	uint64_t began = load(&since), now = now_ns();

	*ret = (struct lag_figures){
		.turns = load(&all.turns),
		.busy_ns = load(&all.busy_ns),
		.max_ns = load(&all.max_ns),
		.average_ns = load(&all.average_ns),
		.now_ns = began && now > began ? now - began : 0,
	};
	for (size_t i = 0; i < LAG_BUCKETS; i++)
		ret->over[i] = load(&all.over[i]);
}
