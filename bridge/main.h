/*
 * main.h - the parts of the bridge's program. What they find wrong they print or log themselves.
 */
#pragma once

#include "bridge/api/config.h"

/* ---- main_state.c: the state directory ---- */

/* Makes it where it is not and leaves its absolute path in c. */
int state_open(struct config *c, char *why, size_t why_size);
/* For as long as the descriptor is open nobody else gets it: two bridges never share a directory.
 */
int state_lock(const char *dir, int *ret_fd, char *why, size_t why_size);
/* At first start, and when there is no key at all: makes one and leaves it in the file "api-key".
 */
int state_first_key(
	const char *dir, struct store *store, struct keys *keys, char *why, size_t why_size);

/* ---- main_keys.c, main_guests.c ---- */

/* "bridge keys ...": argv[0] is what follows "keys". The exit code. */
int keys_command(struct config *c, int argc, char **argv);
/* Registers the guests of a file; each is logged when it is linked, or why not. */
int guests_register(struct bridge *b, const char *path, char *why, size_t why_size);
/* Answers that are still out are not wanted any more. */
void guests_forget(void);
