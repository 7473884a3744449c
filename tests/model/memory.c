/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * C11 memory, operationally: RC11 (Lahav et al., PLDI 2017) without load buffering, and with the
 * modification order of each location the order of execution.
 *
 * A location keeps all its stores.  A load may return any that is not older than what the loading
 * thread is bound to have seen: what it saw itself, and what each other thread had seen at the time
 * that has become known to it (view.co).  The newest value is also in the bytes themselves, so
 * plain accesses need no simulation, only the proof that they are ordered (as in FastTrack,
 * Flanagan and Freund, PLDI 2009).
 *
 * seq_cst: their order is the order of execution.  A seq_cst load sees the last seq_cst store, and
 * what was known at any seq_cst fence; a fence sees every seq_cst store before it, and what was
 * known at fences before it.  Only coherence follows from that, not happens-before.
 */
#include <string.h>

#include "core.h"

#define CELLS_MAX  12000
#define STORES_MAX 12000
#define SEEN_MAX   24000

uint8_t arena[ARENA_BYTES] __attribute__((aligned(4096)));
static uint8_t pristine[ARENA_BYTES];
static uint16_t cell_index[CELLS]; /* 0: not touched */
static bool quiet[CELLS];
static struct cell cells[CELLS_MAX];
static struct store stores[STORES_MAX];
static struct seen seens[SEEN_MAX];
static uint32_t dirty[CELLS]; /* cells to put back */
static bool is_dirty[CELLS];
static uint16_t sc_cells[CELLS_MAX];
static int cell_count = 1;
static int store_count;
static int seen_count;
static int sc_count;
static int dirty_count;
static vc_t sc_view; /* what was known at seq_cst fences */

void memory_pristine(void)
{
	memcpy(pristine, arena, sizeof(arena));
}

void memory_reset(void)
{
	for (int i = 0; i < dirty_count; i++) {
		memcpy(arena + dirty[i] * 4, pristine + dirty[i] * 4, 4);
		is_dirty[dirty[i]] = false;
	}
	for (int i = 1; i < cell_count; i++) {
		cell_index[cells[i].at] = 0;
		if (cell_index[cells[i].at + 1] == i)
			cell_index[cells[i].at + 1] = 0;
	}
	dirty_count = 0;
	cell_count = 1;
	store_count = 0;
	seen_count = 0;
	sc_count = 0;
	sc_view = (vc_t){0};
}

void quiet_set(uint32_t at, size_t bytes, bool on)
{
	memset(quiet + at, on, (bytes + 3) / 4);
}

bool quiet_is(uint32_t at)
{
	return quiet[at];
}

static void touch(uint32_t at)
{
	if (is_dirty[at])
		return;
	is_dirty[at] = true;
	dirty[dirty_count++] = at;
}

void memory_touch(const volatile void *p, size_t bytes)
{
	uint32_t end = cell_of((const volatile uint8_t *)p + bytes - 1);

	for (uint32_t at = cell_of(p); bytes && at <= end; at++)
		touch(at);
}

uint64_t raw_read(uint32_t at, unsigned size)
{
	uint64_t value = 0;

	memcpy(&value, arena + at * 4, size);
	return value;
}

static void raw_write(uint32_t at, unsigned size, uint64_t value)
{
	touch(at);
	if (size == 8)
		touch(at + 1);
	memcpy(arena + at * 4, &value, size);
}

/* --- cells --------------------------------------------------------------------------------- */

static struct cell *cell_new(uint32_t at)
{
	struct cell *c = &cells[cell_count];

	if (cell_count == CELLS_MAX)
		model_fail("more than %d words touched", CELLS_MAX);
	memset(c, 0, sizeof(*c));
	c->at = at;
	c->last_write = -1;
	c->last_sc_write = -1;
	c->last_sc = -1;
	c->plain_thread = THREADS_MAX;
	cell_index[at] = (uint16_t)cell_count++;
	return c;
}

