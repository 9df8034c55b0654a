/* fuzz_file_head.c - headers of clients about files, names that go into headers, and lines of an
 * agent that go into answers. */
#include "bridge/api/file_entry.h"
#include "bridge/api/file_head.h"
#include "proto/text.h"

static void look_at_range(const char *value, uint64_t size)
{
	uint64_t from = 0, len = 0;

	if (file_range_parse(value, size, &from, &len) != FILE_RANGE_PART)
		return;
	ASSERT(len > 0 && len <= size && from <= size - len);
}

/* A name can end neither its quotes nor its line. */
static void look_at_name(const char *name)
{
	char out[FILE_DISPOSITION_MAX];
	size_t quotes = 0;

	file_disposition(out, name, ".tar");
	for (const char *p = out; *p; p++) {
		ASSERT(*p >= 0x20 && *p < 0x7f);
		quotes += *p == '"';
	}
	ASSERT(quotes == 2 || !*out);
}

static void look_at_line(const void *data, size_t len)
{
	struct jsonr value, again;
	struct text t;
	size_t n;
	char *p;

	if (jsonr_parse(data, len, &value) < 0)
		return;
	text_init(&t);
	text_open(&t, NULL, '{');
	file_members_put(&t, value);
	text_close(&t, '}');
	p = text_take(&t, &n);
	ASSERT(p && jsonr_parse(p, n, &again) == 0);
	free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	uint64_t n = 0;

	ASSERT(text);
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	memcpy(&n, data, min_of(size, sizeof(n)));
	look_at_range(text, n);
	look_at_range(text, size);
	look_at_name(text);
	file_tag_listed(text, "\"a-b-c\"");
	look_at_line(data, size);
	free(text);
	return 0;
}
