#include "agentd/search_walk.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/syscall.h>

#define DIR_BUF (32 * 1024)

struct pending {
	struct pending *next;
	struct ignore *rules; /* counted */
	size_t len;
	char path[];
};

struct walk {
	const struct search_walk *w;
	int top;
	struct pending *stack;
	size_t stack_bytes;
	char path[PATH_MAX + 256]; /* of the directory under way, and behind it each name */
	size_t len;
	char *buf; /* of names; and of ignore files, before them */
};

/* Record of getdents64(2). */
struct name {
	uint64_t ino;
	int64_t off;
	uint16_t reclen;
	uint8_t type;
	char name[];
};

/* ---- pending directories ---- */

static int push(struct walk *k, const char *path, size_t len, struct ignore *rules)
{
	struct pending *p;

	if (k->stack_bytes + len > SEARCH_PENDING_MAX)
		return -ENOMEM;
	p = malloc(sizeof(*p) + len + 1);
	if (!p)
		return -ENOMEM;
	*p = (struct pending){.next = k->stack, .rules = ignore_ref(rules), .len = len};
	memcpy(p->path, path, len);
	p->path[len] = '\0';
	k->stack = p;
	k->stack_bytes += len + sizeof(*p);
	return 0;
}

static struct pending *pop(struct walk *k)
{
	struct pending *p = k->stack;

	if (p) {
		k->stack = p->next;
		k->stack_bytes -= p->len + sizeof(*p);
	}
	return p;
}

static void drop(struct pending *p)
{
	ignore_unref(p->rules);
	free(p);
}

/* ---- ignore files ---- */

/* Adds the rules of one file to the chain; no file, no change. */
static struct ignore *add_file(
	struct walk *k, struct ignore *up, int fd, const char *base, bool above)
{
	auto_free char *text = NULL;
	size_t len = 0, size = 4096;
	ssize_t n = -1;

	if (fd < 0)
		return up;
	text = malloc(size);
	while (text && (n = read(fd, text + len, size - len)) > 0) {
		char *larger;

		len += (size_t)n;
		if (len < size)
			continue;
		if (size >= IGNORE_FILE_MAX)
			break;
		larger = realloc(text, size *= 4);
		if (!larger)
			break;
		text = larger;
	}
	close(fd);
	if (len == 0)
		return up;
	up = ignore_new(up, base, above, text, len);
	if (!up)
		k->w->failed(k->w->ctx, base, ENOMEM);
	return up;
}

static int open_rules(int dir, const char *name)
{
	return openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static struct ignore *add_dir(
	struct walk *k, struct ignore *up, int dir, const char *base, bool above)
{
	up = add_file(k, up, open_rules(dir, ".git/info/exclude"), base, above);
	up = add_file(k, up, open_rules(dir, ".gitignore"), base, above);
	return add_file(k, up, open_rules(dir, ".ignore"), base, above);
}

/* The directory that holds the last component of path[0..len): its length, or 0 when there is none
 * (what is relative ends in "."). */
static size_t upper(const char *path, size_t len)
{
	while (len > 0 && path[len - 1] != '/')
		len--;
	while (len > 1 && path[len - 1] == '/')
		len--;
	return len;
}

static int open_upper(const struct walk *k, size_t len)
{
	char dir[PATH_MAX];

	snprintf(dir, sizeof(dir), "%.*s", len ? (int)len : 1, len ? k->w->place->path : ".");
	return place_open(k->w->place, dir, O_RDONLY | O_DIRECTORY, 0);
}

/* The rules of the directories above the top, as far up as its repository goes. */
static struct ignore *rules_above(struct walk *k)
{
	const char *path = k->w->place->path;
	size_t below = strlen(path), len, ends[64], n = 0;
	bool found = faccessat(k->top, ".git", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	struct ignore *rules = NULL;

	/* What has dots in it is not cut up: it may not mean what it says. */
	if (found || strstr(path, "..") || strcmp(path, ".") == 0)
		return NULL;
	while (below > 1 && path[below - 1] == '/')
		below--;
	for (len = below; !found && n < array_size(ends) && len > 0 && (len > 1 || *path != '/');) {
		auto_close int fd = -1;

		len = upper(path, len);
		ends[n++] = len;
		fd = open_upper(k, len);
		found = fd >= 0 && faccessat(fd, ".git", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	}
	while (found && n-- > 0) {
		auto_close int fd = open_upper(k, ends[n]);
		size_t skip = ends[n];
		char base[PATH_MAX];

		while (path[skip] == '/')
			skip++;
		snprintf(base, sizeof(base), "%.*s", (int)(below - skip), path + skip);
		if (fd >= 0)
			rules = add_dir(k, rules, fd, base, true);
	}
	return rules;
}

/* ---- directories ---- */

static uint8_t type_of(int dir, const struct name *n)
{
	struct stat st;

	if (n->type != DT_UNKNOWN)
		return n->type;
	return fstatat(dir, n->name, &st, AT_SYMLINK_NOFOLLOW) < 0 ? DT_UNKNOWN
								   : IFTODT(st.st_mode);
}

static bool left_out(
	struct walk *k, struct ignore *rules, const struct name *n, size_t len, bool is_dir)
{
	const char *name = n->name;

	if (name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]) || !k->w->hidden))
		return true;
	if (!k->w->ignore)
		return false;
	return strcmp(name, ".git") == 0 || ignore_match(rules, k->path, len, is_dir) == 1;
}

