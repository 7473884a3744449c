/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Bounded queue for many senders and many receivers.
 *
 * Position p lies in slot p mod n, lap l = p / n.  Three words tell how far it is:
 *
 *	send	l-1 -> l,me		the sender's claim, by CAS
 *	slot	l-1 -> l,full		his commit; l,void if he gives it up or dies
 *	take	l,free -> l,reading,me	the receiver's claim, by CAS
 *		-> l+1,free		done, or by the next sender who finds the slot void:
 *					he may come
 *
 * Claims name the claimer, so whoever finds a position stuck knows whose it is; if that one is dead
 * the sweep gives it up (slot -> l,void) or puts the message back (take -> l,free, tries+1).  tail
 * and first are hints: anybody who finds one behind moves it.  (In D. Vyukov's bounded MPMC queue
 * the tickets are in tail and first; there a death between ticket and slot stops everybody.)
 *
 * The claims are apart from the slot, so that between one sender and one receiver nothing crosses
 * but the message: senders' words stay on one side, receivers' on the other, and of the slot's
 * lines each is taken once by the one and read once by the other.  What a sender must know of the
 * receivers, that they are finished with the last lap, he reads for many positions at once (room).
 *
 * When a message is put back, first may be past it: it is pulled back, with a new tag, so that a
 * late receiver's step forward fails (or, when the tag has come round, is taken back by himself).
 */
#include <stdlib.h>
#include <string.h>

#include "obj/queue_word.h"

#define SPINS	   200
#define FLAG_TRACE 1u
/* Of a try_ between two looks at the clock, which costs more than the rest. */
#define MISSES 8

/* --- what happens to a claimed slot ---------------------------------------------------------- */

/* The slot that the caller has been lent for sending, if it really is his. */
static struct weir_queue_slot_shm *sending(const struct weir__queuev *v, int self,
					   const struct weir_msg *msg)
{
	struct weir_queue_slot_shm *slot = weir__slot(v, msg->position);
	/* relaxed, both: if it is ours nobody else changes them. */
	uint64_t send = weir_load_relaxed(weir__send_at(v, msg->position));

	if (self < 0 || msg->slot != slot || weir__send_ahead(v, send, msg->position) != 0 ||
	    weir_queue_send_word_state(send) != WEIR_QUEUE_SEND_STATE_CLAIMED ||
	    weir_queue_send_word_owner(send) != (uint32_t)self ||
	    weir__slot_ahead(v, weir_load_relaxed(&slot->word), msg->position) >= 0)
		return NULL;
	return slot;
}

/* Has the caller really been lent this message? */
static bool receiving(const struct weir__queuev *v, int self, const struct weir_msg *msg)
{
	/* relaxed: the same. */
	uint64_t take = weir_load_relaxed(weir__take_at(v, msg->position));

	return self >= 0 && msg->slot == weir__slot(v, msg->position) &&
	       weir__take_ahead(v, take, msg->position) == 0 &&
	       weir_queue_take_word_state(take) == WEIR_QUEUE_TAKE_STATE_READING &&
	       weir_queue_take_word_owner(take) == (uint32_t)self;
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
	/* EDGE queue_slot.word (release -> claim_receive): the bytes, then the message.
	 * l-1 -> l,full */
	weir_store_release(&slot->word,
			   weir__slot_make(WEIR_QUEUE_SLOT_STATE_FULL, weir__lap(v, pos)));
	WEIR_CRASH_POINT(queue_send_committed);
	weir__queue_finish(&v->shm->tail, pos);
	weir__waitq_wake(&v->shm->not_empty);
	/* For the next message.  Earlier these would be in this one's way. */
	for (uint32_t i = 0; i < v->stride && i < WEIR__FETCH_MAX; i += WEIR__UNIT)
		weir_prefetch_own((uint8_t *)weir__slot(v, pos + 1) + i);
}

