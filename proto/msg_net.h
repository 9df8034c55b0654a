/*
 * msg_net.h - messages of streams and ports (docs/protocol.md section 16); the rules are those of
 * msg.h.
 */
#pragma once

#include "proto/msg.h"

#define MSG_DIAL_TIMEOUT_MS     10000
#define MSG_DIAL_TIMEOUT_MAX_MS 600000

/* OPEN of service "dial". */
struct msg_dial {
	void *mem;
	const char *to;
	uint64_t timeout_ms;
};

int msg_parse_dial(const uint8_t *json, size_t len, struct msg_dial *ret, struct error *e);
void msg_dial_fini(struct msg_dial *m);
/* Client; window is that of the OPEN. 0 when it does not fit into a frame. */
size_t msg_format_dial(const struct msg_dial *m, uint64_t window, char *out, size_t size);
/* What OPENED says; absent is 0. */
int msg_parse_window(const uint8_t *json, size_t len, uint64_t *ret, struct error *e);

/* A socket that listens. Kept beside msg.h's rules: strings are borrowed when writing. */
struct msg_port {
	bool v6;
	char address[46];
	uint16_t port;
	uint64_t inode;
	uint32_t uid;
	const char *user; /* NULL: no name */
	int64_t pid;      /* 0: unknown; then there is no cmd either */
	const char *cmd;  /* arguments, a NUL after each; read: one line for people */
	size_t cmd_len;
	bool cmd_cut;
	const char *session; /* NULL: none */
};

/* Members of an entry, or (brief) those that name the socket, into an object that is open. */
void msg_put_port(struct jsonw *w, const struct msg_port *m, bool brief);

/* A request `net.ports`: position of the last entry of the page before; 0, 0 at first. */
int msg_parse_ports_request(
	const uint8_t *json, size_t len, uint16_t *ret_port, uint64_t *ret_inode, struct error *e);
size_t msg_format_ports_request(const char *after, char *out, size_t size);

struct msg_ports {
	void *mem;
	struct msg_port *ports;
	size_t n;
	const char *next; /* NULL at the end */
};

int msg_parse_ports(const uint8_t *json, size_t len, struct msg_ports *ret, struct error *e);
void msg_ports_fini(struct msg_ports *m);

enum msg_port_event_kind { PORT_EVENT_UNKNOWN, PORT_EVENT_OPEN, PORT_EVENT_CLOSE, PORT_EVENT_LIVE };

struct msg_port_event {
	void *mem;
	enum msg_port_event_kind kind;
	struct msg_port port;
};

int msg_parse_port_event(
	const uint8_t *json, size_t len, struct msg_port_event *ret, struct error *e);
void msg_port_event_fini(struct msg_port_event *m);
