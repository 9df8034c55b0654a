/*
 * child_exit.h - how a process ended, as PID 1 tells agentd about children that came to it because
 * their agent died. One record a message, host byte order: both ends run on the same machine.
 */
#pragma once

#include <stdint.h>

struct child_exit {
	int32_t pid;
	int32_t status; /* as of wait(2) */
	uint64_t user_us, sys_us, maxrss_kb;
};
