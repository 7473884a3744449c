/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Boost.Lockfree's queue (Michael-Scott, nodes in the object) and Boost.Interprocess's
 * message_queue, used with try_send and try_receive. */
#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/interprocess/shared_memory_object.hpp>
#include <boost/lockfree/queue.hpp>
#include <new>
#include <stdio.h>
#include <unistd.h>

#include "bench_queue.h"

namespace bi = boost::interprocess;

template <unsigned N> struct message {
	unsigned char b[N];
};
template <unsigned N>
using lockfree =
	boost::lockfree::queue<message<N>, boost::lockfree::capacity<BENCH_QUEUE_SLOTS>>;

template <unsigned N> BENCH_INLINE bool push(void *queue, const void *data)
{
	return static_cast<lockfree<N> *>(queue)->push(*static_cast<const message<N> *>(data));
}

template <unsigned N> BENCH_INLINE bool pop(void *queue, void *data)
{
	return static_cast<lockfree<N> *>(queue)->pop(*static_cast<message<N> *>(data));
}

BENCH_INLINE bool lockfree_put(void *queue, const void *data, uint32_t bytes)
{
	return bytes == 8    ? push<8>(queue, data)
	       : bytes == 64 ? push<64>(queue, data)
			     : push<1024>(queue, data);
}

BENCH_INLINE bool lockfree_get(void *queue, void *data, uint32_t bytes)
{
	return bytes == 8    ? pop<8>(queue, data)
	       : bytes == 64 ? pop<64>(queue, data)
			     : pop<1024>(queue, data);
}

BENCH_QUEUE_LOOPS(lockfree)

template <unsigned N> static void *construct()
{
	return new (bench_shared(sizeof(lockfree<N>))) lockfree<N>;
}

static void *lockfree_make(uint32_t bytes)
{
	return bytes == 8 ? construct<8>() : bytes == 64 ? construct<64>() : construct<1024>();
}

BENCH_INLINE bool interprocess_put(void *queue, const void *data, uint32_t bytes)
{
	return static_cast<bi::message_queue *>(queue)->try_send(data, bytes, 0);
}

BENCH_INLINE bool interprocess_get(void *queue, void *data, uint32_t bytes)
{
	bi::message_queue::size_type got;
	unsigned priority;

	return static_cast<bi::message_queue *>(queue)->try_receive(data, bytes, got, priority);
}

BENCH_QUEUE_LOOPS(interprocess)

static void *interprocess_make(uint32_t bytes)
{
	char name[64];
	void *queue;

	snprintf(name, sizeof(name), "weir-bench-mq-%d", (int)getpid());
	queue = new bi::message_queue(bi::create_only, name, BENCH_QUEUE_SLOTS, bytes);
	bi::message_queue::remove(name); /* The forked mate has the mapping. */
	return queue;
}

const struct bench_queue_peer bench_peer_lockfree =
	BENCH_QUEUE_PEER(lockfree, "Boost.Lockfree queue", false);
const struct bench_queue_peer bench_peer_message_queue =
	BENCH_QUEUE_PEER(interprocess, "Boost message_queue, try_*", true);
