/*
 * fuzz_netlink.c - replies of sock_diag, as the kernel or anybody might write them. What is found
 * is well-formed; a reply cut anywhere tells nothing else than the whole up to there; and a reply
 * to another request tells nothing at all.
 */
#include "agentd/sockdiag.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define SEQ 1

struct seen {
	unsigned n, stop_at;
	uint64_t sum;
};

static int found(void *ctx, const struct sockdiag_entry *s)
{
	struct seen *seen = ctx;

	if (!s->v6) {
		for (int i = 4; i < 16; i++)
			ASSERT(s->addr[i] == 0);
	}
	ASSERT(s->inode <= UINT32_MAX);
	if (seen->n == seen->stop_at)
		return -ENOMEM;
	seen->n++;
	seen->sum = seen->sum * 31 + s->inode + s->port;
	return 0;
}

/* From memory of exactly this size, and nowhere aligned. */
static int parse(const uint8_t *data, size_t len, uint32_t seq, struct seen *seen)
{
	uint8_t *copy = malloc(len + 1);
	int r;

	ASSERT(copy);
	if (len > 0)
		memcpy(copy + 1, data, len);
	r = sockdiag_parse(copy + 1, len, seq, found, seen);
	free(copy);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct seen whole = {.stop_at = 1000000}, part, again = whole;
	int r;

	if (len > SOCKDIAG_REPLY)
		return 0;
	r = parse(data, len, SEQ, &whole);
	ASSERT(r <= 1 && r > -4096);
	ASSERT(parse(data, len, SEQ, &again) == r && again.sum == whole.sum);
	for (size_t cut = 0; cut < len; cut += 1 + len / 16) {
		part = (struct seen){.stop_at = 1000000};
		parse(data, cut, SEQ, &part);
		ASSERT(part.n <= whole.n);
	}
	for (unsigned stop = 0; stop < min_of(whole.n, 4U); stop++) {
		part = (struct seen){.stop_at = stop};
		ASSERT(parse(data, len, SEQ, &part) == -ENOMEM && part.n == stop);
	}
	return 0;
}
