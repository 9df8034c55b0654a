/* "bridge keys": works on the store beside a running bridge, which sees the change by itself. */
#include "bridge/main.h"

#include <stdio.h>
#include <time.h>

static int usage(const char *why)
{
	fprintf(stderr,
		"bridge: %s\nUsage: bridge [--state DIR] keys add [NAME] | list | revoke ID\n",
		why);
	return 2;
}

static int complain(const char *why)
{
	fprintf(stderr, "bridge: %s\n", why);
	return 1;
}

static int add_key(struct keys *k, struct store *store, const char *name)
{
	char key[KEY_LEN + 1], id[16], why[320];
	int r = keys_add(k, name, key, id);

	if (r == -ENOSPC) {
		snprintf(why, sizeof(why), "there are %d keys already", KEYS_MAX);
		return complain(why);
	}
	if (r < 0)
		return complain(store_why(store));
	/* The key alone on stdout, for scripts: it is shown this once. */
	fprintf(stderr, "id %s\n", id);
	printf("%s\n", key);
	return 0;
}

static void day(uint64_t ms, char out[20])
{
	time_t t = (time_t)(ms / 1000);
	struct tm tm;

	if (ms == 0)
		memcpy(out, "never", sizeof("never"));
	else
		strftime(out, 20, "%Y-%m-%d", gmtime_r(&t, &tm));
}

static void print_key(void *ctx, const struct store_key *row)
{
	char made[20], used[20];

	(void)ctx;
	day(row->created_ms, made);
	day(row->used_ms, used);
	printf("%-14s %-12s %-12s %-12s %s\n", row->id, row->hint, made, used, row->name);
}

static int list_keys(struct store *store)
{
	printf("%-14s %-12s %-12s %-12s %s\n", "ID", "BEGINS", "MADE", "USED", "NAME");
	return store_each_key(store, print_key, NULL) < 0 ? complain(store_why(store)) : 0;
}

static int revoke_key(struct keys *k, struct store *store, const char *id)
{
	char why[128];
	int r = keys_revoke(k, id);

	if (r == -ENOENT) {
		snprintf(why, sizeof(why), "there is no key %.40s; see \"bridge keys list\"", id);
		return complain(why);
	}
	return r < 0 ? complain(store_why(store)) : 0;
}

static bool is_name(const char *name)
{
	if (strlen(name) > 100)
		return false;
	for (const char *p = name; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 127)
			return false;
	return true;
}

int keys_command(struct config *c, int argc, char **argv)
{
	char path[BOX_PATH_MAX + 16], why[512];
	struct store *store = NULL;
	struct keys *keys = NULL;
	int r;

	if (argc == 0 || !((strcmp(argv[0], "add") == 0 && argc <= 2) ||
				 (strcmp(argv[0], "list") == 0 && argc == 1) ||
				 (strcmp(argv[0], "revoke") == 0 && argc == 2)))
		return usage("keys: add, list or revoke is expected");
	if (argv[0][0] == 'a' && argc == 2 && !is_name(argv[1]))
		return usage("a name has at most 100 characters, and no control characters");
	if (state_open(c, why, sizeof(why)) < 0)
		return complain(why);
	snprintf(path, sizeof(path), "%s/bridge.db", c->bridge.state_dir);
	if (store_open(path, &store, why, sizeof(why)) < 0)
		return complain(why);
	if (keys_open(&keys, store, why, sizeof(why)) < 0)
		r = complain(why);
	else if (argv[0][0] == 'a')
		r = add_key(keys, store, argc == 2 ? argv[1] : "");
	else if (argv[0][0] == 'l')
		r = list_keys(store);
	else
		r = revoke_key(keys, store, argv[1]);
	keys_close(keys);
	store_close(store);
	return r;
}
