/*
 * spawn_guard.h - so that nobody can stop us by stopping a child that we wait for.
 *
 * Between setresuid and exec a child of ours is a process of its user, who may send it SIGSTOP; and
 * as it is a vfork child, we would stand still with it, for ever. A thread watches over every spawn
 * that takes long: it continues a stopped child, and kills one that is stopped again and again.
 */
#pragma once

/* Around the clone, with all signals blocked. *pidfd is -1 and becomes the child's when there is
 * one. Without memory for the thread there is no guard. */
void spawn_guard_begin(const int *pidfd);
void spawn_guard_end(void);
