/*
 * fuzz_tar.c - the reader of archives. Fed whole, cut, and byte by byte, it must say the same. What
 * it says of an entry stays within the limits, the data of an entry is as long as was said, and an
 * entry that is written by us is read again as the same. Each input is tried as it is and with the
 * checksums put right, which no mutation would find.
 */
#include <stdio.h>

#include "proto/tar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* What was told, as a checksum: enough to see a difference. */
struct trace {
	uint64_t hash;
	int end; /* 0, or the error */
	uint64_t at;
	char message[200];
};

static void mix(struct trace *t, const void *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		t->hash = (t->hash ^ ((const uint8_t *)data)[i]) * 0x100000001b3ULL;
}

static void mix_u64(struct trace *t, uint64_t v)
{
	mix(t, &v, sizeof(v));
}

static void check_clean(const char *path)
{
	static char out[TAR_NAME_MAX + 1];

	for (unsigned strip = 0; strip < 3; strip++) {
		int r = tar_clean_path(path, strip, out);

		ASSERT(r == -EXDEV || r == (out[0] != '\0'));
		if (r != 1)
			continue;
		ASSERT(out[0] != '/' && strlen(out) <= strlen(path));
		for (const char *p = out; p; p = strchr(p, '/')) {
			p += *p == '/';
			ASSERT(*p && *p != '/' && !(p[0] == '.' && (p[1] == '/' || !p[1])));
			ASSERT(!(p[0] == '.' && p[1] == '.' && (p[2] == '/' || !p[2])));
		}
	}
}

/* Written by us, the entry is the same when it is read. */
static void check_again(const struct tar_entry *e)
{
	static uint8_t head[TAR_HEAD_MAX];
	static struct tar_reader r;
	const uint8_t *p = head, *data;
	size_t len, n;
	struct error err;

	if (e->type == TAR_OTHER)
		return;
	len = tar_head(e, head);
	ASSERT(len % TAR_BLOCK == 0 && len <= TAR_HEAD_MAX);
	tar_reader_init(&r);
	ASSERT(tar_read(&r, &p, &len, &data, &n, &err) == TAR_ENTRY);
	ASSERT(len == 0 && r.entry.type == e->type);
	ASSERT(strcmp(r.entry.path, e->path) == 0 && strcmp(r.entry.link, e->link) == 0);
	ASSERT(r.entry.size == e->size && r.entry.mode == e->mode);
	ASSERT(r.entry.uid == e->uid && r.entry.gid == e->gid);
	ASSERT(r.entry.mtime == e->mtime && r.entry.mtime_ns == e->mtime_ns);
	tar_reader_fini(&r);
}

static void check_entry(struct trace *t, const struct tar_entry *e)
{
	ASSERT(e->path[0] && strlen(e->path) <= TAR_NAME_MAX && strlen(e->link) <= TAR_NAME_MAX);
	ASSERT(e->mode <= 07777 && e->mtime_ns < 1000000000 && e->type <= TAR_OTHER);
	ASSERT(e->size <= INT64_MAX);
	ASSERT(e->size == 0 || e->type == TAR_FILE || e->type == TAR_OTHER);
	mix(t, e->path, strlen(e->path) + 1);
	mix(t, e->link, strlen(e->link) + 1);
	mix_u64(t, e->type);
	mix_u64(t, e->size);
	mix_u64(t, e->mode);
	mix_u64(t, (uint64_t)e->uid << 32 | e->gid);
	mix_u64(t, (uint64_t)e->mtime);
	mix_u64(t, (uint64_t)e->dev_major << 32 | e->dev_minor);
	check_clean(e->path);
	check_again(e);
}

/* In pieces of `step` bytes, 0: varying. */
static void run(struct trace *t, const uint8_t *data, size_t len, size_t step)
{
	static struct tar_reader r;
	uint64_t left = 0, behind = 0;
	uint32_t seed = (uint32_t)len;
	int event = TAR_MORE;
	struct error e = {0};

	*t = (struct trace){.hash = 0xcbf29ce484222325ULL};
	tar_reader_init(&r);
	for (size_t at = 0; at < len && event >= 0;) {
		size_t n = step, had;
		const uint8_t *p, *got = NULL;
		size_t got_len = 0;

		if (n == 0) {
			seed = (seed + data[at]) * 16777619U;
			n = 1 + (seed >> 16) % (seed >> 31 ? 8 : 700);
		}
		n = min_of(n, len - at);

		uint8_t *piece = malloc(n); /* of exactly its size, for the sanitizer */

		ASSERT(piece);
		memcpy(piece, data + at, n);
		at += n;
		p = piece;
		had = n;
		do {
			event = tar_read(&r, &p, &n, &got, &got_len, &e);
			ASSERT(n <= had && p == piece + (had - n));
			if (event == TAR_ENTRY) {
				ASSERT(left == 0);
				check_entry(t, &r.entry);
				left = r.entry.sparse ? 0 : r.entry.size;
				behind = 0;
			} else if (event == TAR_DATA) {
				ASSERT(got >= piece && got + got_len <= p && got_len > 0);
				ASSERT(r.data_at >= behind && r.data_at <= r.entry.size);
				ASSERT(got_len <= r.entry.size - r.data_at);
				if (r.data_at != behind)
					mix_u64(t, r.data_at);
				behind = r.data_at + got_len;
				if (!r.entry.sparse) {
					ASSERT(got_len <= left);
					left -= got_len;
				}
				mix(t, got, got_len);
			} else if (event == TAR_END) {
				ASSERT(left == 0 && n == 0);
			}
		} while (event > TAR_MORE && n > 0);
		ASSERT(event < 0 || n == 0);
		free(piece);
	}
	ASSERT(event >= 0 || (event == -EBADMSG && e.code == E_FAILED && e.err == EBADMSG));
	t->end = event < 0 ? event : tar_reader_check_end(&r, &e);
	t->at = event < 0 ? r.head_at : r.at;
	memcpy(t->message, e.message, sizeof(t->message));
	tar_reader_fini(&r);
}

static void run_all(const uint8_t *data, size_t len)
{
	struct trace whole, cut, bytes;

	run(&whole, data, len, len + 1);
	run(&cut, data, len, 0);
	run(&bytes, data, len, 1);
	ASSERT(whole.hash == cut.hash && whole.hash == bytes.hash);
	ASSERT(whole.end == cut.end && whole.end == bytes.end);
	ASSERT(whole.at == cut.at && whole.at == bytes.at);
	ASSERT(strcmp(whole.message, cut.message) == 0 &&
		strcmp(whole.message, bytes.message) == 0);
}

static void repair(uint8_t *block)
{
	unsigned sum = 0;
	char text[16];

	memset(block + 148, ' ', 8);
	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += block[i];
	if (sum == 8 * ' ') {
		memset(block + 148, 0, 8);
		return;
	}
	snprintf(text, sizeof(text), "%06o", sum);
	memcpy(block + 148, text, 7);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len + 1);

	ASSERT(copy);
	run_all(data, len);
	memcpy(copy, data, len);
	for (size_t at = 0; at + TAR_BLOCK <= len; at += TAR_BLOCK)
		repair(copy + at);
	run_all(copy, len);
	free(copy);
	return 0;
}
