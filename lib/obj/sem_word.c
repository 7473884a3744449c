/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How the semaphore's word is changed, and how anybody knows whether a change took place.
 *
 * The word holds {used, wait, author, seq}: who made the last change signs it with his own sequence
 * number, so no value ever comes back and a CAS from a value read long ago fails.  Before he
 * overwrites somebody else's signature, each raises that author's acknowledgement in that author's
 * lane.  So step k of an author took effect if and only if the word is signed by him with k or
 * later, or, it being signed by another, his acknowledgement, looked at after the word, is k or
 * later.  k is his next number or his last: a step that comes to nothing gives its number back.
 * (Only an intent of the dead that recovery drops keeps it, so that its ledger does not come back.)
 * (Detectable operations: Attiya, Ben-Baruch, Hendler, PODC 2018.)
 *
 * A thread signs as two authors: its ledger (acquire, release) and its waiting cell.  A grant is
 * made by whoever has the permits, but signed in the name of the waiting cell: taking the permits
 * and giving them is one step, and the waiter, or whoever sweeps him, can tell that it happened.
 *
 * The wait bit is set and cleared without a new signature.  That is the one change after which a
 * value can come back, and it is harmless: who granted or cancelled in between has signed.
 */
#include "obj/sem_word.h"

bool weir__sem_view(struct weir_segment *seg, void *object, struct weir__semv *ret)
{
	uint64_t bytes = weir__object_bytes(seg, object);

	ret->seg = seg;
	ret->shm = object;
	ret->lanes = (struct weir_sem_lane_shm *)(ret->shm + 1);
	if (bytes < sizeof(*ret->shm))
		return false;
	ret->lane_count = ret->shm->lanes;
	return ret->lane_count == seg->thread_count &&
	       ret->lane_count <= (bytes - sizeof(*ret->shm)) / sizeof(*ret->lanes);
}

/*
 * Nothing is compared here but for being the same, so how long an author went on alone, unanswered,
 * does not matter.  Why does an acknowledgement never go back, although a helper may be stopped
 * anywhere?  `seen` was read before the word was found to be still the author's step `seq`, so it
 * is an older step of the author, or the same.  The CAS succeeds if the acknowledgement is still
 * `seen`, however late: then it goes forward, from `seen` to `seq`, both of which took effect.
 * What remains is what any tag of 30 bits leaves: that an author makes exactly 2^30 steps, or a
 * multiple, while a helper stands between two instructions, and it meets the same `seen` or the
 * same word.
 */
void weir__sem_ack(const struct weir__semv *v, uint64_t word)
{
	uint32_t author = (uint32_t)weir_sem_word_author(word);
	uint32_t seq = (uint32_t)weir_sem_word_seq(word);
	WEIR_ATOMIC(uint32_t) * ack;
	uint32_t seen;

	if (author / 2 >= v->lane_count)
		return; /* Scribbled on; nobody to tell. */
	ack = &v->lanes[author / 2].ack[author & 1];
	/* EDGE sem.ack (acquire <- weir__sem_ack): before the second look at the word. */
	seen = weir_load_acquire(ack);
	while (seen != seq) {
		/* EDGE sem.word (acquire <- any CAS on it): who replaced it has told before. */
		if (!weir__sem_same(weir_load_acquire(&v->shm->word), word))
			return;
		/* EDGE sem.ack (full -> weir__sem_latest): told before the signature is gone. */
		if (weir_cas_full(ack, &seen, seq))
			return;
	}
}

uint64_t weir__sem_latest(const struct weir__semv *v, uint64_t word, uint32_t lane, uint32_t which)
{
	if (weir_sem_word_author(word) == weir__sem_author(lane, which))
		return weir_sem_word_seq(word);
	/* EDGE sem.ack (acquire <- weir__sem_ack): after the word, see above. */
	return weir_load_acquire(&v->lanes[lane].ack[which]);
}

