/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Places to sleep.  The argument why no wake is lost is at weir__waitq_prepare() in sync.h. */
#include "sync/sync.h"

void weir__waitq_init(struct weir_waitq_shm *q, const void *object)
{
	q->magic = WEIR__WAITQ_MAGIC;
	q->back = (uint32_t)((const uint8_t *)q - (const uint8_t *)object);
	/* relaxed: not published yet.  Near the wrap, so that every run passes it. */
	weir_store_relaxed(&q->epoch, UINT32_MAX - 16);
}

uint32_t weir__waitq_prepare(struct weir_waitq_shm *q)
{
	/* EDGE waitq.epoch (acquire <- weir__waitq_wake_slow): a wake before this is not ours. */
	uint32_t value = weir_load_acquire(&q->epoch);

	/* relaxed, then the fence: a store in full order would not keep the caller's last look, an
	 * acquire load, behind it. */
	weir_store_relaxed(&q->sleepers, 1);
	/* EDGE waitq.sleepers (full -> weir__waitq_wake): our flag, then our last look. */
	weir_fence_full();
	return value;
}

int weir__waitq_sleep(struct weir_waitq_shm *q, uint32_t value, const struct weir_ctx *ctx)
{
	struct weir__sleep sleeps[WEIR__SLEEP_MAX];
	uint64_t patience = weir__now_ns() + WEIR__RECOVERY_NS;
	uint64_t deadline = weir__ctx_deadline(ctx);
	int r = weir_ctx_err(ctx);

	if (r < 0)
		return r;
	sleeps[0].word = &q->epoch;
	sleeps[0].value = value;
	r = weir__futex_wait(sleeps, 1 + weir__ctx_words(ctx, sleeps + 1),
			     deadline < patience ? deadline : patience);
	if (weir_ctx_err(ctx) < 0)
		return weir_ctx_err(ctx);
	return r == -ETIMEDOUT ? 1 : 0;
}

void weir__waitq_wake_slow(struct weir_waitq_shm *q)
{
	/* EDGE waitq.sleepers (full -> weir__waitq_prepare) */
	if (!weir_swap_full(&q->sleepers, 0))
		return;
	WEIR_CRASH_POINT(waitq_flag_taken);
	/* EDGE waitq.epoch (full -> weir__waitq_prepare): who comes to sleep now sees it moved. */
	weir_add_full(&q->epoch, 1);
	WEIR_CRASH_POINT(waitq_epoch_moved);
	weir__futex_wake(&q->epoch);
}
