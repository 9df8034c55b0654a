/*
 * floor_vsock.h - what floor_vsock is asked, first thing on a connection.
 */
#pragma once

#include <stdint.h>

#define FLOOR_VSOCK_MAX  ((uint32_t)256 * 1024)
#define FLOOR_VSOCK_RUNS 10

enum {
	FLOOR_VSOCK_ECHO = 1,
	FLOOR_VSOCK_SEND,
	FLOOR_VSOCK_COPY,
	FLOOR_VSOCK_SPAWN, /* then a byte for every `size` runs of /bin/true, at most
			      FLOOR_VSOCK_RUNS; the answer is an array of their nanoseconds */
};

struct floor_vsock_request {
	uint32_t what;
	uint32_t size;  /* of a message, of a write, of a read: at most FLOOR_VSOCK_MAX */
	uint64_t bytes; /* in all, of what is sent or copied */
};
