/*
 * root.h - in an initramfs: find the root disk, mount it, move there.
 */
#pragma once

#include "init/cmdline.h"

/* Are we the /init of an initramfs? (It has /etc/initrd-release, by which every initramfs is told.)
 */
bool root_in_initramfs(void);
/* root=LABEL=x | UUID=x | /dev/x, rootfstype=, rootflags=, ro; without root= the disk labelled
 * "root". Waits for the disk. 0 or -errno, with the reason logged. */
int root_mount(const struct cmdline *c);
/* Makes the mounted root ours, frees the initramfs, and becomes the init of that system. Returns
 * only on failure. */
int root_switch(const struct cmdline *c, char **argv);
