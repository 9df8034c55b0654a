/* Files as the API has always had them: read, write, list, make and remove. */
#include "bridge/api/file_ask.h"
#include "bridge/api/file_down.h"
#include "bridge/api/file_list.h"
#include "bridge/api/file_up.h"
#include "bridge/api/route.h"

static void read_file(struct call *c)
{
	char *path = file_path(c);

	if (path)
		file_down(c, path, false);
}

static void write_file(struct call *c)
{
	auto_free char *path = file_path(c);

	if (path)
		file_up(c, path);
}

/* Of a missing path nothing is left either. */
static void remove_file(struct call *c)
{
	auto_free char *path = file_path(c);
	char message[FILE_MESSAGE];
	struct jsonw w;

	if (!path)
		return;
	file_request(&w, message, "file.remove", path);
	jsonw_bool(&w, "recursive", true);
	jsonw_bool(&w, "missing_ok", true);
	file_ask_call(c, &w, NULL);
}

static void make_directory(struct call *c)
{
	auto_free char *path = file_path(c);
	char message[FILE_MESSAGE];
	struct jsonw w;

	if (!path)
		return;
	file_request(&w, message, "file.mkdir", path);
	jsonw_bool(&w, "parents", true);
	file_ask_call(c, &w, NULL);
}

static void list_files(struct call *c)
{
	char *path = file_path_or(c, "/");

	if (path)
		file_list(c, path);
}

#define DATA (R_SANDBOX | R_DATA | R_TOKEN)

const struct route routes_files[] = {
	{CALL_GET, "/sandboxes/:id/files", DATA, read_file, "readFile"},
	{CALL_PUT, "/sandboxes/:id/files", DATA | R_STREAM, write_file, "writeFile"},
	{CALL_DELETE, "/sandboxes/:id/files", DATA, remove_file, "removeFile"},
	{CALL_GET, "/sandboxes/:id/files/list", DATA, list_files, "listFiles"},
	{CALL_POST, "/sandboxes/:id/files/mkdir", DATA, make_directory, "makeDirectory"},
	{.handle = NULL},
};
