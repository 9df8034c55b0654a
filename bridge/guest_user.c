#include "bridge/guest_user.h"

void guest_users_init(struct guest_users *us)
{
	*us = (struct guest_users){0};
	list_init(&us->list);
}

void guest_users_add(struct guest_users *us, struct guest_user *u, const struct guest_user_ops *ops)
{
	u->ops = ops;
	list_append(&us->list, &u->node);
}

void guest_remove_user(struct guest_user *u)
{
	list_remove(&u->node);
}

static void tell(struct guest_user *u, enum guest_tell what, const char *word)
{
	switch (what) {
	case GUEST_TELL_UP: u->ops->on_up(u, true); break;
	case GUEST_TELL_UP_ANEW: u->ops->on_up(u, false); break;
	case GUEST_TELL_DOWN:
		if (u->ops->on_down)
			u->ops->on_down(u);
		break;
	case GUEST_TELL_LOST: u->ops->on_lost(u); break;
	case GUEST_TELL_NOTICE:
		if (u->ops->on_notice)
			u->ops->on_notice(u, word);
		break;
	case GUEST_TELL_REFUSED:
		if (u->ops->on_refused)
			u->ops->on_refused(u);
		break;
	}
}

/* Nothing but the two list heads is kept across a callback. */
void guest_users_tell(struct guest_users *us, enum guest_tell what, const char *word)
{
	struct list todo;

	list_init(&todo);
	while (!list_empty(&us->list)) {
		struct list *first = us->list.next;

		list_remove(first);
		list_append(&todo, first);
	}
	while (!list_empty(&todo)) {
		struct guest_user *u = list_first(&todo, struct guest_user, node);

		list_remove(&u->node);
		list_append(&us->list, &u->node);
		if (!us->muted)
			tell(u, what, word);
	}
}
