/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The queue's claims: who sends and who receives what.  How it all works stands in queue.c. */
#include "obj/queue_word.h"

#define CLAIMS	 8  /* in one line */
#define LOOK_MAX 64 /* positions that one sender looks at for room */
#define AHEAD	 4  /* messages; with fewer the receiver is in the sender's way */

bool weir__queue_view(struct weir_segment *seg, void *object, struct weir__queuev *ret)
{
	struct weir_queue_shm *shm = object;
	uint64_t bytes = weir__object_bytes(seg, object);
	uint64_t room = bytes - sizeof(*shm);
	uint64_t claims;
	uint32_t count;
	uint32_t tries;

	if (bytes < sizeof(*shm))
		return false;
	count = shm->slot_count;
	claims = weir__claims_bytes(count);
	ret->seg = seg;
	ret->shm = shm;
	ret->sends = (struct weir_queue_send_shm *)(void *)(shm + 1);
	ret->takes = (struct weir_queue_take_shm *)(void *)((uint8_t *)(shm + 1) + claims);
	ret->slots = (uint8_t *)(shm + 1) + 2 * claims;
	ret->stride = shm->slot_bytes;
	ret->payload = shm->payload_bytes;
	ret->data = shm->data_offset;
	tries = shm->tries_max;
	ret->tries_max = tries - 1 < WEIR__TRIES_MAX ? tries : WEIR__TRIES_MAX;
	ret->mask = count - 1;
	ret->shift = (uint32_t)__builtin_ctz(count | 0x80000000u);
	ret->lap_spare = 12 + (ret->shift > 9 ? ret->shift : 9);
	return count >= 2 && count <= 1u << 20 && (count & (count - 1)) == 0 &&
	       ret->stride % WEIR__UNIT == 0 && ret->payload <= 1u << 20 &&
	       ret->data >= sizeof(struct weir_queue_slot_shm) && ret->data <= WEIR__UNIT &&
	       ret->data % 8 == 0 && ret->stride >= ret->data + ret->payload &&
	       2 * claims + (uint64_t)ret->stride * count <= room;
}

/* By `take`: is at `pos` a message that nobody has? */
static bool is_free(const struct weir__queuev *v, uint64_t pos, uint64_t take)
{
	/* EDGE queue_slot.word (acquire <- commit) */
	uint64_t word = weir_load_acquire(&weir__slot(v, pos)->word);

	return weir_queue_take_word_state(take) == WEIR_QUEUE_TAKE_STATE_FREE &&
	       weir__take_ahead(v, take, pos) == 0 && weir__slot_ahead(v, word, pos) == 0 &&
	       weir_queue_slot_word_state(word) == WEIR_QUEUE_SLOT_STATE_FULL;
}

bool weir__queue_waits(const struct weir__queuev *v, uint64_t pos)
{
	/* EDGE queue_take.word (acquire <- claim_receive): somebody has it? */
	return is_free(v, pos, weir_load_acquire(weir__take_at(v, pos)));
}

void weir__queue_pull_back(const struct weir__queuev *v, uint64_t pos)
{
	/* EDGE queue.first (full <- queue_step): it is free, then first; who steps over it, the
	 * other way round.  By a change that changes nothing: so whoever moves first after us has
	 * it from us that it is free, and whoever has first from him. */
	uint64_t first = weir_add_full(&v->shm->first, 0);

	/* Ends: a failed CAS means that somebody else moved it. */
	while (weir__pos_diff(weir_queue_first_pos(first), pos) >= 0) {
		uint64_t next = weir_queue_first_set_pos(first, pos);

		if (!weir__queue_waits(v, pos)) /* After first: somebody has found it. */
			return;
		next = weir_queue_first_set_tag(next, weir_queue_first_tag(first) + 1);
		/* EDGE queue.first (full -> claim_receive): p,t -> pos,t+1: old steps forward fail.
		 */
		if (weir_cas_full(&v->shm->first, &first, next))
			return;
	}
}

/* The two lines of `pos` that receivers poll, for its sender. */
static inline void fetch_to_write(const struct weir__queuev *v, uint64_t pos)
{
	uint8_t *slot = (uint8_t *)weir__slot(v, pos);

	if (v->stride > WEIR__UNIT)
		weir_prefetch_own(slot + WEIR__UNIT);
	weir_prefetch_own(slot);
}

/* Is `pos` over, that is, was its message received or dropped, or was there none?  Then the sender
 * of the next lap may come. */
