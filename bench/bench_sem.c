/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Semaphores: take one permit and give it back, alone and with a second process doing the same.
 *
 * weir is measured twice: compiled into this program with link-time optimisation, and as
 * libweir.so, loaded with dlopen() and called through pointers, which costs what a call through
 * the procedure linkage table does.  Both are in the same rounds as the bare pairs.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <unistd.h>

#include "bench.h"

#ifndef BENCH_SO
#define BENCH_SO "build/libweir.so"
#endif
#define PERMITS 20

/* --- the physical limit -------------------------------------------------------------------- */

static void run_add(void *arg, uint64_t count)
{
	_Atomic uint64_t *word = arg;

	for (uint64_t i = 0; i < count; i++) {
		atomic_fetch_add(word, 1);
		atomic_fetch_sub(word, 1);
	}
}

/* The least that a counting semaphore can do: no owner, no waiting, but never above the cap. */
static void run_cas(void *arg, uint64_t count)
{
	_Atomic uint64_t *word = arg;
	uint64_t used;

	for (uint64_t i = 0; i < count; i++) {
		used = atomic_load_explicit(word, memory_order_relaxed);
		while (used >= PERMITS || !atomic_compare_exchange_strong(word, &used, used + 1))
			if (used >= PERMITS)
				used = atomic_load_explicit(word, memory_order_relaxed);
		used = atomic_load_explicit(word, memory_order_relaxed);
		while (!atomic_compare_exchange_strong(word, &used, used - 1))
			;
	}
}

/* --- weir ---------------------------------------------------------------------------------- */

static void run_weir(void *arg, uint64_t count)
{
	struct weir_sem *sem = arg;

	for (uint64_t i = 0; i < count; i++) {
		weir_sem_acquire(sem, 1, NULL);
		weir_sem_release(sem, 1);
	}
}

struct shared_library {
	struct weir_sem *sem;
	int (*acquire)(struct weir_sem *sem, uint32_t weight, struct weir_ctx *ctx);
	int (*release)(struct weir_sem *sem, uint32_t weight);
};

static void run_so(void *arg, uint64_t count)
{
	struct shared_library so = *(struct shared_library *)arg;

	for (uint64_t i = 0; i < count; i++) {
		so.acquire(so.sem, 1, NULL);
		so.release(so.sem, 1);
	}
}

/* POSIX wants a function pointer from dlsym() copied, not cast. */
static void find(void *so, const char *name, void *ret_function)
{
	void *symbol = dlsym(so, name);

	if (!symbol)
		bench_die(dlerror(), ENOENT);
	memcpy(ret_function, &symbol, sizeof(symbol));
}

static struct shared_library *so_make(void)
{
	static struct shared_library lib;
	int (*segment_open)(const char *, const struct weir_segment_opts *, struct weir_segment **);
	int (*segment_unlink)(const char *);
	int (*sem_open)(struct weir_segment *, const char *, const struct weir_sem_opts *,
			struct weir_sem **);
	void *so = dlopen(BENCH_SO, RTLD_NOW | RTLD_LOCAL);
	struct weir_segment *seg;
	char path[64];
	int r;

	if (!so)
		bench_die(dlerror(), ENOENT);
	find(so, "weir_segment_open", &segment_open);
	find(so, "weir_segment_unlink", &segment_unlink);
	find(so, "weir_sem_open", &sem_open);
	find(so, "weir_sem_acquire", &lib.acquire);
	find(so, "weir_sem_release", &lib.release);
	snprintf(path, sizeof(path), "/dev/shm/weir-bench-so-%d", (int)getpid());
	r = segment_open(path, &WEIR_OPTS(segment, .flags = WEIR_CREATE | WEIR_EXCLUSIVE), &seg);
	if (r < 0)
		bench_die(path, r);
	segment_unlink(path);
	r = sem_open(seg, "sem", &WEIR_OPTS(sem, .permits = PERMITS), &lib.sem);
	if (r < 0)
		bench_die("weir_sem_open in the shared library", r);
	return &lib;
}

static struct weir_sem *weir_make(void)
{
	struct weir_sem *sem;
	int r = weir_sem_open(bench_segment(), "sem", &WEIR_OPTS(sem, .permits = PERMITS), &sem);

	if (r < 0)
		bench_die("weir_sem_open", r);
	return sem;
}

/* --- peers --------------------------------------------------------------------------------- */

static void run_posix(void *arg, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		sem_wait(arg);
		sem_post(arg);
	}
}

static void *posix_make(void)
{
	sem_t *sem = bench_shared(sizeof(*sem));

	sem_init(sem, 1, PERMITS);
	return sem;
}

static void run_mutex(void *arg, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		pthread_mutex_lock(arg);
		pthread_mutex_unlock(arg);
	}
}

static void *mutex_make(void)
{
	pthread_mutex_t *mutex = bench_shared(sizeof(*mutex));
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(mutex, &attr);
	return mutex;
}

static int sysv;

static void run_sysv(void *arg, uint64_t count)
{
	struct sembuf take = {.sem_op = -1, .sem_flg = SEM_UNDO};
	struct sembuf give = {.sem_op = 1, .sem_flg = SEM_UNDO};

	(void)arg;
	for (uint64_t i = 0; i < count; i++) {
		semop(sysv, &take, 1);
		semop(sysv, &give, 1);
	}
}

static void sysv_make(void)
{
	union {
		int val;
		struct semid_ds *buf;
	} value = {.val = PERMITS};

	sysv = semget(IPC_PRIVATE, 1, 0600);
	if (sysv < 0 || semctl(sysv, 0, SETVAL, value) < 0)
		bench_die("semget", errno);
}

enum row { ADD, CAS, STATIC, SO, POSIX, MUTEX, SYSV, ROWS };

int main(void)
{
	struct bench_table table = {
		.name = "sem", .title = "semaphore: acquire + release, ratio to the bare CAS pair"};
	struct bench_case cases[ROWS] = {
		[ADD] = {.name = "fetch_add pair", .run = run_add, .arg = bench_shared(64)},
		[CAS] = {.name = "bare CAS pair", .run = run_cas, .arg = bench_shared(64)},
		[STATIC] = {.name = "weir, static with LTO", .run = run_weir, .arg = weir_make()},
		[SO] = {.name = "weir, libweir.so", .run = run_so, .arg = so_make()},
		[POSIX] = {.name = "sem_t", .run = run_posix, .arg = posix_make()},
		[MUTEX] = {.name = "robust mutex", .run = run_mutex, .arg = mutex_make()},
		[SYSV] = {.name = "semop + SEM_UNDO", .run = run_sysv},
	};

	bench_table_begin(&table);
	sysv_make();
	bench_cases(cases, ROWS);
	semctl(sysv, 0, IPC_RMID);
	bench_table_cases(&table, cases, ROWS, &cases[CAS]);
	bench_table_bar(&table, "alone, static: x bare CAS pair",
			bench_ratio(&cases[STATIC], &cases[CAS], BENCH_ALONE), 1.2, false);
	bench_table_bar(&table, "alone, libweir.so: x bare CAS pair",
			bench_ratio(&cases[SO], &cases[CAS], BENCH_ALONE), 1.4, false);
	bench_table_bar(&table, "two processes, static: x bare CAS pair",
			bench_ratio(&cases[STATIC], &cases[CAS], BENCH_CONTENDED), 1.4, false);
	bench_table_bar(&table, "alone, static: times faster than SEM_UNDO",
			bench_ratio(&cases[SYSV], &cases[STATIC], BENCH_ALONE), 150, true);
	bench_table_end(&table);
	return 0;
}
