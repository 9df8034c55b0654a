/* Requests read_many and write_many: small files, many at a time. What fails is told at its place
 * and does not keep the others from being done. */
#include <fcntl.h>

#include "agentd/atomic.h"
#include "agentd/file_request.h"
#include "proto/text.h"

#define SHORT_ERROR 64 /* an error without its message */

/* Reads up to size bytes; their number or -errno. */
static ssize_t read_all(int fd, uint8_t *buf, size_t size)
{
	size_t len = 0;

	while (len < size) {
		ssize_t n = read(fd, buf + len, size - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	return (ssize_t)len;
}

/* One more than `max` is asked for: the size a file says it has may be no more than a rumour. */
static ssize_t read_small(struct file_request *q, const char *path, uint8_t *buf, struct error *e)
{
	struct stat st;
	auto_close int fd = place_open_file(&q->place, path, O_RDONLY, false, &st, e);
	ssize_t n;

	if (fd < 0)
		return fd;
	n = read_all(fd, buf, q->m.max + 1);
	if (n < 0)
		return place_error(e, (int)-n, path);
	if ((uint64_t)n > q->m.max)
		return error_set(e, E_TOO_LARGE, EFBIG, "%.120s: over %llu bytes", path,
			(unsigned long long)q->m.max);
	return n;
}

static int read_all_of_them(struct file_request *q, uint8_t *buf, char *text)
{
	struct jsonw mark;
	struct error e;

	q->w.size -= 2; /* for what closes it all */
	jsonw_open(&q->w, "files", '[');
	for (size_t i = 0; i < q->m.n; i++) {
		ssize_t n = read_small(q, q->m.paths[i], buf, &e);

		if (file_request_cancelled(q))
			return file_request_fail(q, ECANCELED, "");
		mark = jsonw_mark(&q->w);
		jsonw_open(&q->w, NULL, '{');
		if (n < 0) {
			error_put(&q->w, &e);
		} else {
			base64_encode(buf, (size_t)n, text);
			jsonw_str(&q->w, "b64", text);
		}
		jsonw_close(&q->w, '}');
		if (q->w.overflow) {
			jsonw_rewind(&q->w, mark);
			break;
		}
	}
	q->w.size += 2;
	jsonw_close(&q->w, ']');
	return 0;
}

int request_read_many(struct file_request *q)
{
	uint8_t *buf = malloc(q->m.max + 1);
	char *text = malloc(BASE64_LEN(q->m.max) + 1);
	int r = buf && text ? read_all_of_them(q, buf, text) : file_request_fail(q, ENOMEM, "");

	free(buf);
	free(text);
	return r;
}

static int write_all(int fd, const uint8_t *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

static int write_small(const struct file_request *q, const struct msg_file_data *d, struct error *e)
{
	mode_t mode = d->mode == MSG_FILE_NO_MODE ? ATOMIC_MODE_KEEP : d->mode;
	struct atomic a;
	int r = place_make_parents(&q->place, d->path, 0755, false);

	if (r < 0)
		return place_error(e, -r, d->path);
	r = atomic_begin(&a, &q->place, d->path, mode, ATOMIC_REPLACE, e);
	if (r < 0)
		return r;
	r = write_all(a.fd, d->data, d->len);
	if (r == 0)
		r = atomic_commit(&a, false);
	else
		atomic_abort(&a);
	return r < 0 ? place_error(e, -r, d->path) : 0;
}

int request_write_many(struct file_request *q)
{
	struct error e;

	jsonw_open(&q->w, "files", '[');
	for (size_t i = 0; i < q->m.n; i++) {
		int r = write_small(q, &q->m.files[i], &e);

		if (file_request_cancelled(q))
			return file_request_fail(q, ECANCELED, "");
		jsonw_open(&q->w, NULL, '{');
		if (r < 0) {
			if (q->w.size - q->w.len < ERROR_JSON_MAX + (q->m.n - i) * SHORT_ERROR)
				e.message[0] = '\0'; /* or they would not all fit */
			error_put(&q->w, &e);
		}
		jsonw_close(&q->w, '}');
	}
	jsonw_close(&q->w, ']');
	return 0;
}