static bool finished(const struct weir__queuev *v, uint64_t pos)
{
	WEIR_ATOMIC(uint64_t) *at = weir__take_at(v, pos);
	/* EDGE queue_take.word (acquire <- retire, redeliver, finished): the receiver is finished
	 * with the bytes. */
	uint64_t take = weir_load_acquire(at);
	uint64_t word;
	int64_t ahead = weir__take_ahead(v, take, pos);

	if (ahead != 0)
		return ahead > 0;
	/* EDGE queue_slot.word (acquire <- give_up, skip) */
	word = weir_load_acquire(&weir__slot(v, pos)->word);
	ahead = weir__slot_ahead(v, word, pos);
	if (ahead != 0)
		return ahead > 0; /* Somebody passed it since, and sent. */
	if (weir_queue_slot_word_state(word) != WEIR_QUEUE_SLOT_STATE_VOID)
		return false;
	/* EDGE queue_take.word (full -> finished): l,free -> l+1,free.  If that fails somebody else
	 * did it: nobody claims what is void. */
	weir_cas_full(at, &take,
		      weir__take_make(WEIR_QUEUE_TAKE_STATE_FREE, 0, 0, weir__lap(v, pos) + 1));
	WEIR_CRASH_POINT(queue_passed);
	return true;
}

/* Apart, for the hot path's sake. */
__attribute__((noinline, cold)) static bool look_for_room(const struct weir__queuev *v,
							  uint64_t pos);

/* Find out whether `pos` is free for its sender, and while we look, how many behind it are. */
static bool look_for_room(const struct weir__queuev *v, uint64_t pos)
{
	uint64_t n = 0;

	while (n < LOOK_MAX && n <= v->mask && finished(v, pos + n - v->mask - 1))
		n++;
	if (n == 0)
		return false;
	/* EDGE queue.room (release -> has_room): they stay free until their senders come. */
	weir_store_release(&v->shm->room, pos + n);
	return true;
}

/* Is `pos` free for its sender? */
static inline bool has_room(const struct weir__queuev *v, uint64_t pos)
{
	/* EDGE queue.room (acquire <- look_for_room) */
	uint64_t room = weir_load_acquire(&v->shm->room);

	return weir__likely(room - pos - 1 <= v->mask) || look_for_room(v, pos);
}

int weir__queue_claim_send(const struct weir__queuev *v, uint32_t self, uint64_t *ret_pos)
{
	/* EDGE queue.hint (acquire <- queue_step) */
	uint64_t tail = weir_load_acquire(&v->shm->tail);

	/* Ends: each turn moves tail, or somebody else moved it or took the position. */
	for (;;) {
		uint64_t pos = weir_queue_tail_pos(tail);
		uint64_t again;
		/* EDGE queue_send.word (acquire <- claim_send, ended) */
		uint64_t word = weir_load_acquire(weir__send_at(v, pos));

		if (weir_queue_tail_closed(tail))
			return -ESHUTDOWN;
		if (weir__send_ahead(v, word, pos) >= 0) {
			if (weir_queue_send_word_state(word) == WEIR_QUEUE_SEND_STATE_SEALED)
				return -ESHUTDOWN;
			weir__queue_step(&v->shm->tail, &tail);
			continue;
		}
		if (weir__unlikely(!has_room(v, pos))) {
			/* EDGE queue.hint (acquire <- queue_step): full, unless our hint was old.
			 */
			again = weir_load_acquire(&v->shm->tail);
			if (again == tail)
				return -EAGAIN;
			tail = again;
			continue;
		}
		fetch_to_write(v, pos);
		/* EDGE queue_send.word (full -> the sweep): l-1 -> l,me.  Whoever was there before
		 * is finished, else there were no room. */
		if (!weir_cas_full(weir__send_at(v, pos), &word,
				   weir__send_make(WEIR_QUEUE_SEND_STATE_CLAIMED, self,
						   weir__lap(v, pos))))
			continue;
		WEIR_CRASH_POINT(queue_send_claimed);
		*ret_pos = pos;
		return 0;
	}
}

/*
 * All before the seal at `pos` has been taken.  -ESHUTDOWN if all of it is finished too, but for
 * what the caller holds itself; -EAGAIN while another may still die with a message; 1 if a message
 * has just come back.  No sender passes the seal, so what is seen finished here stays so.
 */
static int drained(const struct weir__queuev *v, uint32_t self, uint64_t pos)
{
	for (uint64_t back = 1; back <= v->mask + UINT64_C(1); back++) {
		/* EDGE queue.closing (full <- retire): it wakes us, or we see it finished. */
		uint64_t take = weir_load_full(weir__take_at(v, pos - back));

		if (is_free(v, pos - back, take)) {
			weir__queue_pull_back(v, pos - back);
			return 1;
		}
		if (weir__take_ahead(v, take, pos - back) == 0 &&
		    weir_queue_take_word_state(take) == WEIR_QUEUE_TAKE_STATE_READING &&
		    weir_queue_take_word_owner(take) != self)
			return -EAGAIN;
	}
	return -ESHUTDOWN;
}

