#include "tests/unit/vectors.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

void vectors_open(struct vectors *v, const char *path, unsigned count)
{
	*v = (struct vectors){.count = count};
	v->file = fopen(path, "re");
	if (!v->file)
		fail_msg("%s: %s", path, strerror(errno));
}

static char *strip(char *s)
{
	s += strspn(s, " ");
	for (size_t n = strlen(s); n > 0 && s[n - 1] == ' ';)
		s[--n] = '\0';
	return s;
}

/* Fields are separated by " | "; an empty last one may have lost its blank. */
static void split(struct vectors *v, char *at)
{
	for (unsigned i = 0; i + 1 < v->count; i++) {
		char *bar = strstr(at, " |");

		assert_non_null(bar);
		*bar = '\0';
		v->field[i] = strip(at);
		at = bar + 2;
	}
	v->field[v->count - 1] = at + (*at == ' ');
}

bool vectors_next(struct vectors *v)
{
	ssize_t n;

	while ((n = getline(&v->line, &v->size, v->file)) > 0) {
		if (v->line[n - 1] == '\n')
			v->line[n - 1] = '\0';
		if (v->line[0] == '#' || v->line[0] == '\0')
			continue;
		split(v, v->line);
		v->n++;
		return true;
	}
	fclose(v->file);
	free(v->line);
	return false;
}

static unsigned digit(char c)
{
	const char *at = strchr("0123456789abcdef", c);

	assert_true(at && c);
	return (unsigned)(at - "0123456789abcdef");
}

static void put_byte(struct buf *out, unsigned byte)
{
	uint8_t b = (uint8_t)byte;

	assert_int_equal(buf_append(out, &b, 1), 0);
}

void vectors_unhex(struct buf *out, const char *text)
{
	while (*(text += strspn(text, " "))) {
		unsigned byte = digit(text[0]) << 4 | digit(text[1]);
		unsigned long times = 1;

		text += 2;
		if (*text == '*')
			times = strtoul(text + 1, (char **)&text, 10);
		while (times-- > 0)
			put_byte(out, byte);
	}
}

void vectors_unescape(struct buf *out, const char *text)
{
	for (; *text; text++) {
		if (*text != '\\') {
			put_byte(out, (unsigned char)*text);
			continue;
		}
		text++;
		switch (*text) {
		case 'r': put_byte(out, '\r'); break;
		case 'n': put_byte(out, '\n'); break;
		case '\\': put_byte(out, '\\'); break;
		default:
			assert_int_equal(*text, 'x');
			put_byte(out, digit(text[1]) << 4 | digit(text[2]));
			text += 2;
		}
	}
}
