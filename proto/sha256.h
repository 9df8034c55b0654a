/*
 * sha256.h - SHA-256 of a stream of bytes. Written here because the guest binary must stay small
 * and static, and the alternatives are whole crypto libraries. It uses the processor's own
 * instructions where there are any.
 */
#pragma once

#include "base/base.h"

#define SHA256_HEX 65 /* with the NUL */

struct sha256 {
	uint32_t h[8];
	uint64_t len;
	uint8_t block[64]; /* what does not make a block yet */
};

void sha256_init(struct sha256 *s);
void sha256_update(struct sha256 *s, const void *data, size_t len);
/* Lower case; the struct is spent. */
void sha256_final(struct sha256 *s, char hex[SHA256_HEX]);

/* For tests: never the processor's instructions. False: there are none anyway. */
bool sha256_plain(bool plain);