/* Permits in the cell: granted, and not yet absorbed into the ledger. */
static uint64_t held_in_cell(const struct weir__semv *v, uint64_t word, uint32_t lane,
			     uint64_t cell, uint64_t ledger)
{
	uint64_t latest = weir__sem_latest(v, word, lane, 1);
	uint64_t state = weir_sem_lane_cell_state(cell);
	uint64_t seq = weir_sem_lane_cell_seq(cell);

	if (state == WEIR_SEM_LANE_CELL_IDLE)
		return 0;
	if (state == WEIR_SEM_LANE_CELL_CANCEL) {
		if (weir__seq_diff(latest, seq) >= 0)
			return 0;
		seq--;
	}
	if (weir__seq_diff(latest, seq) < 0 || weir_sem_lane_ledger_absorbed(ledger) == (seq & 15))
		return 0;
	return weir_sem_lane_cell_amount(cell);
}

uint64_t weir__sem_held(const struct weir__semv *v, uint64_t word, uint32_t lane)
{
	/* EDGE sem.cell (acquire <- absorb): the cell first: if it is idle again, or absorbed, the
	 * ledger read after it has the permits or names the grant. */
	uint64_t cell = weir_load_acquire(&v->lanes[lane].cell);
	/* EDGE sem.ledger (acquire <- take, give, absorb) */
	uint64_t ledger = weir_load_acquire(&v->lanes[lane].ledger);
	uint64_t hold = weir_sem_lane_ledger_hold(ledger);
	uint64_t amount = weir_sem_lane_ledger_amount(ledger);

	if (weir__seq_diff(weir__sem_latest(v, word, lane, 0), weir_sem_lane_ledger_seq(ledger)) <
	    0) {
		if (weir_sem_lane_ledger_op(ledger) == WEIR_SEM_LANE_OP_ACQUIRE)
			hold = weir__sem_hold_sub(hold, amount);
		else if (weir_sem_lane_ledger_op(ledger) == WEIR_SEM_LANE_OP_RELEASE)
			hold += amount;
	}
	return hold + held_in_cell(v, word, lane, cell, ledger);
}

/* A request for more than there are, after a resize, is out of the line; its owner notices. */
static bool waits(const struct weir__semv *v, uint64_t word, uint64_t cap, uint32_t lane,
		  uint64_t *ret_cell)
{
	/* EDGE sem.cell (acquire <- weir_sem_start): its ticket and amount. */
	uint64_t cell = weir_load_acquire(&v->lanes[lane].cell);
	uint64_t seq = weir_sem_lane_cell_seq(cell);

	*ret_cell = cell;
	return weir_sem_lane_cell_state(cell) == WEIR_SEM_LANE_CELL_WAIT &&
	       weir_sem_lane_cell_amount(cell) <= cap &&
	       weir__seq_diff(weir__sem_latest(v, word, lane, 1), seq) < 0;
}

/* Who waits longest: his lane, or -1. */
static int pick(const struct weir__semv *v, uint64_t word, uint64_t cap, uint64_t *ret_cell)
{
	uint32_t high = weir__thread_high(v->seg);
	uint64_t best_ticket = 0;
	int best = -1;

	for (uint32_t lane = 0; lane < high; lane++) {
		uint64_t cell;
		uint64_t ticket;

		if (!waits(v, word, cap, lane, &cell))
			continue;
		/* relaxed: ordered by the cell; if it changes under us our CAS fails. */
		ticket = weir_load_relaxed(&v->lanes[lane].ticket);
		if (best >= 0 && (int64_t)(ticket - best_ticket) >= 0)
			continue;
		best = (int)lane;
		best_ticket = ticket;
		*ret_cell = cell;
	}
	return best;
}

void weir__sem_flag(const struct weir__semv *v)
{
	/* EDGE sem.word (full -> clear_wait): see there.  wait=0 -> wait=1, same signature. */
	uint64_t word = weir_load_full(&v->shm->word);

	while (!weir_sem_word_wait(word) &&
	       !weir_cas_full(&v->shm->word, &word, weir_sem_word_set_wait(word, 1)))
		weir_relax();
}

