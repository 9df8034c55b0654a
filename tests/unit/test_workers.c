/*
 * test_workers.c - done exactly once and on the loop, threads grow with what hangs and go when
 * idle, one that hangs holds up nobody, nothing is taken after the close. A notice comes before
 * done; work in quick succession needs no wake-up and still ends in sleep.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agentd/workers.h"

struct job {
	struct work work;
	int *gate; /* read from before it is done; NULL: at once */
	pthread_t ran_on;
	unsigned runs, dones;
};

static unsigned total;

static void run(struct work *w)
{
	struct job *j = container_of(w, struct job, work);
	char c;

	j->runs++;
	j->ran_on = pthread_self();
	while (j->gate && read(*j->gate, &c, 1) < 0)
		;
}

static void done(struct work *w)
{
	container_of(w, struct job, work)->dones++;
	total++;
}

/* The workers alone do not keep a loop going. */
static void spin(uv_loop_t *loop, struct workers *ws, unsigned until)
{
	uv_ref((uv_handle_t *)&ws->poll);
	while (total < until) {
		uv_run(loop, UV_RUN_NOWAIT);
		usleep(200);
	}
	uv_unref((uv_handle_t *)&ws->poll);
}

static void end(uv_loop_t *loop, struct workers *ws)
{
	workers_close(ws);
	uv_run(loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(loop), 0);
	assert_true(workers_fini(ws));
}

static void test_many(void **state)
{
	static struct job jobs[500];
	struct workers ws;
	uv_loop_t loop;

	(void)state;
	total = 0;
	uv_loop_init(&loop);
	assert_int_equal(workers_init(&ws, &loop, 4), 0);
	for (size_t i = 0; i < array_size(jobs); i++) {
		jobs[i] = (struct job){.work = {run, done, {0}}};
		assert_int_equal(workers_submit(&ws, &jobs[i].work), 0);
	}
	assert_true(ws.threads <= 4);
	spin(&loop, &ws, array_size(jobs));
	for (size_t i = 0; i < array_size(jobs); i++) {
		assert_int_equal(jobs[i].runs, 1);
		assert_int_equal(jobs[i].dones, 1);
		assert_false(pthread_equal(jobs[i].ran_on, pthread_self()));
	}
	assert_int_equal(ws.pending, 0);
	end(&loop, &ws);
}

static void test_hung(void **state)
{
	static struct job hung[8], quick;
	struct workers ws;
	uv_loop_t loop;
	int gate[2];

	(void)state;
	total = 0;
	uv_loop_init(&loop);
	assert_int_equal(pipe(gate), 0);
	assert_int_equal(workers_init(&ws, &loop, 16), 0);
	for (size_t i = 0; i < array_size(hung); i++) {
		hung[i] = (struct job){.work = {run, done, {0}}, .gate = &gate[0]};
		assert_int_equal(workers_submit(&ws, &hung[i].work), 0);
	}
	quick = (struct job){.work = {run, done, {0}}};
	assert_int_equal(workers_submit(&ws, &quick.work), 0);
	spin(&loop, &ws, 1);
	assert_int_equal(quick.dones, 1);
	assert_int_equal(ws.pending, array_size(hung));
	close(gate[1]); /* end of file for all */
	spin(&loop, &ws, 1 + array_size(hung));
	end(&loop, &ws);
	close(gate[0]);
}

static void test_limits(void **state)
{
	static struct job jobs[WORKERS_QUEUE + 2];
	struct workers ws;
	uv_loop_t loop;
	int gate[2];
	unsigned taken = 0;

	(void)state;
	total = 0;
	uv_loop_init(&loop);
	assert_int_equal(pipe(gate), 0);
	assert_int_equal(workers_init(&ws, &loop, 1), 0);
	jobs[0] = (struct job){.work = {run, done, {0}}, .gate = &gate[0]};
	assert_int_equal(workers_submit(&ws, &jobs[0].work), 0);
	for (unsigned queued = 1; queued > 0;) {
		pthread_mutex_lock(&ws.lock);
		queued = ws.queued;
		pthread_mutex_unlock(&ws.lock);
	}
	for (size_t i = 1; i < array_size(jobs); i++) {
		jobs[i] = (struct job){.work = {run, done, {0}}};
		if (workers_submit(&ws, &jobs[i].work) == 0)
			taken++;
		else
			assert_int_equal(workers_submit(&ws, &jobs[i].work), -EAGAIN);
	}
	assert_int_equal(taken, WORKERS_QUEUE);
	close(gate[1]);
	spin(&loop, &ws, 1 + taken);
	workers_close(&ws);
	assert_int_equal(workers_submit(&ws, &jobs[0].work), -ESHUTDOWN);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	assert_true(workers_fini(&ws));
	close(gate[0]);
}

