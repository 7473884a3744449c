/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Boost.Lockfree with a fixed capacity in shared memory; Boost.Interprocess. */
#include <boost/date_time/posix_time/posix_time_types.hpp>
#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <boost/lockfree/queue.hpp>
#include <boost/lockfree/spsc_queue.hpp>
#include <new>
#include <stdio.h>
#include <unistd.h>

#include "kill.h"

namespace bi = boost::interprocess;
namespace bl = boost::lockfree;
typedef bl::queue<uint64_t, bl::capacity<ROOM>> Queue;
typedef bl::spsc_queue<uint64_t, bl::capacity<ROOM>> Spsc;

template <class T> static bool make(void *area)
{
	new (area) T;
	return true;
}

static void nothing(void *)
{
}

template <class T> static bool put(void *area, uint64_t value, int ms)
{
	KILL_TRY(ms, static_cast<T *>(area)->push(value));
}

template <class T> static bool get(void *area, uint64_t *ret_value, int ms)
{
	KILL_TRY(ms, static_cast<T *>(area)->pop(*ret_value));
}

static bi::message_queue *mq;

static bool mq_make(void *)
{
	char name[64];

	snprintf(name, sizeof(name), "weir-kill-mq-%d", (int)getpid());
	bi::message_queue::remove(name);
	mq = new bi::message_queue(bi::create_only, name, ROOM, 8);
	bi::message_queue::remove(name); /* Forked children have the mapping. */
	return true;
}

static void mq_drop(void *)
{
	delete mq;
}

static boost::posix_time::ptime until(int ms)
{
	return boost::posix_time::microsec_clock::universal_time() +
	       boost::posix_time::milliseconds(ms);
}

static bool mq_put(void *, uint64_t value, int ms)
{
	return ms == 0 ? mq->try_send(&value, 8, 0) : mq->timed_send(&value, 8, 0, until(ms));
}

static bool mq_get(void *, uint64_t *ret_value, int ms)
{
	bi::message_queue::size_type bytes;
	unsigned priority;

	return ms == 0 ? mq->try_receive(ret_value, 8, bytes, priority)
		       : mq->timed_receive(ret_value, 8, bytes, priority, until(ms));
}

static bool unlock(void *area, uint64_t, int)
{
	static_cast<bi::interprocess_mutex *>(area)->unlock();
	return true;
}

static bool lock(void *area, uint64_t *, int ms)
{
	bi::interprocess_mutex *mutex = static_cast<bi::interprocess_mutex *>(area);

	return ms == 0 ? mutex->try_lock() : mutex->timed_lock(until(ms));
}

extern "C" const struct peer peers_boost[] = {
	{"Boost.Lockfree queue", {"push", "pop"}, QUEUE, make<Queue>, nothing, NULL, NULL,
	 put<Queue>, get<Queue>},
	{"Boost.Lockfree spsc_queue", {"push", "pop"}, QUEUE, make<Spsc>, nothing, NULL, NULL,
	 put<Spsc>, get<Spsc>},
	{"Boost.Interprocess message_queue", {"try_send", "try_receive"}, QUEUE, mq_make, mq_drop,
	 NULL, NULL, mq_put, mq_get},
	{"Boost.Interprocess interprocess_mutex", {"unlock", "try_lock"}, LOCK,
	 make<bi::interprocess_mutex>, nothing, NULL, NULL, unlock, lock},
	{NULL, {NULL, NULL}, QUEUE, NULL, NULL, NULL, NULL, NULL, NULL},
};
