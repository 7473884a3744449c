/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Bounded queue for many senders and many receivers.
 *
 * Position p lies in slot p mod n, lap p / n.  A slot's word says {lap, tries, owner, state}:
 *
 *	free,l -> writing,l,me -> full,l -> reading,l,me -> free,l+1
 *	       claim           commit    claim           done
 *
 * Claims are CASes on the slot itself and name the claimer, so whoever finds a slot stuck knows
 * whose it is; if that one is dead the sweep gives the slot up (writing -> free,l+1) or puts the
 * message back (reading -> full, tries+1).  tail and first are hints: anybody who finds one behind
 * moves it.  (In D. Vyukov's bounded MPMC queue the tickets are in tail and first; there a death
 * between ticket and slot stops everybody.)
 *
 * Both sides fetch a slot's line to be changed before they look at its word: else it crosses
 * between the processors once for the look and once more for the claim.  The message's own lines
 * are fetched while the claim is made; by a sender, those of the next slot too; by a receiver,
 * those of the message AHEAD of it: where none waits, one receiver still has them from the last
 *lap.
 *
 * When a message is put back, first may be past it: it is pulled back, with a new tag, so that a
 * late receiver's step forward fails.
 */
#include <stdlib.h>
#include <string.h>

#include "obj/queue_word.h"

#define SPINS	   200
#define FLAG_TRACE 1u
#define FETCH_MAX  1152u /* bytes of a slot fetched ahead: a message of 1 KiB */
#define AHEAD	   4	 /* messages; with fewer the receiver is in the sender's way */

bool weir__queue_view(struct weir_segment *seg, void *object, struct weir__queuev *ret)
{
	struct weir_queue_shm *shm = object;
	uint64_t bytes = weir__object_bytes(seg, object);
	uint64_t room = bytes - sizeof(*shm);
	uint32_t count;
	uint32_t tries;

	if (bytes < sizeof(*shm))
		return false;
	count = shm->slot_count;
	ret->seg = seg;
	ret->shm = shm;
	ret->slots = (uint8_t *)(shm + 1);
	ret->stride = shm->slot_bytes;
	ret->payload = shm->payload_bytes;
	tries = shm->tries_max;
	ret->tries_max = tries - 1 < WEIR__TRIES_MAX ? tries : WEIR__TRIES_MAX;
	ret->mask = count - 1;
	ret->shift = (uint32_t)__builtin_ctz(count | 0x80000000u);
	ret->lap_spare = 12 + (ret->shift > 9 ? ret->shift : 9);
	return count >= 2 && count <= 1u << 20 && (count & (count - 1)) == 0 &&
	       ret->stride % WEIR__UNIT == 0 && ret->payload <= 1u << 20 &&
	       ret->stride >= sizeof(struct weir_queue_slot_shm) + ret->payload &&
	       (uint64_t)ret->stride * count <= room;
}

void weir__queue_pull_back(const struct weir__queuev *v, uint64_t pos)
{
	uint64_t first;

	/* EDGE queue.first (full <- step_hint): the slot, then first; who steps over it, the other
	 * way round. */
	weir_fence_full();
	/* EDGE queue.first (acquire <- step_hint) */
	first = weir_load_acquire(&v->shm->first);
	/* Ends: a failed CAS means that somebody else moved it. */
	while (weir__pos_diff(weir_queue_first_pos(first), pos) >= 0) {
		uint64_t next = weir_queue_first_set_pos(first, pos);
		/* EDGE slot.word (acquire <- claim_receive): after first; somebody has found it? */
		uint64_t word = weir_load_acquire(&weir__slot(v, pos)->word);

		if (weir_queue_slot_word_state(word) != WEIR_QUEUE_SLOT_STATE_FULL ||
		    weir__lap_diff(v, weir_queue_slot_word_lap(word), weir__lap(v, pos)) != 0)
			return;
		next = weir_queue_first_set_tag(next, weir_queue_first_tag(first) + 1);
		/* EDGE queue.first (full -> claim_receive): p,t -> pos,t+1: old steps forward fail.
		 */
		if (weir_cas_full(&v->shm->first, &first, next))
			return;
	}
}