/* Work that ends after the loop is closed is still told so. */
static void test_late(void **state)
{
	static struct job late;
	struct workers ws;
	uv_loop_t loop;
	int gate[2];

	(void)state;
	total = 0;
	uv_loop_init(&loop);
	assert_int_equal(pipe(gate), 0);
	assert_int_equal(workers_init(&ws, &loop, 4), 0);
	late = (struct job){.work = {run, done, {0}}, .gate = &gate[0]};
	assert_int_equal(workers_submit(&ws, &late.work), 0);
	workers_close(&ws);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	assert_int_equal(late.dones, 0);
	close(gate[1]);
	assert_true(workers_fini(&ws));
	assert_int_equal(late.dones, 1);
	close(gate[0]);
}

/* No thread stays when there is nothing to do. */
static void test_idle(void **state)
{
	static struct job jobs[20];
	struct workers ws;
	uv_loop_t loop;
	unsigned threads = 1;

	(void)state;
	total = 0;
	uv_loop_init(&loop);
	assert_int_equal(workers_init(&ws, &loop, 8), 0);
	for (size_t i = 0; i < array_size(jobs); i++) {
		jobs[i] = (struct job){.work = {run, done, {0}}};
		assert_int_equal(workers_submit(&ws, &jobs[i].work), 0);
	}
	spin(&loop, &ws, array_size(jobs));
	for (int i = 0; i < 500 && threads > 0; i++) {
		usleep(10000);
		pthread_mutex_lock(&ws.lock);
		threads = ws.threads;
		pthread_mutex_unlock(&ws.lock);
	}
	assert_int_equal(threads, 0);
	end(&loop, &ws);
}

struct teller {
	struct work work;
	struct notice notice;
	struct workers *ws;
	unsigned told, dones;
};

static void tell(struct work *w)
{
	struct teller *t = container_of(w, struct teller, work);

	for (int i = 0; i < 1000; i++)
		workers_notify(t->ws, &t->notice);
}

static void on_told(struct notice *n)
{
	struct teller *t = container_of(n, struct teller, notice);

	assert_int_equal(t->dones, 0);
	t->told++;
}

static void told_and_done(struct work *w)
{
	struct teller *t = container_of(w, struct teller, work);

	assert_true(list_empty(&t->notice.link)); /* it may be freed now */
	t->dones++;
	total++;
}

static void test_notices(void **state)
{
	static struct teller t[50];
	struct workers ws;
	uv_loop_t loop;

	(void)state;
	total = 0;
	uv_loop_init(&loop);
	assert_int_equal(workers_init(&ws, &loop, 8), 0);
	for (size_t i = 0; i < array_size(t); i++) {
		t[i] = (struct teller){
			.work = {tell, told_and_done, {0}}, .notice = {.fn = on_told}, .ws = &ws};
		list_init(&t[i].notice.link);
		assert_int_equal(workers_submit(&ws, &t[i].work), 0);
	}
	spin(&loop, &ws, array_size(t));
	for (size_t i = 0; i < array_size(t); i++)
		assert_true(t[i].told >= 1 && t[i].told <= 1000 && t[i].dones == 1);
	end(&loop, &ws);
}

/* What is told when the loop has gone is not heard, and in no list when it is done. */
static void test_late_notice(void **state)
{
	static struct teller t;
	struct workers ws;
	uv_loop_t loop;

	(void)state;
	total = 0;
	uv_loop_init(&loop);
	assert_int_equal(workers_init(&ws, &loop, 8), 0);
	t = (struct teller){
		.work = {tell, told_and_done, {0}}, .notice = {.fn = on_told}, .ws = &ws};
	list_init(&t.notice.link);
	assert_int_equal(workers_submit(&ws, &t.work), 0);
	end(&loop, &ws);
	assert_true(t.told == 0 && t.dones == 1);
}

/* One piece of work after the other, without the loop: it is attended, and nobody is poked for it.
 * Afterwards there is no thread that goes on looking. */
static void test_succession(void **state)
{
	static struct job job;
	struct workers ws;
	uv_loop_t loop;
	unsigned attended = 0, threads = 1;

	(void)state;
	total = 0;
	uv_loop_init(&loop);
	assert_int_equal(workers_init(&ws, &loop, 8), 0);
	for (unsigned i = 1; i <= 3000; i++) {
		job = (struct job){.work = {run, done, {0}}};
		assert_int_equal(workers_submit(&ws, &job.work), 0);
		workers_attend(&ws);
		attended += job.dones;
		spin(&loop, &ws, i);
		assert_true(job.runs == 1 && job.dones == 1 && ws.fresh == 0);
	}
	assert_true(attended > 0);
	for (int i = 0; i < 500 && threads > 0; i++) {
		usleep(10000);
		pthread_mutex_lock(&ws.lock);
		threads = ws.threads;
		pthread_mutex_unlock(&ws.lock);
	}
	assert_int_equal(threads, 0);
	end(&loop, &ws);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_hung),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_late),
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_notices),
		cmocka_unit_test(test_late_notice),
		cmocka_unit_test(test_succession),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
