/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Sweeping the queue.  The rows are at the end. */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <weir/shm/all.h>

#include "obj/queue_word.h"
#include "sweep.h"

#define STATES(...) ((const char *const[]){__VA_ARGS__, NULL})

static void queue_put(struct world *w, uint32_t id)
{
	uint8_t data[MSG_MAX];
	uint32_t bytes;

	message_make(id, data, &bytes);
	must(weir_queue_try_send(w->peer[0].queue, data, bytes) == 0);
	w->known.queued[w->known.queued_count++] = id;
}

static void roll_once(struct world *w)
{
	uint8_t data[MSG_MAX];
	uint32_t bytes;

	must(weir_queue_try_send(w->peer[1].queue, "old", 4) == 0);
	must(weir_queue_try_recv(w->peer[1].queue, data, sizeof(data), &bytes) == 0);
}

static void roll_queue(struct world *w, bool enough)
{
	for (uint64_t i = 0; i < (enough ? 5 * SLOTS : w->seed % 11); i++)
		roll_once(w);
}

static void note_message(struct world *w, const struct weir_msg *msg)
{
	memcpy(w->note->data, msg->data, msg->bytes);
	w->note->bytes = msg->bytes;
}

/* --- queue ------------------------------------------------------------------------------- */

enum { Q_EMPTY, Q_ONE, Q_LAST_SLOT, Q_FULL, Q_WRAPPED, Q_WAITED, Q_FAR, Q_VOID };

/* It is the second object. */
static struct weir_queue_shm *queue_bytes(const struct world *w)
{
	uint8_t *base = (uint8_t *)(uintptr_t)sem_bytes(w, &w->c);

	return (void *)(base + 64 * weir_object_block_units(weir_load_acquire(
					    &((struct weir_object_shm *)(void *)base)->block)));
}

/* A queue of SLOTS slots whose positions no longer fit a lap and a slot. */
static void queue_far(struct world *w)
{
	struct weir_queue_shm *shm = queue_bytes(w);
	uint64_t pos = (UINT64_C(1) << 45) + 4 * SLOTS - 2 + w->seed % 5;
	size_t claims = weir__claims_bytes(SLOTS);

	weir_store_full(&shm->tail, pos);
	weir_store_full(&shm->first, pos);
	weir_store_full(&shm->room, pos);
	for (uint64_t i = 0; i < SLOTS; i++) {
		struct weir_queue_send_shm *sends = (void *)(shm + 1);
		struct weir_queue_take_shm *takes = (void *)((uint8_t *)sends + claims);
		struct weir_queue_slot_shm *slot =
			(void *)((uint8_t *)takes + claims + i * shm->slot_bytes);
		uint64_t lap = pos / SLOTS + (i < pos % SLOTS);

		weir_store_full(&slot->word, weir_queue_slot_word_set_lap(0, lap - 1));
		weir_store_full(&sends[i].word, weir_queue_send_word_set_lap(0, lap - 1));
		weir_store_full(&takes[i].word, weir_queue_take_word_set_lap(0, lap));
	}
}

/* Nothing but loans that were given up: the next sender has to pass them first. */
static void queue_void(struct world *w)
{
	const struct weir_queue_shm *shm = queue_bytes(w);
	struct weir_msg msg;

	/* Until senders have to look for room: else the last loan would look past the first. */
	while (weir_load_acquire(&shm->room) != weir_load_acquire(&shm->tail))
		roll_once(w);
	for (uint32_t i = 0; i < SLOTS; i++) {
		must(weir_queue_try_loan(w->peer[1].queue, &msg) == 0);
		must(weir_queue_abort(w->peer[1].queue, &msg) == 0);
	}
}

static void queue_fill(struct world *w, uint32_t state)
{
	static const uint32_t counts[] = {0, 1, SLOTS - 1, SLOTS, 2, 0, 2, 0};

	if (state == Q_FAR)
		queue_far(w);
	else
		roll_queue(w, state == Q_WRAPPED);
	if (state == Q_VOID)
		queue_void(w);
	for (uint32_t i = 0; i < counts[state]; i++)
		queue_put(w, 1 + i);
	if (state == Q_WAITED)
		must(weir_queue_wait_recv(w->peer[1].queue, &(struct weir_wait){0}) == 0);
}

static void send_prepare(struct world *w)
{
	queue_fill(w, w->state);
	w->known.arriving = SPARE_ID;
}

