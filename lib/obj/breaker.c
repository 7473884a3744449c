/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Circuit breaker: one word decides for all processes, results are counted in the lane of each
 * thread.
 *
 * 2026-08, probes.  The word has no room for an author, so a probe is written into the prober's
 * lane BEFORE the CAS that takes it.  Whoever dies in between leaves a probe that was perhaps never
 * made, and the sweep counts it as failed: the breaker opens once more than needed.  The other
 * order would lose a probe of the budget until the deadline.  In the same spirit the result goes
 * into the word first and the lane is cleared after it: who dies in between has at worst reopened
 * the breaker.  And if nobody ever sweeps, the deadline in the word ends the period.
 *
 * 2026-08, counting.  A finished call costs one store of one word that nobody else writes.  The sum
 * over the lanes is made only by failures and by every 64th success of a thread: only those can
 * find the share of failures above the limit, and the CAS decides who opens.  The epoch of a
 * bucket has 19 bits: a lane unused for a multiple of 2^19 buckets in the same generation (a week
 * with the default window) shows old counts as new.
 */
#include <stdlib.h>
#include <weir/breaker.h>

#include "obj/breaker_step.h"
#include "obj/obj.h"

#define MS_NS	  UINT64_C(1000000)
#define HOUR_MS	  3600000u
#define DAY_MS	  86400000u
#define SUM_EVERY 64u /* successes */

struct weir_breaker {
	struct weir_segment *seg;
	struct weir_breaker_shm *shm;
	struct weir_breaker_lane_shm *lanes;
	struct weir__breaker_epochs epochs;
	struct weir__breaker_conf conf;
};

_Static_assert((int)WEIR_BREAKER_CLOSED == (int)WEIR_BREAKER_STATE_CLOSED, "mode is state");
_Static_assert((int)WEIR_BREAKER_OPEN == (int)WEIR_BREAKER_STATE_OPEN, "mode is state");
_Static_assert((int)WEIR_BREAKER_HALF_OPEN == (int)WEIR_BREAKER_STATE_HALF_OPEN, "mode is state");
_Static_assert((int)WEIR_BREAKER_FORCED_OPEN == (int)WEIR_BREAKER_STATE_FORCED_OPEN,
	       "mode is state");
_Static_assert((int)WEIR_BREAKER_DISABLED == (int)WEIR_BREAKER_STATE_DISABLED, "mode is state");

static uint64_t now_ms(void)
{
	return weir__now_ns() / MS_NS;
}

/* --- changing the word ------------------------------------------------------------------- */

static void count_change(struct weir_breaker_shm *shm, uint64_t from, uint64_t to)
{
	/* relaxed: counters for display. */
	if (from == WEIR_BREAKER_STATE_CLOSED && to == WEIR_BREAKER_STATE_OPEN)
		weir_add_relaxed(&shm->opened, 1);
	if (from == WEIR_BREAKER_STATE_HALF_OPEN && to == WEIR_BREAKER_STATE_OPEN)
		weir_add_relaxed(&shm->reopened, 1);
	if (from == WEIR_BREAKER_STATE_HALF_OPEN && to == WEIR_BREAKER_STATE_CLOSED)
		weir_add_relaxed(&shm->closed, 1);
}

/* The only place that changes the word: *word -> next, or *word is what was there instead.  Who
 * changes the state tells of it; a crash before that leaves a change without its event. */
static bool change(struct weir_segment *seg, struct weir_breaker_shm *shm, uint64_t *word,
		   uint64_t next)
{
	uint64_t from = weir_breaker_word_state(*word);
	uint64_t to = weir_breaker_word_state(next);

	/* s,g,left,ok,deadline -> next; the transition is named by the caller. */
	/* EDGE breaker.word (full -> word_load): what the author did and counted before. */
	if (!weir_cas_full(&shm->word, word, next))
		return false;
	if (weir_breaker_word_gen(*word) == weir_breaker_word_gen(next))
		return true;
	WEIR_CRASH_POINT(breaker_change);
	count_change(shm, from, to);
	weir__event(seg, WEIR_EVENT_KIND_BREAKER, shm, from, to);
	return true;
}

