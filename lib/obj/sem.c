/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Weighted semaphore: acquire, release, waiting.  How the word works is told in sem_word.c.
 *
 * Uncontended, acquire and release are each one CAS on the word, and before it one store to the
 * thread's own lane: the intent, with the holding that will result.  After success nothing more is
 * written: that the step took effect can be told from the word and the acknowledgement
 * (sem_word.c), now or later. Measured: saving the second store is worth 2 ns of 17.
 */
#include <stdlib.h>

#include "obj/sem_word.h"

#define SPINS 200

/* Our last step is over, and we hold `hold`: said aloud before a grant can change it. */
static uint64_t closed(uint64_t ledger, uint64_t hold)
{
	return weir__sem_ledger(ledger, hold, 0, WEIR_SEM_LANE_OP_NONE,
				weir_sem_lane_ledger_seq(ledger));
}

/* --- taking and giving back ----------------------------------------------------------------
 *
 * Ledger and word have their sequence numbers in the same, top, bits, so one addition steps either
 * and wraps by itself.
 */

#define COUNT_BITS ((UINT64_C(1) << WEIR_SEM_WORD_AUTHOR_SHIFT) - 1) /* used and wait */
#define SEQ_ONE	   (UINT64_C(1) << WEIR_SEM_LANE_LEDGER_SEQ_SHIFT)
#define OPEN_ONE   (UINT64_C(1) << WEIR_SEM_LANE_LEDGER_AMOUNT_SHIFT)
#define OP(op)	   ((uint64_t)(op) << WEIR_SEM_LANE_LEDGER_OP_SHIFT)
/* Amount and op of the last step, which is over. */
#define OVER_MASK (OPEN_ONE * WEIR_SEM_LANE_LEDGER_AMOUNT_MAX | OP(WEIR_SEM_LANE_LEDGER_OP_MAX))
_Static_assert(WEIR_SEM_LANE_LEDGER_SEQ_SHIFT == 34 && WEIR_SEM_WORD_SEQ_SHIFT == 34 &&
		       WEIR_SEM_LANE_LEDGER_HOLD_SHIFT == 0 && WEIR_SEM_WORD_USED_SHIFT == 0,
	       "the arithmetic below needs these places");

/* The ledger for the next step: its number, what it moves, and what we hold once it has taken
 * effect. */
static inline uint64_t intent_take(uint64_t ledger, uint64_t weight)
{
	return (ledger & ~OVER_MASK) + weight * (OPEN_ONE + 1) +
	       (SEQ_ONE + OP(WEIR_SEM_LANE_OP_ACQUIRE));
}

static inline uint64_t intent_give(uint64_t ledger, uint64_t weight)
{
	return (ledger & ~OVER_MASK) + weight * (OPEN_ONE - 1) +
	       (SEQ_ONE + OP(WEIR_SEM_LANE_OP_RELEASE));
}

/* Our signature under it, in the upper bits of the word. */
static inline uint64_t next_sign(uint32_t self, uint64_t ledger)
{
	return ((ledger >> WEIR_SEM_LANE_LEDGER_SEQ_SHIFT) + 1) << WEIR_SEM_WORD_SEQ_SHIFT |
	       weir__sem_author(self, 0) << WEIR_SEM_WORD_AUTHOR_SHIFT;
}

/* Whoever signed last was not us: he has to be told before his signature goes. */
static inline bool by_another(uint64_t word, uint32_t self)
{
	return (uint32_t)weir_sem_word_author(word) != (uint32_t)weir__sem_author(self, 0);
}

/* Count a success and remember which request holds the permits. */
__attribute__((always_inline)) static inline void note_acquire(struct weir_sem_lane_shm *lane)
{
	weir__count(&lane->acquires, 1);
	/* relaxed, both: for display. */
	weir_store_relaxed(&lane->span, weir_load_relaxed(&weir__self_cache.thread->span));
}

/*
 * One step in the usual case: the last step on the word was ours and the last one in our ledger,
 * and nothing is in the way.  Then the next word is the last one plus the weight plus one step, and
 * the next intent two operations from the last: what is computed between two CASes is waited for.
 * Inline, and what comes after a failure is a tail call, so that few registers have to be saved.
 */
