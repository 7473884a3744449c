/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Three queues with one fault each: the table must show it, or it shows nothing. */
#include "kill.h"

struct ring {
	volatile uint32_t first;
	volatile uint32_t last;
	volatile uint32_t locked;
	volatile uint64_t slot[ROOM];
};

static bool make(void *area)
{
	(void)area; /* Zeros will do. */
	return true;
}

static void drop(void *area)
{
	(void)area;
}

static bool push(struct ring *r, uint64_t value)
{
	uint32_t last = r->last;

	if (last - r->first == ROOM)
		return false;
	r->slot[last % ROOM] = value;
	r->last = last + 1;
	return true;
}

static bool pop(struct ring *r, uint64_t *ret_value)
{
	uint32_t first = r->first;

	if (first == r->last)
		return false;
	*ret_value = r->slot[first % ROOM];
	r->first = first + 1;
	return true;
}

static bool put(void *area, uint64_t value, int ms)
{
	KILL_TRY(ms, push(area, value));
}

static bool get(void *area, uint64_t *ret_value, int ms)
{
	KILL_TRY(ms, pop(area, ret_value));
}

/* Off the queue before it is in the buffer. */
static bool hasty_get(void *area, uint64_t *ret_value, int ms)
{
	uint64_t value = 0;
	bool got;

	if (ms > 0)
		return get(area, ret_value, ms);
	got = pop(area, &value);
	__asm__ volatile("nop; nop; nop; nop" ::: "memory");
	if (got)
		*ret_value = value;
	return got;
}

/* In for a moment, then once more. */
static bool twice_put(void *area, uint64_t value, int ms)
{
	struct ring *r = area;
	bool ok = put(area, value, ms);

	if (ok && ms == 0 && push(r, value)) {
		__asm__ volatile("nop; nop; nop; nop" ::: "memory");
		r->last--;
	}
	return ok;
}

static bool locked_put(void *area, uint64_t value, int ms)
{
	struct ring *r = area;
	bool ok;

	while (__atomic_exchange_n(&r->locked, 1, __ATOMIC_ACQUIRE))
		__builtin_ia32_pause();
	ok = put(area, value, ms);
	__atomic_store_n(&r->locked, 0, __ATOMIC_RELEASE);
	return ok;
}

const struct peer peers_control[] = {
	{"control: loses", {"put", "get"}, QUEUE, make, drop, NULL, NULL, put, hasty_get},
	{"control: doubles", {"put", "get"}, QUEUE, make, drop, NULL, NULL, twice_put, get},
	{"control: locks", {"put", "get"}, QUEUE, make, drop, NULL, NULL, locked_put, get},
	{0},
};
