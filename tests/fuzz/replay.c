/*
 * replay.c - runs a fuzz target over files, without libFuzzer and with any compiler: each argument
 * is a file, or a directory whose files are taken in turn. This is how the corpora are part of
 * every test run. The empty input always comes first.
 */
#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static unsigned replayed;

static int replay_file(const char *path, size_t len)
{
	/* Exactly as large as the input, so that the sanitizer sees a read past its end. */
	uint8_t *data = malloc(len ? len : 1);
	FILE *f = fopen(path, "rb");
	bool complete = data && f && fread(data, 1, len, f) == len;

	if (f)
		fclose(f);
	if (complete) {
		LLVMFuzzerTestOneInput(data, len);
		replayed++;
	} else {
		fprintf(stderr, "replay: %s: %s\n", path, f ? "short read" : strerror(errno));
	}
	free(data);
	return complete ? 0 : -1;
}

static int replay(const char *path)
{
	struct dirent **names;
	struct stat st;
	int r = 0;

	if (stat(path, &st) < 0) {
		fprintf(stderr, "replay: %s: %s\n", path, strerror(errno));
		return -1;
	}
	if (!S_ISDIR(st.st_mode))
		return replay_file(path, (size_t)st.st_size);

	int count = scandir(path, &names, NULL, alphasort);

	for (int i = 0; i < count; i++) {
		char entry[4096];

		snprintf(entry, sizeof(entry), "%s/%s", path, names[i]->d_name);
		if (names[i]->d_name[0] != '.' && replay(entry) < 0)
			r = -1;
		free(names[i]);
	}
	if (count >= 0)
		free(names);
	return count < 0 ? -1 : r;
}

int main(int argc, char **argv)
{
	int r = 0;

	LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
	for (int i = 1; i < argc; i++) {
		if (replay(argv[i]) < 0)
			r = -1;
	}
	printf("replay: %u inputs\n", replayed);
	return r < 0 || replayed == 0 ? 1 : 0; /* an empty corpus tests nothing */
}
