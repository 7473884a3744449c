/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Rate limiter: one word per limit (GCRA), one CAS to take, none to be denied.
 *
 * 2026-08, the clock.  A caller may act on an old `now` (it was preempted after reading it): the
 * bucket is then judged at that older time, never refilled twice, because max(tat, now) counts.
 * Only "further ahead than anybody may write" needs a clock read after the word was loaded: then
 * the writer's now is not after ours, and the verdict that the word is foreign bytes is certain.
 *
 * 2026-08, keys.  A key has one live entry among the 8 of its set, unless an entry with a lower
 * index became free between the looks of two processes that met the key for the first time.  So
 * whoever claims an entry looks again: if there is a lower one of the same tag, it takes its own
 * back and is judged by the other.  Both orders are full, so at least one of two claimers sees the
 * other.  If only the lower one sees it, the higher one has already let its call through: every
 * caller that finds two merges them, moving what was taken from the higher to the lower.
 *
 * The bound: what is let through too much is at most the cost of the calls that looked at the set
 * before the second entry was there, and it is paid back (a merged entry is up to two bursts
 * ahead), unless somebody dies in the merge.  Without such a race the limit is exact up to one
 * tick (less than a thousandth of an interval).  Keys with the same 24-bit tag in the same
 * set share a budget: 1 in 16 million per pair, and nobody can choose it (SipHash, secret key).
 */
#include <stdlib.h>
#include <string.h>
#include <weir/limiter.h>

#include "obj/limiter_math.h"
#include "obj/obj.h"

struct weir_limiter {
	struct weir_segment *seg;
	struct weir_limiter_shm *shm;
	struct weir_limiter_lane_shm *lanes;
	struct weir_limiter_set_shm *sets;
	struct weir__limiter_conf conf;
	uint64_t hash_key[2];
};

#define ENTRIES 8

/* --- what is told and counted ------------------------------------------------------------ */

static uint64_t time_now(const struct weir_limiter *limiter)
{
	return weir__gcra_time(&limiter->conf.gcra, weir__now_ns());
}

static void verdict_set(const struct weir__gcra *gcra, uint64_t ahead, uint64_t over,
			struct weir_verdict *ret)
{
	if (!ret)
		return;
	ret->retry_after_ns = weir__gcra_ns(gcra, over);
	ret->remaining = weir__gcra_remaining(gcra, ahead);
	ret->reset_ns = weir__gcra_ns(gcra, ahead);
}

/* Without a slot of its own a thread is limited all the same, only not counted. */
static struct weir_limiter_lane_shm *lane_of(const struct weir_limiter *limiter)
{
	int slot = weir__self(limiter->seg);

	return slot < 0 ? NULL : &limiter->lanes[slot];
}

static int count_allowed(struct weir_limiter *limiter, uint64_t cost)
{
	struct weir_limiter_lane_shm *lane = lane_of(limiter);

	if (lane) {
		weir__count(&lane->allowed, 1);
		weir__count(&lane->tokens, cost);
	}
	return 0;
}

static int count_denied(struct weir_limiter *limiter)
{
	struct weir_limiter_lane_shm *lane = lane_of(limiter);

	if (lane)
		weir__count(&lane->denied, 1);
	return -EAGAIN;
}

/* More than fits into a full bucket: no waiting helps. */
static int deny_for_ever(struct weir_limiter *limiter, uint64_t ahead, struct weir_verdict *ret)
{
	verdict_set(&limiter->conf.gcra, ahead, 0, ret);
	if (ret)
		ret->retry_after_ns = UINT64_MAX;
	return count_denied(limiter);
}

/* --- the single limit -------------------------------------------------------------------- */

/* How far the limit is ahead of *now, which is read again when the answer seems impossible. */
static uint64_t single_ahead(const struct weir_limiter *limiter, uint64_t *ret_tat, uint64_t *now)
{
	const struct weir__gcra *gcra = &limiter->conf.gcra;
	uint64_t ahead;

	/* EDGE limiter.tat (acquire <- single_take): the clock of who wrote it was read before a
	 * clock that we read from here on. */
	*ret_tat = weir_load_acquire(&limiter->shm->tat);
	ahead = weir__gcra_ahead(*ret_tat, *now);
	if (weir__likely(ahead <= gcra->ahead_max))
		return ahead;
	*now = time_now(limiter);
	ahead = weir__gcra_ahead(*ret_tat, *now);
	return ahead <= gcra->ahead_max ? ahead : 0;
}

/* Take `cost` tokens if they come at most `slack` late; *ret_over is how late they come, or how
 * late they would (then -EAGAIN); *ret_ahead how far ahead the limit is afterwards. */
