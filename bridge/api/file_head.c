#include "bridge/api/file_head.h"

#include <inttypes.h>
#include <stdio.h>
#include <strings.h>
#include <time.h>

#include "proto/text.h"

/* ---- ranges ---- */

static const char *skip_blanks(const char *p)
{
	return p + strspn(p, " \t");
}

/* What is over 2^64 is so much: no file is as long. */
static const char *read_number(const char *p, uint64_t *ret)
{
	uint64_t v = 0;

	if (*p < '0' || *p > '9')
		return NULL;
	for (; *p >= '0' && *p <= '9'; p++) {
		unsigned digit = (unsigned)(*p - '0');

		v = v > (UINT64_MAX - digit) / 10 ? UINT64_MAX : v * 10 + digit;
	}
	*ret = v;
	return p;
}

static enum file_range last_bytes(uint64_t n, uint64_t size, uint64_t *ret_from, uint64_t *ret_len)
{
	if (n == 0)
		return FILE_RANGE_NONE;
	if (size == 0)
		return FILE_RANGE_WHOLE;
	*ret_len = min_of(n, size);
	*ret_from = size - *ret_len;
	return FILE_RANGE_PART;
}

enum file_range file_range_parse(
	const char *value, uint64_t size, uint64_t *ret_from, uint64_t *ret_len)
{
	uint64_t first = 0, last = UINT64_MAX;
	bool has_first;
	const char *p = value;

	if (!p || strncasecmp(p, "bytes=", 6) != 0)
		return FILE_RANGE_WHOLE;
	p = skip_blanks(p + 6);
	has_first = *p != '-';
	if (has_first)
		p = read_number(p, &first);
	if (!p || *p != '-')
		return FILE_RANGE_WHOLE;
	p++;
	if (!has_first || (*p >= '0' && *p <= '9'))
		p = read_number(p, &last);
	if (!p || *skip_blanks(p) != '\0' || first > last)
		return FILE_RANGE_WHOLE;
	if (!has_first)
		return last_bytes(last, size, ret_from, ret_len);
	if (first >= size)
		return FILE_RANGE_NONE;
	*ret_from = first;
	*ret_len = min_of(last, size - 1) - first + 1;
	return FILE_RANGE_PART;
}

/* ---- tags and dates ---- */

void file_tag(char out[FILE_TAG_MAX], uint64_t size, int64_t mtime_ns, int64_t ctime_ns)
{
	snprintf(out, FILE_TAG_MAX, "\"%" PRIx64 "-%" PRIx64 "-%" PRIx64 "\"", size,
		(uint64_t)mtime_ns, (uint64_t)ctime_ns);
}

bool file_tag_listed(const char *list, const char *tag)
{
	size_t len = strlen(tag);

	for (const char *p = list; p && *p; p += strcspn(p, ","), p += *p == ',') {
		p = skip_blanks(p);
		if (*p == '*')
			return true;
		if (strncmp(p, "W/", 2) == 0)
			p += 2;
		if (strncmp(p, tag, len) == 0)
			return true;
	}
	return false;
}

void file_date(char out[FILE_DATE_MAX], int64_t mtime_ns)
{
	time_t at = (time_t)(mtime_ns / 1000000000 - (mtime_ns % 1000000000 < 0));
	struct tm tm;

	if (!gmtime_r(&at, &tm) ||
		strftime(out, FILE_DATE_MAX, "%a, %d %b %Y %H:%M:%S GMT", &tm) == 0)
		*out = '\0';
}

/* ---- names ---- */

static bool plain(uint8_t ch)
{
	return (ch >= '0' && ch <= '9') || (ch >= 'A' && ch <= 'Z') || (ch >= 'a' && ch <= 'z') ||
	       strchr("!#$&+-.^_`|~", ch);
}

/* For those that know only ASCII: the rest becomes "_". */
static void put_quoted(FILE *f, const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		uint8_t ch = (uint8_t)s[i];

		fputc(ch < 0x20 || ch > 0x7e || ch == '"' || ch == '\\' || ch == '%' ? '_' : ch, f);
	}
}

static void put_percent(FILE *f, const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		uint8_t ch = (uint8_t)s[i];

		if (ch && plain(ch))
			fputc(ch, f);
		else
			fprintf(f, "%%%02X", ch);
	}
}

void file_disposition(char out[FILE_DISPOSITION_MAX], const char *path, const char *suffix)
{
	size_t end = strlen(path), begin;
	FILE *f;

	while (end > 0 && path[end - 1] == '/')
		end--;
	for (begin = end; begin > 0 && path[begin - 1] != '/'; begin--)
		;
	*out = '\0';
	if (end - begin > 255)
		return;
	f = fmemopen(out, FILE_DISPOSITION_MAX, "w");
	if (!f)
		return;
	fputs("attachment; filename=\"", f);
	put_quoted(f, path + begin, end - begin);
	if (begin == end)
		fputs("files", f); /* of the root */
	fprintf(f, "%s\"", suffix);
	if (begin < end && utf8_valid(path + begin, end - begin)) {
		fputs("; filename*=UTF-8''", f);
		put_percent(f, path + begin, end - begin);
		fputs(suffix, f);
	}
	fclose(f);
}
