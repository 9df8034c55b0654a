/*
 * protect_host.h - for an agent of a test that runs here and not in a machine. What it is told
 * before and after it sleeps (sync, what to freeze; name, id, clock) would be done to this one.
 */
#pragma once

#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* sync() does nothing: it would wait for all disks of the host, and for whoever writes to them. */
static inline int protect_from_sync(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sync, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(filter) / sizeof(*filter), filter};

	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* In the child, before exec. An ordinary user can do none of the rest anyway. */
static inline void protect_host(void)
{
	if (geteuid() != 0)
		return;
	if (unshare(CLONE_NEWNS | CLONE_NEWUTS) < 0 ||
		mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount("/etc", "/etc", NULL, MS_BIND, NULL) < 0 ||
		mount(NULL, "/etc", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) < 0 ||
		protect_from_sync() < 0 || prctl(PR_CAPBSET_DROP, CAP_SYS_TIME) < 0 ||
		prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN) < 0)
		_exit(126);
}
