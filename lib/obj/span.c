/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Spans: one ring of fixed records per thread slot, written by its owner alone.
 *
 * 2026-08, a record is a seqlock: 2k+1, the fields, 2k+2.  Readers copy the fields between two
 * looks at seq and keep them only if both said 2k+2.  No value of seq may stand for two contents,
 * also when the owner died after 2k+2 and before `recorded` was counted, and the slot's next owner
 * goes on: so a record that is whole already is not written again but counted.
 * A reader begins with EDGE span_ring.recorded (acquire <- weir_span_end); of each record with
 * EDGE span.seq (acquire <- weir_span_end), and an acquire fence before its second look.
 *
 * 2026-08, the current span.  It is shown in the thread's slot for `weir ps` and for links.  At the
 * end of a span its parent becomes current again; not that of a server's or a consumer's span,
 * which lives in another process, and not that of a root.
 */
#include <stdlib.h>
#include <string.h>
#include <weir/span.h>

#include "obj/obj.h"

#define SLOTS_DEFAULT 64u
#define SLOTS_MAX     65536u

struct weir_spans {
	struct weir_segment *seg;
	struct weir_spans_shm *shm;
	uint8_t *rings;
	uint64_t ring_bytes;
	uint32_t slots;
};

struct conf {
	uint32_t slots;
};

static uint64_t ring_bytes(uint64_t slots)
{
	return sizeof(struct weir_span_ring_shm) + slots * sizeof(struct weir_span_shm);
}

static uint64_t object_bytes(uint64_t rings, uint64_t slots)
{
	return sizeof(struct weir_spans_shm) + rings * ring_bytes(slots);
}

static struct weir_span_ring_shm *ring_at(const struct weir_spans *spans, int slot)
{
	return (void *)(spans->rings + (uint64_t)slot * spans->ring_bytes);
}

static uint64_t id_word(const uint8_t id[8])
{
	uint64_t word;

	memcpy(&word, id, sizeof(word));
	return word;
}

/* --- begin and end ----------------------------------------------------------------------- */

/* Show span `span_id` of `trace_id` (NULL: none) as what the thread works on. */
static void current_set(struct weir_segment *seg, int slot, const uint8_t *trace_id,
			const uint8_t *span_id)
{
	struct weir_thread_shm *thread = &seg->threads[slot];

	/* relaxed, all: for display; a reader may see half of a change and shows a wrong link. */
	weir_store_relaxed(&thread->span, span_id ? id_word(span_id) : 0);
	weir_store_relaxed(&thread->trace[0], trace_id ? id_word(trace_id) : 0);
	weir_store_relaxed(&thread->trace[1], trace_id ? id_word(trace_id + 8) : 0);
}

static bool has_trace(const struct weir_trace *trace)
{
	return trace && (id_word(trace->trace_id) || id_word(trace->trace_id + 8));
}

int weir_span_begin(struct weir_spans *spans, const struct weir_trace *parent, const char *name,
		    uint32_t kind, struct weir_span *ret_span)
{
	int slot = weir__self(spans->seg);
	struct weir_span span = {.kind = (uint8_t)kind};
	int r;

	if (kind < WEIR_SPAN_KIND_INTERNAL || kind > WEIR_SPAN_KIND_CONSUMER)
		return -EINVAL;
	if (slot < 0)
		return slot;
	if (has_trace(parent)) {
		memcpy(span.parent_id, parent->span_id, sizeof(span.parent_id));
		r = weir_trace_child(parent, &span.trace);
	} else {
		r = weir_trace_new(&span.trace);
	}
	if (r < 0)
		return r;
	if (name)
		memcpy(span.name, name, strnlen(name, sizeof(span.name) - 1));
	span.start_ns = weir__now_ns();
	*ret_span = span;
	weir__count(&ring_at(spans, slot)->started, 1);
	current_set(spans->seg, slot, ret_span->trace.trace_id, ret_span->trace.span_id);
	return 0;
}

/* The fields of a record, between the two values of its seq. */
static void record_fill(struct weir_span_shm *record, const struct weir_span *span, uint32_t tid,
			uint64_t end_ns)
{
	uint64_t name[3];
	uint64_t who;
	uint64_t what;

	who = weir_span_who_set_tid(0, tid);
	who = weir_span_who_set_object(who, span->object);
	what = weir_span_what_set_kind(0, span->kind);
	what = weir_span_what_set_status(what, span->status);
	what = weir_span_what_set_code(what, span->code);
	what = weir_span_what_set_holder_tid(what, span->holder_tid);
	memcpy(name, span->name, sizeof(name));
	/* relaxed, all: seq tells the readers whether they saw one record. */
	weir_store_relaxed(&record->trace[0], id_word(span->trace.trace_id));
	weir_store_relaxed(&record->trace[1], id_word(span->trace.trace_id + 8));
	weir_store_relaxed(&record->span, id_word(span->trace.span_id));
	weir_store_relaxed(&record->parent, id_word(span->parent_id));
	weir_store_relaxed(&record->start_ns, span->start_ns);
	weir_store_relaxed(&record->end_ns, end_ns);
	for (int i = 0; i < 3; i++)
		weir_store_relaxed(&record->name[i], name[i]);
	weir_store_relaxed(&record->who, who);
	weir_store_relaxed(&record->what, what);
	weir_store_relaxed(&record->holder_span, span->holder_span);
	weir_store_relaxed(&record->wait_ns, span->wait_ns);
	weir_store_relaxed(&record->value, span->value);
}