void weir__sem_flag_if_any(const struct weir__semv *v)
{
	/* EDGE sem.word (acquire <- any CAS on it): read before the cells are. */
	uint64_t word = weir_load_acquire(&v->shm->word);
	uint64_t cell;

	/* EDGE sem.cap (acquire <- weir__sem_set_cap) */
	if (!weir_sem_word_wait(word) && pick(v, word, weir_load_acquire(&v->shm->cap), &cell) >= 0)
		weir__sem_flag(v);
}

/* wait=1 -> wait=0, same signature.  False: look again. */
static bool clear_wait(const struct weir__semv *v, uint64_t word, uint64_t cap)
{
	uint64_t cell;

	/* EDGE sem.word (full -> enqueue): our clearing, then, after the fence, our second look;
	 * his cell, then, after his fence, his look at the bit: one of us sees the other.  Two
	 * accesses in full order would not do, for the loads of pick() are not. */
	if (!weir_cas_full(&v->shm->word, &word, weir_sem_word_set_wait(word, 0)))
		return false;
	WEIR_CRASH_POINT(sem_wait_cleared);
	weir_fence_full();
	if (pick(v, weir_sem_word_set_wait(word, 0), cap, &cell) < 0)
		return true;
	weir__sem_flag(v); /* He came in between and may have seen the bit we cleared. */
	return false;
}

void weir__sem_grant(const struct weir__semv *v)
{
	/* Ends: each turn grants, or clears the bit, or somebody else changed the word. */
	for (;;) {
		/* EDGE sem.word (acquire <- any CAS on it): read before the cells are. */
		uint64_t word = weir_load_acquire(&v->shm->word);
		uint64_t cell = 0;
		uint64_t used;
		uint64_t cap;
		int lane;

		if (!weir_sem_word_wait(word))
			return;
		/* EDGE sem.cap (acquire <- weir__sem_set_cap): after the word, see there. */
		cap = weir_load_acquire(&v->shm->cap);
		lane = pick(v, word, cap, &cell);
		if (lane < 0) {
			if (clear_wait(v, word, cap))
				return;
			continue;
		}
		used = weir_sem_word_used(word) + weir_sem_lane_cell_amount(cell);
		if (used > cap)
			return;
		weir__sem_ack(v, word);
		WEIR_CRASH_POINT(sem_grant_acked);
		/* EDGE sem.word (full -> weir_sem_poll): used,a,k -> used+n, the cell's author, its
		 * seq. */
		if (!weir_cas_full(&v->shm->word, &word,
				   weir__sem_sign(word, used, weir__sem_author((uint32_t)lane, 1),
						  weir_sem_lane_cell_seq(cell))))
			continue;
		WEIR_CRASH_POINT(sem_granted);
		weir__waitq_wake(&v->lanes[lane].waitq);
	}
}

bool weir__sem_resolve_cancel(const struct weir__semv *v, uint32_t lane, uint64_t seq,
			      const struct weir__victim *victim)
{
	/* Ends: a failed CAS means that somebody else changed the word. */
	for (;;) {
		/* EDGE sem.word (acquire <- any CAS on it): before the acknowledgement. */
		uint64_t word = weir_load_acquire(&v->shm->word);
		uint64_t latest = weir__sem_latest(v, word, lane, 1);

		if (weir__seq_diff(latest, seq) >= 0)
			return false;
		if (weir__seq_diff(latest, seq - 1) >= 0)
			return true;
		/* After the looks, before the CAS: see struct weir__victim. */
		if (victim && !weir__victim_still(victim))
			return false;
		weir__sem_ack(v, word);
		WEIR_CRASH_POINT(sem_cancel_acked);
		/* EDGE sem.word (full -> weir__sem_grant): a,k -> the cell's author, its seq; used
		 * stays.  A grant that was under way fails now. */
		if (weir_cas_full(&v->shm->word, &word,
				  weir__sem_sign(word, weir_sem_word_used(word),
						 weir__sem_author(lane, 1), seq)))
			return false;
	}
}
