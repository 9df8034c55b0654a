/*
 * test_bridge_store.c - the bridge's store: what is written is read again by the next opening, a
 * second program's writing is seen, what is not ours or newer is refused, an older form is brought
 * forward.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "bridge/sandbox/store.h"

struct bed {
	char dir[64], path[96];
	struct store *store;
	char seen[4096];
};

static void reopen(struct bed *b)
{
	char why[256] = "";

	store_close(b->store);
	b->store = NULL;
	if (store_open(b->path, &b->store, why, sizeof(why)) < 0)
		fail_msg("%s", why);
}

static int up(void **state)
{
	struct bed *b = calloc(1, sizeof(*b));

	snprintf(b->dir, sizeof(b->dir), "/tmp/store-test-XXXXXX");
	assert_non_null(mkdtemp(b->dir));
	snprintf(b->path, sizeof(b->path), "%s/bridge.db", b->dir);
	reopen(b);
	*state = b;
	return 0;
}

static int down(void **state)
{
	struct bed *b = *state;
	char path[128];

	store_close(b->store);
	for (size_t i = 0; i < 3; i++) {
		static const char *const ends[] = {"", "-wal", "-shm"};

		snprintf(path, sizeof(path), "%s%s", b->path, ends[i]);
		unlink(path);
	}
	assert_int_equal(rmdir(b->dir), 0);
	free(b);
	return 0;
}

/* SQL behind the store's back, as another program would do it. */
static void sql(struct bed *b, const char *text)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(b->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void refused(struct bed *b, const char *word)
{
	char why[512] = "";
	struct store *s = NULL;

	store_close(b->store);
	b->store = NULL;
	assert_true(store_open(b->path, &s, why, sizeof(why)) < 0);
	assert_null(s);
	if (!strstr(why, word) || !strstr(why, b->path))
		fail_msg("\"%s\" has no \"%s\"", why, word);
}

/* ---- rows ---- */

static const struct store_sandbox full = {
	.id = "sb-00000001",
	.driver = "local",
	.state = "running",
	.template = "base",
	.alias = "mine",
	.note = "it's \"quoted\"",
	.created_ms = 1700000000123,
	.started_ms = 2,
	.ended_ms = 3,
	.tags_ms = UINT32_MAX + 5ULL,
	.timeout_s = -1,
	.cpus = 4,
	.memory_mb = 16384,
	.disk_mb = 262144,
	.network = true,
	.envs = "{\"A\":\"\xc3\xa4\"}",
	.metadata = "{}",
	.tags = "{\"k\":\"v\"}",
	.checkpoint = "cp",
	.address = "unix:/x",
	.token = "secret",
	.more = "{\"x\":1}",
};

static void on_full(void *ctx, const struct store_sandbox *r)
{
	unsigned *n = ctx;

	*n += 1;
	assert_string_equal(r->id, full.id);
	assert_string_equal(r->driver, full.driver);
	assert_string_equal(r->state, full.state);
	assert_string_equal(r->template, full.template);
	assert_string_equal(r->alias, full.alias);
	assert_string_equal(r->note, full.note);
	assert_int_equal(r->created_ms, full.created_ms);
	assert_int_equal(r->started_ms, full.started_ms);
	assert_int_equal(r->ended_ms, full.ended_ms);
	assert_int_equal(r->tags_ms, full.tags_ms);
	assert_int_equal(r->timeout_s, full.timeout_s);
	assert_int_equal(r->cpus, full.cpus);
	assert_int_equal(r->memory_mb, full.memory_mb);
	assert_int_equal(r->disk_mb, full.disk_mb);
	assert_int_equal(r->network, full.network);
	assert_string_equal(r->envs, full.envs);
	assert_string_equal(r->metadata, full.metadata);
	assert_string_equal(r->tags, full.tags);
	assert_string_equal(r->checkpoint, full.checkpoint);
	assert_string_equal(r->address, full.address);
	assert_string_equal(r->token, full.token);
	assert_string_equal(r->more, full.more);
}

static void test_sandbox_whole(void **state)
{
	struct bed *b = *state;
	unsigned n = 0;

	assert_int_equal(store_put_sandbox(b->store, &full), 0);
	assert_int_equal(store_put_sandbox(b->store, &full), 0); /* again: still one */
	reopen(b);
	assert_int_equal(store_each_sandbox(b->store, on_full, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(store_drop_sandbox(b->store, full.id), 0);
	assert_int_equal(store_each_sandbox(b->store, on_full, &n), 0);
	assert_int_equal(n, 1);
}

static void note(struct bed *b, const char *line)
{
	size_t len = strlen(b->seen);

	snprintf(b->seen + len, sizeof(b->seen) - len, "%s", line);
}

static void note_sandbox(void *ctx, const struct store_sandbox *r)
{
	struct bed *b = ctx;

	note(b, r->id);
	note(b, " ");
}

/* By age, and members that are not given are empty, not NULL. */
static void test_sandbox_order(void **state)
{
	struct bed *b = *state;

	for (unsigned i = 0; i < 3; i++) {
		static const char *const ids[] = {"late", "early", "middle"};
		static const uint64_t ages[] = {30, 10, 20};

		assert_int_equal(store_put_sandbox(b->store, &(struct store_sandbox){.id = ids[i],
								     .created_ms = ages[i]}),
			0);
	}
	assert_int_equal(store_each_sandbox(b->store, note_sandbox, b), 0);
	assert_string_equal(b->seen, "early middle late ");
}

static void note_key(void *ctx, const struct store_key *r)
{
	struct bed *b = ctx;
	char line[256];

	snprintf(line, sizeof(line), "%s/%s/%s/%s/%llu/%llu ", r->id, r->name, r->hash, r->hint,
		(unsigned long long)r->created_ms, (unsigned long long)r->used_ms);
	note(b, line);
}

static void test_keys(void **state)
{
	struct bed *b = *state;
	const struct store_key key = {"key-1", "ci", "ab", "osb_x", 5, 0};

	assert_int_equal(store_put_key(b->store, &key), 0);
	assert_int_equal(store_touch_key(b->store, "key-1", 9), 0);
	assert_int_equal(store_touch_key(b->store, "key-2", 9), 0); /* does not bring one to life */
	reopen(b);
	assert_int_equal(store_each_key(b->store, note_key, b), 0);
	assert_string_equal(b->seen, "key-1/ci/ab/osb_x/5/9 ");
	assert_int_equal(store_drop_key(b->store, "key-2"), -ENOENT);
	assert_int_equal(store_drop_key(b->store, "key-1"), 0);
	assert_int_equal(store_drop_key(b->store, "key-1"), -ENOENT);
}

static void note_checkpoint(void *ctx, const struct store_checkpoint *r)
{
	struct bed *b = ctx;
	char line[256];

	snprintf(line, sizeof(line), "%s/%s/%s/%s/%s/%s/%s/%llu/%llu ", r->id, r->sandbox, r->name,
		r->kind, r->state, r->error, r->config, (unsigned long long)r->created_ms,
		(unsigned long long)r->bytes);
	note(b, line);
}

static void test_checkpoints(void **state)
{
	struct bed *b = *state;
	const struct store_checkpoint row = {
		"id", "sb", "name", "full", "ready", "", "{}", 7, 1ULL << 40};

	assert_int_equal(store_put_checkpoint(b->store, &row), 0);
	reopen(b);
	assert_int_equal(store_each_checkpoint(b->store, note_checkpoint, b), 0);
	assert_string_equal(b->seen, "id/sb/name/full/ready//{}/7/1099511627776 ");
	assert_int_equal(store_drop_checkpoint(b->store, "id"), 0);
	assert_int_equal(store_each_checkpoint(b->store, note_checkpoint, b), 0);
	assert_string_equal(b->seen, "id/sb/name/full/ready//{}/7/1099511627776 ");
}

static void note_patch(void *ctx, const struct store_patch *r)
{
	struct bed *b = ctx;
	char line[256];

	snprintf(line, sizeof(line), "%s/%s/%s/%s/%llu/%llu ", r->id, r->checkpoint, r->script,
		r->description, (unsigned long long)r->sequence, (unsigned long long)r->created_ms);
	note(b, line);
}

/* In their sequence within a checkpoint, whatever their age. */
static void test_patches(void **state)
{
	struct bed *b = *state;

	assert_int_equal(
		store_put_patch(b->store, &(struct store_patch){"b", "cp", "echo", "d", 2, 1}), 0);
	assert_int_equal(
		store_put_patch(b->store, &(struct store_patch){"a", "cp", "true", "", 1, 2}), 0);
	reopen(b);
	assert_int_equal(store_each_patch(b->store, note_patch, b), 0);
	assert_string_equal(b->seen, "a/cp/true//1/2 b/cp/echo/d/2/1 ");
	assert_int_equal(store_drop_patch(b->store, "a"), 0);
}

static void test_values(void **state)
{
	struct bed *b = *state;
	char *v = NULL;

	assert_int_equal(store_get(b->store, "x", &v), -ENOENT);
	assert_null(v);
	assert_int_equal(store_set(b->store, "x", "1"), 0);
	assert_int_equal(store_set(b->store, "x", "2"), 0);
	reopen(b);
	assert_int_equal(store_get(b->store, "x", &v), 0);
	assert_string_equal(v, "2");
	free(v);
}

/* ---- the file ---- */

/* Secrets are in it. */
static void test_private(void **state)
{
	struct bed *b = *state;
	char path[128];
	struct stat st;

	assert_int_equal(store_set(b->store, "x", "1"), 0);
	assert_int_equal(stat(b->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	snprintf(path, sizeof(path), "%s-wal", b->path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

/* Only what another process wrote counts as a change. */
static void test_changed(void **state)
{
	struct bed *b = *state;
	struct store *other;
	char why[256];

	assert_false(store_changed(b->store));
	assert_int_equal(store_set(b->store, "x", "1"), 0);
	assert_false(store_changed(b->store));
	assert_int_equal(store_open(b->path, &other, why, sizeof(why)), 0);
	assert_int_equal(store_set(other, "x", "2"), 0);
	assert_true(store_changed(b->store));
	assert_false(store_changed(b->store));
	store_close(other);
}

static void test_foreign_database(void **state)
{
	struct bed *b = *state;

	store_close(b->store);
	b->store = NULL;
	assert_int_equal(unlink(b->path), 0);
	sql(b, "CREATE TABLE t (x)");
	refused(b, "another program");
}

static void test_foreign_file(void **state)
{
	struct bed *b = *state;
	int fd;

	store_close(b->store);
	b->store = NULL;
	fd = open(b->path, O_WRONLY | O_TRUNC);
	assert_int_equal(write(fd, "this is a letter to somebody else, of some length\n", 50), 50);
	close(fd);
	refused(b, "not a database");
	fd = open(b->path, O_RDONLY);
	assert_int_equal(lseek(fd, 0, SEEK_END), 50); /* left as it was */
	close(fd);
}

static void test_newer(void **state)
{
	struct bed *b = *state;

	sql(b, "PRAGMA user_version=1000");
	refused(b, "newer bridge");
}

/* The form before the first is an empty file: what a crash right after creating it leaves. */
static void test_empty_file(void **state)
{
	struct bed *b = *state;
	char *v = NULL;

	store_close(b->store);
	b->store = NULL;
	assert_int_equal(truncate(b->path, 0), 0);
	reopen(b);
	assert_int_equal(store_get(b->store, "x", &v), -ENOENT);
}

static void test_no_directory(void **state)
{
	char why[256] = "";
	struct store *s = NULL;

	(void)state;
	assert_true(store_open("/nowhere/at/all/bridge.db", &s, why, sizeof(why)) < 0);
	assert_non_null(strstr(why, "/nowhere/at/all/bridge.db"));
}

/* What a call has given back as written is there after a kill -9 of the writer. */
static void test_kill(void **state)
{
	struct bed *b = *state;
	char *v = NULL;
	int status, gate[2];
	pid_t child;
	char c;

	store_close(b->store);
	b->store = NULL;
	assert_int_equal(pipe(gate), 0);
	child = fork();
	if (child == 0) {
		struct store *s;
		char why[256];

		if (store_open(b->path, &s, why, sizeof(why)) == 0 &&
			store_set(s, "x", "kept") == 0 && write(gate[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	assert_int_equal(read(gate[0], &c, 1), 1);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	close(gate[0]);
	close(gate[1]);
	reopen(b);
	assert_int_equal(store_get(b->store, "x", &v), 0);
	assert_string_equal(v, "kept");
	free(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_sandbox_whole, up, down),
		cmocka_unit_test_setup_teardown(test_sandbox_order, up, down),
		cmocka_unit_test_setup_teardown(test_keys, up, down),
		cmocka_unit_test_setup_teardown(test_checkpoints, up, down),
		cmocka_unit_test_setup_teardown(test_patches, up, down),
		cmocka_unit_test_setup_teardown(test_values, up, down),
		cmocka_unit_test_setup_teardown(test_private, up, down),
		cmocka_unit_test_setup_teardown(test_changed, up, down),
		cmocka_unit_test_setup_teardown(test_foreign_database, up, down),
		cmocka_unit_test_setup_teardown(test_foreign_file, up, down),
		cmocka_unit_test_setup_teardown(test_newer, up, down),
		cmocka_unit_test_setup_teardown(test_empty_file, up, down),
		cmocka_unit_test_setup_teardown(test_no_directory, up, down),
		cmocka_unit_test_setup_teardown(test_kill, up, down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
