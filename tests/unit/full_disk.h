/*
 * full_disk.h - a disk that takes no byte more, as far as this process can tell.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/resource.h>

static struct rlimit disk_was;

static inline void fill_disk(void)
{
	struct rlimit none = {.rlim_cur = 0};

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &disk_was), 0);
	none.rlim_max = disk_was.rlim_max;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
}

static inline void free_disk(void)
{
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &disk_was), 0);
}
