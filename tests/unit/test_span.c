/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Spans: what is recorded, what is overwritten, what the dead leave. */
#include <pthread.h>
#include <weir/span.h>

#include "obj_help.h"

TestSuite(span, .init = seg_make, .fini = seg_drop, .timeout = 60);

static struct weir_spans *spans;

static void make(uint32_t slots)
{
	int r = weir_spans_open(seg, "spans", &WEIR_OPTS(spans, .slots = slots), &spans);

	cr_assert_eq(r, 0, "weir_spans_open: %s", strerror(-r));
}

static struct weir_spans_shm *shm(void)
{
	return weir__object_at(seg, 0);
}

static struct weir_span_ring_shm *ring(uint32_t slot)
{
	size_t bytes =
		sizeof(struct weir_span_ring_shm) + shm()->slots * sizeof(struct weir_span_shm);

	return (void *)((uint8_t *)(shm() + 1) + slot * bytes);
}

static struct weir_span_shm *record(uint32_t slot, uint64_t k)
{
	return (struct weir_span_shm *)(void *)(ring(slot) + 1) + k % shm()->slots;
}

static uint32_t self(void)
{
	return (uint32_t)weir__self(seg);
}

static void one(const char *name, uint64_t value)
{
	struct weir_span span;

	cr_assert_eq(weir_span_begin(spans, NULL, name, WEIR_SPAN_KIND_INTERNAL, &span), 0);
	span.value = value;
	cr_assert_eq(weir_span_end(spans, &span), 0);
}

Test(span, opens_once_and_refuses_other_options)
{
	struct weir_spans *other;

	cr_assert_eq(weir_spans_open(seg, "spans", NULL, &other), -ENOENT);
	make(5);
	cr_assert_eq(shm()->slots, 8);
	cr_assert_eq(weir_spans_open(seg, "spans", NULL, &other), 0);
	weir_spans_close(other);
	cr_assert_eq(weir_spans_open(seg, "spans", &WEIR_OPTS(spans, .slots = 16), &other),
		     -EEXIST);
	cr_assert_eq(weir_spans_open(seg, "x", &WEIR_OPTS(spans, .slots = 65537), &other), -EINVAL);
	shm()->slots = 1u << 16;
	cr_assert_eq(weir_spans_open(seg, "spans", NULL, &other), -EBADMSG);
	shm()->slots = 7;
	cr_assert_eq(weir_spans_open(seg, "spans", NULL, &other), -EBADMSG);
	weir_spans_close(spans);
	weir_spans_close(NULL);
}

Test(span, records_what_was_measured)
{
	uint64_t before = weir_now_ns();
	struct weir_span_shm *r;
	struct weir_trace parent;
	struct weir_span span;

	make(8);
	cr_assert_eq(weir_trace_new(&parent), 0);
	cr_assert_eq(weir_span_begin(spans, &parent, "a name longer than the record has room",
				     WEIR_SPAN_KIND_CLIENT, &span),
		     0);
	cr_assert_arr_eq(span.trace.trace_id, parent.trace_id, 16);
	cr_assert_neq(memcmp(span.trace.span_id, parent.span_id, 8), 0);
	cr_assert_arr_eq(span.parent_id, parent.span_id, 8);
	span.status = WEIR_SPAN_STATUS_ERROR;
	span.code = 503;
	span.object = 4711;
	span.holder_tid = 12;
	span.holder_span = 13;
	span.wait_ns = 14;
	span.value = 15;
	cr_assert_eq(weir_span_end(spans, &span), 0);
	r = record(self(), 0);
	cr_assert_eq(weir_load_acquire(&r->seq), 2);
	cr_assert_eq(memcmp(r->trace, parent.trace_id, 16), 0);
	cr_assert_eq(memcmp(&r->span, span.trace.span_id, 8), 0);
	cr_assert_eq(memcmp(&r->parent, parent.span_id, 8), 0);
	cr_assert_geq(r->start_ns, before);
	cr_assert_geq(r->end_ns, r->start_ns);
	cr_assert_eq(memcmp(r->name, "a name longer than the \0", 24), 0);
	cr_assert_eq(weir_span_who_tid(r->who), (uint64_t)gettid());
	cr_assert_eq(weir_span_who_object(r->who), 4711);
	cr_assert_eq(weir_span_what_kind(r->what), WEIR_SPAN_KIND_CLIENT);
	cr_assert_eq(weir_span_what_status(r->what), WEIR_SPAN_STATUS_ERROR);
	cr_assert_eq(weir_span_what_code(r->what), 503);
	cr_assert_eq(weir_span_what_holder_tid(r->what), 12);
	cr_assert_eq(r->holder_span, 13);
	cr_assert_eq(r->wait_ns, 14);
	cr_assert_eq(r->value, 15);
	cr_assert_eq(ring(self())->recorded, 1);
	cr_assert_eq(ring(self())->started, 1);
}

Test(span, refuses_an_unknown_kind)
{
	struct weir_span span;

	make(8);
	cr_assert_eq(weir_span_begin(spans, NULL, "x", 0, &span), -EINVAL);
	cr_assert_eq(weir_span_begin(spans, NULL, "x", 6, &span), -EINVAL);
	cr_assert_eq(weir_span_begin(spans, NULL, NULL, WEIR_SPAN_KIND_CONSUMER, &span), 0);
	cr_assert_eq(span.name[0], 0);
}