static void receive_in(struct world *w, uint32_t state)
{
	queue_fill(w, state);
	if (state == Q_VOID)
		queue_put(w, 1); /* Its receiver steps over them. */
	w->known.leaving = w->known.queued_count ? w->known.queued[0] : 0;
	if (state == Q_FULL)
		must(weir_queue_wait_send(w->peer[1].queue, &(struct weir_wait){0}) == 0);
}

static void receive_prepare(struct world *w)
{
	receive_in(w, w->state);
}

/* The same states but the empty one. */
static void receive_some(struct world *w)
{
	receive_in(w, w->state + 1 == Q_WAITED ? Q_FAR : w->state + 1);
}

static void put_back_prepare(struct world *w)
{
	receive_some(w);
	w->known.leaving_stays = true;
	w->known.leaving_taken = true;
}

static void done_prepare(struct world *w)
{
	receive_some(w);
	w->known.leaving_taken = true;
}

static void abort_prepare(struct world *w)
{
	queue_fill(w, w->state);
}

static int op_queue_send(struct world *w)
{
	uint8_t data[MSG_MAX];
	uint32_t bytes;

	message_make(SPARE_ID, data, &bytes);
	return weir_queue_try_send(w->me.queue, data, bytes);
}

static int op_queue_send_wait(struct world *w)
{
	uint8_t data[MSG_MAX];
	uint32_t bytes;

	message_make(SPARE_ID, data, &bytes);
	return weir_queue_send(w->me.queue, data, bytes, &w->note->ctx);
}

static int op_queue_loan(struct world *w)
{
	struct weir_msg msg;
	uint8_t data[MSG_MAX];
	int r = weir_queue_try_loan(w->me.queue, &msg);

	if (r < 0)
		return r;
	message_make(SPARE_ID, data, &msg.bytes);
	memcpy(msg.data, data, msg.bytes);
	return weir_queue_commit(w->me.queue, &msg);
}

static int op_queue_abort(struct world *w)
{
	struct weir_msg msg;
	int r = weir_queue_try_loan(w->me.queue, &msg);

	return r < 0 ? r : weir_queue_abort(w->me.queue, &msg);
}

static int op_queue_recv(struct world *w)
{
	return weir_queue_try_recv(w->me.queue, w->note->data, MSG_MAX, &w->note->bytes);
}

static int op_queue_recv_wait(struct world *w)
{
	return weir_queue_recv(w->me.queue, w->note->data, MSG_MAX, &w->note->bytes, &w->note->ctx);
}

static int op_queue_take(struct world *w)
{
	struct weir_msg msg;
	int r = weir_queue_try_take(w->me.queue, &msg);

	if (r < 0)
		return r;
	note_message(w, &msg);
	return weir_queue_done(w->me.queue, &msg);
}

static void take_arm(struct world *w)
{
	must(weir_queue_try_take(w->me.queue, &w->me.msg) == 0);
	note_message(w, &w->me.msg);
}

static int op_queue_done(struct world *w)
{
	return weir_queue_done(w->me.queue, &w->me.msg);
}

static int op_queue_put_back(struct world *w)
{
	return weir_queue_put_back(w->me.queue, &w->me.msg);
}

static void shutdown_prepare(struct world *w)
{
	queue_fill(w, w->state);
	w->known.closing = true;
}

static int op_queue_shutdown(struct world *w)
{
	return weir_queue_shutdown(w->me.queue);
}

/* The victim's receive is the one that seals a closed queue. */
static void sealed_prepare(struct world *w)
{
	receive_in(w, w->state ? Q_ONE : Q_EMPTY);
	must(weir_queue_shutdown(w->peer[0].queue) == 0);
	w->known.closing = true;
}

static int op_queue_seal(struct world *w)
{
	uint8_t data[MSG_MAX];
	int r = op_queue_recv(w);
	int r2 = weir_queue_try_recv(w->me.queue, data, sizeof(data), &(uint32_t){0});

	return r2 == -ESHUTDOWN ? 0 : r;
}

static bool room_during(struct world *w, enum moment moment)
{
	struct weir_msg msg;

	if (moment != (w->state == 0 ? SLEEPS : ASLEEP))
		return false;
	must(weir_queue_try_take(w->peer[0].queue, &msg) == 0);
	must(weir_queue_done(w->peer[0].queue, &msg) == 0);
	memmove(w->known.queued, w->known.queued + 1, sizeof(uint32_t) * (QUEUED - 1));
	w->known.queued_count--;
	return true;
}

