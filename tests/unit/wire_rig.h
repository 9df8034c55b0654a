/*
 * wire_rig.h - one end of a link under test, and the far end by hand: the test says frames and
 * bytes, and hears what comes back as a line of text. The owner of the wire is a small service
 *whose callbacks are written down the same way, so an expectation is one string:
 *
 *	rig_say(&r, FRAME_OPEN, 5, 0, "{}");
 *	assert_string_equal(rig_told(&r), "open 5 {}");
 *	assert_string_equal(rig_heard(&r), "OPENED 5 {}");
 *
 * A frame reads TYPE channel[.stream][@arg][+fin] payload; of a long payload only "#length", of an
 * error only "!code". A channel's state is freed in on_close, so a use of it afterwards is found.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agentd/service.h"
#include "proto/wire.h"

/* The head of a request that is granted, in parts; an empty line ends it. */
#define RIG_KEY     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define RIG_UPGRADE "Upgrade: websocket\r\nConnection: Upgrade\r\n"
#define RIG_REST    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: agentd.v1\r\n"
#define RIG_GOOD    "GET /v1 HTTP/1.1\r\nHost: agentd\r\n" RIG_UPGRADE RIG_KEY RIG_REST

struct rig;

/* Serves one channel; what it has to say is counted, not stored. */
struct rig_chan {
	struct channel channel;
	struct rig *rig;
	uint64_t sent, todo; /* bytes of stdout: 'x' as far as they are shown, then letters */
	size_t chunk;        /* at most so many in a frame; 0: as many as fit */
	const char *event;   /* comes first */
	uint64_t gap;        /* then this */
	bool ends;           /* CLOSE when all is said */
	bool grants;         /* the window is kept open at rig->window */
	void (*on_pull)(struct rig_chan *c);
	void (*on_data)(struct rig_chan *c);
};

#define RIG_CHANS 70000u

struct rig {
	struct wire wire;
	enum ws_role role;
	struct buf told, heard, hidden; /* hidden: text handed out, kept until the next call */
	struct buf head;                /* of HTTP, as it came */
	struct ws_decoder ws;           /* the far end's */
	struct buf message;
	uint64_t heard_bytes; /* of DATA */
	unsigned heard_frames;
	int closed;  /* code of the CLOSE frame that came; 0: none */
	size_t step; /* what the far end takes in at once; 0: all */
	bool deaf;   /* the far end does not read */
	struct service_link
		*service; /* the agent's, in place of the small one here; its mux is set */
	/* What the small one does. */
	uint64_t window, send_limit;
	const char *refuse; /* an error to refuse with */
	bool defer;         /* OPEN is not answered: the test does */
	bool patient;       /* its answer may wait a moment */
	int status;         /* to be authorized with */
	size_t max_channels;
	struct rig_chan **chans; /* by id; NULL where there is none */
	unsigned live, closes;
	void (*on_close)(struct rig *r, uint32_t id); /* called in it, the channel gone already */
};

/* Up to HELLO on both sides; the logs are empty then. max_channels 0: 16. */
void rig_server(struct rig *r, size_t max_channels);
void rig_client(struct rig *r);
/* The wire alone, nothing said. */
void rig_init(struct rig *r, enum ws_role role, size_t max_channels, const char *bearer);
void rig_fini(struct rig *r);
void rig_upgrade(struct rig *r);
void rig_hello(struct rig *r);

/* Bytes to the wire, from memory of exactly their size. How many it took. */
size_t rig_bytes(struct rig *r, const void *data, size_t len);
/* One WebSocket frame, masked if the far end is a client. */
void rig_ws(struct rig *r, enum ws_opcode op, bool fin, const void *data, size_t len);
void rig_frame(struct rig *r, const struct frame *f, const void *payload, size_t len);
void rig_say(struct rig *r, enum frame_type type, uint32_t channel, uint64_t arg, const char *text);
void rig_say_data(struct rig *r, uint32_t channel, uint64_t off, const char *text, bool fin);

/* Lets the wire send what it has; all that came since the last call, in order, separated by "; ".
 */
const char *rig_heard(struct rig *r);
const char *rig_told(struct rig *r);
/* One round of output: what was offered is taken up to r->step. False: nothing was offered. */
bool rig_pump(struct rig *r);

/* The bytes of a frame are only good until the wire is called again: this spoils them. */
void rig_scribble(void);

struct rig_chan *rig_chan(struct rig *r, uint32_t id);
/* Says OPEN; it must be accepted. The logs are empty afterwards. */
struct rig_chan *rig_open(struct rig *r, uint32_t id);
/* Client: opens one with this window. */
struct rig_chan *rig_connect(struct rig *r, uint64_t window);