int weir_span_end(struct weir_spans *spans, struct weir_span *span)
{
	int slot = weir__self(spans->seg);
	struct weir_span_ring_shm *ring;
	struct weir_span_shm *records;
	struct weir_span_shm *record;
	bool remote = span->kind == WEIR_SPAN_KIND_SERVER || span->kind == WEIR_SPAN_KIND_CONSUMER;
	bool root = id_word(span->parent_id) == 0;
	uint64_t k;

	if (slot < 0)
		return slot;
	ring = ring_at(spans, slot);
	records = (void *)(ring + 1);
	/* relaxed, both: only the owner of the thread slot writes them; a former owner's stores
	 * came before ours through the slot. */
	k = weir_load_relaxed(&ring->recorded);
	if (weir__unlikely(weir_load_relaxed(&records[k & (spans->slots - 1)].seq) == 2 * k + 2))
		k++; /* The former owner died before it counted its last one. */
	record = &records[k & (spans->slots - 1)];
	/* relaxed: the fence below keeps it before the fields. */
	weir_store_relaxed(&record->seq, 2 * k + 1);
	/* EDGE span.seq (release -> readers of span records): odd before the first field. */
	weir_fence_release();
	WEIR_CRASH_POINT(span_record);
	record_fill(record, span, weir__thread_tid(spans->seg, (uint32_t)slot), weir__now_ns());
	WEIR_CRASH_POINT(span_filled);
	/* EDGE span.seq (release -> readers of span records): even after the last field. */
	weir_store_release(&record->seq, 2 * k + 2);
	WEIR_CRASH_POINT(span_whole);
	/* EDGE span_ring.recorded (release -> readers of span records): record, then number. */
	weir_store_release(&ring->recorded, k + 1);
	if (root || remote)
		current_set(spans->seg, slot, NULL, NULL);
	else
		current_set(spans->seg, slot, span->trace.trace_id, span->parent_id);
	return 0;
}

/* --- lifecycle --------------------------------------------------------------------------- */

static void spans_init(struct weir_segment *seg, void *object, const void *opts)
{
	const struct conf *conf = opts;
	struct weir_spans_shm *shm = object;

	shm->rings = seg->thread_count;
	shm->slots = conf->slots;
}

static bool spans_match(const void *object, const void *opts)
{
	const struct weir_spans_shm *shm = object;
	const struct conf *conf = opts;

	return shm->slots == conf->slots;
}

static int conf_make(const struct weir_spans_opts *opts, struct conf *ret)
{
	uint32_t want = opts->slots ? opts->slots : SLOTS_DEFAULT;

	if (opts->size != sizeof(*opts) || want > SLOTS_MAX)
		return -EINVAL;
	for (ret->slots = 1; ret->slots < want;)
		ret->slots *= 2;
	return 0;
}

int weir_spans_open(struct weir_segment *seg, const char *name, const struct weir_spans_opts *opts,
		    struct weir_spans **ret_spans)
{
	struct weir__plan plan = {
		.type = WEIR_OBJECT_TYPE_SPANS, .init = spans_init, .match = spans_match};
	struct weir_spans *spans;
	struct conf conf;
	uint64_t bytes;
	void *object;
	int r;

	if (opts) {
		r = conf_make(opts, &conf);
		if (r < 0)
			return r;
		plan.opts = &conf;
		plan.bytes = object_bytes(seg->thread_count, conf.slots);
	}
	spans = calloc(1, sizeof(*spans));
	if (!spans)
		return -ENOMEM;
	r = weir__object_open(seg, name, &plan, &object);
	if (r < 0)
		goto out_free;
	r = -EBADMSG;
	bytes = weir__object_bytes(seg, object);
	if (bytes < sizeof(struct weir_spans_shm))
		goto out_free;
	spans->seg = seg;
	spans->shm = object;
	spans->slots = spans->shm->slots;
	spans->ring_bytes = ring_bytes(spans->slots);
	spans->rings = (uint8_t *)(spans->shm + 1);
	if (spans->slots == 0 || spans->slots > SLOTS_MAX || (spans->slots & (spans->slots - 1)) ||
	    spans->shm->rings != seg->thread_count ||
	    bytes < object_bytes(seg->thread_count, spans->slots))
		goto out_free;
	*ret_spans = spans;
	return 0;

out_free:
	free(spans);
	return r;
}

int weir_spans_close(struct weir_spans *spans)
{
	free(spans);
	return 0;
}
