/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The queue's view and the arithmetic of positions, laps and slots. */
#ifndef WEIR_OBJ_QUEUE_WORD_H
#define WEIR_OBJ_QUEUE_WORD_H

#include <weir/queue.h>

#include "obj/obj.h"

/* The last death that the slot's word can count is one less: here a message is dropped. */
#define WEIR__TRIES_MAX (WEIR_QUEUE_SLOT_WORD_TRIES_MAX + 1)

struct weir__queuev {
	struct weir_segment *seg;
	struct weir_queue_shm *shm;
	uint8_t *slots;
	uint32_t mask;
	uint32_t shift;
	uint32_t lap_spare; /* 64 less the bits in which laps are told apart */
	uint32_t stride;
	uint32_t payload;
	uint32_t tries_max; /* 1 to WEIR__TRIES_MAX */
};

struct weir_queue {
	struct weir__queuev v;
	WEIR_ATOMIC(uint64_t) looked_ns; /* when a try_ that got nothing last looked for the dead */
};

bool weir__queue_view(struct weir_segment *seg, void *object, struct weir__queuev *ret);

static inline struct weir_queue_slot_shm *weir__slot(const struct weir__queuev *v, uint64_t pos)
{
	return (struct weir_queue_slot_shm *)(void *)(v->slots +
						      (size_t)(pos & v->mask) * v->stride);
}

static inline uint64_t weir__lap(const struct weir__queuev *v, uint64_t pos)
{
	return pos >> v->shift;
}

/* a - b of laps, as a signed number: in the 43 bits of the slot's word, or in fewer, where the 52
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

static inline uint64_t weir__slot_make(uint64_t state, uint64_t owner, uint64_t tries, uint64_t lap)
{
	uint64_t w = weir_queue_slot_word_set_state(0, state);

	w = weir_queue_slot_word_set_owner(w, owner);
	w = weir_queue_slot_word_set_tries(w, tries);
	return weir_queue_slot_word_set_lap(w, lap);
}

/* Make receivers look at `pos` again. */
void weir__queue_pull_back(const struct weir__queuev *v, uint64_t pos);

#endif