/* l-1 -> l,void */
static void give_up(const struct weir__queuev *v, struct weir_queue_slot_shm *slot, uint64_t pos)
{
	/* EDGE queue_slot.word (release -> finished): we are finished with the bytes. */
	weir_store_release(&slot->word,
			   weir__slot_make(WEIR_QUEUE_SLOT_STATE_VOID, weir__lap(v, pos)));
	WEIR_CRASH_POINT(queue_given_up);
	weir__queue_finish(&v->shm->tail, pos);
	weir__waitq_wake(&v->shm->not_full);
	weir__waitq_wake(&v->shm->not_empty); /* What is behind it may be next now. */
}

/* l,reading,me -> l+1,free */
static void retire(const struct weir__queuev *v, uint64_t pos)
{
	/* EDGE queue_take.word (release -> finished): we are finished with the bytes. */
	weir_store_release(weir__take_at(v, pos), weir__take_make(WEIR_QUEUE_TAKE_STATE_FREE, 0, 0,
								  weir__lap(v, pos) + 1));
	WEIR_CRASH_POINT(queue_retired);
	weir__queue_finish(&v->shm->first, pos);
	/* EDGE queue.closing (full -> drained): receivers may wait for the last message to end. */
	if (weir__unlikely(weir_load_full(&v->shm->closing)))
		weir__waitq_wake(&v->shm->not_empty);
	weir__waitq_wake(&v->shm->not_full);
}

/* l,reading,me -> l,free: for somebody else. */
static void put_back(const struct weir__queuev *v, uint64_t pos)
{
	WEIR_ATOMIC(uint64_t) *at = weir__take_at(v, pos);
	/* relaxed: ours. */
	uint64_t tries = weir_queue_take_word_tries(weir_load_relaxed(at));

	/* EDGE queue_take.word (release -> claim_receive) */
	weir_store_release(
		at, weir__take_make(WEIR_QUEUE_TAKE_STATE_FREE, 0, tries, weir__lap(v, pos)));
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
	uint32_t missed;
	int r;

	if (weir__unlikely(self < 0))
		return self;
	r = what(&queue->v, (uint32_t)self, ret_pos);
	if (weir__likely(r != -EAGAIN))
		return r;
	/* relaxed, both: about so many. */
	missed = weir_load_relaxed(&queue->missed);
	weir_store_relaxed(&queue->missed, missed + 1);
	if (missed % MISSES != 0)
		return r;
	return claim_again(queue, what, (uint32_t)self, ret_pos);
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
	ret_msg->data = (uint8_t *)slot + v->data;
	ret_msg->bytes = v->payload;
	ret_msg->position = pos;
}

int weir_queue_try_loan(struct weir_queue *queue, struct weir_msg *ret_msg)
{
	uint64_t pos;
	int r = claim_now(queue, weir__queue_claim_send, weir__self(queue->v.seg), &pos);

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
			 : until(v, &v->shm->not_full, ctx, weir__queue_claim_send, (uint32_t)self,
				 &pos);

	if (r == 0)
		fill_msg(v, pos, ret_msg);
	return r;
}

int weir_queue_commit(struct weir_queue *queue, struct weir_msg *msg)
{
	int self = weir__self(queue->v.seg);
	struct weir_queue_slot_shm *slot = sending(&queue->v, self, msg);

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
	struct weir_queue_slot_shm *slot = sending(&queue->v, weir__self(queue->v.seg), msg);

	if (!slot)
		return -EINVAL;
	give_up(&queue->v, slot, msg->position);
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

	copy((uint8_t *)slot + v->data, data, bytes);
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
	r = claim_now(queue, weir__queue_claim_send, self, &pos);
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
	r = until(v, &v->shm->not_full, ctx, weir__queue_claim_send, (uint32_t)self, &pos);
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
		retire(v, pos);
		return -EBADMSG;
	}
	ret_msg->bytes = bytes;
	/* relaxed: ours. */
	ret_msg->tries =
		(uint32_t)weir_queue_take_word_tries(weir_load_relaxed(weir__take_at(v, pos)));
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
	int r = claim_now(queue, weir__queue_claim_receive, weir__self(queue->v.seg), &pos);

	return r < 0 ? r : receive_msg(&queue->v, pos, ret_msg);
}

