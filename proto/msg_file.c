/* What the file operations have in common; each reads its own members beside it. */
#include "proto/msg_file.h"

#include <stdio.h>
#include <stdlib.h>

#include "proto/msg_read.h"

static int read_owner(struct msg_reader *r, const char *text, struct msg_owner *o)
{
	char *end;
	unsigned long uid, gid;

	if (strcmp(text, "parent") == 0) {
		o->kind = OWNER_PARENT;
		return 0;
	}
	if (strcmp(text, "self") == 0) {
		o->kind = OWNER_SELF;
		return 0;
	}
	if (strcmp(text, "archive") == 0) {
		o->kind = OWNER_ARCHIVE;
		return 0;
	}
	if (*text < '0' || *text > '9')
		goto bad;
	uid = strtoul(text, &end, 10);
	if (*end != ':' || end[1] < '0' || end[1] > '9')
		goto bad;
	gid = strtoul(end + 1, &end, 10);
	if (*end || uid >= UINT32_MAX || gid >= UINT32_MAX)
		goto bad;
	*o = (struct msg_owner){OWNER_IDS, (uint32_t)uid, (uint32_t)gid};
	return 0;
bad:
	return msg_reader_fail(r, "owner", "\"parent\", \"self\" or \"UID:GID\"");
}

int msg_read_where_if(struct msg_reader *r, const cJSON *obj, struct msg_where *w)
{
	const char *owner = NULL;
	int e;

	*w = (struct msg_where){0};
	if ((e = msg_get_str(r, obj, "path", &w->path)) < 0 ||
		(e = msg_get_str(r, obj, "root", &w->root)) < 0 ||
		(e = msg_get_str(r, obj, "user", &w->user)) < 0 ||
		(e = msg_get_str(r, obj, "owner", &owner)) < 0)
		return e;
	if (w->path && !*w->path)
		return msg_reader_fail(r, "path", "not empty");
	if (w->root && w->root[0] != '/')
		return msg_reader_fail(r, "root", "an absolute path");
	return owner ? read_owner(r, owner, &w->owner) : 0;
}

int msg_read_where(struct msg_reader *r, const cJSON *obj, struct msg_where *w)
{
	int e = msg_read_where_if(r, obj, w);

	return e == 0 && !w->path ? msg_reader_fail(r, "path", "there, and not empty") : e;
}

int msg_parse_file_op(const uint8_t *json, size_t len, char ret[MSG_FILE_OP_MAX], struct error *e)
{
	const char *op = NULL;
	struct msg_reader r;
	int err = msg_reader_init(&r, json, len, true, e);

	if (err < 0)
		return err;
	err = msg_get_name(&r, r.root, "op", MSG_FILE_OP_MAX - 1, &op);
	if (err == 0 && !op)
		err = msg_reader_fail(&r, "op", "the name of an operation");
	else if (err == 0)
		snprintf(ret, MSG_FILE_OP_MAX, "%s", op);
	msg_reader_fini(&r);
	return err;
}
