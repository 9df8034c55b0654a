/*
 * batch_thread.h - how the second thread of a batch is made: it needs little, and no signals, which
 * are blocked in every worker already.
 */
#pragma once

#include <pthread.h>

/* 0 or -errno. */
static inline int batch_thread_start(pthread_t *ret, void *(*fn)(void *arg), void *arg)
{
	pthread_attr_t attr;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 * 1024);
	r = pthread_create(ret, &attr, fn, arg);
	pthread_attr_destroy(&attr);
	return -r;
}
