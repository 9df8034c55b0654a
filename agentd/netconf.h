/*
 * netconf.h - the network after a wake: addresses, link, default route by rtnetlink, and the
 * resolver's file. T.
 */
#pragma once

#include <sys/types.h>

#include "agentd/steps.h"
#include "proto/msg_sys.h"

#define NETCONF_RESOLV "/etc/resolv.conf"

/* One step each for what is asked: "address", "link", "route", "dns". */
void netconf_apply(const struct msg_network *n, struct steps *s);

/* Replaces a file's contents as a whole (in place where it cannot be renamed over). 0 or -errno. */
int netconf_write_file(const char *path, const char *text, mode_t mode);
