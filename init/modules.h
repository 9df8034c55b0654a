/*
 * modules.h - loading the kernel modules of an initramfs: plain .ko files, in the order of a list.
 */
#pragma once

#include "base/base.h"

/* One path a line, relative to the list's directory. A module that is there already is fine; others
 * that fail are logged. The number loaded, or -errno when there is no list. */
int modules_load(const char *list);
