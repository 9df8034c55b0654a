/*
 * external - a guest that somebody else started and will end. We know its address and token, and
 * keep them in one file; whether anybody is there shows when it is dialled.
 *
 * The file has two lines: the address as target_parse() wants it, and the token. Writing it costs
 * less than handing it to a thread, so it is done at once; only the answer comes from the loop.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "bridge/box/box.h"

#define FILE_NAME "guest"
#define TEXT_MAX  512

struct external {
	struct box *box; /* NULL: left */
	uv_timer_t answer;
	struct box_result result;
	bool end; /* with this answer nothing of it is left */
};

static void on_closed(uv_handle_t *h)
{
	free(h->data);
}

static void release(struct box *b)
{
	struct external *x = b->state;

	if (!x)
		return;
	b->state = NULL;
	x->box = NULL;
	uv_close((uv_handle_t *)&x->answer, on_closed);
}

static void on_answer(uv_timer_t *t)
{
	struct external *x = t->data;
	struct box *b = x->box;
	struct box_result r = x->result;

	if (x->end)
		release(b);
	box_answer(b, &r);
}

static struct external *state(struct box *b)
{
	struct external *x = b->state;

	if (x)
		return x;
	x = xcalloc(1, sizeof(*x));
	x->box = b;
	uv_timer_init(b->boxes->loop, &x->answer);
	x->answer.data = x;
	b->state = x;
	return x;
}

static void answer_soon(struct box *b, bool end, const struct box_result *r)
{
	struct external *x = state(b);

	x->result = *r;
	x->end = end;
	uv_timer_start(&x->answer, on_answer, 0, 0);
}

static void fail_soon(struct box *b, int status, const char *what)
{
	struct box_result r = {.left = BOX_LEFT_NOTHING};

	fault_set(&r.fault, status, "%s", what);
	answer_soon(b, true, &r);
}

/* ---- the file ---- */

static int make_dirs(const char *dir)
{
	char parent[BOX_PATH_MAX];
	char *slash;

	snprintf(parent, sizeof(parent), "%s", dir);
	slash = strrchr(parent, '/');
	ASSERT(slash);
	*slash = '\0';
	if (mkdir(parent, 0700) < 0 && errno != EEXIST)
		return -errno;
	return mkdir(dir, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

static int write_text(const char *path, const char *text)
{
	auto_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	size_t len = strlen(text);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = write(fd, text, len);
	if (n < 0)
		return -errno;
	return (size_t)n == len && fsync(fd) == 0 ? 0 : -EIO;
}

/* Whole or not at all: a half file would be another address. */
static int save(const struct box *b, const char *address, const char *token)
{
	char path[BOX_PATH_MAX + 16], temp[BOX_PATH_MAX + 16], text[TEXT_MAX];
	int r = make_dirs(b->dir);

	if (r < 0)
		return r;
	if ((size_t)snprintf(text, sizeof(text), "%s\n%s\n", address, token) >= sizeof(text))
		return -ENAMETOOLONG;
	snprintf(path, sizeof(path), "%s/" FILE_NAME, b->dir);
	snprintf(temp, sizeof(temp), "%s/" FILE_NAME ".new", b->dir);
	r = write_text(temp, text);
	if (r == 0 && rename(temp, path) < 0)
		r = -errno;
	return r;
}

static int take(struct box *b, const char *address, const char *token, const char **why)
{
	if (strlen(token) > BOX_TOKEN_MAX || strpbrk(token, "\r\n") || strpbrk(address, "\r\n")) {
		*why = "the agent's token is too long, or has line ends";
		return -EINVAL;
	}
	snprintf(b->token, sizeof(b->token), "%s", token);
	return target_parse(address, &b->target, why);
}

static int load(struct box *b)
{
	char path[BOX_PATH_MAX + 16], text[TEXT_MAX], *token, *end;
	const char *why;
	auto_close int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "%s/" FILE_NAME, b->dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	token = strchr(text, '\n');
	end = token ? strchr(token + 1, '\n') : NULL;
	if (!end)
		return -EINVAL;
	*token++ = *end = '\0';
	return take(b, text, token, &why);
}

/* ---- operations ---- */

static void external_start(struct box *b, const struct box_spec *spec)
{
	const char *token = spec->token ? spec->token : "", *why = NULL;

	if (!spec->address || take(b, spec->address, token, &why) < 0) {
		fail_soon(b, 400, why ? why : "an external sandbox needs the address of its agent");
		return;
	}
	if (save(b, spec->address, token) < 0) {
		fail_soon(b, 507, "the address of the agent cannot be saved");
		return;
	}
	answer_soon(b, false, &(struct box_result){.ok = true});
}

static void external_adopt(struct box *b)
{
	if (load(b) == 0)
		answer_soon(b, false, &(struct box_result){.ok = true, .left = BOX_LEFT_RUNNING});
	else
		answer_soon(b, true, &(struct box_result){.ok = true, .left = BOX_LEFT_NOTHING});
}

static void external_stop(struct box *b)
{
	answer_soon(b, false, &(struct box_result){.ok = true, .left = BOX_LEFT_STOPPED});
}

static void external_restart(struct box *b)
{
	if (load(b) == 0)
		answer_soon(b, false, &(struct box_result){.ok = true});
	else
		fail_soon(b, 502, "the address of the agent is not known any more");
}

static void external_destroy(struct box *b)
{
	static const char *const names[] = {FILE_NAME ".new", FILE_NAME};
	char path[BOX_PATH_MAX + 16];

	for (size_t i = 0; i < array_size(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", b->dir, names[i]);
		unlink(path);
	}
	rmdir(b->dir);
	answer_soon(b, true, &(struct box_result){.ok = true, .left = BOX_LEFT_NOTHING});
}

const struct box_driver box_driver_external = {
	.name = "external",
	.can = BOX_CAN_RESTART | BOX_KEEPS_AGENT,
	.start = external_start,
	.adopt = external_adopt,
	.stop = external_stop,
	.restart = external_restart,
	.destroy = external_destroy,
	.leave = release,
};
