/*
 * test_keys.c - API keys and tokens: what is right gets in, whatever is bent the least bit does
 * not. Tokens and signatures are compared with libcrypto's own HMAC and with RFC vectors.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sqlite3.h>
#include <stdio.h>
#include <time.h>

#include "bridge/sandbox/keys.h"

struct bed {
	char dir[64], path[96];
	struct store *store;
	struct keys *keys;
};

static void close_all(struct bed *b)
{
	keys_close(b->keys);
	store_close(b->store);
	b->keys = NULL;
	b->store = NULL;
}

static void open_all(struct bed *b)
{
	char why[256] = "";

	if (store_open(b->path, &b->store, why, sizeof(why)) < 0 ||
		keys_open(&b->keys, b->store, why, sizeof(why)) < 0)
		fail_msg("%s", why);
}

static int up(void **state)
{
	struct bed *b = calloc(1, sizeof(*b));

	snprintf(b->dir, sizeof(b->dir), "/tmp/keys-test-XXXXXX");
	assert_non_null(mkdtemp(b->dir));
	snprintf(b->path, sizeof(b->path), "%s/bridge.db", b->dir);
	open_all(b);
	*state = b;
	return 0;
}

static int down(void **state)
{
	struct bed *b = *state;

	close_all(b);
	assert_int_equal(unlink(b->path), 0);
	assert_int_equal(rmdir(b->dir), 0); /* nothing else is left */
	free(b);
	return 0;
}

static bool check(struct bed *b, const char *key)
{
	return keys_check(b->keys, key, strlen(key));
}

/* ---- keys ---- */

static void test_key(void **state)
{
	struct bed *b = *state;
	char key[KEY_LEN + 1], bent[KEY_LEN + 2], id[16];

	assert_false(keys_any(b->keys));
	assert_false(check(b, ""));
	assert_int_equal(keys_add(b->keys, "ci", key, id), 0);
	assert_true(keys_any(b->keys));
	assert_int_equal(strlen(key), KEY_LEN);
	assert_memory_equal(key, "osb_", 4);
	assert_true(check(b, key));
	for (size_t i = 0; i < KEY_LEN; i++) {
		snprintf(bent, sizeof(bent), "%s", key);
		bent[i] ^= 1;
		assert_false(check(b, bent));
	}
	assert_false(keys_check(b->keys, key, KEY_LEN - 1));
	snprintf(bent, sizeof(bent), "%sx", key);
	assert_false(keys_check(b->keys, bent, KEY_LEN + 1));
	close_all(b);
	open_all(b);
	assert_true(check(b, key));
	assert_int_equal(keys_revoke(b->keys, id), 0);
	assert_false(check(b, key));
	assert_int_equal(keys_revoke(b->keys, id), -ENOENT);
}

static void note_key(void *ctx, const struct store_key *row)
{
	char *out = ctx;

	snprintf(out, 512, "%s %s %s", row->hash, row->hint, row->name);
}

/* The key is nowhere in the file; its use is noted. */
static void test_only_the_hash(void **state)
{
	struct bed *b = *state;
	char key[KEY_LEN + 1], id[16], row[512] = "";
	uint8_t data[65536];
	size_t n;
	FILE *f;

	assert_int_equal(keys_add(b->keys, "ci", key, id), 0);
	assert_int_equal(store_each_key(b->store, note_key, row), 0);
	assert_non_null(strstr(row, " ci"));
	assert_null(strstr(row, key));
	assert_int_equal(strcspn(row, " "), 64);
	close_all(b); /* the log is written back into the file */
	f = fopen(b->path, "r");
	n = fread(data, 1, sizeof(data), f);
	fclose(f);
	assert_null(memmem(data, n, key, KEY_LEN));
	open_all(b);
	assert_true(check(b, key));
}

/* `bridge keys` beside a running bridge: from the next check on. */
static void test_another_process(void **state)
{
	struct bed *b = *state, other = *b;
	char key[KEY_LEN + 1], id[16];

	open_all(&other);
	assert_int_equal(keys_add(other.keys, "", key, id), 0);
	assert_true(check(b, key));
	assert_int_equal(keys_revoke(other.keys, id), 0);
	assert_false(check(b, key));
	close_all(&other);
}

