/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Counters that come to their end: F18.  Most begin near it; the others are put there. */
#include <weir/shm/all.h>

/* First: its functions have a parameter seg, as env.h has a variable. */
#include "obj/queue_word.h"

#include "env.h"

/* The segment's own memory; what the library gives is read-only. */
static uint8_t *base;
static const struct weir_segment_shm *header;

static void map(void)
{
	size_t bytes;

	base = (uint8_t *)(uintptr_t)weir_segment_base(seg, &bytes);
	header = (const void *)base;
}

static uint64_t get(const void *word)
{
	return __atomic_load_n((const uint64_t *)word, __ATOMIC_RELAXED);
}

static uint32_t get32(const void *word)
{
	return __atomic_load_n((const uint32_t *)word, __ATOMIC_RELAXED);
}

static void put(void *word, uint64_t v)
{
	__atomic_store_n((uint64_t *)word, v, __ATOMIC_RELAXED);
}

static void *object(uint32_t index)
{
	return base + get(base + header->dir_off + 8 * (uint64_t)index);
}

/* --- semaphore ------------------------------------------------------------------------------- */

/* Until the bit is set the child may be overtaken, and a bit alone may be the last wait's.  With
 * the flag up that it is about to sleep each grant is a wake. */
static void grant_to_the_child(const struct weir_sem_shm *shm, struct weir_sem_lane_shm *lanes)
{
	for (int i = 0; i < 200; i++) {
		int r;

		while ((r = weir_sem_try_acquire(sem, 2)) == -EAGAIN)
			sched_yield(); /* Never asleep: a flag is the child's. */
		IS(r, 0);
		while (!weir_sem_word_wait(get(&shm->word)) || waiters() == 0 ||
		       (!get32(&lanes[0].waitq.sleepers) && !get32(&lanes[1].waitq.sleepers)))
			sched_yield();
		IS(weir_sem_release(sem, 2), 0);
	}
}

static void wait_200_times(void)
{
	for (int i = 0; i < 200; i++) {
		while (used() != 2)
			sched_yield();
		IS(weir_sem_acquire(sem, 1, NULL), 0);
		IS(weir_sem_release(sem, 1), 0);
	}
	say(0, 1); /* Not the end of the process: its lanes are still its own. */
	until_said(1, 1);
}

/* Each comes within 48 steps of its wrap, and 200 steps of each are made. */
static void semaphore_counters(void)
{
	const uint32_t near32 = (1u << 30) - 64;
	struct weir_sem_shm *shm;
	struct weir_sem_lane_shm *lanes;
	pid_t pid;

	seg_make(2);
	map();
	shm = object(0);
	lanes = (void *)(shm + 1);
	MUST(weir_sem_word_seq(get(&shm->word)) >= near32);
	MUST(get(&shm->ticket) >= UINT64_MAX - 64);
	for (int i = 0; i < 4; i++) {
		MUST(weir_sem_lane_ledger_seq(get(&lanes[i].ledger)) >= near32);
		MUST(weir_sem_lane_cell_seq(get(&lanes[i].cell)) >= near32);
		MUST(get32(&lanes[i].ack[0]) >= near32 && get32(&lanes[i].ack[1]) >= near32);
		MUST(get32(&lanes[i].waitq.epoch) >= UINT32_MAX - 64);
	}
	pid = child(wait_200_times);
	grant_to_the_child(shm, lanes);
	until_said(0, 1);
	IS(used(), 0);
	IS(weir_sem_check(sem, NULL), 0);
	MUST(get(&shm->ticket) < 1000);
	MUST(weir_sem_word_seq(get(&shm->word)) < near32);
	for (int i = 0; i < 2; i++)
		MUST(weir_sem_lane_ledger_seq(get(&lanes[i].ledger)) < near32);
	MUST(weir_sem_lane_cell_seq(get(&lanes[0].cell)) < near32 ||
	     weir_sem_lane_cell_seq(get(&lanes[1].cell)) < near32);
	MUST(get32(&lanes[0].waitq.epoch) < near32 || get32(&lanes[1].waitq.epoch) < near32);
	say(1, 1);
	IS(reap(pid), 0);
}

/* --- queue ----------------------------------------------------------------------------------- */

static struct weir_queue *queue;

static void through(uint64_t from, uint64_t count)
{
	for (uint64_t i = from; i < from + count; i++) {
		struct weir_msg msg;
		uint64_t got = i;

		IS(weir_queue_try_send(queue, &got, 8), 0);
		if (i % 3 == 0) { /* Put back once: the tag of `first` moves too. */
			IS(weir_queue_try_take(queue, &msg), 0);
			IS(weir_queue_put_back(queue, &msg), 0);
		}
		IS(weir_queue_try_take(queue, &msg), 0);
		memcpy(&got, msg.data, 8);
		IS(got, i);
		IS(weir_queue_done(queue, &msg), 0);
	}
}

