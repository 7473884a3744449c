/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The directory: name -> object, created exactly once.
 *
 * An object is built completely in a block of its builder's and then published by one CAS on the
 * first unused entry.  Entries are searched in order and never become unused again (a removed one
 * is a tombstone), so of two builders of the same name one finds the other's entry when his CAS
 * fails, takes that one and gives his own block back.  Nobody waits for anybody.
 */
#include <stdlib.h>
#include <string.h>

#include "seg/seg.h"

#define TOMBSTONE 1u

static struct weir_object_shm *object_at_off(const struct weir_segment *seg, uint64_t off)
{
	struct weir_object_shm *o;

	if (off < seg->arena_off || off % WEIR__UNIT != 0 || off > seg->bytes - WEIR__UNIT)
		return NULL;
	o = (struct weir_object_shm *)(void *)(seg->base + off);
	return o->magic == WEIR__OBJECT_MAGIC ? o : NULL;
}

void *weir__object_at(const struct weir_segment *seg, uint32_t index)
{
	if (index >= seg->dir_count)
		return NULL;
	/* EDGE dir.entry (acquire <- publish): the object is whole before its entry. */
	return object_at_off(seg, weir_load_acquire(&seg->dir[index]));
}

uint64_t weir__object_bytes(const struct weir_segment *seg, const void *object)
{
	const struct weir_object_shm *o = object;
	uint64_t off = (uint64_t)((const uint8_t *)object - seg->base);
	/* relaxed: the size of a published block does not change. */
	uint64_t bytes =
		(uint64_t)weir_object_block_units(weir_load_relaxed(&o->block)) * WEIR__UNIT;

	return bytes <= seg->bytes - off ? bytes : 0;
}

static bool has_name(const struct weir_object_shm *o, const char *name)
{
	char copy[sizeof(o->name)];

	memcpy(copy, o->name, sizeof(copy));
	return strncmp(copy, name, sizeof(copy)) == 0;
}

/* Index of `name`, or of the first unused entry (*ret_object NULL), or -ENOSPC. */
static int find(const struct weir_segment *seg, const char *name,
		struct weir_object_shm **ret_object)
{
	for (uint32_t i = 0; i < seg->dir_count; i++) {
		/* EDGE dir.entry (acquire <- publish): the object is whole before its entry. */
		uint64_t off = weir_load_acquire(&seg->dir[i]);
		struct weir_object_shm *o = object_at_off(seg, off);

		if (off == 0 || (o && has_name(o, name))) {
			*ret_object = o;
			return (int)i;
		}
	}
	return -ENOSPC;
}

static int use(const struct weir_segment *seg, struct weir_object_shm *o,
	       const struct weir__plan *plan, void **ret_object)
{
	weir__arena_settle(o, WEIR_OBJECT_BLOCK_READY);
	if (o->type != plan->type)
		return -EEXIST;
	if (plan->opts && plan->match && !plan->match(o, plan->opts))
		return -EEXIST;
	if (weir__object_bytes(seg, o) < sizeof(struct weir_object_shm) * 2)
		return -EBADMSG;
	*ret_object = o;
	return 0;
}

static int build(struct weir_segment *seg, const char *name, const struct weir__plan *plan,
		 struct weir_object_shm **ret_object)
{
	int self = weir__self(seg);
	struct weir_object_shm *o;
	void *block;
	int r;

	if (self < 0)
		return self;
	r = weir__arena_claim(seg, (uint32_t)self, plan->bytes, &block);
	if (r < 0)
		return r;
	o = block;
	o->magic = WEIR__OBJECT_MAGIC;
	o->type = plan->type;
	memcpy(o->name, name, strlen(name));
	o->created_ns = weir__now_ns();
	plan->init(seg, o, plan->opts);
	*ret_object = o;
	return 0;
}

int weir__object_open(struct weir_segment *seg, const char *name, const struct weir__plan *plan,
		      void **ret_object)
{
	struct weir_object_shm *mine = NULL;
	struct weir_object_shm *found;
	int r = weir_name_check(name);
	int index;

	if (r < 0)
		return r;
	/* Ends: each turn but the last, somebody else published an object. */
	for (;;) {
		uint64_t unused = 0;

		index = find(seg, name, &found);
		if (index < 0 || found || !plan->opts)
			break;
		if (!mine) {
			r = build(seg, name, plan, &mine);
			if (r < 0)
				return r;
		}
		WEIR_CRASH_POINT(object_built);
		/* EDGE dir.entry (full -> find): publish the object, whole. */
		if (weir_cas_full(&seg->dir[index], &unused,
				  (uint64_t)((uint8_t *)mine - seg->base))) {
			WEIR_CRASH_POINT(object_published);
			weir__arena_settle(mine, WEIR_OBJECT_BLOCK_READY);
			weir__event(seg, WEIR_EVENT_KIND_CREATE, mine, plan->type, 0);
			*ret_object = mine;
			return 0;
		}
	}
	if (mine)
		weir__arena_settle(mine, WEIR_OBJECT_BLOCK_FREE);
	if (index < 0)
		return plan->opts ? index : -ENOENT;
	return found ? use(seg, found, plan, ret_object) : -ENOENT;
}

int weir_object_unlink(struct weir_segment *seg, const char *name)
{
	struct weir_object_shm *o;
	uint64_t off;
	int r = weir_name_check(name);
	int index;

	if (r < 0)
		return r;
	index = find(seg, name, &o);
	if (index < 0 || !o)
		return -ENOENT;
	off = (uint64_t)((uint8_t *)o - seg->base);
	weir__arena_settle(o, WEIR_OBJECT_BLOCK_READY);
	/* EDGE dir.entry (full -> find): entry,off -> tombstone; the memory stays. */
	if (!weir_cas_full(&seg->dir[index], &off, TOMBSTONE))
		return -ENOENT;
	weir__event(seg, WEIR_EVENT_KIND_REMOVE, o, 0, 0);
	return 0;
}
