/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A bounded queue whose operations are two steps: send is claim and commit, receive is take and
 * done, whether one call makes both or two calls one each.
 *
 * Positions are given out one after the other; a position is being written, full, being read, or
 * gone.  `capacity` of them, counted from the oldest that is not gone, is all there is room for.
 *
 * claim: -ESHUTDOWN if closed; -EAGAIN if there is no room; else the next position.  A sender
 *     that overlaps the closing may have looked before it and still get in, until a receiver was
 *     told -ESHUTDOWN.
 * take: the first position that is not being read.  If that one is being written: -EAGAIN,
 *     although later ones may be full.  If there is none: -EAGAIN; -ESHUTDOWN if closed, unless
 *     others are reading (theirs may come back).
 * back: (put_back, or a receive without room for the message) two steps: first the message may be
 * taken again, then it must be taken before later ones.  The same for a message whose receiver
 * died.  A receiver that overlaps it may have looked before and go past the message, but not to
 * -ESHUTDOWN.  death: each position that the dead one was writing is gone; each it was reading
 * comes back with one more try.
 */
#include <errno.h>
#include <string.h>

#include "history.h"

#define SLOTS	 4u
#define RETURNED 6u /* nobody's, and it was back once */
#define NOBODY	 7u

enum { NEVER, WRITING, FULL, BACK, READING, GONE };

struct slot {
	uint8_t is;
	uint8_t owner;
	uint8_t id;
	uint8_t tries;
};

struct queue {
	uint8_t base;  /* position of slot[0], counted from where the history began */
	uint8_t count; /* positions from there on that were claimed */
	uint8_t closed;
	uint8_t sealed; /* a receiver was told so */
	uint8_t gone;	/* the dead that have been swept, one bit each */
	struct slot slot[SLOTS];
};
_Static_assert(sizeof(struct queue) <= sizeof(union state), "state too small");

static void init(const struct history *h, uint8_t part, union state *s)
{
	struct queue *q = (struct queue *)s;

	(void)part;
	q->count = (uint8_t)h->prefill;
	for (uint32_t i = 0; i < h->prefill; i++)
		q->slot[i] = (struct slot){FULL, NOBODY, (uint8_t)(0x80 + i), 0};
}

static void retire(struct queue *q, uint32_t i)
{
	q->slot[i] = (struct slot){GONE, 0, 0, 0};
	while (q->count > 0 && q->slot[0].is == GONE) {
		memmove(q->slot, q->slot + 1, sizeof(q->slot) - sizeof(q->slot[0]));
		q->slot[SLOTS - 1] = (struct slot){0};
		q->count--;
		q->base++;
	}
}

/* The caller's position in this state: by its number, or by its message. */
static int own(const struct queue *q, const struct op *op, uint8_t is, uint32_t id)
{
	for (uint32_t i = 0; i < q->count; i++) {
		const struct slot *slot = &q->slot[i];

		if (slot->is != is || slot->owner != op->who)
			continue;
		if (id ? slot->id == id : op->more[0] == (uint64_t)q->base + i)
			return (int)i;
	}
	return -1;
}

/* Is it open?  A step of its own only where it can matter. */
static enum verdict look(const struct op *op, const struct queue *q)
{
	if (op->result == 0 && q->closed)
		return REFUSED;
	return NEXT;
}

static enum verdict claim(const struct history *h, const struct op *op, struct queue *q)
{
	uint32_t i = q->count;

	if (op->result == -ESHUTDOWN)
		return q->closed ? COMPLETE : REFUSED;
	if (op->result == -EAGAIN || op->result == -ETIMEDOUT)
		return q->count == h->capacity && !q->closed ? COMPLETE : REFUSED;
	if (op->result != 0 || q->count == h->capacity || q->sealed)
		return REFUSED;
	q->slot[i] = (struct slot){WRITING, op->who, (uint8_t)op->arg, 0};
	q->count++;
	if (op->kind == SEND)
		return NEXT;
	if (op->flags & OP_OPTIONAL)
		return COMPLETE;
	return op->more[0] == (uint64_t)q->base + i ? COMPLETE : REFUSED;
}

