/*
 * The layer above the root is prepared with the few files that make `sandbox` a user there, so the
 * root itself is never written to. What is made twice is made the same: a box that was half made
 * is simply made again.
 */
#include "bridge/box/local.h"

#include <dirent.h>
#include <fcntl.h>
#include <fts.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#define ETC_MAX (1024 * 1024)

static int complain(char *why, size_t size, const char *what, const char *path)
{
	int err = errno;

	snprintf(why, size, "%s %s: %s", what, path, strerror(err));
	return -err;
}

/* ---- files of /etc ---- */

static const char *root_of(const struct local_host *h)
{
	return h->config->root ? h->config->root : "";
}

static const char *shell_of(const struct local_host *h)
{
	char path[BOX_PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/bin/bash", root_of(h));
	return access(path, X_OK) == 0 ? "/bin/bash" : "/bin/sh";
}

/* NUL-terminated; empty when there is none, or we may not. */
static char *read_etc(const char *root, const char *name)
{
	char path[BOX_PATH_MAX + 64];
	char *text = calloc(1, ETC_MAX + 1);
	auto_close int fd = -1;
	size_t len = 0;
	ssize_t n;

	if (!text || !name[0])
		return text;
	snprintf(path, sizeof(path), "%s/etc/%s", root, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && len < ETC_MAX && (n = read(fd, text + len, ETC_MAX - len)) > 0)
		len += (size_t)n;
	return text;
}

/* The entry of that name, or with that number in the third field. */
static bool is_ours(const char *line, size_t len, bool by_number)
{
	const char *end = line + len, *p = line;

	if (len > 8 && strncmp(line, "sandbox:", 8) == 0)
		return true;
	for (int i = 0; by_number && i < 2 && p; i++) {
		p = memchr(p, ':', (size_t)(end - p));
		p = p ? p + 1 : NULL;
	}
	return by_number && p && end - p >= 4 && strncmp(p, "1000", 4) == 0 &&
	       (end - p == 4 || p[4] == ':');
}

/* Whoever had our name or number in the root gives way; then our own entry. */
static void rewrite(const char *text, bool by_number, FILE *out, const char *entry)
{
	for (const char *line = text, *next; *line; line = next) {
		size_t len = strcspn(line, "\n");

		next = line + len + (line[len] == '\n');
		if (len > 0 && !is_ours(line, len, by_number))
			fprintf(out, "%.*s\n", (int)len, line);
	}
	fputs(entry, out);
}

struct etc {
	const char *name;
	mode_t mode;
	const char *from; /* name of the file to begin with, or NULL */
	bool by_number;
	const char *entry; /* added */
};

static int write_etc(const char *dir, const struct etc *e, const char *text, char *why, size_t size)
{
	char path[BOX_PATH_MAX + 64];
	int fd, r;
	FILE *f;

	snprintf(path, sizeof(path), "%s/upper/etc/%s", dir, e->name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, e->mode);
	if (fd < 0)
		return complain(why, size, "cannot write", path);
	f = fdopen(fd, "w");
	if (!f) {
		close(fd);
		return complain(why, size, "cannot write", path);
	}
	rewrite(text, e->by_number, f, e->entry);
	r = fflush(f) == 0 && fchmod(fd, e->mode) == 0 ? 0
						       : complain(why, size, "cannot write", path);
	fclose(f);
	return r;
}

static int make_etc(
	const struct local_host *h, const char *dir, const struct etc *e, char *why, size_t size)
{
	/* On the host this one may be a link to /run, which is another one in the sandbox. */
	bool of_host = e->from && strcmp(e->from, "resolv.conf") == 0;
	char *text = read_etc(of_host ? "" : root_of(h), e->from ? e->from : "");
	int r = text ? write_etc(dir, e, text, why, size)
		     : complain(why, size, "cannot read", "/etc");

	free(text);
	return r;
}

static bool has_etc(const struct local_host *h, const char *name, int mode)
{
	char path[BOX_PATH_MAX + 64];

	snprintf(path, sizeof(path), "%s/etc/%s", root_of(h), name);
	return access(path, mode) == 0;
}

static int make_files(
	const struct local_host *h, const char *dir, const char *id, char *why, size_t size)
{
	char user[128], host[64], name[64], sudoers[BOX_PATH_MAX + 64];
	const struct etc files[] = {
		{"passwd", 0644, "passwd", true, user},
		{"group", 0644, "group", true, "sandbox:x:1000:\n"},
		{"hosts", 0644, "hosts", false, host},
		{"resolv.conf", 0644, "resolv.conf", false, ""},
		{"hostname", 0644, NULL, false, name},
		{"shadow", 0600, "shadow", false, "sandbox:*:19000:0:99999:7:::\n"},
		{"sudoers.d/sandbox", 0440, NULL, false, "sandbox ALL=(ALL:ALL) NOPASSWD:ALL\n"},
	};
	bool shadow = has_etc(h, "shadow", R_OK), sudo = has_etc(h, "sudoers.d", F_OK);
	int r = 0;

	snprintf(user, sizeof(user), "sandbox:x:1000:1000:sandbox:/home/sandbox:%s\n", shell_of(h));
	snprintf(host, sizeof(host), "%s127.0.1.1 %s\n",
		has_etc(h, "hosts", R_OK) ? "" : "127.0.0.1 localhost\n", id);
	snprintf(name, sizeof(name), "%s\n", id);
	snprintf(sudoers, sizeof(sudoers), "%s/upper/etc/sudoers.d", dir);
	if (sudo && mkdir(sudoers, 0755) < 0 && errno != EEXIST)
		return complain(why, size, "cannot make", sudoers);
	for (size_t i = 0; r == 0 && i < array_size(files); i++) {
		if ((strcmp(files[i].name, "shadow") == 0 && !shadow) ||
			(strchr(files[i].name, '/') && !sudo))
			continue;
		r = make_etc(h, dir, &files[i], why, size);
	}
	return r;
}

/* ---- directories ---- */

/* Not taken over from the host's root: replaced, of no use, or nobody's business. */
static bool is_left_out(const char *name)
{
	static const char *const names[] = {"proc", "sys", "dev", "run", "tmp", "home", "root",
		"mnt", "media", "boot", "lost+found", "workspace"};

	for (size_t i = 0; i < array_size(names); i++) {
		if (strcmp(name, names[i]) == 0)
			return true;
	}
	return name[0] == '.' || strlen(name) >= LOCAL_LAYER_NAME || strpbrk(name, ",:\\");
}

void local_layers_find(const struct local_host *h, struct local_layers *ret)
{
	struct dirent *e;
	DIR *d;

	*ret = (struct local_layers){.n = 1};
	if (h->root || h->config->root)
		return;
	ret->n = 0;
	d = opendir("/");
	while (d && (e = readdir(d)) && ret->n < LOCAL_LAYERS_MAX) {
		struct stat st;

		if (!is_left_out(e->d_name) &&
			fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			S_ISDIR(st.st_mode) && faccessat(dirfd(d), e->d_name, R_OK | X_OK, 0) == 0)
			snprintf(ret->names[ret->n++], LOCAL_LAYER_NAME, "%.31s", e->d_name);
	}
	if (d)
		closedir(d);
}

/* bin -> usr/bin and the like. */
static void copy_links(const char *dir)
{
	char to[BOX_PATH_MAX], path[2 * BOX_PATH_MAX];
	DIR *d = opendir("/");
	struct dirent *e;

	while (d && (e = readdir(d))) {
		ssize_t n = e->d_type == DT_LNK
				    ? readlinkat(dirfd(d), e->d_name, to, sizeof(to) - 1)
				    : -1;

		if (n <= 0 || is_left_out(e->d_name))
			continue;
		to[n] = '\0';
		snprintf(path, sizeof(path), "%s/root/%s", dir, e->d_name);
		if (symlink(to, path) < 0)
			continue; /* it is there already */
	}
	if (d)
		closedir(d);
}

/* The directory above an overlay's is the one that is seen, rights included. */
static int make_layers(const struct local_host *h, const char *dir, char *why, size_t why_size)
{
	static const char *const parts[] = {"upper", "work", "root"};
	char path[BOX_PATH_MAX + 64], from[LOCAL_LAYER_NAME + 1];
	struct local_layers layers;
	struct stat st;

	local_layers_find(h, &layers);
	for (size_t i = 0; i < layers.n && layers.names[i][0]; i++) {
		snprintf(from, sizeof(from), "/%s", layers.names[i]);
		if (stat(from, &st) < 0)
			return complain(why, why_size, "cannot look at", from);
		for (size_t k = 0; k < array_size(parts); k++) {
			snprintf(path, sizeof(path), "%s/%s/%s", dir, parts[k], layers.names[i]);
			if (mkdir(path, st.st_mode | 0700) < 0 && errno != EEXIST)
				return complain(why, why_size, "cannot make", path);
		}
	}
	if (layers.n > 0 && layers.names[0][0])
		copy_links(dir);
	return 0;
}

static int make_dirs(const struct local_host *h, const char *dir, char *why, size_t why_size)
{
	static const struct {
		const char *name;
		mode_t mode;
		bool sandbox; /* belongs to the user, not to root */
	} dirs[] = {
		{"", 0700, false},
		{"/upper", 0755, false},
		{"/upper/etc", 0755, false},
		{"/work", 0700, false},
		{"/root", 0755, false},
		{"/home", 0755, false},
		{"/home/sandbox", 0755, true},
		{"/roothome", 0700, false},
		{"/tmp", 01777, false},
		{"/workspace", 0755, true},
		{"/link", 0700, false},
	};
	char path[BOX_PATH_MAX + 32];

	for (size_t i = 0; i < array_size(dirs); i++) {
		snprintf(path, sizeof(path), "%s%s", dir, dirs[i].name);
		if (mkdir(path, dirs[i].mode) < 0 && errno != EEXIST)
			return complain(why, why_size, "cannot make", path);
		if (chmod(path, dirs[i].mode) < 0 ||
			(h->root && dirs[i].sandbox && chown(path, LOCAL_UID, LOCAL_UID) < 0))
			return complain(why, why_size, "cannot change", path);
	}
	return 0;
}

static void copy_one(const struct local_host *h, const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0 || (h->root && fchown(fd, LOCAL_UID, LOCAL_UID) < 0))
		unlink(path);
	close(fd);
}

