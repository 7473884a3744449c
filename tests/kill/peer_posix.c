/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the system has: sem_t, a robust mutex, System V semaphores with SEM_UNDO. */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/ipc.h>
#include <sys/sem.h>

#include "kill.h"

static void nothing(void *area)
{
	(void)area;
}

static bool sem_t_make(void *area)
{
	return sem_init(area, 1, PERMITS) == 0;
}

static bool sem_t_put(void *area, uint64_t value, int ms)
{
	(void)value;
	(void)ms;
	return sem_post(area) == 0;
}

static bool sem_t_get(void *area, uint64_t *ret_value, int ms)
{
	struct timespec t;

	(void)ret_value;
	if (ms == 0)
		return sem_trywait(area) == 0;
	t = kill_deadline(CLOCK_REALTIME, ms);
	return sem_timedwait(area, &t) == 0;
}

static bool robust_make(void *area)
{
	pthread_mutexattr_t attr;

	return pthread_mutexattr_init(&attr) == 0 &&
	       pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED) == 0 &&
	       pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST) == 0 &&
	       pthread_mutex_init(area, &attr) == 0;
}

static bool robust_put(void *area, uint64_t value, int ms)
{
	(void)value;
	(void)ms;
	return pthread_mutex_unlock(area) == 0;
}

static bool robust_get(void *area, uint64_t *ret_value, int ms)
{
	struct timespec t;
	int r;

	(void)ret_value;
	if (ms == 0) {
		r = pthread_mutex_trylock(area);
	} else {
		t = kill_deadline(CLOCK_REALTIME, ms);
		r = pthread_mutex_timedlock(area, &t);
	}
	if (r == EOWNERDEAD)
		return pthread_mutex_consistent(area) == 0;
	return r == 0;
}

static int undo_id;

static bool undo_make(void *area)
{
	(void)area;
	undo_id = semget(IPC_PRIVATE, 1, 0600);
	return undo_id >= 0 && semctl(undo_id, 0, SETVAL, (int)PERMITS) == 0;
}

static void undo_drop(void *area)
{
	(void)area;
	semctl(undo_id, 0, IPC_RMID);
}

static bool undo_op(short n, int ms)
{
	struct sembuf op = {.sem_op = n, .sem_flg = SEM_UNDO};
	struct timespec t = {.tv_nsec = (long)ms * 1000000};

	if (ms == 0)
		op.sem_flg |= IPC_NOWAIT;
	return semtimedop(undo_id, &op, 1, ms ? &t : NULL) == 0;
}

static bool undo_put(void *area, uint64_t value, int ms)
{
	(void)area;
	(void)value;
	return undo_op(1, ms);
}

static bool undo_get(void *area, uint64_t *ret_value, int ms)
{
	(void)area;
	(void)ret_value;
	return undo_op(-1, ms);
}

const struct peer peers_posix[] = {
	{"sem_t",
	 {"sem_post", "sem_trywait"},
	 SEMAPHORE,
	 sem_t_make,
	 nothing,
	 NULL,
	 NULL,
	 sem_t_put,
	 sem_t_get},
	{"System V semaphore, SEM_UNDO",
	 {"semop +1", "semop -1"},
	 SEMAPHORE,
	 undo_make,
	 undo_drop,
	 NULL,
	 NULL,
	 undo_put,
	 undo_get},
	{"pthread mutex, robust",
	 {"unlock", "trylock"},
	 LOCK,
	 robust_make,
	 nothing,
	 NULL,
	 NULL,
	 robust_put,
	 robust_get},
	{0},
};