enum fast {
	DONE,
	UNUSUAL, /* nothing was changed: use the general one */
	LOST,	 /* somebody else changed the word: the general one goes on with the intent */
};

/* The ledger as it was before the step that is open in it: its number is free again. */
static uint64_t before(uint64_t ledger)
{
	uint64_t hold = weir_sem_lane_ledger_hold(ledger);
	uint64_t amount = weir_sem_lane_ledger_amount(ledger);
	bool taken = weir_sem_lane_ledger_op(ledger) == WEIR_SEM_LANE_OP_ACQUIRE;

	return closed(ledger - SEQ_ONE,
		      taken ? weir__sem_hold_sub(hold, amount) : weir__sem_hold_add(hold, amount));
}

/* What we hold, and what we may yet be granted: a cell that is open has its amount, an idle one 0.
 * Together they must fit the ledger, in which they will end. */
static inline uint64_t committed(const struct weir_sem_lane_shm *lane, uint64_t hold)
{
	/* relaxed: only we write it. */
	return hold + weir_sem_lane_cell_amount(weir_load_relaxed(&lane->cell));
}

/* Is a request of ours open?  Then its amount counts too: for the general one. */
static inline bool waiting(const struct weir_sem_lane_shm *lane)
{
	/* relaxed: only we write it. */
	return weir_sem_lane_cell_state(weir_load_relaxed(&lane->cell)) != WEIR_SEM_LANE_CELL_IDLE;
}

/* Our lane by way of what is loaded anyway. */
static inline struct weir_sem_lane_shm *lane_of(struct weir_sem_shm *shm, uint64_t self)
{
	return (struct weir_sem_lane_shm *)(shm + 1) + self;
}

/*
 * The counts in `word`, used and wait, if the last step on it was ours and the last one in our
 * ledger; a number above all counts if not.  `seq` is that step's number.  If not, it is a multiple
 * of 2^21, not 0, plus the counts, modulo 2^64.  Just below 2^64 a weight on top would come out
 * small: that needs more permits than are allowed.
 */
_Static_assert(WEIR_SEM_PERMITS_MAX + WEIR_SEM_WEIGHT_MAX <= WEIR_SEM_WORD_USED_MAX,
	       "counts below 2^21, plus a weight, must not reach the next multiple of 2^21");
static inline uint64_t counts_if_ours(uint64_t word, uint64_t self, uint64_t seq)
{
	return word - (seq << WEIR_SEM_WORD_SEQ_SHIFT) - (self << (WEIR_SEM_WORD_AUTHOR_SHIFT + 1));
}

__attribute__((always_inline)) static inline enum fast take_fast(const struct weir__semv *v,
								 uint32_t weight)
{
	uint64_t self = weir__self_cache.slot;
	struct weir_sem_shm *shm = v->shm;
	struct weir_sem_lane_shm *lane = lane_of(shm, self);
	/* relaxed: only we write it. */
	uint64_t ledger = weir_load_relaxed(&lane->ledger);
	uint64_t seq = weir_sem_lane_ledger_seq(ledger);
	/* EDGE sem.word (acquire <- any CAS on it): what the last holder did is visible. */
	uint64_t word = weir_load_acquire(&shm->word);

	/* The sum is above every cap if somebody waits.  relaxed: after the word
	 * (weir__sem_set_cap); what is too much is for the general one. */
	if (weir__unlikely(counts_if_ours(word, self, seq) + weight > weir_load_relaxed(&shm->cap)))
		return UNUSUAL;
	/* A weight of 0 is refused here too. */
	if (weir__unlikely(weir_sem_lane_ledger_hold(ledger) + (weight - 1) >=
				   WEIR_SEM_WEIGHT_MAX ||
			   waiting(lane)))
		return UNUSUAL;
	note_acquire(lane); /* Before it is true: then no register outlives the CAS. */
	/* EDGE sem.ledger (release -> weir__sem_recover): the intent, before the CAS. */
	weir_store_release(&lane->ledger, intent_take(ledger, weight));
	/* EDGE sem.word (full -> any load of it): used,me,k -> used+n,me,k+1 */
	if (weir__likely(weir_cas_full(&shm->word, &word, word + (weight + SEQ_ONE))))
		return DONE;
	return LOST;
}

