/*
 * msg_tree.h - what the channel operations of docs/protocol.md section 13 that concern many files
 * at once are opened with: list, tar, untar, batch_write, batch_read; and the head of a record of
 * the last two. The rules are those of msg.h.
 */
#pragma once

#include "proto/buf.h"
#include "proto/msg_file.h"

#define MSG_EXCLUDE_MAX    64
#define MSG_BATCH_FILE_MAX (4 * 1024 * 1024) /* the largest `max` */

struct msg_tree {
	void *mem;
	struct msg_where where;
	bool recursive, follow, hidden; /* list */
	uint64_t depth;
	const char **exclude; /* tar */
	size_t n_exclude;
	uint64_t strip;     /* untar */
	const char **paths; /* batch_read; NULL: they come on stream 0 */
	size_t n_paths;
	uint64_t max;
};

int msg_parse_tree(const uint8_t *json, size_t len, struct msg_tree *ret, struct error *e);
void msg_tree_fini(struct msg_tree *m);

/* ---- records ---- */

#define BATCH_HEAD      16
#define BATCH_PATH_MAX  4095
#define BATCH_MODE_KEEP UINT32_MAX /* that of the target, else 0644 */

struct batch_head {
	uint64_t size; /* of the bytes behind the path */
	uint32_t mode;
	uint16_t err; /* an errno; only in answers */
	uint16_t path_len;
};

static inline void batch_head_put(uint8_t out[BATCH_HEAD], const struct batch_head *h)
{
	put_u64(out, h->size);
	put_u32(out + 8, h->mode);
	put_u16(out + 12, h->err);
	put_u16(out + 14, h->path_len);
}

static inline struct batch_head batch_head_get(const uint8_t in[BATCH_HEAD])
{
	return (struct batch_head){
		get_u64(in), get_u32(in + 8), get_u16(in + 12), get_u16(in + 14)};
}
