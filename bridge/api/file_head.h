/*
 * file_head.h - headers about files, as texts: ranges, tags, names for saving.
 */
#pragma once

#include "base/base.h"

enum file_range {
	FILE_RANGE_WHOLE, /* no range, or one that is not understood: the whole file is right */
	FILE_RANGE_PART,
	FILE_RANGE_NONE, /* nothing of the file is in it: 416 */
};

/* A "Range" of a file of `size` bytes; value may be NULL. Of several ranges the whole is given. */
enum file_range file_range_parse(
	const char *value, uint64_t size, uint64_t *ret_from, uint64_t *ret_len);

#define FILE_TAG_MAX 64
/* Quoted. Whatever changes a file changes its tag, a rename too. */
void file_tag(char out[FILE_TAG_MAX], uint64_t size, int64_t mtime_ns, int64_t ctime_ns);
/* Is it in this "If-None-Match"? list may be NULL. */
bool file_tag_listed(const char *list, const char *tag);

#define FILE_DATE_MAX 40
void file_date(char out[FILE_DATE_MAX], int64_t mtime_ns);

/* "attachment" under the last name of path, with `suffix` behind it; "" when there is no room. */
#define FILE_DISPOSITION_MAX 1536
void file_disposition(char out[FILE_DISPOSITION_MAX], const char *path, const char *suffix);
