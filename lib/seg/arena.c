/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The arena: blocks back to back, each headed by a word that says how long it is and who builds it.
 * A block is claimed by one CAS that names the claimer, so there is no moment at which a death
 * could lose it: the sweep finds the name and gives the block back.  Blocks are never split or
 * joined; objects are few and long-lived.
 */
#include <string.h>

#include "seg/seg.h"

static struct weir_object_shm *block_at(const struct weir_segment *seg, uint64_t off)
{
	return (struct weir_object_shm *)(void *)(seg->base + off);
}

uint64_t weir__arena_next(const struct weir_segment *seg, uint64_t off)
{
	uint64_t word;
	uint64_t bytes;

	if (off < seg->arena_off || off > seg->bytes - WEIR__UNIT)
		return 0;
	/* EDGE block.word (acquire <- weir__arena_claim): the size before what follows. */
	word = weir_load_acquire(&block_at(seg, off)->block);
	bytes = (uint64_t)weir_object_block_units(word) * WEIR__UNIT;
	if (bytes == 0 || bytes > seg->bytes - off)
		return 0;
	return off + bytes <= seg->bytes - WEIR__UNIT ? off + bytes : 0;
}

/* virgin or free -> building by owner */
static uint64_t claimed(uint64_t word, uint32_t owner, uint64_t units)
{
	uint64_t next = 0;

	if (weir_object_block_state(word) == WEIR_OBJECT_BLOCK_FREE)
		units = weir_object_block_units(word);
	next = weir_object_block_set_units(next, units);
	next = weir_object_block_set_owner(next, owner);
	next = weir_object_block_set_state(next, WEIR_OBJECT_BLOCK_BUILDING);
	return weir_object_block_set_gen(next, weir_object_block_gen(word) + 1);
}

static bool fits(uint64_t word, uint64_t units, uint64_t room)
{
	if (word == 0)
		return units * WEIR__UNIT <= room;
	return weir_object_block_state(word) == WEIR_OBJECT_BLOCK_FREE &&
	       weir_object_block_units(word) >= units;
}

int weir__arena_claim(struct weir_segment *seg, uint32_t owner, uint64_t bytes, void **ret_object)
{
	uint64_t units = (bytes + WEIR__UNIT - 1) / WEIR__UNIT;
	uint64_t off = seg->arena_off;

	if (units > UINT32_MAX)
		return -ENOSPC;
	/* Ends: every turn moves up by a block, or somebody else claimed the one we wanted. */
	while (off && off <= seg->bytes - WEIR__UNIT) {
		struct weir_object_shm *block = block_at(seg, off);
		/* EDGE block.word (acquire <- weir__arena_claim): the size before what follows. */
		uint64_t word = weir_load_acquire(&block->block);
		uint64_t next = claimed(word, owner, units);

		if (!fits(word, units, seg->bytes - off)) {
			if (word == 0)
				break;
			off = weir__arena_next(seg, off);
			continue;
		}
		/* EDGE block.word (full -> weir__arena_next): one step says size and owner. */
		if (!weir_cas_full(&block->block, &word, next))
			continue;
		WEIR_CRASH_POINT(arena_claimed);
		memset((uint8_t *)block + 8, 0, weir_object_block_units(next) * WEIR__UNIT - 8);
		*ret_object = block;
		return 0;
	}
	return -ENOSPC;
}

/* building -> ready or free.  ready also by whoever finds the object in the directory, before he
 * uses or removes it: after its builder's death only the directory tells the sweep that the block
 * is in use, and a removed entry tells nothing. */
void weir__arena_settle(void *object, enum weir_object_block state)
{
	struct weir_object_shm *block = object;
	/* EDGE block.word (acquire <- weir__arena_claim) */
	uint64_t word = weir_load_acquire(&block->block);
	uint64_t next = weir_object_block_set_state(word, state);

	if (weir_object_block_state(word) != WEIR_OBJECT_BLOCK_BUILDING)
		return;
	next = weir_object_block_set_owner(next, 0);
	next = weir_object_block_set_gen(next, weir_object_block_gen(word) + 1);
	/* EDGE block.word (full -> weir__arena_claim): a freed block has no user left.  If it fails
	 * somebody else has called it ready. */
	weir_cas_full(&block->block, &word, next);
}
