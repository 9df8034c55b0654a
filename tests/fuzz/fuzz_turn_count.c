/*
 * fuzz_turn_count.c - what comes out of an agent session and what goes in, cut twice with different
 * cuts: the same count. And what is kept of a command's output, in any pieces, is always the inside
 * of a JSON string, and the same one.
 */
#include "bridge/api/exec_output.h"
#include "bridge/api/turn_count.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* The first byte of each slice says where it goes. */
static void count(struct turn_count *t, const uint8_t *data, size_t len, size_t step)
{
	for (size_t i = 0; i < len; i += 64) {
		size_t n = min_of(len - i, (size_t)64);
		bool in = data[i] & 1;

		for (size_t k = 1; k < n; k += step) {
			size_t here = min_of(step, n - k);

			if (in)
				turn_count_in(t, data + i + k, here);
			else
				turn_count_out(t, data + i + k, here);
		}
		if (data[i] & 2)
			turn_count_gap(t);
	}
}

static void check_count(const uint8_t *data, size_t len)
{
	struct turn_count a, b;

	turn_count_init(&a);
	turn_count_init(&b);
	count(&a, data, len, 64);
	count(&b, data, len, 1);
	ASSERT(a.pending == b.pending && a.unanswered == b.unanswered);
	ASSERT(strcmp(a.conversation, b.conversation) == 0);
	turn_count_fini(&a);
	turn_count_fini(&b);
}

static char *to_json(const struct exec_output *o, size_t step, size_t *ret)
{
	struct exec_output_at at = {0};
	char *text = malloc(6 * o->len + step + 2);
	size_t n = 1, got;

	ASSERT(text);
	text[0] = '"';
	while ((got = exec_output_json(o, &at, text + n, step)) > 0) {
		ASSERT(got <= step);
		n += got;
	}
	text[n++] = '"';
	*ret = n;
	return text;
}

static void check_output(const uint8_t *data, size_t len)
{
	struct exec_output whole, pieces;
	char *a, *b;
	size_t n_a, n_b, keep = len ? data[0] : 0;
	struct jsonr v;

	exec_output_init(&whole);
	exec_output_init(&pieces);
	ASSERT(exec_output_add(&whole, data, len) == 0);
	for (size_t i = 0; i < len; i++) {
		ASSERT(exec_output_add(&pieces, data + i, 1) == 0);
		exec_output_keep(&pieces, keep);
	}
	exec_output_keep(&whole, keep);
	ASSERT(whole.len == min_of(len, keep) && pieces.len == whole.len);
	a = to_json(&whole, 4096, &n_a);
	b = to_json(&pieces, 12, &n_b);
	ASSERT(n_a == n_b && memcmp(a, b, n_a) == 0);
	ASSERT(jsonr_parse(a, n_a, &v) == 0 && v.len == n_a);
	free(a);
	free(b);
	exec_output_fini(&whole);
	exec_output_fini(&pieces);
	ASSERT(whole.memory == 0 && pieces.memory == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	check_count(data, len);
	check_output(data, len);
	return 0;
}
