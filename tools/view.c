/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What lies behind the head of each object, bounded by its block. */
#include <string.h>

#include "snapshot.h"

#define WHY_BYTES 96

/* Is there room for `count` times `each` bytes behind `fixed` bytes? */
static bool room(const struct snap_object *o, uint64_t fixed, uint64_t count, uint64_t each)
{
	return o->bytes >= fixed && count <= (o->bytes - fixed) / each;
}

static bool is(const struct snap_object *o, uint32_t type, uint64_t fixed, char why[WHY_BYTES])
{
	if (!o->at) {
		memcpy(why, o->problem, WHY_BYTES);
		return false;
	}
	if (o->type == type && o->bytes >= fixed)
		return true;
	snprintf(why, WHY_BYTES, "its block of %llu bytes is too short for a %s",
		 (unsigned long long)o->bytes, snapshot_type(type));
	return false;
}

static bool lanes_fit(const struct snapshot *snap, const struct snap_object *o, uint32_t lanes,
		      uint64_t fixed, uint64_t each, char why[WHY_BYTES])
{
	if (lanes == snap->header.thread_count && room(o, fixed, lanes, each))
		return true;
	snprintf(why, WHY_BYTES, "%u lanes, %u wanted, do not fit its block", lanes,
		 snap->header.thread_count);
	return false;
}

/* --- semaphore --------------------------------------------------------------------------- */

/* a - b of 30-bit sequence numbers, as a signed number. */
static int32_t seq_diff(uint64_t a, uint64_t b)
{
	return (int32_t)((uint32_t)(a - b) << 2) >> 2;
}

/* Latest step of the lane's ledger (0) or cell (1) that is known to have taken effect: the one the
 * word is signed with, or the one that was acknowledged before that signature went. */
static uint64_t latest(const struct sem_view *v, uint32_t lane, uint32_t which)
{
	if (weir_sem_word_author(v->word) == 2 * (uint64_t)lane + which)
		return weir_sem_word_seq(v->word);
	return v->lanes[lane].ack[which];
}

/* Was the request in the cell granted, and the grant not yet added to what the thread holds? */
static bool granted(const struct sem_view *v, uint32_t lane)
{
	uint64_t cell = v->lanes[lane].cell;
	uint64_t state = weir_sem_lane_cell_state(cell);
	uint64_t seq = weir_sem_lane_cell_seq(cell);
	uint64_t known = latest(v, lane, 1);

	if (state == WEIR_SEM_LANE_CELL_IDLE)
		return false;
	if (state == WEIR_SEM_LANE_CELL_CANCEL) {
		if (seq_diff(known, seq) >= 0)
			return false;
		seq--;
	}
	return seq_diff(known, seq) >= 0 &&
	       weir_sem_lane_ledger_absorbed(v->lanes[lane].ledger) != (seq & 15);
}

uint64_t sem_hold(const struct sem_view *v, uint32_t lane)
{
	uint64_t ledger = v->lanes[lane].ledger;
	uint64_t hold = weir_sem_lane_ledger_hold(ledger);
	uint64_t amount = weir_sem_lane_ledger_amount(ledger);

	/* The ledger says what results; a step that did not take effect is not there yet. */
	if (seq_diff(latest(v, lane, 0), weir_sem_lane_ledger_seq(ledger)) < 0) {
		if (weir_sem_lane_ledger_op(ledger) == WEIR_SEM_LANE_OP_ACQUIRE)
			hold = hold > amount ? hold - amount : 0;
		else if (weir_sem_lane_ledger_op(ledger) == WEIR_SEM_LANE_OP_RELEASE)
			hold += amount;
	}
	if (granted(v, lane))
		hold += weir_sem_lane_cell_amount(v->lanes[lane].cell);
	return hold;
}

bool sem_waits(const struct sem_view *v, uint32_t lane)
{
	return weir_sem_lane_cell_state(v->lanes[lane].cell) != WEIR_SEM_LANE_CELL_IDLE &&
	       !granted(v, lane);
}

