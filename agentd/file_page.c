/*
 * The request list: one page of a directory, in order of names. Each page reads all names, and
 * keeps only those that can be on it: when twice as many as asked for have gathered, the larger
 * half goes. So a page of a directory of any size needs the memory of one page.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>

#include "agentd/file_entry.h"
#include "agentd/file_request.h"

struct page {
	char **names; /* owned, each; room for 2 * limit */
	size_t n, limit;
	bool more; /* there are names behind the page */
	const char *after;
	bool hidden;
};

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void cut(struct page *p)
{
	qsort(p->names, p->n, sizeof(*p->names), by_name);
	while (p->n > p->limit) {
		free(p->names[--p->n]);
		p->more = true;
	}
}

static int add(struct page *p, const char *name)
{
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || (name[0] == '.' && !p->hidden) ||
		(p->after && strcmp(name, p->after) <= 0))
		return 0;
	/* After the first cut the last of a full page is known. */
	if (p->more && strcmp(name, p->names[p->limit - 1]) > 0)
		return 0;
	if (p->n == 2 * p->limit)
		cut(p);
	p->names[p->n] = strdup(name);
	if (!p->names[p->n])
		return -ENOMEM;
	p->n++;
	return 0;
}

static int read_names(struct file_request *q, int fd, struct page *p)
{
	DIR *d = fdopendir(fd); /* takes fd */
	const struct dirent *e;
	int r = 0;

	if (!d)
		return -errno;
	for (unsigned i = 1; r == 0; i++) {
		errno = 0;
		e = readdir(d);
		if (!e) {
			r = -errno;
			break;
		}
		r = add(p, e->d_name);
		if (i % 4096 == 0 && file_request_cancelled(q))
			r = -ECANCELED;
	}
	closedir(d);
	if (r == 0)
		cut(p);
	return r;
}

/* As many as the frame holds; behind them there must be room for "next". */
static void put_page(struct file_request *q, int dir, const struct page *p)
{
	const char *next = p->more ? p->names[p->n - 1] : NULL;
	size_t size = q->w.size;

	q->w.size -= 6 * 256 + 64;
	jsonw_open(&q->w, "entries", '[');
	for (size_t i = 0; i < p->n; i++) {
		struct jsonw mark = jsonw_mark(&q->w);

		file_entry_at(&q->w, NULL, dir, p->names[i], false); /* or it is gone by now */
		if (q->w.overflow) {
			jsonw_rewind(&q->w, mark);
			ASSERT(i > 0);
			next = p->names[i - 1];
			break;
		}
	}
	q->w.size = size;
	jsonw_close(&q->w, ']');
	if (next)
		jsonw_bytes(&q->w, "next", next, strlen(next));
}

int request_list(struct file_request *q)
{
	struct page p = {.limit = q->m.limit, .after = q->m.after, .hidden = q->m.hidden};
	auto_close int fd = place_open(&q->place, q->place.path, O_RDONLY | O_DIRECTORY, 0);
	int names = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	int r = fd;

	if (fd >= 0) {
		p.names = calloc(2 * p.limit, sizeof(*p.names));
		r = !p.names || names < 0 ? -ENOMEM : read_names(q, take_fd(&names), &p);
	}
	if (r == 0)
		put_page(q, fd, &p);
	close_fd(&names);
	while (p.n > 0)
		free(p.names[--p.n]);
	free(p.names);
	return r < 0 ? file_request_fail(q, -r, q->place.path) : 0;
}
