/*
 * fuzz_environ.c - /etc/environment. Each variable that comes out has a name of the right letters
 * and a value that stood in the text, all of them fit into the space that is promised, and a text
 * in two halves, cut at a line, is the two halves.
 */
#include <ctype.h>

#include "agentd/environ.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static size_t parse(const char *text, size_t len, char **ret_out, size_t *ret_used)
{
	char *out = malloc(len + 1), *copy = malloc(len ? len : 1), *at = out;
	size_t n;

	ASSERT(out && copy);
	if (len > 0)
		memcpy(copy, text, len);
	n = environ_parse(copy, len, out);
	for (size_t i = 0; i < n; i++) {
		size_t name = strcspn(at, "="), size = strlen(at);

		ASSERT(name > 0 && name < size);
		for (size_t k = 0; k < name; k++)
			ASSERT(isalnum((unsigned char)at[k]) || at[k] == '_');
		ASSERT(size - name - 1 == 0 || memmem(copy, len, at + name + 1, size - name - 1));
		ASSERT(!memchr(at, '\n', size));
		at += size + 1;
		ASSERT((size_t)(at - out) <= len + 1);
	}
	free(copy);
	*ret_out = out;
	*ret_used = (size_t)(at - out);
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const char *text = (const char *)data, *cut = len ? memchr(text, '\n', len) : NULL;
	size_t used[3], n[3], first;
	char *out[3];

	n[0] = parse(text, len, &out[0], &used[0]);
	first = cut ? (size_t)(cut - text) + 1 : len;
	n[1] = parse(text, first, &out[1], &used[1]);
	n[2] = parse(text + first, len - first, &out[2], &used[2]);
	ASSERT(n[0] == n[1] + n[2] && used[0] == used[1] + used[2]);
	ASSERT(memcmp(out[0], out[1], used[1]) == 0);
	ASSERT(memcmp(out[0] + used[1], out[2], used[2]) == 0);
	for (int i = 0; i < 3; i++)
		free(out[i]);
	return 0;
}
