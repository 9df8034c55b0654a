#include "proto/msg_read.h"

#include <stdio.h>

#include "proto/text.h"

/*
 * cJSON makes two or three small allocations for every value and frees them all again a moment
 * later. They come from one block, which starts over with every message; what does not fit is from
 * malloc. One message is read at a time.
 */
static _Alignas(16) uint8_t pool[16 * 1024];
static size_t pool_used;
static bool reading;

static void *pool_malloc(size_t n)
{
	void *p = pool + pool_used;

	n = align_up(n, (size_t)16);
	if (n > sizeof(pool) - pool_used)
		return malloc(n);
	pool_used += n;
	return p;
}

static void pool_free(void *p)
{
	if ((uintptr_t)p - (uintptr_t)pool >= sizeof(pool))
		free(p);
}

static void pool_reset(void)
{
	static bool hooked;

	if (!hooked)
		cJSON_InitHooks(&(cJSON_Hooks){.malloc_fn = pool_malloc, .free_fn = pool_free});
	ASSERT(!reading);
	hooked = reading = true;
	pool_used = 0;
}

/* cJSON keeps C strings: a \u0000 would silently cut one. */
static bool has_nul_escape(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i + 1 < len; i++) {
		if (p[i] != '\\')
			continue;
		i++;
		if (p[i] == 'u' && len - i > 4 && memcmp(p + i + 1, "0000", 4) == 0)
			return true;
	}
	return false;
}

static int parse_text(struct msg_reader *r, const uint8_t *json, size_t len)
{
	const char *end = NULL;

	if (!utf8_valid(json, len))
		return error_set(r->error, E_BAD_MESSAGE, 0, "not UTF-8");
	if (memchr(json, 0, len) || has_nul_escape(json, len))
		return error_set(r->error, E_BAD_MESSAGE, 0, "a NUL in the message");
	r->root = cJSON_ParseWithLengthOpts((const char *)json, len, &end, 0);
	while (r->root && end < (const char *)json + len && strchr(" \t\r\n", *end))
		end++;
	if (!cJSON_IsObject(r->root) || end != (const char *)json + len)
		return error_set(r->error, E_BAD_MESSAGE, 0, "not a JSON object");
	return 0;
}

int msg_reader_init(
	struct msg_reader *r, const uint8_t *json, size_t len, bool with_mem, struct error *e)
{
	int ret;

	*r = (struct msg_reader){.error = e};
	pool_reset();
	ret = len > FRAME_PAYLOAD_MAX
		      ? error_set(e, E_BAD_MESSAGE, 0, "a message over %d bytes", FRAME_PAYLOAD_MAX)
		      : parse_text(r, json, len);
	if (ret == 0 && with_mem) {
		r->size = len * 10 + 256;
		r->mem = malloc(r->size);
		if (!r->mem)
			ret = error_set(e, E_FAILED, ENOMEM, "out of memory");
	}
	if (ret < 0)
		msg_reader_fini(r);
	return ret;
}

void *msg_reader_take(struct msg_reader *r)
{
	return take_ptr(&r->mem);
}

void msg_reader_fini(struct msg_reader *r)
{
	cJSON_Delete(take_ptr(&r->root));
	reading = false;
	free(take_ptr(&r->mem));
}

int msg_reader_fail(struct msg_reader *r, const char *name, const char *what)
{
	return error_set(r->error, E_BAD_MESSAGE, 0, "\"%.64s\" must be %s", name, what);
}

void *msg_reader_alloc(struct msg_reader *r, size_t n)
{
	size_t at = align_up(r->used, (size_t)8);

	ASSERT(r->mem && n <= r->size && at <= r->size - n);
	r->used = at + n;
	memset(r->mem + at, 0, n);
	return r->mem + at;
}

static const cJSON *member(const cJSON *obj, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(obj, name);
}

bool msg_has(const cJSON *obj, const char *name)
{
	return member(obj, name) != NULL;
}

int msg_value_integer(const cJSON *v, int64_t min, int64_t max, int64_t *ret)
{
	double d;

	if (!cJSON_IsNumber(v))
		return -EINVAL;
	d = v->valuedouble;
	if (!(d >= (double)min && d <= (double)max) || d != (double)(int64_t)d)
		return -EINVAL;
	*ret = (int64_t)d;
	return 0;
}

int msg_get_i64(struct msg_reader *r, const cJSON *obj, const char *name, int64_t min, int64_t max,
	int64_t *ret)
{
	const cJSON *v = member(obj, name);
	char what[80];

	if (!v || msg_value_integer(v, min, max, ret) == 0)
		return 0;
	snprintf(
		what, sizeof(what), "an integer from %lld to %lld", (long long)min, (long long)max);
	return msg_reader_fail(r, name, what);
}