__attribute__((always_inline)) static inline enum fast give_fast(const struct weir__semv *v,
								 uint32_t weight)
{
	uint64_t self = weir__self_cache.slot;
	struct weir_sem_shm *shm = v->shm;
	struct weir_sem_lane_shm *lane = lane_of(shm, self);
	/* relaxed: only we write it. */
	uint64_t ledger = weir_load_relaxed(&lane->ledger);
	uint64_t seq = weir_sem_lane_ledger_seq(ledger);
	/* EDGE sem.word (acquire <- any CAS on it): the signature we are about to replace. */
	uint64_t word = weir_load_acquire(&shm->word);

	/* Somebody waits, or the word was scribbled on: for the general one. */
	if (weir__unlikely(counts_if_ours(word, self, seq) - weight >
			   WEIR_SEM_WORD_USED_MAX - weight))
		return UNUSUAL;
	/* A weight of 0 is refused here too. */
	if (weir__unlikely(weight - 1 >= weir_sem_lane_ledger_hold(ledger)))
		return UNUSUAL;
	/* EDGE sem.ledger (release -> weir__sem_recover): the intent, before the CAS. */
	weir_store_release(&lane->ledger, intent_give(ledger, weight));
	/* EDGE sem.word (full -> any load of it): used,me,k -> used-n,me,k+1 */
	if (weir__likely(weir_cas_full(&shm->word, &word, word + (SEQ_ONE - weight))))
		return DONE;
	return LOST;
}

/*
 * Too few are left, or somebody waits: then the sum is above every cap.  True only if word and cap
 * were so at one moment: the word was the same before and after the look at the cap.  If not,
 * `word` is what is there now.
 */
static bool too_few(const struct weir__semv *v, uint32_t weight, uint64_t *word)
{
	uint64_t seen;

	/* Ends: another turn means that somebody else changed the word. */
	do {
		seen = *word;
		/* EDGE sem.cap (acquire <- weir__sem_set_cap): before the second look. */
		if ((seen & COUNT_BITS) + weight <= weir_load_acquire(&v->shm->cap))
			return false;
		/* EDGE sem.word (acquire <- any CAS on it): before the next look at the cap. */
		*word = weir_load_acquire(&v->shm->word);
	} while (*word != seen);
	return true;
}

/* The word, after somebody else was quicker. */
static uint64_t look_again(const struct weir__semv *v)
{
	weir_back_off();
	/* EDGE sem.word (acquire <- any CAS on it): what he did is visible. */
	return weir_load_acquire(&v->shm->word);
}

/* Go on with a step whose intent is written: `ledger` is what was there before it, `word` what was
 * seen last. */
static int take_on(const struct weir__semv *v, uint32_t self, uint32_t weight, uint64_t ledger,
		   uint64_t word)
{
	/* Ends: a failed CAS means that somebody else changed the word. */
	for (;; word = look_again(v)) {
		if (weir__unlikely(too_few(v, weight, &word))) {
			/* EDGE sem.ledger (release -> weir__sem_recover): as it was. */
			weir_store_release(&v->lanes[self].ledger, ledger);
			return -EAGAIN;
		}
		if (by_another(word, self)) {
			weir_prefetch_own(&v->shm->word); /* Comes while we tell. */
			weir__sem_ack(v, word);
		}
		/* EDGE sem.word (full -> any load of it): used,a,k -> used+n,me,seq */
		if (weir_cas_full(&v->shm->word, &word,
				  ((word & COUNT_BITS) + weight) | next_sign(self, ledger)))
			break;
	}
	WEIR_CRASH_POINT(sem_acquire_applied);
	return 0;
}