static struct cell *cell_at(uint32_t at)
{
	return cell_index[at] ? &cells[cell_index[at]] : cell_new(at);
}

/* The upper half becomes part of an 8-byte word: what is known of it is known of the word. */
static void take_half(struct cell *c)
{
	uint32_t at = c->at + 1;
	struct cell *half = &cells[cell_index[at]];

	if (cell_index[at]) {
		if (half->size)
			model_fail("one word in two sizes");
		c->plain_reads = vc_join(c->plain_reads, half->plain_reads);
		if (half->plain_thread < THREADS_MAX) {
			c->plain_thread = half->plain_thread;
			c->plain_clock = half->plain_clock;
		}
	}
	cell_index[at] = cell_index[c->at];
}

static void store_push(struct cell *c, int thread, int16_t clock, uint64_t value)
{
	struct store *s = &stores[store_count++];

	if (store_count == STORES_MAX)
		model_fail("more than %d stores", STORES_MAX);
	s->prev = c->last;
	s->value = value;
	s->event = -1;
	s->index = c->last ? (int16_t)(c->last->index + 1) : 0;
	s->thread = (uint8_t)thread;
	s->clock = clock;
	s->sc = false;
	s->msg = (struct view){0};
	c->last = s;
}

static void saw(struct cell *c, int thread, int16_t clock, int16_t index)
{
	struct seen *s = c->seen[thread];

	if (s && s->index >= index)
		return;
	s = &seens[seen_count++];
	if (seen_count == SEEN_MAX)
		model_fail("more than %d looks", SEEN_MAX);
	s->prev = c->seen[thread];
	s->clock = clock;
	s->index = index;
	c->seen[thread] = s;
}

struct cell *memory_cell(uint32_t at, unsigned size)
{
	struct cell *c = cell_at(at);

	if (c->at != at || (c->size && c->size != size))
		model_fail("one word in two sizes");
	if (!c->size) {
		c->size = (uint8_t)size;
		if (size == 8)
			take_half(c);
		store_push(c, 0, 0, raw_read(at, size));
	} else if (c->stale) {
		store_push(c, c->plain_thread, c->plain_clock, raw_read(at, size));
		saw(c, c->plain_thread, c->plain_clock, c->last->index);
	}
	c->stale = false;
	return c;
}

/* --- plain accesses ------------------------------------------------------------------------ */

static void report_race(const struct cell *c, int other, const char *what)
{
	char name[80];

	if (race_declared(c->at))
		return;
	name_of(c->at, name, sizeof(name));
	model_fail("data race on %s: %s, not ordered with thread %d", name, what, other);
}

/* Somebody else's access that does not happen before ours, or -1. */
static int unordered(vc_t theirs, int thread)
{
	vc_t late = theirs > threads[thread].view.hb;

	for (int i = 0; i < thread_count; i++) {
		if (i != thread && late[i])
			return i;
	}
	return -1;
}

static void plain_one(uint32_t at, int thread, bool write)
{
	struct cell *c = cell_at(at);
	int16_t clock = threads[thread].view.hb[thread];
	int other = unordered(c->atomic_writes, thread);

	if (c->plain_thread < THREADS_MAX && c->plain_thread != thread &&
	    c->plain_clock > threads[thread].view.hb[c->plain_thread])
		other = c->plain_thread;
	if (other < 0 && write)
		other = unordered(vc_join(c->plain_reads, c->atomic_reads), thread);
	if (other >= 0)
		report_race(c, other, write ? "a plain store" : "a plain load");
	if (!write) {
		c->plain_reads[thread] = clock;
		return;
	}
	touch(at);
	c->plain_thread = (uint8_t)thread;
	c->plain_clock = clock;
	c->stale = c->size != 0;
}

void memory_plain(const volatile void *p, size_t bytes, bool write)
{
	uint32_t at = cell_of(p);
	uint32_t end = cell_of((const volatile uint8_t *)p + bytes - 1);

	for (; at <= end; at++)
		plain_one(at, running, write);
}

