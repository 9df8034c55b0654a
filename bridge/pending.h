/*
 * pending.h - requests that wait for their answer: numbers, who asked, and that each is told
 * exactly once.
 */
#pragma once

#include "base/list.h"
#include "proto/msg.h"

/* error is NULL on success; json only then. Both are valid only during the call. A link that broke
 * is the error E_FAILED with ECONNRESET. */
typedef void (*guest_response_fn)(
	void *owner, const uint8_t *json, size_t len, const struct error *error);

struct pending {
	struct list waiting; /* in the order they were asked, which is mostly that of the answers */
	uint64_t last;       /* number given */
};

void pending_init(struct pending *p);
uint64_t pending_add(struct pending *p, guest_response_fn fn, void *owner);
/* Nobody is told. Fine when it was answered already. */
void pending_cancel(struct pending *p, uint64_t id);
/* A result or {"error":...}; an answer to nobody's question is ignored. */
void pending_answer(struct pending *p, uint64_t id, const uint8_t *json, size_t len);
/* The link is gone. */
void pending_fail(struct pending *p);