static inline uint64_t word_load(const struct weir_breaker_shm *shm)
{
	/* EDGE breaker.word (acquire <- change): the clock of its author was before ours. */
	return weir_load_acquire(&shm->word);
}

/* --- may a call be made? ----------------------------------------------------------------- */

static int refuse(struct weir_breaker *breaker, uint64_t retry_ms, uint64_t *ret_retry_ns)
{
	int slot = weir__self(breaker->seg);

	if (slot >= 0)
		weir__count(&breaker->lanes[slot].rejected, 1);
	if (ret_retry_ns)
		*ret_retry_ns = retry_ms * MS_NS;
	return -EAGAIN;
}

/* Take one of the probes left in `word`: 0, -EAGAIN if the word has changed, -EUSERS. */
static int probe_take(struct weir_breaker *breaker, uint64_t word)
{
	uint64_t gen = weir_breaker_word_gen(word);
	uint64_t left = weir_breaker_word_left(word);
	struct weir_breaker_lane_shm *lane;
	uint64_t before;
	uint64_t intent;
	uint64_t count;
	int slot;

	slot = weir__self(breaker->seg);
	if (slot < 0)
		return slot;
	lane = &breaker->lanes[slot];
	/* relaxed: only the owner and, after its death, the sweep change it. */
	before = weir_load_relaxed(&lane->probe);
	count = weir_breaker_lane_probe_gen(before) == gen ? weir_breaker_lane_probe_count(before)
							   : 0;
	intent = weir__breaker_lane_probe(before, gen, count + 1);
	/* EDGE breaker_lane.probe (release -> weir__breaker_recover): our slot before its use. */
	weir_store_release(&lane->probe, intent);
	WEIR_CRASH_POINT(breaker_intent);
	/* half_open,g,left -> half_open,g,left-1 */
	if (change(breaker->seg, breaker->shm, &word, weir_breaker_word_set_left(word, left - 1))) {
		WEIR_CRASH_POINT(breaker_probe);
		/* relaxed: a counter for display. */
		weir_add_relaxed(&breaker->shm->probes_started, 1);
		return 0;
	}
	/* EDGE breaker_lane.probe (release -> weir__breaker_recover): as above. */
	weir_store_release(&lane->probe, weir__breaker_lane_probe(intent, gen, count));
	return -EAGAIN;
}

/* Half-open: 0 with a probe, -EAGAIN refused, 1 look again. */
static int ask_half_open(struct weir_breaker *breaker, uint64_t word, uint64_t now,
			 struct weir_call *ret_call, uint64_t *ret_retry_ns)
{
	int r;

	if (weir_breaker_word_left(word) == 0)
		return refuse(breaker, weir_breaker_word_deadline(word) - now, ret_retry_ns);
	r = probe_take(breaker, word);
	if (r == -EAGAIN)
		return 1;
	if (r < 0)
		return r;
	ret_call->gen = (uint32_t)weir_breaker_word_gen(word);
	ret_call->probe = 1;
	return 0;
}

