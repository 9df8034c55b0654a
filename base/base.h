/*
 * base.h - the few things every program here needs: scope cleanup, ownership transfer, an assertion
 * that is always compiled in, checked arithmetic on sizes. No libuv, no allocation policy beyond
 * xcalloc. There is no "util": what does not fit here has a noun and a file of its own.
 */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define array_size(a)                   (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define min_of(a, b)                    ((a) < (b) ? (a) : (b))
#define max_of(a, b)                    ((a) > (b) ? (a) : (b))
#define align_up(n, to)                 (((n) + (to)-1) / (to) * (to))

#define KIB 1024ULL
#define MIB (1024ULL * KIB)
#define GIB (1024ULL * MIB)

/*
 * A broken invariant of our own: print and abort, in every build. Never used for what a peer did;
 * a peer's mistake is a value.
 */
#define ASSERT(cond)                                                                               \
	do {                                                                                       \
		if (__builtin_expect(!(cond), 0))                                                  \
			assert_failed(#cond, __FILE__, __LINE__, __func__);                        \
	} while (0)

_Noreturn void assert_failed(const char *cond, const char *file, int line, const char *func);

/* For small fixed-size allocations only: aborts when there is no memory. What a peer sizes is
 * checked against a limit first and then allocated with plain malloc and an error path. */
void *xcalloc(size_t n, size_t size);

/* CLOCK_MONOTONIC: stands still while the machine is suspended, so deadlines do not count sleep. */
uint64_t now_ms(void);
uint64_t now_ns(void);
/* Since 1970: for people and signatures. It may be set, so no deadline is told by it. */
uint64_t wall_ms(void);

static inline void cleanup_free_ptr(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

/* auto_free char *p = ...;   auto_close int fd = -1;   released at the end of the scope. */
#define auto_free  __attribute__((cleanup(cleanup_free_ptr)))
#define auto_close __attribute__((cleanup(cleanup_close_fd)))

/* Ownership leaves the variable, visibly: return take_fd(&fd); */
static inline int take_fd(int *fd)
{
	int v = *fd;

	*fd = -1;
	return v;
}

static inline void *take_ptr_raw(void *pp)
{
	void *v = *(void **)pp;

	*(void **)pp = NULL;
	return v;
}
#define take_ptr(pp) ((__typeof__(*(pp)))take_ptr_raw(pp))

/* Closes and marks as closed; fine on -1. */
static inline void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}
