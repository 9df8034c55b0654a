/*
 * What precedes an entry and says more of it than its head can: pax headers, records of a length, a
 * key and a value; and the long names of GNU tar, which are nothing but a name.
 */
#include "proto/tar_internal.h"

static bool decimal(const char *p, size_t len, uint64_t *ret)
{
	uint64_t v = 0;

	for (size_t i = 0; i < len; i++) {
		if (p[i] < '0' || p[i] > '9' || v > (INT64_MAX - 9) / 10)
			return false;
		v = v * 10 + (uint64_t)(p[i] - '0');
	}
	*ret = v;
	return len > 0;
}

/* "-12.5" is twelve and a half seconds before 1970: -13 and a half upwards. */
static bool decimal_time(const char *p, size_t len, struct tar_pax *o)
{
	bool negative = len > 0 && *p == '-';
	const char *dot;
	uint32_t ns = 0, unit = 1000000000;
	uint64_t s;

	p += negative;
	len -= negative;
	dot = memchr(p, '.', len);
	if (!decimal(p, dot ? (size_t)(dot - p) : len, &s))
		return false;
	for (const char *q = dot ? dot + 1 : p + len; q < p + len; q++) {
		if (*q < '0' || *q > '9')
			return false;
		unit /= 10; /* digits past the ninth count nothing */
		ns += (uint32_t)(*q - '0') * unit;
	}
	o->mtime = negative ? -(int64_t)s : (int64_t)s;
	if (negative && ns > 0) {
		o->mtime--;
		ns = 1000000000 - ns;
	}
	o->mtime_ns = ns;
	return true;
}

struct record {
	const char *key, *value;
	size_t key_len, value_len;
};

static bool key_is(const struct record *k, const char *key)
{
	return strlen(key) == k->key_len && memcmp(k->key, key, k->key_len) == 0;
}

static bool keep_name(char out[TAR_NAME_MAX + 1], const void *name, size_t len)
{
	if (len > TAR_NAME_MAX || memchr(name, 0, len))
		return false;
	memcpy(out, name, len);
	out[len] = '\0';
	return true;
}

/* One record. An empty value takes an earlier one back. NULL, or what is wrong with it. */
static const char *apply(struct tar_reader *r, struct tar_pax *o, const struct record *k)
{
	static const struct {
		const char *key;
		unsigned bit;
	} keys[] = {
		{"path", SET_PATH},
		{"linkpath", SET_LINK},
		{"size", SET_SIZE},
		{"uid", SET_UID},
		{"gid", SET_GID},
		{"mtime", SET_MTIME},
		{"GNU.sparse.major", SET_SPARSE_MAJOR},
		{"GNU.sparse.minor", SET_SPARSE_MINOR},
		{"GNU.sparse.name", SET_SPARSE_NAME},
		{"GNU.sparse.realsize", SET_REAL_SIZE},
	};
	bool ok = true;
	unsigned bit = 0;

	for (size_t i = 0; i < array_size(keys) && bit == 0; i++)
		bit = key_is(k, keys[i].key) ? keys[i].bit : 0;
	if (bit == 0 && k->key_len > 11 && memcmp(k->key, "GNU.sparse.", 11) == 0)
		bit = SET_SPARSE_OLD;
	if (o == &r->global && (bit & (SET_PATH | SET_LINK | SET_SIZE | SET_SPARSE)))
		return "a global header with a path or size";
	if (k->value_len == 0) {
		o->set &= ~bit;
		return NULL;
	}
	if (bit == SET_SPARSE_NAME || (bit == SET_PATH && !(o->set & SET_SPARSE_NAME)))
		ok = keep_name(r->path, k->value, k->value_len);
	else if (bit == SET_SPARSE_MAJOR)
		ok = decimal(k->value, k->value_len, &o->sparse_major);
	else if (bit == SET_SPARSE_MINOR)
		ok = decimal(k->value, k->value_len, &o->sparse_minor);
	else if (bit == SET_REAL_SIZE)
		ok = decimal(k->value, k->value_len, &o->real_size);
	else if (bit == SET_LINK)
		ok = keep_name(r->link, k->value, k->value_len);
	else if (bit == SET_SIZE)
		ok = decimal(k->value, k->value_len, &o->size);
	else if (bit == SET_UID)
		ok = decimal(k->value, k->value_len, &o->uid) && o->uid <= UINT32_MAX;
	else if (bit == SET_GID)
		ok = decimal(k->value, k->value_len, &o->gid) && o->gid <= UINT32_MAX;
	else if (bit == SET_MTIME)
		ok = decimal_time(k->value, k->value_len, o);
	if (!ok)
		return bit & (SET_PATH | SET_LINK | SET_SPARSE_NAME)
			       ? "a name that is too long, or has a NUL"
			       : "a number in a pax header";
	o->set |= bit;
	return NULL;
}

static const char *parse_pax(struct tar_reader *r, struct tar_pax *o, const char *p, size_t len)
{
	while (len > 0) {
		const char *blank = memchr(p, ' ', min_of(len, (size_t)20));
		const char *equals;
		const char *wrong;
		uint64_t n;
		struct record k;

		if (!blank || !decimal(p, (size_t)(blank - p), &n) || n > len ||
			n <= (uint64_t)(blank - p) + 2 || p[n - 1] != '\n')
			return "a pax header that cannot be read";
		k.key = blank + 1;
		equals = memchr(k.key, '=', (size_t)(p + n - 1 - k.key));
		if (!equals)
			return "a pax header that cannot be read";
		k.key_len = (size_t)(equals - k.key);
		k.value = equals + 1;
		k.value_len = (size_t)(p + n - 1 - k.value);
		wrong = apply(r, o, &k);
		if (wrong)
			return wrong;
		p += n;
		len -= (size_t)n;
	}
	return NULL;
}

const char *tar_parse_meta(struct tar_reader *r)
{
	size_t len = r->meta_len;
	bool path = r->meta_type == 'L';

	if (r->meta_type == 'g')
		return parse_pax(r, &r->global, (const char *)r->meta, len);
	if (r->meta_type == 'x')
		return parse_pax(r, &r->pax, (const char *)r->meta, len);
	len = strnlen((const char *)r->meta, len);
	if (r->pax.set & (path ? SET_PATH : SET_LINK))
		return NULL;
	if (!keep_name(path ? r->path : r->link, r->meta, len))
		return "a name that is too long, or has a NUL";
	r->pax.set |= path ? LONG_PATH : LONG_LINK;
	return NULL;
}
