/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Contexts: deadline and cancellation, found by walking up; nothing to register, nothing to leak.
 */
#include <string.h>

#include "sync/sync.h"

#define DEPTH_MAX 8u

/* The public header has a plain word, so that C++ and other compilers can read it. */
static WEIR_ATOMIC(uint32_t) * cancelled_word(const struct weir_ctx *ctx)
{
	return (WEIR_ATOMIC(uint32_t) *)(uintptr_t)&ctx->cancelled;
}

int weir_ctx_init(struct weir_ctx *ctx, struct weir_ctx *parent, uint64_t timeout_ns)
{
	uint64_t now = timeout_ns == UINT64_MAX ? 0 : weir__now_ns();

	if (parent && parent->depth + 1 >= DEPTH_MAX)
		return -EINVAL;
	memset(ctx, 0, sizeof(*ctx));
	ctx->deadline_ns = timeout_ns >= UINT64_MAX - now ? UINT64_MAX : now + timeout_ns;
	ctx->parent = parent;
	if (parent) {
		ctx->depth = parent->depth + 1;
		ctx->trace = parent->trace;
	}
	return 0;
}

int weir_ctx_cancel(struct weir_ctx *ctx)
{
	/* EDGE ctx.cancelled (full -> weir_ctx_err): what the canceller did before is visible. */
	weir_store_full(cancelled_word(ctx), 1);
	weir__futex_wake(&ctx->cancelled);
	return 0;
}

uint64_t weir__ctx_deadline(const struct weir_ctx *ctx)
{
	uint64_t deadline = UINT64_MAX;

	for (uint32_t i = 0; ctx && i < DEPTH_MAX; i++, ctx = ctx->parent) {
		if (ctx->deadline_ns < deadline)
			deadline = ctx->deadline_ns;
	}
	return deadline;
}

int weir_ctx_err(const struct weir_ctx *ctx)
{
	uint64_t deadline = weir__ctx_deadline(ctx);

	for (uint32_t i = 0; ctx && i < DEPTH_MAX; i++, ctx = ctx->parent) {
		/* EDGE ctx.cancelled (acquire <- weir_ctx_cancel) */
		if (weir_load_acquire(cancelled_word(ctx)))
			return -ECANCELED;
	}
	return deadline != UINT64_MAX && weir__now_ns() >= deadline ? -ETIMEDOUT : 0;
}

uint32_t weir__ctx_words(const struct weir_ctx *ctx, struct weir__sleep *ret_sleeps)
{
	uint32_t n = 0;

	for (; ctx && n < DEPTH_MAX; ctx = ctx->parent, n++) {
		ret_sleeps[n].word = &ctx->cancelled;
		ret_sleeps[n].value = 0;
	}
	return n;
}
