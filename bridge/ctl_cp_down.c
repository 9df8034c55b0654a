/* cp out of the guest. */
#include <fcntl.h>

#include "bridge/ctl_cp.h"

/* ---- a file ---- */

/* Where the file is to be, behind a link that is there already. */
static int begin_whole(struct cp *x, mode_t mode)
{
	char *real = realpath(x->to, NULL);
	char *path = real ? real : strdup(x->to);
	auto_close int dir = -1;
	struct stat st;
	char *slash;
	int r;

	ASSERT(path);
	if (!real &&
		lstat(path, &st) == 0) { /* a link that leads nowhere, or not to be looked at */
		free(path);
		return -ENOENT;
	}
	slash = strrchr(path, '/');
	if (slash)
		*slash = '\0';
	dir = open(!slash ? "." : *path ? path : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = dir < 0 ? -errno : local_file_begin(&x->local, dir, slash ? slash + 1 : path, mode);
	free(path);
	return r;
}

static void begin_local(struct cp *x, mode_t mode)
{
	struct stat st;
	bool there = stat(x->to, &st) == 0;
	int r;

	if (there && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		r = local_file_direct(&x->local, x->to);
	else
		r = begin_whole(x, mode);
	if (r < 0)
		cp_fail(x, "cannot write %s: %s", x->to, strerror(-r));
}

static void on_entry(struct remote_file *f, const struct msg_file_event *m)
{
	struct cp *x = f->owner;

	if (m->kind == FILE_EVENT_DONE)
		return;
	if (m->is_file && m->size > 0) {
		x->progress.total = m->size;
		x->size = m->size;
	}
	begin_local(x, (mode_t)m->mode);
}

static int write_local(struct cp *x, const uint8_t *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(x->local.fd, data, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

static void on_file_data(struct remote_file *f, uint64_t off, const uint8_t *data, size_t len)
{
	struct cp *x = f->owner;
	int r = write_local(x, data, len);

	(void)off;
	if (r < 0) {
		cp_fail(x, "cannot write %s: %s", x->to, strerror(-r));
		return;
	}
	ctl_progress_add(&x->progress, len);
	remote_file_consumed(f, len);
}

static void on_file_close(struct remote_file *f, const struct error *error)
{
	struct cp *x = f->owner;
	int r;

	if (error) {
		cp_fail_remote(x, "read", x->from, error);
		return;
	}
	r = x->local.fd < 0 ? -EIO : local_file_commit(&x->local, NULL);
	if (r < 0) {
		cp_fail(x, "cannot write %s: %s", x->to, strerror(-r));
		return;
	}
	ctl_progress_end(&x->progress, true);
	cp_next(x);
}

static const struct remote_file_events file_events = {
	.on_data = on_file_data, .on_event = on_entry, .on_close = on_file_close};

/* ---- a directory ---- */

static void on_tar_data(struct remote_file *f, uint64_t off, const uint8_t *data, size_t len)
{
	struct cp *x = f->owner;
	struct error e;

	(void)off;
	if (local_unpack_write(x->unpack, data, len, &e) < 0) {
		cp_fail(x, "cannot unpack %s: %s", x->from, e.message);
		return;
	}
	ctl_progress_add(&x->progress, len);
	remote_file_consumed(f, len);
}

static void on_tar_close(struct remote_file *f, const struct error *error)
{
	struct cp *x = f->owner;
	struct error e;

	if (error) {
		cp_fail_remote(x, "read", x->from, error);
		return;
	}
	if (local_unpack_end(x->unpack, &e) < 0) {
		cp_fail(x, "cannot unpack %s: %s", x->from, e.message);
		return;
	}
	ctl_progress_end(&x->progress, !x->failed);
	cp_next(x);
}

static const struct remote_file_events tar_events = {
	.on_data = on_tar_data, .on_close = on_tar_close};

void cp_fetch(struct cp *x, bool is_dir)
{
	char *name = ctl_base_name(x->from);

	x->to = x->dst_is_dir ? ctl_join(x->dst, *name ? name : "root") : strdup(x->dst);
	free(name);
	ASSERT(x->to);
	x->sized = false;
	if (!is_dir) {
		cp_open(x, "read", x->from, &file_events);
	} else if (!x->ctl->options.recursive) {
		cp_fail(x, "%s is a directory (-r)", x->from);
	} else {
		x->unpack = local_unpack_new(x->to, cp_complain, x);
		if (!x->unpack)
			cp_fail(x, "cannot write %s: %s", x->to, strerror(errno));
		else
			cp_open(x, "tar", x->from, &tar_events);
	}
}
