/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The queue's life, its figures, and the sweep's part. */
#include <stdlib.h>
#include <string.h>

#include "obj/queue_word.h"

struct shape {
	uint32_t count;
	uint32_t stride;
	uint32_t data;
};

static struct shape shape_of(const struct weir_queue_opts *o)
{
	struct shape s = {.count = 2};
	uint32_t beside = WEIR__UNIT - (uint32_t)sizeof(struct weir_queue_slot_shm);

	while (s.count < o->slots)
		s.count *= 2;
	/* A message begins in a line of its own, unless all of it fits beside the head. */
	s.data = o->bytes <= beside ? (uint32_t)sizeof(struct weir_queue_slot_shm) : WEIR__UNIT;
	s.stride = (s.data + o->bytes + WEIR__UNIT - 1) / WEIR__UNIT * WEIR__UNIT;
	return s;
}

static void init(struct weir_segment *seg, void *object, const void *opts)
{
	const struct weir_queue_opts *o = opts;
	struct weir_queue_shm *shm = object;
	struct shape s = shape_of(o);
	uint32_t shift = (uint32_t)__builtin_ctz(s.count);
	/* Positions begin a few laps before 32 bits of them are used up: every run passes that. */
	uint64_t lap = ((UINT64_C(1) << 32) >> shift) - 3;
	uint64_t claims = weir__claims_bytes(s.count);
	struct weir_queue_send_shm *sends = (struct weir_queue_send_shm *)(void *)(shm + 1);
	struct weir_queue_take_shm *takes =
		(struct weir_queue_take_shm *)(void *)((uint8_t *)(shm + 1) + claims);
	uint8_t *slots = (uint8_t *)(shm + 1) + 2 * claims;

	(void)seg;
	shm->slot_count = s.count;
	shm->slot_bytes = s.stride;
	shm->data_offset = s.data;
	shm->payload_bytes = o->bytes;
	shm->tries_max = o->tries_max;
	/* relaxed, all of it: not published yet. */
	weir_store_relaxed(&shm->tail, weir_queue_tail_set_pos(0, lap << shift));
	weir_store_relaxed(&shm->first, weir_queue_first_set_pos(0, lap << shift));
	weir_store_relaxed(&shm->room, lap << shift);
	for (uint32_t i = 0; i < s.count; i++) {
		weir_store_relaxed(
			&((struct weir_queue_slot_shm *)(void *)(slots + (size_t)i * s.stride))
				 ->word,
			weir__slot_make(WEIR_QUEUE_SLOT_STATE_VOID, lap - 1));
		weir_store_relaxed(&sends[i].word,
				   weir__send_make(WEIR_QUEUE_SEND_STATE_CLAIMED, 0, lap - 1));
		weir_store_relaxed(&takes[i].word,
				   weir__take_make(WEIR_QUEUE_TAKE_STATE_FREE, 0, 0, lap));
	}
	weir__waitq_init(&shm->not_empty, object);
	weir__waitq_init(&shm->not_full, object);
}

static bool match(const void *object, const void *opts)
{
	const struct weir_queue_shm *shm = object;
	const struct weir_queue_opts *o = opts;

	return shm->slot_count == shape_of(o).count && shm->payload_bytes == o->bytes &&
	       shm->tries_max == o->tries_max;
}

int weir_queue_open(struct weir_segment *seg, const char *name, const struct weir_queue_opts *opts,
		    struct weir_queue **ret_queue)
{
	struct weir__plan plan = {
		.type = WEIR_OBJECT_TYPE_QUEUE, .opts = opts, .init = init, .match = match};
	struct weir_queue *queue;
	struct shape s;
	void *object;
	int r;

