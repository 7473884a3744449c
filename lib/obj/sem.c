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

#define ACK_SELF_MASK ((UINT64_C(1) << 27) - 1)
#define SPINS	      200

/* Our last step is over, and we hold `hold`: said aloud before a grant can change it. */
static uint64_t closed(uint64_t ledger, uint64_t hold)
{
	return weir__sem_ledger(ledger, hold, 0, WEIR_SEM_LANE_OP_NONE,
				weir_sem_lane_ledger_seq(ledger));
}

/* Once in 2^27 steps: acknowledge our own last one, so that 30 bits stay comparable (recovery may
 * step over one of these). */
static void ack_self(struct weir_sem_lane_shm *lane, uint32_t which, uint64_t seq)
{
	if (weir__likely((seq & ACK_SELF_MASK) != 0))
		return;
	/* EDGE sem.ack (full -> weir__sem_latest): all our steps before this one are over. */
	weir_swap_full(&lane->ack[which], (uint32_t)(seq - 1) & 0x3fffffff);
}

/* --- taking and giving back ----------------------------------------------------------------
 *
 * Ledger and word have their sequence numbers in the same, top, bits, so one addition steps it and
 * wraps by itself, and a step's signature is made once.  Measured: worth 3 ns of 18.
 */

#define COUNT_BITS ((UINT64_C(1) << WEIR_SEM_WORD_AUTHOR_SHIFT) - 1) /* used and wait */
#define MARK_SHIFT WEIR_SEM_LANE_LEDGER_ABSORBED_SHIFT
#define STEP_ONE   (UINT64_C(1) << (WEIR_SEM_LANE_LEDGER_SEQ_SHIFT - MARK_SHIFT))
_Static_assert(WEIR_SEM_LANE_LEDGER_SEQ_SHIFT == 34 && WEIR_SEM_WORD_SEQ_SHIFT == 34 &&
		       WEIR_SEM_WORD_AUTHOR_SHIFT == 21 && MARK_SHIFT == 30 &&
		       WEIR_SEM_LANE_LEDGER_HOLD_SHIFT == 0 && WEIR_SEM_WORD_USED_SHIFT == 0,
	       "the arithmetic below needs these places");

/* The next step's number, with the mark of the last absorbed grant below it: {seq:30, mark:4}. */
static inline uint64_t next_step(uint64_t ledger)
{
	return (ledger >> MARK_SHIFT) + STEP_ONE;
}

/* The ledger for it: what it moves, and what we hold once it has taken effect. */
static inline uint64_t intent(uint64_t step, uint64_t hold, uint64_t weight, uint64_t op)
{
	return step << MARK_SHIFT | hold | weight << WEIR_SEM_LANE_LEDGER_AMOUNT_SHIFT |
	       op << WEIR_SEM_LANE_LEDGER_OP_SHIFT;
}

/* Our signature under it, in the upper bits of the word. */
static inline uint64_t signature(uint32_t self, uint64_t step)
{
	return ((step >> 4) << 13 | weir__sem_author(self, 0)) << WEIR_SEM_WORD_AUTHOR_SHIFT;
}

/* Whoever signed last was not us: he has to be told before his signature goes. */
static inline bool by_another(uint64_t word, uint32_t self)
{
	return (uint32_t)weir_sem_word_author(word) != (uint32_t)weir__sem_author(self, 0);
}

/* Count a success and remember which request holds the permits. */
__attribute__((always_inline)) static inline void note_acquire(struct weir_sem_lane_shm *lane)
{
	/* relaxed: for display. */
	uint64_t span = weir_load_relaxed(&weir__self_cache.thread->span);

	weir__count(&lane->acquires, 1);
	if (weir__unlikely(span != 0))
		weir_store_relaxed(&lane->span, span); /* relaxed: for display. */
}

/*
 * One step in the usual case: the last step on the word was ours too, and nothing is in the way.
 * Inline, and what comes after a failure is a tail call, so that no register has to be saved: each
 * push would be one more store that the CAS has to wait for (measured: 3 ns a pair).
 */
enum fast {
	DONE,
	UNUSUAL, /* nothing was changed: use the general one */
	LOST,	 /* somebody else changed the word: undo the intent, then the general one */
};

/* The intent did not come true: its number is used up, the holding as before. */
static void undo(const struct weir__semv *v)
{
	struct weir_sem_lane_shm *lane = &v->lanes[weir__self_cache.slot];
	/* relaxed: only we write it. */
	uint64_t ledger = weir_load_relaxed(&lane->ledger);
	uint64_t hold = weir_sem_lane_ledger_hold(ledger);
	uint64_t amount = weir_sem_lane_ledger_amount(ledger);
	bool taken = weir_sem_lane_ledger_op(ledger) == WEIR_SEM_LANE_OP_ACQUIRE;

	/* EDGE sem.ledger (release -> weir__sem_recover) */
	weir_store_release(&lane->ledger, closed(ledger, taken ? weir__sem_hold_sub(hold, amount)
							       : weir__sem_hold_add(hold, amount)));
}

