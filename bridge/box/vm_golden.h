/*
 * vm_golden.h - what new machines are made from: images (kernel, initramfs, root disk, copied once
 * from the image directory) and golden snapshots: the first boot of an image, per number of CPUs
 * and size of memory, saved when its agent answered.
 *
 * Both lie in "images/" of the state directory, complete or not at all, and are recognised by what
 * they were made of: another image, another snapshot. A snapshot is one of that QEMU with those
 * arguments, too, as another may not be able to load it.
 */
#pragma once

#include "base/list.h"
#include "bridge/box/vm.h"

struct golden_want;

/* dir: an image's or a snapshot's directory, for vm_source; NULL: there is none, fault says why.
 * note: why it is no snapshot, or "". Once, from the loop. */
typedef void (*golden_fn)(
	struct golden_want *w, const char *dir, const char *note, const struct fault *fault);

struct golden_want {
	struct list node;
	bool waiting;
	golden_fn fn;
	void *owner;
};

int goldens_open(struct vm_host *h);
/* Whatever is being made is given up. */
void goldens_close(struct vm_host *h);

void golden_want(struct vm_host *h, const char *template, const struct vm_source *like,
	struct golden_want *w, golden_fn fn, void *owner);
void golden_cancel(struct golden_want *w); /* idempotent */