/* --- claims -------------------------------------------------------------------------------- */

/* pos -> pos+1 in a hint that is still what we read; either way *seen is what is there now, and a
 * full fence lies behind. */
static void step_hint(WEIR_ATOMIC(uint64_t) * hint, uint64_t *seen)
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
static void finish(WEIR_ATOMIC(uint64_t) * hint, uint64_t pos)
{
	/* relaxed: whoever moved it, it is only a hint. */
	uint64_t seen = weir_load_relaxed(hint);

	if (weir__likely(weir_queue_tail_pos(seen) == pos)) {
		/* EDGE waitq.sleepers (full -> weir__waitq_prepare): the slot, then the look. */
		step_hint(hint, &seen);
	} else {
		/* EDGE waitq.sleepers (full -> weir__waitq_prepare): the same. */
		weir_fence_full();
	}
}

/* Claim the next position for sending; 0, -EAGAIN, -ESHUTDOWN. */
static int claim_send(const struct weir__queuev *v, uint32_t self, uint64_t *ret_pos)
{
	/* EDGE queue.hint (acquire <- step_hint) */
	uint64_t tail = weir_load_acquire(&v->shm->tail);

	/* Ends: each turn moves tail, or somebody else moved it or took the slot. */
	for (;;) {
		uint64_t pos = weir_queue_tail_pos(tail);
		struct weir_queue_slot_shm *slot = weir__slot(v, pos);
		uint64_t lap = weir__lap(v, pos);
		uint64_t again;
		uint64_t word;
		int64_t ahead;

		weir_prefetch_own(slot);
		/* EDGE slot.word (acquire <- done): the receiver is finished with the bytes. */
		word = weir_load_acquire(&slot->word);
		ahead = weir__lap_diff(v, weir_queue_slot_word_lap(word), lap);
		if (weir_queue_tail_closed(tail))
			return -ESHUTDOWN;
		if (ahead == 0 && weir_queue_slot_word_state(word) == WEIR_QUEUE_SLOT_STATE_SEALED)
			return -ESHUTDOWN;
		if (ahead == 0 && weir_queue_slot_word_state(word) == WEIR_QUEUE_SLOT_STATE_FREE) {
			if (v->stride > WEIR__UNIT)
				weir_prefetch_own((uint8_t *)slot + WEIR__UNIT);
			/* EDGE slot.word (full -> the sweep): free,l -> writing,l,me */
			if (!weir_cas_full(
				    &slot->word, &word,
				    weir__slot_make(WEIR_QUEUE_SLOT_STATE_WRITING, self, 0, lap)))
				continue;
			WEIR_CRASH_POINT(queue_send_claimed);
			/* For the next message. */
			for (uint32_t i = 0; i < v->stride && i < FETCH_MAX; i += WEIR__UNIT)
				weir_prefetch_own((uint8_t *)weir__slot(v, pos + 1) + i);
			*ret_pos = pos;
			return 0;
		}
		if (ahead < 0) {
			/* EDGE queue.hint (acquire <- step_hint): full, unless our hint was old. */
			again = weir_load_acquire(&v->shm->tail);
			if (again == tail)
				return -EAGAIN;
			tail = again;
			continue;
		}
		step_hint(&v->shm->tail, &tail);
	}
}

/* At the end of a closed queue: seal it, so that no sender can come after we said so. */
static bool seal(const struct weir__queuev *v, struct weir_queue_slot_shm *slot, uint64_t word)
{
	/* EDGE queue.closing (full <- weir_queue_shutdown): our flag as a sleeper, then this look.
	 */
	if (weir__likely(!weir_load_full(&v->shm->closing)))
		return false;
	/* EDGE queue.hint (acquire <- weir_queue_shutdown) */
	if (!weir_queue_tail_closed(weir_load_acquire(&v->shm->tail)))
		return false;
	/* EDGE slot.word (full -> claim_send): free,l -> sealed,l */
	weir_cas_full(&slot->word, &word,
		      weir__slot_make(WEIR_QUEUE_SLOT_STATE_SEALED, 0, 0,
				      weir_queue_slot_word_lap(word)));
	return true;
}