static int single_take(struct weir_limiter *limiter, uint64_t cost, uint64_t slack,
		       uint64_t *ret_ahead, uint64_t *ret_over)
{
	uint64_t now = time_now(limiter);
	uint64_t ahead;
	uint64_t next;
	uint64_t tat;

	for (;;) { /* Each turn more, somebody else took tokens or gave some back. */
		ahead = single_ahead(limiter, &tat, &now);
		*ret_over = weir__gcra_take(&limiter->conf.gcra, ahead, cost, &next);
		if (*ret_over > slack) {
			*ret_ahead = ahead;
			return -EAGAIN;
		}
		*ret_ahead = next;
		/* tat -> max(tat,now) + cost; an impossible tat -> now + cost */
		/* EDGE limiter.tat (full -> single_ahead): our clock was read before this. */
		if (weir_cas_full(&limiter->shm->tat, &tat, now + next))
			return 0;
		weir_relax();
	}
}

int weir_limiter_allow(struct weir_limiter *limiter, uint64_t cost,
		       struct weir_verdict *ret_verdict)
{
	const struct weir__gcra *gcra = &limiter->conf.gcra;
	uint64_t now;
	uint64_t ahead;
	uint64_t over;
	uint64_t tat;
	int r;

	if (cost == 0 || limiter->sets)
		return -EINVAL;
	if (cost > gcra->burst) {
		now = time_now(limiter);
		return deny_for_ever(limiter, single_ahead(limiter, &tat, &now), ret_verdict);
	}
	r = single_take(limiter, cost, 0, &ahead, &over);
	verdict_set(gcra, ahead, over, ret_verdict);
	return r < 0 ? count_denied(limiter) : count_allowed(limiter, cost);
}

/* A cost above the burst is -EINVAL here: it would be let through at once some day, which is
 * what the burst forbids. */
int weir_limiter_reserve(struct weir_limiter *limiter, uint64_t cost, uint64_t wait_ns_max,
			 uint64_t *ret_wait_ns)
{
	const struct weir__gcra *gcra = &limiter->conf.gcra;
	uint64_t slack = WEIR__GCRA_DEBT_MAX;
	uint64_t ahead;
	uint64_t over;

	if (cost == 0 || limiter->sets || cost > gcra->burst)
		return -EINVAL;
	if (wait_ns_max < slack / 16)
		slack = wait_ns_max * 16;
	if (single_take(limiter, cost, slack, &ahead, &over) < 0)
		return count_denied(limiter);
	*ret_wait_ns = weir__gcra_ns(gcra, over);
	return count_allowed(limiter, cost);
}

int weir_limiter_refund(struct weir_limiter *limiter, uint64_t cost)
{
	uint64_t now;
	uint64_t ahead;
	uint64_t tat;

	if (cost == 0 || limiter->sets)
		return -EINVAL;
	now = time_now(limiter);
	for (;;) { /* Each turn more, somebody else took tokens or gave some back. */
		ahead = single_ahead(limiter, &tat, &now);
		if (ahead == 0)
			return 0;
		/* tat -> max(tat-cost,now) */
		/* EDGE limiter.tat (full -> single_ahead): our clock was read before this. */
		if (weir_cas_full(&limiter->shm->tat, &tat,
				  now + weir__gcra_give(&limiter->conf.gcra, ahead, cost)))
			return 0;
		weir_relax();
	}
}

/* --- keys -------------------------------------------------------------------------------- */

/* What one look at a set showed, for one tag. */
struct view {
	uint64_t now;
	uint64_t word[ENTRIES];
	int mine;	  /* lowest live entry of the tag, -1: none */
	int twin;	  /* another one, -1: none */
	int vacant;	  /* lowest free entry, -1: none */
	uint64_t ahead;	  /* of mine, 0 if none */
	uint64_t soonest; /* how long until an entry is free */
};

/* How far entry `word` is ahead of *now; 0: it is free. */
static uint64_t keyed_ahead(const struct weir_limiter *limiter, uint64_t word, uint64_t *now)
{
	const struct weir__gcra *gcra = &limiter->conf.gcra;
	uint64_t tat = weir_limiter_set_entry_tat(word);
	uint64_t ahead;

	if (weir_limiter_set_entry_tag(word) == 0)
		return 0;
	ahead = weir__keyed_ahead(tat, *now);
	if (weir__likely(ahead <= gcra->ahead_max))
		return ahead;
	*now = time_now(limiter);
	ahead = weir__keyed_ahead(tat, *now);
	return ahead <= gcra->ahead_max ? ahead : 0;
}

