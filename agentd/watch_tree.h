/*
 * watch_tree.h - watched trees, shared by those who watch the same. The loop's side: when to ask
 * the kernel, what to keep, whom to tell, when to let go.
 *
 * A tree begins with its first watcher and is kept for a while after the last, so that who comes
 * back with a cursor has missed nothing. A watcher reads the tree's log at its own pace.
 */
#pragma once

#include "agentd/poller.h"
#include "agentd/watch_feed.h"
#include "agentd/workers.h"

#define WATCH_TREES_MAX    256
#define WATCH_WATCHERS_MAX 1024
#define WATCH_KEEP_MS      60000
#define WATCH_GATHER_MS    5 /* how long changes may gather before they are looked at */

struct watch_tree;

struct watches {
	uv_loop_t *loop;
	struct poller *poller;
	struct workers *workers;
	struct list trees; /* the longest unused first */
	unsigned n_trees, n_watchers;
};

/* Embedded in who watches. */
struct watcher {
	struct list link;
	struct watch_tree *tree; /* NULL: not attached */
	uint64_t next;           /* number of the event to be read next */
	bool slow;               /* was waited for, in vain */
	/* There is something: events, the beginning (watch_tree_live()), or the end. */
	void (*on_ready)(struct watcher *w);
	/* It could not begin; the watcher is detached already. */
	void (*on_failed)(struct watcher *w, const struct error *e);
};

/* What a tree is; two with the same key are one. */
struct watch_spec {
	struct place *place;    /* taken over, in any case */
	struct ignore *exclude; /* the same; NULL: nothing */
	bool recursive;
	const void *key;
	size_t key_len;
};

void watches_init(
	struct watches *ws, uv_loop_t *loop, struct poller *poller, struct workers *workers);
/* Lets go of every tree; watchers are detached before. */
void watches_close(struct watches *ws);

/* Attaches to the tree, made if need be. since: a cursor, NULL: from now on. *ret_missed: the
 * cursor is of no use any more. -errno with the error filled. */
int watch_attach(struct watches *ws, struct watcher *w, const struct watch_spec *spec,
	const char *since, bool *ret_missed, struct error *e);
void watch_detach(struct watcher *w); /* fine when it is not attached */

/* Is it watched by now? */
bool watch_tree_live(const struct watch_tree *t);
/* Nothing will come behind what the log holds. */
bool watch_tree_over(const struct watch_tree *t);
struct watch_log *watch_tree_log(struct watch_tree *t);
/* Of an event by its number: the same string with another number. */
#define WATCH_CURSOR_MAX 48
void watch_tree_cursor(const struct watch_tree *t, uint64_t seq, char out[WATCH_CURSOR_MAX]);
