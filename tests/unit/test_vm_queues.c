/*
 * test_vm_queues.c - whether a process waits for both queues is read from what it waits for: this
 * one does, in epolls of its own. (Dialed before, the vsock device's process never answered again.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "bridge/box/vm_queues.h"

static void watch(int epoll, uint64_t data)
{
	struct epoll_event e = {.events = EPOLLIN, .data.u64 = data};

	assert_int_equal(epoll_ctl(epoll, EPOLL_CTL_ADD, eventfd(0, EFD_CLOEXEC), &e), 0);
}

static void test_taken(void **state)
{
	int one = epoll_create1(EPOLL_CLOEXEC), other = epoll_create1(EPOLL_CLOEXEC);

	(void)state;
	assert_int_equal(vm_queues_taken(getpid()), 0);
	watch(one, 3);
	watch(one, 0x10);
	watch(one, 0);
	watch(other, 1);
	assert_int_equal(vm_queues_taken(getpid()), 0); /* not the same worker's */
	watch(other, 5);
	watch(other, 0);
	assert_int_equal(vm_queues_taken(getpid()), 1);
	close(other);
	assert_int_equal(vm_queues_taken(getpid()), 0);
	close(one);
}

static void test_nobody(void **state)
{
	(void)state;
	assert_int_equal(vm_queues_taken(0x7ffffff0), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_taken),
		cmocka_unit_test(test_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
