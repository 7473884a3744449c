/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The audit log: a ring that overwrites its oldest.  A writer that dies leaves one torn record. */
#include <unistd.h>

#include "seg/seg.h"

void weir__event(struct weir_segment *seg, enum weir_event_kind kind, const void *object,
		 uint64_t a, uint64_t b)
{
	/* relaxed: only the number matters; the record's own seq orders its bytes. */
	uint64_t k = weir_add_relaxed(&seg->shm->event_next, 1);
	struct weir_event_shm *e = &seg->events[k & (seg->event_count - 1)];

	/* relaxed, then the fence: readers that see a field of ours see that seq is odd. */
	weir_store_relaxed(&e->seq, 2 * k + 1);
	/* EDGE event.seq (release -> readers of the ring): odd before the fields. */
	weir_fence_release();
	WEIR_CRASH_POINT(event_begun);
	/* relaxed: between the two stores of seq. */
	weir_store_relaxed(&e->time_ns, weir__now_ns());
	weir_store_relaxed(&e->kind, (uint32_t)kind);
	weir_store_relaxed(&e->object, weir__object_id(seg, object));
	weir_store_relaxed(&e->pid, (uint32_t)getpid());
	weir_store_relaxed(&e->tid, weir__tid());
	weir_store_relaxed(&e->a, a);
	weir_store_relaxed(&e->b, b);
	/* EDGE event.seq (release -> readers of the ring): the fields before even. */
	weir_store_release(&e->seq, 2 * k + 2);
}
