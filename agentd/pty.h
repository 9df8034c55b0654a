/*
 * pty.h - a pseudo terminal as a device: made, given to a user, sized. Who may set its size, and
 * what its viewers are told, is terminal.h's business.
 */
#pragma once

#include <sys/types.h>

#include "proto/msg.h"

/* Both ends, close-on-exec, nobody's controlling terminal. The slave belongs to uid, as far as we
 * may change that. 0 or -errno. */
int pty_open(const struct msg_size *size, uid_t uid, int *ret_master, int *ret_slave);
/* Of either end. The programs on it are told when the size changed. */
int pty_set_size(int fd, const struct msg_size *size);
int pty_get_size(int fd, struct msg_size *ret);