	if (opts && (opts->size != sizeof(*opts) || opts->slots < 2 || opts->slots > 1u << 20 ||
		     opts->bytes == 0 || opts->bytes > 1u << 20 || opts->tries_max > 63))
		return -EINVAL;
	if (opts) {
		s = shape_of(opts);
		plan.bytes = sizeof(struct weir_queue_shm) + 2 * weir__claims_bytes(s.count) +
			     (uint64_t)s.count * s.stride;
	}
	queue = malloc(sizeof(*queue));
	if (!queue)
		return -ENOMEM;
	r = weir__object_open(seg, name, &plan, &object);
	if (r == 0 && !weir__queue_view(seg, object, &queue->v))
		r = -EBADMSG;
	if (r < 0) {
		free(queue);
		return r;
	}
	/* relaxed: not shared yet. */
	weir_store_relaxed(&queue->looked_ns, 0);
	weir_store_relaxed(&queue->missed, 0);
	*ret_queue = queue;
	return 0;
}

int weir_queue_close(struct weir_queue *queue)
{
	free(queue);
	return 0;
}

/* Is the claim of a sender still on? */
static bool is_written(const struct weir__queuev *v, uint64_t send, uint64_t word)
{
	return weir_queue_send_word_state(send) == WEIR_QUEUE_SEND_STATE_CLAIMED &&
	       weir__lap_diff(v, weir_queue_send_word_lap(send), weir_queue_slot_word_lap(word)) >
		       0;
}

/* Is there a message that no receiver is finished with? */
static bool is_full(const struct weir__queuev *v, uint64_t take, uint64_t word)
{
	return weir_queue_slot_word_state(word) == WEIR_QUEUE_SLOT_STATE_FULL &&
	       weir__lap_diff(v, weir_queue_take_word_lap(take), weir_queue_slot_word_lap(word)) ==
		       0;
}

int weir_queue_stat(const struct weir_queue *queue, struct weir_queue_stat *ret_stat)
{
	const struct weir__queuev *v = &queue->v;
	struct weir_queue_stat s = {.slots = v->mask + 1, .bytes = v->payload};
	/* relaxed, all of it: a snapshot. */
	uint64_t tail = weir_load_relaxed(&v->shm->tail);
	uint64_t start = (((UINT64_C(1) << 32) >> v->shift) - 3) << v->shift;

	for (uint32_t i = 0; i <= v->mask; i++) {
		uint64_t word = weir_load_relaxed(&weir__slot(v, i)->word);
		uint64_t send = weir_load_relaxed(weir__send_at(v, i));
		uint64_t take = weir_load_relaxed(weir__take_at(v, i));

		s.writing += is_written(v, send, word);
		if (weir_queue_take_word_state(take) == WEIR_QUEUE_TAKE_STATE_READING)
			s.reading++;
		else
			s.depth += is_full(v, take, word);
	}
	s.closed = (uint32_t)weir_queue_tail_closed(tail);
	s.sent = weir_queue_tail_pos(tail) - start;
	s.received = weir_queue_first_pos(weir_load_relaxed(&v->shm->first)) - start;
	s.redelivered = weir_load_relaxed(&v->shm->redelivered);
	s.skipped = weir_load_relaxed(&v->shm->skipped);
	s.dropped = weir_load_relaxed(&v->shm->dropped);
	*ret_stat = s;
	return 0;
}

/* --- the sweep ----------------------------------------------------------------------------- */

/* The words have the low bits of the lap only.  Of the positions that fit, the one near the hint.
 */
static uint64_t pos_of(const struct weir__queuev *v, uint32_t i, uint64_t lap)
{
	/* relaxed: who counts on the result looks at the words again. */
	uint64_t tail = weir_queue_tail_pos(weir_load_relaxed(&v->shm->tail));
	uint64_t near = (tail & ~(uint64_t)v->mask) | i;
	int64_t laps = weir__lap_diff(v, lap, weir__lap(v, near));

	return (near + ((uint64_t)laps << v->shift)) & WEIR_QUEUE_TAIL_POS_MAX;
}

static void count(WEIR_ATOMIC(uint64_t) * counter)
{
	weir_add_relaxed(counter, 1); /* relaxed: a figure; a sweeper killed right here loses it. */
}

