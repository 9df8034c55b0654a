/*
 * test_environ.c - /etc/environment's syntax, the order of the layers, the sandbox's variables in
 * an arena that another agent takes over, and one that is damaged.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>

#include "agentd/environ.h"

static char file[64];
static const struct user ada = {.name = "ada", .home = "/home/ada", .shell = "/bin/zsh"};

/* ---- the file's text ---- */

static void check_text(const char *text, const char *expected)
{
	size_t len = strlen(text), n, used = 0;
	char *copy = malloc(len ? len : 1), *out = malloc(len + 1), joined[512] = "";
	const char *at = out;

	for (size_t i = 0; i < len; i++)
		copy[i] = text[i]; /* of exactly its size, for the sanitizer */
	n = environ_parse(copy, len, out);
	for (size_t i = 0; i < n; i++) {
		used += (size_t)snprintf(
			joined + used, sizeof(joined) - used, "%s%s", i ? "|" : "", at);
		at += strlen(at) + 1;
	}
	assert_string_equal(joined, expected);
	free(copy);
	free(out);
}

static void test_texts(void **state)
{
	static const struct {
		const char *text, *vars;
	} cases[] = {
		{"", ""},
		{"\n\n \n#x\n  # A=1\n", ""},
		{"A=1", "A=1"},
		{"A=1\nB=2\n", "A=1|B=2"},
		{"  A=1  \n\tB=2\t\r\n", "A=1|B=2"},
		{"export A=1\nexport\tB=2\nexport  C=3\n", "A=1|B=2|C=3"},
		{"export\nexport=1\nexportA=2\n", "export=1|exportA=2"},
		{"A=", "A="},
		{"A=\nB=\"\"\nC=''", "A=|B=|C="},
		{"A=\"x y # z\"", "A=x y # z"},
		{"A='x \"y\" z' # c", "A=x \"y\" z"},
		{"A=\"x\"y", "A=\"x\"y"},
		{"A=\"x", "A=\"x"},
		{"A='it''s'", "A='it''s'"},
		{"A=\"a\\n\"", "A=a\\n"},
		{"A=x # c\nB=x#y\nC=#c\nD= #c", "A=x|B=x#y|C=|D="},
		{"A = 1\nB=1 2\n=3\n-=4\nA-B=5\nA B=6\nnothing\n", "B=1 2"},
		{"1A=1\n_=2\nA.B=3", "1A=1|_=2"},
		{"A=1=2=3", "A=1=2=3"},
		{"A=\xff\xfe", "A=\xff\xfe"},
		{"A=1\nA=2", "A=1|A=2"},
	};

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++)
		check_text(cases[i].text, cases[i].vars);
}

static void test_nul(void **state)
{
	char out[16];

	(void)state;
	assert_int_equal(environ_parse("A=1\0x\nB=2", 9, out), 1);
	assert_string_equal(out, "B=2");
}

/* ---- layers ---- */

static const char *value_of(struct environ *e, const char *name)
{
	const struct environ_list *l = environ_base(e, &ada);
	ssize_t at;

	assert_non_null(l);
	for (size_t i = 1; i < l->n; i++) {
		char last[64], next[64];

		snprintf(last, sizeof(last), "%.*s", (int)strcspn(l->vars[i - 1], "="),
			l->vars[i - 1]);
		snprintf(next, sizeof(next), "%.*s", (int)strcspn(l->vars[i], "="), l->vars[i]);
		assert_true(strcmp(last, next) < 0);
	}
	at = environ_find(l, name, strlen(name));
	if (at < 0)
		return NULL;
	assert_memory_equal(l->vars[at], name, strlen(name));
	return l->vars[at] + strlen(name) + 1;
}

