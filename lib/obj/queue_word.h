/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The queue's view and the arithmetic of positions, laps and claims. */
#ifndef WEIR_OBJ_QUEUE_WORD_H
#define WEIR_OBJ_QUEUE_WORD_H

#include <weir/queue.h>

#include "obj/obj.h"

/* The last death that a word can count is one less: here a message is dropped. */
#define WEIR__TRIES_MAX (WEIR_QUEUE_TAKE_WORD_TRIES_MAX + 1)

/* Bytes of a slot fetched ahead: a message of 1 KiB. */
#define WEIR__FETCH_MAX 1152u

struct weir__queuev {
	struct weir_segment *seg;
	struct weir_queue_shm *shm;
	struct weir_queue_send_shm *sends;
	struct weir_queue_take_shm *takes;
	uint8_t *slots;
	uint32_t mask;
	uint32_t shift;
	uint32_t lap_spare; /* 64 less the bits in which laps are told apart */
	uint32_t stride;
	uint32_t payload;
	uint32_t data;	    /* offset in a slot */
	uint32_t tries_max; /* 1 to WEIR__TRIES_MAX */
};

struct weir_queue {
	struct weir__queuev v;
	WEIR_ATOMIC(uint32_t) missed;	 /* a try_ got nothing */
	WEIR_ATOMIC(uint64_t) looked_ns; /* when such a one last looked for the dead */
};

bool weir__queue_view(struct weir_segment *seg, void *object, struct weir__queuev *ret);

/* Bytes of one of the two arrays of claims. */
static inline uint64_t weir__claims_bytes(uint32_t count)
{
	uint64_t bytes = (uint64_t)count * sizeof(struct weir_queue_send_shm);

	return (bytes + WEIR__UNIT - 1) / WEIR__UNIT * WEIR__UNIT;
}

static inline struct weir_queue_slot_shm *weir__slot(const struct weir__queuev *v, uint64_t pos)
{
	return (struct weir_queue_slot_shm *)(void *)(v->slots +
						      (size_t)(pos & v->mask) * v->stride);
}

static inline WEIR_ATOMIC(uint64_t) * weir__send_at(const struct weir__queuev *v, uint64_t pos)
{
	return &v->sends[pos & v->mask].word;
}

static inline WEIR_ATOMIC(uint64_t) * weir__take_at(const struct weir__queuev *v, uint64_t pos)
{
	return &v->takes[pos & v->mask].word;
}

static inline uint64_t weir__lap(const struct weir__queuev *v, uint64_t pos)
{
	return pos >> v->shift;
}

/* a - b of laps, as a signed number: in the 43 bits of the words, or in fewer, where the 52
 * bits of positions leave fewer: then a lap comes to zero when the position does. */
static inline int64_t weir__lap_diff(const struct weir__queuev *v, uint64_t a, uint64_t b)
{
	return (int64_t)((a - b) << v->lap_spare) >> v->lap_spare;
}

/* The same of positions. */
static inline int64_t weir__pos_diff(uint64_t a, uint64_t b)
{
	return (int64_t)((a - b) << 12) >> 12;
}

static inline uint64_t weir__slot_make(uint64_t state, uint64_t lap)
{
	return weir_queue_slot_word_set_lap(weir_queue_slot_word_set_state(0, state), lap);
}

static inline uint64_t weir__send_make(uint64_t state, uint64_t owner, uint64_t lap)
{
	uint64_t w = weir_queue_send_word_set_state(0, state);

	w = weir_queue_send_word_set_owner(w, owner);
	return weir_queue_send_word_set_lap(w, lap);
}

static inline uint64_t weir__take_make(uint64_t state, uint64_t owner, uint64_t tries, uint64_t lap)
{
	uint64_t w = weir_queue_take_word_set_state(0, state);

	w = weir_queue_take_word_set_owner(w, owner);
	w = weir_queue_take_word_set_tries(w, tries);
	return weir_queue_take_word_set_lap(w, lap);
}

/* How far what the word says is ahead of `pos`, in laps. */
static inline int64_t weir__slot_ahead(const struct weir__queuev *v, uint64_t word, uint64_t pos)
{
	return weir__lap_diff(v, weir_queue_slot_word_lap(word), weir__lap(v, pos));
}

static inline int64_t weir__send_ahead(const struct weir__queuev *v, uint64_t word, uint64_t pos)
{
	return weir__lap_diff(v, weir_queue_send_word_lap(word), weir__lap(v, pos));
}

static inline int64_t weir__take_ahead(const struct weir__queuev *v, uint64_t word, uint64_t pos)
{
	return weir__lap_diff(v, weir_queue_take_word_lap(word), weir__lap(v, pos));
}

/* Is at `pos` a message that nobody has? */
bool weir__queue_waits(const struct weir__queuev *v, uint64_t pos);
/* Make receivers look at `pos` again. */
void weir__queue_pull_back(const struct weir__queuev *v, uint64_t pos);
/* Claim the next position for sending, or the next message; 0, -EAGAIN, -ESHUTDOWN. */
int weir__queue_claim_send(const struct weir__queuev *v, uint32_t self, uint64_t *ret_pos);
int weir__queue_claim_receive(const struct weir__queuev *v, uint32_t self, uint64_t *ret_pos);

/* pos -> pos+1 in a hint that is still what we read; either way *seen is what is there now, and a
 * full fence lies behind. */
static inline void weir__queue_step(WEIR_ATOMIC(uint64_t) * hint, uint64_t *seen)
{
	/* Both hints have the position in their low 52 bits. */
	uint64_t next = weir_queue_tail_set_pos(*seen, weir_queue_tail_pos(*seen) + 1);

	/* EDGE queue.hint (full -> claim_send, claim_receive): only a hint. */
	if (weir_cas_full(hint, seen, next))
		*seen = next;
	/* EDGE queue.first (full -> pull_back): the step, then the look at the next slot. */
	weir_fence_after_cas();
}

/*
 * After the store that finished `pos`: its hint goes on, if nobody moved it yet, and what the
 * caller looks at next comes after that store.  One locked instruction does both.
 */
static inline void weir__queue_finish(WEIR_ATOMIC(uint64_t) * hint, uint64_t pos)
{
	/* relaxed: whoever moved it, it is only a hint. */
	uint64_t seen = weir_load_relaxed(hint);

	if (weir__likely(weir_queue_tail_pos(seen) == pos)) {
		/* EDGE waitq.sleepers (full -> weir__waitq_prepare): the slot, then the look. */
		weir__queue_step(hint, &seen);
	} else {
		/* EDGE waitq.sleepers (full -> weir__waitq_prepare): the same. */
		weir_fence_full();
	}
}

#endif