static void full_queue_prepare(struct world *w)
{
	queue_fill(w, Q_FULL);
	w->known.arriving = SPARE_ID;
}

static bool message_during(struct world *w, enum moment moment)
{
	if (moment != (w->state == 0 ? SLEEPS : ASLEEP))
		return false;
	queue_put(w, 1);
	w->known.leaving = 1;
	return true;
}
/* Two at once, of which as many go in as there is room for. */
static void batch_prepare(struct world *w)
{
	send_prepare(w);
	w->known.batch = 1;
}

static int op_queue_batch(struct world *w)
{
	uint8_t data[2 * MSG_MAX];
	uint32_t bytes;
	int r;

	message_make(SPARE_ID, data, &bytes);
	message_make(SPARE_ID + SAME_LONG, data + bytes, &bytes);
	r = weir_queue_try_send_batch(w->me.queue, data, bytes, 2, &w->note->bytes);
	return w->note->bytes ? 0 : r;
}

/* Two at once, if there are two. */
static void recv_batch_prepare(struct world *w)
{
	receive_in(w, w->state);
	w->known.leaving_too = w->known.queued_count > 1 ? w->known.queued[1] : 0;
}

static int op_queue_recv_batch(struct world *w)
{
	int r = weir_queue_try_recv_batch(w->me.queue, w->note->data, MSG_MAX, 2, NULL,
					  &w->note->bytes);

	return w->note->bytes ? 0 : r;
}

static void wait_prepare(struct world *w)
{
	queue_fill(w, w->state == 0 ? Q_EMPTY : Q_FULL);
}

/* It says that it will wait, and dies. */
static int op_queue_waiting(struct world *w)
{
	struct weir_wait wait;

	if (w->state == 0)
		return weir_queue_wait_recv(w->me.queue, &wait);
	return weir_queue_wait_send(w->me.queue, &wait);
}

/* --- overtaken --------------------------------------------------------------------------- */

/* While the victim has its slot, a peer sends into the next one. */
static void send_overtaken_prepare(struct world *w)
{
	queue_fill(w, Q_ONE);
	w->known.arriving = w->state < 2 ? SPARE_ID : 0;
}

static bool send_behind_during(struct world *w, enum moment moment)
{
	struct weir_queue_stat stat;

	(void)moment;
	weir_queue_stat(w->peer[0].queue, &stat);
	if (stat.writing == 0)
		return false;
	queue_put(w, 2);
	w->known.overtaken = 1;
	return true;
}

static int op_send_overtaken(struct world *w)
{
	if (w->state == 0)
		return op_queue_send(w);
	return w->state == 1 ? op_queue_loan(w) : op_queue_abort(w);
}

static void peer_receives(struct world *w, uint32_t id)
{
	struct weir_msg msg;

	must(weir_queue_try_take(w->peer[0].queue, &msg) == 0);
	if (message_id(msg.data, msg.bytes) != id)
		fail(w, DOUBLED, "queue: not message %u was handed out", id);
	must(weir_queue_done(w->peer[0].queue, &msg) == 0);
}

/* While the victim has the first message, a peer receives the second. */
static void recv_overtaken_prepare(struct world *w)
{
	queue_fill(w, Q_WRAPPED);
	w->known.leaving = 1;
	w->known.leaving_stays = w->state == 2;
}

static bool recv_behind_during(struct world *w, enum moment moment)
{
	struct weir_queue_stat stat;

	(void)moment;
	weir_queue_stat(w->peer[0].queue, &stat);
	if (stat.reading == 0)
		return false;
	peer_receives(w, 2);
	w->known.queued_count = 1;
	return true;
}

static int op_recv_overtaken(struct world *w)
{
	int r;

	if (w->state == 0)
		return op_queue_recv(w);
	if (w->state == 1)
		return op_queue_take(w);
	r = weir_queue_try_take(w->me.queue, &w->me.msg);
	return r < 0 ? r : weir_queue_put_back(w->me.queue, &w->me.msg);
}

/* --- lost compare and swaps -------------------------------------------------------------- */

enum { LOST_CLAIM, LOST_HINT, LOST_VOID };

static void send_lost_prepare(struct world *w)
{
	queue_fill(w, w->state == LOST_VOID ? Q_VOID : Q_ONE);
	w->known.arriving = SPARE_ID;
}

