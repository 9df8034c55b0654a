/*
 * msg_rig.h - random contents for messages, and reading one back from memory of exactly its size.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/msg.h"

#define ROUNDS       400
#define INT_MAX_JSON (1ULL << 53)

/* What the test has written. */
extern char json[FRAME_PAYLOAD_MAX];

/* Below n. */
uint32_t rnd(uint32_t n);
/* Small, large, or at an edge. */
uint64_t rnd_u64(uint64_t max);
/* Text; any bytes but NUL; words that need escapes. Good until the ring comes round. */
char *rnd_bytes(size_t min);
char *rnd_name(size_t max);
/* Both NULL, or the same text. */
void same_str(const char *a, const char *b);
/* Exactly as large, so that reading on is found. */
uint8_t *test_block(size_t len);

#define PARSE(how, len, ret)                                                                       \
	do {                                                                                       \
		struct error e_ = {.message = ""};                                                 \
		uint8_t *copy_ = test_block(len);                                                  \
		memcpy(copy_, json, len);                                                          \
		if (how(copy_, len, ret, &e_) != 0)                                                \
			fail_msg("%s: %.*s", e_.message, (int)(len), json);                        \
		free(copy_);                                                                       \
	} while (0)
