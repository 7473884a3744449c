/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Which transitions depend on each other, and where another order has to be tried: source sets and
 * sleep sets (Abdulla, Aronsson, Jonsson, Sagonas, POPL 2014).
 *
 * A transition is a thread with a label: for a load, which store it returns.  A load that returned
 * store s commutes with every later store to the same word, for it may be done after it all the
 * same; so only "load, then a store it could have returned" is a race, and "store, then a load that
 * returned an older one" is none.  Where seq_cst takes that choice away both orders are tried, and
 * where a compare-and-swap failed that would have won before a store: it can only win at the end.
 */
#include <string.h>

#include "core.h"

#define LINKS_MAX 20000
#define RACES_MAX 512

struct event events[DEPTH_MAX];
static struct link links[LINKS_MAX];
static int link_count;
static int last_fence[THREADS_MAX];
static int last_sc[THREADS_MAX];
static int racing[RACES_MAX]; /* events that the new one races with */
static int race_count;

void order_reset(void)
{
	link_count = 0;
	for (int i = 0; i < THREADS_MAX; i++) {
		last_fence[i] = -1;
		last_sc[i] = -1;
	}
}

static void link_add(struct link **list, int event)
{
	struct link *l = &links[link_count++];

	if (link_count == LINKS_MAX)
		model_fail("more than %d links", LINKS_MAX);
	l->prev = *list;
	l->event = event;
	*list = l;
}

static bool before(int event, vc_t vc)
{
	return events[event].index <= vc[events[event].thread];
}

/* --- source sets --------------------------------------------------------------------------- */

static uint8_t initials(int first, int second)
{
	vc_t at = (vc_t){0} + INT16_MAX; /* of each thread: its first event in v */
	uint8_t found = 0;

	/* v: what comes after `first` and does not depend on it, then `second`. */
	for (int i = first + 1; i <= second; i++) {
		const struct event *e = &events[i];
		bool begins = true;

		if (i < second && before(first, e->vc))
			continue;
		if (at[e->thread] != INT16_MAX)
			continue;
		for (int u = 0; u < thread_count; u++)
			begins &= u == e->thread || e->vc[u] < at[u];
		at[e->thread] = e->index;
		if (begins)
			found |= (uint8_t)(1u << e->thread);
	}
	return found;
}

void race(int first, int second)
{
	struct frame *f = &frames[first];
	uint8_t found = initials(first, second);
	uint8_t last = (uint8_t)(1u << events[second].thread);
	uint8_t one = found & last ? last : (uint8_t)(found & -found);

	if (f->backtrack & found)
		return;
	f->backtrack |= f->enabled & one ? one : f->enabled;
}

/* --- sleep sets ---------------------------------------------------------------------------- */

static bool depends(const struct entry *a, const struct event *b)
{
	unsigned both = a->touch | b->touch;
	bool sc_pair = a->touch & b->touch & T_SC;

	if (both & T_WORLD)
		return true;
	if ((a->touch & T_FENCE && b->touch & (T_FENCE | T_SC)) ||
	    (b->touch & T_FENCE && a->touch & T_SC))
		return true;
	if (both & T_MANY && both & (T_WRITE | T_WAKE))
		return true;
	if (a->cell != b->cell)
		return false;
	if (a->touch & b->touch & T_WRITE)
		return true;
	if (both & T_WRITE && (both & T_LATEST || (both & T_READ && sc_pair)))
		return true;
	return both & T_WAKE && both & T_SLEEP;
}

static void sleep_add(struct frame *f, const struct entry *from, int count, const struct event *e)
{
	for (int i = 0; i < count && f->sleep_count < ENTRIES_MAX; i++) {
		if (from[i].thread != e->thread && !depends(&from[i], e))
			f->sleep[f->sleep_count++] = from[i];
	}
}

/* What need not be done in frame `at`, because of what was done instead in the one before. */
void sleep_inherit(struct frame *f, int at)
{
	const struct frame *up = &frames[at - 1];

	if (at == 0)
		return;
	sleep_add(f, up->sleep, up->sleep_count, &events[at - 1]);
	sleep_add(f, up->done, up->done_count, &events[at - 1]);
}

/* --- the order of events ------------------------------------------------------------------- */

