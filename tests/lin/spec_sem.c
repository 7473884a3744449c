/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A counting semaphore with weights.  Who is served first is no part of it.
 *
 * acquire: needs used + weight <= permits; -EAGAIN only if that did not hold, or if it overlaps
 *     a request in the line, or an operation that itself overlaps one (the line goes first, and
 *     who serves it may not have finished; who died serving it has when he was recovered).
 * request: from start to the poll or stop that ended it: permits are given at one moment in it,
 *     or never (-ECANCELED, -ETIMEDOUT); the caller can give them back once it has noticed.
 * resize: changes the number, at one moment.
 * death: what the dead one held comes back in one step, with what it was doing done or not, before
 *     the end of the first recovery that began after it.
 */
#include <errno.h>

#include "history.h"

struct sem {
	uint16_t permits;
	uint16_t used;
	uint8_t hold[PARTIES];
	uint8_t given[PARTIES]; /* to a request that has not noticed */
	uint8_t gone;		/* the dead that have been swept, one bit each */
};
_Static_assert(sizeof(struct sem) <= sizeof(union state), "state too small");

static void init(const struct history *h, uint8_t part, union state *s)
{
	(void)part;
	((struct sem *)s)->permits = (uint16_t)h->capacity;
}

static enum verdict take(const struct op *op, uint32_t step, struct sem *sem)
{
	if (step == 1) {
		sem->hold[op->who] = (uint8_t)(sem->hold[op->who] + sem->given[op->who]);
		sem->given[op->who] = 0;
		return COMPLETE;
	}
	if (op->result == -ECANCELED || op->result == -ETIMEDOUT)
		return COMPLETE;
	if (op->result == -EAGAIN)
		return (op->flags & OP_SPURIOUS) || sem->used + op->arg > sem->permits ? COMPLETE
										       : REFUSED;
	if (op->result != 0 || sem->used + op->arg > sem->permits)
		return REFUSED;
	sem->used = (uint16_t)(sem->used + op->arg);
	if (op->kind == REQUEST) {
		sem->given[op->who] = (uint8_t)op->arg;
		return NEXT;
	}
	sem->hold[op->who] = (uint8_t)(sem->hold[op->who] + op->arg);
	return COMPLETE;
}

static enum verdict give(const struct op *op, struct sem *sem)
{
	if (op->result == -EPERM)
		return sem->hold[op->who] < op->arg ? COMPLETE : REFUSED;
	if (op->result != 0 || sem->hold[op->who] < op->arg)
		return REFUSED;
	sem->used = (uint16_t)(sem->used - op->arg);
	sem->hold[op->who] = (uint8_t)(sem->hold[op->who] - op->arg);
	return COMPLETE;
}

static enum verdict apply(const struct history *h, const struct op *op, uint32_t step,
			  uint32_t choice, union state *s)
{
	struct sem *sem = (struct sem *)s;

	(void)h;
	if (choice > 0 || ((op->flags & OP_OPTIONAL) && (sem->gone >> op->who & 1)))
		return LAST;
	switch (op->kind) {
	case TRY_ACQUIRE:
	case REQUEST:
		return take(op, step, sem);
	case RELEASE:
		return give(op, sem);
	case RESIZE:
		sem->permits = (uint16_t)op->arg;
		return COMPLETE;
	case DEATH:
		sem->used = (uint16_t)(sem->used - sem->hold[op->who] - sem->given[op->who]);
		sem->hold[op->who] = 0;
		sem->given[op->who] = 0;
		sem->gone |= (uint8_t)(1u << op->who);
		return COMPLETE;
	default:
		return REFUSED;
	}
}

/* The wait bit is up from the moment somebody joins the line until whoever serves it has looked and
 * found nobody: that is one of those whose operation overlaps the request, or, if he died in it,
 * the recovery.  Without a request nobody has an excuse. */
static void prepare(struct history *h)
{
	bool near[OPS_MAX] = {false};
	bool line = false;

	for (uint32_t i = 0; i < h->count; i++)
		line |= h->op[i].kind == REQUEST;
	for (uint32_t i = 0; i < h->count; i++) {
		for (uint32_t j = 0; j < h->count; j++)
			near[i] |= h->op[j].kind == REQUEST && ops_overlap(&h->op[i], &h->op[j]);
		near[i] |= line && (h->op[i].kind == DEATH || (h->op[i].flags & OP_OPTIONAL));
	}
	for (uint32_t i = 0; i < h->count; i++) {
		if (h->op[i].kind != TRY_ACQUIRE)
			continue;
		for (uint32_t j = 0; j < h->count; j++) {
			if (near[j] && ops_overlap(&h->op[i], &h->op[j]))
				h->op[i].flags |= OP_SPURIOUS;
		}
	}
}

const struct spec spec_sem = {init, apply, prepare};
