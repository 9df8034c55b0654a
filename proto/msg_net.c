/* Streams and ports. */
#include "proto/msg_net.h"

#include <stdio.h>

#include "proto/msg_read.h"

/* ---- dial ---- */

int msg_parse_dial(const uint8_t *json, size_t len, struct msg_dial *ret, struct error *e)
{
	struct msg_dial m = {.timeout_ms = MSG_DIAL_TIMEOUT_MS};
	struct msg_reader r;
	int err = msg_reader_init(&r, json, len, true, e);

	if (err < 0)
		return err;
	err = msg_get_str(&r, r.root, "to", &m.to);
	if (err == 0)
		err = msg_get_u64(&r, r.root, "timeout_ms", MSG_DIAL_TIMEOUT_MAX_MS, &m.timeout_ms);
	if (err == 0 && !m.to)
		err = msg_reader_fail(&r, "to", "\"tcp:HOST:PORT\" or \"unix:PATH\"");
	if (err == 0 && m.timeout_ms == 0)
		err = msg_reader_fail(&r, "timeout_ms", "from 1 to 600000");
	if (err == 0) {
		m.mem = msg_reader_take(&r);
		*ret = m;
	}
	msg_reader_fini(&r);
	return err;
}

void msg_dial_fini(struct msg_dial *m)
{
	free(take_ptr(&m->mem));
}

size_t msg_format_dial(const struct msg_dial *m, uint64_t window, char *out, size_t size)
{
	struct jsonw w;

	jsonw_init(&w, out, size);
	jsonw_open(&w, NULL, '{');
	jsonw_str(&w, "service", "dial");
	jsonw_u64(&w, "window", window);
	jsonw_bytes(&w, "to", m->to, strlen(m->to));
	if (m->timeout_ms)
		jsonw_u64(&w, "timeout_ms", m->timeout_ms);
	jsonw_close(&w, '}');
	return w.overflow ? 0 : w.len;
}

int msg_parse_window(const uint8_t *json, size_t len, uint64_t *ret, struct error *e)
{
	struct msg_reader r;
	int err = msg_reader_init(&r, json, len, false, e);

	if (err < 0)
		return err;
	*ret = 0;
	err = msg_get_u64(&r, r.root, "window", (uint64_t)MSG_INT_MAX, ret);
	msg_reader_fini(&r);
	return err;
}

/* ---- writing a port ---- */

static void put_cmd(struct jsonw *w, const struct msg_port *m)
{
	jsonw_open(w, "cmd", '[');
	for (size_t at = 0; at < m->cmd_len; at += strnlen(m->cmd + at, m->cmd_len - at) + 1)
		jsonw_bytes(w, NULL, m->cmd + at, strnlen(m->cmd + at, m->cmd_len - at));
	jsonw_close(w, ']');
	if (m->cmd_cut)
		jsonw_bool(w, "cmd_cut", true);
}

void msg_put_port(struct jsonw *w, const struct msg_port *m, bool brief)
{
	jsonw_str(w, "proto", m->v6 ? "tcp6" : "tcp");
	jsonw_str(w, "address", m->address);
	jsonw_u64(w, "port", m->port);
	jsonw_u64(w, "inode", m->inode);
	if (brief)
		return;
	jsonw_u64(w, "uid", m->uid);
	if (m->user)
		jsonw_bytes(w, "user", m->user, strlen(m->user));
	if (m->pid) {
		jsonw_int(w, "pid", m->pid);
		put_cmd(w, m);
	}
	if (m->session)
		jsonw_str(w, "session", m->session);
}

/* ---- reading one ---- */

