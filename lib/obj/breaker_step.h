/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The transitions of the circuit breaker, without memory and without a clock.
 *
 *	            failures            deadline             all probes good
 *	closed,g ------------> open,g+1 ----------> half_open,g+2 ----------> closed,g+3
 *	                          ^                      |
 *	                          +----------------------+
 *	             a bad probe, a dead prober, or the deadline
 *
 * Every change of state counts the generation up; a result that was asked for in an older one is
 * dropped.  The generation has 9 bits: a call under way over exactly 512 changes would count.
 */
#ifndef WEIR_OBJ_BREAKER_STEP_H
#define WEIR_OBJ_BREAKER_STEP_H

#include <stdbool.h>
#include <stdint.h>
#include <weir/shm/breaker.h>
#include <weir/shm/breaker_lane.h>

#define WEIR__BREAKER_BUCKETS 8u

struct weir__breaker_conf {
	uint32_t window_ms;
	uint32_t bucket_ms;
	uint32_t min_calls;
	uint32_t failure_pct;
	uint32_t open_ms;
	uint32_t probe_ms;
	uint32_t probes;
};

/*
 * Time divided by the length of a bucket, without a division.  The length is a multiple of 1000000
 * = 64 * 15625 ns, so both are cut by 6 bits first: n < 2^58, and d <= 450000 * 15625 < 2^33.  With
 * 2^(bits-1) < d <= 2^bits and mult = 2^(58+bits) / d, rounded up, n * mult / 2^(58+bits) is exact
 * for all such n, and mult <= 2^59 (Granlund, Montgomery, PLDI 1994, theorem 4.2).
 */
struct weir__breaker_epochs {
	uint64_t mult;
	uint32_t shift;
};

static inline struct weir__breaker_epochs weir__breaker_epochs(uint32_t bucket_ms)
{
	uint64_t d = (uint64_t)bucket_ms * 15625;
	uint32_t bits = 64 - (uint32_t)__builtin_clzll(d - 1);
	unsigned __int128 top = (unsigned __int128)1 << (58 + bits);

	return (struct weir__breaker_epochs){.mult = (uint64_t)((top + d - 1) / d),
					     .shift = bits - 6};
}

static inline uint64_t weir__breaker_epoch(const struct weir__breaker_epochs *e, uint64_t now_ns)
{
	return (uint64_t)((unsigned __int128)(now_ns >> 6) * e->mult >> 64) >> e->shift &
	       WEIR_BREAKER_LANE_BUCKET_EPOCH_MAX;
}

/* The word one generation later, in `state`, with what that state begins with. */
static inline uint64_t weir__breaker_next(const struct weir__breaker_conf *conf, uint64_t word,
					  enum weir_breaker_state state, uint64_t now_ms)
{
	uint64_t next = weir_breaker_word_set_state(0, state);

	next = weir_breaker_word_set_gen(next, weir_breaker_word_gen(word) + 1);
	if (state == WEIR_BREAKER_STATE_OPEN)
		return weir_breaker_word_set_deadline(next, now_ms + conf->open_ms);
	if (state != WEIR_BREAKER_STATE_HALF_OPEN)
		return next;
	next = weir_breaker_word_set_left(next, conf->probes);
	return weir_breaker_word_set_deadline(next, now_ms + conf->probe_ms);
}

/* Is the open or half-open period of `word` over?  A deadline further away than it was ever set is
 * foreign bytes and over too; that is certain only if now_ms was read after the word. */
static inline bool weir__breaker_due(const struct weir__breaker_conf *conf, uint64_t word,
				     uint64_t now_ms)
{
	bool open = weir_breaker_word_state(word) == WEIR_BREAKER_STATE_OPEN;
	uint64_t deadline_ms = weir_breaker_word_deadline(word);

	return deadline_ms <= now_ms ||
	       deadline_ms - now_ms > (open ? conf->open_ms : conf->probe_ms);
}

/* Half-open and of this generation. */
static inline bool weir__breaker_probing(uint64_t word, uint64_t gen)
{
	return weir_breaker_word_state(word) == WEIR_BREAKER_STATE_HALF_OPEN &&
	       weir_breaker_word_gen(word) == gen;
}

/* The half-open word after a probe has ended. */
static inline uint64_t weir__breaker_probed(const struct weir__breaker_conf *conf, uint64_t word,
					    bool failed, uint64_t now_ms)
{
	uint64_t ok = weir_breaker_word_ok(word) + 1;

	if (failed)
		return weir__breaker_next(conf, word, WEIR_BREAKER_STATE_OPEN, now_ms);
	if (ok >= conf->probes)
		return weir__breaker_next(conf, word, WEIR_BREAKER_STATE_CLOSED, now_ms);
	return weir_breaker_word_set_ok(word, ok);
}

/* A bucket after one more call of generation `gen` in `epoch`; what it held before is dropped if
 * that was another time or another period. */
static inline uint64_t weir__breaker_bucket(uint64_t bucket, uint64_t gen, uint64_t epoch,
					    bool failed)
{
	uint64_t calls = weir_breaker_lane_bucket_calls(bucket);
	uint64_t fails = weir_breaker_lane_bucket_fails(bucket);

	if (weir_breaker_lane_bucket_gen(bucket) != gen ||
	    weir_breaker_lane_bucket_epoch(bucket) != epoch) {
		calls = 0;
		fails = 0;
	}
	if (calls == WEIR_BREAKER_LANE_BUCKET_CALLS_MAX) { /* The share stays what it was. */
		calls /= 2;
		fails /= 2;
	}
	bucket = weir_breaker_lane_bucket_set_calls(0, calls + 1);
	bucket = weir_breaker_lane_bucket_set_fails(bucket, fails + failed);
	bucket = weir_breaker_lane_bucket_set_gen(bucket, gen);
	return weir_breaker_lane_bucket_set_epoch(bucket, epoch);
}

/* Does a bucket belong to the window that ends with `epoch`?  One epoch newer does too: another
 * processor's clock may have ticked. */
static inline bool weir__breaker_counts(uint64_t bucket, uint64_t gen, uint64_t epoch)
{
	uint64_t age = epoch + 1 - weir_breaker_lane_bucket_epoch(bucket);

	return weir_breaker_lane_bucket_gen(bucket) == gen &&
	       (age & WEIR_BREAKER_LANE_BUCKET_EPOCH_MAX) <= WEIR__BREAKER_BUCKETS;
}

static inline bool weir__breaker_trips(const struct weir__breaker_conf *conf, uint64_t calls,
				       uint64_t fails)
{
	return calls >= conf->min_calls && fails * 100 >= calls * conf->failure_pct;
}

/* The probe word of a lane with `count` probes in generation `gen`.  Those of an older generation
 * are forgotten: their results are dropped anyway. */
static inline uint64_t weir__breaker_lane_probe(uint64_t probe, uint64_t gen, uint64_t count)
{
	probe = weir_breaker_lane_probe_set_seq(probe, weir_breaker_lane_probe_seq(probe) + 1);
	probe = weir_breaker_lane_probe_set_gen(probe, gen);
	return weir_breaker_lane_probe_set_count(probe, count);
}

#endif
