/*
 * JSON has only whole characters, and a read ends anywhere: the beginning of one waits for the next
 * piece. What is no character at all becomes U+FFFD, as a terminal would show it.
 */
#include "bridge/cast.h"

#include "proto/text.h"

static void note(struct cast *c, bool good)
{
	if (!good && !c->err)
		c->err = errno ? -errno : -EIO;
}

/* Length of the character at p, 0 when there is none. */
static size_t character(const uint8_t *p, size_t len)
{
	for (size_t n = 1; n <= 4 && n <= len; n++) {
		if (utf8_valid(p, n))
			return n;
	}
	return 0;
}

static void put_string(struct cast *c, const uint8_t *p, size_t len)
{
	putc('"', c->file);
	while (len > 0) {
		size_t n = character(p, len);

		if (n == 0)
			fputs("\\ufffd", c->file);
		else if (n == 1 && (*p < 0x20 || *p == 0x7f))
			fprintf(c->file, "\\u%04x", *p);
		else if (*p == '"' || *p == '\\')
			fprintf(c->file, "\\%c", *p);
		else
			fwrite(p, 1, n, c->file);
		n = max_of(n, (size_t)1);
		p += n;
		len -= n;
	}
	putc('"', c->file);
}

static void put_event(struct cast *c, char kind, const uint8_t *text, size_t len)
{
	fprintf(c->file, "[%.6f, \"%c\", ", (double)(now_ns() - c->start) / 1e9, kind);
	put_string(c, text, len);
	fputs("]\n", c->file);
	note(c, fflush(c->file) == 0);
}

int cast_open(struct cast *c, const char *path)
{
	*c = (struct cast){.file = fopen(path, "we")};
	return c->file ? 0 : -errno;
}

void cast_begin(struct cast *c, const struct msg_size *size, uint64_t unix_seconds,
	const char *term, const char *shell)
{
	if (!c->file)
		return;
	c->start = now_ns();
	fprintf(c->file,
		"{\"version\": 2, \"width\": %u, \"height\": %u, \"timestamp\": %llu, \"env\": {",
		size->cols, size->rows, (unsigned long long)unix_seconds);
	if (term) {
		fputs("\"TERM\": ", c->file);
		put_string(c, (const uint8_t *)term, strlen(term));
	}
	if (shell) {
		fputs(term ? ", \"SHELL\": " : "\"SHELL\": ", c->file);
		put_string(c, (const uint8_t *)shell, strlen(shell));
	}
	fputs("}}\n", c->file);
	note(c, fflush(c->file) == 0);
}

void cast_output(struct cast *c, const uint8_t *data, size_t len)
{
	uint8_t joint[2 * sizeof(c->tail)];
	size_t cut;

	if (!c->file || c->err)
		return;
	/* The character that began in the piece before, byte by byte until it is whole. */
	while (c->tail_len > 0 && len > 0) {
		memcpy(joint, c->tail, c->tail_len);
		joint[c->tail_len++] = *data;
		cut = utf8_cut(joint, c->tail_len);
		c->tail[c->tail_len - 1] = *data++;
		len--;
		if (cut > 0) {
			put_event(c, 'o', joint, cut);
			memmove(c->tail, joint + cut, c->tail_len - cut);
			c->tail_len -= cut;
		}
	}
	cut = utf8_cut(data, len);
	if (cut > 0)
		put_event(c, 'o', data, cut);
	if (len > cut) {
		memcpy(c->tail, data + cut, len - cut);
		c->tail_len = len - cut;
	}
}

void cast_resize(struct cast *c, const struct msg_size *size)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%ux%u", size->cols, size->rows);

	if (c->file && !c->err)
		put_event(c, 'r', (const uint8_t *)text, (size_t)n);
}

int cast_close(struct cast *c)
{
	FILE *file = take_ptr(&c->file);

	if (!file)
		return c->err;
	if (c->tail_len > 0 && !c->err) {
		c->file = file;
		put_event(c, 'o', c->tail, c->tail_len);
		c->file = NULL;
	}
	errno = 0;
	note(c, fclose(file) == 0);
	return c->err;
}