/* Whatever is not closed. */
static __attribute__((noinline)) int ask(struct weir_breaker *breaker, struct weir_call *ret_call,
					 uint64_t *ret_retry_ns)
{
	const struct weir__breaker_conf *conf = &breaker->conf;
	uint64_t word;
	uint64_t now;
	int r;

	for (;;) { /* Each turn more, somebody (or we) changed the word. */
		word = word_load(breaker->shm);
		now = now_ms();
		switch (weir_breaker_word_state(word)) {
		case WEIR_BREAKER_STATE_CLOSED:
		case WEIR_BREAKER_STATE_DISABLED:
			ret_call->gen = (uint32_t)weir_breaker_word_gen(word);
			ret_call->probe = 0;
			return 0;
		case WEIR_BREAKER_STATE_FORCED_OPEN:
			return refuse(breaker, conf->open_ms, ret_retry_ns);
		case WEIR_BREAKER_STATE_OPEN:
			if (!weir__breaker_due(conf, word, now))
				return refuse(breaker, weir_breaker_word_deadline(word) - now,
					      ret_retry_ns);
			/* open,g -> half_open,g+1,probes,0 */
			change(breaker->seg, breaker->shm, &word,
			       weir__breaker_next(conf, word, WEIR_BREAKER_STATE_HALF_OPEN, now));
			break;
		case WEIR_BREAKER_STATE_HALF_OPEN:
			if (!weir__breaker_due(conf, word, now)) {
				r = ask_half_open(breaker, word, now, ret_call, ret_retry_ns);
				if (r <= 0)
					return r;
				break;
			}
			/* half_open,g -> open,g+1: hung probes are failed probes. */
			change(breaker->seg, breaker->shm, &word,
			       weir__breaker_next(conf, word, WEIR_BREAKER_STATE_OPEN, now));
			break;
		default:
			return -EBADMSG;
		}
		weir_relax();
	}
}

int weir_breaker_allow(struct weir_breaker *breaker, struct weir_call *ret_call,
		       uint64_t *ret_retry_ns)
{
	uint64_t word = word_load(breaker->shm);

	if (weir__unlikely(weir_breaker_word_state(word) != WEIR_BREAKER_STATE_CLOSED))
		return ask(breaker, ret_call, ret_retry_ns);
	ret_call->gen = (uint32_t)weir_breaker_word_gen(word);
	ret_call->probe = 0;
	return 0;
}

/* --- how did it end? --------------------------------------------------------------------- */

/* Calls and failures of all threads in the window. */
static void window_sum(const struct weir_breaker *breaker, uint64_t gen, uint64_t epoch,
		       uint64_t *ret_calls, uint64_t *ret_fails)
{
	uint32_t high = weir__thread_high(breaker->seg);
	uint64_t calls = 0;
	uint64_t fails = 0;
	uint64_t bucket;

	for (uint32_t i = 0; i < high; i++) {
		for (uint32_t b = 0; b < WEIR__BREAKER_BUCKETS; b++) {
			/* EDGE breaker_lane.bucket (fence of judge <- fence of judge): relaxed, one
			 * word that means itself; a result that comes in meanwhile is summed by
			 * its author. */
			bucket = weir_load_relaxed(&breaker->lanes[i].bucket[b]);
			if (!weir__breaker_counts(bucket, gen, epoch))
				continue;
			calls += weir_breaker_lane_bucket_calls(bucket);
			fails += weir_breaker_lane_bucket_fails(bucket);
		}
	}
	*ret_calls = calls;
	*ret_fails = fails;
}

static __attribute__((noinline)) void judge(struct weir_breaker *breaker, uint64_t word,
					    uint64_t epoch)
{
	uint64_t calls;
	uint64_t fails;

	/* EDGE breaker_lane.bucket (full -> judge): our result, then this look; of two threads
	 * whose results together are too many failures, one sees both. */
	weir_fence_full();
	window_sum(breaker, weir_breaker_word_gen(word), epoch, &calls, &fails);
	if (!weir__breaker_trips(&breaker->conf, calls, fails))
		return;
	/* closed,g -> open,g+1.  If it fails, g is over and so is our count. */
	change(breaker->seg, breaker->shm, &word,
	       weir__breaker_next(&breaker->conf, word, WEIR_BREAKER_STATE_OPEN, now_ms()));
}

