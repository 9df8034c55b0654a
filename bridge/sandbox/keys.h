/*
 * keys.h - API keys and sandbox tokens.
 *
 * A key is "osb_" and 40 characters; the store has its SHA-256 only. Comparing is by hash, so time
 * tells nothing. A sandbox token is a JWT (HS256) with the sandbox's id and an end; the secret it
 * is signed with is made at first start and lives in the store, as does the one of signed URLs.
 */
#pragma once

#include "bridge/sandbox/store.h"

#define KEY_LEN      44
#define KEYS_MAX     1000
#define TOKEN_MAX    512
#define TOKEN_LIFE_S (24 * 3600)

struct keys;

int keys_open(struct keys **ret, struct store *store, char *why, size_t why_size);
void keys_close(struct keys *k);
bool keys_any(const struct keys *k);
/* ret gets the key itself, shown once. id: for revoking. */
int keys_add(struct keys *k, const char *name, char ret[KEY_LEN + 1], char ret_id[16]);
int keys_revoke(struct keys *k, const char *id); /* -ENOENT */
bool keys_check(struct keys *k, const char *key, size_t len);
/* Reads them anew: another process (bridge keys) may have changed them. */
int keys_reload(struct keys *k);

/* Of a sandbox, good for TOKEN_LIFE_S. */
void token_make(const struct keys *k, const char *sandbox, char ret[TOKEN_MAX]);
enum token_verdict { TOKEN_GOOD, TOKEN_BAD, TOKEN_EXPIRED, TOKEN_OTHER /* another sandbox's */ };
enum token_verdict token_check(
	const struct keys *k, const char *token, size_t len, const char *sandbox);

/* HMAC-SHA256 as lower-case hex, with the secret of signed URLs. */
void keys_sign(const struct keys *k, const void *data, size_t len, char ret[65]);
/* In constant time. */
bool keys_same(const void *a, const void *b, size_t len);
