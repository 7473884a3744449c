/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Futex waits in the ring (Linux 6.7), by hand: liburing 2.3 knows nothing of them. */
/*
 * 2026-11-24  Shared flags only: the words are in a mapped file and belong to several processes.
 */
#include "run/loop.h"

/* From linux/io_uring.h and linux/futex.h of 6.7. */
#define OP_FUTEX_WAIT  51
#define OP_FUTEX_WAKE  52
#define OP_FUTEX_WAITV 53
#define FUTEX_SIZE_U32 2 /* FUTEX2_SIZE_U32 without FUTEX2_PRIVATE */

bool weir__loop_futex_supported(struct io_uring *ring)
{
	struct io_uring_probe *probe;
	bool supported;

	probe = io_uring_get_probe_ring(ring);
	if (!probe)
		return false;
	supported = io_uring_opcode_supported(probe, OP_FUTEX_WAIT) &&
		    io_uring_opcode_supported(probe, OP_FUTEX_WAKE) &&
		    io_uring_opcode_supported(probe, OP_FUTEX_WAITV);
	io_uring_free_probe(probe);
	return supported;
}

/* Sleep at line->want.  0; -EAGAIN no room in the ring. */
int weir__loop_futex_wait(struct weir_loop *loop, struct weir_line *line)
{
	struct io_uring_sqe *sqe;

	sqe = weir__loop_sqe(loop, line, LOOP_TAG_LINE);
	if (!sqe)
		return -EAGAIN;
	io_uring_prep_rw(OP_FUTEX_WAIT, sqe, FUTEX_SIZE_U32, line->want.word, 0, line->want.value);
	sqe->addr3 = FUTEX_BITSET_MATCH_ANY;
	line->wait = line->want;
	line->armed = true;
	line->leaving = false;
	return 0;
}

/* Wake one sleeper at `wait`.  A hint: if there is no room, the others look by themselves. */
void weir__loop_futex_wake(struct weir_loop *loop, const struct weir_wait *wait)
{
	struct io_uring_sqe *sqe;

	sqe = weir__loop_sqe(loop, NULL, LOOP_TAG_NOBODY);
	if (!sqe)
		return;
	io_uring_prep_rw(OP_FUTEX_WAKE, sqe, FUTEX_SIZE_U32, wait->word, 0, 1);
	sqe->addr3 = FUTEX_BITSET_MATCH_ANY;
}

/* Wake the loop when ctx or one of its parents is cancelled.  What cannot be armed is made up for
 * by looking every WEIR_RECOVERY_NS. */
void weir__loop_ctx_arm(struct weir_loop *loop, struct weir_ctx *ctx)
{
	struct io_uring_sqe *sqe;
	uint32_t count = 0;

	if (!ctx || !loop->futex || loop->ctx_armed || loop->ctx_blind)
		return;
	for (; ctx && count < LOOP_CTX_WORDS; ctx = ctx->parent) {
		loop->ctx_words[count] = (struct futex_waitv){
			.uaddr = (uint64_t)(uintptr_t)&ctx->cancelled,
			.flags = FUTEX_SIZE_U32,
		};
		count++;
	}
	sqe = weir__loop_sqe(loop, NULL, LOOP_TAG_CTX);
	if (!sqe)
		return;
	io_uring_prep_rw(OP_FUTEX_WAITV, sqe, 0, loop->ctx_words, count, 0);
	loop->ctx_armed = true;
}

/* When the first of ctx and its parents ends. */
uint64_t weir__loop_ctx_deadline_ns(const struct weir_ctx *ctx)
{
	uint64_t deadline_ns = UINT64_MAX;
	uint32_t count;

	for (count = 0; ctx && count < LOOP_CTX_WORDS; count++) {
		if (ctx->deadline_ns < deadline_ns)
			deadline_ns = ctx->deadline_ns;
		ctx = ctx->parent;
	}
	return deadline_ns;
}
