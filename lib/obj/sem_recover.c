/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The sweep's part for semaphores.  Per lane of a dead thread: finish or drop its open step, decide
 * its place in the line, then release what it holds in its own name.  Every change is a CAS from
 * what was read before weir__victim_still() was asked, so sweepers may race and die.
 *
 * A refused step puts the ledger back as it was (sem.c), so its values may come back within a life,
 * but not what a dead thread left: with a step open, or with permits, its number is lower than
 * those of the next life, or the same with nothing open.  So no late sweeper's CAS hits the next
 * owner.
 */
#include "obj/sem_word.h"

static uint64_t ledger_done(uint64_t ledger, uint64_t hold)
{
	ledger = weir_sem_lane_ledger_set_hold(ledger, hold);
	ledger = weir_sem_lane_ledger_set_amount(ledger, 0);
	return weir_sem_lane_ledger_set_op(ledger, WEIR_SEM_LANE_OP_NONE);
}

/* Did step `seq` of the dead one's ledger take effect?  It cannot any more, unless we do it. */
static bool took_effect(const struct weir__semv *v, uint32_t lane, uint64_t seq)
{
	/* EDGE sem.word (acquire <- any CAS on it): before the acknowledgement. */
	uint64_t word = weir_load_acquire(&v->shm->word);

	return weir__seq_diff(weir__sem_latest(v, word, lane, 0), seq) >= 0;
}

/* Do the dead one's release for it, unless it is done.  False: not the same victim any more. */
static bool finish_release(const struct weir__victim *victim, const struct weir__semv *v,
			   uint64_t amount, uint64_t seq)
{
	/* Ends: a failed CAS means that somebody else changed the word. */
	for (;;) {
		/* EDGE sem.word (acquire <- any CAS on it): before the acknowledgement. */
		uint64_t word = weir_load_acquire(&v->shm->word);
		uint64_t used = weir_sem_word_used(word);

		if (weir__seq_diff(weir__sem_latest(v, word, victim->thread, 0), seq) >= 0)
			return true;
		if (!weir__victim_still(victim))
			return false;
		weir__sem_ack(v, word);
		WEIR_CRASH_POINT(sem_recover_acked);
		used = used > amount ? used - amount : 0;
		/* EDGE sem.word (full -> any load of it): used,a,k -> used-n, the dead one, seq */
		if (weir_cas_full(
			    &v->shm->word, &word,
			    weir__sem_sign(word, used, weir__sem_author(victim->thread, 0), seq)))
			return true;
	}
}

/* One turn on the ledger: true when nothing is open and nothing is held. */
static bool recover_ledger(const struct weir__victim *victim, const struct weir__semv *v,
			   struct weir_recovery *rec)
{
	struct weir_sem_lane_shm *lane = &v->lanes[victim->thread];
	/* EDGE sem.ledger (acquire <- take, give, absorb): the last thing it said. */
	uint64_t ledger = weir_load_acquire(&lane->ledger);
	uint64_t hold = weir_sem_lane_ledger_hold(ledger);
	uint64_t amount = weir_sem_lane_ledger_amount(ledger);
	uint64_t seq = weir_sem_lane_ledger_seq(ledger);
	uint64_t next;

	if (!weir__victim_still(victim))
		return true;
	switch (weir_sem_lane_ledger_op(ledger)) {
	case WEIR_SEM_LANE_OP_ACQUIRE:
		next = ledger_done(ledger, took_effect(v, victim->thread, seq)
						   ? hold
						   : weir__sem_hold_sub(hold, amount));
		break;
	case WEIR_SEM_LANE_OP_RELEASE:
		if (!finish_release(victim, v, amount, seq))
			return true;
		WEIR_CRASH_POINT(sem_recover_released);
		next = ledger_done(ledger, hold);
		break;
	default:
		if (hold == 0)
			return true;
		next = weir_sem_lane_ledger_set_hold(ledger, 0);
		next = weir_sem_lane_ledger_set_amount(next, hold);
		next = weir_sem_lane_ledger_set_op(next, WEIR_SEM_LANE_OP_RELEASE);
		next = weir_sem_lane_ledger_set_seq(next, seq + 1);
	}
	/* EDGE sem.ledger (full -> recover_ledger): from exactly what the dead one left. */
	if (!weir__victim_still(victim) || !weir_cas_full(&lane->ledger, &ledger, next))
		return false;
	/* Counted where it begins, by who won that CAS: so once, and never for a release that the
	 * dead one had made itself and that only is still written there. */
	if (weir_sem_lane_ledger_op(next) == WEIR_SEM_LANE_OP_RELEASE) {
		WEIR_CRASH_POINT(sem_recover_begun);
		rec->permits += (uint32_t)hold;
		weir__event(v->seg, WEIR_EVENT_KIND_RECLAIM, v->shm, hold, victim->thread);
	}
	return false;
}

