/* A directory into an archive: fts(3) walks, one file is open at a time. */
#include <fcntl.h>
#include <fts.h>
#include <limits.h>
#include <sys/sysmacros.h>

#include "bridge/local_tree.h"

struct local_pack {
	FTS *fts;
	FTSENT *first; /* read at once: fts_close() of what was never read leaks */
	size_t prefix; /* of fts's paths, which the archive does not have */
	local_tree_fn complain;
	void *ctx;
	int fd;     /* of the file under way; owned */
	char *path; /* its name; owned */
	uint64_t left;
	size_t padding;
	bool cut; /* it became shorter: zeros make up for it */
	bool over;
};

struct local_pack *local_pack_new(const char *dir, local_tree_fn complain, void *ctx)
{
	char *const paths[] = {(char *)dir, NULL};
	struct local_pack *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->fd = -1;
	p->prefix = strlen(dir);
	while (p->prefix > 1 && dir[p->prefix - 1] == '/')
		p->prefix--;
	p->complain = complain;
	p->ctx = ctx;
	p->fts = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR | FTS_COMFOLLOW, NULL);
	if (!p->fts) {
		free(p);
		return NULL;
	}
	p->first = fts_read(p->fts);
	return p;
}

void local_pack_free(struct local_pack *p)
{
	if (!p)
		return;
	fts_close(p->fts);
	close_fd(&p->fd);
	free(p->path);
	free(p);
}

static const char *name_of(const struct local_pack *p, const FTSENT *f)
{
	const char *name = f->fts_path + min_of(p->prefix, (size_t)f->fts_pathlen);

	name += strspn(name, "/");
	return *name ? name : ".";
}

static size_t put_head(struct local_pack *p, const FTSENT *f, struct tar_entry *e, uint8_t *out)
{
	const struct stat *st = f->fts_statp;

	e->path = name_of(p, f);
	if (!e->link)
		e->link = "";
	if (strlen(e->path) > TAR_NAME_MAX) {
		p->complain(p->ctx, f->fts_path, "its name is too long");
		return 0;
	}
	e->mode = st->st_mode & 07777;
	e->uid = st->st_uid;
	e->gid = st->st_gid;
	e->mtime = st->st_mtim.tv_sec;
	e->mtime_ns = (uint32_t)st->st_mtim.tv_nsec;
	return tar_head(e, out);
}

static size_t put_file(struct local_pack *p, const FTSENT *f, uint8_t *out)
{
	struct tar_entry e = {.type = TAR_FILE, .size = (uint64_t)f->fts_statp->st_size};
	auto_close int fd = open(f->fts_accpath, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	size_t n;

	if (fd < 0) {
		p->complain(p->ctx, f->fts_path, strerror(errno));
		return 0;
	}
	n = put_head(p, f, &e, out);
	if (n == 0)
		return 0;
	p->fd = take_fd(&fd);
	free(p->path);
	p->path = strdup(f->fts_path);
	p->left = e.size;
	p->padding = tar_padding(e.size);
	p->cut = false;
	return n;
}

static size_t put_link(struct local_pack *p, const FTSENT *f, uint8_t *out)
{
	char target[TAR_NAME_MAX + 1];
	struct tar_entry e = {.type = TAR_SYMLINK, .link = target};
	ssize_t n = readlink(f->fts_accpath, target, sizeof(target) - 1);

	if (n < 0) {
		p->complain(p->ctx, f->fts_path, strerror(errno));
		return 0;
	}
	target[n] = '\0';
	return put_head(p, f, &e, out);
}

static size_t put_entry(struct local_pack *p, const FTSENT *f, uint8_t *out)
{
	struct tar_entry dir = {.type = TAR_DIR}, fifo = {.type = TAR_FIFO};

	switch (f->fts_info) {
	case FTS_DP: return 0;
	case FTS_D: return put_head(p, f, &dir, out);
	case FTS_F: return put_file(p, f, out);
	case FTS_SL:
	case FTS_SLNONE: return put_link(p, f, out);
	case FTS_DNR:
	case FTS_ERR:
	case FTS_NS: p->complain(p->ctx, f->fts_path, strerror(f->fts_errno)); return 0;
	default:
		if (S_ISFIFO(f->fts_statp->st_mode))
			return put_head(p, f, &fifo, out);
		p->complain(p->ctx, f->fts_path, "a socket or device");
		return 0;
	}
}

/* Bytes of the file under way; those that are gone are zeros, as their number was said. */
static size_t put_data(struct local_pack *p, uint8_t *out, size_t size)
{
	size_t want = (size_t)min_of(p->left, (uint64_t)size);
	ssize_t n = p->cut ? 0 : read(p->fd, out, want);

	if (n <= 0) {
		if (!p->cut)
			p->complain(p->ctx, p->path ? p->path : "",
				n < 0 ? strerror(errno) : "it became shorter while it was read");
		p->cut = true;
		memset(out, 0, want);
		n = (ssize_t)want;
	}
	p->left -= (uint64_t)n;
	return (size_t)n;
}

static size_t put_some(struct local_pack *p, uint8_t *out, size_t size)
{
	const FTSENT *f;
	size_t n;

	if (p->left > 0)
		return put_data(p, out, size);
	close_fd(&p->fd);
	if (p->padding > 0) {
		n = p->padding;
		p->padding = 0;
		memset(out, 0, n);
		return n;
	}
	f = p->first ? take_ptr(&p->first) : fts_read(p->fts);
	if (f)
		return put_entry(p, f, out);
	p->over = true;
	memset(out, 0, TAR_END_BLOCK);
	return TAR_END_BLOCK;
}

size_t local_pack_read(struct local_pack *p, uint8_t *out, size_t size)
{
	size_t n = 0;

	while (!p->over && size - n >= LOCAL_PACK_MIN)
		n += put_some(p, out + n, size - n);
	return n;
}
