/* The request remove. What is another mount is not even looked into, and ends it with EBUSY. */
#include <fcntl.h>

#include "agentd/file_request.h"
#include "agentd/tree.h"

struct removal {
	struct file_request *q;
	uint64_t removed;
};

static int visit(void *ctx, const struct tree_entry *e)
{
	struct removal *x = ctx;

	if (e->when == TREE_MOUNT)
		return -EBUSY;
	if (e->when == TREE_ENTER)
		return 0;
	if (unlinkat(e->dir, e->name, e->when == TREE_LEAVE ? AT_REMOVEDIR : 0) < 0)
		return -errno;
	x->removed++;
	return 0;
}

static bool cancelled(void *ctx)
{
	return file_request_cancelled(((struct removal *)ctx)->q);
}

static int remove_one(int dir, const char *name)
{
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		unlinkat(dir, name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0) < 0)
		return -errno;
	return 0;
}

int request_remove(struct file_request *q)
{
	struct removal x = {.q = q};
	const struct tree_config config = {.visit = visit, .cancelled = cancelled, .ctx = &x};
	auto_close int dir = -1;
	char name[256];
	int r = place_parent(&q->place, q->place.path, &dir, name);

	if (r == 0 && q->m.recursive) {
		r = tree_visit(dir, name, &config);
	} else if (r == 0) {
		r = remove_one(dir, name);
		x.removed = r == 0;
	}
	if (r < 0 && !(r == -ENOENT && q->m.missing_ok))
		return file_request_fail(q, -r, q->place.path);
	jsonw_u64(&q->w, "removed", x.removed);
	return 0;
}
