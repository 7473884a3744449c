/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A segment of its own for each test, and children that do not outlive it. */
#ifndef WEIR_TESTS_OBJ_HELP_H
#define WEIR_TESTS_OBJ_HELP_H

#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weir/segment.h>

#include "obj/obj.h"

#define MS	     UINT64_C(1000000)
#define HOUR_NS	     (3600000 * MS)
#define CHILDREN_MAX 8

static char help_dir[32];
static char help_path[64];
static struct weir_segment *seg;

static inline void seg_make(void)
{
	int r;

	strcpy(help_dir, "/dev/shm/weir-test-XXXXXX");
	cr_assert_not_null(mkdtemp(help_dir));
	snprintf(help_path, sizeof(help_path), "%s/seg", help_dir);
	r = weir_segment_open(
		help_path,
		&WEIR_OPTS(segment, .flags = WEIR_CREATE, .threads = 32, .bytes = 8 << 20), &seg);
	cr_assert_eq(r, 0, "weir_segment_open: %s", strerror(-r));
}

static inline void seg_drop(void)
{
	weir_segment_close(seg);
	unlink(help_path);
	rmdir(help_dir);
}

/* Memory that parent and children share, for their scores and signals. */
struct help_board {
	WEIR_ATOMIC(uint32_t) go;   /* how far the parent lets them run */
	WEIR_ATOMIC(uint32_t) here; /* how many have arrived, all steps together */
	WEIR_ATOMIC(uint64_t) score[CHILDREN_MAX];
};

static inline struct help_board *board_make(void)
{
	void *p = mmap(NULL, sizeof(struct help_board), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	cr_assert_neq(p, MAP_FAILED);
	return p;
}

/* In a child: say that it is here, and wait for step `step`. */
static inline void board_meet(struct help_board *board, uint32_t step)
{
	weir_add_full(&board->here, 1);
	while (weir_load_full(&board->go) < step)
		sched_yield();
}

/* In the parent: let them go on when `here` have arrived. */
static inline void board_release(struct help_board *board, uint32_t here, uint32_t step)
{
	while (weir_load_full(&board->here) < here)
		sched_yield();
	weir_store_full(&board->go, step);
}

/* Put the caller on one processor, others on others: left alone, short-lived children may all run
 * one after the other on the same, and a race would never be run. */
static inline void pin(int index)
{
	cpu_set_t all;
	cpu_set_t one;
	int wanted;

	if (sched_getaffinity(0, sizeof(all), &all) < 0)
		return;
	wanted = index % CPU_COUNT(&all);
	for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &all) || wanted-- > 0)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		sched_setaffinity(0, sizeof(one), &one);
		return;
	}
}

static inline pid_t child_start(void (*fn)(struct help_board *board, int index),
				struct help_board *board, int index)
{
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pin(index);
		fn(board, index);
		_exit(0);
	}
	return pid;
}

static inline void child_kill(pid_t pid)
{
	kill(pid, SIGKILL);
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
}

/* It must have ended well. */
static inline void child_reap(pid_t pid)
{
	int status;

	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child ended with %x",
		  (unsigned int)status);
}

/* A small generator with a known seed. */
static inline uint64_t help_random(uint64_t *state)
{
	*state += UINT64_C(0x9e3779b97f4a7c15);
	uint64_t z = (*state ^ *state >> 30) * UINT64_C(0xbf58476d1ce4e5b9);

	return (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb) >> 16;
}

#endif
