/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * weir/base.h says that no function is a cancellation point, although the library sleeps, opens,
 * reads and closes.  Each check cancels a thread before it calls; the call must return, and the
 * thread ends after it.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weir.h>

static struct weir_segment *seg;
static struct weir_limiter *limiter;
static struct weir_sem *sem;
static char dir[] = "/dev/shm/weir-open-XXXXXX";
static char path[64];
static volatile int returned;
static int passed;
static int failed;

static void *wait_for_limit(void *unused)
{
	pthread_cancel(pthread_self());
	weir_limiter_wait(limiter, 1, NULL);
	returned = 1;
	return unused;
}

static void *open_segment(void *unused)
{
	struct weir_segment *own;

	pthread_cancel(pthread_self());
	weir_segment_open(path, NULL, &own);
	returned = 1;
	return unused;
}

static void *new_trace(void *unused)
{
	struct weir_trace trace;

	pthread_cancel(pthread_self());
	weir_trace_new(&trace);
	returned = 1;
	return unused;
}

static void check(const char *what, int good)
{
	printf("%-60s %s\n", what, good ? "ok" : "FAIL");
	passed += good != 0;
	failed += good == 0;
}

static void check_thread(const char *what, void *(*fn)(void *unused))
{
	pthread_t id;

	returned = 0;
	if (pthread_create(&id, NULL, fn, NULL) == 0)
		pthread_join(id, NULL);
	check(what, returned);
}

/* The worst of it: the handle's lock is held there, and the end of the thread wants it. */
static void check_forked_child(void)
{
	int status = -1;
	pid_t pid;

	weir_sem_acquire(sem, 1, NULL);
	weir_sem_release(sem, 1);
	pid = fork();
	if (pid == 0) {
		alarm(2);
		pthread_cancel(pthread_self());
		weir_sem_try_acquire(sem, 1); /* Becomes a participant: reads /proc/self/stat. */
		_exit(0);
	}
	waitpid(pid, &status, 0);
	check("a forked child's first call returns", status == 0);
	check("... or at least does not hang", !WIFSIGNALED(status));
}

int main(void)
{
	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof(path), "%s/seg", dir);
	if (weir_segment_open(path, &WEIR_OPTS(segment, .flags = WEIR_CREATE), &seg) != 0 ||
	    weir_sem_open(seg, "sem", &WEIR_OPTS(sem, .permits = 1), &sem) != 0 ||
	    weir_limiter_open(seg, "limiter",
			      &WEIR_OPTS(limiter, .count = 10, .period_ns = 1000000000, .burst = 1),
			      &limiter) != 0)
		return 1;
	weir_limiter_allow(limiter, 1, NULL);
	check_thread("weir_limiter_wait returns", wait_for_limit);
	check_thread("weir_segment_open returns", open_segment);
	check_thread("weir_trace_new returns", new_trace);
	check_forked_child();
	weir_segment_close(seg);
	unlink(path);
	rmdir(dir);
	printf("%d passed, %d failed\n", passed, failed);
	return failed != 0;
}
