#include "agentd/file.h"

#include "proto/msg_file.h"

static const struct file_op *const ops[] = {
	&file_read_op,
	&file_write_op,
	&file_glob_op,
	&file_grep_op,
	&file_watch_op,
	&file_list_op,
	&file_tar_op,
	&file_untar_op,
	&file_batch_read_op,
	&file_batch_write_op,
};

static int file_open(struct service_link *l, uint32_t channel, const struct msg_open *m,
	struct json json, struct error *e)
{
	char name[MSG_FILE_OP_MAX];
	int r = msg_parse_file_op(json.text, json.len, name, e);

	if (r < 0)
		return r;
	for (size_t i = 0; i < array_size(ops); i++) {
		if (strcmp(ops[i]->name, name) == 0)
			return ops[i]->open(l, channel, m->window, json, e);
	}
	return error_set(e, E_UNKNOWN_OP, 0, "there is no file operation \"%s\"", name);
}

const struct service file_service = {.name = "file", .open = file_open};