static int take(const struct weir__semv *v, uint32_t self, uint32_t weight)
{
	struct weir_sem_lane_shm *lane = &v->lanes[self];
	/* relaxed: only we write it. */
	uint64_t ledger = weir_load_relaxed(&lane->ledger);
	/* EDGE sem.word (acquire <- any CAS on it): what the last holder did is visible. */
	uint64_t word = weir_load_acquire(&v->shm->word);

	if (weir__unlikely(committed(lane, weir_sem_lane_ledger_hold(ledger)) + weight >
			   WEIR_SEM_WEIGHT_MAX))
		return -EOVERFLOW;
	if (too_few(v, weight, &word))
		return -EAGAIN;
	/* EDGE sem.ledger (release -> weir__sem_recover): the intent, before the CAS. */
	weir_store_release(&lane->ledger, intent_take(ledger, weight));
	WEIR_CRASH_POINT(sem_acquire_intent);
	if (take_on(v, self, weight, ledger, word) < 0)
		return -EAGAIN;
	note_acquire(lane);
	return 0;
}

static int give_on(const struct weir__semv *v, uint32_t self, uint32_t weight, uint64_t ledger,
		   uint64_t word)
{
	/* Ends: a failed CAS means that somebody else changed the word. */
	for (;; word = look_again(v)) {
		if (weir__unlikely(weir_sem_word_used(word) < weight)) { /* Scribbled on. */
			/* EDGE sem.ledger (release -> weir__sem_recover): as it was. */
			weir_store_release(&v->lanes[self].ledger, ledger);
			return -EBADMSG;
		}
		if (by_another(word, self)) {
			weir_prefetch_own(&v->shm->word); /* Comes while we tell. */
			weir__sem_ack(v, word);
		}
		/* EDGE sem.word (full -> any load of it): used,a,k -> used-n,me,seq */
		if (weir_cas_full(&v->shm->word, &word,
				  ((word & COUNT_BITS) - weight) | next_sign(self, ledger)))
			break;
	}
	WEIR_CRASH_POINT(sem_release_applied);
	if (weir__unlikely(weir_sem_word_wait(word)))
		weir__sem_grant(v);
	return 0;
}

static int give(const struct weir__semv *v, uint32_t self, uint32_t weight)
{
	struct weir_sem_lane_shm *lane = &v->lanes[self];
	/* relaxed: only we write it. */
	uint64_t ledger = weir_load_relaxed(&lane->ledger);
	/* EDGE sem.word (acquire <- any CAS on it) */
	uint64_t word = weir_load_acquire(&v->shm->word);

	if (weir__unlikely(weir_sem_lane_ledger_hold(ledger) < weight))
		return -EPERM;
	/* EDGE sem.ledger (release -> weir__sem_recover): the intent, before the CAS. */
	weir_store_release(&lane->ledger, intent_give(ledger, weight));
	WEIR_CRASH_POINT(sem_release_intent);
	return give_on(v, self, weight, ledger, word);
}

/*
 * The number of permits is another word, and a CAS on this one does not see it change.  So it is
 * changed inside a step that gives back nothing: who read the word before our signature, and
 * perhaps the old number after it, fails with his CAS, and who reads it later reads the new number.
 * If we die in between, recovery signs for us, as for any release.
 */
uint32_t weir__sem_set_cap(const struct weir__semv *v, uint32_t self, uint32_t permits)
{
	struct weir_sem_lane_shm *lane = &v->lanes[self];
	/* relaxed: only we write it. */
	uint64_t ledger = weir_load_relaxed(&lane->ledger);
	uint32_t old;

	/* EDGE sem.ledger (release -> weir__sem_recover): the intent, before the cap. */
	weir_store_release(&lane->ledger, intent_give(ledger, 0));
	WEIR_CRASH_POINT(sem_resize_intent);
	/* EDGE sem.cap (full -> weir__sem_grant, too_few): the cap, before our signature. */
	old = weir_swap_full(&v->shm->cap, permits);
	WEIR_CRASH_POINT(sem_resized);
	/* EDGE sem.word (acquire <- any CAS on it): the signature we are about to replace. */
	give_on(v, self, 0, ledger, weir_load_acquire(&v->shm->word));
	return old;
}

/* --- waiting ------------------------------------------------------------------------------- */

