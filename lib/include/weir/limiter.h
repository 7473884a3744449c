/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Rate limiter: `count` per `period_ns`, for the whole host or per key. */
#ifndef WEIR_LIMITER_H
#define WEIR_LIMITER_H

#include <weir/ctx.h>
#include <weir/segment.h>

struct weir_limiter;

struct weir_limiter_opts {
	size_t size;
	uint64_t count;	    /* tokens ... */
	uint64_t period_ns; /* ... per period */
	uint64_t burst;	    /* at once after a pause; 0: count */
	uint32_t keys;	    /* 0: one limit; else room for about this many busy keys */
	uint32_t overfull;  /* verdict for a key without room: 0 denied, 1 allowed */
};

struct weir_verdict {
	uint64_t retry_after_ns; /* 0 when allowed; else how long until this cost would pass;
				  * UINT64_MAX: never, the cost is above the burst */
	uint64_t remaining;	 /* tokens that could be taken right now */
	uint64_t reset_ns;	 /* how long until the bucket is full again */
};

/* Get limiter `name`, creating it exactly once; see weir_sem_open() for the errors.
 * -EINVAL also for a rate that cannot be counted: more than 16 tokens per ns, or a burst that takes
 * longer than about 9 years to refill (keyed: 2^38 ticks of a thousandth of a token's time). */
WEIR_API int weir_limiter_open(struct weir_segment *seg, const char *name,
			       const struct weir_limiter_opts *opts,
			       struct weir_limiter **ret_limiter);
WEIR_API int weir_limiter_close(struct weir_limiter *limiter);

/*
 * Take `cost` tokens now or not at all (GCRA).
 * Returns  0 allowed; -EAGAIN denied, nothing taken; -EINVAL cost 0, or a keyed limiter; verdict
 * (or NULL) is set in the first two cases. Progress lock-free, one CAS; a denial writes nothing
 * shared.  No system call. Crash    takes the tokens or not; nothing to repair. Source   ITU-T
 * I.371 GCRA; the atomic form as in governor and redis-cell.
 */
WEIR_API int weir_limiter_allow(struct weir_limiter *limiter, uint64_t cost,
				struct weir_verdict *ret_verdict);

/* The same for one key of a keyed limiter. */
WEIR_API int weir_limiter_allow_key(struct weir_limiter *limiter, const void *key, size_t key_bytes,
				    uint64_t cost, struct weir_verdict *ret_verdict);

/* Take `cost` tokens of the future, if the wait is at most `wait_ns_max`: 0 and the wait in
 * *ret_wait_ns (the caller sleeps), or -EAGAIN and nothing taken.  Not for keyed limiters. */
WEIR_API int weir_limiter_reserve(struct weir_limiter *limiter, uint64_t cost, uint64_t wait_ns_max,
				  uint64_t *ret_wait_ns);

/* Take `cost` tokens, sleeping as long as it needs, unless ctx would end before: then -ETIMEDOUT
 * (at once, nothing taken), or -ECANCELED (tokens given back). */
WEIR_API int weir_limiter_wait(struct weir_limiter *limiter, uint64_t cost, struct weir_ctx *ctx);

/* Give back `cost` tokens that were taken and not used; never makes the bucket fuller than full. */
WEIR_API int weir_limiter_refund(struct weir_limiter *limiter, uint64_t cost);

struct weir_limiter_stat {
	uint64_t count;
	uint64_t period_ns;
	uint64_t burst;
	uint64_t remaining; /* single limit only */
	uint64_t allowed;
	uint64_t denied;
	uint64_t tokens;
	uint64_t overfull;
	uint32_t keys_busy; /* entries whose bucket is not full */
	uint32_t keys_room;
};
WEIR_API int weir_limiter_stat(const struct weir_limiter *limiter,
			       struct weir_limiter_stat *ret_stat);

#endif