static void queue_put_at(uint64_t pos, uint32_t slots, uint32_t index)
{
	struct weir_queue_shm *shm = object(index);
	uint64_t lap = pos / slots;
	size_t claims = weir__claims_bytes(slots);

	put(&shm->tail, pos);
	put(&shm->room, pos);
	put(&shm->first, weir_queue_first_set_tag(pos, WEIR_QUEUE_FIRST_TAG_MAX - 3));
	for (uint32_t i = 0; i < slots; i++) {
		struct weir_queue_send_shm *sends = (void *)(shm + 1);
		struct weir_queue_take_shm *takes = (void *)((uint8_t *)sends + claims);
		struct weir_queue_slot_shm *slot =
			(void *)((uint8_t *)takes + claims + (size_t)i * shm->slot_bytes);
		uint64_t its = lap + (i < pos % slots);

		put(&slot->word, weir_queue_slot_word_set_lap(0, its - 1));
		put(&sends[i].word, weir_queue_send_word_set_lap(0, its - 1));
		put(&takes[i].word, weir_queue_take_word_set_lap(0, its));
	}
}

static void take_and_die(void)
{
	struct weir_msg msg;

	IS(weir_queue_try_take(queue, &msg), 0);
	raise(SIGKILL);
}

/* At a position that a slot's word has no bit of any more: the second of two messages comes back,
 * then the first; none is passed over. */
static void brought_back_at(uint64_t pos, uint32_t slots, uint32_t index)
{
	struct weir_recovery rec;
	struct weir_msg mine;
	struct weir_msg msg;
	pid_t pid;

	queue_put_at(pos, slots, index);
	for (uint64_t i = 0; i < 2; i++)
		IS(weir_queue_try_send(queue, &i, 8), 0);
	IS(weir_queue_try_take(queue, &mine), 0);
	IS(mine.position, pos);
	pid = child(take_and_die);
	IS(waitpid(pid, NULL, 0), pid);
	IS(weir_segment_recover(seg, &rec), 0);
	IS(rec.redelivered, 1);
	IS(weir_queue_put_back(queue, &mine), 0);
	for (uint64_t i = 0; i < 2; i++) {
		IS(weir_queue_try_take(queue, &msg), 0);
		IS(msg.position, pos + i);
		IS(msg.tries, i);
		IS(weir_queue_done(queue, &msg), 0);
	}
	IS(weir_queue_try_take(queue, &msg), -EAGAIN);
	through(0, 3 * slots);
}

static void queue_counters(void)
{
	struct weir_queue_stat stat;
	struct weir_queue_shm *shm;

	seg_make(1);
	map();
	IS(weir_queue_open(seg, "queue", &WEIR_OPTS(queue, .slots = 4, .bytes = 8), &queue), 0);
	shm = object(1);
	/* Begins before 32 bits are used up. */
	MUST(weir_queue_tail_pos(get(&shm->tail)) < UINT64_C(1) << 32);
	MUST(weir_queue_tail_pos(get(&shm->tail)) >= (UINT64_C(1) << 32) - 64);
	through(0, 200);
	MUST(weir_queue_tail_pos(get(&shm->tail)) > UINT64_C(1) << 32);
	/* The tag has 12 bits. */
	through(0, 3 * 5000);
	/* Laps have 43 bits, positions 52. */
	queue_put_at((UINT64_C(1) << 45) - 10, 4, 1);
	through(0, 100);
	brought_back_at(UINT64_C(1) << 45, 4, 1);
	brought_back_at((UINT64_C(1) << 45) * 5 + 3, 4, 1);
	queue_put_at((UINT64_C(1) << 52) - 10, 4, 1);
	through(0, 100);
	IS(weir_queue_stat(queue, &stat), 0);
	IS(stat.depth + stat.writing + stat.reading, 0);
	MUST(weir_queue_tail_pos(get(&shm->tail)) < 1000);
	/* With more than 512 slots it is the position that ends first. */
	IS(weir_queue_open(seg, "long", &WEIR_OPTS(queue, .slots = 1024, .bytes = 8), &queue), 0);
	queue_put_at((UINT64_C(1) << 52) - 10, 1024, 2);
	through(0, 3000);
}

/* --- breaker, events, slots, blocks ------------------------------------------------------------
 */

