/*
 * vm_host.h - the driver's own parts beside its machines: its beginning and end, and the dropping
 * of checkpoints. Files of the driver only.
 */
#pragma once

#include "bridge/box/vm.h"

/* box_driver.open, close */
int vm_host_open(struct boxes *bs, char *why, size_t why_size);
void vm_host_close(struct boxes *bs);

/* A file name, and none of something unfinished. */
bool vm_checkpoint_name_ok(const char *name);
/* box_driver.drop */
void vm_drop(struct box *b, const char *name);
/* No answer comes any more. */
void vm_drop_leave(const struct box *b);
void vm_drops_close(struct vm_host *h);