/* A peer sends right before the victim claims, moves the hint, or passes what was given up. */
static bool send_lost_during(struct world *w, enum moment moment)
{
	if (!loses_swap(w, moment, w->state == LOST_HINT))
		return false;
	queue_put(w, 2);
	w->known.overtaken = w->state == LOST_HINT;
	return true;
}

static void abort_lost_prepare(struct world *w)
{
	queue_fill(w, Q_ONE);
}

static bool abort_lost_during(struct world *w, enum moment moment)
{
	if (!loses_swap(w, moment, LOST_HINT))
		return false;
	queue_put(w, 2);
	return true;
}

static void recv_lost_prepare(struct world *w)
{
	queue_fill(w, Q_WRAPPED);
	w->known.leaving = w->state == LOST_CLAIM ? 2 : 1;
}

static uint64_t put_back_at;

static void put_back_lost_prepare(struct world *w)
{
	queue_fill(w, Q_WRAPPED);
	put_back_at = weir_queue_first_pos(weir_load_acquire(&queue_bytes(w)->first));
	w->known.leaving = 1;
	w->known.leaving_stays = true;
	w->known.leaving_taken = true;
	if (w->state == 1)
		w->known.queued_count = 1;
}

/* State 1: the second message is gone, the hint is past both. */
static void put_back_lost_arm(struct world *w)
{
	uint8_t data[MSG_MAX];
	uint32_t bytes;

	take_arm(w);
	if (w->state == 1)
		must(weir_queue_try_recv(w->me.queue, data, sizeof(data), &bytes) == 0);
}

/* A peer receives right before the victim claims, or moves the hint. */
static bool recv_lost_during(struct world *w, enum moment moment)
{
	if (!loses_swap(w, moment, w->state == LOST_HINT))
		return false;
	peer_receives(w, w->state == LOST_CLAIM ? 1 : 2);
	w->known.queued[0] = w->known.leaving;
	w->known.queued_count = 1;
	return true;
}

/* Right before it pulls the hint back: what was put back, or one that comes then. */
static bool put_back_lost_during(struct world *w, enum moment moment)
{
	if (!loses_swap(w, moment, 0))
		return false;
	if (w->state == 1) {
		queue_put(w, 3);
		peer_receives(w, 3);
	} else {
		peer_receives(w, 1);
		w->known.queued[0] = 2;
		w->known.leaving = 0;
	}
	w->known.queued_count = 1;
	return true;
}

/* Receivers find it, also before anybody recovers. */
static void put_back_lost_before(struct world *w)
{
	uint64_t first = weir_queue_first_pos(weir_load_acquire(&queue_bytes(w)->first));

	if (w->state == 1 && w->note->returned && weir__pos_diff(first, put_back_at) > 0)
		fail(w, LOST, "queue: put back, but receivers start behind it");
}

static void shutdown_lost_prepare(struct world *w)
{
	queue_fill(w, Q_ONE);
	w->known.closing = true;
}

static bool shutdown_lost_during(struct world *w, enum moment moment)
{
	if (!loses_swap(w, moment, 0))
		return false;
	queue_put(w, 2);
	return true;
}

/* Another receiver seals it, or a sender comes who saw it open before it was closed. */
static bool seal_lost_during(struct world *w, enum moment moment)
{
	const struct weir__queuev *v = &w->peer[0].queue->v;
	uint64_t pos = weir_queue_tail_pos(weir_load_acquire(&v->shm->tail));
	struct weir_msg msg = {.slot = weir__slot(v, pos), .position = pos};
	uint8_t data[MSG_MAX];
	uint32_t bytes;

	if (!loses_swap(w, moment, 0))
		return false;
	if (w->state == 0) {
		must(weir_queue_try_recv(w->peer[0].queue, data, sizeof(data), &bytes) ==
		     -ESHUTDOWN);
		return true;
	}
	weir_store_full(weir__send_at(v, pos),
			weir__send_make(WEIR_QUEUE_SEND_STATE_CLAIMED,
					(uint32_t)weir__self(w->peer[0].seg), weir__lap(v, pos)));
	message_make(2, (uint8_t *)weir__slot(v, pos) + v->data, &msg.bytes);
	must(weir_queue_commit(w->peer[0].queue, &msg) == 0);
	w->known.queued[w->known.queued_count++] = 2;
	w->known.leaving = 2;
	return true;
}

static void seal_lost_prepare(struct world *w)
{
	receive_in(w, Q_EMPTY);
	must(weir_queue_shutdown(w->peer[0].queue) == 0);
	w->known.closing = true;
}