/*
 * All before the seal at `pos` has been taken.  -ESHUTDOWN if all of it is finished too, but for
 * what the caller holds itself; -EAGAIN while another may still die with a message; 0 if a message
 * has just come back.  No sender passes the seal, so a slot seen free here stays so.
 */
static int drained(const struct weir__queuev *v, uint32_t self, uint64_t pos)
{
	for (uint64_t back = 1; back <= v->mask; back++) {
		/* EDGE queue.closing (full <- retire): it wakes us, or we see its slot free. */
		uint64_t word = weir_load_full(&weir__slot(v, pos - back)->word);

		if (weir__lap_diff(v, weir_queue_slot_word_lap(word), weir__lap(v, pos - back)) !=
		    0)
			continue;
		if (weir_queue_slot_word_state(word) == WEIR_QUEUE_SLOT_STATE_FULL) {
			weir__queue_pull_back(v, pos - back);
			return 0;
		}
		if (weir_queue_slot_word_state(word) == WEIR_QUEUE_SLOT_STATE_READING &&
		    weir_queue_slot_word_owner(word) != self)
			return -EAGAIN;
	}
	return -ESHUTDOWN;
}

/* Claim the next committed position for receiving; 0, -EAGAIN, -ESHUTDOWN. */
static int claim_receive(const struct weir__queuev *v, uint32_t self, uint64_t *ret_pos)
{
	/* EDGE queue.hint (acquire <- step_hint, pull_back) */
	uint64_t first = weir_load_acquire(&v->shm->first);

	/* Ends: each turn moves first, or somebody else moved it or took the slot. */
	for (;;) {
		uint64_t pos = weir_queue_first_pos(first);
		struct weir_queue_slot_shm *slot = weir__slot(v, pos);
		uint64_t lap = weir__lap(v, pos);
		uint64_t claim;
		uint64_t state;
		uint64_t word;
		int64_t ahead;

		weir_prefetch_own(slot);
		/* EDGE slot.word (acquire <- commit): the message's bytes. */
		word = weir_load_acquire(&slot->word);
		state = weir_queue_slot_word_state(word);
		ahead = weir__lap_diff(v, weir_queue_slot_word_lap(word), lap);
		if (ahead < 0 || (ahead == 0 && state == WEIR_QUEUE_SLOT_STATE_WRITING))
			return -EAGAIN;
		if (ahead == 0 && state == WEIR_QUEUE_SLOT_STATE_SEALED) {
			int r = drained(v, self, pos);

			if (r < 0)
				return r;
			/* EDGE queue.hint (acquire <- pull_back): it has been pulled back. */
			first = weir_load_acquire(&v->shm->first);
			continue;
		}
		if (ahead == 0 && state == WEIR_QUEUE_SLOT_STATE_FREE) {
			if (!seal(v, slot, word))
				return -EAGAIN;
			continue; /* Sealed, or a last sender was quicker. */
		}
		if (ahead == 0 && state == WEIR_QUEUE_SLOT_STATE_FULL) {
			claim = weir__slot_make(WEIR_QUEUE_SLOT_STATE_READING, self,
						weir_queue_slot_word_tries(word), lap);
			for (uint32_t i = WEIR__UNIT; i < v->stride && i < FETCH_MAX;
			     i += WEIR__UNIT)
				__builtin_prefetch((uint8_t *)slot + i);
			/* EDGE slot.word (full -> the sweep): full,l -> reading,l,me */
			if (!weir_cas_full(&slot->word, &word, claim))
				continue;
			WEIR_CRASH_POINT(queue_receive_claimed);
			for (uint32_t i = WEIR__UNIT; i < v->stride && i < FETCH_MAX;
			     i += WEIR__UNIT)
				__builtin_prefetch((uint8_t *)weir__slot(v, pos + AHEAD) + i);
			*ret_pos = pos;
			return 0;
		}
		step_hint(&v->shm->first, &first);
	}
}

/* --- what happens to a claimed slot ---------------------------------------------------------- */

