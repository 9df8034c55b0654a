/*
 * An entry's head: one ustar block, and before it, when something does not fit, a pax header that
 * says it in full. The ustar block then holds what does fit, so that an old program gets something.
 */
#include <stdio.h>

#include "proto/tar_internal.h"
#include "proto/text.h"

#define OCTAL_7  07777777ULL     /* in eight bytes, with a NUL */
#define OCTAL_11 077777777777ULL /* in twelve */

static void put_bytes(uint8_t *block, size_t at, size_t size, const void *data, size_t len)
{
	memcpy(block + at, data, min_of(len, size));
}

static void put_octal(uint8_t *block, size_t at, size_t size, uint64_t v)
{
	for (size_t i = size - 1; i-- > 0; v >>= 3)
		block[at + i] = (uint8_t)('0' + (v & 7));
}

static void put_checksum(uint8_t *block)
{
	char text[9];
	unsigned sum = 8 * ' ';

	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += block[i]; /* its own field is zero so far */
	snprintf(text, sizeof(text), "%06o%c ", sum, '\0');
	put_bytes(block, FIELD_CHECKSUM, text, 8);
}

/* "27 mtime=1350244992.023960108\n": the number counts itself. */
static size_t put_record(uint8_t *out, const char *key, const void *value, size_t len)
{
	size_t key_len = strlen(key), rest = key_len + len + 3, total = rest + 1;
	char digits[24];
	size_t n;

	while ((n = (size_t)snprintf(digits, sizeof(digits), "%zu", total)) + rest != total)
		total = n + rest;
	memcpy(out, digits, n);
	out[n++] = ' ';
	n += (size_t)snprintf(
		(char *)out + n, key_len + 2, "%s=", key); /* and the value over its NUL */
	memcpy(out + n, value, len);
	out[n + len] = '\n';
	return total;
}

static size_t put_number(uint8_t *out, const char *key, uint64_t v)
{
	char text[24];
	int n = snprintf(text, sizeof(text), "%llu", (unsigned long long)v);

	return put_record(out, key, text, (size_t)n);
}

static size_t put_mtime(uint8_t *out, const struct tar_entry *e)
{
	bool negative = e->mtime < 0;
	uint64_t s = negative ? 0 - (uint64_t)e->mtime : (uint64_t)e->mtime;
	uint32_t ns = e->mtime_ns;
	char text[40];
	int n;

	if (negative && ns > 0) { /* -2 s and 0.75 s upwards is -1.25 */
		s--;
		ns = 1000000000 - ns;
	}
	n = snprintf(text, sizeof(text), "%s%llu", negative ? "-" : "", (unsigned long long)s);
	if (ns > 0)
		n += snprintf(text + n, sizeof(text) - (size_t)n, ".%09u", ns);
	return put_record(out, "mtime", text, (size_t)n);
}

/* Where a long path can be cut into prefix and name: the '/', or 0. */
static size_t split(const char *path, size_t len)
{
	size_t i = min_of(len - 2, (size_t)155); /* a name is left also of a directory's "x/" */

	while (i > 0 && path[i] != '/')
		i--;
	return i > 0 && len - i - 1 <= 100 ? i : 0;
}

static size_t put_pax(uint8_t *out, const struct tar_entry *e, bool long_path, bool long_link)
{
	size_t path_len = strlen(e->path), link_len = strlen(e->link), n = 0;

	if ((long_path && !utf8_valid(e->path, path_len)) ||
		(long_link && !utf8_valid(e->link, link_len)))
		n += put_record(out + n, "hdrcharset", "BINARY", 6);
	if (long_path)
		n += put_record(out + n, "path", e->path, path_len);
	if (long_link)
		n += put_record(out + n, "linkpath", e->link, link_len);
	if (e->size > OCTAL_11)
		n += put_number(out + n, "size", e->size);
	if (e->uid > OCTAL_7)
		n += put_number(out + n, "uid", e->uid);
	if (e->gid > OCTAL_7)
		n += put_number(out + n, "gid", e->gid);
	if (e->mtime_ns > 0 || e->mtime < 0 || (uint64_t)e->mtime > OCTAL_11)
		n += put_mtime(out + n, e);
	return n;
}

static void begin_block(uint8_t *block, char type, uint32_t mode, uint64_t size)
{
	memset(block, 0, TAR_BLOCK);
	put_octal(block, FIELD_MODE, mode);
	put_octal(block, FIELD_SIZE, size);
	block[FIELD_TYPE] = (uint8_t)type;
	put_bytes(block, FIELD_MAGIC, 8,
		MAGIC_POSIX "\0"
			    "00",
		8);
}

size_t tar_head(const struct tar_entry *e, uint8_t out[TAR_HEAD_MAX])
{
	static const char types[] = {[TAR_FILE] = '0',
		[TAR_HARDLINK] = '1',
		[TAR_SYMLINK] = '2',
		[TAR_CHAR] = '3',
		[TAR_BLOCKDEV] = '4',
		[TAR_DIR] = '5',
		[TAR_FIFO] = '6'};
	size_t path_len = strlen(e->path), link_len = strlen(e->link);
	size_t cut = path_len > 100 ? split(e->path, path_len) : 0;
	uint8_t *block = out;
	size_t body;

	ASSERT((size_t)e->type < array_size(types));
	ASSERT(path_len > 0 && path_len <= TAR_NAME_MAX && link_len <= TAR_NAME_MAX);
	body = put_pax(out + TAR_BLOCK, e, path_len > 100 && cut == 0, link_len > 100);
	if (body > 0) {
		static const char name[] = "././@PaxHeader";

		begin_block(block, 'x', 0644, body);
		put_octal(block, FIELD_UID, 0);
		put_octal(block, FIELD_GID, 0);
		put_octal(block, FIELD_MTIME, 0);
		put_bytes(block, FIELD_NAME, name, strlen(name));
		put_checksum(block);
		memset(out + TAR_BLOCK + body, 0, tar_padding(body));
		block += TAR_BLOCK + body + tar_padding(body);
	}
	begin_block(block, types[e->type], e->mode & 07777, e->size > OCTAL_11 ? 0 : e->size);
	put_octal(block, FIELD_UID, e->uid > OCTAL_7 ? 0 : e->uid);
	put_octal(block, FIELD_GID, e->gid > OCTAL_7 ? 0 : e->gid);
	put_octal(block, FIELD_MTIME, e->mtime < 0 ? 0 : min_of((uint64_t)e->mtime, OCTAL_11));
	put_octal(block, FIELD_MAJOR, e->dev_major & OCTAL_7);
	put_octal(block, FIELD_MINOR, e->dev_minor & OCTAL_7);
	put_bytes(block, FIELD_LINK, e->link, link_len);
	if (cut > 0) {
		put_bytes(block, FIELD_PREFIX, e->path, cut);
		put_bytes(block, FIELD_NAME, e->path + cut + 1, path_len - cut - 1);
	} else {
		put_bytes(block, FIELD_NAME, e->path, path_len);
	}
	put_checksum(block);
	return (size_t)(block - out) + TAR_BLOCK;
}
