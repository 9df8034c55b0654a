/*
 * fuzz_token.c - what a client gives as a token or a key. As it is, nothing but what we made is
 * good. Signed with our own secret, as if it were the claims of a token: read without harm, and
 * good only when it names the sandbox.
 */
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>

#include "bridge/sandbox/keys.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define HEAD    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
#define SANDBOX "sb-12345678"

static struct keys *keys;
static uint8_t secret[32];
static char token[TOKEN_MAX], key[KEY_LEN + 1];

/* For the life of the process; its files are gone at once. */
static void begin(void)
{
	char dir[] = "/tmp/fuzz-token-XXXXXX", path[64], why[256], id[16], *hex = NULL;
	struct store *store;

	ASSERT(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/db", dir);
	ASSERT(store_open(path, &store, why, sizeof(why)) == 0);
	ASSERT(keys_open(&keys, store, why, sizeof(why)) == 0);
	ASSERT(keys_add(keys, "fuzz", key, id) == 0);
	ASSERT(store_get(store, "token-secret", &hex) == 0);
	for (int i = 0; i < 32; i++) {
		unsigned v;

		ASSERT(sscanf(hex + 2 * i, "%2x", &v) == 1);
		secret[i] = (uint8_t)v;
	}
	free(hex);
	token_make(keys, SANDBOX, token);
	for (int i = 0; i < 3; i++) {
		static const char *const ends[] = {"", "-wal", "-shm"};

		snprintf(path, sizeof(path), "%s/db%s", dir, ends[i]);
		unlink(path);
	}
	rmdir(dir);
}

static size_t encode(const uint8_t *in, size_t len, char *out)
{
	size_t n = (size_t)EVP_EncodeBlock((unsigned char *)out, in, (int)len);

	while (n > 0 && out[n - 1] == '=')
		n--;
	for (size_t i = 0; i < n; i++)
		out[i] = out[i] == '+' ? '-' : out[i] == '/' ? '_' : out[i];
	return n;
}

static void as_claims(const uint8_t *data, size_t len)
{
	uint8_t sum[EVP_MAX_MD_SIZE];
	char text[1024] = HEAD;
	size_t n = strlen(HEAD);
	unsigned sum_len;

	if (len > 500)
		return;
	n += encode(data, len, text + n);
	HMAC(EVP_sha256(), secret, sizeof(secret), (const uint8_t *)text, n, sum, &sum_len);
	text[n++] = '.';
	n += encode(sum, sum_len, text + n);
	if (token_check(keys, text, n, SANDBOX) == TOKEN_GOOD)
		ASSERT(memmem(data, len, SANDBOX, strlen(SANDBOX)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const char *text = (const char *)data;

	if (!keys)
		begin();
	if (token_check(keys, text, len, SANDBOX) == TOKEN_GOOD)
		ASSERT(len == strlen(token) && memcmp(text, token, len) == 0);
	if (keys_check(keys, text, len))
		ASSERT(len == KEY_LEN && memcmp(text, key, len) == 0);
	as_claims(data, len);
	return 0;
}
