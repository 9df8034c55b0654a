/*
 * self.h - what this process uses, as the kernel counts it. From any thread.
 */
#pragma once

#include "base/base.h"

struct self_figures {
	uint64_t user_us, system_us;
	uint64_t rss, vsize; /* bytes; 0: not known */
	uint64_t threads, descriptors, max_descriptors;
	double started; /* seconds since 1970 */
};

void self_read(struct self_figures *ret);
/* Proportional set size in bytes: its own share of what it shares. Takes a walk over all pages. 0:
 * not known. */
uint64_t self_pss(void);