static void write_file(const char *text)
{
	int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void set(struct environ *e, const char *name, const char *value)
{
	struct error error;

	assert_int_equal(environ_set(e, false, &(struct msg_env){name, value}, 1, &error), 0);
}

static void test_layers(void **state)
{
	struct arena a;
	struct environ e;

	(void)state;
	write_file("LANG=C\nX=file\nX=later\nHOME=/h\n");
	assert_int_equal(arena_create(&a, 10, UINT64_MAX), 0);
	assert_int_equal(environ_init(&e, &a, file), 0);
	assert_string_equal(value_of(&e, "LANG"), "C");
	assert_string_equal(value_of(&e, "X"), "later");
	assert_string_equal(value_of(&e, "HOME"), "/h");
	assert_string_equal(value_of(&e, "SHELL"), "/bin/zsh");
	assert_null(value_of(&e, "HOM"));
	assert_null(value_of(&e, "HOMER"));
	assert_null(value_of(&e, ""));
	set(&e, "X", "sandbox");
	set(&e, "HOMER", "");
	assert_string_equal(value_of(&e, "X"), "sandbox");
	assert_string_equal(value_of(&e, "HOMER"), "");
	assert_string_equal(value_of(&e, "HOME"), "/h");
	set(&e, "X", NULL);
	set(&e, "LANG", NULL); /* the sandbox has none: the others' stays */
	assert_string_equal(value_of(&e, "X"), "later");
	assert_string_equal(value_of(&e, "LANG"), "C");
	environ_fini(&e);
	arena_fini(&a);
}

static void test_users(void **state)
{
	static const struct user bob = {.name = "bob", .home = "/", .shell = "/bin/sh"};
	const struct environ_list *l;
	struct arena a;
	struct environ e;

	(void)state;
	assert_int_equal(arena_create(&a, 10, UINT64_MAX), 0);
	assert_int_equal(environ_init(&e, &a, "/nonexistent"), 0);
	for (int i = 0; i < 3; i++) {
		l = environ_base(&e, &bob);
		assert_string_equal(l->vars[environ_find(l, "USER", 4)], "USER=bob");
		assert_ptr_equal(environ_base(&e, &bob), l);
		assert_string_equal(value_of(&e, "USER"), "ada");
	}
	environ_fini(&e);
	arena_fini(&a);
}

/* ---- the sandbox's ---- */

static const char *names(const struct environ *e, size_t size)
{
	static char text[4096];
	struct jsonw w;

	jsonw_init(&w, text, size);
	jsonw_open(&w, NULL, '{');
	environ_put(e, &w);
	jsonw_close(&w, '}');
	assert_false(w.overflow);
	text[w.len] = '\0';
	return text;
}

static void test_set(void **state)
{
	const struct msg_env many[] = {
		{"B", "2"}, {"A", "1"}, {"C", "3"}, {"A", "again"}, {"C", NULL}, {"AA", ""}};
	struct error error;
	struct arena a;
	struct environ e;

	(void)state;
	assert_int_equal(arena_create(&a, 10, UINT64_MAX), 0);
	assert_int_equal(environ_init(&e, &a, "/nonexistent"), 0);
	assert_string_equal(names(&e, 4096), "{\"env\":[],\"bytes\":0}");
	assert_int_equal(environ_set(&e, false, many, array_size(many), &error), 0);
	assert_string_equal(names(&e, 4096), "{\"env\":[\"A\",\"AA\",\"B\"],\"bytes\":16}");
	assert_string_equal(value_of(&e, "A"), "again");
	assert_string_equal(names(&e, 82), "{\"env\":[\"A\",\"AA\"],\"bytes\":16,\"cut\":true}");
	assert_int_equal(environ_set(&e, true, many, 1, &error), 0);
	assert_string_equal(names(&e, 4096), "{\"env\":[\"B\"],\"bytes\":4}");
	assert_int_equal(environ_set(&e, true, NULL, 0, &error), 0);
	assert_int_equal(a.head->env, 0);
	environ_fini(&e);
	arena_fini(&a);
}

static void test_limit(void **state)
{
	static char value[ENVIRON_MAX + 1];
	struct error error;
	struct arena a;
	struct environ e;

	(void)state;
	assert_int_equal(arena_create(&a, 10, UINT64_MAX), 0);
	assert_int_equal(environ_init(&e, &a, "/nonexistent"), 0);
	memset(value, 'v', ENVIRON_MAX - 3);
	set(&e, "A", value);
	assert_int_equal(strlen(value_of(&e, "A")), ENVIRON_MAX - 3);
	value[ENVIRON_MAX - 3] = 'v';
	assert_int_equal(environ_set(&e, false, &(struct msg_env){"A", value}, 1, &error), -E2BIG);
	assert_int_equal(error.code, E_TOO_LARGE);
	assert_int_equal(environ_set(&e, false, &(struct msg_env){"B", ""}, 1, &error), -E2BIG);
	assert_int_equal(strlen(value_of(&e, "A")), ENVIRON_MAX - 3);
	assert_null(value_of(&e, "B"));
	environ_fini(&e);
	arena_fini(&a);
}

/* As after an upgrade or a crash. */
static void test_takeover(void **state)
{
	struct arena a, b;
	struct environ e;
	char name[16], value[16];
	uint64_t other;

	(void)state;
	assert_int_equal(arena_create(&a, 10, UINT64_MAX), 0);
	assert_int_equal(environ_init(&e, &a, "/nonexistent"), 0);
	for (int i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "V%d", i);
		snprintf(value, sizeof(value), "%d", i * i);
		set(&e, name, value);
	}
	environ_fini(&e);
	assert_int_equal(arena_open(&b, dup(a.fd), UINT64_MAX), 0);
	arena_fini(&a);
	assert_int_equal(environ_init(&e, &b, "/nonexistent"), 0);
	arena_claimed(&b);
	/* What others get now is not ours. */
	for (int i = 0; i < 100; i++) {
		other = arena_alloc_extent(&b, ENVIRON_EXTENT);
		memset(arena_at(&b, other), 'z', ENVIRON_EXTENT);
	}
	assert_string_equal(value_of(&e, "V499"), "249001");
	set(&e, "V499", "new");
	assert_string_equal(value_of(&e, "V498"), "248004");
	assert_string_equal(value_of(&e, "V499"), "new");
	environ_fini(&e);
	arena_fini(&b);
}

