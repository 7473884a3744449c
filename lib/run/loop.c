/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The loop: one ring, the operations in it, and the order in which their functions are called. */
/*
 * 2026-11-24  Every operation ends by way of loop->ready, whatever ended it: a completion, a grant,
 * a cancel.  Functions are called from there and nowhere else, so never from within the call that
 * started their operation, and they find the lists of the loop at rest.
 *
 *	start --> flying (kernel) --completion--+
 *	  |                                     v
 *	  +-----> line (weir object) --grant--> ready --> fn --> start ...
 *
 * 2026-11-24  No IORING_SETUP_SINGLE_ISSUER: it ties the ring to the thread that creates the loop,
 * which need not be the one that runs it.
 */
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "run/loop.h"

#define LOOP_ENTRIES 256

void weir__loop_list_append(struct loop_list *list, struct weir_op *op)
{
	op->next = NULL;
	op->prev = list->last;
	if (list->last)
		list->last->next = op;
	else
		list->first = op;
	list->last = op;
}

void weir__loop_list_remove(struct loop_list *list, struct weir_op *op)
{
	if (op->prev)
		op->prev->next = op->next;
	else
		list->first = op->next;
	if (op->next)
		op->next->prev = op->prev;
	else
		list->last = op->prev;
}

/* `op` must be in no list any more. */
void weir__loop_ready(struct weir_loop *loop, struct weir_op *op, int result)
{
	op->state = LOOP_READY;
	op->result = result;
	weir__loop_list_append(&loop->ready, op);
}

/* May an operation be started? */
int weir__loop_admit(const struct weir_loop *loop, const struct weir_op *op)
{
	if (!loop || !op || !op->fn)
		return -EINVAL;
	return loop->closing ? -ESHUTDOWN : 0;
}

/* A free entry of the submission queue that will complete to `pointer`; NULL if the kernel takes
 * none now. */
struct io_uring_sqe *weir__loop_sqe(struct weir_loop *loop, const void *pointer, enum loop_tag tag)
{
	struct io_uring_sqe *sqe;

	sqe = io_uring_get_sqe(&loop->ring);
	if (!sqe) {
		(void)io_uring_submit(&loop->ring);
		sqe = io_uring_get_sqe(&loop->ring);
	}
	if (!sqe)
		return NULL;
	io_uring_sqe_set_data64(sqe, loop_tag(pointer, tag));
	if (tag != LOOP_TAG_OP)
		loop->inside++;
	return sqe;
}

/* Ask the kernel to end a request of ours early. */
int weir__loop_recall(struct weir_loop *loop, const void *pointer, enum loop_tag tag)
{
	struct io_uring_sqe *sqe;

	sqe = weir__loop_sqe(loop, NULL, LOOP_TAG_NOBODY);
	if (!sqe)
		return -EAGAIN;
	io_uring_prep_cancel64(sqe, loop_tag(pointer, tag), 0);
	return 0;
}

static void loop_arm_stop(struct weir_loop *loop)
{
	struct io_uring_sqe *sqe;

	if (loop->stop_armed)
		return;
	sqe = weir__loop_sqe(loop, NULL, LOOP_TAG_STOP);
	if (!sqe)
		return;
	io_uring_prep_poll_add(sqe, loop->stop_fd, POLLIN);
	loop->stop_armed = true;
}

/* Take back the stops that were asked for.  True if there were any. */
static bool loop_drain_stop(struct weir_loop *loop)
{
	uint64_t count;

	return syscall(SYS_read, loop->stop_fd, &count, sizeof(count)) == (ssize_t)sizeof(count);
}

/* How an operation that the kernel ended ends for the user. */
static int op_result(const struct weir_op *op, int result)
{
	if (op->timer[0] >= 0 && result == -ETIME)
		return 0;
	/* What a worker thread of the kernel was blocked in ends with EINTR when it is recalled. */
	if (op->cancelled && result == -EINTR)
		return -ECANCELED;
	return result;
}

static void loop_complete(struct weir_loop *loop, uint64_t data, int result)
{
	void *pointer = (void *)(uintptr_t)(data & ~(uint64_t)LOOP_TAG_MASK);
	struct weir_op *op = pointer;

	if ((data & LOOP_TAG_MASK) != LOOP_TAG_OP)
		loop->inside--;
	switch (data & LOOP_TAG_MASK) {
	case LOOP_TAG_OP:
		weir__loop_list_remove(&loop->flying, op);
		weir__loop_ready(loop, op, op_result(op, result));
		break;
	case LOOP_TAG_LINE:
		weir__loop_line_woken(loop, pointer, result);
		break;
	case LOOP_TAG_STOP:
		loop->stop_armed = false;
		if (loop_drain_stop(loop))
			loop->stopped = true;
		break;
	case LOOP_TAG_CTX:
		loop->ctx_armed = false;
		if (result < 0 && result != -ECANCELED)
			loop->ctx_blind = true;
		break;
	default:
		break;
	}
}

