#include "bridge/api/file_ask.h"

#include <stdio.h>

#include "bridge/api/dispatch.h"
#include "bridge/api/fields.h"
#include "bridge/remote_file.h"
#include "proto/text.h"

/* ---- paths ---- */

static bool query_has(const struct call *c, const char *name)
{
	size_t n = strlen(name);
	const char *p = c->query;

	while (*p && (strncmp(p, name, n) != 0 || !strchr("=&", p[n]))) {
		p += strcspn(p, "&");
		p += *p == '&';
	}
	return *p;
}

static char *decoded(const char *encoded)
{
	char *path = malloc(strlen(encoded) + 1);
	ssize_t n = path ? base64_decode(encoded, strlen(encoded), path) : -ENOMEM;

	if (n < 0 || memchr(path, '\0', (size_t)n)) {
		free(path);
		return NULL;
	}
	path[n] = '\0';
	return path;
}

/* A name in the query, as it is or in base64: what stands between sees no line ends then. "" when
 * there is none; NULL: it is wrong. */
static char *query_path(const struct call *c, const char *name)
{
	auto_free char *encoded = NULL;
	char other[32];

	if (query_has(c, name))
		return call_query(c, name);
	snprintf(other, sizeof(other), "%sB64", name);
	if (!query_has(c, other))
		return strdup("");
	encoded = call_query(c, other);
	return encoded ? decoded(encoded) : NULL;
}

/* Takes the path. */
static char *checked(struct call *c, char *path, const char *name, const char *missing)
{
	if (path && !*path && missing) {
		free(path);
		path = strdup(missing);
	}
	if (path && *path && strlen(path) <= FILE_PATH_MAX)
		return path;
	if (!path)
		call_error(c, 400, "%s is not a path", name);
	else if (!*path)
		call_error(c, 400, "%s is required", name);
	else
		call_error(c, 400, "%s has more than %d bytes", name, FILE_PATH_MAX);
	free(path);
	return NULL;
}

char *file_path(struct call *c)
{
	return file_path_or(c, NULL);
}

char *file_path_or(struct call *c, const char *missing)
{
	return checked(c, query_path(c, "path"), "path", missing);
}

char *file_path_field(struct call *c, const char *name, const char *missing)
{
	char *path = NULL;

	if (!field_str(c, name, FILE_PATH_MAX, &path))
		return NULL;
	return checked(c, path ? path : query_path(c, name), name, missing);
}

bool file_flag(struct call *c, const char *name, bool *ret)
{
	auto_free char *text = call_query(c, name);

	if (!query_has(c, name))
		return true;
	*ret = text && strcmp(text, "true") == 0;
	if (*ret || (text && strcmp(text, "false") == 0))
		return true;
	call_error(c, 400, "%s must be true or false", name);
	return false;
}

/* ---- messages ---- */

void file_member(struct jsonw *w, const char *name, const char *bytes)
{
	if (bytes)
		jsonw_bytes(w, name, bytes, strlen(bytes));
}

void file_request(struct jsonw *w, char out[FILE_MESSAGE], const char *op, const char *path)
{
	jsonw_init(w, out, FILE_MESSAGE);
	jsonw_open(w, NULL, '{');
	jsonw_str(w, "op", op);
	file_member(w, "path", path);
}

void file_open(struct jsonw *w, char out[FILE_MESSAGE], const char *op, const char *path)
{
	file_request(w, out, op, path);
	jsonw_str(w, "service", "file");
	jsonw_u64(w, "window", REMOTE_FILE_WINDOW);
}

void file_words(struct jsonw *w, const char *name, const char *words)
{
	jsonw_open(w, name, '[');
	for (const char *p = words; *p;) {
		size_t n = strcspn(p, ",");

		if (n > 0)
			jsonw_bytes(w, NULL, p, n);
		p += n + (p[n] == ',');
	}
	jsonw_close(w, ']');
}

/* ---- what went wrong ---- */

void file_error(struct call *c, const struct error *e)
{
	struct fault f = {0};

	fault_from_error(&f, e, NULL);
	if (e->code == E_TOO_MANY)
		f.status = 503;
	else if (e->err == EBADMSG) /* what was sent is no archive */
		f.status = 400;
	call_fault(c, &f);
}

static void come_again(struct call *c, const char *why)
{
	struct fault f;

	fault_set(&f, 503, "%s", why);
	call_fault(c, &f);
}

void file_error_sending(struct call *c, int err)
{
	if (err == -EMSGSIZE || err == -E2BIG)
		call_error(c, 413, "the request is too large");
	else if (err == -EMFILE)
		come_again(c, "too many operations on this sandbox at once");
	else if (err == -ENOMEM)
		come_again(c, "out of memory");
	else
		call_error(c, 502, "the link to the sandbox is broken");
}

/* ---- asking ---- */

static void on_answer(void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	struct file_ask *a = owner;

	a->guest = NULL;
	if (error)
		file_error(a->call, error);
	else
		a->fn(a, json, len);
}

void file_ask_send(struct file_ask *a, struct call *c, struct jsonw *w, file_ask_fn fn)
{
	struct guest *g = sandbox_guest(c->sandbox);
	int64_t r;

	jsonw_close(w, '}');
	*a = (struct file_ask){.call = c, .guest = g, .fn = fn};
	r = w->overflow ? -EMSGSIZE : guest_ask(g, w->out, w->len, on_answer, a);
	a->id = r;
	if (r < 0) {
		a->guest = NULL;
		file_error_sending(c, (int)r);
	}
}

void file_ask_cancel(struct file_ask *a)
{
	if (a->guest)
		guest_cancel(a->guest, a->id);
	a->guest = NULL;
}

/* ---- all of a call ---- */

static void on_call_end(struct call *c)
{
	file_ask_cancel(c->state);
	free(take_ptr(&c->state));
}

static void on_done(struct file_ask *a, const uint8_t *json, size_t len)
{
	(void)json, (void)len;
	call_empty(a->call, 204);
}

void file_ask_call(struct call *c, struct jsonw *w, file_ask_fn fn)
{
	static const struct call_ops ops = {.on_end = on_call_end};

	c->state = xcalloc(1, sizeof(struct file_ask));
	c->ops = &ops;
	file_ask_send(c->state, c, w, fn ? fn : on_done);
}