/* The slot of a loan, if it is really the caller's and in `state`. */
static struct weir_queue_slot_shm *own_slot(const struct weir__queuev *v, int self,
					    const struct weir_msg *msg, uint64_t state)
{
	struct weir_queue_slot_shm *slot = weir__slot(v, msg->position);
	uint64_t word;

	if (self < 0 || msg->slot != slot)
		return NULL;
	/* relaxed: if it is ours nobody else changes it. */
	word = weir_load_relaxed(&slot->word);
	if (weir_queue_slot_word_state(word) != state ||
	    weir_queue_slot_word_owner(word) != (uint32_t)self ||
	    weir__lap_diff(v, weir_queue_slot_word_lap(word), weir__lap(v, msg->position)) != 0)
		return NULL;
	return slot;
}

/* The trace that travels with the message: the caller's, or that of the thread. */
static void stamp(const struct weir__queuev *v, uint32_t self, struct weir_queue_slot_shm *slot,
		  const struct weir_trace *trace)
{
	struct weir_thread_shm *t = &v->seg->threads[self];
	/* relaxed, all of it: only we write them. */
	uint64_t span = weir_load_relaxed(&t->span);
	uint64_t ids[2];

	if (trace)
		memcpy(ids, trace->trace_id, sizeof(ids));
	slot->flags = 0;
	if (trace && (ids[0] | ids[1]) != 0) {
		memcpy(&slot->span, trace->span_id, 8);
		slot->trace[0] = ids[0];
		slot->trace[1] = ids[1];
	} else if (span != 0) {
		slot->span = span;
		slot->trace[0] = weir_load_relaxed(&t->trace[0]);
		slot->trace[1] = weir_load_relaxed(&t->trace[1]);
	} else {
		return;
	}
	slot->flags = FLAG_TRACE;
	slot->sent_ns = weir__now_ns();
}

static void commit(const struct weir__queuev *v, struct weir_queue_slot_shm *slot, uint64_t pos,
		   uint32_t bytes)
{
	slot->bytes = bytes;
	WEIR_CRASH_POINT(queue_send_filled);
	/* EDGE slot.word (release -> claim_receive): the bytes, then the message.
	 * writing,l,me -> full,l */
	weir_store_release(&slot->word,
			   weir__slot_make(WEIR_QUEUE_SLOT_STATE_FULL, 0, 0, weir__lap(v, pos)));
	WEIR_CRASH_POINT(queue_send_committed);
	finish(&v->shm->tail, pos);
	weir__waitq_wake(&v->shm->not_empty);
}

/* reading or writing,l,me -> free,l+1 */
static void retire(const struct weir__queuev *v, struct weir_queue_slot_shm *slot, uint64_t pos)
{
	/* EDGE slot.word (release -> claim_send): we are finished with the bytes. */
	weir_store_release(&slot->word, weir__slot_make(WEIR_QUEUE_SLOT_STATE_FREE, 0, 0,
							weir__lap(v, pos) + 1));
	WEIR_CRASH_POINT(queue_retired);
	finish(&v->shm->first, pos);
	/* EDGE queue.closing (full -> drained): receivers may wait for the last message to end. */
	if (weir__unlikely(weir_load_full(&v->shm->closing)))
		weir__waitq_wake(&v->shm->not_empty);
	weir__waitq_wake(&v->shm->not_full);
}

/* reading,l,me -> full,l: for somebody else. */
static void put_back(const struct weir__queuev *v, struct weir_queue_slot_shm *slot, uint64_t pos)
{
	/* relaxed: ours. */
	uint64_t tries = weir_queue_slot_word_tries(weir_load_relaxed(&slot->word));

	/* EDGE slot.word (release -> claim_receive) */
	weir_store_release(&slot->word, weir__slot_make(WEIR_QUEUE_SLOT_STATE_FULL, 0, tries,
							weir__lap(v, pos)));
	WEIR_CRASH_POINT(queue_put_back);
	weir__queue_pull_back(v, pos);
	weir__waitq_wake(&v->shm->not_empty);
}

/* --- sending ------------------------------------------------------------------------------- */

typedef int claim_fn(const struct weir__queuev *v, uint32_t self, uint64_t *ret_pos);

