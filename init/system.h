/*
 * system.h - what a machine needs besides mounts: a name, an identity, a loopback interface,
 * limits.
 */
#pragma once

#include "init/cmdline.h"

void system_setup(const struct cmdline *c);
/* A blocked machine is of no use: ctrl-alt-del comes to us as SIGINT. */
void system_take_keys(void);
