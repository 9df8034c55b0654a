/* Each operation has a reader for the members of its own. */
#include "proto/msg_file_request.h"

#include "proto/msg_read.h"
#include "proto/text.h"

#define LENGTH_MAX ((uint64_t)MSG_INT_MAX)

typedef int (*read_fn)(struct msg_reader *r, const cJSON *obj, struct msg_file_request *m);

static int get_mode(struct msg_reader *r, const cJSON *obj, uint32_t *ret)
{
	uint64_t mode = 0;
	int e = msg_get_u64(r, obj, "mode", 07777, &mode);

	if (e == 0 && msg_has(obj, "mode"))
		*ret = (uint32_t)mode;
	return e;
}

static int need_str(struct msg_reader *r, const cJSON *obj, const char *name, const char **ret)
{
	int e = msg_get_str(r, obj, name, ret);

	if (e == 0 && (!*ret || !**ret))
		return msg_reader_fail(r, name, "there, and not empty");
	return e;
}

static int read_follow(struct msg_reader *r, const cJSON *obj, struct msg_file_request *m)
{
	return msg_get_bool(r, obj, "follow", &m->follow);
}

static int read_list(struct msg_reader *r, const cJSON *obj, struct msg_file_request *m)
{
	int e;

	m->limit = 1000;
	if ((e = msg_get_str(r, obj, "after", &m->after)) < 0 ||
		(e = msg_get_u64(r, obj, "limit", LENGTH_MAX, &m->limit)) < 0 ||
		(e = msg_get_bool(r, obj, "hidden", &m->hidden)) < 0)
		return e;
	if (m->limit == 0)
		return msg_reader_fail(r, "limit", "at least 1");
	m->limit = min_of(m->limit, (uint64_t)MSG_FILE_LIST_MAX);
	return 0;
}

static int read_mkdir(struct msg_reader *r, const cJSON *obj, struct msg_file_request *m)
{
	int e = msg_get_bool(r, obj, "parents", &m->parents);

	m->mode = 0755;
	return e < 0 ? e : get_mode(r, obj, &m->mode);
}

static int read_remove(struct msg_reader *r, const cJSON *obj, struct msg_file_request *m)
{
	int e = msg_get_bool(r, obj, "recursive", &m->recursive);

	return e < 0 ? e : msg_get_bool(r, obj, "missing_ok", &m->missing_ok);
}

static int read_rename(struct msg_reader *r, const cJSON *obj, struct msg_file_request *m)
{
	int e = need_str(r, obj, "to", &m->to);

	return e < 0 ? e : msg_get_bool(r, obj, "replace", &m->replace);
}

static int read_copy(struct msg_reader *r, const cJSON *obj, struct msg_file_request *m)
{
	int e = read_rename(r, obj, m);

	return e < 0 ? e : msg_get_bool(r, obj, "recursive", &m->recursive);
}

static int read_chmod(struct msg_reader *r, const cJSON *obj, struct msg_file_request *m)
{
	int e = get_mode(r, obj, &m->mode);

	if (e == 0 && m->mode == MSG_FILE_NO_MODE)
		return msg_reader_fail(r, "mode", "there");
	return e < 0 ? e : msg_get_bool(r, obj, "recursive", &m->recursive);
}

/* -1 is what chown(2) calls "unchanged". */
static int get_id(struct msg_reader *r, const cJSON *obj, const char *name, uint32_t *ret)
{
	int64_t id = -1;
	int e = msg_get_i64(r, obj, name, -1, UINT32_MAX - 1, &id);

	*ret = (uint32_t)id;
	return e;
}

static int read_chown(struct msg_reader *r, const cJSON *obj, struct msg_file_request *m)
{
	int e;

	if ((e = get_id(r, obj, "uid", &m->uid)) < 0 || (e = get_id(r, obj, "gid", &m->gid)) < 0 ||
		(e = msg_get_bool(r, obj, "recursive", &m->recursive)) < 0)
		return e;
	return read_follow(r, obj, m);
}

/* A number, as far as it is exact, or its digits as a string: nanoseconds since 1970 need more than
 * the 53 bits that JSON is sure to keep. */
