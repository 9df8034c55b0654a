/*
 * notify.h - the socket on which agentd tells init things, in systemd's words (sd_notify): it is
 * ready, keep this descriptor, forget that one. Under systemd the same agentd says the same.
 *
 *	READY=1                                 serving
 *	FDSTORE=1 FDNAME=name (+ descriptors)   keep
 *	FDSTOREREMOVE=1 FDNAME=name             forget
 *	X_AGENTD_POWER=off | reboot             end the machine
 */
#pragma once

#include <sys/types.h>

#include "init/fdstore.h"

#define NOTIFY_PATH "/run/agentd/notify"

struct notify_events {
	void (*on_ready)(void *owner);
	void (*on_power)(void *owner, bool reboot);
};

/* A bound socket, or -errno. */
int notify_open(const char *path);
/* Reads all that has come. Only `sender` is listened to. */
void notify_read(
	int fd, pid_t sender, struct fdstore *s, const struct notify_events *events, void *owner);
