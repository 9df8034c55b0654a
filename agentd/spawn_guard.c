/*
 * One thread, made when it is first needed, that sleeps in sigwaitinfo. A timer that signals this
 * thread is started before the clone and stopped after it, so in the usual case the thread never
 * wakes and a spawn costs two cheap system calls more. The child's pidfd is in our memory before
 * the child first runs.
 */
#include "agentd/spawn_guard.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "base/base.h"

#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef P_PIDFD
#define P_PIDFD 3
#endif
#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

#define TICK_NS     5000000L
#define STOPS_MAX   100
#define STACK_SIZE  (64 * KIB)
#define TICK_SIGNAL SIGALRM /* to that thread alone, where it is blocked */

static bool ready; /* there are the thread and its timer */
static timer_t timer;
static sem_t thread_started;
static pid_t thread_id;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* for the rest */
static const volatile int *watched; /* where the pidfd is or will be; NULL: nothing to watch */
static int stops;

static void look_after(int pidfd)
{
	siginfo_t info = {0};

	if (waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WSTOPPED | WNOHANG | WNOWAIT) < 0 ||
		info.si_pid == 0)
		return; /* it is just slow */
	stops++;
	syscall(SYS_pidfd_send_signal, pidfd, stops < STOPS_MAX ? SIGCONT : SIGKILL, NULL, 0);
}

static void *run(void *arg)
{
	sigset_t ticks;

	(void)arg;
	thread_id = (pid_t)syscall(SYS_gettid);
	sem_post(&thread_started);
	sigemptyset(&ticks);
	sigaddset(&ticks, TICK_SIGNAL);
	for (;;) {
		sigwaitinfo(&ticks, NULL);
		pthread_mutex_lock(&lock);
		if (watched && *watched >= 0)
			look_after(*watched);
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

/* The thread inherits the mask of its maker, in which all is blocked. */
static bool start_thread(void)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	sem_init(&thread_started, 0, 0);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	r = pthread_create(&thread, &attr, run, NULL);
	pthread_attr_destroy(&attr);
	if (r != 0)
		return false;
	while (sem_wait(&thread_started) < 0)
		;
	return true;
}

static bool make_ready(void)
{
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = TICK_SIGNAL};

	if (!thread_id && !start_thread())
		return false;
	event.sigev_notify_thread_id = thread_id;
	ready = timer_create(CLOCK_MONOTONIC, &event, &timer) == 0;
	return ready;
}

static void set_timer(long ns)
{
	struct itimerspec value = {{0, ns}, {0, ns}};

	timer_settime(timer, 0, &value, NULL);
}

void spawn_guard_begin(const int *pidfd)
{
	if (!ready && !make_ready())
		return;
	pthread_mutex_lock(&lock);
	watched = pidfd;
	stops = 0;
	pthread_mutex_unlock(&lock);
	set_timer(TICK_NS);
}

void spawn_guard_end(void)
{
	if (!ready)
		return;
	set_timer(0);
	pthread_mutex_lock(&lock);
	watched = NULL;
	pthread_mutex_unlock(&lock);
}
