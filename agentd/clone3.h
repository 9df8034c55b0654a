/*
 * clone3.h - clone3(2) with a function to run on the new stack, which libc does not offer. The
 * child never returns into our frames: it runs fn(arg) on args->stack and exits with its result.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif
#ifndef CLONE_CLEAR_SIGHAND
#define CLONE_CLEAR_SIGHAND 0x100000000ULL
#endif
#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ULL
#endif

/* The kernel's struct clone_args (linux/sched.h would clash with sched.h). */
struct clone3_args {
	uint64_t flags;
	uint64_t pidfd;
	uint64_t child_tid;
	uint64_t parent_tid;
	uint64_t exit_signal;
	uint64_t stack;
	uint64_t stack_size;
	uint64_t tls;
	uint64_t set_tid;
	uint64_t set_tid_size;
	uint64_t cgroup;
};

typedef int (*clone3_fn)(void *arg);

#if defined(__x86_64__) && !defined(__ILP32__)

/* The child's pid, or -errno. The stack's end must be aligned to 16 bytes. */
static inline long clone3_run(const struct clone3_args *args, clone3_fn fn, void *arg)
{
	register clone3_fn r8 __asm__("r8") = fn; /* survive the system call, in both processes */
	register void *r9 __asm__("r9") = arg;
	long ret = SYS_clone3;

	__asm__ volatile(
		"syscall\n\t"
		"testq %%rax, %%rax\n\t"
		"jnz 1f\n\t"
		"xorl %%ebp, %%ebp\n\t" /* the outermost frame */
		"movq %%r9, %%rdi\n\t"
		"callq *%%r8\n\t"
		"movl %%eax, %%edi\n\t"
		"movl %[exit], %%eax\n\t"
		"syscall\n\t"
		"hlt\n"
		"1:"
		: "+a"(ret)
		: "D"(args), "S"(sizeof(*args)), "r"(r8), "r"(r9), [exit] "i"(SYS_exit_group)
		: "rcx", "r11", "memory", "cc");
	return ret;
}

#elif defined(__aarch64__) && defined(__LP64__)

static inline long clone3_run(const struct clone3_args *args, clone3_fn fn, void *arg)
{
	register long x0 __asm__("x0") = (long)(intptr_t)args;
	register long x1 __asm__("x1") = sizeof(*args);
	register long x8 __asm__("x8") = SYS_clone3;
	register clone3_fn x9 __asm__("x9") = fn;
	register void *x10 __asm__("x10") = arg;

	__asm__ volatile("svc #0\n\t"
			 "cbnz x0, 1f\n\t"
			 "mov x29, xzr\n\t" /* the outermost frame */
			 "mov x30, xzr\n\t"
			 "mov x0, x10\n\t"
			 "blr x9\n\t"
			 "mov x8, %[exit]\n\t"
			 "svc #0\n\t"
			 "brk #1\n"
			 "1:"
			 : "+r"(x0)
			 : "r"(x1), "r"(x8), "r"(x9), "r"(x10), [exit] "i"(SYS_exit_group)
			 : "memory", "cc");
	return x0;
}

#else

#include <errno.h>

static inline long clone3_run(const struct clone3_args *args, clone3_fn fn, void *arg)
{
	(void)args;
	(void)fn;
	(void)arg;
	return -ENOSYS; /* the caller falls back to clone() */
}

#endif