/* Who only ever tries must look for the dead himself.  Apart, for the hot path's sake. */
__attribute__((noinline, cold)) static int claim_again(struct weir_queue *queue, claim_fn *what,
						       uint32_t self, uint64_t *ret_pos)
{
	/* The coarse clock costs as much as one turn of the caller's loop. */
	uint64_t now = weir__now_coarse_ns();

	/* relaxed, both: only spares work. */
	if (now - weir_load_relaxed(&queue->looked_ns) < WEIR__RECOVERY_NS)
		return -EAGAIN;
	weir_store_relaxed(&queue->looked_ns, now);
	weir__sweep_sometimes(queue->v.seg);
	return what(&queue->v, self, ret_pos);
}

static inline int claim_now(struct weir_queue *queue, claim_fn *what, int self, uint64_t *ret_pos)
{
	int r;

	if (weir__unlikely(self < 0))
		return self;
	r = what(&queue->v, (uint32_t)self, ret_pos);
	return weir__likely(r != -EAGAIN) ? r : claim_again(queue, what, (uint32_t)self, ret_pos);
}

/* Try `what` now; on -EAGAIN spin a little, then sleep until it works or ctx ends. */
static int until(const struct weir__queuev *v, struct weir_waitq_shm *q, struct weir_ctx *ctx,
		 claim_fn *what, uint32_t self, uint64_t *ret_pos)
{
	int r = what(v, self, ret_pos);

	for (int i = 0; r == -EAGAIN && i < SPINS; i++) {
		weir_relax();
		r = what(v, self, ret_pos);
	}
	if (r != -EAGAIN)
		return r;
	weir__self_waits(v->seg, self, v->shm, weir__now_ns());
	while (r == -EAGAIN) {
		uint32_t value = weir__waitq_prepare(q);
		int slept;

		r = what(v, self, ret_pos);
		if (r != -EAGAIN)
			break;
		slept = weir__waitq_sleep(q, value, ctx);
		weir__sweep_sometimes(v->seg);
		r = what(v, self, ret_pos);
		if (r == -EAGAIN && slept < 0)
			r = slept;
	}
	weir__self_waits(v->seg, self, NULL, 0);
	return r;
}

static void fill_msg(const struct weir__queuev *v, uint64_t pos, struct weir_msg *ret_msg)
{
	struct weir_queue_slot_shm *slot = weir__slot(v, pos);

	memset(ret_msg, 0, sizeof(*ret_msg));
	ret_msg->slot = slot;
	ret_msg->data = slot + 1;
	ret_msg->bytes = v->payload;
	ret_msg->position = pos;
}

int weir_queue_try_loan(struct weir_queue *queue, struct weir_msg *ret_msg)
{
	uint64_t pos;
	int r = claim_now(queue, claim_send, weir__self(queue->v.seg), &pos);

	if (r == 0)
		fill_msg(&queue->v, pos, ret_msg);
	return r;
}

int weir_queue_loan(struct weir_queue *queue, struct weir_msg *ret_msg, struct weir_ctx *ctx)
{
	const struct weir__queuev *v = &queue->v;
	int self = weir__self(v->seg);
	uint64_t pos;
	int r = self < 0 ? self
			 : until(v, &v->shm->not_full, ctx, claim_send, (uint32_t)self, &pos);

	if (r == 0)
		fill_msg(v, pos, ret_msg);
	return r;
}

int weir_queue_commit(struct weir_queue *queue, struct weir_msg *msg)
{
	int self = weir__self(queue->v.seg);
	struct weir_queue_slot_shm *slot =
		own_slot(&queue->v, self, msg, WEIR_QUEUE_SLOT_STATE_WRITING);

	if (!slot)
		return -EINVAL;
	if (msg->bytes > queue->v.payload)
		return -EMSGSIZE;
	stamp(&queue->v, (uint32_t)self, slot, &msg->trace);
	commit(&queue->v, slot, msg->position, msg->bytes);
	msg->slot = NULL;
	return 0;
}

int weir_queue_abort(struct weir_queue *queue, struct weir_msg *msg)
{
	struct weir_queue_slot_shm *slot =
		own_slot(&queue->v, weir__self(queue->v.seg), msg, WEIR_QUEUE_SLOT_STATE_WRITING);

	if (!slot)
		return -EINVAL;
	retire(&queue->v, slot, msg->position);
	weir__waitq_wake(&queue->v.shm->not_empty); /* What is behind it may be next now. */
	msg->slot = NULL;
	return 0;
}