/* --- what a load may return ---------------------------------------------------------------- */

static int16_t floor_by(const struct cell *c, vc_t known)
{
	int16_t most = 0;

	for (int u = 0; u < thread_count; u++) {
		const struct seen *s = c->seen[u];

		while (s && s->clock > known[u])
			s = s->prev;
		if (s && s->index > most)
			most = s->index;
	}
	return most;
}

static int16_t floor_of(const struct cell *c, int thread, bool sc)
{
	int16_t least = floor_by(c, threads[thread].view.co);

	if (sc) {
		int16_t fenced = floor_by(c, sc_view);

		least = fenced > least ? fenced : least;
		least = c->last_sc > least ? c->last_sc : least;
	}
	return least;
}

/* Is a load of this order in the order of all seq_cst operations?  See limits.rcsc. */
bool sc_load(int order)
{
	return order == __ATOMIC_SEQ_CST || (limits.rcsc && order == __ATOMIC_ACQUIRE);
}

static bool only_newest(const struct op *op)
{
	return op->kind != OP_LOAD && op->kind != OP_CAS;
}

int memory_labels(int thread, const struct op *op, uint16_t *ret_labels)
{
	struct cell *c;
	int16_t least;
	int n = 0;

	if (only_newest(op)) {
		ret_labels[0] = 0;
		return 1;
	}
	c = memory_cell(op->cell, op->size);
	least = floor_of(c, thread, sc_load(op->kind == OP_LOAD ? op->order : op->order_failed));
	for (const struct store *s = c->last; s && s->index >= least; s = s->prev) {
		/* A compare-and-swap that would succeed reads the newest. */
		if (op->kind == OP_CAS && s != c->last && s->value == op->expected)
			continue;
		if (n == LABELS_MAX) {
			tally.cut++;
			break;
		}
		ret_labels[n++] = (uint16_t)s->index;
	}
	return n;
}

/* --- what an operation does ---------------------------------------------------------------- */

static bool acquires(int order)
{
	return order == __ATOMIC_ACQUIRE || order == __ATOMIC_CONSUME ||
	       order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
}

static bool releases(int order)
{
	return order == __ATOMIC_RELEASE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
}

static void check_plain(const struct cell *c, int thread, bool write)
{
	int other = -1;

	if (c->plain_thread < THREADS_MAX && c->plain_thread != thread &&
	    c->plain_clock > threads[thread].view.hb[c->plain_thread])
		other = c->plain_thread;
	if (other < 0 && write)
		other = unordered(c->plain_reads, thread);
	if (other >= 0)
		report_race(c, other, write ? "an atomic store" : "an atomic load");
}

static const struct store *read_store(int thread, struct cell *c, const struct store *s, int order)
{
	struct thread *t = &threads[thread];

	check_plain(c, thread, false);
	c->atomic_reads[thread] = t->view.hb[thread];
	saw(c, thread, t->view.hb[thread], s->index);
	view_join(acquires(order) ? &t->view : &t->loaded, &s->msg);
	return s;
}

static void write_store(int thread, struct cell *c, uint64_t value, int order, bool rmw)
{
	struct thread *t = &threads[thread];
	const struct store *before = c->last;

	check_plain(c, thread, true);
	c->atomic_writes[thread] = t->view.hb[thread];
	store_push(c, thread, t->view.hb[thread], value);
	c->last->event = depth;
	c->last->msg = releases(order) ? t->view : t->fence;
	if (rmw) /* The release sequence goes on. */
		view_join(&c->last->msg, &before->msg);
	saw(c, thread, t->view.hb[thread], c->last->index);
	if (order == __ATOMIC_SEQ_CST) {
		if (c->last_sc < 0)
			sc_cells[sc_count++] = cell_index[c->at];
		c->last->sc = true;
		c->last_sc = c->last->index;
	}
	raw_write(c->at, c->size, value);
	for (int i = 0; i < thread_count; i++)
		stores_by[i] += i != thread;
}

