/*
 * guest_peer.h - a guest link with one user that notes what it is told, to an agent on the same
 * loop. Every test ends with an empty loop and as many descriptors as before.
 */
#pragma once

#include "tests/unit/test_guest_agent.h"

struct peer {
	uv_loop_t loop;
	struct fake fake;
	struct guest guest;
	struct guest_user user;
	struct guest_config config;
	size_t fds;
	bool up, down, lost, closed, answered;
	bool same;
	unsigned n_up, n_down, n_answers, n_failed, n_notices;
	void (*then)(struct peer *p); /* called in every callback of a user or request */
	struct error error;
};

static inline void then(struct peer *p)
{
	if (p->then)
		p->then(p);
}

static inline void on_up(struct guest_user *u, bool same)
{
	struct peer *p = container_of(u, struct peer, user);

	assert_true(guest_is_up(&p->guest));
	p->up = true;
	p->down = false;
	p->same = same;
	p->n_up++;
	then(p);
}

static inline void on_down(struct guest_user *u)
{
	struct peer *p = container_of(u, struct peer, user);

	assert_false(guest_is_up(&p->guest));
	p->down = true;
	p->up = false;
	p->n_down++;
	then(p);
}

static inline void on_lost(struct guest_user *u)
{
	struct peer *p = container_of(u, struct peer, user);

	p->lost = true;
	then(p);
}

static inline void on_notice(struct guest_user *u, const char *word)
{
	struct peer *p = container_of(u, struct peer, user);

	assert_string_equal(word, "stopping");
	p->n_notices++;
	then(p);
}

__attribute__((unused)) static const struct guest_user_ops user_ops = {
	.on_up = on_up, .on_down = on_down, .on_lost = on_lost, .on_notice = on_notice};

static inline void on_answer(
	void *owner, const uint8_t *json, size_t len, const struct error *error)
{
	struct peer *p = owner;

	p->answered = true;
	p->n_answers++;
	p->n_failed += error != NULL;
	if (error) {
		p->error = *error;
		assert_null(json);
	} else {
		assert_int_equal(len, 2);
	}
	then(p);
}

static inline int64_t ping(struct peer *p)
{
	return guest_request(&p->guest, &(struct msg_request){.op = OP_PING}, on_answer, p);
}

static inline void on_closed(void *owner)
{
	((struct peer *)owner)->closed = true;
}

static inline void peer_init(struct peer *p)
{
	*p = (struct peer){.fds = fake_count_fds()};
	assert_int_equal(uv_loop_init(&p->loop), 0);
	fake_init(&p->fake, &p->loop);
	fake_config(&p->fake, &p->config);
}

static inline void peer_start(struct peer *p)
{
	assert_int_equal(guest_init(&p->guest, &p->loop, &p->config), 0);
	guest_add_user(&p->guest, &p->user, &user_ops);
	guest_start(&p->guest);
}

static inline void peer_up(struct peer *p)
{
	peer_init(p);
	peer_start(p);
	fake_run_until(&p->loop, &p->up);
}

static inline void peer_fini(struct peer *p)
{
	guest_close(&p->guest, on_closed, p);
	guest_close(&p->guest, NULL, NULL);
	fake_run_until(&p->loop, &p->closed);
	assert_int_equal(p->guest.state, GUEST_CLOSED);
	fake_stop(&p->fake);
	uv_run(&p->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&p->loop), 0);
	fake_fini(&p->fake);
	assert_int_equal(fake_count_fds(), p->fds);
}
