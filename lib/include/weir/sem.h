/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Weighted semaphore: first come, first served, and the dead give back what they held. */
#ifndef WEIR_SEM_H
#define WEIR_SEM_H

#include <weir/ctx.h>
#include <weir/segment.h>

struct weir_sem;

#define WEIR_SEM_PERMITS_MAX 1000000u
#define WEIR_SEM_WEIGHT_MAX  16383u /* per call, and held by one thread */

struct weir_sem_opts {
	size_t size;
	uint32_t permits; /* 1 to WEIR_SEM_PERMITS_MAX */
};

/*
 * Get semaphore `name`, creating it if nobody has: exactly once, whoever calls at the same time.
 * opts NULL: only if it exists.  An existing one must have the same number of permits.
 * Returns  0; -ENOENT; -EINVAL bad name or options; -EEXIST the name is taken by another type or
 *          other options; -ENOSPC arena or directory full; -EUSERS.
 * Progress lock-free.  Crash  leaves nothing that the next sweep does not give back.
 */
WEIR_API int weir_sem_open(struct weir_segment *seg, const char *name,
			   const struct weir_sem_opts *opts, struct weir_sem **ret_sem);

/* Forget the handle; permits stay held.  NULL is fine.  Always 0. */
WEIR_API int weir_sem_close(struct weir_sem *sem);

/*
 * Take `weight` permits, waiting until ctx ends.  Fair: first come, first served, and no smaller
 * request overtakes a bigger one.
 * Returns  0; -ETIMEDOUT, -ECANCELED from ctx; -EINVAL weight 0 or > WEIR_SEM_WEIGHT_MAX or more
 *          than there are (also when the capacity was lowered below the request while it
 *          waited); -EOVERFLOW the thread would hold more than WEIR_SEM_WEIGHT_MAX, what it
 *          waits for (weir_sem_start) included; -EBUSY a weir_sem_start() of this thread is open;
 *          -EUSERS.
 * Context  may sleep; any thread; permits belong to the calling thread.
 * Progress lock-free until it sleeps; no system call unless it has to wait.
 * Crash    permits of the dead come back when a waiter or a sweep finds them, within 100 ms of a
 *          waiter's patience.
 * Source   detectable operations: Attiya, Ben-Baruch, Hendler, PODC 2018.
 */
WEIR_API int weir_sem_acquire(struct weir_sem *sem, uint32_t weight, struct weir_ctx *ctx);

/* The same without waiting: -EAGAIN when it would have to.  Before it says so it looks for the
 * dead, but not more often than every WEIR_RECOVERY_NS.  Lock-free. */
WEIR_API int weir_sem_try_acquire(struct weir_sem *sem, uint32_t weight);

/* Give back `weight` of what the calling thread holds and hand it to the waiters.
 * 0; -EINVAL; -EPERM the thread holds less (nothing is changed).  Lock-free. */
WEIR_API int weir_sem_release(struct weir_sem *sem, uint32_t weight);

/* Change the number of permits.  Shrinking takes nothing away: it stops new grants until enough
 * came back.  Requests in the line for more than there are now leave it with -EINVAL at once.  Once
 * it has returned nobody is let in by the old number, whenever he came.  Who dies in it has changed
 * it or not: which, is settled when he is recovered.
 * 0; -EINVAL; -EUSERS no thread slot is free.  Lock-free. */
WEIR_API int weir_sem_resize(struct weir_sem *sem, uint32_t permits);

/*
 * Waiting without blocking, for event loops.  weir_sem_start() takes the permits (0) or joins the
 * line (-EINPROGRESS); weir_sem_poll() says 0 once they are granted, -EINPROGRESS until then, and
 * where to sleep meanwhile: on futex word *word while it is `value`, not longer than
 * WEIR_RECOVERY_NS.  It says -EINVAL when there is no request, also when the capacity was lowered
 * below the request: then it is in the line no more.  weir_sem_stop() leaves the line: -ECANCELED
 * if it left it, 0 if the permits came first.  One request per thread and semaphore at a time; the
 * thread may release other permits meanwhile.
 */
struct weir_wait {
	uint32_t *word;
	uint32_t value;
};
#define WEIR_RECOVERY_NS 20000000ull /* waiters look for dead holders this often */
WEIR_API int weir_sem_start(struct weir_sem *sem, uint32_t weight);
WEIR_API int weir_sem_poll(struct weir_sem *sem, struct weir_wait *ret_wait);
WEIR_API int weir_sem_stop(struct weir_sem *sem);

struct weir_sem_stat {
	uint32_t permits;
	uint32_t used;
	uint32_t waiters;
	uint32_t held_here; /* by the calling thread */
	uint64_t acquires;
	uint64_t waits;
	uint64_t wait_ns;
};

/* A snapshot, not atomic as a whole.  Wait-free. */
WEIR_API int weir_sem_stat(const struct weir_sem *sem, struct weir_sem_stat *ret_stat);

/*
 * Compare the books: used must be the sum of what the threads hold.  Steps that are under way are
 * judged as recovery would judge them, so the answer is exact, whoever may be stopped or dead in
 * the middle of one; permits of the dead count as held until they are swept. Returns 0; -EBADMSG
 * with the difference (used - sum) in *ret_diff; -EAGAIN permits moved all the time while it
 * looked.  Lock-free.
 */
WEIR_API int weir_sem_check(const struct weir_sem *sem, int64_t *ret_diff);

#endif
