/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A directory, name by name: nothing, or one object of a type with options.
 *
 * open: nothing there: creates; the object is one that this name never had before.  The same
 *     type and options: that object.  Else -EEXIST.
 * find: -ENOENT; -EEXIST if it is of another type; else that object.
 * unlink: -ENOENT; or the name is free again, and the object is never seen here any more.
 *
 * Who died while creating may have created: then the next to open it says which object it is.
 */
#include <errno.h>

#include "history.h"

#define EVER	7u
#define UNKNOWN UINT32_MAX

struct directory {
	uint32_t object; /* 0: none */
	uint32_t what;	 /* as opened: 1 and 2 semaphores, 3 a queue */
	uint32_t count;
	uint32_t ever[EVER];
	uint8_t gone; /* the dead that have been swept, one bit each */
};
_Static_assert(sizeof(struct directory) <= sizeof(union state), "state too small");

static void init(const struct history *h, uint8_t part, union state *s)
{
	(void)h;
	(void)part;
	(void)s;
}

/* An object that was not there before; UNKNOWN's names come later. */
static bool enter(struct directory *d, uint32_t object)
{
	if (object == 0 || d->count == EVER)
		return false;
	for (uint32_t i = 0; i < d->count; i++) {
		if (d->ever[i] == object)
			return false;
	}
	d->object = object;
	d->ever[d->count++] = object;
	return true;
}

static bool is_object(struct directory *d, uint32_t object)
{
	if (d->object != UNKNOWN)
		return d->object == object;
	return enter(d, object);
}

static enum verdict open(const struct op *op, struct directory *d)
{
	if (op->flags & OP_OPTIONAL) {
		if (d->object == 0) {
			d->object = UNKNOWN;
			d->what = op->arg;
		}
		return COMPLETE;
	}
	if (d->object != 0 && d->what != op->arg)
		return op->result == -EEXIST ? COMPLETE : REFUSED;
	if (op->result != 0)
		return REFUSED;
	if (d->object != 0)
		return is_object(d, op->value) ? COMPLETE : REFUSED;
	d->what = op->arg;
	return enter(d, op->value) ? COMPLETE : REFUSED;
}

static enum verdict find(const struct op *op, struct directory *d)
{
	if (op->flags & OP_OPTIONAL)
		return LAST;
	if (d->object == 0)
		return op->result == -ENOENT ? COMPLETE : REFUSED;
	if (d->what == 3)
		return op->result == -EEXIST ? COMPLETE : REFUSED;
	return op->result == 0 && is_object(d, op->value) ? COMPLETE : REFUSED;
}

static enum verdict apply(const struct history *h, const struct op *op, uint32_t step,
			  uint32_t choice, union state *s)
{
	struct directory *d = (struct directory *)s;

	(void)h;
	(void)step;
	if (choice > 0 || ((op->flags & OP_OPTIONAL) && (d->gone >> op->who & 1)))
		return LAST;
	switch (op->kind) {
	case OPEN:
		return open(op, d);
	case FIND:
		return find(op, d);
	case UNLINK:
		if (op->result != (d->object ? 0 : -ENOENT) && !(op->flags & OP_OPTIONAL))
			return REFUSED;
		d->object = 0;
		d->what = 0;
		return COMPLETE;
	default:
		d->gone |= (uint8_t)(1u << op->who);
		return COMPLETE;
	}
}

const struct spec spec_directory = {init, apply, NULL};