/* Join the line.  The cell is the request; the ticket its place. */
static void enqueue(const struct weir__semv *v, uint32_t self, uint32_t weight)
{
	struct weir_sem_lane_shm *lane = &v->lanes[self];
	/* relaxed: only we write these two. */
	uint64_t seq = (weir_sem_lane_cell_seq(weir_load_relaxed(&lane->cell)) + 1) &
		       WEIR_SEM_LANE_CELL_SEQ_MAX;
	uint64_t ledger = weir_load_relaxed(&lane->ledger);
	uint64_t word;

	/* An old mark must not look like this grant's, should we die before we absorb it.
	 * EDGE sem.ledger (release -> weir__sem_recover): before the request. */
	if (weir_sem_lane_ledger_absorbed(ledger) == (seq & 15))
		weir_store_release(&lane->ledger,
				   weir_sem_lane_ledger_set_absorbed(ledger, seq + 8));
	/* relaxed: published by the cell below. */
	weir_store_relaxed(&lane->ticket, weir_add_relaxed(&v->shm->ticket, 1));
	weir_store_relaxed(&lane->since_ns, weir__now_ns());
	/* EDGE sem.cell (release -> waits): its place and amount before the request. */
	weir_store_release(&lane->cell, weir__sem_cell(WEIR_SEM_LANE_CELL_WAIT, weight, seq));
	WEIR_CRASH_POINT(sem_wait_published);
	/* EDGE sem.word (full -> clear_wait): our request, then our look at the bit; its clearing,
	 * then its look at the requests: one of us sees the other.  wait=0 -> wait=1, same
	 * signature. */
	weir_fence_full();
	word = weir_load_acquire(&v->shm->word);
	while (!weir_sem_word_wait(word) &&
	       !weir_cas_full(&v->shm->word, &word, weir_sem_word_set_wait(word, 1)))
		weir_relax();
	/* EDGE sem.cap (full -> weir_sem_resize): the bit, then our look at the cap; its cap, then
	 * its look at the bit. */
	weir_fence_full();
	WEIR_CRASH_POINT(sem_wait_flagged);
	weir__sem_grant(v);
}

/* Add the granted permits to what we hold: one store that names the grant, so a sweep can tell. */
static void absorb(const struct weir__semv *v, uint32_t self, uint64_t cell)
{
	struct weir_sem_lane_shm *lane = &v->lanes[self];
	/* relaxed: only we write them. */
	uint64_t ledger = weir_load_relaxed(&lane->ledger);
	uint64_t waited = weir__now_ns() - weir_load_relaxed(&lane->since_ns);
	uint64_t seq = weir_sem_lane_cell_seq(cell);

	ledger = closed(ledger, weir__sem_hold_add(weir_sem_lane_ledger_hold(ledger),
						   weir_sem_lane_cell_amount(cell)));
	ledger = weir_sem_lane_ledger_set_absorbed(ledger, seq);
	/* EDGE sem.ledger (release -> weir__sem_recover): hold and mark in one. */
	weir_store_release(&lane->ledger, ledger);
	WEIR_CRASH_POINT(sem_absorbed);
	/* EDGE sem.cell (release -> waits) */
	weir_store_release(&lane->cell, weir__sem_cell(WEIR_SEM_LANE_CELL_IDLE, 0, seq));
	weir__count(&lane->waits, 1);
	weir__count(&lane->wait_ns, waited);
	note_acquire(lane);
	weir__self_waits(v->seg, self, NULL, 0);
}

/* True once our request was granted; then the permits are ours. */
static bool granted(const struct weir__semv *v, uint32_t self)
{
	/* relaxed: only we write it. */
	uint64_t cell = weir_load_relaxed(&v->lanes[self].cell);
	/* EDGE sem.word (acquire <- weir__sem_grant): what the last holder did is visible. */
	uint64_t word = weir_load_acquire(&v->shm->word);

	if (weir__seq_diff(weir__sem_latest(v, word, self, 1), weir_sem_lane_cell_seq(cell)) < 0)
		return false;
	absorb(v, self, cell);
	return true;
}

