#include "proto/msg_stream.h"

#include "proto/msg_read.h"

#define DIGEST_LEN 64

static int read_read(struct msg_reader *r, struct msg_read *m)
{
	int e;

	if ((e = msg_read_where(r, r->root, &m->where)) < 0 ||
		(e = msg_get_u64(r, r->root, "offset", MSG_INT_MAX, &m->offset)) < 0 ||
		(e = msg_get_bool(r, r->root, "special", &m->special)) < 0 ||
		(e = msg_get_bool(r, r->root, "sha256", &m->sha256)) < 0 ||
		(e = msg_get_bool(r, r->root, "sparse", &m->sparse)) < 0)
		return e;
	if (!msg_has(r->root, "length"))
		return 0;
	m->length = 0;
	return msg_get_u64(r, r->root, "length", MSG_INT_MAX, &m->length);
}

int msg_parse_read(const uint8_t *json, size_t len, struct msg_read *ret, struct error *e)
{
	struct msg_read m = {.length = MSG_TO_END};
	struct msg_reader r;
	int err = msg_reader_init(&r, json, len, true, e);

	if (err < 0)
		return err;
	err = read_read(&r, &m);
	if (err == 0) {
		m.mem = msg_reader_take(&r);
		*ret = m;
	}
	msg_reader_fini(&r);
	return err;
}

void msg_read_fini(struct msg_read *m)
{
	free(take_ptr(&m->mem));
}

/* ---- write ---- */

static int read_how(struct msg_reader *r, struct msg_write *m)
{
	static const char *const words[] = {[HOW_ATOMIC] = "atomic",
		[HOW_REPLACE_NOT] = "replace_not",
		[HOW_IN_PLACE] = "in_place",
		[HOW_APPEND] = "append",
		[HOW_AT] = "at"};
	const char *how = words[HOW_ATOMIC];
	int e = msg_get_str(r, r->root, "how", &how);

	for (size_t i = 0; e == 0 && i < array_size(words); i++) {
		if (strcmp(how, words[i]) == 0) {
			m->how = (enum msg_how)i;
			return 0;
		}
	}
	return e < 0 ? e
		     : msg_reader_fail(r, "how",
			       "\"atomic\", \"replace_not\", \"in_place\", \"append\" or \"at\"");
}

/* false, true, or the digest that must result. */
static int read_digest(struct msg_reader *r, struct msg_write *m)
{
	const cJSON *v = cJSON_GetObjectItemCaseSensitive(r->root, "sha256");
	int e;

	if (!v || cJSON_IsBool(v))
		return msg_get_bool(r, r->root, "sha256", &m->sha256);
	m->sha256 = true;
	e = msg_get_str(r, r->root, "sha256", &m->digest);
	if (e < 0 || strlen(m->digest) != DIGEST_LEN ||
		strspn(m->digest, "0123456789abcdef") != DIGEST_LEN)
		return msg_reader_fail(r, "sha256", "a boolean or 64 hex digits in lower case");
	return 0;
}

static int read_write(struct msg_reader *r, struct msg_write *m)
{
	int e;

	if ((e = msg_read_where(r, r->root, &m->where)) < 0 || (e = read_how(r, m)) < 0 ||
		(e = msg_get_u64(r, r->root, "offset", MSG_INT_MAX, &m->offset)) < 0 ||
		(e = msg_get_bool(r, r->root, "parents", &m->parents)) < 0 ||
		(e = msg_get_bool(r, r->root, "sync", &m->sync)) < 0 ||
		(e = read_digest(r, m)) < 0 || (e = msg_get_int(r, r->root, "mode", &m->mode)) < 0)
		return e;
	if (msg_has(r->root, "mode") && (m->mode < 0 || m->mode > 07777))
		return msg_reader_fail(r, "mode", "at most 07777");
	if (msg_has(r->root, "offset") && m->how != HOW_AT)
		return msg_reader_fail(r, "offset", "only there with \"how\":\"at\"");
	if (!msg_has(r->root, "size"))
		return 0;
	m->size = 0;
	return msg_get_u64(r, r->root, "size", MSG_INT_MAX, &m->size);
}

int msg_parse_write(const uint8_t *json, size_t len, struct msg_write *ret, struct error *e)
{
	struct msg_write m = {.mode = -1, .size = MSG_SIZE_UNKNOWN, .parents = true};
	struct msg_reader r;
	int err = msg_reader_init(&r, json, len, true, e);

	if (err < 0)
		return err;
	err = read_write(&r, &m);
	if (err == 0) {
		m.mem = msg_reader_take(&r);
		*ret = m;
	}
	msg_reader_fini(&r);
	return err;
}

void msg_write_fini(struct msg_write *m)
{
	free(take_ptr(&m->mem));
}