static void add_lane(const struct snapshot *snap, uint32_t i, struct sem_view *v,
		     int64_t *best_ticket)
{
	const struct weir_sem_lane_shm *lane = &v->lanes[i];
	int64_t ticket = (int64_t)lane->ticket;
	uint64_t since = lane->since_ns;

	v->held += sem_hold(v, i);
	v->acquires += lane->acquires;
	v->waits += lane->waits;
	v->wait_ns += lane->wait_ns;
	if (!sem_waits(v, i))
		return;
	if (v->waiters == 0 || ticket - *best_ticket < 0) {
		*best_ticket = ticket;
		v->oldest_ns = snap->now_ns > since ? snap->now_ns - since : 0;
	}
	v->waiters++;
}

bool sem_view(const struct snapshot *snap, const struct snap_object *o, struct sem_view *ret,
	      char why[WHY_BYTES])
{
	int64_t best_ticket = 0;

	memset(ret, 0, sizeof(*ret));
	if (!is(o, WEIR_OBJECT_TYPE_SEM, sizeof(*ret->shm), why))
		return false;
	ret->shm = o->at;
	ret->lanes = (const void *)(ret->shm + 1);
	if (!lanes_fit(snap, o, ret->shm->lanes, sizeof(*ret->shm), sizeof(*ret->lanes), why))
		return false;
	ret->word = ret->shm->word;
	ret->used = (uint32_t)weir_sem_word_used(ret->word);
	ret->cap = ret->shm->cap;
	for (uint32_t i = 0; i < ret->shm->lanes; i++)
		add_lane(snap, i, ret, &best_ticket);
	return true;
}

/* --- limiter ----------------------------------------------------------------------------- */

static uint64_t keys_busy(const struct snapshot *snap, const struct weir_limiter_shm *shm)
{
	const struct weir_limiter_lane_shm *lanes = (const void *)(shm + 1);
	const struct weir_limiter_set_shm *sets = (const void *)(lanes + shm->lanes);
	uint64_t now = (snap->now_ns << 4) >> shm->tick_shift;
	uint64_t busy = 0;

	for (uint32_t s = 0; s < shm->sets; s++) {
		for (int i = 0; i < 8; i++) {
			uint64_t word = sets[s].entry[i];
			uint64_t ahead = (weir_limiter_set_entry_tat(word) - now) &
					 WEIR_LIMITER_SET_ENTRY_TAT_MAX;

			busy += weir_limiter_set_entry_tag(word) != 0 && ahead != 0 &&
				ahead <= WEIR_LIMITER_SET_ENTRY_TAT_MAX / 2;
		}
	}
	return busy;
}

/* The library's arithmetic: a time further ahead than anybody may write is a full bucket. */
static uint64_t available(const struct snapshot *snap, const struct weir_limiter_shm *shm)
{
	unsigned __int128 span = (unsigned __int128)shm->burst * shm->interval;
	uint64_t now = snap->now_ns << 4;
	uint64_t tat = shm->tat;
	uint64_t ahead = tat > now ? tat - now : 0;

	if (ahead > span + (UINT64_C(1) << 59))
		ahead = 0;
	return ahead < span ? (uint64_t)((span - ahead) / shm->interval) : 0;
}

bool limiter_view(const struct snapshot *snap, const struct snap_object *o,
		  struct limiter_view *ret, char why[WHY_BYTES])
{
	const struct weir_limiter_lane_shm *lanes;
	uint64_t fixed;

