/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Spans: a flight recorder in the segment, one ring per thread, readable after a crash. */
#ifndef WEIR_SPAN_H
#define WEIR_SPAN_H

#include <weir/ctx.h>
#include <weir/segment.h>

struct weir_spans;

struct weir_spans_opts {
	size_t size;
	uint32_t slots; /* records per thread, rounded up to a power of two; 0: 64 */
};

/* A span being measured; lives in the caller's memory. */
struct weir_span {
	struct weir_trace trace; /* its own ids: what to send to the next service */
	uint8_t parent_id[8];
	uint64_t start_ns;
	char name[24];
	uint8_t kind;
	uint8_t status;
	uint16_t code;
	uint32_t object; /* offset / 64 of the object concerned */
	uint32_t holder_tid;
	uint64_t holder_span;
	uint64_t wait_ns;
	uint64_t value;
};

/* Get the span recorder `name`, creating it exactly once; see weir_sem_open() for the errors. */
WEIR_API int weir_spans_open(struct weir_segment *seg, const char *name,
			     const struct weir_spans_opts *opts, struct weir_spans **ret_spans);
WEIR_API int weir_spans_close(struct weir_spans *spans);

/* Begin a span below `parent` (NULL, or all-zero trace id: a new trace).  kind: enum
 * weir_span_kind of the layouts (1 internal ... 5 consumer).  The name is cut at 23 characters.
 * Becomes the thread's current span.  0, -EINVAL unknown kind, -EUSERS.
 * Wait-free. */
WEIR_API int weir_span_begin(struct weir_spans *spans, const struct weir_trace *parent,
			     const char *name, uint32_t kind, struct weir_span *ret_span);

/* End it now and record it: one slot of the thread's ring, the oldest is overwritten.  Wait-free.
 * 0, -EUSERS.  Crash  leaves one record that readers see as torn and skip. */
WEIR_API int weir_span_end(struct weir_spans *spans, struct weir_span *span);

#endif
