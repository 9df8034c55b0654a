/*
 * guest_user.h - those who want to know how the link to a guest is doing.
 */
#pragma once

#include "base/list.h"

struct guest_user;

struct guest_user_ops {
	/* same: the agent's life is that of the link before; true on the first link. */
	void (*on_up)(struct guest_user *u, bool same);
	void (*on_down)(struct guest_user *u); /* may be NULL */
	/* No more attempts; guest_why() says why. */
	void (*on_lost)(struct guest_user *u);
	void (*on_notice)(struct guest_user *u, const char *word); /* may be NULL */
	/* Nobody listens there, for guest_config.refused_ms already; it is dialed on. May come
	 * several times, and be NULL. */
	void (*on_refused)(struct guest_user *u);
};

struct guest_user {
	struct list node;
	const struct guest_user_ops *ops;
};

void guest_remove_user(struct guest_user *u); /* idempotent; nothing is called any more */

/* ---- for guest.c ---- */

struct guest_users {
	struct list list;
	bool muted; /* the guest is being closed */
};

enum guest_tell {
	GUEST_TELL_UP,
	GUEST_TELL_UP_ANEW, /* another life of the agent */
	GUEST_TELL_DOWN,
	GUEST_TELL_LOST,
	GUEST_TELL_NOTICE,
	GUEST_TELL_REFUSED,
};

void guest_users_init(struct guest_users *us);
void guest_users_add(
	struct guest_users *us, struct guest_user *u, const struct guest_user_ops *ops);
/* Each once. A callback may remove any user, add some, and close the guest. */
void guest_users_tell(struct guest_users *us, enum guest_tell what, const char *word);
