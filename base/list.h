/*
 * list.h - intrusive doubly linked ring list. A node belongs to at most one list; list_init() makes
 * the unlinked state, list_remove() returns to it, so removing twice is harmless.
 */
#pragma once

#include "base/base.h"

struct list {
	struct list *prev, *next;
};

static inline void list_init(struct list *l)
{
	l->prev = l->next = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

static inline void list_append(struct list *head, struct list *node)
{
	node->prev = head->prev;
	node->next = head;
	head->prev->next = node;
	head->prev = node;
}

static inline void list_remove(struct list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_init(node);
}

#define list_entry(ptr, type, member)  container_of(ptr, type, member)
#define list_first(head, type, member) list_entry((head)->next, type, member)

#define list_for_each(pos, head, type, member)                                                     \
	for (type *pos = list_first(head, type, member); &pos->member != (head);                   \
		pos = list_entry(pos->member.next, type, member))

/* The body may remove (or free) `pos`, and nothing else, from the list. */
#define list_for_each_safe(pos, head, type, member)                                                \
	for (type *pos = list_first(head, type, member),                                           \
		  *pos##_next = list_entry(pos->member.next, type, member);                        \
		&pos->member != (head);                                                            \
		pos = pos##_next, pos##_next = list_entry(pos->member.next, type, member))