/*
 * A message's bytes, by the C library's memcpy.  Where gcc knows a bound of `bytes` (sizes that are
 * constants, link-time optimisation) it would copy in place with "rep movsq" instead, which takes
 * longer to begin than 64 bytes take, while the slot is claimed.
 */
static void copy(void *to, const void *from, size_t bytes)
{
	__asm__("" : "+r"(bytes));
	memcpy(to, from, bytes);
}

static int send_at(const struct weir__queuev *v, uint32_t self, uint64_t pos, const void *data,
		   uint32_t bytes)
{
	struct weir_queue_slot_shm *slot = weir__slot(v, pos);

	copy(slot + 1, data, bytes);
	stamp(v, self, slot, NULL);
	commit(v, slot, pos, bytes);
	return 0;
}

int weir_queue_try_send(struct weir_queue *queue, const void *data, uint32_t bytes)
{
	const struct weir__queuev *v = &queue->v;
	int self = weir__self(v->seg);
	uint64_t pos;
	int r;

	if (self < 0)
		return self;
	if (bytes > v->payload)
		return -EMSGSIZE;
	r = claim_now(queue, claim_send, self, &pos);
	return r < 0 ? r : send_at(v, (uint32_t)self, pos, data, bytes);
}

int weir_queue_send(struct weir_queue *queue, const void *data, uint32_t bytes,
		    struct weir_ctx *ctx)
{
	const struct weir__queuev *v = &queue->v;
	int self = weir__self(v->seg);
	uint64_t pos;
	int r;

	if (self < 0)
		return self;
	if (bytes > v->payload)
		return -EMSGSIZE;
	r = until(v, &v->shm->not_full, ctx, claim_send, (uint32_t)self, &pos);
	return r < 0 ? r : send_at(v, (uint32_t)self, pos, data, bytes);
}

int weir_queue_try_send_batch(struct weir_queue *queue, const void *data, uint32_t bytes,
			      uint32_t count, uint32_t *ret_sent)
{
	int r = 0;
	uint32_t sent = 0;

	while (sent < count && r == 0) {
		r = weir_queue_try_send(queue, (const uint8_t *)data + (size_t)sent * bytes, bytes);
		sent += r == 0;
	}
	*ret_sent = sent;
	return r;
}

/* --- receiving ----------------------------------------------------------------------------- */

static int receive_msg(const struct weir__queuev *v, uint64_t pos, struct weir_msg *ret_msg)
{
	struct weir_queue_slot_shm *slot = weir__slot(v, pos);
	uint32_t bytes = slot->bytes;
	uint32_t flags = slot->flags;

	fill_msg(v, pos, ret_msg);
	if (bytes > v->payload) { /* Scribbled on: nothing that we could hand out. */
		retire(v, slot, pos);
		return -EBADMSG;
	}
	ret_msg->bytes = bytes;
	/* relaxed: ours. */
	ret_msg->tries = (uint32_t)weir_queue_slot_word_tries(weir_load_relaxed(&slot->word));
	if (flags & FLAG_TRACE) {
		memcpy(ret_msg->trace.trace_id, slot->trace, 16);
		memcpy(ret_msg->trace.span_id, &slot->span, 8);
		ret_msg->trace.flags = 1;
		ret_msg->sent_ns = slot->sent_ns;
	}
	return 0;
}

int weir_queue_try_take(struct weir_queue *queue, struct weir_msg *ret_msg)
{
	uint64_t pos;
	int r = claim_now(queue, claim_receive, weir__self(queue->v.seg), &pos);

	return r < 0 ? r : receive_msg(&queue->v, pos, ret_msg);
}

int weir_queue_take(struct weir_queue *queue, struct weir_msg *ret_msg, struct weir_ctx *ctx)
{
	const struct weir__queuev *v = &queue->v;
	int self = weir__self(v->seg);
	uint64_t pos;
	int r = self < 0 ? self
			 : until(v, &v->shm->not_empty, ctx, claim_receive, (uint32_t)self, &pos);

	return r < 0 ? r : receive_msg(v, pos, ret_msg);
}

