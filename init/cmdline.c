#include "init/cmdline.h"

#include <fcntl.h>

#define TEXT_MAX (64 * 1024)

/* Ends the word at *p and returns where the next may begin; quotes are taken out in place. */
static char *word_end(char *p)
{
	bool quoted = false;
	char *out = p;

	for (; *p && (quoted || !strchr(" \t\n", *p)); p++) {
		if (*p == '"')
			quoted = !quoted;
		else
			*out++ = *p;
	}
	if (*p)
		p++;
	*out = '\0';
	return p;
}

static void add_word(struct cmdline *c, char *word)
{
	char *eq = strchr(word, '=');

	if (!*word || c->n == CMDLINE_WORDS)
		return;
	if (eq)
		*eq = '\0';
	c->name[c->n] = word;
	c->value[c->n++] = eq ? eq + 1 : NULL;
}

static size_t read_text(const char *path, char *out, size_t size)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n;

	while (fd >= 0 && len < size && (n = read(fd, out + len, size - len)) > 0)
		len += (size_t)n;
	return len;
}

void cmdline_read(struct cmdline *c, const char *path, char **argv)
{
	size_t size = TEXT_MAX + 2, len;
	char *p;

	*c = (struct cmdline){0};
	for (size_t i = 0; argv[0] && argv[i]; i++)
		size += strlen(argv[i]) + 1;
	c->text = p = xcalloc(1, size);
	len = read_text(path, p, TEXT_MAX);
	p[len] = '\0';
	while (*p) {
		char *next = word_end(p);

		add_word(c, p);
		p = next;
	}
	p = c->text + TEXT_MAX + 2;
	for (size_t i = 1; argv[0] && argv[i]; i++) {
		size_t n = strlen(argv[i]) + 1;

		memcpy(p, argv[i], n);
		add_word(c, p);
		p += n;
	}
}

void cmdline_fini(struct cmdline *c)
{
	free(take_ptr(&c->text));
	c->n = 0;
}

const char *cmdline_get(const struct cmdline *c, const char *name)
{
	for (size_t i = c->n; i-- > 0;) {
		if (strcmp(c->name[i], name) == 0)
			return c->value[i] ? c->value[i] : "";
	}
	return NULL;
}

unsigned long cmdline_number(
	const struct cmdline *c, const char *name, unsigned long fallback, unsigned long max)
{
	const char *text = cmdline_get(c, name);
	unsigned long n;
	char *end;

	if (!text || *text < '0' || *text > '9')
		return fallback;
	errno = 0;
	n = strtoul(text, &end, 10);
	return *end || errno || n > max ? fallback : n;
}
