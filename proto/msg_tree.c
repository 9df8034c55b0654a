/* One reader for all five: an operation ignores what is not its own, as every message does. */
#include "proto/msg_tree.h"

#include <stdlib.h>

#include "proto/msg_read.h"

#define STRIP_MAX 1000
#define DEPTH_MAX 512

static int read_strings(
	struct msg_reader *r, const char *name, size_t max, const char ***ret, size_t *ret_n)
{
	const cJSON *array = cJSON_GetObjectItemCaseSensitive(r->root, name), *item;
	size_t n;

	if (!array)
		return 0;
	n = (size_t)cJSON_GetArraySize(array);
	if (!cJSON_IsArray(array) || n > max)
		return msg_reader_fail(r, name, "an array of strings, and not too many");
	*ret = msg_reader_alloc(r, (n + 1) * sizeof(**ret));
	*ret_n = 0;
	cJSON_ArrayForEach(item, array)
	{
		int e = msg_value_str(r, item, name, &(*ret)[(*ret_n)++]);

		if (e < 0)
			return e;
	}
	return 0;
}

static int read_tree(struct msg_reader *r, struct msg_tree *m)
{
	int e;

	m->hidden = true;
	m->max = 1024 * 1024;
	if ((e = msg_read_where(r, r->root, &m->where)) < 0 ||
		(e = msg_get_bool(r, r->root, "recursive", &m->recursive)) < 0 ||
		(e = msg_get_bool(r, r->root, "follow", &m->follow)) < 0 ||
		(e = msg_get_bool(r, r->root, "hidden", &m->hidden)) < 0 ||
		(e = msg_get_u64(r, r->root, "depth", DEPTH_MAX, &m->depth)) < 0 ||
		(e = read_strings(r, "exclude", MSG_EXCLUDE_MAX, &m->exclude, &m->n_exclude)) < 0 ||
		(e = msg_get_u64(r, r->root, "strip", STRIP_MAX, &m->strip)) < 0 ||
		(e = read_strings(r, "paths", FRAME_PAYLOAD_MAX, &m->paths, &m->n_paths)) < 0)
		return e;
	return msg_get_u64(r, r->root, "max", MSG_BATCH_FILE_MAX, &m->max);
}

int msg_parse_tree(const uint8_t *json, size_t len, struct msg_tree *ret, struct error *e)
{
	struct msg_tree m = {0};
	struct msg_reader r;
	int err = msg_reader_init(&r, json, len, true, e);

	if (err < 0)
		return err;
	err = read_tree(&r, &m);
	if (err == 0) {
		m.mem = msg_reader_take(&r);
		*ret = m;
	}
	msg_reader_fini(&r);
	return err;
}

void msg_tree_fini(struct msg_tree *m)
{
	free(take_ptr(&m->mem));
}
