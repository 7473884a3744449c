/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Names for places in the modelled memory, and the readable trace of a failing execution. */
#include <stdio.h>
#include <string.h>
#include <weir/layout.h>

#include "core.h"
#include "obj/queue_word.h"
#include "seg/seg.h"

#define OUTCOMES 64

int trace_last; /* of the execution that is traced */

const char *shared_name(uint32_t at, uint32_t *ret_off);

/* --- names ---------------------------------------------------------------------------------- */

static void field_name(const char *layout, uint64_t off, char *ret, size_t bytes)
{
	const struct weir_layout *l = weir_layout_find(layout);
	size_t used = strlen(ret);

	for (uint32_t i = 0; l && i < l->field_count; i++) {
		const struct weir_layout_field *f = &l->fields[i];
		uint64_t in = off - f->offset;

		if (off < f->offset || in >= f->size)
			continue;
		if (f->count > 1)
			snprintf(ret + used, bytes - used, ".%s[%u]", f->name,
				 (unsigned)(in / (f->size / f->count)));
		else
			snprintf(ret + used, bytes - used, ".%s", f->name);
		if (f->kind == WEIR_LAYOUT_KIND_STRUCT)
			field_name(f->struct_name, in % (f->size / f->count), ret, bytes);
		return;
	}
	snprintf(ret + used, bytes - used, "+%llu", (unsigned long long)off);
}

/* `at` in an array of `layout` that begins at `base`. */
static bool in_table(const char *layout, const void *base, uint64_t count, uint64_t off, char *ret,
		     size_t bytes)
{
	uint64_t start = (uint64_t)((const uint8_t *)base - arena);
	const struct weir_layout *l = weir_layout_find(layout);

	if (off < start || off >= start + l->bytes * count)
		return false;
	snprintf(ret, bytes, "%s[%u]", layout, (unsigned)((off - start) / l->bytes));
	field_name(layout, (off - start) % l->bytes, ret, bytes);
	return true;
}

static const char *const heads[] = {NULL, "sem", "limiter", "breaker", "queue", "spans"};
static const char *const parts[] = {NULL, "sem_lane", "limiter_lane", "breaker_lane", NULL, NULL};

/* A ring of spans: its head, then its records. */
static void ring_name(const struct weir_spans_shm *spans, uint64_t in, char *ret, size_t bytes)
{
	uint64_t head = sizeof(struct weir_span_ring_shm);
	uint64_t each = head + spans->slots * sizeof(struct weir_span_shm);
	unsigned ring = (unsigned)(in / each);

	in %= each;
	if (in < head) {
		snprintf(ret, bytes, "ring[%u]", ring);
		field_name("span_ring", in, ret, bytes);
		return;
	}
	in -= head;
	snprintf(ret, bytes, "ring[%u][%u]", ring, (unsigned)(in / sizeof(struct weir_span_shm)));
	field_name("span", in % sizeof(struct weir_span_shm), ret, bytes);
}

static void object_name(uint64_t block, uint64_t off, char *ret, size_t bytes)
{
	const struct weir_object_shm *o = (const void *)(arena + block);
	const char *head = o->type < 6 ? heads[o->type] : NULL;
	const struct weir_layout *h = head ? weir_layout_find(head) : NULL;
	const struct weir_layout *part;
	uint64_t in = off - block;

	if (!h || in < h->bytes) {
		snprintf(ret, bytes, "%s", h ? head : "block");
		field_name(h ? head : "object", in, ret, bytes);
		return;
	}
	in -= h->bytes;
	if (o->type == 4) {
		const struct weir_queue_shm *q = (const void *)o;
		uint64_t claims = weir__claims_bytes(q->slot_count);
		bool send = in < claims;

		if (in < 2 * claims) {
			in -= send ? 0 : claims;
			snprintf(ret, bytes, "%s[%u]", send ? "send" : "take", (unsigned)(in / 8));
			field_name(send ? "queue_send" : "queue_take", in % 8, ret, bytes);
			return;
		}
		in -= 2 * claims;
		snprintf(ret, bytes, "slot[%u]", (unsigned)(in / q->slot_bytes));
		field_name("queue_slot", in % q->slot_bytes, ret, bytes);
		return;
	}
	part = parts[o->type] ? weir_layout_find(parts[o->type]) : NULL;
	if (part && in < part->bytes * world_seg(0)->thread_count) {
		snprintf(ret, bytes, "lane[%u]", (unsigned)(in / part->bytes));
		field_name(part->name, in % part->bytes, ret, bytes);
		return;
	}
	if (part)
		in -= part->bytes * world_seg(0)->thread_count;
	if (o->type == 2) {
		part = weir_layout_find("limiter_set");
		snprintf(ret, bytes, "set[%u]", (unsigned)(in / part->bytes));
		field_name("limiter_set", in % part->bytes, ret, bytes);
	} else if (o->type == 5) {
		ring_name((const void *)o, in, ret, bytes);
	} else {
		snprintf(ret, bytes, "%s+%llu", head, (unsigned long long)(off - block));
	}
}