static int get_time(struct msg_reader *r, const cJSON *obj, const char *name, int64_t *ret)
{
	const cJSON *v = cJSON_GetObjectItemCaseSensitive(obj, name);
	const char *text = cJSON_GetStringValue(v);
	bool minus = text && *text == '-';
	uint64_t n = 0;

	if (!text)
		return msg_get_i64(r, obj, name, INT64_MIN / 2, INT64_MAX / 2, ret);
	text += minus;
	if (strlen(text) > 18 + 1 || !*text)
		goto bad;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			goto bad;
		n = n * 10 + (uint64_t)(*text - '0');
	}
	if (n > INT64_MAX / 2)
		goto bad;
	*ret = minus ? -(int64_t)n : (int64_t)n;
	return 0;
bad:
	return msg_reader_fail(r, name, "nanoseconds since 1970");
}

static int read_utimes(struct msg_reader *r, const cJSON *obj, struct msg_file_request *m)
{
	int e;

	if ((e = get_time(r, obj, "atime_ns", &m->atime_ns)) < 0 ||
		(e = get_time(r, obj, "mtime_ns", &m->mtime_ns)) < 0)
		return e;
	return read_follow(r, obj, m);
}

static int read_symlink(struct msg_reader *r, const cJSON *obj, struct msg_file_request *m)
{
	return need_str(r, obj, "target", &m->target);
}

static int read_link(struct msg_reader *r, const cJSON *obj, struct msg_file_request *m)
{
	return need_str(r, obj, "to", &m->to);
}

static int read_nothing(struct msg_reader *r, const cJSON *obj, struct msg_file_request *m)
{
	(void)r;
	(void)obj;
	(void)m;
	return 0;
}

static int read_truncate(struct msg_reader *r, const cJSON *obj, struct msg_file_request *m)
{
	if (!msg_has(obj, "size"))
		return msg_reader_fail(r, "size", "there");
	return msg_get_u64(r, obj, "size", LENGTH_MAX, &m->size);
}

static int read_du(struct msg_reader *r, const cJSON *obj, struct msg_file_request *m)
{
	return msg_get_bool(r, obj, "same_fs", &m->same_fs);
}

static int read_sha256(struct msg_reader *r, const cJSON *obj, struct msg_file_request *m)
{
	int e = msg_get_u64(r, obj, "offset", LENGTH_MAX, &m->offset);

	m->length = LENGTH_MAX;
	return e < 0 ? e : msg_get_u64(r, obj, "length", LENGTH_MAX, &m->length);
}

/* An array of 1 to MSG_FILE_MANY_MAX. */
static int get_many(struct msg_reader *r, const cJSON *obj, const char *name, const cJSON **ret,
	struct msg_file_request *m)
{
	const cJSON *v = cJSON_GetObjectItemCaseSensitive(obj, name);
	int n = cJSON_GetArraySize(v);

	if (!cJSON_IsArray(v) || n < 1 || n > MSG_FILE_MANY_MAX)
		return msg_reader_fail(r, name, "an array of 1 to 1000");
	*ret = v->child;
	m->n = (size_t)n;
	return 0;
}

static int read_read_many(struct msg_reader *r, const cJSON *obj, struct msg_file_request *m)
{
	const cJSON *v = NULL;
	int e = get_many(r, obj, "paths", &v, m);

	m->max = 32768;
	if (e < 0 || (e = msg_get_u64(r, obj, "max", MSG_FILE_READ_MAX, &m->max)) < 0)
		return e;
	m->paths = msg_reader_alloc(r, m->n * sizeof(*m->paths));
	for (size_t i = 0; v && e == 0; i++, v = v->next)
		e = msg_value_str(r, v, "paths", &m->paths[i]);
	return e;
}

static int read_data(struct msg_reader *r, const cJSON *obj, struct msg_file_data *d)
{
	const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(obj, "b64"));
	uint8_t *data;
	ssize_t n;
	int e;

	d->mode = MSG_FILE_NO_MODE;
	if ((e = need_str(r, obj, "path", &d->path)) < 0 || (e = get_mode(r, obj, &d->mode)) < 0)
		return e;
	if (!text)
		return msg_reader_fail(r, "b64", "the bytes of the file, as base64");
	data = msg_reader_alloc(r, strlen(text) + 1);
	n = base64_decode(text, strlen(text), data);
	if (n < 0)
		return msg_reader_fail(r, "b64", "base64");
	d->data = data;
	d->len = (size_t)n;
	return 0;
}

