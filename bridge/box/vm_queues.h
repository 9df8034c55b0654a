/*
 * vm_queues.h - has vhost-device-vsock taken the guest's queues?
 *
 * Its worker ends, and it never answers again, when it is dialed before; and nobody tells: QEMU
 * only sends. But the kernel shows what a process waits for, and the worker waits for the doorbells
 * of the queues, by their numbers, from the moment it has them.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* 0 or 1; -errno: it cannot be told. */
int vm_queues_taken(pid_t pid);