static void set_look(const struct weir_limiter *limiter, struct weir_limiter_set_shm *set,
		     uint64_t tag, struct view *view)
{
	uint64_t ahead;

	view->mine = -1;
	view->twin = -1;
	view->vacant = -1;
	view->ahead = 0;
	view->soonest = UINT64_MAX;
	for (int i = 0; i < ENTRIES; i++) {
		/* EDGE limiter_set.entry (full -> allow_key): a claim, then this look; their claim,
		 * then their look: one of two claimers sees the other. */
		view->word[i] = weir_load_full(&set->entry[i]);
		ahead = keyed_ahead(limiter, view->word[i], &view->now);
		if (ahead < view->soonest)
			view->soonest = ahead;
		if (ahead == 0 && view->vacant < 0)
			view->vacant = i;
		if (ahead == 0 || weir_limiter_set_entry_tag(view->word[i]) != tag)
			continue;
		if (view->mine < 0) {
			view->mine = i;
			view->ahead = ahead;
		} else {
			view->twin = i;
		}
	}
}

static uint64_t entry_make(uint64_t tag, uint64_t tat)
{
	return weir_limiter_set_entry_set_tat(weir_limiter_set_entry_set_tag(0, tag), tat);
}

/* One key in two entries: move what was taken from the higher one to the lower one.  A crash in
 * between forgets what was taken through the higher one. */
static void set_merge(const struct weir_limiter *limiter, struct weir_limiter_set_shm *set,
		      uint64_t tag, struct view *view)
{
	const struct weir__gcra *gcra = &limiter->conf.gcra;
	uint64_t word = view->word[view->mine];
	uint64_t moved;
	uint64_t ahead;

	view->now = time_now(limiter);
	moved = keyed_ahead(limiter, view->word[view->twin], &view->now);
	/* tag,t2 -> 0 */
	/* EDGE limiter_set.entry (full -> set_look): it is nobody's before it is counted there. */
	if (!weir_cas_full(&set->entry[view->twin], &view->word[view->twin], 0))
		return;
	WEIR_CRASH_POINT(limiter_merge);
	/* Each turn more, somebody else took tokens; when the entry has become another key's, the
	 * lower budget was full again and there is nothing left to add to. */
	while (weir_limiter_set_entry_tag(word) == tag) {
		ahead = keyed_ahead(limiter, word, &view->now) + moved;
		if (ahead > gcra->ahead_max)
			ahead = gcra->ahead_max;
		/* tag,t1 -> tag,t1+t2 */
		/* EDGE limiter_set.entry (full -> set_look): our clock was read before this. */
		if (weir_cas_full(&set->entry[view->mine], &word,
				  entry_make(tag, view->now + ahead)))
			return;
		weir_relax();
	}
}

/* After a claim of entry `index`: true if it stands.  If there is a lower one, ours is taken back;
 * if that fails, somebody has built on it or merged it, so what we took is counted. */
static bool claim_stands(const struct weir_limiter *limiter, struct weir_limiter_set_shm *set,
			 int index, uint64_t claimed, struct view *view)
{
	uint64_t expected = claimed;

	set_look(limiter, set, weir_limiter_set_entry_tag(claimed), view);
	if (view->mine < 0 || view->mine >= index)
		return true;
	WEIR_CRASH_POINT(limiter_claim);
	/* tag,now+cost -> 0 */
	/* EDGE limiter_set.entry (full -> set_look): as any change of an entry. */
	return !weir_cas_full(&set->entry[index], &expected, 0);
}

/* No entry for the key: what the creator decided. */
static int set_full(struct weir_limiter *limiter, const struct view *view, uint64_t cost,
		    struct weir_verdict *ret)
{
	struct weir_limiter_lane_shm *lane = lane_of(limiter);

	if (lane)
		weir__count(&lane->overfull, 1);
	if (ret)
		*ret = (struct weir_verdict){0};
	if (limiter->conf.overfull)
		return count_allowed(limiter, cost);
	if (ret)
		ret->retry_after_ns = weir__gcra_ns(&limiter->conf.gcra, view->soonest);
	return count_denied(limiter);
}