	memset(ret, 0, sizeof(*ret));
	if (!is(o, WEIR_OBJECT_TYPE_LIMITER, sizeof(*ret->shm), why))
		return false;
	ret->shm = o->at;
	lanes = (const void *)(ret->shm + 1);
	if (!lanes_fit(snap, o, ret->shm->lanes, sizeof(*ret->shm), sizeof(*lanes), why))
		return false;
	fixed = sizeof(*ret->shm) + ret->shm->lanes * sizeof(*lanes);
	if (!room(o, fixed, ret->shm->sets, sizeof(struct weir_limiter_set_shm)) ||
	    ret->shm->tick_shift >= 64 || ret->shm->interval == 0 || ret->shm->count == 0 ||
	    ret->shm->period_ns == 0 || ret->shm->burst == 0) {
		snprintf(why, WHY_BYTES, "its limit makes no sense");
		return false;
	}
	for (uint32_t i = 0; i < ret->shm->lanes; i++) {
		ret->allowed += lanes[i].allowed;
		ret->denied += lanes[i].denied;
		ret->tokens += lanes[i].tokens;
		ret->overfull += lanes[i].overfull;
	}
	if (ret->shm->sets)
		ret->keys_busy = keys_busy(snap, ret->shm);
	else
		ret->available = available(snap, ret->shm);
	return true;
}

/* --- breaker ----------------------------------------------------------------------------- */

static void add_breaker_lane(const struct weir_breaker_lane_shm *lane, uint64_t epoch,
			     struct breaker_view *v)
{
	uint64_t gen = weir_breaker_word_gen(v->word);
	uint64_t probe = lane->probe;

	for (int b = 0; b < 8; b++) {
		uint64_t bucket = lane->bucket[b];
		uint64_t age = (epoch + 1 - weir_breaker_lane_bucket_epoch(bucket)) &
			       WEIR_BREAKER_LANE_BUCKET_EPOCH_MAX;

		if (weir_breaker_lane_bucket_gen(bucket) != gen || age > 8)
			continue;
		v->window_calls += weir_breaker_lane_bucket_calls(bucket);
		v->window_failures += weir_breaker_lane_bucket_fails(bucket);
	}
	v->calls += lane->calls;
	v->failures += lane->failures;
	v->rejected += lane->rejected;
	if (v->state == WEIR_BREAKER_STATE_HALF_OPEN && weir_breaker_lane_probe_gen(probe) == gen)
		v->probes_out += (uint32_t)weir_breaker_lane_probe_count(probe);
}

bool breaker_view(const struct snapshot *snap, const struct snap_object *o,
		  struct breaker_view *ret, char why[WHY_BYTES])
{
	uint64_t deadline_ns;
	uint64_t epoch;

	memset(ret, 0, sizeof(*ret));
	if (!is(o, WEIR_OBJECT_TYPE_BREAKER, sizeof(*ret->shm), why))
		return false;
	ret->shm = o->at;
	ret->lanes = (const void *)(ret->shm + 1);
	if (!lanes_fit(snap, o, ret->shm->lanes, sizeof(*ret->shm), sizeof(*ret->lanes), why))
		return false;
	ret->word = ret->shm->word;
	ret->state = (uint32_t)weir_breaker_word_state(ret->word);
	if (ret->state > WEIR_BREAKER_STATE_DISABLED || ret->shm->bucket_ms == 0) {
		snprintf(why, WHY_BYTES, "state %u does not exist, or its window is empty",
			 ret->state);
		return false;
	}
	deadline_ns = weir_breaker_word_deadline(ret->word) * 1000000;
	ret->deadline_in_ns = deadline_ns > snap->now_ns ? deadline_ns - snap->now_ns : 0;
	epoch = snap->now_ns / (ret->shm->bucket_ms * UINT64_C(1000000));
	for (uint32_t i = 0; i < ret->shm->lanes; i++)
		add_breaker_lane(&ret->lanes[i], epoch, ret);
	return true;
}

/* --- queue ------------------------------------------------------------------------------- */

const struct weir_queue_slot_shm *queue_slot(const struct queue_view *view, uint64_t position)
{
	return (const void *)(view->slots + (position & (view->shm->slot_count - 1)) *
						    (uint64_t)view->shm->slot_bytes);
}

/* a - b, in the bits in which laps are told apart: the 43 of the words, or those that the 52 of a
 * position leave. */