int weir_queue_take(struct weir_queue *queue, struct weir_msg *ret_msg, struct weir_ctx *ctx)
{
	const struct weir__queuev *v = &queue->v;
	int self = weir__self(v->seg);
	uint64_t pos;
	int r = self < 0 ? self
			 : until(v, &v->shm->not_empty, ctx, weir__queue_claim_receive,
				 (uint32_t)self, &pos);

	return r < 0 ? r : receive_msg(v, pos, ret_msg);
}

int weir_queue_done(struct weir_queue *queue, struct weir_msg *msg)
{
	if (!receiving(&queue->v, weir__self(queue->v.seg), msg))
		return -EINVAL;
	retire(&queue->v, msg->position);
	msg->slot = NULL;
	return 0;
}

int weir_queue_put_back(struct weir_queue *queue, struct weir_msg *msg)
{
	if (!receiving(&queue->v, weir__self(queue->v.seg), msg))
		return -EINVAL;
	put_back(&queue->v, msg->position);
	msg->slot = NULL;
	return 0;
}

static int copy_out(const struct weir__queuev *v, uint64_t pos, void *data, uint32_t room,
		    uint32_t *ret_bytes)
{
	struct weir_queue_slot_shm *slot = weir__slot(v, pos);
	uint32_t bytes = slot->bytes;

	if (bytes > v->payload) {
		retire(v, pos);
		return -EBADMSG;
	}
	if (bytes > room) {
		put_back(v, pos);
		return -EMSGSIZE;
	}
	copy(data, (uint8_t *)slot + v->data, bytes);
	WEIR_CRASH_POINT(queue_receive_copied);
	retire(v, pos);
	*ret_bytes = bytes;
	return 0;
}

int weir_queue_try_recv(struct weir_queue *queue, void *data, uint32_t room, uint32_t *ret_bytes)
{
	uint64_t pos;
	int r = claim_now(queue, weir__queue_claim_receive, weir__self(queue->v.seg), &pos);

	return r < 0 ? r : copy_out(&queue->v, pos, data, room, ret_bytes);
}

int weir_queue_recv(struct weir_queue *queue, void *data, uint32_t room, uint32_t *ret_bytes,
		    struct weir_ctx *ctx)
{
	const struct weir__queuev *v = &queue->v;
	int self = weir__self(v->seg);
	uint64_t pos;
	int r = self < 0 ? self
			 : until(v, &v->shm->not_empty, ctx, weir__queue_claim_receive,
				 (uint32_t)self, &pos);

	return r < 0 ? r : copy_out(v, pos, data, room, ret_bytes);
}

int weir_queue_try_recv_batch(struct weir_queue *queue, void *data, uint32_t room, uint32_t count,
			      uint32_t *ret_bytes, uint32_t *ret_received)
{
	int r = 0;
	uint32_t received = 0;

	while (received < count && r == 0) {
		uint32_t bytes;

		r = weir_queue_try_recv(queue, (uint8_t *)data + (size_t)received * room, room,
					&bytes);
		if (r == 0 && ret_bytes)
			ret_bytes[received] = bytes;
		received += r == 0;
	}
	*ret_received = received;
	return r;
}

/* --- closing and waiting from outside -------------------------------------------------------- */

int weir_queue_shutdown(struct weir_queue *queue)
{
	struct weir_queue_shm *shm = queue->v.shm;
	uint64_t tail;

	/* EDGE queue.closing (full -> ended, retire): before tail, so that closed means closing. */
	weir_store_full(&shm->closing, 1);
	WEIR_CRASH_POINT(queue_closing);
	/* EDGE queue.hint (acquire <- queue_step) */
	tail = weir_load_acquire(&shm->tail);
	/* Ends: a failed CAS means that somebody else moved it. */
	while (!weir_queue_tail_closed(tail)) {
		/* EDGE queue.hint (full -> claim_send, ended): p,0 -> p,1 */
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
