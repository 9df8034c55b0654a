#include "bridge/api/file_entry.h"

#include <stdio.h>

#include "proto/error.h"
#include "proto/text.h"

#define NAME_MAX_BYTES 32 /* of a member */

/* ---- bytes ---- */

static void put_encoded(struct text *t, const char *name, const char *encoded, size_t len)
{
	char other[NAME_MAX_BYTES + 4];

	snprintf(other, sizeof(other), "%sB64", name);
	text_bytes(t, other, encoded, len);
}

void file_bytes_put(struct text *t, const char *name, const char *bytes)
{
	size_t len = strlen(bytes);
	auto_free char *encoded = NULL;

	text_bytes(t, name, bytes, len);
	if (utf8_valid(bytes, len))
		return;
	encoded = malloc(BASE64_LEN(len) + 1);
	if (!encoded)
		t->failed = true;
	else
		put_encoded(t, name, encoded, base64_encode(bytes, len, encoded));
}

/* ---- entries ---- */

static void put_path(struct text *t, const char *dir, const char *name)
{
	const char *slash = *dir && dir[strlen(dir) - 1] == '/' ? "" : "/";
	auto_free char *path = NULL;

	if (asprintf(&path, "%s%s%s", dir, slash, name) < 0)
		t->failed = true;
	else
		file_bytes_put(t, "path", path);
}

void file_entry_put(struct text *t, const struct msg_file_entry *m, const char *dir, int errnum)
{
	char mode[16];

	file_bytes_put(t, "name", m->name ? m->name : "");
	text_bool(t, "isDir", m->type && strcmp(m->type, "dir") == 0);
	text_int(t, "size", (int64_t)m->size);
	if (dir)
		put_path(t, dir, m->name);
	text_str(t, "type", m->type);
	if (errnum) {
		text_str(t, "error", errno_name(errnum));
		return;
	}
	snprintf(mode, sizeof(mode), "%04llo", (unsigned long long)m->mode);
	text_str(t, "mode", mode);
	text_int(t, "uid", (int64_t)m->uid);
	text_int(t, "gid", (int64_t)m->gid);
	text_time(t, "mtime", m->mtime_ns > 0 ? (uint64_t)m->mtime_ns / 1000000 : 0);
	if (m->target)
		file_bytes_put(t, "target", m->target);
}

/* ---- any object ---- */

static void put_bytes(struct text *t, const char *name, struct jsonr b64)
{
	/* Base64 has no escapes; the quotes are left out. */
	size_t len = b64.len - 2;
	const char *p = b64.p + 1;
	auto_free uint8_t *bytes = malloc(len + 1);
	ssize_t n = bytes ? base64_decode(p, len, bytes) : -ENOMEM;

	if (n < 0) {
		text_null(t, name);
		return;
	}
	text_bytes(t, name, bytes, (size_t)n);
	if (name)
		put_encoded(t, name, p, len);
}

static void put_value(struct text *t, const char *name, struct jsonr value)
{
	struct jsonr element;
	struct jsonr_walk w;

	if (jsonr_is(value, '{') && jsonr_member(value, "b64", &element) &&
		jsonr_is(element, '"')) {
		put_bytes(t, name, element);
	} else if (jsonr_is(value, '[') && jsonr_begin(&w, value)) {
		text_open(t, name, '[');
		while (jsonr_next(&w, NULL, &element))
			put_value(t, NULL, element);
		text_close(t, ']');
	} else {
		text_raw(t, name, value.p, value.len);
	}
}

void file_members_put(struct text *t, struct jsonr object)
{
	struct jsonr name, value;
	struct jsonr_walk w;

	if (!jsonr_begin(&w, object) || !w.named)
		return;
	while (jsonr_next(&w, &name, &value)) {
		char text[NAME_MAX_BYTES];

		if (name.len >= sizeof(text) || memchr(name.p, '\\', name.len))
			continue;
		memcpy(text, name.p, name.len);
		text[name.len] = '\0';
		put_value(t, text, value);
	}
}
