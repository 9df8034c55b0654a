/*
 * msg_read.h - strict reading of JSON objects, private to the msg_*.c files: the only place where
 * cJSON types are seen. A getter leaves *ret alone when the member is absent (so defaults are set
 * beforehand) and fills the error when it is there and wrong.
 */
#pragma once

#include <cjson/cJSON.h>

#include "proto/msg.h"

/*
 * One message under reading. Strings are copied to `mem`, one block that is surely large enough: no
 * string of the message is longer decoded than encoded, and every array element costs at least two
 * bytes of JSON.
 */
struct msg_reader {
	cJSON *root;
	struct error *error;
	uint8_t *mem;
	size_t used, size;
};

/* Parses an object: UTF-8, no NUL in any string, nothing behind it. with_mem: strings and arrays
 * will be kept. */
int msg_reader_init(
	struct msg_reader *r, const uint8_t *json, size_t len, bool with_mem, struct error *e);
/* Hands the block over; afterwards only fini may be called. */
void *msg_reader_take(struct msg_reader *r);
void msg_reader_fini(struct msg_reader *r);
int msg_reader_fail(struct msg_reader *r, const char *name, const char *what);
void *msg_reader_alloc(struct msg_reader *r, size_t n); /* zeroed, 8-byte aligned */

int msg_get_u64(
	struct msg_reader *r, const cJSON *obj, const char *name, uint64_t max, uint64_t *ret);
int msg_get_i64(struct msg_reader *r, const cJSON *obj, const char *name, int64_t min, int64_t max,
	int64_t *ret);
int msg_get_int(struct msg_reader *r, const cJSON *obj, const char *name, int *ret);
int msg_get_bool(struct msg_reader *r, const cJSON *obj, const char *name, bool *ret);
/* String or {"b64":...}; never with a NUL inside. */
int msg_get_str(struct msg_reader *r, const cJSON *obj, const char *name, const char **ret);
int msg_value_str(struct msg_reader *r, const cJSON *value, const char *name, const char **ret);
/* A name as in msg_name_valid(). */
int msg_get_name(
	struct msg_reader *r, const cJSON *obj, const char *name, size_t max, const char **ret);
/* Object or NULL when absent; an error when it is something else. */
int msg_get_object(struct msg_reader *r, const cJSON *obj, const char *name, const cJSON **ret);
/* The array of strings "cmd" as one line for people; what is not text is shown as "?". */
void msg_get_cmd_line(struct msg_reader *r, const cJSON *obj, const char **ret, size_t *ret_len);
/* The top's array `name`, each element read into `size` bytes. *ret is malloc()ed, also when
 * reading one of them failed. */
typedef int (*msg_element_fn)(struct msg_reader *r, const cJSON *element, void *ret);
int msg_get_array(struct msg_reader *r, const char *name, size_t size, msg_element_fn read,
	void **ret, size_t *ret_n);
bool msg_has(const cJSON *obj, const char *name);
int msg_value_integer(const cJSON *value, int64_t min, int64_t max, int64_t *ret);

#define MSG_INT_MAX (1LL << 53)

/* Shared by OPEN and the `start` request. */
int msg_read_start(struct msg_reader *r, const cJSON *obj, struct msg_start *s);
void msg_put_start(struct jsonw *w, const struct msg_start *s);
int msg_read_end(struct msg_reader *r, const cJSON *obj, struct msg_end *m);

/* An object of variables; null removes. Names are not empty and have no '='. */
int msg_read_env(struct msg_reader *r, const cJSON *obj, const char *name, struct msg_env **ret,
	size_t *ret_n);
int msg_read_resources(struct msg_reader *r, const cJSON *obj, struct msg_resources *ret);
/* The members of a terminal's size (msg_pty.c): cols and rows must be there when `whole`. */
int msg_read_size(struct msg_reader *r, const cJSON *obj, bool whole, struct msg_size *ret);
void msg_put_size(struct jsonw *w, const struct msg_size *m);
int msg_read_pty(struct msg_reader *r, const cJSON *start, struct msg_start *s);
void msg_put_pty(struct jsonw *w, const struct msg_pty *m);
int msg_read_attach_pty(struct msg_reader *r, const cJSON *attach, struct msg_attach *a);
void msg_put_attach_pty(struct jsonw *w, const struct msg_attach *a);

struct msg_where;
/* `path`, `root`, `user` and `owner` of a file operation. */
int msg_read_where_if(
	struct msg_reader *r, const cJSON *obj, struct msg_where *w); /* path: or NULL */
int msg_read_where(struct msg_reader *r, const cJSON *obj, struct msg_where *w);