/* The result of a probe: into the word, then out of the lane. */
static __attribute__((noinline)) void probe_done(struct weir_breaker *breaker,
						 struct weir_breaker_lane_shm *lane, uint32_t gen,
						 bool failed)
{
	uint64_t word = word_load(breaker->shm);
	uint64_t probe;
	uint64_t count;

	while (weir__breaker_probing(word, gen)) { /* Ends when anybody ends the period. */
		/* half_open,g,ok -> half_open,g,ok+1 | closed,g+1 | open,g+1 */
		if (change(breaker->seg, breaker->shm, &word,
			   weir__breaker_probed(&breaker->conf, word, failed, now_ms())))
			break;
		weir_relax();
	}
	WEIR_CRASH_POINT(breaker_result);
	/* relaxed: only the owner and, after its death, the sweep change it. */
	probe = weir_load_relaxed(&lane->probe);
	count = weir_breaker_lane_probe_count(probe);
	if (count == 0 || weir_breaker_lane_probe_gen(probe) != gen)
		return;
	/* EDGE breaker_lane.probe (release -> weir__breaker_recover): the result is in the word. */
	weir_store_release(&lane->probe, weir__breaker_lane_probe(probe, gen, count - 1));
}

int weir_breaker_done(struct weir_breaker *breaker, const struct weir_call *call, int failed)
{
	int slot = weir__self(breaker->seg);
	struct weir_breaker_lane_shm *lane;
	uint64_t epoch;
	uint64_t word;
	WEIR_ATOMIC(uint64_t) * bucket;

	if (weir__unlikely(slot < 0))
		return slot;
	lane = &breaker->lanes[slot];
	weir__count(&lane->calls, 1);
	if (failed)
		weir__count(&lane->failures, 1);
	if (weir__unlikely(call->probe)) {
		probe_done(breaker, lane, call->gen, failed != 0);
		return 0;
	}
	word = word_load(breaker->shm);
	if (weir__unlikely(weir_breaker_word_state(word) != WEIR_BREAKER_STATE_CLOSED ||
			   weir_breaker_word_gen(word) != call->gen))
		return 0;
	epoch = weir__breaker_epoch(&breaker->epochs, weir__now_coarse_ns());
	bucket = &lane->bucket[epoch % WEIR__BREAKER_BUCKETS];
	/* relaxed, both: one writer; judge() has the fence for those who sum. */
	weir_store_relaxed(bucket, weir__breaker_bucket(weir_load_relaxed(bucket), call->gen, epoch,
							failed != 0));
	/* relaxed: our own counter. */
	if (failed || weir_load_relaxed(&lane->calls) % SUM_EVERY == 0)
		judge(breaker, word, epoch);
	return 0;
}

/* --- the operator ------------------------------------------------------------------------ */

int weir_breaker_force(struct weir_breaker *breaker, enum weir_breaker_mode mode)
{
	uint64_t word;

	if (mode != WEIR_BREAKER_CLOSED && mode != WEIR_BREAKER_OPEN &&
	    mode != WEIR_BREAKER_FORCED_OPEN && mode != WEIR_BREAKER_DISABLED)
		return -EINVAL;
	word = word_load(breaker->shm);
	/* any,g -> mode,g+1.  Each turn more, somebody else changed it. */
	while (!change(
		breaker->seg, breaker->shm, &word,
		weir__breaker_next(&breaker->conf, word, (enum weir_breaker_state)mode, now_ms())))
		weir_relax();
	return 0;
}

/* --- lifecycle --------------------------------------------------------------------------- */

static uint64_t object_bytes(uint64_t lanes)
{
	return sizeof(struct weir_breaker_shm) + lanes * sizeof(struct weir_breaker_lane_shm);
}

static int conf_make(const struct weir_breaker_opts *opts, struct weir__breaker_conf *ret)
{
	if (opts->window_ms > HOUR_MS || opts->failure_pct > 100 || opts->open_ms > DAY_MS ||
	    opts->probe_ms > DAY_MS || opts->probes > 63)
		return -EINVAL;
	ret->window_ms = opts->window_ms ? opts->window_ms : 10000;
	ret->bucket_ms = (ret->window_ms + WEIR__BREAKER_BUCKETS - 1) / WEIR__BREAKER_BUCKETS;
	ret->min_calls = opts->min_calls ? opts->min_calls : 10;
	ret->failure_pct = opts->failure_pct ? opts->failure_pct : 50;
	ret->open_ms = opts->open_ms ? opts->open_ms : 5000;
	ret->probe_ms = opts->probe_ms ? opts->probe_ms : ret->open_ms;
	ret->probes = opts->probes ? opts->probes : 1;
	return 0;
}