/* Keys that cannot be read are good for nobody, until they can be: not until another process
 * happens to write again. */
static void test_unreadable(void **state)
{
	struct bed *b = *state, other = *b;
	char key[KEY_LEN + 1], id[16];

	open_all(&other);
	assert_int_equal(keys_add(other.keys, "", key, id), 0);
	sqlite3_hard_heap_limit64(1);
	assert_false(check(b, key));
	sqlite3_hard_heap_limit64(0);
	assert_true(check(b, key));
	close_all(&other);
}

/* As many as there may be, and no more; all of them work. */
static void test_many(void **state)
{
	struct bed *b = *state;
	char(*all)[KEY_LEN + 1] = calloc(KEYS_MAX + 1, sizeof(*all));
	char id[16];

	for (size_t i = 0; i < KEYS_MAX; i++)
		assert_int_equal(keys_add(b->keys, "", all[i], id), 0);
	assert_int_equal(keys_add(b->keys, "", all[KEYS_MAX], id), -ENOSPC);
	for (size_t i = 0; i < KEYS_MAX; i += 97)
		assert_true(check(b, all[i]));
	free(all);
}

/* ---- tokens ---- */

static void secret(struct bed *b, const char *name, uint8_t out[32])
{
	char *hex = NULL;

	assert_int_equal(store_get(b->store, name, &hex), 0);
	assert_int_equal(strlen(hex), 64);
	for (int i = 0; i < 32; i++) {
		unsigned v;

		assert_int_equal(sscanf(hex + 2 * i, "%2x", &v), 1);
		out[i] = (uint8_t)v;
	}
	free(hex);
}

static void encode(const void *data, int len, char *out)
{
	int n = EVP_EncodeBlock((unsigned char *)out, data, len);

	while (n > 0 && out[n - 1] == '=')
		out[--n] = '\0';
	for (char *p = out; *p; p++)
		*p = *p == '+' ? '-' : *p == '/' ? '_' : *p;
}

/* A token made by other means: header, claims, key. */
static void forge(const uint8_t key[32], const char *head, const char *claims, char out[1024])
{
	unsigned char sum[EVP_MAX_MD_SIZE];
	unsigned len;
	size_t n;

	encode(head, (int)strlen(head), out);
	n = strlen(out);
	out[n] = '.';
	encode(claims, (int)strlen(claims), out + n + 1);
	n = strlen(out);
	HMAC(EVP_sha256(), key, 32, (const unsigned char *)out, n, sum, &len);
	out[n] = '.';
	encode(sum, (int)len, out + n + 1);
}

#define VECTOR                                                                                     \
	"099805f4ac310786968565c098db515cc50862b420ae31e20238312344bed36a" /* Python's hmac */
#define HEAD "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"

static int verdict(struct bed *b, const char *token, const char *sandbox)
{
	return (int)token_check(b->keys, token, strlen(token), sandbox);
}

static void test_token(void **state)
{
	struct bed *b = *state;
	char token[TOKEN_MAX], bent[TOKEN_MAX + 8];

	token_make(b->keys, "sb-12345678", token);
	assert_int_equal(verdict(b, token, "sb-12345678"), TOKEN_GOOD);
	assert_int_equal(verdict(b, token, "sb-12345679"), TOKEN_OTHER);
	for (size_t i = 0; i < strlen(token); i++) {
		snprintf(bent, sizeof(bent), "%s", token);
		bent[i] = bent[i] == 'A' ? 'B' : 'A';
		assert_int_equal(verdict(b, bent, "sb-12345678"), TOKEN_BAD);
		bent[i] = '\0';
		assert_int_equal(verdict(b, bent, "sb-12345678"), TOKEN_BAD);
	}
	snprintf(bent, sizeof(bent), "%sA", token);
	assert_int_equal(verdict(b, bent, "sb-12345678"), TOKEN_BAD);
	snprintf(bent, sizeof(bent), "%s=", token);
	assert_int_equal(verdict(b, bent, "sb-12345678"), TOKEN_BAD);
	close_all(b);
	open_all(b); /* the secret stays */
	assert_int_equal(verdict(b, token, "sb-12345678"), TOKEN_GOOD);
}

