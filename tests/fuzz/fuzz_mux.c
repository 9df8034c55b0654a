/*
 * fuzz_mux.c - the channels of a link. Byte 0: hostile or not, and whether all shall arrive in the
 * end; then three bytes an op. What holds is asserted by tests/unit/mux_pair.h.
 */
#include "tests/unit/mux_pair.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct pair *p = pair_new(len > 0 && data[0] & 1);

	for (size_t i = 1; i + 3 <= len; i += 3)
		pair_op(p, data[i], get_u16(data + i + 1));
	pair_free(p, len > 0 && data[0] & 2);
	return 0;
}