static int allow_tag(struct weir_limiter *limiter, struct weir_limiter_set_shm *set, uint64_t tag,
		     uint64_t cost, struct weir_verdict *ret)
{
	const struct weir__gcra *gcra = &limiter->conf.gcra;
	struct view view; /* set_look sets the rest. */
	uint64_t next;
	uint64_t over;
	uint64_t word;
	int index;

	view.now = time_now(limiter);
	for (;;) { /* Each turn more, somebody else changed an entry of the set. */
		set_look(limiter, set, tag, &view);
		if (weir__unlikely(view.twin >= 0)) {
			set_merge(limiter, set, tag, &view);
			continue;
		}
		if (cost > gcra->burst)
			return deny_for_ever(limiter, view.ahead, ret);
		index = view.mine >= 0 ? view.mine : view.vacant;
		if (index < 0)
			return set_full(limiter, &view, cost, ret);
		over = weir__gcra_take(gcra, view.ahead, cost, &next);
		if (over) {
			verdict_set(gcra, view.ahead, over, ret);
			return count_denied(limiter);
		}
		word = entry_make(tag, view.now + next);
		/* tag,t -> tag,t+cost; or, of a free entry, any -> tag,now+cost */
		/* EDGE limiter_set.entry (full -> set_look): see there. */
		if (weir_cas_full(&set->entry[index], &view.word[index], word) &&
		    (view.mine >= 0 || claim_stands(limiter, set, index, word, &view)))
			break;
		weir_relax();
	}
	verdict_set(gcra, next, 0, ret);
	return count_allowed(limiter, cost);
}

int weir_limiter_allow_key(struct weir_limiter *limiter, const void *key, size_t key_bytes,
			   uint64_t cost, struct weir_verdict *ret_verdict)
{
	uint64_t hash;
	uint64_t tag;

	if (cost == 0 || !limiter->sets || (!key && key_bytes))
		return -EINVAL;
	hash = weir__siphash(limiter->hash_key, key, key_bytes);
	tag = hash >> 40;
	return allow_tag(limiter, &limiter->sets[hash & (limiter->conf.sets - 1)], tag ? tag : 1,
			 cost, ret_verdict);
}

/* --- blocking ---------------------------------------------------------------------------- */

/* Sleep until `until_ns` or the end of ctx. */
static int sleep_until(uint64_t until_ns, struct weir_ctx *ctx)
{
	struct weir__sleep sleeps[WEIR__SLEEP_MAX];
	uint32_t count;
	int r;

	while (weir__now_ns() < until_ns) { /* Time passes. */
		count = weir__ctx_words(ctx, sleeps);
		r = weir_ctx_err(ctx);
		if (r < 0)
			return r;
		if (count)
			weir__futex_wait(sleeps, count, until_ns);
		else
			weir__sleep_until(until_ns);
	}
	return 0;
}

int weir_limiter_wait(struct weir_limiter *limiter, uint64_t cost, struct weir_ctx *ctx)
{
	uint64_t deadline_ns = weir__ctx_deadline(ctx);
	uint64_t now_ns = weir__now_ns();
	uint64_t wait_ns;
	int r;

	r = weir_ctx_err(ctx);
	if (r < 0)
		return r;
	r = weir_limiter_reserve(limiter, cost, deadline_ns > now_ns ? deadline_ns - now_ns : 0,
				 &wait_ns);
	if (r < 0)
		return r == -EAGAIN ? -ETIMEDOUT : r;
	if (wait_ns == 0)
		return 0;
	/* A crash from here on costs the tokens, once. */
	WEIR_CRASH_POINT(limiter_wait);
	r = sleep_until(weir__now_ns() + wait_ns, ctx);
	if (r < 0)
		weir_limiter_refund(limiter, cost);
	return r;
}

/* --- lifecycle --------------------------------------------------------------------------- */

static uint64_t object_bytes(uint64_t lanes, uint64_t sets)
{
	return sizeof(struct weir_limiter_shm) + lanes * sizeof(struct weir_limiter_lane_shm) +
	       sets * sizeof(struct weir_limiter_set_shm);
}

static void limiter_init(struct weir_segment *seg, void *object, const void *opts)
{
	const struct weir__limiter_conf *conf = opts;
	struct weir_limiter_shm *shm = object;

	shm->count = conf->count;
	shm->period_ns = conf->period_ns;
	shm->burst = conf->gcra.burst;
	shm->interval = conf->interval;
	shm->lanes = seg->thread_count;
	shm->sets = conf->sets;
	shm->tick_shift = conf->gcra.shift;
	shm->overfull = conf->overfull;
}

static bool limiter_match(const void *object, const void *opts)
{
	const struct weir_limiter_shm *shm = object;
	const struct weir__limiter_conf *conf = opts;

	return shm->count == conf->count && shm->period_ns == conf->period_ns &&
	       shm->burst == conf->gcra.burst && shm->sets == conf->sets &&
	       shm->overfull == conf->overfull;
}

