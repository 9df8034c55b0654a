/*
 * fuzz_ws.c - the WebSocket decoder. Byte 0 chooses the role and the largest message, byte 1 the
 * way the rest, the stream, is cut. Fed whole, cut, and byte by byte, it must say the same; and
 * what libwslay says (tests/ws_oracle.h). What holds for each event is asserted by
 * tests/ws_trace.h.
 */
#include "tests/ws_oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void run(struct ws_trace *t, struct ws_decoder *d, enum ws_role role, uint64_t message_max,
	const uint8_t *data, size_t len, size_t step, uint32_t seed)
{
	*t = WS_TRACE_NULL;
	ws_decoder_init(d, role, message_max);
	ws_trace_run(t, d, data, len, step, seed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const uint64_t maxima[] = {65536, 125, 1000, INT64_MAX};
	struct ws_trace whole, cut, bytes;
	struct ws_decoder d, other;
	uint64_t message_max;
	enum ws_role role;
	uint32_t seed;

	if (len < 2)
		return 0;
	role = data[0] & 1 ? WS_CLIENT : WS_SERVER;
	message_max = maxima[data[0] >> 1 & 3];
	seed = data[1] * 16777619U;
	data += 2;
	len -= 2;
	run(&whole, &d, role, message_max, data, len, len + 1, 0);
	run(&cut, &other, role, message_max, data, len, 0, seed);
	run(&bytes, &other, role, message_max, data, len, 1, 0);
	ASSERT(ws_trace_equal(&whole, &cut));
	ASSERT(ws_trace_equal(&whole, &bytes));
	if (message_max <= 65536) { /* wslay allocates what a header declares */
		ASSERT(ws_oracle_agrees(&d, &whole, data, len, 0));
		ASSERT(ws_oracle_agrees(&d, &whole, data, len, 1 + seed % 7));
	}
	ws_trace_fini(&whole);
	ws_trace_fini(&cut);
	ws_trace_fini(&bytes);
	return 0;
}
