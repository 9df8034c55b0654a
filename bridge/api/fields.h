/*
 * fields.h - members of a JSON request body, checked. A getter leaves *ret alone when the member is
 * absent or null, and answers 400 with a sentence that names the member when it is wrong: then it
 * returns false and the handler only returns.
 *
 *	if (!field_str(c, "cwd", PATH_MAX, &cwd) || !field_u64(c, "timeout", MAX, &timeout))
 *		return;
 */
#pragma once

#include "bridge/api/call.h"

/* For free(). At most max bytes, no NUL. */
bool field_str(struct call *c, const char *name, size_t max, char **ret);
bool field_int(struct call *c, const char *name, int64_t min, int64_t max, int64_t *ret);
bool field_bool(struct call *c, const char *name, bool *ret);
/* Any value of that kind ('{' or '['), as it was written: valid as long as c->body. */
bool field_raw(struct call *c, const char *name, char bracket, struct jsonr *ret);
/* An array of strings as a NULL-terminated vector, in one block for free(). */
bool field_strs(struct call *c, const char *name, size_t max_n, char ***ret, size_t *ret_n);
/* An object of strings: "NAME", "value", "NAME2", ... NULL; one block for free(). n is of pairs. */
bool field_map(struct call *c, const char *name, size_t max_n, char ***ret, size_t *ret_n);
/* The same of a value that is at hand. NULL when it is not of that form. */
char **fields_map_of(struct jsonr object, size_t max_n, size_t *ret_n);