/*
 * Nothing is at `pos`: has the queue ended here?  At the end of a closed queue it is sealed, so
 * that no sender can come after we said so.  1 for look again, -EAGAIN, -ESHUTDOWN.
 */
static int ended(const struct weir__queuev *v, uint32_t self, uint64_t pos)
{
	uint64_t word;
	int64_t ahead;

	/* EDGE queue.closing (full <- weir_queue_shutdown): our flag as a sleeper, then this look.
	 */
	if (weir__likely(!weir_load_full(&v->shm->closing)))
		return -EAGAIN;
	/* EDGE queue.hint (acquire <- weir_queue_shutdown) */
	if (!weir_queue_tail_closed(weir_load_acquire(&v->shm->tail)))
		return -EAGAIN;
	/* EDGE queue_send.word (acquire <- claim_send) */
	word = weir_load_acquire(weir__send_at(v, pos));
	ahead = weir__send_ahead(v, word, pos);
	if (ahead == 0 && weir_queue_send_word_state(word) == WEIR_QUEUE_SEND_STATE_SEALED)
		return drained(v, self, pos);
	if (ahead >= 0)
		return -EAGAIN; /* He writes, or has written since: then he wakes whoever sleeps. */
	/* EDGE queue_send.word (full -> claim_send): l-1 -> l,sealed, or a last sender is quicker.
	 */
	weir_cas_full(weir__send_at(v, pos), &word,
		      weir__send_make(WEIR_QUEUE_SEND_STATE_SEALED, 0, weir__lap(v, pos)));
	WEIR_CRASH_POINT(queue_sealed);
	return 1;
}

int weir__queue_claim_receive(const struct weir__queuev *v, uint32_t self, uint64_t *ret_pos)
{
	/* EDGE queue.hint (acquire <- queue_step, pull_back) */
	uint64_t first = weir_load_acquire(&v->shm->first);

	/* Ends: each turn moves first, or somebody else moved it or took the message. */
	for (;;) {
		uint64_t pos = weir_queue_first_pos(first);
		struct weir_queue_slot_shm *slot = weir__slot(v, pos);
		uint64_t claim;
		uint64_t take;
		uint64_t word;
		int64_t ahead;

		if (v->stride > WEIR__UNIT)
			__builtin_prefetch((uint8_t *)slot + WEIR__UNIT);
		/* EDGE queue_slot.word (acquire <- commit): the message's bytes. */
		word = weir_load_acquire(&slot->word);
		ahead = weir__slot_ahead(v, word, pos);
		if (ahead < 0) {
			int r = ended(v, self, pos);

			if (r < 0)
				return r;
			/* EDGE queue.hint (acquire <- pull_back): it has been pulled back. */
			first = weir_load_acquire(&v->shm->first);
			continue;
		}
		/* EDGE queue_take.word (acquire <- put_back, redeliver) */
		take = weir_load_acquire(weir__take_at(v, pos));
		if (ahead > 0 || weir_queue_slot_word_state(word) != WEIR_QUEUE_SLOT_STATE_FULL ||
		    weir__take_ahead(v, take, pos) != 0 ||
		    weir_queue_take_word_state(take) != WEIR_QUEUE_TAKE_STATE_FREE) {
			weir__queue_step(&v->shm->first, &first);
			/* It may have come back meanwhile, 4,096 times: then the tag is the same.
			 */
			if (weir__unlikely(weir__queue_waits(v, pos))) {
				weir__queue_pull_back(v, pos);
				/* EDGE queue.hint (acquire <- pull_back) */
				first = weir_load_acquire(&v->shm->first);
			}
			continue;
		}
		claim = weir__take_make(WEIR_QUEUE_TAKE_STATE_READING, self,
					weir_queue_take_word_tries(take), weir__lap(v, pos));
		/* EDGE queue_take.word (full -> the sweep): l,free -> l,reading,me */
		if (!weir_cas_full(weir__take_at(v, pos), &take, claim))
			continue;
		WEIR_CRASH_POINT(queue_receive_claimed);
		/* Ours for the next ones: senders look there for room. */
		weir_prefetch_own(weir__take_at(v, pos + CLAIMS));
		/* Of a long message; its first two lines are polled. */
		for (uint32_t i = 2 * WEIR__UNIT; i < v->stride && i < WEIR__FETCH_MAX;
		     i += WEIR__UNIT)
			__builtin_prefetch((uint8_t *)weir__slot(v, pos + AHEAD) + i);
		*ret_pos = pos;
		return 0;
	}
}