/* What the creator wrote must be what we would have written. */
static int conf_read(const struct weir_segment *seg, const struct weir_limiter_shm *shm,
		     struct weir__limiter_conf *ret)
{
	struct weir_limiter_opts opts = {.size = sizeof(opts)};
	uint32_t sets = shm->sets;

	opts.count = shm->count;
	opts.period_ns = shm->period_ns;
	opts.burst = shm->burst;
	opts.overfull = shm->overfull;
	if (sets > WEIR__KEYED_SETS_MAX || (sets & (sets - 1)) || opts.burst == 0)
		return -EBADMSG;
	opts.keys = sets * 4;
	if (weir__limiter_conf(&opts, ret) < 0 || ret->sets != sets)
		return -EBADMSG;
	if (ret->interval != shm->interval || ret->gcra.shift != shm->tick_shift)
		return -EBADMSG;
	if (shm->lanes != seg->thread_count ||
	    weir__object_bytes(seg, shm) < object_bytes(seg->thread_count, sets))
		return -EBADMSG;
	return 0;
}

int weir_limiter_open(struct weir_segment *seg, const char *name,
		      const struct weir_limiter_opts *opts, struct weir_limiter **ret_limiter)
{
	struct weir__plan plan = {
		.type = WEIR_OBJECT_TYPE_LIMITER, .init = limiter_init, .match = limiter_match};
	struct weir__limiter_conf conf;
	struct weir_limiter *limiter;
	void *object;
	int r;

	if (opts) {
		if (opts->size != sizeof(*opts) || weir__limiter_conf(opts, &conf) < 0)
			return -EINVAL;
		plan.opts = &conf;
		plan.bytes = object_bytes(seg->thread_count, conf.sets);
	}
	limiter = calloc(1, sizeof(*limiter));
	if (!limiter)
		return -ENOMEM;
	r = weir__object_open(seg, name, &plan, &object);
	if (r < 0)
		goto out_free;
	r = -EBADMSG;
	if (weir__object_bytes(seg, object) < sizeof(struct weir_limiter_shm))
		goto out_free;
	limiter->seg = seg;
	limiter->shm = object;
	r = conf_read(seg, limiter->shm, &limiter->conf);
	if (r < 0)
		goto out_free;
	limiter->lanes = (void *)(limiter->shm + 1);
	if (limiter->conf.sets)
		limiter->sets = (void *)(limiter->lanes + seg->thread_count);
	memcpy(limiter->hash_key, seg->shm->hash_key, sizeof(limiter->hash_key));
	*ret_limiter = limiter;
	return 0;

out_free:
	free(limiter);
	return r;
}

int weir_limiter_close(struct weir_limiter *limiter)
{
	free(limiter);
	return 0;
}

/* --- stat -------------------------------------------------------------------------------- */

static uint32_t keys_busy(const struct weir_limiter *limiter)
{
	uint64_t now = time_now(limiter);
	uint32_t busy = 0;
	uint64_t word;

	for (uint32_t s = 0; s < limiter->conf.sets; s++) {
		for (int i = 0; i < ENTRIES; i++) {
			/* relaxed: a look for display, nothing depends on it. */
			word = weir_load_relaxed(&limiter->sets[s].entry[i]);
			busy += keyed_ahead(limiter, word, &now) != 0;
		}
	}
	return busy;
}

int weir_limiter_stat(const struct weir_limiter *limiter, struct weir_limiter_stat *ret_stat)
{
	struct weir_limiter_stat stat = {.count = limiter->conf.count,
					 .period_ns = limiter->conf.period_ns,
					 .burst = limiter->conf.gcra.burst,
					 .keys_room = limiter->conf.sets * ENTRIES};
	uint32_t high = weir__thread_high(limiter->seg);
	uint64_t now = time_now(limiter);
	uint64_t tat;

	for (uint32_t i = 0; i < high; i++) {
		/* relaxed: counters for display. */
		stat.allowed += weir_load_relaxed(&limiter->lanes[i].allowed);
		stat.denied += weir_load_relaxed(&limiter->lanes[i].denied);
		stat.tokens += weir_load_relaxed(&limiter->lanes[i].tokens);
		stat.overfull += weir_load_relaxed(&limiter->lanes[i].overfull);
	}
	if (limiter->sets)
		stat.keys_busy = keys_busy(limiter);
	else
		stat.remaining = weir__gcra_remaining(&limiter->conf.gcra,
						      single_ahead(limiter, &tat, &now));
	*ret_stat = stat;
	return 0;
}
