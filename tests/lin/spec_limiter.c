/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A token bucket in GCRA form, per key.  The clock is an input: an operation looks at it once,
 * between its call and its return, and is judged at that time, wherever in the order it stands.  So
 * the order need not be that of the clocks: one that was preempted after its look is judged late at
 * an early time, and the bucket is never refilled twice, because max(tat, now) counts.
 *
 * All numbers of the verdict are part of the specification.  Its arithmetic is its own, in ns:
 * the profiles' rates are whole numbers of ns a token.
 */
#include <errno.h>

#include "history.h"

static void init(const struct history *h, uint8_t part, union state *s)
{
	s->words[0] = h->tat[part];
}

static enum verdict allow(const struct history *h, const struct op *op, uint64_t *tat)
{
	uint64_t span = h->capacity * INTERVAL;
	uint64_t ahead = *tat > op->now ? *tat - op->now : 0;
	uint64_t next = ahead + op->arg * INTERVAL;
	uint64_t over = next > span ? next - span : 0;
	uint64_t left;
	bool fits = over <= (op->kind == RESERVE ? op->more[0] : 0);

	if (op->flags & OP_OPTIONAL) {
		if (fits)
			*tat = op->now + next;
		return op->now ? COMPLETE : LAST;
	}
	if (op->result != (fits ? 0 : -EAGAIN))
		return REFUSED;
	if (fits)
		*tat = op->now + next;
	if (op->kind == RESERVE)
		return !fits || op->more[1] == over ? COMPLETE : REFUSED;
	if (!fits)
		next = ahead;
	if (op->arg > h->capacity)
		over = UINT64_MAX;
	left = next < span ? (span - next) / INTERVAL : 0;
	return op->more[0] == over && op->more[1] == left && op->more[2] == next ? COMPLETE
										 : REFUSED;
}

static enum verdict apply(const struct history *h, const struct op *op, uint32_t step,
			  uint32_t choice, union state *s)
{
	uint64_t *tat = &s->words[0];
	uint64_t ahead = *tat > op->now ? *tat - op->now : 0;
	uint64_t back = op->arg * INTERVAL;

	(void)step;
	if (choice > 0)
		return LAST;
	if (op->kind == DEATH)
		return COMPLETE;
	if (op->kind != REFUND)
		return allow(h, op, tat);
	if ((op->flags & OP_OPTIONAL) && op->now == 0)
		return LAST;
	if (op->result != 0)
		return REFUSED;
	if (ahead > 0)
		*tat = op->now + (ahead > back ? ahead - back : 0);
	return COMPLETE;
}

const struct spec spec_limiter = {init, apply, NULL};
