/* cp into the guest: bytes of a file, or a directory as an archive, as fast as there is room. */
#include <fcntl.h>

#include "bridge/ctl_cp.h"

static ssize_t read_some(struct cp *x, size_t room)
{
	size_t want = min_of(room, (size_t)CP_CHUNK);
	ssize_t n;

	if (x->pack)
		return (ssize_t)local_pack_read(x->pack, x->chunk, want);
	if (x->sized)
		want = (size_t)min_of((uint64_t)want, x->size - x->moved);
	do
		n = want > 0 ? read(x->fd, x->chunk, want) : 0;
	while (n < 0 && errno == EINTR);
	return n;
}

static void feed(struct remote_file *f)
{
	struct cp *x = f->owner;

	while (!f->end && remote_file_room(f) >= CP_CHUNK) {
		ssize_t n = read_some(x, remote_file_room(f));

		if (n < 0) {
			cp_fail(x, "cannot read %s: %s", x->from, strerror(errno));
			return;
		}
		if (n == 0 && x->sized && x->moved < x->size) {
			cp_fail(x, "%s became shorter while it was read", x->from);
			return;
		}
		if (n == 0) {
			remote_file_end(f);
			return;
		}
		x->moved += (uint64_t)n;
		ctl_progress_add(&x->progress, (uint64_t)n);
		if (remote_file_send(f, x->chunk, (size_t)n) < 0) {
			cp_fail(x, "out of memory");
			return;
		}
	}
}

static void on_no_data(struct remote_file *f, uint64_t off, const uint8_t *data, size_t len)
{
	(void)off, (void)data;
	remote_file_consumed(f, len);
}

static void on_up_close(struct remote_file *f, const struct error *error)
{
	struct cp *x = f->owner;

	if (error) {
		cp_fail_remote(x, "write", x->to, error);
		return;
	}
	ctl_progress_end(&x->progress, !x->failed);
	cp_next(x);
}

static const struct remote_file_events up_events = {
	.on_data = on_no_data, .on_room = feed, .on_close = on_up_close};

static void send_dir(struct cp *x)
{
	if (!x->ctl->options.recursive) {
		cp_fail(x, "%s is a directory (-r)", x->from);
		return;
	}
	x->pack = local_pack_new(x->from, cp_complain, x);
	x->sized = false;
	x->mode = 0;
	if (!x->pack)
		cp_fail(x, "cannot read %s: %s", x->from, strerror(errno));
	else
		cp_open(x, "untar", x->to, &up_events);
}

void cp_send(struct cp *x)
{
	char *name = ctl_base_name(x->from);
	struct stat st;

	x->to = x->dst_is_dir ? ctl_join(x->dst, name) : strdup(x->dst);
	free(name);
	ASSERT(x->to);
	x->fd = open(x->from, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (x->fd < 0 || fstat(x->fd, &st) < 0) {
		cp_fail(x, "cannot read %s: %s", x->from, strerror(errno));
		return;
	}
	if (S_ISDIR(st.st_mode)) {
		close_fd(&x->fd);
		send_dir(x);
		return;
	}
	x->sized = S_ISREG(st.st_mode);
	x->mode = x->sized ? st.st_mode & 0777 : 0;
	x->size = (uint64_t)st.st_size;
	cp_open(x, "write", x->to, &up_events);
}