/* May a receiver go past it? */
static bool skipped(const struct op *op, const struct slot *slot)
{
	if (slot->is == FULL && slot->owner == RETURNED)
		return (op->flags & OP_SPURIOUS) && op->result != -ESHUTDOWN && conceded(PASSED);
	return slot->is == READING || slot->is == GONE || slot->is == BACK;
}

/* Could a message come back from somebody else? */
static bool others_read(const struct op *op, const struct queue *q)
{
	for (uint32_t i = 0; i < q->count; i++) {
		if (q->slot[i].is == READING && q->slot[i].owner != op->who)
			return true;
	}
	return false;
}

/* Nothing for a receiver. */
static enum verdict nothing(const struct op *op, struct queue *q)
{
	for (uint32_t i = 0; i < q->count; i++) {
		if (q->slot[i].is == WRITING)
			return op->result == -ESHUTDOWN ? REFUSED : COMPLETE;
		if (!skipped(op, &q->slot[i]))
			return REFUSED;
	}
	if (op->result == -ESHUTDOWN) {
		if (!q->closed || others_read(op, q))
			return REFUSED;
		q->sealed = 1;
		return COMPLETE;
	}
	return !q->closed || others_read(op, q) ? COMPLETE : REFUSED;
}

/* May slot i be taken? */
static bool takeable(const struct op *op, const struct queue *q, uint32_t i)
{
	if (broken == LIFO) {
		for (uint32_t j = i + 1; j < q->count; j++) {
			if (q->slot[j].is == FULL)
				return false;
		}
		return q->slot[i].is == FULL;
	}
	for (uint32_t j = 0; j < i; j++) {
		if (!skipped(op, &q->slot[j]))
			return false;
	}
	return q->slot[i].is == FULL || q->slot[i].is == BACK;
}

static enum verdict take(const struct op *op, struct queue *q, uint32_t choice)
{
	bool unknown = (op->flags & OP_OPTIONAL) || op->result == -EMSGSIZE;
	struct slot *slot = &q->slot[choice];

	if (op->result < 0 && op->result != -EMSGSIZE)
		return choice == 0 ? nothing(op, q) : LAST;
	if (choice >= q->count)
		return LAST;
	if (!unknown && slot->id != op->value)
		return REFUSED;
	if (!takeable(op, q, choice))
		return REFUSED;
	if (!unknown && op->kind == TAKE &&
	    (op->more[0] != (uint64_t)q->base + choice || op->more[1] != slot->tries))
		return REFUSED;
	slot->is = READING;
	slot->owner = op->who;
	return op->kind == RECV ? NEXT : COMPLETE;
}

static enum verdict finish_receive(const struct op *op, struct queue *q)
{
	for (uint32_t i = 0; i < q->count; i++) {
		if (q->slot[i].is != READING || q->slot[i].owner != op->who)
			continue;
		if (!(op->flags & OP_OPTIONAL) && q->slot[i].id != op->value)
			continue;
		retire(q, i);
		return COMPLETE;
	}
	return REFUSED;
}

/* It had no room: the message goes back. */
static enum verdict finish_refused(const struct op *op, struct queue *q, uint32_t step)
{
	for (uint32_t i = 0; i < q->count; i++) {
		struct slot *slot = &q->slot[i];

		if (slot->owner != op->who || slot->is != (step == 1 ? READING : BACK))
			continue;
		slot->is = step == 1 ? BACK : FULL;
		slot->owner = step == 1 ? op->who : RETURNED;
		return step == 1 ? NEXT : COMPLETE;
	}
	return step == 1 ? REFUSED : COMPLETE; /* Somebody has it already. */
}

