#include "bridge/ctl_path.h"

#include <stdio.h>

void ctl_put_where(const struct ctl_options *o, struct jsonw *w, const char *path)
{
	jsonw_bytes(w, "path", path, strlen(path));
	if (o->root)
		jsonw_bytes(w, "root", o->root, strlen(o->root));
	if (o->user)
		jsonw_str(w, "user", o->user);
}

char *ctl_base_name(const char *path)
{
	size_t end = strlen(path), from;
	char *name;

	while (end > 0 && path[end - 1] == '/')
		end--;
	from = end;
	while (from > 0 && path[from - 1] != '/')
		from--;
	name = strndup(path + from, end - from);
	ASSERT(name);
	return name;
}

char *ctl_join(const char *dir, const char *name)
{
	size_t len = strlen(dir);
	const char *sep = len > 0 && dir[len - 1] != '/' ? "/" : "";
	char *path = NULL;

	ASSERT(asprintf(&path, "%s%s%s", dir, sep, name) >= 0);
	return path;
}

void ctl_print_name(const char *name)
{
	bool terminal = isatty(STDOUT_FILENO);

	for (; *name; name++) {
		unsigned char c = (unsigned char)*name;

		putchar(terminal && (c < 0x20 || c == 0x7f) ? '?' : c);
	}
}

void ctl_say_file(const char *what, const char *path, const struct error *e)
{
	const char *why = e->message;
	size_t len = strlen(path);

	/* The agent names the path, too; once is enough. */
	if (len > 0 && strncmp(why, path, len) == 0 && strncmp(why + len, ": ", 2) == 0)
		why += len + 2;
	if (!*why)
		why = e->err ? strerror(e->err) : error_code_str(e->code);
	ctl_say("cannot %s %s: %s", what, path, why);
}

void ctl_format_bytes(char *out, size_t size, uint64_t n)
{
	static const char units[] = "KMGTPE";
	double v = (double)n;
	int u = -1;

	while (v >= 1024 && units[u + 1]) {
		v /= 1024;
		u++;
	}
	if (u < 0)
		snprintf(out, size, "%llu", (unsigned long long)n);
	else
		snprintf(out, size, v < 9.95 ? "%.1f%c" : "%.0f%c", v, units[u]);
}
