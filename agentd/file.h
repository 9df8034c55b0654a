/*
 * file.h - the operations of service "file". One operation is one file and one line of the table in
 * file.c; nearly all are a struct stream with a blocking function (stream.h).
 */
#pragma once

#include "agentd/service.h"

struct file_op {
	const char *name;
	/* As service.open; reads its own members from the JSON. */
	int (*open)(struct service_link *l, uint32_t channel, uint64_t window, struct json json,
		struct error *e);
};

extern const struct file_op file_read_op, file_write_op;
extern const struct file_op file_glob_op, file_grep_op, file_watch_op;
extern const struct file_op file_list_op, file_tar_op, file_untar_op;
extern const struct file_op file_batch_read_op, file_batch_write_op;