static enum verdict put_back(const struct op *op, struct queue *q, uint32_t step)
{
	int i = own(q, op, step == 0 ? READING : BACK, 0);

	if (i < 0)
		return step == 0 ? REFUSED : COMPLETE; /* Somebody has it already. */
	q->slot[i].is = step == 0 ? BACK : FULL;
	if (step == 0)
		return NEXT;
	q->slot[i].owner = RETURNED;
	return COMPLETE;
}

static enum verdict death(const struct op *op, struct queue *q, uint32_t choice)
{
	struct slot *slot = &q->slot[choice];
	bool any = false;

	for (uint32_t i = 0; i < q->count; i++)
		any |= q->slot[i].owner == op->who && q->slot[i].is != GONE;
	if (!any && choice == 0) {
		q->gone |= (uint8_t)(1u << op->who);
		return COMPLETE;
	}
	if (choice >= q->count)
		return LAST;
	if (slot->owner != op->who || slot->is == GONE)
		return REFUSED;
	if (slot->is == WRITING) {
		retire(q, choice);
	} else if (slot->is == READING) {
		slot->is = BACK;
		slot->tries++;
	} else {
		slot->is = FULL;
		slot->owner = RETURNED;
	}
	return STAYS;
}

static enum verdict own_step(const struct op *op, struct queue *q, uint32_t step)
{
	int i;

	switch (op->kind) {
	case SEND: /* its second */
		i = own(q, op, WRITING, op->arg);
		break;
	case COMMIT:
	case ABORT:
		i = own(q, op, WRITING, 0);
		break;
	case DONE:
		i = own(q, op, READING, 0);
		break;
	default:
		return put_back(op, q, step);
	}
	if (i < 0 || op->result != 0)
		return REFUSED;
	if (op->kind == DONE || op->kind == ABORT) {
		retire(q, (uint32_t)i);
		return COMPLETE;
	}
	q->slot[i] = (struct slot){FULL, NOBODY, (uint8_t)op->arg, 0};
	return COMPLETE;
}

static enum verdict apply(const struct history *h, const struct op *op, uint32_t step,
			  uint32_t choice, union state *s)
{
	struct queue *q = (struct queue *)s;

	if ((op->flags & OP_OPTIONAL) && (q->gone >> op->who & 1))
		return LAST;
	if (op->kind == DEATH)
		return death(op, q, choice);
	if (step == 0 && (op->kind == RECV || op->kind == TAKE))
		return take(op, q, choice);
	if (choice > 0)
		return LAST;
	if (op->kind == SHUTDOWN) {
		q->closed = 1;
		return COMPLETE;
	}
	if (op->kind == RECV)
		return op->arg ? finish_refused(op, q, step) : finish_receive(op, q);
	if (op->kind == SEND || op->kind == LOAN) {
		if (op->flags & OP_SPURIOUS)
			return step == 0   ? look(op, q)
			       : step == 1 ? claim(h, op, q)
					   : own_step(op, q, step);
		if (step == 0)
			return q->closed && op->result == 0 ? REFUSED : claim(h, op, q);
	}
	return own_step(op, q, step);
}

/* Who is on his way when the queue is closed, or when a message comes back, may have looked before.
 */
static void prepare(struct history *h)
{
	for (uint32_t i = 0; i < h->count; i++) {
		struct op *op = &h->op[i];

		for (uint32_t j = 0; j < h->count; j++) {
			bool sends = op->kind == SEND || op->kind == LOAN;
			bool takes = op->kind == RECV || op->kind == TAKE;
			uint8_t other = i == j ? KINDS : h->op[j].kind;

			if (((sends && other == SHUTDOWN && conceded(CLOSING)) ||
			     (takes && (other == PUT_BACK || other == DEATH ||
					(other == RECV && h->op[j].arg)))) &&
			    ops_overlap(op, &h->op[j]))
				op->flags |= OP_SPURIOUS;
		}
	}
}

const struct spec spec_queue = {init, apply, prepare};