static int64_t laps(const struct queue_view *view, uint64_t a, uint64_t b)
{
	int shift = __builtin_ctz(view->shm->slot_count);
	int spare = 12 + (shift > 9 ? shift : 9);

	return (int64_t)((a - b) << spare) >> spare;
}

/* The position near where senders are that fits the lap. */
static uint64_t position_of(const struct queue_view *view, uint32_t slot, uint64_t lap)
{
	uint64_t near = view->tail / view->shm->slot_count;

	near += (uint64_t)laps(view, lap, near);
	return (near * view->shm->slot_count + slot) & WEIR_QUEUE_TAIL_POS_MAX;
}

bool queue_claim(const struct queue_view *view, uint32_t slot, struct queue_claim *ret)
{
	uint64_t send = view->sends[slot].word;
	uint64_t take = view->takes[slot].word;
	uint64_t word = queue_slot(view, slot)->word;

	memset(ret, 0, sizeof(*ret));
	if (weir_queue_take_word_state(take) == WEIR_QUEUE_TAKE_STATE_READING) {
		ret->owner = (uint32_t)weir_queue_take_word_owner(take);
		ret->tries = (uint32_t)weir_queue_take_word_tries(take);
		ret->position = position_of(view, slot, weir_queue_take_word_lap(take));
		return true;
	}
	ret->writes = true;
	ret->owner = (uint32_t)weir_queue_send_word_owner(send);
	ret->position = position_of(view, slot, weir_queue_send_word_lap(send));
	return weir_queue_send_word_state(send) == WEIR_QUEUE_SEND_STATE_CLAIMED &&
	       laps(view, weir_queue_send_word_lap(send), weir_queue_slot_word_lap(word)) > 0;
}

bool queue_ends_fit(const struct queue_view *view)
{
	uint64_t last = (view->tail - 1) & WEIR_QUEUE_TAIL_POS_MAX;
	uint64_t passed = (view->first - 1) & WEIR_QUEUE_TAIL_POS_MAX;
	uint32_t count = view->shm->slot_count;

	return laps(view, weir_queue_send_word_lap(view->sends[last % count].word), last / count) >=
		       0 &&
	       laps(view, weir_queue_slot_word_lap(queue_slot(view, passed)->word),
		    passed / count) >= 0;
}

const uint8_t *queue_message(const struct queue_view *view, uint64_t position, uint32_t *ret_bytes,
			     uint32_t *ret_tries)
{
	const struct weir_queue_slot_shm *slot = queue_slot(view, position);
	uint32_t i = (uint32_t)(position & (view->shm->slot_count - 1));
	uint64_t lap = position / view->shm->slot_count;
	uint64_t take = view->takes[i].word;
	uint64_t word = slot->word;
	uint32_t bytes = slot->bytes;

	if (weir_queue_slot_word_state(word) != WEIR_QUEUE_SLOT_STATE_FULL ||
	    weir_queue_take_word_state(take) != WEIR_QUEUE_TAKE_STATE_FREE ||
	    laps(view, weir_queue_slot_word_lap(word), lap) != 0 ||
	    laps(view, weir_queue_take_word_lap(take), lap) != 0 ||
	    bytes > view->shm->payload_bytes)
		return NULL;
	*ret_bytes = bytes;
	*ret_tries = (uint32_t)weir_queue_take_word_tries(take);
	return (const uint8_t *)slot + view->shm->data_offset;
}

/* Bytes of one of the two arrays of claims, which begin where a line does. */
static uint64_t claims_bytes(const struct weir_queue_shm *q)
{
	return ((uint64_t)q->slot_count * sizeof(struct weir_queue_send_shm) + 63) / 64 * 64;
}

static bool queue_fits(const struct snap_object *o, const struct weir_queue_shm *q)
{
	return q->slot_count >= 2 && q->slot_count <= 1u << 20 &&
	       (q->slot_count & (q->slot_count - 1)) == 0 && q->payload_bytes <= 1u << 20 &&
	       q->slot_bytes % 64 == 0 && q->data_offset <= 64 &&
	       q->data_offset >= sizeof(struct weir_queue_slot_shm) &&
	       q->slot_bytes >= q->data_offset + q->payload_bytes &&
	       room(o, sizeof(*q) + 2 * claims_bytes(q), q->slot_count, q->slot_bytes);
}