static void breaker_init(struct weir_segment *seg, void *object, const void *opts)
{
	const struct weir__breaker_conf *conf = opts;
	struct weir_breaker_shm *shm = object;

	shm->window_ms = conf->window_ms;
	shm->bucket_ms = conf->bucket_ms;
	shm->min_calls = conf->min_calls;
	shm->failure_pct = conf->failure_pct;
	shm->open_ms = conf->open_ms;
	shm->probe_ms = conf->probe_ms;
	shm->probes = conf->probes;
	shm->lanes = seg->thread_count;
}

/* What the creator wrote, as options: read once, then checked like any options. */
static struct weir_breaker_opts opts_read(const struct weir_breaker_shm *shm)
{
	return WEIR_OPTS(breaker, .window_ms = shm->window_ms, .min_calls = shm->min_calls,
			 .failure_pct = shm->failure_pct, .open_ms = shm->open_ms,
			 .probe_ms = shm->probe_ms, .probes = shm->probes);
}

static bool breaker_match(const void *object, const void *opts)
{
	const struct weir__breaker_conf *conf = opts;
	struct weir_breaker_opts have = opts_read(object);

	return have.window_ms == conf->window_ms && have.min_calls == conf->min_calls &&
	       have.failure_pct == conf->failure_pct && have.open_ms == conf->open_ms &&
	       have.probe_ms == conf->probe_ms && have.probes == conf->probes;
}

static int conf_read(const struct weir_segment *seg, const struct weir_breaker_shm *shm,
		     struct weir__breaker_conf *ret)
{
	struct weir_breaker_opts opts;

	if (weir__object_bytes(seg, shm) < object_bytes(seg->thread_count))
		return -EBADMSG;
	opts = opts_read(shm);
	/* 0 means a default in options, but nothing here. */
	if (!opts.window_ms || !opts.min_calls || !opts.failure_pct || !opts.open_ms ||
	    !opts.probe_ms || !opts.probes || conf_make(&opts, ret) < 0)
		return -EBADMSG;
	return shm->lanes == seg->thread_count && shm->bucket_ms == ret->bucket_ms ? 0 : -EBADMSG;
}

int weir_breaker_open(struct weir_segment *seg, const char *name,
		      const struct weir_breaker_opts *opts, struct weir_breaker **ret_breaker)
{
	struct weir__plan plan = {.type = WEIR_OBJECT_TYPE_BREAKER,
				  .bytes = object_bytes(seg->thread_count),
				  .init = breaker_init,
				  .match = breaker_match};
	struct weir__breaker_conf conf;
	struct weir_breaker *breaker;
	void *object;
	int r;

	if (opts) {
		if (opts->size != sizeof(*opts) || conf_make(opts, &conf) < 0)
			return -EINVAL;
		plan.opts = &conf;
	}
	breaker = calloc(1, sizeof(*breaker));
	if (!breaker)
		return -ENOMEM;
	r = weir__object_open(seg, name, &plan, &object);
	if (r < 0)
		goto out_free;
	breaker->seg = seg;
	breaker->shm = object;
	breaker->lanes = (void *)(breaker->shm + 1);
	r = conf_read(seg, breaker->shm, &breaker->conf);
	if (r < 0)
		goto out_free;
	breaker->epochs = weir__breaker_epochs(breaker->conf.bucket_ms);
	*ret_breaker = breaker;
	return 0;

out_free:
	free(breaker);
	return r;
}

int weir_breaker_close(struct weir_breaker *breaker)
{
	free(breaker);
	return 0;
}

/* --- stat -------------------------------------------------------------------------------- */