int weir_queue_done(struct weir_queue *queue, struct weir_msg *msg)
{
	struct weir_queue_slot_shm *slot =
		own_slot(&queue->v, weir__self(queue->v.seg), msg, WEIR_QUEUE_SLOT_STATE_READING);

	if (!slot)
		return -EINVAL;
	retire(&queue->v, slot, msg->position);
	msg->slot = NULL;
	return 0;
}

int weir_queue_put_back(struct weir_queue *queue, struct weir_msg *msg)
{
	struct weir_queue_slot_shm *slot =
		own_slot(&queue->v, weir__self(queue->v.seg), msg, WEIR_QUEUE_SLOT_STATE_READING);

	if (!slot)
		return -EINVAL;
	put_back(&queue->v, slot, msg->position);
	msg->slot = NULL;
	return 0;
}

static int copy_out(const struct weir__queuev *v, uint64_t pos, void *data, uint32_t room,
		    uint32_t *ret_bytes)
{
	struct weir_queue_slot_shm *slot = weir__slot(v, pos);
	uint32_t bytes = slot->bytes;

	if (bytes > v->payload) {
		retire(v, slot, pos);
		return -EBADMSG;
	}
	if (bytes > room) {
		put_back(v, slot, pos);
		return -EMSGSIZE;
	}
	copy(data, slot + 1, bytes);
	WEIR_CRASH_POINT(queue_receive_copied);
	retire(v, slot, pos);
	*ret_bytes = bytes;
	return 0;
}

int weir_queue_try_recv(struct weir_queue *queue, void *data, uint32_t room, uint32_t *ret_bytes)
{
	uint64_t pos;
	int r = claim_now(queue, claim_receive, weir__self(queue->v.seg), &pos);

	return r < 0 ? r : copy_out(&queue->v, pos, data, room, ret_bytes);
}

int weir_queue_recv(struct weir_queue *queue, void *data, uint32_t room, uint32_t *ret_bytes,
		    struct weir_ctx *ctx)
{
	const struct weir__queuev *v = &queue->v;
	int self = weir__self(v->seg);
	uint64_t pos;
	int r = self < 0 ? self
			 : until(v, &v->shm->not_empty, ctx, claim_receive, (uint32_t)self, &pos);

	return r < 0 ? r : copy_out(v, pos, data, room, ret_bytes);
}

/* --- closing and waiting from outside -------------------------------------------------------- */

int weir_queue_shutdown(struct weir_queue *queue)
{
	struct weir_queue_shm *shm = queue->v.shm;
	uint64_t tail;

	/* EDGE queue.closing (full -> seal, retire): before tail, so that closed means closing. */
	weir_store_full(&shm->closing, 1);
	WEIR_CRASH_POINT(queue_closing);
	/* EDGE queue.hint (acquire <- step_hint) */
	tail = weir_load_acquire(&shm->tail);
	/* Ends: a failed CAS means that somebody else moved it. */
	while (!weir_queue_tail_closed(tail)) {
		/* EDGE queue.hint (full -> claim_send, seal): p,0 -> p,1 */
		if (weir_cas_full(&shm->tail, &tail, weir_queue_tail_set_closed(tail, 1)))
			weir__event(queue->v.seg, WEIR_EVENT_KIND_CLOSE, shm, 0, 0);
	}
	weir__waitq_wake(&shm->not_empty);
	weir__waitq_wake(&shm->not_full);
	return 0;
}

static int where(struct weir_queue *queue, struct weir_waitq_shm *q, struct weir_wait *ret_wait)
{
	weir__sweep_sometimes(queue->v.seg);
	ret_wait->value = weir__waitq_prepare(q);
	ret_wait->word = (uint32_t *)(uintptr_t)&q->epoch;
	return 0;
}

int weir_queue_wait_recv(struct weir_queue *queue, struct weir_wait *ret_wait)
{
	return where(queue, &queue->v.shm->not_empty, ret_wait);
}

int weir_queue_wait_send(struct weir_queue *queue, struct weir_wait *ret_wait)
{
	return where(queue, &queue->v.shm->not_full, ret_wait);
}
