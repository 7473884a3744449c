/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Open: positions have 52 bits, laps 43.  With up to 512 slots both come to zero together.  With
 * more the position does so first, the lap in the slots goes on, and the queue is full for ever.
 * (2^52 messages: 14 years at ten million a second.)
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <weir.h>
#include <weir/shm/all.h>

#define START ((UINT64_C(1) << 52) - 10)

static char dir[] = "/dev/shm/weir-open-XXXXXX";
static char path[64];

/* As if START messages had been sent and received. */
static void put_at_start(const struct weir_segment *seg, uint32_t slots)
{
	uint8_t *base = (uint8_t *)(uintptr_t)weir_segment_base(seg, NULL);
	const struct weir_segment_shm *h = (const void *)base;
	uint64_t *entry = (void *)(base + h->dir_off);
	struct weir_queue_shm *shm = (void *)(base + *entry);

	*(uint64_t *)&shm->tail = START;
	*(uint64_t *)&shm->first = START;
	for (uint32_t i = 0; i < slots; i++) {
		uint64_t lap = START / slots + (i < START % slots);
		struct weir_queue_slot_shm *slot =
			(void *)((uint8_t *)(shm + 1) + (size_t)i * shm->slot_bytes);

		*(uint64_t *)&slot->word = weir_queue_slot_word_set_lap(0, lap);
	}
}

static int passes(uint32_t slots)
{
	struct weir_segment *seg;
	struct weir_queue *queue;
	uint64_t message = 1;
	uint32_t bytes;
	int r = 0;

	if (weir_segment_open(path, &WEIR_OPTS(segment, .flags = WEIR_CREATE), &seg) != 0 ||
	    weir_queue_open(seg, "q", &WEIR_OPTS(queue, .slots = slots, .bytes = 8), &queue) != 0)
		exit(1);
	unlink(path);
	put_at_start(seg, slots);
	for (int i = 0; i < 100 && r == 0; i++) {
		r = weir_queue_try_send(queue, &message, 8);
		if (r == 0)
			r = weir_queue_try_recv(queue, &message, 8, &bytes);
	}
	weir_queue_close(queue);
	weir_segment_close(seg);
	printf("%4u slots past position 2^52: %d, wanted 0\n", slots, r);
	return r == 0;
}

int main(void)
{
	int passed;

	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof(path), "%s/seg", dir);
	passed = passes(4) + passes(512) + passes(1024);
	rmdir(dir);
	printf("%d passed, %d failed\n", passed, 3 - passed);
	return passed != 3;
}