/* The dead sender's claim: slot l-1 -> l,void; nothing was promised. */
static void skip(const struct weir__victim *victim, const struct weir__queuev *v, uint32_t i,
		 struct weir_recovery *rec)
{
	/* EDGE queue_send.word (acquire <- claim_send): whose it is. */
	uint64_t send = weir_load_acquire(&v->sends[i].word);
	uint64_t lap = weir_queue_send_word_lap(send);
	/* EDGE queue_slot.word (acquire <- commit): did he finish? */
	uint64_t word = weir_load_acquire(&weir__slot(v, i)->word);

	if (weir_queue_send_word_owner(send) != victim->thread || !is_written(v, send, word))
		return;
	/* EDGE queue_slot.word (full -> claim_receive, finished) */
	if (!weir__victim_still(victim) ||
	    !weir_cas_full(&weir__slot(v, i)->word, &word,
			   weir__slot_make(WEIR_QUEUE_SLOT_STATE_VOID, lap)))
		return;
	WEIR_CRASH_POINT(queue_recover_skipped);
	count(&v->shm->skipped);
	rec->skipped++;
	weir__event(v->seg, WEIR_EVENT_KIND_SKIP, v->shm, pos_of(v, i, lap), 0);
}

/*
 * The dead receiver's message: take l,reading,t -> l,free,t+1, or l+1,free when it killed too many.
 *
 * 2026-11  It is dropped at the latest when t cannot count on.  Were t to stand still, the word
 * would be the same when a new thread in the dead one's slot takes the message, and the CAS of a
 * sweeper that was stopped right before it would take it from the living.  More bits would only put
 * that off.
 */
static void redeliver(const struct weir__victim *victim, const struct weir__queuev *v, uint32_t i,
		      struct weir_recovery *rec)
{
	/* EDGE queue_take.word (acquire <- claim_receive): whose it is. */
	uint64_t take = weir_load_acquire(&v->takes[i].word);
	uint64_t tries = weir_queue_take_word_tries(take) + 1;
	uint64_t lap = weir_queue_take_word_lap(take);
	bool drop = tries >= v->tries_max;
	uint64_t next =
		weir__take_make(WEIR_QUEUE_TAKE_STATE_FREE, 0, drop ? 0 : tries, lap + drop);

	if (weir_queue_take_word_owner(take) != victim->thread ||
	    weir_queue_take_word_state(take) != WEIR_QUEUE_TAKE_STATE_READING)
		return;
	/* EDGE queue_take.word (full -> claim_receive, finished) */
	if (!weir__victim_still(victim) || !weir_cas_full(&v->takes[i].word, &take, next))
		return;
	WEIR_CRASH_POINT(queue_recover_put_back);
	count(drop ? &v->shm->dropped : &v->shm->redelivered);
	rec->redelivered += !drop;
	weir__event(v->seg, drop ? WEIR_EVENT_KIND_DROP : WEIR_EVENT_KIND_REDELIVER, v->shm,
		    pos_of(v, i, lap), tries);
}

/* No committed message may lie before first.  Stateless, so a sweep that died is made good by the
 * next. */
static void find_first(const struct weir__queuev *v)
{
	for (uint32_t i = 0; i <= v->mask; i++) {
		/* relaxed: looked at again below. */
		uint64_t take = weir_load_relaxed(&v->takes[i].word);
		uint64_t pos = pos_of(v, i, weir_queue_take_word_lap(take));

		if (weir__queue_waits(v, pos))
			weir__queue_pull_back(v, pos);
	}
}

void weir__queue_recover(const struct weir__victim *victim, void *object, struct weir_recovery *rec)
{
	struct weir__queuev v;

	if (!weir__queue_view(victim->seg, object, &v))
		return;
	for (uint32_t i = 0; i <= v.mask; i++) {
		skip(victim, &v, i, rec);
		redeliver(victim, &v, i, rec);
	}
	find_first(&v);
	weir__waitq_wake(&v.shm->not_empty);
	weir__waitq_wake(&v.shm->not_full);
}