/* Leave the line: true if the permits came first. */
static bool dequeue(const struct weir__semv *v, uint32_t self)
{
	struct weir_sem_lane_shm *lane = &v->lanes[self];
	/* relaxed: only we write it. */
	uint64_t cell = weir_load_relaxed(&lane->cell);
	uint64_t seq = (weir_sem_lane_cell_seq(cell) + 1) & WEIR_SEM_LANE_CELL_SEQ_MAX;
	bool won;

	/* EDGE sem.cell (full -> waits): we want out, before we make sure. */
	weir_store_full(&lane->cell, weir__sem_cell(WEIR_SEM_LANE_CELL_CANCEL,
						    weir_sem_lane_cell_amount(cell), seq));
	WEIR_CRASH_POINT(sem_cancel_published);
	won = weir__sem_resolve_cancel(v, self, seq, NULL);
	WEIR_CRASH_POINT(sem_cancel_decided);
	if (won) {
		/* The grant carries seq - 1; the mark must name that one. */
		absorb(v, self, weir_sem_lane_cell_set_seq(cell, seq - 1));
		/* EDGE sem.cell (release -> waits): seq is used up. */
		weir_store_release(&lane->cell, weir__sem_cell(WEIR_SEM_LANE_CELL_IDLE, 0, seq));
		return true;
	}
	/* EDGE sem.cell (release -> waits) */
	weir_store_release(&lane->cell, weir__sem_cell(WEIR_SEM_LANE_CELL_IDLE, 0, seq));
	weir__self_waits(v->seg, self, NULL, 0);
	weir__sem_grant(v); /* We may have been the one in front. */
	return false;
}

/* After a resize: can our request never be granted? */
static bool misfit(const struct weir__semv *v, uint32_t self)
{
	/* relaxed: only we write it. */
	uint64_t cell = weir_load_relaxed(&v->lanes[self].cell);

	/* EDGE sem.cap (acquire <- weir__sem_set_cap): our request and our flag, then (after the
	 * fence of enqueue or of weir__waitq_prepare) this look; its store, then its look at them:
	 * one of us sees the other. */
	return weir_sem_lane_cell_amount(cell) > weir_load_acquire(&v->shm->cap);
}

/* Does this lane have permits: in its ledger, or granted and not yet noticed by a sleeper? */
static bool has_permits(const struct weir__semv *v, uint64_t word, uint32_t lane)
{
	/* relaxed: for display. */
	uint64_t cell = weir_load_relaxed(&v->lanes[lane].cell);

	if (weir_sem_lane_ledger_hold(weir_load_relaxed(&v->lanes[lane].ledger)) != 0)
		return true;
	return weir_sem_lane_cell_state(cell) == WEIR_SEM_LANE_CELL_WAIT &&
	       weir__seq_diff(weir__sem_latest(v, word, lane, 1), weir_sem_lane_cell_seq(cell)) >=
		       0;
}

/* For the tracer: who is in our way? */
static void publish_holder(const struct weir__semv *v, uint32_t self)
{
	struct weir_waitq_shm *q = &v->lanes[self].waitq;
	struct weir_thread_shm *t = &v->seg->threads[self];
	uint32_t high = weir__thread_high(v->seg);
	/* relaxed, all of it: for display. */
	uint64_t word = weir_load_relaxed(&v->shm->word);

	weir_store_relaxed(&q->waiter_tid, weir_load_relaxed(&t->tid));
	weir_store_relaxed(&q->span, weir_load_relaxed(&t->span));
	weir_store_relaxed(&q->trace[0], weir_load_relaxed(&t->trace[0]));
	weir_store_relaxed(&q->trace[1], weir_load_relaxed(&t->trace[1]));
	weir_store_relaxed(&q->holder_tid, 0);
	for (uint32_t lane = 0; lane < high; lane++) {
		bool noticed;

		if (!has_permits(v, word, lane))
			continue;
		noticed = weir_sem_lane_ledger_hold(weir_load_relaxed(&v->lanes[lane].ledger)) != 0;
		weir_store_relaxed(&q->holder_span,
				   noticed ? weir_load_relaxed(&v->lanes[lane].span)
					   : weir_load_relaxed(&v->seg->threads[lane].span));
		weir_store_relaxed(&q->holder_tid, weir__thread_tid(v->seg, lane));
		if (lane != self)
			return;
	}
}

static int start(const struct weir__semv *v, uint32_t self, uint32_t weight)
{
	struct weir_sem_lane_shm *lane = &v->lanes[self];
	int r = take(v, self, weight);

	if (r != -EAGAIN)
		return r;
	enqueue(v, self, weight);
	/* relaxed: ours. */
	weir__self_waits(v->seg, self, v->shm, weir_load_relaxed(&lane->since_ns));
	if (granted(v, self))
		return 0;
	if (weir__unlikely(misfit(v, self)))
		return dequeue(v, self) ? 0 : -EINVAL;
	publish_holder(v, self);
	return -EINPROGRESS;
}

