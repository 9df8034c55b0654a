/*
 * ws.h - RFC 6455 framing, both roles, no extensions. Sans-I/O.
 *
 * The decoder works in place: it is fed a buffer and hands back one event at a time, payload as a
 * slice of that very buffer (unmasked there). Nothing is copied and no message is assembled;
 * control frames (at most 125 bytes) are collected so that they come whole. It may stop at any
 *byte.
 *
 *	while ((r = ws_next(&d, &data, &len, &ev)) > 0)
 *		handle(&ev);
 *	if (r < 0) the link is to be closed with code -r
 */
#pragma once

#include "base/base.h"

#define WS_KEY_LEN     24 /* base64 of 16 bytes */
#define WS_ACCEPT_LEN  28 /* base64 of a SHA-1 */
#define WS_HEADER_MAX  14
#define WS_CONTROL_MAX 125

enum ws_role {
	WS_SERVER, /* expects masked frames, sends bare ones */
	WS_CLIENT,
};

enum ws_opcode {
	WS_CONT = 0,
	WS_TEXT = 1,
	WS_BINARY = 2,
	WS_CLOSE = 8,
	WS_PING = 9,
	WS_PONG = 10,
};

enum ws_close_code {
	WS_CLOSE_NORMAL = 1000,
	WS_CLOSE_GOING_AWAY = 1001,
	WS_CLOSE_PROTOCOL = 1002,
	WS_CLOSE_UNSUPPORTED = 1003,
	WS_CLOSE_NO_STATUS = 1005, /* never on the wire */
	WS_CLOSE_POLICY = 1008,
	WS_CLOSE_TOO_BIG = 1009,
	WS_CLOSE_INTERNAL = 1011,
	WS_CLOSE_RESTART = 1012,
};

enum ws_event_type {
	WS_EV_DATA,  /* a slice of the current binary message */
	WS_EV_PING,  /* whole */
	WS_EV_PONG,  /* whole */
	WS_EV_CLOSE, /* code and reason; nothing may follow */
};

struct ws_event {
	enum ws_event_type type;
	uint8_t *data; /* DATA: a slice of the caller's buffer; others: the decoder's, until the
			  next call */
	size_t len;    /* DATA: may be 0 for an empty final frame */
	bool first;    /* DATA: the message begins with this slice */
	bool last;     /* DATA: the message ends with this slice */
	uint16_t code; /* CLOSE; WS_CLOSE_NO_STATUS when the peer sent none */
};

struct ws_decoder {
	enum ws_role role;
	uint64_t message_max;
	uint8_t header[WS_HEADER_MAX];
	unsigned header_len;
	uint64_t left;        /* payload bytes of the current frame still to come */
	uint64_t message_len; /* of the current message so far, all its frames' declared lengths */
	uint8_t mask[4];
	unsigned mask_at;
	uint8_t opcode;
	bool fin, masked;
	bool in_payload; /* else the header is being collected */
	bool in_message; /* a fragmented message is open */
	bool at_message_start;
	bool closed;
	uint8_t control[WS_CONTROL_MAX];
	unsigned control_len;
};

void ws_decoder_init(struct ws_decoder *d, enum ws_role role, uint64_t message_max);

/*
 * Takes from *data (advancing it and *len). 1: *ev is filled; 0: all input is used up; negative:
 * minus the close code to answer with (1002 broken rules, 1003 text, 1009 too big); then the
 * decoder must not be used again. After WS_EV_CLOSE it returns 0 and swallows the rest.
 */
int ws_next(struct ws_decoder *d, uint8_t **data, size_t *len, struct ws_event *ev);

/* Writes a frame header (2 to 14 bytes) into out and returns its length. WS_CLIENT: adds the mask
 * bit and `key`, and the caller must mask the payload with ws_mask() unless the key is all zero. */
size_t ws_encode_header(uint8_t out[WS_HEADER_MAX], enum ws_role role, enum ws_opcode op, bool fin,
	uint64_t payload_len, const uint8_t key[4]);

/* XORs n bytes with the key, starting at key byte `at` (mod 4). Returns the next `at`. */
unsigned ws_mask(uint8_t *data, size_t n, const uint8_t key[4], unsigned at);

/* Sec-WebSocket-Accept for a key; out has room for WS_ACCEPT_LEN + 1. */
void ws_accept_for(const char *key, char out[WS_ACCEPT_LEN + 1]);
/* Is it the base64 of exactly 16 bytes? */
bool ws_key_valid(const char *key);
/* 16 random bytes (getrandom), base64. */
void ws_key_make(char out[WS_KEY_LEN + 1]);