static void add_slot(uint32_t i, struct queue_view *v)
{
	const struct weir_queue_slot_shm *slot = queue_slot(v, i);
	uint64_t take = v->takes[i].word;
	struct queue_claim claim;
	bool busy = queue_claim(v, i, &claim);
	/* A message that no receiver is finished with. */
	bool full =
		weir_queue_slot_word_state(slot->word) == WEIR_QUEUE_SLOT_STATE_FULL &&
		laps(v, weir_queue_take_word_lap(take), weir_queue_slot_word_lap(slot->word)) == 0;

	v->writing += busy && claim.writes;
	v->reading += busy && !claim.writes;
	v->depth += full && !(busy && !claim.writes);
	v->odd += (full && slot->bytes > v->shm->payload_bytes) ||
		  weir_queue_slot_word_state(slot->word) > WEIR_QUEUE_SLOT_STATE_FULL ||
		  weir_queue_take_word_state(take) > WEIR_QUEUE_TAKE_STATE_READING ||
		  weir_queue_send_word_state(v->sends[i].word) > WEIR_QUEUE_SEND_STATE_SEALED;
}

bool queue_view(const struct snapshot *snap, const struct snap_object *o, struct queue_view *ret,
		char why[WHY_BYTES])
{
	(void)snap;
	memset(ret, 0, sizeof(*ret));
	if (!is(o, WEIR_OBJECT_TYPE_QUEUE, sizeof(*ret->shm), why))
		return false;
	ret->shm = o->at;
	if (!queue_fits(o, ret->shm)) {
		snprintf(why, WHY_BYTES, "%u slots of %u bytes do not fit its block",
			 ret->shm->slot_count, ret->shm->slot_bytes);
		return false;
	}
	ret->sends = (const void *)(ret->shm + 1);
	ret->takes = (const void *)((const uint8_t *)ret->sends + claims_bytes(ret->shm));
	ret->slots = (const uint8_t *)ret->takes + claims_bytes(ret->shm);
	ret->first = weir_queue_first_pos(ret->shm->first);
	ret->tail = weir_queue_tail_pos(ret->shm->tail);
	ret->closed = weir_queue_tail_closed(ret->shm->tail) != 0;
	for (uint32_t i = 0; i < ret->shm->slot_count; i++)
		add_slot(i, ret);
	return true;
}

/* --- spans ------------------------------------------------------------------------------- */

const struct weir_span_ring_shm *spans_ring(const struct spans_view *view, uint32_t ring)
{
	return (const void *)(view->rings + ring * view->ring_bytes);
}

bool spans_view(const struct snapshot *snap, const struct snap_object *o, struct spans_view *ret,
		char why[WHY_BYTES])
{
	uint32_t slots;

	memset(ret, 0, sizeof(*ret));
	if (!is(o, WEIR_OBJECT_TYPE_SPANS, sizeof(*ret->shm), why))
		return false;
	ret->shm = o->at;
	ret->rings = (const uint8_t *)(ret->shm + 1);
	slots = ret->shm->slots;
	if (slots == 0 || slots > 65536 || (slots & (slots - 1)) != 0) {
		snprintf(why, WHY_BYTES, "%u records per ring make no sense", slots);
		return false;
	}
	ret->ring_bytes = sizeof(struct weir_span_ring_shm) + slots * sizeof(struct weir_span_shm);
	if (!lanes_fit(snap, o, ret->shm->rings, sizeof(*ret->shm), ret->ring_bytes, why))
		return false;
	for (uint32_t i = 0; i < ret->shm->rings; i++) {
		ret->recorded += spans_ring(ret, i)->recorded;
		ret->started += spans_ring(ret, i)->started;
		ret->rings_used += spans_ring(ret, i)->recorded != 0;
	}
	return true;
}