static int block(const struct weir__semv *v, uint32_t self, struct weir_ctx *ctx)
{
	struct weir_waitq_shm *q = &v->lanes[self].waitq;
	int r;

	for (int i = 0; i < SPINS; i++) {
		if (granted(v, self))
			return 0;
		weir_relax();
	}
	/* Ends: with the grant, or with ctx; sleeps in between are bounded. */
	for (;;) {
		uint32_t value = weir__waitq_prepare(q);

		if (granted(v, self))
			return 0;
		if (weir__unlikely(misfit(v, self)))
			return dequeue(v, self) ? 0 : -EINVAL;
		r = weir__waitq_sleep(q, value, ctx);
		if (granted(v, self))
			return 0;
		if (r < 0)
			return dequeue(v, self) ? 0 : r;
		weir__sweep_sometimes(v->seg);
		weir__sem_flag(v); /* In case the bit, a wake or a grant died with its maker. */
		weir__sem_grant(v);
		publish_holder(v, self);
	}
}

/* --- the interface ------------------------------------------------------------------------- */

static int check_weight(const struct weir_sem *sem, uint32_t weight)
{
	/* relaxed: a resize is seen soon enough. */
	if (weight == 0 || weight > WEIR_SEM_WEIGHT_MAX ||
	    weight > weir_load_relaxed(&sem->v.shm->cap))
		return -EINVAL;
	return 0;
}

/* The caller's lane, if it is free to make a request. */
static int ready(const struct weir_sem *sem)
{
	int self = weir__self(sem->v.seg);

	if (weir__unlikely(self < 0))
		return self;
	/* relaxed: only we write it. */
	if (weir__unlikely(weir_sem_lane_cell_state(weir_load_relaxed(&sem->v.lanes[self].cell)) !=
			   WEIR_SEM_LANE_CELL_IDLE))
		return -EBUSY;
	return self;
}

/* weir__self_known(): is weir__self_cache the caller in this segment? */
static inline bool known(const struct weir_sem *sem)
{
	uint64_t token = weir__self_cache.token;

	return token == *sem->token && token != 0;
}

__attribute__((always_inline)) static inline enum fast acquire_fast(const struct weir_sem *sem,
								    uint32_t weight)
{
	return weir__likely(known(sem)) ? take_fast(&sem->v, weight) : UNUSUAL;
}

/* After LOST: the fast path has counted it already. */
static int take_lost(const struct weir__semv *v, uint32_t weight)
{
	uint32_t self = weir__self_cache.slot;
	struct weir_sem_lane_shm *lane = &v->lanes[self];
	/* relaxed: only we write it. */
	int r = take_on(v, self, weight, before(weir_load_relaxed(&lane->ledger)), look_again(v));

	if (r < 0)
		weir__count(&lane->acquires, (uint64_t)-1);
	return r;
}

static int take_any(struct weir_sem *sem, uint32_t weight, enum fast fast)
{
	int self;
	int r;

	if (fast == LOST) {
		r = take_lost(&sem->v, weight);
	} else {
		self = weir__self(sem->v.seg);
		if (self < 0)
			return self;
		if (weight - 1 >= WEIR_SEM_WEIGHT_MAX)
			return -EINVAL;
		r = take(&sem->v, (uint32_t)self, weight);
	}
	return r == -EAGAIN && check_weight(sem, weight) < 0 ? -EINVAL : r;
}

/* Nothing free: have the dead it?  Looks once in WEIR__RECOVERY_NS; true if it did. */
static bool looked_for_the_dead(const struct weir__semv *v)
{
	/* relaxed: of our own process, only spares work. */
	uint64_t before = weir_load_relaxed(&v->seg->swept_ns);

	weir__sweep_sometimes(v->seg);
	if (weir_load_relaxed(&v->seg->swept_ns) == before)
		return false;
	weir__sem_grant(v); /* In case who set or should have cleared the bit had no slot. */
	return true;
}

