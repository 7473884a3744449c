/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* DPDK's ring, many producers and consumers, messages by value; rte_ring_init() needs no EAL. */
#include <rte_ring.h>
#include <rte_ring_elem.h>

#include "bench_queue.h"

BENCH_INLINE bool rte_put(void *queue, const void *data, uint32_t bytes)
{
	return rte_ring_mp_enqueue_elem(queue, (void *)(uintptr_t)data, bytes) == 0;
}

BENCH_INLINE bool rte_get(void *queue, void *data, uint32_t bytes)
{
	return rte_ring_mc_dequeue_elem(queue, data, bytes) == 0;
}

BENCH_QUEUE_LOOPS(rte)

static void *rte_make(uint32_t bytes)
{
	struct rte_ring *r = bench_shared(sizeof(*r) + (size_t)BENCH_QUEUE_SLOTS * bytes);

	return rte_ring_init(r, "weir-bench", BENCH_QUEUE_SLOTS, 0) == 0 ? r : NULL;
}

const struct bench_queue_peer bench_peer_rte = BENCH_QUEUE_PEER(rte, "rte_ring mp_mc", false);
