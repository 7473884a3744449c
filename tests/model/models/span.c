/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The ring of spans: a reader sees whole records or none. */
#include <weir/span.h>

#include "help.h"

static struct weir_spans *spans[BODIES_MAX];
static int seen_whole;
static uint64_t seen_seq;   /* of the record the reader has seen, 0: none */
static uint64_t seen_value; /* what it said */

static void forget(void)
{
	world_private(&seen_whole, sizeof(seen_whole));
	world_private(&seen_seq, sizeof(seen_seq));
	world_private(&seen_value, sizeof(seen_value));
	seen_whole = 0;
	seen_seq = 0;
}

static void setup(void)
{
	forget();
	world_make(2);
	for (int i = 0; i < 2; i++) {
		world_as(i);
		EXPECT(weir_spans_open(world_seg(i), "t", &WEIR_OPTS(spans, .slots = 1),
				       &spans[i]) == 0);
	}
}

static void write_two(int self)
{
	for (uint64_t k = 1; k <= 2; k++) {
		struct weir_span span;

		EXPECT(weir_span_begin(spans[self], NULL, "s", 1, &span) == 0);
		span.wait_ns = k;
		span.value = k;
		EXPECT(weir_span_end(spans[self], &span) == 0);
	}
}

#define NEWCOMER 10 /* the value of who has a dead one's thread slot */

/* The reader's protocol, as told at the top of lib/obj/span.c. */
static void read_once(int self)
{
	struct weir_spans_shm *shm = *(void **)((uint8_t *)spans[self] + 8);
	struct weir_span_ring_shm *ring = (void *)(shm + 1); /* of thread slot 0 */
	struct weir_span_shm *record = (void *)(ring + 1);
	uint64_t recorded = weir_load_acquire(&ring->recorded);
	uint64_t first = weir_load_acquire(&record->seq);
	uint64_t wait_ns = weir_load_relaxed(&record->wait_ns);
	uint64_t value = weir_load_relaxed(&record->value);

	weir_fence_acquire();
	if (first & 1 || first == 0 || weir_load_relaxed(&record->seq) != first)
		return;
	seen_whole++;
	EXPECT(first / 2 >= recorded);
	EXPECT(value == wait_ns && (value == first / 2 || value == NEWCOMER));
	EXPECT(seen_seq != first || seen_value == value);
	seen_seq = first;
	seen_value = value;
}

static void check(void)
{
	char text[8] = {(char)('0' + seen_whole)};

	model_outcome(text);
}

const struct model span_read = {.name = "span-read",
				.what = "a reader beside a writer that laps it",
				.body = {write_two, read_once},
				.peers = 2,
				.setup = setup,
				.check = check,
				.quick = true};

/* --- a writer dies, and a newcomer goes on in its ring ------------------------------------------
 */

static void setup_reuse(void)
{
	forget();
	for (int i = 0; i < 4; i++) {
		world_attach(i, 6);
		if (i < 3)
			EXPECT(weir_segment_join(world_seg(i)) == 0);
		EXPECT(weir_spans_open(world_seg(i), "t", &WEIR_OPTS(spans, .slots = 1),
				       &spans[i]) == 0);
	}
	world_as(0);
}

static void write_one(int self)
{
	struct weir_span span;

	EXPECT(weir_span_begin(spans[self], NULL, "n", 1, &span) == 0);
	span.wait_ns = NEWCOMER;
	span.value = NEWCOMER;
	EXPECT(weir_span_end(spans[self], &span) == 0);
}

/* What has been seen under a number stands under it for ever, or is gone. */
static void check_reuse(void)
{
	world_as(3);
	read_once(3);
}

const struct model span_reuse = {.name = "span-reuse",
				 .what = "a reader; a writer dies, a newcomer gets its thread slot",
				 .body = {write_two, read_once, recover, write_one},
				 .peers = 2,
				 .together = true,
				 .setup = setup_reuse,
				 .check = check_reuse,
				 .killable = 1,
				 .preempt = 2};
