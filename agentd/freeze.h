/*
 * freeze.h - file systems frozen for a snapshot (FIFREEZE), and their certain thaw. What is frozen
 * blocks everybody who writes to it, so a thread that needs neither the loop nor a client watches
 * over it and thaws when the time is up. There is one freeze at a time in this process.
 */
#pragma once

#include "agentd/frozen.h"
#include "agentd/workers.h"

/* Loop. Sets the watch, which thaws thaw_ms after the first freeze_mount; from here on the log is
 * held back, and the paths stand in the arena. -EBUSY: there is one already; or as
 * workers_submit(). */
int freeze_start(
	struct workers *ws, struct arena *a, const char *const *paths, size_t n, uint64_t thaw_ms);
/* T. One mount point, after freeze_start. 0 or -errno; -ETIMEDOUT: the time is up, and it is not
 * frozen any more. */
int freeze_mount(const char *path);
/* T. No more will be frozen; if none is, the watch ends. */
void freeze_settle(void);
/* Any thread. Thaws all now and ends the watch. ret_n (may be NULL): how many there were. 0 or the
 * first -errno. */
int freeze_thaw(unsigned *ret_n);
/* From freeze_start until all is thawed and the loop has learnt of it. */
bool freeze_active(void);
/* Loop. Nothing is frozen and nothing will be, even if the loop has not learnt of it: no harm is
 * done when this process becomes another now. */
bool freeze_settled(void);
