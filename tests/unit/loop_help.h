/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* For the tests of libweir-run: operations that count, a segment to use, and other processes. */
#ifndef WEIR_TEST_LOOP_HELP_H
#define WEIR_TEST_LOOP_HELP_H

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <weir/run.h>

#define MS    1000000ull
#define NEVER UINT64_MAX

/* An operation that counts its ends. */
struct end {
	struct weir_op op; /* first */
	int calls;
	int result;
	int order;
	struct weir_sem *sem; /* for functions that need one */
};

static int ends; /* so far, in this test */

static inline void ended(struct weir_loop *loop, struct weir_op *op, int result)
{
	struct end *end = (struct end *)op;

	(void)loop;
	end->calls++;
	end->result = result;
	end->order = ++ends;
}

/* The same, and the loop with it. */
static inline void ended_and_stop(struct weir_loop *loop, struct weir_op *op, int result)
{
	ended(loop, op, result);
	weir_loop_stop(loop);
}

#define END                          \
	{                            \
		.op = {.fn = ended } \
	}
#define END_AND_STOP                          \
	{                                     \
		.op = {.fn = ended_and_stop } \
	}

static inline struct weir_loop *loop_make_flags(uint32_t flags)
{
	struct weir_loop *loop;
	int r;

	r = weir_loop_create(&WEIR_OPTS(loop, .flags = flags), &loop);
	if (r == -ENOSYS || r == -EPERM)
		cr_skip_test("io_uring is missing or forbidden here");
	cr_assert_eq(r, 0, "create: %d", r);
	return loop;
}

static inline struct weir_loop *loop_make(void)
{
	return loop_make_flags(0);
}

static inline void loop_end(struct weir_loop *loop)
{
	cr_assert_eq(weir_loop_close(loop), 0);
}

static inline void run_for(struct weir_loop *loop, uint64_t ns)
{
	struct weir_ctx ctx;

	cr_assert_eq(weir_ctx_init(&ctx, NULL, ns), 0);
	cr_assert_eq(weir_loop_run(loop, &ctx), -ETIMEDOUT);
}

static inline void assert_end(const struct end *end, int result)
{
	cr_assert_eq(end->calls, 1, "called %d times", end->calls);
	cr_assert_eq(end->result, result, "result %d, not %d", end->result, result);
}

/* A segment in a directory of its own. */
struct place {
	char dir[32];
	char path[48];
	struct weir_segment *seg;
	struct weir_sem *sem;
	struct weir_queue *queue;
};

static inline void place_open(struct place *place)
{
	int r;

	strcpy(place->dir, "/tmp/weir-loop-XXXXXX");
	cr_assert_not_null(mkdtemp(place->dir));
	snprintf(place->path, sizeof(place->path), "%s/seg", place->dir);
	r = weir_segment_open(place->path, &WEIR_OPTS(segment, .flags = WEIR_CREATE), &place->seg);
	cr_assert_eq(r, 0, "segment: %d", r);
	r = weir_sem_open(place->seg, "sem", &WEIR_OPTS(sem, .permits = 2), &place->sem);
	cr_assert_eq(r, 0, "sem: %d", r);
	r = weir_queue_open(place->seg, "queue", &WEIR_OPTS(queue, .slots = 4, .bytes = 64),
			    &place->queue);
	cr_assert_eq(r, 0, "queue: %d", r);
}

static inline void place_close(struct place *place)
{
	weir_queue_close(place->queue);
	weir_sem_close(place->sem);
	weir_segment_close(place->seg);
	unlink(place->path);
	rmdir(place->dir);
}

/* Another process: runs fn and ends with its result.  It must not assert: it is no test. */
struct child {
	pid_t pid;
	int told[2]; /* it tells us */
};

static inline void child_start(struct child *child, int (*fn)(struct place *place, int tell),
			       struct place *place)
{
	cr_assert_eq(pipe2(child->told, O_CLOEXEC), 0);
	child->pid = fork();
	cr_assert_geq(child->pid, 0);
	if (!child->pid)
		_exit(fn(place, child->told[1]));
	close(child->told[1]);
}

static inline void child_hear(struct child *child)
{
	char c;

	cr_assert_eq(read(child->told[0], &c, 1), 1, "the child is gone");
}

static inline void child_end(struct child *child, int expect_signal)
{
	int status;

	cr_assert_eq(waitpid(child->pid, &status, 0), child->pid);
	close(child->told[0]);
	if (expect_signal)
		cr_assert(WIFSIGNALED(status));
	else
		cr_assert(WIFEXITED(status) && !WEXITSTATUS(status), "child: %x", status);
}

static inline void pause_1ms(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* A child that shuts the queue down, a little later. */
static inline int shut_down(struct place *place, int tell)
{
	(void)tell;
	pause_1ms();
	return weir_queue_shutdown(place->queue) < 0;
}

#endif
