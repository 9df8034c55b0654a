/*
 * Keys are few, so a check compares the candidate's hash with all of them. What is in memory is
 * renewed when another process has written to the store, which a check asks first: a key that was
 * revoked is refused from the next request on, and a new one is good at once.
 *
 * Tokens are our own and nobody else's: the first part must be the very text that we write, so
 * there is no choice of algorithm to be tricked with.
 */
#include "bridge/sandbox/keys.h"

#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <stdio.h>

#include "proto/jsonr.h"

#define KEY_PREFIX "osb_"
#define HINT_LEN   8
#define SECRET_LEN 32
#define HASH_LEN   SHA256_DIGEST_LENGTH
#define HASH_HEX   (2 * HASH_LEN + 1)
#define USED_EVERY_S                                                                               \
	3600 /* how exactly the last use of a key is remembered: each time is a write */
#define TOKEN_HEAD   "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9." /* {"alg":"HS256","typ":"JWT"} */
#define TOKEN_ISSUER "opensandbox"
#define CLAIMS_MAX   256

struct key {
	char id[16];
	uint8_t hash[HASH_LEN];
	uint64_t used_ms;
};

struct keys {
	struct store *store; /* borrowed */
	uint8_t token_secret[SECRET_LEN], url_secret[SECRET_LEN];
	struct key all[KEYS_MAX];
	size_t n;
	bool stale; /* they could not be read: nobody gets in, until they can */
};

static void random_bytes(void *out, size_t len)
{
	ASSERT(RAND_bytes(out, (int)len) == 1);
}