static void fence(int thread, int order)
{
	struct thread *t = &threads[thread];

	if (acquires(order))
		view_join(&t->view, &t->loaded);
	if (order == __ATOMIC_SEQ_CST) {
		t->view.co = vc_join(t->view.co, sc_view);
		sc_view = vc_join(sc_view, t->view.co);
		for (int i = 0; i < sc_count; i++)
			saw(&cells[sc_cells[i]], thread, t->view.hb[thread],
			    cells[sc_cells[i]].last_sc);
	}
	if (releases(order))
		t->fence = t->view;
}

static uint64_t modified(const struct op *op, uint64_t old)
{
	switch (op->rmw) {
	case RMW_ADD:
		return old + op->value;
	case RMW_SUB:
		return old - op->value;
	case RMW_AND:
		return old & op->value;
	case RMW_OR:
		return old | op->value;
	case RMW_XOR:
		return old ^ op->value;
	case RMW_LOCK:
		return old ? old : op->value;
	default:
		return op->value;
	}
}

/* Has a store hidden the value that was expected?  Then the other order matters. */
static bool could_win(int thread, const struct op *op, const struct cell *c)
{
	int16_t least = floor_of(c, thread, sc_load(op->order_failed));

	for (const struct store *s = c->last; s && s->index >= least; s = s->prev) {
		if (s->value == op->expected)
			return true;
	}
	return false;
}

static void compare_and_swap(int thread, struct op *op, struct cell *c, const struct store *s)
{
	op->ok = s == c->last && s->value == op->expected;
	op->late = !op->ok && could_win(thread, op, c);
	read_store(thread, c, s, op->ok ? op->order : op->order_failed);
	op->result = s->value;
	if (op->ok)
		write_store(thread, c, op->value, op->order, true);
}

const struct store *memory_perform(int thread, struct op *op, uint16_t label)
{
	struct cell *c;
	const struct store *s;
	uint64_t mask;

	if (op->kind == OP_FENCE)
		fence(thread, op->order);
	if (!op->size)
		return NULL;
	c = memory_cell(op->cell, op->size);
	s = c->last;
	mask = op->size == 8 ? UINT64_MAX : UINT32_MAX;
	switch (op->kind) {
	case OP_LOAD:
	case OP_CAS:
		while (s->index != label)
			s = s->prev;
		if (op->kind == OP_CAS)
			compare_and_swap(thread, op, c, s);
		else
			op->result = read_store(thread, c, s, op->order)->value;
		return s;
	case OP_STORE:
	case OP_DIE:
		write_store(thread, c, op->value & mask, op->order, false);
		return NULL;
	case OP_RMW:
		op->result = read_store(thread, c, s, op->order)->value;
		write_store(thread, c, modified(op, op->result) & mask, op->order, true);
		return s;
	default: /* wait, probe: the kernel's own look, on behalf of the thread */
		op->result = read_store(thread, c, s, op->order)->value;
		for (int i = 1; i < op->words; i++) {
			c = memory_cell(op->word[i], 4);
			read_store(thread, c, c->last, op->order);
		}
		return s;
	}
}

/* --- final states ---------------------------------------------------------------------------- */

static uint64_t mix(uint64_t h)
{
	h ^= h >> 31;
	h *= 0x9e3779b97f4a7c15u;
	return h ^ h >> 29;
}

/* What the execution has changed, as one number; without what is quiet. */
uint64_t memory_hash(void)
{
	uint64_t sum = 0;

	for (int i = 0; i < dirty_count; i++) {
		uint64_t value = raw_read(dirty[i], 4);

		if (!quiet[dirty[i]] && memcmp(arena + dirty[i] * 4, pristine + dirty[i] * 4, 4))
			sum += mix((uint64_t)dirty[i] << 32 | value);
	}
	return sum;
}