/* Permits that were granted to the dead waiter become part of its holding, once. */
static bool absorb_for(const struct weir__victim *victim, const struct weir__semv *v, uint64_t cell)
{
	struct weir_sem_lane_shm *lane = &v->lanes[victim->thread];
	uint64_t grant = weir_sem_lane_cell_seq(cell) - 1;
	/* EDGE sem.ledger (acquire <- absorb): the mark says whether it did it itself. */
	uint64_t ledger = weir_load_acquire(&lane->ledger);
	uint64_t hold = weir_sem_lane_ledger_hold(ledger);
	uint64_t next;

	if (weir_sem_lane_ledger_absorbed(ledger) == (grant & 15))
		return true;
	next = weir_sem_lane_ledger_set_hold(
		ledger, weir__sem_hold_add(hold, weir_sem_lane_cell_amount(cell)));
	next = weir_sem_lane_ledger_set_absorbed(next, grant);
	/* EDGE sem.ledger (full -> recover_ledger): hold and mark in one.  The cell is looked at
	 * again, for who read an old cell must not add its grant twice. */
	return weir_load_acquire(&lane->cell) == cell && weir__victim_still(victim) &&
	       weir_cas_full(&lane->ledger, &ledger, next);
}

/* One turn on the waiting cell: true when it is idle. */
static bool recover_cell(const struct weir__victim *victim, const struct weir__semv *v)
{
	struct weir_sem_lane_shm *lane = &v->lanes[victim->thread];
	/* EDGE sem.cell (acquire <- enqueue, dequeue, absorb): the last thing it said. */
	uint64_t cell = weir_load_acquire(&lane->cell);
	uint64_t seq = weir_sem_lane_cell_seq(cell);
	uint64_t next;

	if (!weir__victim_still(victim))
		return true;
	switch (weir_sem_lane_cell_state(cell)) {
	case WEIR_SEM_LANE_CELL_WAIT: /* wait,k -> cancel,k+1: then as if it had wanted out */
		next = weir_sem_lane_cell_set_state(cell, WEIR_SEM_LANE_CELL_CANCEL);
		next = weir_sem_lane_cell_set_seq(next, seq + 1);
		break;
	case WEIR_SEM_LANE_CELL_CANCEL: /* cancel,k -> idle,k, decided */
		if (weir__sem_resolve_cancel(v, victim->thread, seq, victim) &&
		    !absorb_for(victim, v, cell))
			return false;
		WEIR_CRASH_POINT(sem_recover_decided);
		next = weir_sem_lane_cell_set_state(cell, WEIR_SEM_LANE_CELL_IDLE);
		next = weir_sem_lane_cell_set_amount(next, 0);
		break;
	default:
		return true;
	}
	/* EDGE sem.cell (full -> recover_cell): from exactly what the dead one left. */
	if (weir__victim_still(victim))
		weir_cas_full(&lane->cell, &cell, next);
	return false;
}

void weir__sem_recover(const struct weir__victim *victim, void *object, struct weir_recovery *rec)
{
	struct weir__semv v;

	if (!weir__sem_view(victim->seg, object, &v) || victim->thread >= v.lane_count)
		return;
	/* The open step first: the mark in the ledger is then final.  Both end: each turn but the
	 * last brings the lane one step nearer to empty, whoever makes it. */
	for (int turn = 0; turn < 64 && !recover_cell(victim, &v); turn++)
		WEIR_CRASH_POINT(sem_recover_turn);
	for (int turn = 0; turn < 64 && !recover_ledger(victim, &v, rec); turn++)
		WEIR_CRASH_POINT(sem_recover_turn);
	weir__sem_grant(&v);
}