static void to_hex(const uint8_t *bytes, size_t len, char *out)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < len; i++) {
		out[2 * i] = digits[bytes[i] >> 4];
		out[2 * i + 1] = digits[bytes[i] & 15];
	}
	out[2 * len] = '\0';
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool from_hex(const char *hex, uint8_t *out, size_t len)
{
	if (strlen(hex) != 2 * len)
		return false;
	for (size_t i = 0; i < len; i++) {
		int high = hex_digit(hex[2 * i]), low = hex_digit(hex[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

bool keys_same(const void *a, const void *b, size_t len)
{
	return CRYPTO_memcmp(a, b, len) == 0;
}

/* ---- base64url without padding ---- */

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* Returns the length; out holds len * 4 / 3 + 3 bytes. */
static size_t to_base64(const uint8_t *in, size_t len, char *out)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i += 3) {
		uint32_t v = (uint32_t)in[i] << 16;
		size_t have = min_of(len - i, 3);

		v |= have > 1 ? (uint32_t)in[i + 1] << 8 : 0;
		v |= have > 2 ? in[i + 2] : 0;
		for (size_t k = 0; k <= have; k++)
			out[n++] = alphabet[v >> (18 - 6 * k) & 63];
	}
	out[n] = '\0';
	return n;
}

/* The length, or -EINVAL: also of what does not fit. */
static ssize_t from_base64(const char *in, size_t len, uint8_t *out, size_t size)
{
	uint32_t v = 0;
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		const char *at = in[i] ? strchr(alphabet, in[i]) : NULL;

		if (!at)
			return -EINVAL;
		v = v << 6 | (uint32_t)(at - alphabet);
		if (i % 4 == 0)
			continue;
		if (n == size)
			return -EINVAL;
		out[n++] = (uint8_t)(v >> (6 - 2 * (i % 4)));
	}
	/* One way to write a thing: no half byte left, no bits beyond the last. */
	if (len % 4 == 1 || v & (len % 4 == 2 ? 15 : len % 4 == 3 ? 3 : 0))
		return -EINVAL;
	return (ssize_t)n;
}

/* ---- opening ---- */

/* A secret of the store; made when it is not there. */
static int take_secret(struct store *store, const char *name, uint8_t secret[SECRET_LEN])
{
	auto_free char *hex = NULL;
	char made[2 * SECRET_LEN + 1];
	int r = store_get(store, name, &hex);

	if (r == 0)
		return from_hex(hex, secret, SECRET_LEN) ? 0 : -EINVAL;
	if (r != -ENOENT)
		return r;
	random_bytes(secret, SECRET_LEN);
	to_hex(secret, SECRET_LEN, made);
	return store_set(store, name, made);
}

static void on_key(void *ctx, const struct store_key *row)
{
	struct keys *k = ctx;
	struct key *key = &k->all[k->n];

	if (k->n == KEYS_MAX || strlen(row->id) >= sizeof(key->id) ||
		!from_hex(row->hash, key->hash, HASH_LEN))
		return;
	memcpy(key->id, row->id, strlen(row->id) + 1);
	key->used_ms = row->used_ms;
	k->n++;
}

int keys_reload(struct keys *k)
{
	int r;

	k->n = 0;
	r = store_each_key(k->store, on_key, k);
	k->stale = r < 0;
	return r;
}

int keys_open(struct keys **ret, struct store *store, char *why, size_t why_size)
{
	struct keys *k = xcalloc(1, sizeof(*k));
	int r;

	k->store = store;
	r = take_secret(store, "token-secret", k->token_secret);
	if (r == 0)
		r = take_secret(store, "url-secret", k->url_secret);
	if (r == 0)
		r = keys_reload(k);
	if (r < 0) {
		snprintf(why, why_size, "keys and secrets: %s",
			r == -EINVAL ? "one in the store is damaged" : store_why(store));
		keys_close(k);
		return r;
	}
	*ret = k;
	return 0;
}

void keys_close(struct keys *k)
{
	if (!k)
		return;
	OPENSSL_cleanse(k, sizeof(*k));
	free(k);
}

/* ---- API keys ---- */

bool keys_any(const struct keys *k)
{
	return k->n > 0;
}

static void make_key(char ret[KEY_LEN + 1])
{
	static const char letters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
	size_t n = strlen(KEY_PREFIX);

	memcpy(ret, KEY_PREFIX, n);
	while (n < KEY_LEN) {
		uint8_t byte;

		random_bytes(&byte, 1);
		if (byte < 4 * (sizeof(letters) - 1)) /* else some would be likelier */
			ret[n++] = letters[byte % (sizeof(letters) - 1)];
	}
	ret[n] = '\0';
}

static void hash_of(const char *key, size_t len, uint8_t hash[HASH_LEN])
{
	SHA256((const uint8_t *)key, len, hash);
}

int keys_add(struct keys *k, const char *name, char ret[KEY_LEN + 1], char ret_id[16])
{
	char hex[HASH_HEX], hint[HINT_LEN + 1];
	uint8_t hash[HASH_LEN], id[4];
	int r;

	if (k->n == KEYS_MAX)
		return -ENOSPC;
	make_key(ret);
	hash_of(ret, KEY_LEN, hash);
	to_hex(hash, HASH_LEN, hex);
	random_bytes(id, sizeof(id));
	memcpy(ret_id, "key-", sizeof("key-"));
	to_hex(id, sizeof(id), ret_id + 4);
	snprintf(hint, sizeof(hint), "%.*s", HINT_LEN, ret);
	r = store_put_key(k->store, &(struct store_key){
					    .id = ret_id,
					    .name = name,
					    .hash = hex,
					    .hint = hint,
					    .created_ms = wall_ms(),
				    });
	if (r == 0)
		keys_reload(k); /* if not now, at the next check */
	return r;
}

int keys_revoke(struct keys *k, const char *id)
{
	int r = store_drop_key(k->store, id);

	if (r == 0)
		keys_reload(k);
	return r;
}

bool keys_check(struct keys *k, const char *key, size_t len)
{
	uint8_t hash[HASH_LEN];

	if (store_changed(k->store) || k->stale)
		keys_reload(k);
	if (len != KEY_LEN || k->stale) /* perhaps revoked: nobody gets in on a guess */
		return false;
	hash_of(key, len, hash);
	for (size_t i = 0; i < k->n; i++) {
		uint64_t now = wall_ms();

		if (!keys_same(k->all[i].hash, hash, HASH_LEN))
			continue;
		if (now - k->all[i].used_ms > USED_EVERY_S * 1000) {
			k->all[i].used_ms = now;
			store_touch_key(k->store, k->all[i].id, now); /* only for people */
		}
		return true;
	}
	return false;
}

/* ---- sandbox tokens ---- */

static void mac(
	const uint8_t secret[SECRET_LEN], const void *data, size_t len, uint8_t ret[HASH_LEN])
{
	ASSERT(HMAC(EVP_sha256(), secret, SECRET_LEN, data, len, ret, NULL));
}

void token_make(const struct keys *k, const char *sandbox, char ret[TOKEN_MAX])
{
	uint64_t now = wall_ms() / 1000;
	uint8_t sum[HASH_LEN];
	char claims[CLAIMS_MAX];
	size_t n = strlen(TOKEN_HEAD);
	int len = snprintf(claims, sizeof(claims),
		"{\"iss\":\"" TOKEN_ISSUER "\",\"sandbox_id\":\"%s\",\"iat\":%llu,\"exp\":%llu}",
		sandbox, (unsigned long long)now, (unsigned long long)now + TOKEN_LIFE_S);

	ASSERT(len > 0 && (size_t)len < sizeof(claims));
	memcpy(ret, TOKEN_HEAD, n + 1);
	n += to_base64((const uint8_t *)claims, (size_t)len, ret + n);
	mac(k->token_secret, ret, n, sum);
	ret[n++] = '.';
	to_base64(sum, sizeof(sum), ret + n);
}

enum token_verdict token_check(
	const struct keys *k, const char *token, size_t len, const char *sandbox)
{
	size_t head = strlen(TOKEN_HEAD);
	uint8_t given[HASH_LEN], right[HASH_LEN], claims[CLAIMS_MAX];
	struct jsonr object, member;
	const char *dot;
	uint64_t end;
	ssize_t n;

	if (len >= TOKEN_MAX || len < head || memcmp(token, TOKEN_HEAD, head) != 0)
		return TOKEN_BAD;
	dot = memchr(token + head, '.', len - head);
	if (!dot ||
		from_base64(dot + 1, (size_t)(token + len - dot - 1), given, HASH_LEN) != HASH_LEN)
		return TOKEN_BAD;
	mac(k->token_secret, token, (size_t)(dot - token), right);
	if (!keys_same(given, right, HASH_LEN))
		return TOKEN_BAD;
	n = from_base64(token + head, (size_t)(dot - token) - head, claims, sizeof(claims));
	if (n < 0 || jsonr_parse(claims, (size_t)n, &object) < 0 ||
		!jsonr_member(object, "exp", &member) || jsonr_u64(member, UINT64_MAX, &end) < 0 ||
		!jsonr_member(object, "sandbox_id", &member))
		return TOKEN_BAD;
	if (!jsonr_is_str(member, sandbox))
		return TOKEN_OTHER;
	return end > wall_ms() / 1000 ? TOKEN_GOOD : TOKEN_EXPIRED;
}

/* ---- signed URLs ---- */

void keys_sign(const struct keys *k, const void *data, size_t len, char ret[65])
{
	uint8_t sum[HASH_LEN];

	mac(k->url_secret, data, len, sum);
	to_hex(sum, sizeof(sum), ret);
}
