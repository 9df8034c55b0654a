#include "agentd/file_data.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#define STEP  (8 * MIB) /* between two looks at whether anybody still wants it */
#define CHUNK (256 * KIB)

struct copy {
	int from, to;
	bool (*cancelled)(void *ctx);
	void *ctx;
	uint64_t *bytes;
	bool plain;   /* copy_file_range cannot do it */
	uint8_t *buf; /* owned; for plain */
};

static int write_at(int fd, const uint8_t *data, size_t len, off_t at)
{
	while (len > 0) {
		ssize_t n = pwrite(fd, data, len, at);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			data += n;
			at += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

/* Up to len bytes at `at`; how many, 0 at the end. */
static ssize_t copy_plain(struct copy *c, off_t at, size_t len)
{
	ssize_t n;
	int r;

	if (!c->buf)
		c->buf = malloc(CHUNK);
	if (!c->buf)
		return -ENOMEM;
	do
		n = pread(c->from, c->buf, min_of(len, (size_t)CHUNK), at);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n < 0 ? -errno : 0;
	r = write_at(c->to, c->buf, (size_t)n, at);
	return r < 0 ? r : n;
}

static ssize_t copy_some(struct copy *c, off_t at, size_t len)
{
	loff_t in = at, out = at;
	ssize_t n;

	if (c->plain)
		return copy_plain(c, at, len);
	n = syscall(SYS_copy_file_range, c->from, &in, c->to, &out, len, 0);
	if (n > 0)
		return n;
	if (n < 0 && (errno == ENOSPC || errno == EDQUOT || errno == EIO || errno == EFBIG))
		return -errno;
	/* Two file systems that cannot, or a file whose end the kernel does not know (0). */
	c->plain = true;
	return copy_plain(c, at, len);
}

/* A run of data, up to `end`. *at: where it really ended. */
static int copy_run(struct copy *c, off_t *at, off_t end)
{
	while (*at < end) {
		ssize_t n = copy_some(c, *at, (size_t)min_of(end - *at, (off_t)STEP));

		if (n <= 0)
			return (int)n;
		*at += n;
		*c->bytes += (uint64_t)n;
		if (c->cancelled(c->ctx))
			return -ECANCELED;
	}
	return 0;
}

static int copy_runs(struct copy *c, off_t size)
{
	off_t at = 0;

	while (at < size) {
		off_t data = lseek(c->from, at, SEEK_DATA), hole = size;

		if (data < 0 && errno == ENXIO)
			break; /* nothing but a hole */
		if (data < 0)
			data = at;
		else
			hole = lseek(c->from, data, SEEK_HOLE);
		if (hole < 0 || hole > size)
			hole = size;
		at = data;
		while (at < hole) {
			off_t before = at;
			int r = copy_run(c, &at, hole);

			if (r < 0)
				return r;
			if (at == before)
				return 0; /* it became shorter meanwhile */
		}
	}
	return ftruncate(c->to, size) < 0 ? -errno : 0;
}

/* What says it has no bytes may have them nevertheless (/proc). */
static int copy_to_end(struct copy *c)
{
	off_t at = 0;

	c->plain = true;
	return copy_run(c, &at, INT64_MAX);
}

int file_data_copy(int from, int to, const struct stat *st, bool (*cancelled)(void *ctx), void *ctx,
	uint64_t *bytes)
{
	struct copy c = {
		.from = from, .to = to, .cancelled = cancelled, .ctx = ctx, .bytes = bytes};
	int r;

	if (st->st_size > 0 && ioctl(to, FICLONE, from) == 0) {
		*bytes += (uint64_t)st->st_size;
		return 0;
	}
	r = st->st_size > 0 ? copy_runs(&c, st->st_size) : copy_to_end(&c);
	free(c.buf);
	return r;
}