int msg_get_u64(
	struct msg_reader *r, const cJSON *obj, const char *name, uint64_t max, uint64_t *ret)
{
	int64_t v = (int64_t)*ret;
	int e = msg_get_i64(r, obj, name, 0, (int64_t)max, &v);

	*ret = (uint64_t)v;
	return e;
}

int msg_get_int(struct msg_reader *r, const cJSON *obj, const char *name, int *ret)
{
	int64_t v = *ret;
	int e = msg_get_i64(r, obj, name, INT32_MIN, INT32_MAX, &v);

	*ret = (int)v;
	return e;
}

int msg_get_bool(struct msg_reader *r, const cJSON *obj, const char *name, bool *ret)
{
	const cJSON *v = member(obj, name);

	if (!v)
		return 0;
	if (!cJSON_IsBool(v))
		return msg_reader_fail(r, name, "true or false");
	*ret = cJSON_IsTrue(v);
	return 0;
}

int msg_value_str(struct msg_reader *r, const cJSON *v, const char *name, const char **ret)
{
	const char *text = cJSON_GetStringValue(v);
	ssize_t n;
	char *p;

	if (text) {
		size_t len = strlen(text) + 1;

		*ret = memcpy(msg_reader_alloc(r, len), text, len);
		return 0;
	}
	text = cJSON_IsObject(v) ? cJSON_GetStringValue(member(v, "b64")) : NULL;
	if (!text)
		return msg_reader_fail(r, name, "a string, or {\"b64\":\"...\"}");
	p = msg_reader_alloc(r, strlen(text) + 1);
	n = base64_decode(text, strlen(text), p);
	if (n < 0 || memchr(p, 0, (size_t)n))
		return msg_reader_fail(r, name, "base64 without NUL bytes");
	p[n] = '\0';
	*ret = p;
	return 0;
}

int msg_get_str(struct msg_reader *r, const cJSON *obj, const char *name, const char **ret)
{
	const cJSON *v = member(obj, name);

	return v ? msg_value_str(r, v, name, ret) : 0;
}

bool msg_name_valid(const char *s, size_t max)
{
	size_t n = strlen(s);

	for (size_t i = 0; i < n; i++) {
		char c = s[i];

		if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
			    c == '.' || c == '_' || c == '-'))
			return false;
	}
	return n >= 1 && n <= max;
}

int msg_get_name(
	struct msg_reader *r, const cJSON *obj, const char *name, size_t max, const char **ret)
{
	const char *s = NULL;
	char what[80];
	int e = msg_get_str(r, obj, name, &s);

	if (e < 0 || !s)
		return e;
	if (!msg_name_valid(s, max)) {
		snprintf(what, sizeof(what), "1 to %zu characters of A-Z a-z 0-9 . _ -", max);
		return msg_reader_fail(r, name, what);
	}
	*ret = s;
	return 0;
}

int msg_get_object(struct msg_reader *r, const cJSON *obj, const char *name, const cJSON **ret)
{
	const cJSON *v = member(obj, name);

	if (!v)
		return 0;
	if (!cJSON_IsObject(v))
		return msg_reader_fail(r, name, "an object");
	*ret = v;
	return 0;
}

void msg_get_cmd_line(struct msg_reader *r, const cJSON *obj, const char **ret, size_t *ret_len)
{
	const cJSON *cmd = cJSON_GetObjectItemCaseSensitive(obj, "cmd"), *v;
	size_t len = 0;
	char *line;

	cJSON_ArrayForEach(v, cmd) len += cJSON_IsString(v) ? strlen(v->valuestring) + 1 : 2;
	*ret = line = msg_reader_alloc(r, len + 1);
	cJSON_ArrayForEach(v, cmd) line += sprintf(
		line, "%s%s", line == *ret ? "" : " ", cJSON_IsString(v) ? v->valuestring : "?");
	*ret_len = strlen(*ret);
}

int msg_get_array(struct msg_reader *r, const char *name, size_t size, msg_element_fn read,
	void **ret, size_t *ret_n)
{
	const cJSON *array = cJSON_GetObjectItemCaseSensitive(r->root, name), *v;
	uint8_t *at;
	int e;

	if (!cJSON_IsArray(array))
		return msg_reader_fail(r, name, "an array");
	*ret = at = malloc(((size_t)cJSON_GetArraySize(array) + 1) * size);
	if (!at)
		return error_set(r->error, E_FAILED, ENOMEM, "out of memory");
	cJSON_ArrayForEach(v, array)
	{
		if ((e = read(r, v, at)) < 0)
			return e;
		at += size;
		++*ret_n;
	}
	return 0;
}
