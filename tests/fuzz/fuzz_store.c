/*
 * fuzz_store.c - the input is a row of ops for the store beside its model (tests/store_model.h):
 *writes, readers that seek and lag, pins, memory limits, the end of the agent. After each op all
 *that must hold is asserted.
 *
 *	ring: 2 bytes, then ops of 10: kind, who, x (4), y (4)
 */
#include "tests/store_model.h"

#define OP_BYTES  10
#define OPS_MAX   120
#define BYTES_MAX (2 * MIB) /* per input: enough to go around any ring used here */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static uint32_t u32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct bench bench; /* kept: making an arena costs more than an input */
	struct bench *b = &bench;
	unsigned ops = 0;

	if (len < 2)
		return 0;
	if (!b->arena.base)
		bench_init(b, 0);
	b->arena.charge_max = UINT64_MAX;
	bench_restart(b, (uint64_t)(data[0] << 8 | data[1]) << data[1] % 4);
	for (size_t at = 2; at + OP_BYTES <= len && ops < OPS_MAX; at += OP_BYTES, ops++) {
		struct op op = {
			.kind = data[at],
			.who = data[at + 1],
			.x = u32(data + at + 2),
			.y = u32(data + at + 6),
		};

		bench_op(b, &op);
		if (store_head(&b->store) > BYTES_MAX)
			break;
	}
	for (int i = 0; i < BENCH_READERS; i++)
		if (b->reader[i].on)
			reader_drain(b, &b->reader[i]);
	bench_check_memory(b);
	return 0;
}
