/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The semaphore's transitions: signing the word, knowing what took effect, finishing for the dead.
 */
#ifndef WEIR_OBJ_SEM_WORD_H
#define WEIR_OBJ_SEM_WORD_H

#include "obj/obj.h"

/* One semaphore, this process's view; the sweep makes one on its stack. */
struct weir__semv {
	struct weir_segment *seg;
	struct weir_sem_shm *shm;
	struct weir_sem_lane_shm *lanes;
	uint32_t lane_count;
};

struct weir_sem {
	struct weir__semv v;
	const uint64_t *token; /* of the segment: one load less on the way to who we are */
};

/* False if the object is not a semaphore that fits its block. */
bool weir__sem_view(struct weir_segment *seg, void *object, struct weir__semv *ret);

/* Authors: the ledger (0) and the waiting cell (1) of each lane. */
static inline uint64_t weir__sem_author(uint32_t lane, uint32_t which)
{
	return 2 * (uint64_t)lane + which;
}

/* The word after `author` signs step `seq`, with `used` permits taken. */
static inline uint64_t weir__sem_sign(uint64_t word, uint64_t used, uint64_t author, uint64_t seq)
{
	word = weir_sem_word_set_used(word, used);
	word = weir_sem_word_set_author(word, author);
	return weir_sem_word_set_seq(word, seq);
}

static inline uint64_t weir__sem_ledger(uint64_t old, uint64_t hold, uint64_t amount, uint64_t op,
					uint64_t seq)
{
	old = weir_sem_lane_ledger_set_hold(old, hold);
	old = weir_sem_lane_ledger_set_amount(old, amount);
	old = weir_sem_lane_ledger_set_op(old, op);
	return weir_sem_lane_ledger_set_seq(old, seq);
}

static inline uint64_t weir__sem_cell(uint64_t state, uint64_t amount, uint64_t seq)
{
	uint64_t cell = weir_sem_lane_cell_set_state(0, state);

	cell = weir_sem_lane_cell_set_amount(cell, amount);
	return weir_sem_lane_cell_set_seq(cell, seq);
}

/* Permits of one thread put together: never more than the ledger has room for.  Only foreign bytes
 * come near that, for whoever takes permits counts what it waits for as held. */
static inline uint64_t weir__sem_hold_add(uint64_t hold, uint64_t amount)
{
	return hold + amount < WEIR_SEM_WEIGHT_MAX ? hold + amount : WEIR_SEM_WEIGHT_MAX;
}

/* And taken apart: never less than none. */
static inline uint64_t weir__sem_hold_sub(uint64_t hold, uint64_t amount)
{
	return hold > amount ? hold - amount : 0;
}

/* The same word but for the wait bit, that is, the same last change. */
static inline bool weir__sem_same(uint64_t a, uint64_t b)
{
	return weir_sem_word_set_wait(a, 0) == weir_sem_word_set_wait(b, 0);
}

/* Raise the acknowledgement of the author of `word`: its step took effect.  Does nothing if the
 * word has changed since: then who changed it has done it. */
void weir__sem_ack(const struct weir__semv *v, uint64_t word);
/* Latest step of (lane, which) that is known to have taken effect, given `word` was read before. */
uint64_t weir__sem_latest(const struct weir__semv *v, uint64_t word, uint32_t lane, uint32_t which);
/* What `lane` holds as of `word`, with its open steps judged as recovery judges them. */
uint64_t weir__sem_held(const struct weir__semv *v, uint64_t word, uint32_t lane);
/* Set the wait bit: somebody is in the line. */
void weir__sem_flag(const struct weir__semv *v);
/* Set it if somebody waits, but not for nothing: who only tries is refused as long as it is set. */
void weir__sem_flag_if_any(const struct weir__semv *v);
/* Give what is free to who waits longest. */
void weir__sem_grant(const struct weir__semv *v);
/* Change the number of permits; the old one.  Nobody goes by that once this is over. */
uint32_t weir__sem_set_cap(const struct weir__semv *v, uint32_t self, uint32_t permits);
/* Decide a published cancel with sequence `seq` in the cell of `lane`: true if it was granted
 * (step seq-1), false if cancelled.  `victim` is NULL for the lane's owner; a sweeper gets false
 * when the lane is no longer the victim's. */
bool weir__sem_resolve_cancel(const struct weir__semv *v, uint32_t lane, uint64_t seq,
			      const struct weir__victim *victim);

#endif
