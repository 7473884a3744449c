/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Concurrency Kit's ring, with the messages in the ring by value. */
#include <ck_ring.h>

#include "bench_queue.h"

struct m8 {
	uint8_t b[8];
};
struct m64 {
	uint8_t b[64];
};
struct m1024 {
	uint8_t b[1024];
};
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wunused-function"
CK_RING_PROTOTYPE(m8, m8)
CK_RING_PROTOTYPE(m64, m64)
CK_RING_PROTOTYPE(m1024, m1024)
#pragma GCC diagnostic pop

struct ck_queue {
	struct ck_ring ring;
	_Alignas(64) uint8_t buffer[];
};

#define CK_CALL(what, mode, type)                                                    \
	ck_ring_##what##_##mode##_##type(&q->ring, (struct type *)(void *)q->buffer, \
					 (struct type *)data)

#define CK_PEER(mode)                                                                  \
	BENCH_INLINE bool mode##_put(void *queue, const void *message, uint32_t bytes) \
	{                                                                              \
		struct ck_queue *q = queue;                                            \
		void *data = (void *)(uintptr_t)message;                               \
                                                                                       \
		if (bytes == 8)                                                        \
			return CK_CALL(enqueue, mode, m8);                             \
		if (bytes == 64)                                                       \
			return CK_CALL(enqueue, mode, m64);                            \
		return CK_CALL(enqueue, mode, m1024);                                  \
	}                                                                              \
	BENCH_INLINE bool mode##_get(void *queue, void *data, uint32_t bytes)          \
	{                                                                              \
		struct ck_queue *q = queue;                                            \
                                                                                       \
		if (bytes == 8)                                                        \
			return CK_CALL(dequeue, mode, m8);                             \
		if (bytes == 64)                                                       \
			return CK_CALL(dequeue, mode, m64);                            \
		return CK_CALL(dequeue, mode, m1024);                                  \
	}                                                                              \
	BENCH_QUEUE_LOOPS(mode)

CK_PEER(spsc)
CK_PEER(mpmc)

static void *make(uint32_t bytes)
{
	struct ck_queue *q = bench_shared(sizeof(*q) + (size_t)BENCH_QUEUE_SLOTS * bytes);

	ck_ring_init(&q->ring, BENCH_QUEUE_SLOTS);
	return q;
}
#define spsc_make make
#define mpmc_make make

const struct bench_queue_peer bench_peer_ck_spsc = BENCH_QUEUE_PEER(spsc, "ck_ring spsc", false);
const struct bench_queue_peer bench_peer_ck_mpmc = BENCH_QUEUE_PEER(mpmc, "ck_ring mpmc", false);