__attribute__((always_inline)) static inline enum fast step_fast(const struct weir__semv *v,
								 struct weir_sem_lane_shm *lane,
								 uint64_t word, uint64_t next,
								 uint64_t open)
{
	/* EDGE sem.ledger (release -> weir__sem_recover): the intent, before the CAS. */
	weir_store_release(&lane->ledger, open);
	/* EDGE sem.word (full -> any load of it): used,me,k -> used+-n,me,k+1 */
	return weir__likely(weir_cas_full(&v->shm->word, &word, next)) ? DONE : LOST;
}

/* What we hold, and what we may yet be granted: a cell that is open has its amount, an idle one 0.
 * Together they must fit the ledger, in which they will end. */
static inline uint64_t committed(const struct weir_sem_lane_shm *lane, uint64_t hold)
{
	/* relaxed: only we write it. */
	return hold + weir_sem_lane_cell_amount(weir_load_relaxed(&lane->cell));
}

/* Not the usual case: another author, or time to acknowledge ourselves (see ack_self). */
static inline bool unusual(uint64_t word, uint32_t self, uint64_t step)
{
	return by_another(word, self) || ((uint32_t)step & (uint32_t)(ACK_SELF_MASK << 4)) == 0;
}

__attribute__((always_inline)) static inline enum fast take_fast(const struct weir__semv *v,
								 uint32_t self, uint64_t weight)
{
	struct weir_sem_lane_shm *lane = &v->lanes[self];
	/* relaxed: only we write it. */
	uint64_t ledger = weir_load_relaxed(&lane->ledger);
	uint64_t step = next_step(ledger);
	uint64_t sign = signature(self, step);
	uint64_t hold = weir_sem_lane_ledger_hold(ledger);
	/* EDGE sem.word (acquire <- any CAS on it): what the last holder did is visible. */
	uint64_t word = weir_load_acquire(&v->shm->word);
	uint64_t used = (word & COUNT_BITS) + weight; /* above every cap if somebody waits */

	/* relaxed: a resize is seen soon enough. */
	if (weir__unlikely(unusual(word, self, step) || used > weir_load_relaxed(&v->shm->cap) ||
			   committed(lane, hold) + weight > WEIR_SEM_WEIGHT_MAX))
		return UNUSUAL;
	return step_fast(v, lane, word, used | sign,
			 intent(step, hold + weight, weight, WEIR_SEM_LANE_OP_ACQUIRE));
}

__attribute__((always_inline)) static inline enum fast give_fast(const struct weir__semv *v,
								 uint32_t self, uint64_t weight)
{
	struct weir_sem_lane_shm *lane = &v->lanes[self];
	/* relaxed: only we write it. */
	uint64_t ledger = weir_load_relaxed(&lane->ledger);
	uint64_t step = next_step(ledger);
	uint64_t sign = signature(self, step);
	uint64_t hold = weir_sem_lane_ledger_hold(ledger);
	/* EDGE sem.word (acquire <- any CAS on it): the signature we are about to replace. */
	uint64_t word = weir_load_acquire(&v->shm->word);

	/* Somebody waits, or the word was scribbled on: for the general one. */
	if (weir__unlikely(unusual(word, self, step) || hold < weight || weir_sem_word_wait(word) ||
			   weir_sem_word_used(word) < weight))
		return UNUSUAL;
	return step_fast(v, lane, word, ((word & COUNT_BITS) - weight) | sign,
			 intent(step, hold - weight, weight, WEIR_SEM_LANE_OP_RELEASE));
}

static int take(const struct weir__semv *v, uint32_t self, uint32_t weight)
{
	struct weir_sem_lane_shm *lane = &v->lanes[self];
	/* relaxed: only we write it. */
	uint64_t ledger = weir_load_relaxed(&lane->ledger);
	uint64_t step = next_step(ledger);
	uint64_t sign = signature(self, step);
	/* EDGE sem.word (acquire <- any CAS on it): what the last holder did is visible. */
	uint64_t word = weir_load_acquire(&v->shm->word);
	/* relaxed: a resize is seen soon enough. */
	uint64_t cap = weir_load_relaxed(&v->shm->cap);
	uint64_t hold = weir_sem_lane_ledger_hold(ledger);

	if (weir__unlikely(committed(lane, hold) + weight > WEIR_SEM_WEIGHT_MAX))
		return -EOVERFLOW;
	ack_self(lane, 0, step >> 4);
	/* EDGE sem.ledger (release -> weir__sem_recover): the intent, before the CAS. */
	weir_store_release(&lane->ledger,
			   intent(step, hold + weight, weight, WEIR_SEM_LANE_OP_ACQUIRE));
	WEIR_CRASH_POINT(sem_acquire_intent);
	/* Ends: a failed CAS means that somebody else changed the word. */
	do {
		/* With the wait bit set this sum is above every cap. */
		if (weir__unlikely((word & COUNT_BITS) + weight > cap)) {
			/* EDGE sem.ledger (release -> weir__sem_recover): the step is used up. */
			weir_store_release(&lane->ledger, intent(step, hold, 0, 0));
			return -EAGAIN;
		}
		if (by_another(word, self))
			weir__sem_ack(v, word);
		/* EDGE sem.word (full -> any load of it): used,a,k -> used+n,me,seq */
	} while (!weir_cas_full(&v->shm->word, &word, ((word & COUNT_BITS) + weight) | sign));
	WEIR_CRASH_POINT(sem_acquire_applied);
	note_acquire(lane);
	return 0;
}