static int read_port(struct msg_reader *r, const cJSON *obj, void *ret)
{
	struct msg_port *m = ret;
	const char *proto = "tcp", *address = "";
	uint64_t port = 0, uid = 0;
	int e;

	*m = (struct msg_port){0};
	if (!cJSON_IsObject(obj))
		return msg_reader_fail(r, "ports", "an array of objects");
	if ((e = msg_get_str(r, obj, "proto", &proto)) < 0 ||
		(e = msg_get_str(r, obj, "address", &address)) < 0 ||
		(e = msg_get_u64(r, obj, "port", UINT16_MAX, &port)) < 0 ||
		(e = msg_get_u64(r, obj, "inode", (uint64_t)MSG_INT_MAX, &m->inode)) < 0 ||
		(e = msg_get_u64(r, obj, "uid", UINT32_MAX, &uid)) < 0 ||
		(e = msg_get_str(r, obj, "user", &m->user)) < 0 ||
		(e = msg_get_i64(r, obj, "pid", 0, INT32_MAX, &m->pid)) < 0 ||
		(e = msg_get_name(r, obj, "session", MSG_ID_MAX, &m->session)) < 0)
		return e;
	m->v6 = strcmp(proto, "tcp6") == 0;
	m->port = (uint16_t)port;
	m->uid = (uint32_t)uid;
	if (strlen(address) >= sizeof(m->address))
		return msg_reader_fail(r, "address", "an IP address");
	memcpy(m->address, address, strlen(address) + 1);
	msg_get_cmd_line(r, obj, &m->cmd, &m->cmd_len);
	return 0;
}

static int read_ports(struct msg_reader *r, struct msg_ports *m)
{
	int e = msg_get_array(r, "ports", sizeof(*m->ports), read_port, (void **)&m->ports, &m->n);

	return e < 0 ? e : msg_get_name(r, r->root, "next", MSG_ID_MAX, &m->next);
}

int msg_parse_ports(const uint8_t *json, size_t len, struct msg_ports *ret, struct error *e)
{
	struct msg_ports m = {0};
	struct msg_reader r;
	int err = msg_reader_init(&r, json, len, true, e);

	if (err < 0)
		return err;
	err = read_ports(&r, &m);
	if (err == 0) {
		m.mem = msg_reader_take(&r);
		*ret = m;
	} else {
		msg_ports_fini(&m);
	}
	msg_reader_fini(&r);
	return err;
}

void msg_ports_fini(struct msg_ports *m)
{
	free(take_ptr(&m->mem));
	free(take_ptr(&m->ports));
}

int msg_parse_port_event(
	const uint8_t *json, size_t len, struct msg_port_event *ret, struct error *e)
{
	static const char *const words[] = {
		[PORT_EVENT_OPEN] = "open",
		[PORT_EVENT_CLOSE] = "close",
		[PORT_EVENT_LIVE] = "live",
	};
	struct msg_port_event m = {0};
	const char *word = "";
	struct msg_reader r;
	int err = msg_reader_init(&r, json, len, true, e);

	if (err < 0)
		return err;
	err = msg_get_str(&r, r.root, "event", &word);
	for (int i = PORT_EVENT_OPEN; err == 0 && i <= PORT_EVENT_LIVE; i++) {
		if (strcmp(word, words[i]) == 0)
			m.kind = (enum msg_port_event_kind)i;
	}
	if (err == 0 && (m.kind == PORT_EVENT_OPEN || m.kind == PORT_EVENT_CLOSE))
		err = read_port(&r, r.root, &m.port);
	if (err == 0) {
		m.mem = msg_reader_take(&r);
		*ret = m;
	}
	msg_reader_fini(&r);
	return err;
}

void msg_port_event_fini(struct msg_port_event *m)
{
	free(take_ptr(&m->mem));
}

/* ---- the request ---- */

int msg_parse_ports_request(
	const uint8_t *json, size_t len, uint16_t *ret_port, uint64_t *ret_inode, struct error *e)
{
	unsigned long long inode = 0;
	const char *after = NULL;
	unsigned port = 0;
	int end = 0, err;
	struct msg_reader r;

	err = msg_reader_init(&r, json, len, true, e);
	if (err < 0)
		return err;
	err = msg_get_name(&r, r.root, "after", MSG_ID_MAX, &after);
	if (err == 0 && after &&
		(sscanf(after, "%5u.%19llu%n", &port, &inode, &end) != 2 || after[end] ||
			port > UINT16_MAX))
		err = msg_reader_fail(&r, "after", "the \"next\" of the page before");
	if (err == 0) {
		*ret_port = (uint16_t)port;
		*ret_inode = inode;
	}
	msg_reader_fini(&r);
	return err;
}

size_t msg_format_ports_request(const char *after, char *out, size_t size)
{
	struct jsonw w;

	jsonw_init(&w, out, size);
	jsonw_open(&w, NULL, '{');
	jsonw_str(&w, "op", "net.ports");
	if (after)
		jsonw_str(&w, "after", after);
	jsonw_close(&w, '}');
	return w.overflow ? 0 : w.len;
}