static int read_write_many(struct msg_reader *r, const cJSON *obj, struct msg_file_request *m)
{
	const cJSON *v = NULL;
	int e = get_many(r, obj, "files", &v, m);

	if (e < 0)
		return e;
	/* Only then is the block of memory surely large enough. */
	for (const cJSON *f = v; f; f = f->next) {
		if (!cJSON_IsObject(f) || !msg_has(f, "path") || !msg_has(f, "b64"))
			return msg_reader_fail(r, "files", "objects with \"path\" and \"b64\"");
	}
	m->files = msg_reader_alloc(r, m->n * sizeof(*m->files));
	for (size_t i = 0; v && e == 0; i++, v = v->next)
		e = read_data(r, v, &m->files[i]);
	return e;
}

static const struct {
	const char *word;
	read_fn read;
} ops[FILE_OPS] = {
	[FILE_STAT] = {"stat", read_follow},
	[FILE_LIST] = {"list", read_list},
	[FILE_MKDIR] = {"mkdir", read_mkdir},
	[FILE_REMOVE] = {"remove", read_remove},
	[FILE_RENAME] = {"rename", read_rename},
	[FILE_COPY] = {"copy", read_copy},
	[FILE_CHMOD] = {"chmod", read_chmod},
	[FILE_CHOWN] = {"chown", read_chown},
	[FILE_UTIMES] = {"utimes", read_utimes},
	[FILE_SYMLINK] = {"symlink", read_symlink},
	[FILE_LINK] = {"link", read_link},
	[FILE_READLINK] = {"readlink", read_nothing},
	[FILE_TRUNCATE] = {"truncate", read_truncate},
	[FILE_DU] = {"du", read_du},
	[FILE_STATFS] = {"statfs", read_nothing},
	[FILE_SHA256] = {"sha256", read_sha256},
	[FILE_READ_MANY] = {"read_many", read_read_many},
	[FILE_WRITE_MANY] = {"write_many", read_write_many},
};

enum msg_file_op msg_file_op_parse(const char *word)
{
	int i = 0;

	while (i < FILE_OPS && strcmp(ops[i].word, word) != 0)
		i++;
	return (enum msg_file_op)i;
}

static int read_request(struct msg_reader *r, struct msg_file_request *m)
{
	bool many = m->op == FILE_READ_MANY || m->op == FILE_WRITE_MANY;
	int e = many ? msg_read_where_if(r, r->root, &m->where)
		     : msg_read_where(r, r->root, &m->where);

	if (!m->where.path)
		m->where.path = "/";
	if (e == 0 && m->where.owner.kind == OWNER_ARCHIVE)
		return msg_reader_fail(r, "owner", "\"parent\", \"self\" or \"UID:GID\"");
	return e < 0 ? e : ops[m->op].read(r, r->root, m);
}

int msg_parse_file_request(const char *op, const uint8_t *json, size_t len,
	struct msg_file_request *ret, struct error *e)
{
	struct msg_file_request m = {
		.op = msg_file_op_parse(op),
		.follow = true,
		.hidden = true,
		.replace = true,
		.same_fs = true,
		.mode = MSG_FILE_NO_MODE,
		.uid = MSG_FILE_KEEP_ID,
		.gid = MSG_FILE_KEEP_ID,
		.atime_ns = MSG_FILE_NOW,
		.mtime_ns = MSG_FILE_NOW,
	};
	struct msg_reader r;
	int err;

	if (m.op == FILE_OPS)
		return error_set(e, E_UNKNOWN_OP, 0, "there is no operation \"file.%.64s\"", op);
	err = msg_reader_init(&r, json, len, true, e);
	if (err < 0)
		return err;
	err = read_request(&r, &m);
	if (err == 0) {
		m.mem = msg_reader_take(&r);
		*ret = m;
	}
	msg_reader_fini(&r);
	return err;
}

void msg_file_request_fini(struct msg_file_request *m)
{
	free(m->mem);
	*m = (struct msg_file_request){0};
}
