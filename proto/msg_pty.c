/* What the messages of a session say about its terminal (docs/protocol.md section 12). */
#include "proto/msg_read.h"

static int read_number(struct msg_reader *r, const cJSON *obj, const char *name, uint16_t min,
	bool must, uint16_t *ret)
{
	uint64_t n = *ret;
	int e;

	if (must && !msg_has(obj, name))
		return msg_reader_fail(r, name, "there");
	e = msg_get_u64(r, obj, name, UINT16_MAX, &n);
	if (e < 0)
		return e;
	if (n < min)
		return msg_reader_fail(r, name, "from 1 to 65535");
	*ret = (uint16_t)n;
	return 0;
}

int msg_read_size(struct msg_reader *r, const cJSON *obj, bool whole, struct msg_size *ret)
{
	int e;

	if ((e = read_number(r, obj, "cols", 1, whole, &ret->cols)) < 0 ||
		(e = read_number(r, obj, "rows", 1, whole, &ret->rows)) < 0 ||
		(e = read_number(r, obj, "xpixel", 0, false, &ret->xpixel)) < 0)
		return e;
	return read_number(r, obj, "ypixel", 0, false, &ret->ypixel);
}

void msg_put_size(struct jsonw *w, const struct msg_size *m)
{
	jsonw_u64(w, "cols", m->cols);
	jsonw_u64(w, "rows", m->rows);
	jsonw_u64(w, "xpixel", m->xpixel);
	jsonw_u64(w, "ypixel", m->ypixel);
}

int msg_read_pty(struct msg_reader *r, const cJSON *start, struct msg_start *s)
{
	struct msg_pty *p = &s->pty;
	const cJSON *obj = NULL;
	int e = msg_get_object(r, start, "pty", &obj);

	if (e < 0 || !obj)
		return e;
	*p = (struct msg_pty){
		.on = true, .size = {.cols = 80, .rows = 24}, .term = "xterm-256color"};
	if ((e = msg_read_size(r, obj, false, &p->size)) < 0 ||
		(e = msg_get_bool(r, obj, "login", &p->login)) < 0 ||
		(e = msg_get_str(r, obj, "term", &p->term)) < 0 ||
		(e = msg_get_str(r, obj, "shell", &p->shell)) < 0)
		return e;
	if (p->shell && p->shell[0] == '\0')
		return msg_reader_fail(r, "shell", "a program");
	s->with_stdin = true;
	return 0;
}

void msg_put_pty(struct jsonw *w, const struct msg_pty *m)
{
	jsonw_open(w, "pty", '{');
	msg_put_size(w, &m->size);
	if (m->term)
		jsonw_bytes(w, "term", m->term, strlen(m->term));
	if (m->shell)
		jsonw_bytes(w, "shell", m->shell, strlen(m->shell));
	if (m->login)
		jsonw_bool(w, "login", true);
	jsonw_close(w, '}');
}

int msg_read_attach_pty(struct msg_reader *r, const cJSON *attach, struct msg_attach *a)
{
	const cJSON *size = NULL;
	bool own = false;
	int e;

	if ((e = msg_get_bool(r, attach, "owner", &own)) < 0 ||
		(e = msg_get_object(r, attach, "size", &size)) < 0)
		return e;
	if (msg_has(attach, "owner"))
		a->own = own ? OWN_TAKE : OWN_NEVER;
	a->has_size = size != NULL;
	return size ? msg_read_size(r, size, true, &a->size) : 0;
}

void msg_put_attach_pty(struct jsonw *w, const struct msg_attach *a)
{
	if (a->own != OWN_IF_FREE)
		jsonw_bool(w, "owner", a->own == OWN_TAKE);
	if (!a->has_size)
		return;
	jsonw_open(w, "size", '{');
	msg_put_size(w, &a->size);
	jsonw_close(w, '}');
}

size_t msg_format_size_event(const struct msg_size *m, char *out, size_t size)
{
	struct jsonw w;

	jsonw_init(&w, out, size);
	jsonw_open(&w, NULL, '{');
	jsonw_str(&w, "event", "size");
	msg_put_size(&w, m);
	jsonw_close(&w, '}');
	return w.overflow ? 0 : w.len;
}