static int visit_name(struct walk *k, int dir, const struct name *n, struct ignore *rules)
{
	size_t name_len = strlen(n->name), len = k->len + name_len;
	uint8_t type = type_of(dir, n);
	struct search_entry e;
	int r;

	if (len > PATH_MAX)
		return 0; /* its directory could hardly be opened */
	memcpy(k->path + k->len, n->name, name_len + 1);
	if (left_out(k, rules, n, len, type == DT_DIR))
		return 0;
	e = (struct search_entry){dir, n->name, k->path, len, type};
	r = k->w->visit(k->w->ctx, &e);
	if (r == SEARCH_SKIP)
		return 0;
	if (r == 0 && type == DT_DIR && push(k, k->path, len, rules) < 0)
		k->w->failed(k->w->ctx, k->path, ENOMEM);
	return r;
}

static int visit_names(struct walk *k, int dir, struct ignore *rules)
{
	long n;

	while ((n = syscall(SYS_getdents64, dir, k->buf, DIR_BUF)) > 0) {
		for (long at = 0; at < n;) {
			const struct name *name = (const void *)(k->buf + at);
			int r = visit_name(k, dir, name, rules);

			if (r < 0)
				return r;
			at += name->reclen;
		}
		if (k->w->cancelled(k->w->ctx))
			return -ECANCELED;
	}
	if (n < 0) {
		int err = errno;

		k->path[k->len ? k->len - 1 : 0] = '\0';
		k->w->failed(k->w->ctx, k->path, err);
	}
	return 0;
}

static int open_below(const struct walk *k, const char *path)
{
	struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
	int fd;

	if (!*path)
		return fcntl(k->top, F_DUPFD_CLOEXEC, 0);
	if (k->w->same_fs)
		how.resolve |= RESOLVE_NO_XDEV;
	fd = (int)syscall(SYS_openat2, k->top, path, &how, sizeof(how));
	if (fd < 0 && errno == ENOSYS && !k->w->place->root && !k->w->same_fs)
		fd = openat(k->top, path, (int)how.flags);
	return fd;
}

static int visit_dir(struct walk *k, struct pending *p)
{
	auto_close int dir = open_below(k, p->path);
	int r;

	if (dir < 0) {
		if (errno != ENOENT && !(errno == EXDEV && k->w->same_fs))
			k->w->failed(k->w->ctx, p->path, errno);
		return 0;
	}
	memcpy(k->path, p->path, p->len + 1);
	k->len = p->len;
	if (k->w->ignore)
		p->rules = add_dir(k, p->rules, dir, k->path, false);
	if (k->len > 0)
		k->path[k->len++] = '/';
	r = visit_names(k, dir, p->rules);
	return r < 0 ? r : k->w->cancelled(k->w->ctx) ? -ECANCELED : 0;
}

int search_walk(const struct search_walk *w, int top)
{
	struct walk *k = malloc(sizeof(*k));
	struct ignore *rules = NULL;
	struct pending *p;
	int r = -ENOMEM;

	if (!k)
		return -ENOMEM;
	*k = (struct walk){.w = w, .top = top, .buf = malloc(DIR_BUF)};
	if (k->buf) {
		if (w->ignore)
			rules = rules_above(k);
		r = push(k, "", 0, rules);
		ignore_unref(rules);
	}
	while ((p = pop(k))) {
		if (r == 0)
			r = visit_dir(k, p);
		drop(p);
	}
	free(k->buf);
	free(k);
	return r;
}