/* A home without the usual files would have no prompt and no colours. */
static void copy_skeleton(const struct local_host *h, const char *dir)
{
	static const char *const names[] = {".bashrc", ".profile"};
	char path[BOX_PATH_MAX + 64], skel[32];

	for (size_t i = 0; i < array_size(names); i++) {
		char *text;

		snprintf(skel, sizeof(skel), "skel/%s", names[i]);
		text = read_etc(root_of(h), skel);
		snprintf(path, sizeof(path), "%s/home/sandbox/%s", dir, names[i]);
		if (text && text[0])
			copy_one(h, path, text);
		free(text);
	}
}

int local_disk_make(
	const struct local_host *h, const char *dir, const char *id, char *why, size_t why_size)
{
	int r = make_dirs(h, dir, why, why_size);

	if (r == 0)
		r = make_layers(h, dir, why, why_size);
	if (r == 0)
		r = make_files(h, dir, id, why, why_size);
	if (r == 0)
		copy_skeleton(h, dir);
	return r;
}

int local_disk_remove(const char *dir)
{
	char *const paths[] = {(char *)dir, NULL};
	FTS *fts = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
	FTSENT *e;
	int r = 0;

	if (!fts)
		return -errno;
	while ((e = fts_read(fts))) {
		switch (e->fts_info) {
		case FTS_D: /* overlayfs leaves work/work without any rights */
			chmod(e->fts_accpath, 0700);
			break;
		case FTS_DP:
			if (rmdir(e->fts_accpath) < 0 && errno != ENOENT && r == 0)
				r = -errno;
			break;
		case FTS_NS: break; /* gone, or the directory above has said why */
		default:
			if (unlink(e->fts_accpath) < 0 && errno != ENOENT && r == 0)
				r = -errno;
		}
	}
	fts_close(fts);
	return r;
}
