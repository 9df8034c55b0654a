/*
 * frame.h - the unit of the protocol: a 16-byte header and a payload, one WebSocket message each
 * (docs/protocol.md section 2). A relay needs no more than this file to route frames.
 */
#pragma once

#include "proto/buf.h"
#include "proto/ws.h"

#define PROTO_VERSION     1
#define PROTO_NAME        "agentd.v1"
#define PROTO_PATH        "/v1"
#define PROTO_VSOCK_PORT  1024
#define FRAME_HEADER      16
#define FRAME_MAX         65536 /* header and payload */
#define FRAME_PAYLOAD_MAX (FRAME_MAX - FRAME_HEADER)

enum frame_type {
	FRAME_HELLO = 1,
	FRAME_REQ = 2,
	FRAME_RES = 3,
	FRAME_NOTICE = 4,
	FRAME_REJECT = 5,
	FRAME_OPEN = 16,
	FRAME_OPENED = 17,
	FRAME_REFUSED = 18,
	FRAME_CLOSE = 19,
	FRAME_DATA = 32,
	FRAME_GAP = 33,
	FRAME_WINDOW = 34,
	FRAME_ACK = 35,
	FRAME_EVENT = 48,
};

enum frame_stream { STREAM_IN = 0, STREAM_OUT = 1, STREAM_ERR = 2 };

#define FRAME_FIN 0x01

struct frame {
	uint8_t type, flags, stream;
	uint32_t channel;
	uint64_t arg;
};

static inline void frame_decode(struct frame *f, const uint8_t p[FRAME_HEADER])
{
	*f = (struct frame){.type = p[0], .flags = p[1], .stream = p[2]};
	f->channel = get_u32(p + 4);
	f->arg = get_u64(p + 8);
}

static inline void frame_encode(const struct frame *f, uint8_t p[FRAME_HEADER])
{
	p[0] = f->type;
	p[1] = f->flags;
	p[2] = f->stream;
	p[3] = 0;
	put_u32(p + 4, f->channel);
	put_u64(p + 8, f->arg);
}

/* A frame's WebSocket header and its own, ready to be sent before len payload bytes. Clients use
 * the zero mask key (docs/protocol.md section 1), so payload goes out as it lies in memory in both
 * roles. */
#define FRAME_PREFIX_MAX (WS_HEADER_MAX + FRAME_HEADER)
static inline size_t frame_prefix(
	uint8_t out[FRAME_PREFIX_MAX], enum ws_role role, const struct frame *f, size_t len)
{
	static const uint8_t zero_key[4];
	size_t n = ws_encode_header(out, role, WS_BINARY, true, FRAME_HEADER + len, zero_key);

	frame_encode(f, out + n);
	return n + FRAME_HEADER;
}

/* Is this a type that docs/protocol.md lists? */
static inline bool frame_type_known(uint8_t type)
{
	return (type >= FRAME_HELLO && type <= FRAME_REJECT) ||
	       (type >= FRAME_OPEN && type <= FRAME_CLOSE) ||
	       (type >= FRAME_DATA && type <= FRAME_ACK) || type == FRAME_EVENT;
}
