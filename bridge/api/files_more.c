/* What the API did not have: a file's particulars, changes to it, watch, search, archives. */
#include <stdio.h>

#include "bridge/api/fields.h"
#include "bridge/api/file_ask.h"
#include "bridge/api/file_entry.h"
#include "bridge/api/file_search.h"
#include "bridge/api/file_tar.h"
#include "bridge/api/file_watch.h"
#include "bridge/api/route.h"

#define MODE_MAX 07777
#define ID_MAX   (UINT32_MAX - 1)

/* ---- stat ---- */

static void on_stat(struct file_ask *a, const uint8_t *json, size_t len)
{
	auto_free char *path = file_path(a->call);
	struct msg_file_entry m;
	struct error e;
	struct text t;

	if (!path)
		return;
	if (msg_parse_file_entry(json, len, &m, &e) < 0) {
		call_error(a->call, 502, "the agent's answer cannot be read");
		return;
	}
	text_init(&t);
	text_open(&t, NULL, '{');
	file_entry_put(&t, &m, NULL, 0);
	file_bytes_put(&t, "path", path);
	text_int(&t, "links", (int64_t)m.nlink);
	text_int(&t, "allocated", (int64_t)m.blocks * 512);
	text_close(&t, '}');
	msg_file_entry_fini(&m);
	text_reply(&t, a->call, 200);
}

static void stat_file(struct call *c)
{
	auto_free char *path = file_path(c);
	char message[FILE_MESSAGE];
	bool follow = true;
	struct jsonw w;

	if (!path || !file_flag(c, "follow", &follow))
		return;
	file_request(&w, message, "file.stat", path);
	jsonw_bool(&w, "follow", follow);
	file_ask_call(c, &w, on_stat);
}

/* ---- from one name to another ---- */

static void rename_file(struct call *c)
{
	auto_free char *path = file_path_field(c, "path", NULL);
	auto_free char *to = path ? file_path_field(c, "to", NULL) : NULL;
	char message[FILE_MESSAGE];
	bool replace = true;
	struct jsonw w;

	if (!to || !field_bool(c, "replace", &replace))
		return;
	file_request(&w, message, "file.rename", path);
	file_member(&w, "to", to);
	jsonw_bool(&w, "replace", replace);
	file_ask_call(c, &w, NULL);
}

static void on_copied(struct file_ask *a, const uint8_t *json, size_t len)
{
	struct jsonr told;
	struct text t;

	text_init(&t);
	text_open(&t, NULL, '{');
	if (jsonr_parse(json, len, &told) == 0)
		file_members_put(&t, told);
	text_close(&t, '}');
	text_reply(&t, a->call, 200);
}

static void copy_file(struct call *c)
{
	auto_free char *path = file_path_field(c, "path", NULL);
	auto_free char *to = path ? file_path_field(c, "to", NULL) : NULL;
	bool replace = true, recursive = false;
	char message[FILE_MESSAGE];
	struct jsonw w;

	if (!to || !field_bool(c, "replace", &replace) || !field_bool(c, "recursive", &recursive))
		return;
	file_request(&w, message, "file.copy", path);
	file_member(&w, "to", to);
	jsonw_bool(&w, "replace", replace);
	jsonw_bool(&w, "recursive", recursive);
	file_ask_call(c, &w, on_copied);
}

/* ---- mode and owner ---- */

/* As people write it, "0755", or the number itself. */
static bool read_mode(struct call *c, int64_t *ret)
{
	auto_free char *text = NULL;
	struct jsonr value;
	char *end;

	if (!jsonr_member(c->body, "mode", &value) || !jsonr_is(value, '"'))
		return field_int(c, "mode", 0, MODE_MAX, ret);
	if (!field_str(c, "mode", 8, &text))
		return false;
	*ret = *text >= '0' && *text <= '7' ? strtol(text, &end, 8) : -1;
	if (*ret >= 0 && *ret <= MODE_MAX && !*end)
		return true;
	call_error(c, 400, "mode must be octal digits, at most 7777");
	return false;
}

static void change_mode(struct call *c)
{
	auto_free char *path = file_path_field(c, "path", NULL);
	char message[FILE_MESSAGE];
	bool recursive = false;
	int64_t mode = -1;
	struct jsonw w;

	if (!path || !read_mode(c, &mode) || !field_bool(c, "recursive", &recursive))
		return;
	if (mode < 0) {
		call_error(c, 400, "mode is required");
		return;
	}
	file_request(&w, message, "file.chmod", path);
	jsonw_u64(&w, "mode", (uint64_t)mode);
	jsonw_bool(&w, "recursive", recursive);
	file_ask_call(c, &w, NULL);
}

static void change_owner(struct call *c)
{
	auto_free char *path = file_path_field(c, "path", NULL);
	bool recursive = false, follow = true;
	int64_t uid = -1, gid = -1;
	char message[FILE_MESSAGE];
	struct jsonw w;

	if (!path || !field_int(c, "uid", 0, ID_MAX, &uid) ||
		!field_int(c, "gid", 0, ID_MAX, &gid) || !field_bool(c, "recursive", &recursive) ||
		!field_bool(c, "follow", &follow))
		return;
	if (uid < 0 && gid < 0) {
		call_error(c, 400, "uid or gid is required");
		return;
	}
	file_request(&w, message, "file.chown", path);
	if (uid >= 0)
		jsonw_int(&w, "uid", uid);
	if (gid >= 0)
		jsonw_int(&w, "gid", gid);
	jsonw_bool(&w, "recursive", recursive);
	jsonw_bool(&w, "follow", follow);
	file_ask_call(c, &w, NULL);
}

#define DATA (R_SANDBOX | R_DATA | R_TOKEN)

const struct route routes_files_more[] = {
	{CALL_GET, "/sandboxes/:id/files/stat", DATA, stat_file, "statFile"},
	{CALL_POST, "/sandboxes/:id/files/rename", DATA | R_JSON, rename_file, "renameFile"},
	{CALL_POST, "/sandboxes/:id/files/copy", DATA | R_JSON, copy_file, "copyFile"},
	{CALL_POST, "/sandboxes/:id/files/chmod", DATA | R_JSON, change_mode, "chmodFile"},
	{CALL_POST, "/sandboxes/:id/files/chown", DATA | R_JSON, change_owner, "chownFile"},
	{CALL_GET, "/sandboxes/:id/files/watch", DATA | R_SOCKET | R_EITHER, file_watch,
		"watchFiles"},
	{CALL_POST, "/sandboxes/:id/files/search", DATA | R_JSON, file_search, "searchFiles"},
	{CALL_POST, "/sandboxes/:id/files/glob", DATA | R_JSON, file_glob, "globFiles"},
	{CALL_GET, "/sandboxes/:id/files/tar", DATA, file_tar_down, "readTar"},
	{CALL_PUT, "/sandboxes/:id/files/tar", DATA | R_STREAM, file_tar_up, "writeTar"},
	{.handle = NULL},
};
