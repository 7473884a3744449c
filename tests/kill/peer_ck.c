/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Concurrency Kit's ring, in shared memory, with messages by value. */
#include <ck_ring.h>

#include "kill.h"

struct message {
	uint64_t value;
};
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wunused-function"
CK_RING_PROTOTYPE(message, message)
#pragma GCC diagnostic pop

struct ck {
	struct ck_ring ring;
	_Alignas(64) struct message buffer[2 * ROOM]; /* it keeps one free */
};

static bool make(void *area)
{
	ck_ring_init(&((struct ck *)area)->ring, 2 * ROOM);
	return true;
}

static void drop(void *area)
{
	(void)area;
}

#define CK_PEER(mode)                                                                      \
	static bool mode##_put(void *area, uint64_t value, int ms)                         \
	{                                                                                  \
		struct message m = {value};                                                \
		struct ck *ck = area;                                                      \
                                                                                           \
		KILL_TRY(ms, ck_ring_enqueue_##mode##_message(&ck->ring, ck->buffer, &m)); \
	}                                                                                  \
	static bool mode##_get(void *area, uint64_t *ret_value, int ms)                    \
	{                                                                                  \
		struct message *m = (struct message *)(void *)ret_value;                   \
		struct ck *ck = area;                                                      \
                                                                                           \
		KILL_TRY(ms, ck_ring_dequeue_##mode##_message(&ck->ring, ck->buffer, m));  \
	}

CK_PEER(spsc)
CK_PEER(mpmc)

const struct peer peers_ck[] = {
	{"ck_ring mpmc", {"enqueue", "dequeue"}, QUEUE, make, drop, NULL, NULL, mpmc_put, mpmc_get},
	{"ck_ring spsc", {"enqueue", "dequeue"}, QUEUE, make, drop, NULL, NULL, spsc_put, spsc_get},
	{0},
};