/* A value must not stay readable in what is handed out again. */
static void test_old_values_are_wiped(void **state)
{
	struct error error;
	struct arena a;
	struct environ e;
	uint64_t old;

	(void)state;
	assert_int_equal(arena_create(&a, 10, UINT64_MAX), 0);
	assert_int_equal(environ_init(&e, &a, "/nonexistent"), 0);
	set(&e, "TOKEN", "hunter2");
	old = a.head->env;
	assert_int_equal(environ_set(&e, true, NULL, 0, &error), 0);
	assert_null(memmem(arena_at(&a, old), ENVIRON_EXTENT, "hunter2", 7));
	environ_fini(&e);
	arena_fini(&a);
}

static void test_damage(void **state)
{
	static const struct {
		char text[12];
		uint32_t n, len;
	} cases[] = {{"A=1", 1, 4}, {"A=1", 2, 4}, {"A=1", 1, 3}, {"A=1", 1, 5}, {"A=1", 0, 4},
		{"A=1", 1, UINT32_MAX}, {"A=1", UINT32_MAX, 4}, {"A1", 1, 3}, {"=1", 1, 3},
		{"B=1\0A=2", 2, 8}, {"A=1\0A=2", 2, 8}, {"", 1, 1}};
	struct environ e;
	struct arena a;

	(void)state;
	for (size_t i = 0; i < array_size(cases); i++) {
		uint32_t *block;
		uint64_t off;

		assert_int_equal(arena_create(&a, 10, UINT64_MAX), 0);
		off = arena_alloc_extent(&a, ENVIRON_EXTENT);
		block = arena_at(&a, off);
		block[0] = cases[i].n;
		block[1] = cases[i].len;
		memcpy(block + 2, cases[i].text, 8);
		arena_free_extent(&a, off, ENVIRON_EXTENT, 0);
		a.head->env = off;
		assert_int_equal(environ_init(&e, &a, "/nonexistent"), i == 0 ? 0 : -EINVAL);
		assert_int_equal(a.head->env, i == 0 ? off : 0);
		assert_true((value_of(&e, "A") != NULL) == (i == 0));
		environ_fini(&e);
		arena_fini(&a);
	}
	assert_int_equal(arena_create(&a, 10, UINT64_MAX), 0);
	a.head->env = 12345;
	assert_int_equal(environ_init(&e, &a, "/nonexistent"), -EINVAL);
	assert_int_equal(a.head->env, 0);
	environ_fini(&e);
	arena_fini(&a);
}

static int make_file_name(void **state)
{
	(void)state;
	snprintf(file, sizeof(file), "/tmp/test-environ-%d", (int)getpid());
	return 0;
}

static int remove_file(void **state)
{
	(void)state;
	unlink(file);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_nul),
		cmocka_unit_test(test_layers),
		cmocka_unit_test(test_users),
		cmocka_unit_test(test_set),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_takeover),
		cmocka_unit_test(test_old_values_are_wiped),
		cmocka_unit_test(test_damage),
	};

	return cmocka_run_group_tests(tests, make_file_name, remove_file);
}