void name_of(uint32_t at, char *ret, size_t bytes)
{
	const struct weir_segment *seg = world_seg(0);
	uint64_t off = (uint64_t)at * 4;
	uint32_t in;
	const char *shared = shared_name(at, &in);

	*ret = '\0';
	if (shared || !seg || off >= seg->bytes) {
		snprintf(ret, bytes, in ? "%s+%u" : "%s", shared ? shared : "?", in);
		return;
	}
	if (off < sizeof(struct weir_segment_shm)) {
		strcpy(ret, "segment");
		field_name("segment", off, ret, bytes);
		return;
	}
	if (in_table("process", seg->procs, seg->proc_count, off, ret, bytes) ||
	    in_table("thread", seg->threads, seg->thread_count, off, ret, bytes) ||
	    in_table("event", seg->events, seg->event_count, off, ret, bytes))
		return;
	for (uint64_t block = seg->arena_off; block;) {
		uint64_t word = *(const uint64_t *)(const void *)(arena + block);
		uint64_t end = block + (uint64_t)weir_object_block_units(word) * WEIR__UNIT;

		if (off >= block && (off < end || word == 0)) {
			object_name(block, off, ret, bytes);
			return;
		}
		block = word && end < seg->bytes ? end : 0;
	}
	snprintf(ret, bytes, "dir+%u", (unsigned)(off - (uint64_t)((uint8_t *)seg->dir - arena)));
}

/*
 * Races that are known.  thread.tid: for display, may be old.  The identity in a process slot: read
 * between two looks at the slot's word, as in a seqlock, but with plain loads; by C11 that is a
 * race, on processors the second look tells.
 */
bool race_declared(uint32_t at)
{
	static const char *const known[][2] = {{"thread[", ".tid"},
					       {"process[", ".pid"},
					       {"process[", ".start_time"},
					       {"process[", ".pidns"},
					       {"process[", ".pidfs"}};
	char name[80];

	name_of(at, name, sizeof(name));
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strncmp(name, known[i][0], strlen(known[i][0])) == 0 &&
		    strstr(name, known[i][1]))
			return true;
	}
	return false;
}

/* --- traces --------------------------------------------------------------------------------- */

static const char *order_name(int order)
{
	static const char *const names[] = {"rlx", "con", "acq", "rel", "acq_rel", "sc"};

	return order >= 0 && order < 6 ? names[order] : "?";
}

static void what_happened(const struct op *op, uint16_t label, uint64_t before, char *ret,
			  size_t bytes)
{
	static const char *const ends[] = {"woken", "timed out", "woke for no reason"};
	const char *order = order_name(op->order);
	unsigned long long old = before;
	unsigned long long got = op->result;
	unsigned long long new = raw_read(op->cell < CELLS ? op->cell : 0, op->size);

	switch (op->kind) {
	case OP_LOAD:
		snprintf(ret, bytes, "load %s = %#llx%s", order, got, got == old ? "" : " (old)");
		break;
	case OP_STORE:
		snprintf(ret, bytes, "store %s %#llx -> %#llx", order, old, new);
		break;
	case OP_RMW:
		snprintf(ret, bytes, "change %s %#llx -> %#llx", order, got, new);
		break;
	case OP_CAS:
		if (op->ok)
			snprintf(ret, bytes, "cas %s %#llx -> %#llx", order, got, new);
		else
			snprintf(ret, bytes, "cas failed: %#llx, not %#llx", got,
				 (unsigned long long)op->expected);
		break;
	case OP_FENCE:
		snprintf(ret, bytes, "fence %s", order);
		break;
	case OP_WAIT:
		snprintf(ret, bytes, "futex wait while %#x: %s", op->word_value[0],
			 op->ok ? "sleeps" : "is different");
		break;
	case OP_SLEEP:
		snprintf(ret, bytes, "futex wait: %s", ends[label]);
		break;
	case OP_WAKE:
		snprintf(ret, bytes, "futex wake");
		break;
	case OP_PROBE:
		snprintf(ret, bytes, "lock probe = %#llx", got);
		break;
	case OP_AWAIT:
		snprintf(ret, bytes, "sees that somebody died");
		break;
	case OP_YIELD:
		snprintf(ret, bytes, "spins");
		break;
	case OP_END:
		snprintf(ret, bytes, "ends");
		break;
	case OP_DIE:
		snprintf(ret, bytes, "KILLED");
		break;
	}
}

void trace_event(int thread, const struct op *op, uint16_t label, uint64_t before)
{
	char what[120];
	char name[80] = "";
	const char *edge;

	if (trace_last > 400 && depth > 30 && depth < trace_last - 120) {
		if (depth == 31)
			printf("  ...\n");
		return;
	}
	if (op->size || op->kind == OP_WAKE)
		name_of(op->cell, name, sizeof(name));
	what_happened(op, label, before, what, sizeof(what));
	edge = op->kind <= OP_FENCE && op->order > 0 ? edge_name(op->caller) : "";
	printf("  %4d  T%d %*s%-28s %s%s%s\n", depth, thread, thread * 2, "", name, what,
	       *edge ? "  EDGE " : "", edge);
}

void trace_note(const char *text)
{
	printf("        T%d %*s-- %s\n", running, running * 2, "", text);
}

/* --- outcomes ------------------------------------------------------------------------------- */

static struct {
	char text[32];
	uint64_t count;
} outcomes[OUTCOMES];
static int outcome_count;

void outcomes_reset(void)
{
	outcome_count = 0;
}

void model_outcome(const char *text)
{
	int i;

	for (i = 0; i < outcome_count; i++) {
		int diff = strcmp(outcomes[i].text, text);

		if (diff == 0) {
			outcomes[i].count++;
			return;
		}
		if (diff > 0)
			break;
	}
	if (outcome_count == OUTCOMES)
		model_fail("more than %d outcomes", OUTCOMES);
	memmove(&outcomes[i + 1], &outcomes[i],
		(size_t)(outcome_count++ - i) * sizeof(outcomes[0]));
	snprintf(outcomes[i].text, sizeof(outcomes[i].text), "%s", text);
	outcomes[i].count = 1;
}

const char *outcomes_text(void)
{
	static char text[2048];
	size_t used = 0;

	text[0] = '\0';
	for (int i = 0; i < outcome_count && used < sizeof(text) - 40; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", i ? " " : "",
					 outcomes[i].text);
	return text;
}