static void loop_reap(struct weir_loop *loop)
{
	struct io_uring_cqe *cqe;
	unsigned int head;
	unsigned int count = 0;

	io_uring_for_each_cqe(&loop->ring, head, cqe)
	{
		loop_complete(loop, cqe->user_data, cqe->res);
		count++;
	}
	io_uring_cq_advance(&loop->ring, count);
}

/*
 * Hand the kernel what is new, wait until `until_ns` (UINT64_MAX: as long as it takes; 0: not at
 * all) for a completion, and reap.  EAGAIN and EBUSY are a kernel short of memory or of room for
 * completions: reaping and coming again is the cure.
 */
static int loop_enter(struct weir_loop *loop, uint64_t now_ns, uint64_t until_ns)
{
	struct __kernel_timespec ts;
	struct io_uring_cqe *cqe;
	uint64_t ns;
	int r;

	if (until_ns <= now_ns) {
		r = io_uring_submit(&loop->ring);
	} else if (until_ns == UINT64_MAX) {
		r = io_uring_submit_and_wait(&loop->ring, 1);
	} else {
		ns = until_ns - now_ns;
		ts.tv_sec = (int64_t)(ns / 1000000000u);
		ts.tv_nsec = (int64_t)(ns % 1000000000u);
		r = io_uring_submit_and_wait_timeout(&loop->ring, &cqe, 1, &ts, NULL);
	}
	if (r < 0 && r != -ETIME && r != -EINTR && r != -EAGAIN && r != -EBUSY)
		return r;
	loop_reap(loop);
	return 0;
}

/* Call what is ready now, not what gets ready meanwhile: the ring must have its turn. */
static void loop_call_ready(struct weir_loop *loop)
{
	struct loop_list batch = loop->ready;
	struct weir_op *op;

	loop->ready = (struct loop_list){0};
	while (batch.first) {
		op = batch.first;
		weir__loop_list_remove(&batch, op);
		op->state = LOOP_IDLE;
		loop->active--;
		op->fn(loop, op, op->result); /* op may be gone or started again after this */
	}
}

static int loop_turn(struct weir_loop *loop, struct weir_ctx *ctx)
{
	uint64_t now_ns = weir_now_ns();
	uint64_t until_ns;
	uint64_t ns;

	weir__loop_lines_look(loop, now_ns);
	loop_arm_stop(loop);
	weir__loop_ctx_arm(loop, ctx);
	if (loop->ready.first)
		return loop_enter(loop, now_ns, 0);
	until_ns = weir__loop_lines_look_ns(loop);
	ns = weir__loop_ctx_deadline_ns(ctx);
	if (ns < until_ns)
		until_ns = ns;
	if (ctx && !loop->ctx_armed && now_ns + WEIR_RECOVERY_NS < until_ns)
		until_ns = now_ns + WEIR_RECOVERY_NS;
	return loop_enter(loop, now_ns, until_ns);
}

/* Ends with a stop, with the last operation, or with ctx. */
static int loop_turns(struct weir_loop *loop, struct weir_ctx *ctx)
{
	int r;

	for (;;) {
		r = weir_ctx_err(ctx);
		if (r < 0)
			return r;
		loop_call_ready(loop);
		if (loop->stopped) {
			loop->stopped = false;
			return 0;
		}
		if (!loop->active) {
			/* A stop that came too late was for this run. */
			(void)loop_drain_stop(loop);
			return 0;
		}
		r = loop_turn(loop, ctx);
		if (r < 0)
			return r;
	}
}

/* The kernel must not look at ctx after weir_loop_run() has returned.  Ends: a recalled futex wait
 * completes at once.  The pause is bounded for when there was no room to recall it. */
static int loop_leave_ctx(struct weir_loop *loop)
{
	bool recalled = false;
	int r = 0;

	while (loop->ctx_armed && !r) {
		if (!recalled)
			recalled = !weir__loop_recall(loop, NULL, LOOP_TAG_CTX);
		r = loop_enter(loop, 0, WEIR_RECOVERY_NS);
	}
	return r;
}

int weir_loop_run(struct weir_loop *loop, struct weir_ctx *ctx)
{
	int left;
	int r;

	if (!loop)
		return -EINVAL;
	if (loop->running || loop->closing)
		return -EBUSY;
	loop->running = true;
	loop->ctx_blind = false;
	r = loop_turns(loop, ctx);
	left = loop_leave_ctx(loop);
	loop->running = false;
	return r < 0 ? r : left;
}

