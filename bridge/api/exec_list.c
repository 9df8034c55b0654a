/*
 * The pages are taken over at the end, all at once: so two listings cannot mix, and a session that
 * began meanwhile is not missed: what we know of by then, the last page has as well.
 */
#include "bridge/api/exec_list.h"

#include <stdio.h>

#include "bridge/api/dispatch.h"

#define PAGE      256
#define PAGES_MAX 256 /* an agent has at most 10 240 sessions, a page may be short */

/* fault NULL: the roster is up to date. */
typedef void (*exec_list_fn)(void *owner, const struct fault *fault);

struct exec_list {
	struct sandbox *sandbox;
	struct sandbox_use use;
	int64_t request;
	exec_list_fn fn; /* NULL: nobody waits */
	void *owner;
	struct msg_list pages[PAGES_MAX];
	size_t n;
};

static void list_free(struct exec_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		msg_list_fini(&l->pages[i]);
	sandbox_unuse(&l->use);
	free(l);
}

/* Of a list that never came to its end nobody can say what is not in it. */
static void finish(struct exec_list *l, const struct fault *fault)
{
	exec_list_fn fn = l->fn;
	void *owner = l->owner;

	for (size_t i = 0; !fault && i < l->n; i++)
		roster_take(&l->sandbox->roster, &l->pages[i], i == 0, !l->pages[i].next);
	list_free(l);
	if (fn)
		fn(owner, fault);
}

static int ask(struct exec_list *l);

static void on_page(void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	struct exec_list *l = owner;
	struct fault f = {0};
	struct error e;
	int r;

	if (error) {
		fault_from_error(&f, error, "cannot list the sessions");
		finish(l, &f);
		return;
	}
	if (msg_parse_list(json, len, &l->pages[l->n], &e) < 0) {
		fault_set(&f, 502, "cannot list the sessions: %s", e.message);
		finish(l, &f);
		return;
	}
	l->n++;
	if (!l->pages[l->n - 1].next || l->n == PAGES_MAX) {
		finish(l, NULL);
		return;
	}
	r = ask(l);
	if (r < 0) {
		fault_set(&f, 502, "cannot list the sessions: %s", strerror(-r));
		finish(l, &f);
	}
}

static int ask(struct exec_list *l)
{
	struct msg_request m = {.op = OP_LIST, .limit = PAGE};
	int64_t r;

	if (l->n > 0)
		m.after = l->pages[l->n - 1].next;
	r = guest_request(sandbox_guest(l->sandbox), &m, on_page, l);
	l->request = r;
	return r < 0 ? (int)r : 0;
}

static void on_use(struct sandbox_use *u, const struct fault *fault)
{
	(void)u, (void)fault;
}

/* fn comes later. NULL: the fault is filled. */
static struct exec_list *begin(struct sandbox *s, exec_list_fn fn, void *owner, struct fault *fault)
{
	struct exec_list *l = calloc(1, sizeof(*l));
	int r;

	if (!l) {
		fault_set(fault, 500, "out of memory");
		return NULL;
	}
	l->sandbox = s;
	l->fn = fn;
	l->owner = owner;
	sandbox_use(s, &l->use, on_use, NULL);
	r = ask(l);
	if (r < 0) {
		fault_set(fault, 502, "cannot list the sessions: %s", strerror(-r));
		list_free(l);
		return NULL;
	}
	return l;
}

static void cancel(struct exec_list *l)
{
	guest_cancel(sandbox_guest(l->sandbox), l->request);
	list_free(l);
}

void exec_list_refresh(struct sandbox *s)
{
	struct fault ignored = {0};

	begin(s, NULL, NULL, &ignored);
}

/* ---- the answer to a call ---- */

struct answer {
	struct exec_list *list; /* NULL: it has come */
	exec_list_put_fn put;
};

static void on_listed(void *owner, const struct fault *fault)
{
	struct call *c = owner;
	struct answer *a = c->state;
	struct text t;

	a->list = NULL;
	if (fault) {
		call_fault(c, fault);
		return;
	}
	text_init(&t);
	text_open(&t, NULL, '[');
	list_for_each (e, &c->sandbox->roster.entries, struct roster_entry, node)
		a->put(&t, c->sandbox, e);
	text_close(&t, ']');
	text_reply(&t, c, 200);
}

static void on_answered(struct call *c)
{
	struct answer *a = c->state;

	if (a->list)
		cancel(a->list);
	free(a);
}

static const struct call_ops answer_ops = {.on_end = on_answered};

void exec_list_answer(struct call *c, exec_list_put_fn put)
{
	struct answer *a = xcalloc(1, sizeof(*a));
	struct fault f = {0};

	a->put = put;
	c->ops = &answer_ops;
	c->state = a;
	a->list = begin(c->sandbox, on_listed, c, &f);
	if (!a->list)
		call_fault(c, &f);
}