Test(span, the_ring_overwrites_its_oldest_and_says_so)
{
	make(8);
	for (uint64_t k = 0; k < 21; k++)
		one("x", k);
	cr_assert_eq(ring(self())->recorded, 21);
	for (uint64_t k = 13; k < 21; k++) {
		cr_assert_eq(weir_load_acquire(&record(self(), k)->seq), 2 * k + 2);
		cr_assert_eq(record(self(), k)->value, k);
	}
}

Test(span, the_parent_is_current_again_after_its_child)
{
	struct weir_trace nobody = {0};
	struct weir_span outer;
	struct weir_span inner;
	struct weir_thread_shm *t;
	uint64_t none[2] = {0, 0};

	make(8);
	t = &seg->threads[self()];
	cr_assert_eq(weir_span_begin(spans, &nobody, "outer", WEIR_SPAN_KIND_SERVER, &outer), 0);
	cr_assert_eq(memcmp(outer.parent_id, none, 8), 0);
	cr_assert_eq(memcmp(&t->span, outer.trace.span_id, 8), 0);
	cr_assert_eq(weir_span_begin(spans, &outer.trace, "inner", WEIR_SPAN_KIND_CLIENT, &inner),
		     0);
	cr_assert_eq(memcmp(&t->span, inner.trace.span_id, 8), 0);
	cr_assert_eq(memcmp(t->trace, outer.trace.trace_id, 16), 0);
	cr_assert_eq(weir_span_end(spans, &inner), 0);
	cr_assert_eq(memcmp(&t->span, outer.trace.span_id, 8), 0);
	cr_assert_eq(memcmp(t->trace, outer.trace.trace_id, 16), 0);
	cr_assert_eq(weir_span_end(spans, &outer), 0);
	cr_assert_eq(t->span, 0);
	cr_assert_eq(memcmp(t->trace, none, 16), 0);
	cr_assert_eq(memcmp(&record(self(), 0)->parent, outer.trace.span_id, 8), 0);
}

Test(span, the_next_owner_of_a_ring_keeps_what_the_last_one_finished)
{
	make(8);
	for (uint64_t k = 0; k < 3; k++)
		one("x", k);
	/* Died after the record was whole and before it was counted. */
	weir_store_relaxed(&ring(self())->recorded, 2);
	one("next", 77);
	cr_assert_eq(ring(self())->recorded, 4);
	cr_assert_eq(record(self(), 2)->value, 2);
	cr_assert_eq(record(self(), 3)->value, 77);
	/* Died in the middle of a record: it is written again. */
	weir_store_relaxed(&record(self(), 4)->seq, 9);
	one("next", 78);
	cr_assert_eq(record(self(), 4)->seq, 10);
	cr_assert_eq(record(self(), 4)->value, 78);
}

static void record_for_ever(struct help_board *board, int index)
{
	(void)index;
	board_meet(board, 1);
	for (uint64_t k = 0;; k++) {
		struct weir_span span;

		if (weir_span_begin(spans, NULL, "busy", WEIR_SPAN_KIND_INTERNAL, &span) < 0)
			_exit(1);
		span.value = k;
		memcpy(span.name, &k, sizeof(k)); /* stored early; value comes last */
		weir_span_end(spans, &span);
		weir_store_full(&board->score[0], k + 1);
	}
}

/* As a reader does it; false: torn. */
static bool read_whole(struct weir_span_shm *r, uint64_t k, uint64_t *ret_value,
		       uint64_t *ret_check)
{
	if (weir_load_acquire(&r->seq) != 2 * k + 2)
		return false;
	*ret_value = weir_load_relaxed(&r->value);
	*ret_check = weir_load_relaxed(&r->name[0]);
	weir_fence_acquire();
	return weir_load_relaxed(&r->seq) == 2 * k + 2;
}

Test(span, a_reader_never_sees_half_a_record_and_the_dead_leave_at_most_one)
{
	struct help_board *board = board_make();
	uint32_t slot = self() + 1; /* the child's, the next free one */
	uint64_t whole = 0;
	uint64_t value;
	uint64_t check;
	uint64_t n;
	pid_t pid;

	make(2);
	pin(1);
	pid = child_start(record_for_ever, board, 0);
	board_release(board, 1, 1);
	while (whole < 200000) {
		n = weir_load_acquire(&ring(slot)->recorded);
		for (uint64_t k = n > 2 ? n - 2 : 0; k < n; k++) {
			if (!read_whole(record(slot, k), k, &value, &check))
				continue;
			cr_assert_eq(value, k);
			cr_assert_eq(check, k);
			whole++;
		}
	}
	child_kill(pid);
	n = weir_load_acquire(&ring(slot)->recorded);
	cr_assert_geq(n, weir_load_full(&board->score[0]));
	whole = 0;
	for (uint64_t k = n - 2; k < n; k++)
		whole += read_whole(record(slot, k), k, &value, &check);
	cr_assert_geq(whole, 1);
}
