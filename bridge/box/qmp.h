/*
 * qmp.h - a client of QEMU's machine protocol (QMP) on its unix socket.
 *
 * One connection: greeting and capabilities are done here, then on_up comes. Each command is
 * answered once, or never when the connection went first (on_down comes then, once) or was closed.
 * Nothing blocks. QEMU is a peer like others: what it says is bounded (QMP_LINE_MAX) and checked,
 * and one that does not read or talks no QMP is a connection that went down. Deadlines are the
 * owner's.
 */
#pragma once

#include <uv.h>

#include "proto/lines.h"

#define QMP_LINE_MAX    (1024 * 1024)
#define QMP_COMMAND_MAX 4096
#define QMP_PENDING_MAX 8

/* ---- what a line is ---- */

enum qmp_kind { QMP_GREETING, QMP_RETURN, QMP_ERROR, QMP_EVENT };

struct qmp_message {
	enum qmp_kind kind;
	uint64_t id;        /* return, error; 0: none */
	struct jsonr value; /* return: the value; event: its data, empty when it has none */
	struct jsonr name;  /* event: what it is called, without quotes */
	char desc[200];     /* error, for people */
};

/* 0, or -EBADMSG. Points into the line. */
int qmp_parse(const char *line, size_t len, struct qmp_message *ret);

/* ---- a connection ---- */

struct qmp;

/* error: NULL, or QEMU's words; value is good without an error only. Valid during the call. */
typedef void (*qmp_fn)(void *owner, struct jsonr value, const char *error);

struct qmp_ops {
	void (*on_up)(struct qmp *q);
	void (*on_event)(struct qmp *q, struct jsonr name, struct jsonr data);
	void (*on_down)(struct qmp *q, int err); /* -errno; qmp_close() is still to be called */
};

struct qmp_pending {
	uint64_t id; /* 0: free */
	qmp_fn fn;
	void *owner;
};

struct qmp {
	const struct qmp_ops *ops;
	void *owner;
	int fd; /* -1: closed or down */
	bool open, up;
	uv_poll_t poll;
	struct lines lines;
	uint64_t last_id;
	struct qmp_pending pending[QMP_PENDING_MAX];
	void (*on_closed)(struct qmp *q);
};

/* Connects at once: 0, or -errno (-ENOENT, -ECONNREFUSED: QEMU does not listen yet). Nothing is to
 * be closed after an error. */
int qmp_open(
	struct qmp *q, uv_loop_t *loop, const char *path, const struct qmp_ops *ops, void *owner);
/* args: a JSON object, or NULL. fd >= 0 goes along (getfd, add-fd) and stays the caller's. 0, or
 * -errno: nothing was sent and fn does not come. */
int qmp_ask(struct qmp *q, const char *command, const char *args, int fd, qmp_fn fn, void *owner);
/* Is an answer still to come? */
bool qmp_busy(const struct qmp *q);
/* No callback but on_closed (may be NULL; never from inside) comes any more; then the memory may
 * go. Only on an open one. */
void qmp_close(struct qmp *q, void (*on_closed)(struct qmp *q));