static unsigned touch_of(const struct op *op, uint16_t label)
{
	unsigned sc = op->order == __ATOMIC_SEQ_CST ? T_SC : 0;

	switch (op->kind) {
	case OP_LOAD:
		return T_READ | (sc_load(op->order) ? T_SC : 0u);
	case OP_STORE:
	case OP_RMW:
	case OP_DIE:
		return T_WRITE | sc;
	case OP_CAS:
		if (op->ok)
			return T_WRITE | sc;
		return T_READ | (op->late ? T_LATEST : 0u) |
		       (sc_load(op->order_failed) ? T_SC : 0u);
	case OP_FENCE:
		return sc ? T_FENCE : 0;
	case OP_WAIT:
		return T_LATEST | (op->ok ? T_SLEEP : 0u) | (op->words > 1 ? T_MANY : 0u);
	case OP_SLEEP:
		return label ? T_SLEEP | (op->words > 1 ? T_MANY : 0u) : 0u;
	case OP_WAKE:
		return T_WAKE;
	case OP_PROBE:
		return T_LATEST;
	default:
		return 0;
	}
}

static void may_race(int event, const struct event *e, vc_t known)
{
	if (event < 0 || events[event].thread == e->thread || before(event, known))
		return;
	if (race_count < RACES_MAX)
		racing[race_count++] = event;
}

static void depend(int event, struct event *e, vc_t known)
{
	if (event < 0)
		return;
	may_race(event, e, known);
	e->vc = vc_join(e->vc, events[event].vc);
}

static void order_store(const struct cell *c, struct event *e, vc_t known)
{
	depend(c->last_write, e, known);
	for (const struct link *l = c->readers; l; l = l->prev) {
		const struct event *r = &events[l->event];

		if (r->touch & T_LATEST || r->touch & e->touch & T_SC)
			depend(l->event, e, known);
		else
			may_race(l->event, e, known);
	}
}

static void order_cell(struct cell *c, struct event *e, vc_t known)
{
	if (e->touch & T_WRITE)
		order_store(c, e, known);
	if (e->touch & T_READ && e->touch & T_SC)
		depend(c->last_sc_write, e, known);
	if (e->touch & T_LATEST)
		depend(c->last_write, e, known);
	if (e->touch & T_SLEEP) {
		for (const struct link *l = c->wakes; l; l = l->prev)
			depend(l->event, e, known);
		link_add(&c->sleepers, depth);
	}
	if (e->touch & T_WAKE) {
		for (const struct link *l = c->sleepers; l; l = l->prev)
			depend(l->event, e, known);
		link_add(&c->wakes, depth);
	}
	if (e->touch & (T_READ | T_LATEST))
		link_add(&c->readers, depth);
	if (e->touch & T_WRITE) {
		c->last_write = depth;
		if (e->touch & T_SC)
			c->last_sc_write = depth;
	}
}

static void order_fences(int thread, struct event *e, vc_t known)
{
	for (int u = 0; u < thread_count && e->touch & (T_FENCE | T_SC); u++) {
		if (u == thread)
			continue;
		depend(last_fence[u], e, known);
		if (e->touch & T_FENCE)
			depend(last_sc[u], e, known);
	}
	if (e->touch & T_FENCE)
		last_fence[thread] = depth;
	if (e->touch & T_SC)
		last_sc[thread] = depth;
}

/* Note the transition just made as event number `depth`. */
void order_event(int thread, const struct op *op, uint16_t label, const struct store *read)
{
	struct thread *t = &threads[thread];
	struct event *e = &events[depth];
	vc_t known = t->vc;

	race_count = 0;
	e->thread = (uint8_t)thread;
	e->label = label;
	e->index = t->steps;
	e->touch = (uint16_t)(touch_of(op, label) | (world_waits ? T_WORLD : 0u));
	e->cell = op->cell;
	e->vc = known;
	if (read && read->event >= 0)
		e->vc = vc_join(e->vc, events[read->event].vc);
	if (op->kind == OP_SLEEP && label == 0 && t->woken_by >= 0)
		e->vc = vc_join(e->vc, events[t->woken_by].vc);
	for (int i = 0; i < thread_count; i++) {
		if (e->touch & T_WORLD)
			e->vc = vc_join(e->vc, threads[i].vc);
		if (op->kind == OP_AWAIT && i != thread && threads[i].died_by >= 0)
			e->vc = vc_join(e->vc, events[threads[i].died_by].vc);
	}
	e->vc[thread] = t->steps;
	for (int i = 0; i < op->words && op->kind != OP_WAKE; i++)
		order_cell(memory_cell(op->word[i], 4), e, known);
	if (!op->words && e->touch & (T_READ | T_LATEST | T_WRITE | T_WAKE))
		order_cell(memory_cell(op->cell, op->size ? op->size : 4), e, known);
	order_fences(thread, e, known);
	t->vc = e->vc;
	if (limits.mode != MODE_SEARCH || depth < prefix - 1 || e->touch & T_WORLD)
		return;
	for (int i = 0; i < race_count; i++)
		race(racing[i], depth);
}
