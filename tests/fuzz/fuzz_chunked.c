/*
 * Chunked bodies. Whatever comes, in one piece and byte by byte, the outcome is the same, and
 * slices lie inside the input.
 */
#include "bridge/api/chunked.h"

struct outcome {
	int r;
	bool done;
	size_t used, len;
	uint64_t sum;
};

static struct outcome run(const uint8_t *data, size_t size, size_t step)
{
	struct outcome o = {0};
	struct chunked c = {0};

	while (o.used < size && !chunked_done(&c)) {
		const uint8_t *at = data + o.used, *slice;
		size_t left = min_of(step, size - o.used), n, before = left;

		while ((o.r = chunked_next(&c, &at, &left, &slice, &n)) > 0) {
			ASSERT(n > 0 && slice >= data && slice + n <= data + size);
			for (size_t i = 0; i < n; i++)
				o.sum = o.sum * 31 + slice[i];
			o.len += n;
		}
		if (o.r < 0)
			break;
		o.used += before - left;
	}
	if (o.r < 0)
		o.used = 0;
	o.done = chunked_done(&c);
	return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct outcome a = run(data, size, size), b = run(data, size, 1);

	ASSERT(a.r == b.r && a.done == b.done && a.used == b.used && a.len == b.len &&
		a.sum == b.sum);
	return 0;
}
