#include "tests/unit/tar_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

void archive_add(struct archive *a, const void *data, size_t len)
{
	if (a->len + len + 1 > a->room) {
		a->room = 2 * (a->len + len + 1);
		a->data = realloc(a->data, a->room);
		assert_non_null(a->data);
	}
	ASSERT(a->data);
	if (data)
		memcpy(a->data + a->len, data, len);
	else
		memset(a->data + a->len, 0, len);
	a->len += len;
}

void archive_add_entry(struct archive *a, const struct tar_entry *e, uint8_t fill)
{
	static uint8_t head[TAR_HEAD_MAX];

	archive_add(a, head, tar_head(e, head));
	archive_add(a, NULL, (size_t)e->size);
	memset(a->data + a->len - e->size, fill, (size_t)e->size);
	archive_add(a, NULL, tar_padding(e->size));
}

char *archive_tell(const struct archive *a, size_t step, struct error *e)
{
	static struct tar_reader r;
	size_t size = 1 << 20, n = 0;
	char *text = calloc(1, size);
	int event = TAR_MORE;

	tar_reader_init(&r);
	for (size_t at = 0; at < a->len && event >= 0;) {
		size_t len = min_of(step, a->len - at), got = 0;
		const uint8_t *p = a->data + at, *data = NULL;

		at += len;
		do {
			event = tar_read(&r, &p, &len, &data, &got, e);
			if (event == TAR_ENTRY)
				n += (size_t)snprintf(text + n, size - n,
					"\n%d %s>%s %o %u:%u %llu %lld.%09u %u,%u ",
					(int)r.entry.type, r.entry.path, r.entry.link, r.entry.mode,
					r.entry.uid, r.entry.gid, (unsigned long long)r.entry.size,
					(long long)r.entry.mtime, r.entry.mtime_ns,
					r.entry.dev_major, r.entry.dev_minor);
			for (size_t i = 0; event == TAR_DATA && i < got; i++)
				text[n++] = (char)data[i];
		} while (event > TAR_MORE && len > 0);
	}
	if (event >= 0)
		event = tar_reader_check_end(&r, e);
	tar_reader_fini(&r);
	if (event < 0) {
		assert_int_equal(event, -EBADMSG);
		assert_int_equal(e->err, EBADMSG);
		free(take_ptr(&text));
	}
	return text;
}

void archive_expect(const struct archive *a, const char *want)
{
	static const size_t steps[] = {1 << 20, 1, 7, 511, 512, 513, 1024};
	struct error e;

	for (size_t i = 0; i < array_size(steps); i++) {
		char *text = archive_tell(a, steps[i], &e);

		if (!text)
			fail_msg("%s", e.message);
		assert_string_equal(text, want);
		free(text);
	}
}

void archive_expect_bad(const struct archive *a, const char *words)
{
	static const size_t steps[] = {1 << 20, 1, 500}; /* bytes at a time */
	struct error e;

	for (size_t i = 0; i < array_size(steps); i++) {
		char *text = archive_tell(a, steps[i], &e);

		assert_null(text);
		free(text);
		if (!strstr(e.message, words))
			fail_msg("\"%s\" says nothing of \"%s\"", e.message, words);
	}
}

void archive_finish(struct archive *a)
{
	archive_add(a, NULL, TAR_END_BLOCK);
}

struct tar_entry archive_file(const char *path, uint64_t size)
{
	return (struct tar_entry){.type = TAR_FILE,
		.path = path,
		.link = "",
		.mode = 0640,
		.uid = 1000,
		.gid = 100,
		.size = size,
		.mtime = SOME_TIME};
}

void archive_set_checksum(uint8_t *block)
{
	unsigned sum = 0;
	char text[8];

	memset(block + 148, ' ', 8);
	for (size_t i = 0; i < 512; i++)
		sum += block[i];
	snprintf(text, sizeof(text), "%06o", sum);
	memcpy(block + 148, text, 7);
}
