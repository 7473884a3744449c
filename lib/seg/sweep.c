/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The sweep: find the dead, finish or drop what they were doing, give back what they held.
 *
 * Anyone may run it, any number at once, and die in it.  It never waits for a live process: every
 * step is a CAS that only one sweeper wins, and a slot is freed last, so a sweep that was cut short
 * is found and done again.
 */
#include <string.h>

#include "seg/seg.h"

static bool is_published(const struct weir_segment *seg, const void *object)
{
	for (uint32_t i = 0; i < seg->dir_count; i++) {
		if (weir__object_at(seg, i) == object)
			return true;
	}
	return false;
}

/* A block whose builder is dead: published in its last moment, or garbage. */
static void settle_block(const struct weir__victim *victim, struct weir_object_shm *o,
			 uint64_t word, struct weir_recovery *rec)
{
	bool published = is_published(victim->seg, o);
	uint64_t next = weir_object_block_set_state(word, published ? WEIR_OBJECT_BLOCK_READY
								    : WEIR_OBJECT_BLOCK_FREE);

	next = weir_object_block_set_owner(next, 0);
	next = weir_object_block_set_gen(next, weir_object_block_gen(word) + 1);
	/* EDGE block.word (full -> weir__arena_claim): a freed block has no user left. */
	if (weir__victim_still(victim) && weir_cas_full(&o->block, &word, next))
		rec->blocks++;
}

static void sweep_block(const struct weir__victim *victim, uint64_t off, struct weir_recovery *rec)
{
	struct weir_object_shm *o = (struct weir_object_shm *)(void *)(victim->seg->base + off);
	/* EDGE block.word (acquire <- weir__arena_claim): who builds it. */
	uint64_t word = weir_load_acquire(&o->block);
	uint32_t type;

	if (weir_object_block_state(word) == WEIR_OBJECT_BLOCK_BUILDING &&
	    weir_object_block_owner(word) == victim->thread)
		settle_block(victim, o, word, rec);
	/* Whoever uses an object has called its block ready first: no other holds traces.
	 * EDGE block.word (acquire <- weir__arena_claim): again, it may just have been settled. */
	word = weir_load_acquire(&o->block);
	if (weir_object_block_state(word) != WEIR_OBJECT_BLOCK_READY ||
	    o->magic != WEIR__OBJECT_MAGIC)
		return;
	type = o->type;
	if (type < weir__type_count && weir__types[type].recover)
		weir__types[type].recover(victim, o, rec);
}

void weir__sweep_thread(const struct weir__victim *victim, struct weir_recovery *rec)
{
	struct weir_segment *seg = victim->seg;
	struct weir_recovery unused = {0};
	uint64_t word = victim->word;
	uint64_t off = seg->arena_off;

	if (!rec)
		rec = &unused;
	while (off) {
		sweep_block(victim, off, rec);
		off = weir__arena_next(seg, off);
	}
	WEIR_CRASH_POINT(sweep_thread_clean);
	/* EDGE thread.word (full -> claim_thread, weir__victim_still): all is clean before it is
	 * free. */
	if (weir_cas_full(&seg->threads[victim->thread].word, &word,
			  weir_thread_word_set_state(word, WEIR_THREAD_STATE_FREE)))
		rec->threads++;
}

static void sweep_process(struct weir_segment *seg, uint32_t proc, uint64_t word,
			  struct weir_recovery *rec)
{
	struct weir_process_shm *p = &seg->procs[proc];
	uint32_t pid = p->pid;

	for (uint32_t t = 0; t < seg->thread_count; t++) {
		struct weir__victim victim = {.seg = seg, .thread = t};

		/* EDGE thread.word (acquire <- claim_thread): who claimed it. */
		victim.word = weir_load_acquire(&seg->threads[t].word);
		if (weir_thread_word_state(victim.word) != WEIR_THREAD_STATE_LIVE ||
		    weir_thread_word_proc(victim.word) != proc)
			continue;
		/* The thread word was read while the dead one still had the process slot: so it is
		 * the dead one's.
		 * EDGE process.word (acquire <- sweep_process): not swept and reused meanwhile. */
		if (weir_load_acquire(&p->word) != word)
			return;
		weir__sweep_thread(&victim, rec);
	}
	WEIR_CRASH_POINT(sweep_process_clean);
	/* EDGE process.word (full -> claim_process): live -> free, all its threads are swept. */
	if (weir_cas_full(&p->word, &word,
			  weir_process_word_set_state(word, WEIR_PROCESS_STATE_FREE))) {
		rec->processes++;
		weir__event(seg, WEIR_EVENT_KIND_DEATH, NULL, proc, pid);
	}
}

int weir__sweep(struct weir_segment *seg, struct weir_recovery *rec)
{
	struct weir_recovery unused = {0};
	int result = 0;

	if (!rec)
		rec = &unused;
	/* relaxed: only spares work. */
	weir_store_relaxed(&seg->swept_ns, weir__now_ns());
	for (uint32_t proc = 0; proc < seg->proc_count; proc++) {
		/* EDGE process.word (acquire <- claim_process): the life we ask about. */
		uint64_t word = weir_load_acquire(&seg->procs[proc].word);
		int dead;

		if (weir_process_word_state(word) != WEIR_PROCESS_STATE_LIVE)
			continue;
		dead = weir__process_dead(seg, proc);
		if (dead < 0)
			result = dead;
		/* EDGE process.word (acquire <- claim_process): it was that life that we found
		 * dead. */
		if (dead == 1 && weir_load_acquire(&seg->procs[proc].word) == word)
			sweep_process(seg, proc, word, rec);
	}
	return result;
}

void weir__sweep_sometimes(struct weir_segment *seg)
{
	/* relaxed: only spares work. */
	if (weir__now_ns() - weir_load_relaxed(&seg->swept_ns) >= WEIR__RECOVERY_NS)
		weir__sweep(seg, NULL);
}

int weir_segment_recover(struct weir_segment *seg, struct weir_recovery *ret)
{
	struct weir_recovery rec = {0};
	int self = weir__self(seg);
	int r = self < 0 && self != -EUSERS ? self : weir__sweep(seg, &rec);

	if (r == 0 && ret)
		*ret = rec;
	return r;
}
