/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The arithmetic of the rate limiter, without memory and without a clock.
 *
 * 2026-08: a limit is one theoretical arrival time (TAT).  What matters of it is only how far it is
 * `ahead` of now: 0 is a full bucket, burst * interval an empty one.  The single limit counts in
 * sixteenths of a nanosecond in 64 bits, the keyed one in coarser ticks modulo 2^40; from `ahead`
 * on both are the same.
 *
 * Bounds: now < 2^63 sixteenths (18 years of uptime), a bucket refills within 2^62 (9 years), a
 * reservation waits at most 2^59 (417 days).  So no sum below wraps, and a time further ahead
 * than all that was written by nobody who keeps the rules: it counts as a full bucket.
 */
#ifndef WEIR_OBJ_LIMITER_MATH_H
#define WEIR_OBJ_LIMITER_MATH_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <weir/limiter.h>
#include <weir/shm/limiter_set.h>

#define WEIR__GCRA_SPAN_MAX  (UINT64_C(1) << 62)
#define WEIR__GCRA_DEBT_MAX  (UINT64_C(1) << 59)
#define WEIR__KEYED_SPAN_MAX (UINT64_C(1) << 38)
#define WEIR__KEYED_FINE     1024u /* ticks of an interval, if the burst leaves the room */
#define WEIR__KEYED_MASK     WEIR_LIMITER_SET_ENTRY_TAT_MAX
#define WEIR__KEYED_SETS_MAX (UINT32_C(1) << 26)

/* SipHash-2-4 of `data`. */
uint64_t weir__siphash(const uint64_t key[2], const void *data, size_t bytes);

/* Times in the unit of the limit: a sixteenth of a nanosecond << shift. */
struct weir__gcra {
	uint64_t interval; /* one token */
	uint64_t burst;	   /* tokens */
	uint64_t span;	   /* burst * interval */
	uint64_t ahead_max;
	uint32_t shift;
};

/* Everything that follows from the options. */
struct weir__limiter_conf {
	uint64_t count;
	uint64_t period_ns;
	uint64_t interval; /* ns/16, also of a keyed limit */
	struct weir__gcra gcra;
	uint32_t sets;
	uint32_t overfull;
};

static inline int weir__gcra_single(uint64_t interval, uint64_t burst, struct weir__gcra *ret)
{
	unsigned __int128 span = (unsigned __int128)burst * interval;

	if (span > WEIR__GCRA_SPAN_MAX)
		return -EINVAL;
	*ret = (struct weir__gcra){.interval = interval, .burst = burst, .span = (uint64_t)span};
	ret->ahead_max = ret->span + WEIR__GCRA_DEBT_MAX;
	return 0;
}

/* The interval is rounded up to whole ticks, so the rate is never above the limit, and below it by
 * less than 1 in WEIR__KEYED_FINE.  The burst stays exact. */
static inline int weir__gcra_keyed(uint64_t interval, uint64_t burst, struct weir__gcra *ret)
{
	unsigned __int128 span;
	uint64_t ticks;
	uint32_t shift = 0;

	while (interval >> (shift + 1) >= WEIR__KEYED_FINE)
		shift++;
	for (;; shift++) {
		ticks = (interval + (UINT64_C(1) << shift) - 1) >> shift;
		span = (unsigned __int128)burst * ticks;
		if (span < WEIR__KEYED_SPAN_MAX)
			break;
		if (ticks == 1)
			return -EINVAL;
	}
	*ret = (struct weir__gcra){
		.interval = ticks, .burst = burst, .span = (uint64_t)span, .shift = shift};
	/* Two entries of one key may have been merged: see limiter.c. */
	ret->ahead_max = 2 * ret->span;
	return 0;
}

static inline int weir__limiter_conf(const struct weir_limiter_opts *opts,
				     struct weir__limiter_conf *ret)
{
	uint64_t burst = opts->burst ? opts->burst : opts->count;
	unsigned __int128 interval;
	uint32_t sets = 0;
	int r;

	if (opts->count == 0 || opts->period_ns == 0 || opts->overfull > 1)
		return -EINVAL;
	if ((unsigned __int128)opts->period_ns * 16 < opts->count)
		return -EINVAL;
	interval = ((unsigned __int128)opts->period_ns * 16 + opts->count - 1) / opts->count;
	if (interval > WEIR__GCRA_SPAN_MAX)
		return -EINVAL;
	*ret = (struct weir__limiter_conf){.count = opts->count,
					   .period_ns = opts->period_ns,
					   .interval = (uint64_t)interval,
					   .overfull = opts->keys ? opts->overfull : 0};
	r = weir__gcra_single(ret->interval, burst, &ret->gcra);
	if (r < 0 || opts->keys == 0)
		return r;
	/* At most half full with that many keys: then 1 set in 50 overflows. */
	for (sets = 1; sets < opts->keys / 4 + (opts->keys % 4 != 0); sets *= 2)
		if (sets >= WEIR__KEYED_SETS_MAX)
			return -EINVAL;
	ret->sets = sets;
	return weir__gcra_keyed(ret->interval, burst, &ret->gcra);
}

/* `now_ns` in the unit of the limit. */
static inline uint64_t weir__gcra_time(const struct weir__gcra *gcra, uint64_t now_ns)
{
	return (now_ns << 4) >> gcra->shift;
}

static inline uint64_t weir__gcra_ahead(uint64_t tat, uint64_t now)
{
	return tat > now ? tat - now : 0;
}

/* The same modulo 2^40: what is more than half the range ahead is behind.  An entry that nobody
 * touched for almost exactly a multiple of 2^40 ticks (half a billion tokens) looks used for a
 * while; that denies too much once, never too little. */
static inline uint64_t weir__keyed_ahead(uint64_t tat, uint64_t now)
{
	uint64_t ahead = (tat - now) & WEIR__KEYED_MASK;

	return ahead <= WEIR__KEYED_MASK / 2 ? ahead : 0;
}

/* The transition: a limit that is `ahead` of now is further ahead after `cost` tokens (at most
 * burst) were taken; *ret_ahead says how far.  Returns by how much that is too far: 0 allowed,
 * else the time until it would be. */
static inline uint64_t weir__gcra_take(const struct weir__gcra *gcra, uint64_t ahead, uint64_t cost,
				       uint64_t *ret_ahead)
{
	uint64_t next = ahead + cost * gcra->interval;

	*ret_ahead = next;
	return next > gcra->span ? next - gcra->span : 0;
}

/* How far ahead after `cost` tokens came back: never behind now. */
static inline uint64_t weir__gcra_give(const struct weir__gcra *gcra, uint64_t ahead, uint64_t cost)
{
	unsigned __int128 back = (unsigned __int128)cost * gcra->interval;

	return back < ahead ? ahead - (uint64_t)back : 0;
}

static inline uint64_t weir__gcra_remaining(const struct weir__gcra *gcra, uint64_t ahead)
{
	return ahead < gcra->span ? (gcra->span - ahead) / gcra->interval : 0;
}

/* A length of time in ns, rounded up: who waits that long has waited enough. */
static inline uint64_t weir__gcra_ns(const struct weir__gcra *gcra, uint64_t time)
{
	return (uint64_t)((((unsigned __int128)time << gcra->shift) + 15) / 16);
}

#endif