__attribute__((noinline)) static int try_acquire_any(struct weir_sem *sem, uint32_t weight,
						     enum fast fast)
{
	int r = take_any(sem, weight, fast);

	return r == -EAGAIN && looked_for_the_dead(&sem->v) ? take_any(sem, weight, UNUSUAL) : r;
}

int weir_sem_try_acquire(struct weir_sem *sem, uint32_t weight)
{
	enum fast fast = acquire_fast(sem, weight);

	return weir__likely(fast == DONE) ? 0 : try_acquire_any(sem, weight, fast);
}

__attribute__((noinline)) static int acquire_any(struct weir_sem *sem, uint32_t weight,
						 struct weir_ctx *ctx, enum fast fast)
{
	int r = take_any(sem, weight, fast);
	int self;

	if (r != -EAGAIN)
		return r;
	self = ready(sem);
	r = self < 0 ? self : weir_ctx_err(ctx);
	if (r < 0)
		return r;
	r = start(&sem->v, (uint32_t)self, weight);
	return r == -EINPROGRESS ? block(&sem->v, (uint32_t)self, ctx) : r;
}

int weir_sem_acquire(struct weir_sem *sem, uint32_t weight, struct weir_ctx *ctx)
{
	enum fast fast = acquire_fast(sem, weight);

	return weir__likely(fast == DONE) ? 0 : acquire_any(sem, weight, ctx, fast);
}

__attribute__((noinline)) static int release_any(struct weir_sem *sem, uint32_t weight,
						 enum fast fast)
{
	const struct weir__semv *v = &sem->v;
	int self = weir__self(v->seg);

	if (self < 0)
		return self;
	if (fast == LOST) /* relaxed: only we write it. */
		return give_on(v, (uint32_t)self, weight,
			       before(weir_load_relaxed(&v->lanes[self].ledger)), look_again(v));
	if (weight - 1 >= WEIR_SEM_WEIGHT_MAX)
		return -EINVAL;
	return give(v, (uint32_t)self, weight);
}

int weir_sem_release(struct weir_sem *sem, uint32_t weight)
{
	enum fast fast = known(sem) ? give_fast(&sem->v, weight) : UNUSUAL;

	return weir__likely(fast == DONE) ? 0 : release_any(sem, weight, fast);
}

int weir_sem_start(struct weir_sem *sem, uint32_t weight)
{
	int r = check_weight(sem, weight);
	int self = ready(sem);

	if (r < 0 || self < 0)
		return r < 0 ? r : self;
	return start(&sem->v, (uint32_t)self, weight);
}

int weir_sem_poll(struct weir_sem *sem, struct weir_wait *ret_wait)
{
	int self = weir__self(sem->v.seg);
	struct weir_waitq_shm *q;

	if (self < 0)
		return self;
	q = &sem->v.lanes[self].waitq;
	/* relaxed: only we write it. */
	if (weir_sem_lane_cell_state(weir_load_relaxed(&sem->v.lanes[self].cell)) !=
	    WEIR_SEM_LANE_CELL_WAIT)
		return -EINVAL;
	ret_wait->value = weir__waitq_prepare(q);
	ret_wait->word = (uint32_t *)(uintptr_t)&q->epoch;
	if (granted(&sem->v, (uint32_t)self))
		return 0;
	weir__sweep_sometimes(sem->v.seg);
	weir__sem_flag(&sem->v);
	weir__sem_grant(&sem->v);
	if (granted(&sem->v, (uint32_t)self))
		return 0;
	if (weir__unlikely(misfit(&sem->v, (uint32_t)self)))
		return dequeue(&sem->v, (uint32_t)self) ? 0 : -EINVAL;
	return -EINPROGRESS;
}

int weir_sem_stop(struct weir_sem *sem)
{
	int self = weir__self(sem->v.seg);

	if (self < 0)
		return self;
	/* relaxed: only we write it. */
	if (weir_sem_lane_cell_state(weir_load_relaxed(&sem->v.lanes[self].cell)) !=
	    WEIR_SEM_LANE_CELL_WAIT)
		return -EINVAL;
	return dequeue(&sem->v, (uint32_t)self) ? 0 : -ECANCELED;
}