/* --- rows -------------------------------------------------------------------------------- */

#define SOME STATES("one", "last_slot", "full", "wrapped", "far")

const struct row queue_rows[] = {
	{"queue_send",
	 STATES("empty", "one", "last_slot", "full", "wrapped", "waited", "far", "void"), 0,
	 send_prepare, NULL, op_queue_send, NULL, NULL, check_everything},
	{"queue_send_batch",
	 STATES("empty", "one", "last_slot", "full", "wrapped", "waited", "far"), 0, batch_prepare,
	 NULL, op_queue_batch, NULL, NULL, check_everything},
	{"queue_wait", STATES("recv", "send"), 0, wait_prepare, NULL, op_queue_waiting, NULL, NULL,
	 check_everything},
	{"queue_send_wait", STATES("to_sleep", "asleep"), ROW_LAST_REAL, full_queue_prepare, NULL,
	 op_queue_send_wait, room_during, NULL, check_everything},
	{"queue_loan_commit",
	 STATES("empty", "one", "last_slot", "full", "wrapped", "waited", "far", "void"), 0,
	 send_prepare, NULL, op_queue_loan, NULL, NULL, check_everything},
	{"queue_loan_abort",
	 STATES("empty", "one", "last_slot", "full", "wrapped", "waited", "far", "void"), 0,
	 abort_prepare, NULL, op_queue_abort, NULL, NULL, check_everything},
	{"queue_recv",
	 STATES("empty", "one", "last_slot", "full", "wrapped", "waited", "far", "void"), 0,
	 receive_prepare, NULL, op_queue_recv, NULL, NULL, check_everything},
	{"queue_recv_batch",
	 STATES("empty", "one", "last_slot", "full", "wrapped", "waited", "far", "void"), 0,
	 recv_batch_prepare, NULL, op_queue_recv_batch, NULL, NULL, check_everything},
	{"queue_recv_wait", STATES("to_sleep", "asleep"), ROW_LAST_REAL, NULL, NULL,
	 op_queue_recv_wait, message_during, NULL, check_everything},
	{"queue_take_done", SOME, 0, receive_some, NULL, op_queue_take, NULL, NULL,
	 check_everything},
	{"queue_done", SOME, 0, done_prepare, take_arm, op_queue_done, NULL, NULL,
	 check_everything},
	{"queue_put_back", SOME, 0, put_back_prepare, take_arm, op_queue_put_back, NULL, NULL,
	 check_everything},
	{"queue_shutdown", STATES("empty", "one", "last_slot", "full", "wrapped", "waited", "far"),
	 0, shutdown_prepare, NULL, op_queue_shutdown, NULL, NULL, check_everything},
	{"queue_seal", STATES("empty", "one"), 0, sealed_prepare, NULL, op_queue_seal, NULL, NULL,
	 check_everything},
	{"queue_send_overtaken", STATES("send", "loan_commit", "loan_abort"), 0,
	 send_overtaken_prepare, NULL, op_send_overtaken, send_behind_during, NULL,
	 check_everything},
	{"queue_recv_overtaken", STATES("recv", "take_done", "put_back"), 0, recv_overtaken_prepare,
	 NULL, op_recv_overtaken, recv_behind_during, NULL, check_everything},
	{"queue_send_lost", STATES("claim", "hint", "void"), 0, send_lost_prepare, NULL,
	 op_queue_send, send_lost_during, NULL, check_everything},
	{"queue_abort_lost", STATES("hint"), 0, abort_lost_prepare, NULL, op_queue_abort,
	 abort_lost_during, NULL, check_everything},
	{"queue_recv_lost", STATES("claim", "hint"), 0, recv_lost_prepare, NULL, op_queue_recv,
	 recv_lost_during, NULL, check_everything},
	{"queue_put_back_lost", STATES("received", "ahead"), 0, put_back_lost_prepare,
	 put_back_lost_arm, op_queue_put_back, put_back_lost_during, put_back_lost_before,
	 check_everything},
	{"queue_shutdown_lost", STATES("hint"), 0, shutdown_lost_prepare, NULL, op_queue_shutdown,
	 shutdown_lost_during, NULL, check_everything},
	{"queue_seal_lost", STATES("sealed", "late_sender"), 0, seal_lost_prepare, NULL,
	 op_queue_seal, seal_lost_during, NULL, check_everything},
	{0},
};