int weir_loop_stop(struct weir_loop *loop)
{
	const uint64_t one = 1;
	int saved = errno; /* of the code that a signal handler interrupts */

	if (!loop)
		return -EINVAL;
	/* Fails only when the count is full of stops. */
	(void)syscall(SYS_write, loop->stop_fd, &one, sizeof(one));
	errno = saved;
	return 0;
}

int weir_loop_cancel(struct weir_loop *loop, struct weir_op *op)
{
	int r;

	if (!loop || !op)
		return -EINVAL;
	switch (op->state) {
	case LOOP_READY: /* the result came first */
		return 0;
	case LOOP_LINE:
		weir__loop_line_leave(loop, op, -ECANCELED);
		return 0;
	case LOOP_RING:
		if (op->cancelled)
			return 0;
		r = weir__loop_recall(loop, op, LOOP_TAG_OP);
		if (!r)
			op->cancelled = 1;
		return r;
	default:
		return -ENOENT;
	}
}

int weir_loop_has_futex(const struct weir_loop *loop)
{
	return loop && loop->futex;
}

/* Old kernels refuse flags that they do not know. */
static int loop_ring_init(struct weir_loop *loop, unsigned int entries)
{
	static const unsigned int flags[] = {
		/* 5.19: no interrupt to post a completion, but a flag that says there is one. */
		IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN |
			IORING_SETUP_TASKRUN_FLAG,
		IORING_SETUP_CLAMP,
	};
	int r = -EINVAL;
	size_t i;

	for (i = 0; i < sizeof(flags) / sizeof(flags[0]) && r == -EINVAL; i++)
		r = io_uring_queue_init(entries, &loop->ring, flags[i]);
	return r;
}

int weir_loop_create(const struct weir_loop_opts *opts, struct weir_loop **ret_loop)
{
	const struct weir_loop_opts defaults = WEIR_OPTS(loop);
	struct weir_loop *loop;
	int r;

	if (!opts)
		opts = &defaults;
	if (opts->size != sizeof(*opts) || (opts->flags & ~(uint32_t)WEIR_LOOP_NO_FUTEX))
		return -EINVAL;
	loop = calloc(1, sizeof(*loop));
	if (!loop)
		return -ENOMEM;
	loop->deadline_ns = UINT64_MAX;
	loop->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->stop_fd < 0) {
		r = -errno;
		goto out_free;
	}
	r = loop_ring_init(loop, opts->entries ? opts->entries : LOOP_ENTRIES);
	if (r < 0)
		goto out_eventfd;
	/* A child that touches the loop had better crash than write into our ring. */
	(void)io_uring_ring_dontfork(&loop->ring);
	loop->futex =
		!(opts->flags & WEIR_LOOP_NO_FUTEX) && weir__loop_futex_supported(&loop->ring);
	*ret_loop = loop;
	return 0;

out_eventfd:
	syscall(SYS_close, loop->stop_fd);
out_free:
	free(loop);
	return r;
}

/* Recall everything and wait for it: the kernel must not write into memory that the caller frees
 * next.  Ends: each recalled request completes, those that cannot be recalled (a write to a disk)
 * when they are done.  What found no room is recalled in the next turn. */
static int loop_empty(struct weir_loop *loop)
{
	bool recalled = false;
	struct weir_op *op;
	int r;

	weir__loop_lines_abandon(loop);
	while (loop->flying.first || loop->inside) {
		for (op = loop->flying.first; op; op = op->next)
			(void)weir_loop_cancel(loop, op);
		if (loop->stop_armed && !recalled)
			recalled = !weir__loop_recall(loop, NULL, LOOP_TAG_STOP);
		weir__loop_lines_abandon(loop);
		r = loop_enter(loop, 0, WEIR_RECOVERY_NS);
		if (r < 0)
			return r;
	}
	return 0;
}

int weir_loop_close(struct weir_loop *loop)
{
	struct weir_op *op;
	int r;

	if (!loop)
		return 0;
	if (loop->running || loop->closing)
		return -EBUSY;
	loop->closing = true;
	r = loop_empty(loop);
	io_uring_queue_exit(&loop->ring);
	/* Not empty only if the ring failed: each function is called all the same. */
	while ((op = loop->flying.first)) {
		weir__loop_list_remove(&loop->flying, op);
		weir__loop_ready(loop, op, -ECANCELED);
	}
	loop_call_ready(loop);
	weir__loop_lines_free(loop);
	syscall(SYS_close, loop->stop_fd);
	free(loop);
	return r;
}
