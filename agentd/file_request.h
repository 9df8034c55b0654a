/*
 * file_request.h - one request "file.*" under work (docs/protocol.md section 13). It is made on the
 * loop, run on a worker with the rights of its place, answered on the loop, and freed. An operation
 * is a function and a line of the table in file_request.c.
 */
#pragma once

#include "agentd/place.h"
#include "agentd/service.h"
#include "proto/msg_file_request.h"

#define FILE_REQUESTS_MAX 200 /* at once of one link; each may hold a thread */

struct file_request {
	struct work work;
	struct reply reply;
	struct msg_file_request m;
	struct place place;
	char *out;      /* owned; the answer */
	struct jsonw w; /* its members go here */
	struct error error;
	int result;
};

/* T, all of them. 0 with the members of the answer written, or -errno with the error filled. */
typedef int (*file_request_fn)(struct file_request *q);

/* T. Should it give up? ctx: the request. */
bool file_request_cancelled(void *ctx);
/* T. Fills the error: of a path, "cancelled", "out of memory". Return -errno. */
int file_request_fail(struct file_request *q, int err, const char *path);

/* file_look.c */
int request_stat(struct file_request *q);
int request_readlink(struct file_request *q);
int request_statfs(struct file_request *q);
int request_sha256(struct file_request *q);
/* request_list.c */
int request_list(struct file_request *q);
/* request_du.c */
int request_du(struct file_request *q);
/* file_change.c */
int request_mkdir(struct file_request *q);
int request_rename(struct file_request *q);
int request_symlink(struct file_request *q);
int request_link(struct file_request *q);
int request_truncate(struct file_request *q);
int request_utimes(struct file_request *q);
/* file_rights.c */
int request_chmod(struct file_request *q);
int request_chown(struct file_request *q);
/* request_remove.c */
int request_remove(struct file_request *q);
/* request_copy.c */
int request_copy(struct file_request *q);
/* file_small.c */
int request_read_many(struct file_request *q);
int request_write_many(struct file_request *q);
