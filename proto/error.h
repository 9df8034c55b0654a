/*
 * error.h - the error codes of docs/protocol.md section 8 and their JSON. A code is for programs,
 * the message for people; both are told once, to the peer whose request failed.
 */
#pragma once

#include "base/base.h"

enum error_code {
	E_NONE,
	E_BAD_MESSAGE,
	E_UNKNOWN_TYPE,
	E_UNKNOWN_OP,
	E_UNKNOWN_SERVICE,
	E_NO_CHANNEL,
	E_CHANNEL_IN_USE,
	E_CREDIT_OVERRUN,
	E_BAD_OFFSET,
	E_NOT_INPUT,
	E_NOT_FOUND,
	E_ID_IN_USE,
	E_STILL_RUNNING,
	E_TAKEN_OVER,
	E_REMOVED,
	E_TOO_MANY,
	E_STOPPING,
	E_FAILED,
	E_NOT_OWNER,
	E_SPECIAL_FILE,
	E_TOO_LARGE,
	E_CANCELLED,
	E_LAST
};

struct error {
	enum error_code code;
	int err; /* errno, 0 when the kernel had no part in it */
	char message[200];
};

const char *error_code_str(enum error_code code);
/* E_LAST when the word is not known (a newer agent's). */
enum error_code error_code_parse(const char *word);

/* Fills *e and returns -err, or -EINVAL when err is 0: "return error_set(e, E_NOT_FOUND, 0, ...)".
 */
int error_set(struct error *e, enum error_code code, int err, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

struct jsonw;
/* The member "error":{...} of the object under writing. */
void error_put(struct jsonw *w, const struct error *e);
/* {"error":{...}} into out; returns its length. ERROR_JSON_MAX is always enough. */
#define ERROR_JSON_MAX 1600
size_t error_json(const struct error *e, char out[ERROR_JSON_MAX]);

/* "ENOENT" for 2; "E?" when unknown. strerrorname_np() exists only in newer C libraries. */
const char *errno_name(int err);
