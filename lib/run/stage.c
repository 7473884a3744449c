/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A stage of a pipeline: queue in, function, queue out, at least once. */
/*
 * 2026-11-24  The message stays taken until its result is committed, so a stage that dies between
 * the two is repeated by the next one.  It blocks in the queues themselves: a stage has nothing
 * else to wait for, and what its function waits for is its own affair.
 */
#include <errno.h>
#include <weir/run.h>

#include "run/loop.h"

static int stage_idle(const struct weir_stage_opts *opts)
{
	int r;

	if (!opts->idle)
		return 0;
	r = opts->idle(opts->user);
	return r < 0 ? r : 0;
}

/* Say so before going to sleep. */
static int stage_take(const struct weir_stage_opts *opts, struct weir_msg *ret_msg,
		      struct weir_ctx *ctx)
{
	int r;

	r = weir_queue_try_take(opts->in, ret_msg);
	if (r != -EAGAIN)
		return r;
	r = stage_idle(opts);
	if (r < 0)
		return r;
	return weir_queue_take(opts->in, ret_msg, ctx);
}

static int stage_loan(const struct weir_stage_opts *opts, struct weir_msg *ret_msg,
		      struct weir_ctx *ctx)
{
	int r;

	r = weir_queue_try_loan(opts->out, ret_msg);
	if (r != -EAGAIN)
		return r;
	r = stage_idle(opts);
	if (r < 0)
		return r;
	return weir_queue_loan(opts->out, ret_msg, ctx);
}

/* Work on one message; what fails puts it back. */
static int stage_one(const struct weir_stage_opts *opts, struct weir_msg *msg, struct weir_ctx *ctx)
{
	struct weir_msg slot = {0};
	int r;

	if (opts->out) {
		r = stage_loan(opts, &slot, ctx);
		if (r < 0)
			goto out_put_back;
	}
	r = opts->fn(opts->user, msg, opts->out ? &slot : NULL);
	if (r < 0)
		goto out_abort;
	if (opts->out && r > 0) {
		r = weir_queue_commit(opts->out, &slot);
		if (r < 0)
			goto out_abort;
	} else if (opts->out) {
		r = weir_queue_abort(opts->out, &slot);
		if (r < 0)
			goto out_put_back;
	}
	return weir_queue_done(opts->in, msg);

out_abort:
	if (opts->out)
		(void)weir_queue_abort(opts->out, &slot);
out_put_back:
	(void)weir_queue_put_back(opts->in, msg);
	return r;
}

/*
 * `in` is closed and has nothing to take.  It is drained (0) only when nobody works on a message of
 * it any more: that one may come back, and its worker still needs `out`.  Otherwise wait a little
 * and look again (1).  A pause and not a futex: this is once, at the end.
 */
static int stage_rest(const struct weir_stage_opts *opts)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	struct weir_queue_stat stat;
	struct weir_wait wait;
	int r;

	r = weir_queue_stat(opts->in, &stat);
	if (r < 0)
		return r;
	if (!stat.depth && !stat.reading)
		return 0;
	(void)weir_queue_wait_recv(opts->in, &wait); /* looks for the dead */
	syscall(SYS_nanosleep, &pause, NULL);
	return 1;
}

/* Flush, and tell the next stage. */
static int stage_end(const struct weir_stage_opts *opts)
{
	int r;

	r = stage_idle(opts);
	if (r < 0)
		return r;
	return opts->out ? weir_queue_shutdown(opts->out) : 0;
}

int weir_stage_run(const struct weir_stage_opts *opts, struct weir_ctx *ctx)
{
	struct weir_msg msg;
	int r;

	if (!opts || opts->size != sizeof(*opts) || !opts->in || !opts->fn)
		return -EINVAL;
	for (;;) {
		/* A queue that is never empty must not outlive ctx. */
		r = weir_ctx_err(ctx);
		if (r < 0)
			return r;
		r = stage_take(opts, &msg, ctx);
		if (!r) {
			r = stage_one(opts, &msg, ctx);
		} else if (r == -ESHUTDOWN) {
			r = stage_rest(opts);
			if (!r)
				return stage_end(opts);
		}
		if (r < 0)
			return r;
	}
}