/* Against tokens made with libcrypto: good ones, old ones, and every trick with the header. */
static void test_forged(void **state)
{
	struct bed *b = *state;
	char claims[256], token[1024];
	uint8_t key[32];
	long long now = time(NULL);

	secret(b, "token-secret", key);
	snprintf(claims, sizeof(claims), "{\"sandbox_id\":\"a\",\"exp\":%lld}", now + 60);
	forge(key, HEAD, claims, token);
	assert_int_equal(verdict(b, token, "a"), TOKEN_GOOD);
	assert_int_equal(verdict(b, token, "b"), TOKEN_OTHER);
	forge(key, "{\"alg\":\"none\"}", claims, token);
	assert_int_equal(verdict(b, token, "a"), TOKEN_BAD);
	forge(key, "{\"typ\":\"JWT\",\"alg\":\"HS256\"}", claims, token);
	assert_int_equal(verdict(b, token, "a"), TOKEN_BAD);
	snprintf(claims, sizeof(claims), "{\"sandbox_id\":\"a\",\"exp\":%lld}", now - 1);
	forge(key, HEAD, claims, token);
	assert_int_equal(verdict(b, token, "a"), TOKEN_EXPIRED);
	forge(key, HEAD, "{\"sandbox_id\":\"a\"}", token);
	assert_int_equal(verdict(b, token, "a"), TOKEN_BAD);
	forge(key, HEAD, "{\"exp\":99999999999}", token);
	assert_int_equal(verdict(b, token, ""), TOKEN_BAD);
	forge(key, HEAD, "[]", token);
	assert_int_equal(verdict(b, token, "a"), TOKEN_BAD);
	key[0] ^= 1;
	snprintf(claims, sizeof(claims), "{\"sandbox_id\":\"a\",\"exp\":%lld}", now + 60);
	forge(key, HEAD, claims, token);
	assert_int_equal(verdict(b, token, "a"), TOKEN_BAD);
}

/* ---- signatures ---- */

/* As libcrypto has it. */
static void test_sign(void **state)
{
	struct bed *b = *state;
	static const char text[] = "opensandbox-signed-url\nsb-1\n/a b\ndownload\n1";
	unsigned char sum[EVP_MAX_MD_SIZE];
	char mine[65], right[65];
	uint8_t key[32];
	unsigned len;

	secret(b, "url-secret", key);
	HMAC(EVP_sha256(), key, 32, (const unsigned char *)text, strlen(text), sum, &len);
	for (unsigned i = 0; i < len; i++)
		snprintf(right + 2 * i, 3, "%02x", sum[i]);
	keys_sign(b->keys, text, strlen(text), mine);
	assert_string_equal(mine, right);
}

/* With a known secret: a key of 32 bytes 00..1f over "what do ya want for nothing?", as any HMAC
 * implementation gives it. And a secret that is damaged is an error, not another secret. */
static void test_known_secret(void **state)
{
	struct bed *b = *state;
	struct keys *k = NULL;
	char mine[65], why[256] = "";

	assert_int_equal(
		store_set(b->store, "url-secret",
			"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"),
		0);
	close_all(b);
	open_all(b);
	keys_sign(b->keys, "what do ya want for nothing?", 28, mine);
	assert_string_equal(mine, VECTOR);
	assert_int_equal(store_set(b->store, "url-secret", "0001"), 0);
	assert_int_equal(keys_open(&k, b->store, why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "damaged"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_key, up, down),
		cmocka_unit_test_setup_teardown(test_only_the_hash, up, down),
		cmocka_unit_test_setup_teardown(test_another_process, up, down),
		cmocka_unit_test_setup_teardown(test_unreadable, up, down),
		cmocka_unit_test_setup_teardown(test_many, up, down),
		cmocka_unit_test_setup_teardown(test_token, up, down),
		cmocka_unit_test_setup_teardown(test_forged, up, down),
		cmocka_unit_test_setup_teardown(test_sign, up, down),
		cmocka_unit_test_setup_teardown(test_known_secret, up, down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