static void stat_lanes(const struct weir_breaker *breaker, uint64_t word,
		       struct weir_breaker_stat *stat)
{
	uint32_t high = weir__thread_high(breaker->seg);
	const struct weir_breaker_lane_shm *lane;
	uint64_t probe;

	/* relaxed, all: counters for display. */
	for (uint32_t i = 0; i < high; i++) {
		lane = &breaker->lanes[i];
		stat->calls += weir_load_relaxed(&lane->calls);
		stat->failures += weir_load_relaxed(&lane->failures);
		stat->rejected += weir_load_relaxed(&lane->rejected);
		probe = weir_load_relaxed(&lane->probe);
		if (weir__breaker_probing(word, weir_breaker_lane_probe_gen(probe)))
			stat->probes_out += (uint32_t)weir_breaker_lane_probe_count(probe);
	}
}

int weir_breaker_stat(const struct weir_breaker *breaker, struct weir_breaker_stat *ret_stat)
{
	uint64_t word = word_load(breaker->shm);
	uint64_t now_ns = weir__now_ns();
	uint64_t deadline_ns = weir_breaker_word_deadline(word) * MS_NS;
	uint64_t epoch = weir__breaker_epoch(&breaker->epochs, weir__now_coarse_ns());
	struct weir_breaker_stat stat = {0};

	if (weir_breaker_word_state(word) > WEIR_BREAKER_STATE_DISABLED)
		return -EBADMSG;
	stat.mode = (enum weir_breaker_mode)weir_breaker_word_state(word);
	stat.gen = (uint32_t)weir_breaker_word_gen(word);
	stat.probes_left = (uint32_t)weir_breaker_word_left(word);
	stat.probes_ok = (uint32_t)weir_breaker_word_ok(word);
	stat.deadline_in_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
	/* relaxed, all: counters for display. */
	stat.opened = weir_load_relaxed(&breaker->shm->opened);
	stat.reopened = weir_load_relaxed(&breaker->shm->reopened);
	stat.closed = weir_load_relaxed(&breaker->shm->closed);
	stat.probes_started = weir_load_relaxed(&breaker->shm->probes_started);
	window_sum(breaker, stat.gen, epoch, &stat.window_calls, &stat.window_failures);
	stat_lanes(breaker, word, &stat);
	*ret_stat = stat;
	return 0;
}

/* --- the dead ---------------------------------------------------------------------------- */

/* Probes of a dead thread are failed probes.  Dying in here leaves a word of the next generation
 * and a lane that the next sweep only clears. */
void weir__breaker_recover(const struct weir__victim *victim, void *object,
			   struct weir_recovery *rec)
{
	struct weir_breaker_shm *shm = object;
	struct weir_breaker_lane_shm *lane;
	struct weir__breaker_conf conf;
	uint64_t probe;
	uint64_t word;

	if (conf_read(victim->seg, shm, &conf) < 0 || victim->thread >= victim->seg->thread_count)
		return;
	lane = (struct weir_breaker_lane_shm *)(shm + 1) + victim->thread;
	/* EDGE breaker_lane.probe (acquire <- probe_take): the thread slot before its use. */
	probe = weir_load_acquire(&lane->probe);
	if (weir_breaker_lane_probe_count(probe) == 0)
		return;
	word = word_load(shm);
	if (!weir__victim_still(victim))
		return;
	/* half_open,g -> open,g+1.  Ends when anybody ends the period. */
	while (weir__breaker_probing(word, weir_breaker_lane_probe_gen(probe)) &&
	       !change(victim->seg, shm, &word, weir__breaker_probed(&conf, word, true, now_ms())))
		weir_relax();
	WEIR_CRASH_POINT(breaker_sweep);
	/* count,g,seq -> 0,g,seq+1 */
	/* EDGE breaker_lane.probe (full -> weir__breaker_recover): the word before the lane. */
	if (weir_cas_full(&lane->probe, &probe,
			  weir__breaker_lane_probe(probe, weir_breaker_lane_probe_gen(probe), 0)))
		rec->probes += (uint32_t)weir_breaker_lane_probe_count(probe);
}