static void breaker_generation(void)
{
	struct weir_breaker *breaker;
	struct weir_breaker_stat stat;
	struct weir_call old;
	struct weir_call call;

	seg_make(1);
	map();
	IS(weir_breaker_open(seg, "breaker", &WEIR_OPTS(breaker, .min_calls = 1, .failure_pct = 1),
			     &breaker),
	   0);
	IS(weir_breaker_allow(breaker, &old, NULL), 0);
	for (int i = 0; i < 600; i++) { /* The generation has 9 bits. */
		IS(weir_breaker_allow(breaker, &call, NULL), 0);
		IS(weir_breaker_done(breaker, &call, 1), 0);
		IS(weir_breaker_allow(breaker, &call, NULL), -EAGAIN);
		IS(weir_breaker_force(breaker, WEIR_BREAKER_CLOSED), 0);
	}
	IS(weir_breaker_stat(breaker, &stat), 0);
	IS(stat.opened, 600);
	IS(weir_breaker_done(breaker, &old, 1), 0); /* Of an older life: dropped. */
	IS(weir_breaker_allow(breaker, &call, NULL), 0);
}

static void event_numbers(void)
{
	struct weir_segment_shm *h;
	uint32_t whole = 0;

	seg_make(1);
	map();
	h = (struct weir_segment_shm *)(void *)base;
	put(&h->event_next, UINT64_MAX - 100);
	for (uint32_t i = 0; i < 300; i++)
		IS(weir_sem_resize(sem, 1 + i % 2), 0);
	IS(get(&h->event_next), 199);
	for (uint64_t k = 0; k < 199; k++) {
		struct weir_event_shm *e =
			(struct weir_event_shm *)(void *)(base + h->event_off) + k % h->event_count;

		whole += get(&e->seq) == 2 * k + 2 && get32(&e->kind) == WEIR_EVENT_KIND_RESIZE;
	}
	IS(whole, 199);
}

static void live_and_die(void)
{
	IS(weir_sem_acquire(sem, 2, NULL), 0);
	raise(SIGKILL);
}

static void live_and_close(void)
{
	IS(weir_sem_acquire(sem, 2, NULL), 0);
	IS(weir_segment_close(seg), 0);
}

/* Generations of process and thread slots have 32 bits, those of blocks 16. */
static void generations(void)
{
	struct weir_process_shm *procs;
	struct weir_thread_shm *threads;
	struct weir_object_shm *block;

	seg_make(2);
	map();
	procs = (void *)(base + header->proc_off);
	threads = (void *)(base + header->thread_off);
	for (uint32_t i = 1; i < header->proc_count; i++)
		put(&procs[i].word, UINT32_MAX - 5);
	for (uint32_t i = 1; i < header->thread_count; i++)
		put(&threads[i].word, UINT32_MAX - 5);
	for (int i = 0; i < 20; i++) {
		reap(child(i % 2 ? live_and_die : live_and_close));
		recover();
		IS(used(), 0);
	}
	MUST(weir_process_word_gen(get(&procs[1].word)) < 1000);
	MUST(weir_thread_word_gen(get(&threads[1].word)) < 1000);
	/* A free block at the end of its generations is built in once more. */
	block = (void *)(base + weir_object_block_units(get((uint64_t *)object(0))) * 64 +
			 ((uint8_t *)object(0) - base));
	put(&block->block, weir_object_block_set_gen(
				   weir_object_block_set_state(weir_object_block_set_units(0, 1024),
							       WEIR_OBJECT_BLOCK_FREE),
				   0xffff));
	IS(weir_queue_open(seg, "q", &WEIR_OPTS(queue, .slots = 4, .bytes = 8), &queue), 0);
	MUST(object(1) == (void *)block);
	MUST(weir_object_block_gen(get(&block->block)) < 8);
	through(0, 20);
}

static void span_numbers(void)
{
	struct weir_spans *spans;
	struct weir_spans_shm *shm;
	struct weir_span_ring_shm *ring;
	struct weir_span_shm *records;

	seg_make(1);
	map();
	IS(weir_spans_open(seg, "spans", &WEIR_OPTS(spans, .slots = 4), &spans), 0);
	shm = object(1);
	ring = (void *)(shm + 1); /* The first thread's. */
	records = (void *)(ring + 1);
	put(&ring->recorded, UINT64_MAX - 5);
	put(&ring->started, UINT64_MAX - 5);
	for (uint64_t i = 0; i < 20; i++) {
		struct weir_span span;

		IS(weir_span_begin(spans, NULL, "wrap", 1, &span), 0);
		span.value = i;
		IS(weir_span_end(spans, &span), 0);
	}
	IS(get(&ring->recorded), 14);
	for (uint64_t k = 10; k < 14; k++) {
		IS(get(&records[k % 4].seq), 2 * k + 2);
		IS(get(&records[k % 4].value), k + 6);
	}
}

const struct row wrap_rows[] = {
	{"F18", "sequence numbers, tickets, acknowledgements, epochs", semaphore_counters},
	{"F18", "positions, laps and tags of a queue", queue_counters},
	{"F18", "the breaker's generation", breaker_generation},
	{"F18", "numbers of events", event_numbers},
	{"F18", "generations of slots and blocks", generations},
	{"F18", "numbers of spans", span_numbers},
	{NULL, NULL, NULL},
};