static int give(const struct weir__semv *v, uint32_t self, uint32_t weight)
{
	struct weir_sem_lane_shm *lane = &v->lanes[self];
	/* relaxed: only we write it. */
	uint64_t ledger = weir_load_relaxed(&lane->ledger);
	uint64_t step = next_step(ledger);
	uint64_t sign = signature(self, step);
	/* EDGE sem.word (acquire <- any CAS on it) */
	uint64_t word = weir_load_acquire(&v->shm->word);
	uint64_t hold = weir_sem_lane_ledger_hold(ledger);

	if (weir__unlikely(hold < weight))
		return -EPERM;
	ack_self(lane, 0, step >> 4);
	/* EDGE sem.ledger (release -> weir__sem_recover): the intent, before the CAS. */
	weir_store_release(&lane->ledger,
			   intent(step, hold - weight, weight, WEIR_SEM_LANE_OP_RELEASE));
	WEIR_CRASH_POINT(sem_release_intent);
	/* Ends: a failed CAS means that somebody else changed the word. */
	do {
		if (weir__unlikely(weir_sem_word_used(word) < weight)) { /* Scribbled on. */
			/* EDGE sem.ledger (release -> weir__sem_recover): the step is used up. */
			weir_store_release(&lane->ledger, intent(step, hold, 0, 0));
			return -EBADMSG;
		}
		if (by_another(word, self))
			weir__sem_ack(v, word);
		/* EDGE sem.word (full -> any load of it): used,a,k -> used-n,me,seq */
	} while (!weir_cas_full(&v->shm->word, &word, ((word & COUNT_BITS) - weight) | sign));
	WEIR_CRASH_POINT(sem_release_applied);
	if (weir__unlikely(weir_sem_word_wait(word)))
		weir__sem_grant(v);
	return 0;
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

	ack_self(lane, 1, seq);
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

	/* EDGE sem.cap (acquire <- weir_sem_resize): our request and our flag, then (after the
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

__attribute__((always_inline)) static inline enum fast acquire_fast(const struct weir_sem *sem,
								    uint32_t weight)
{
	const struct weir__semv *v = &sem->v;
	enum fast fast;

	if (weir__unlikely(!weir__self_known(v->seg) || weight - 1 >= WEIR_SEM_WEIGHT_MAX))
		return UNUSUAL;
	fast = take_fast(v, weir__self_cache.slot, weight);
	if (weir__likely(fast == DONE))
		note_acquire(&v->lanes[weir__self_cache.slot]);
	return fast;
}

static int take_any(struct weir_sem *sem, uint32_t weight, enum fast fast)
{
	int self = weir__self(sem->v.seg);
	int r;

	if (fast == LOST)
		undo(&sem->v);
	if (self < 0)
		return self;
	if (weight - 1 >= WEIR_SEM_WEIGHT_MAX)
		return -EINVAL;
	r = take(&sem->v, (uint32_t)self, weight);
	return r == -EAGAIN && check_weight(sem, weight) < 0 ? -EINVAL : r;
}

/* Nothing free: have the dead it?  Looks once in WEIR__RECOVERY_NS; true if it did. */
static bool looked_for_the_dead(struct weir_segment *seg)
{
	/* relaxed: of our own process, only spares work. */
	uint64_t before = weir_load_relaxed(&seg->swept_ns);

	weir__sweep_sometimes(seg);
	return weir_load_relaxed(&seg->swept_ns) != before;
}

__attribute__((noinline)) static int try_acquire_any(struct weir_sem *sem, uint32_t weight,
						     enum fast fast)
{
	int r = take_any(sem, weight, fast);

	return r == -EAGAIN && looked_for_the_dead(sem->v.seg) ? take_any(sem, weight, UNUSUAL) : r;
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
	int self = weir__self(sem->v.seg);

	if (fast == LOST)
		undo(&sem->v);
	if (self < 0)
		return self;
	if (weight - 1 >= WEIR_SEM_WEIGHT_MAX)
		return -EINVAL;
	return give(&sem->v, (uint32_t)self, weight);
}

int weir_sem_release(struct weir_sem *sem, uint32_t weight)
{
	const struct weir__semv *v = &sem->v;
	enum fast fast = UNUSUAL;

	if (weir__likely(weir__self_known(v->seg) && weight - 1 < WEIR_SEM_WEIGHT_MAX))
		fast = give_fast(v, weir__self_cache.slot, weight);
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
