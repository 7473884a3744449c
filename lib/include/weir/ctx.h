/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Contexts: how long a call may take, whether it is still wanted, and which request it serves. */
#ifndef WEIR_CTX_H
#define WEIR_CTX_H

#include <weir/base.h>

/* W3C trace context; ids are bytes in the order they are written. */
struct weir_trace {
	uint8_t trace_id[16];
	uint8_t span_id[8];
	uint8_t flags; /* bit 0: sampled */
};

/*
 * A context lives in the caller's memory, also in memory shared by processes, and must outlive the
 * calls it is passed to.  It ends when it or one of its parents (at most 8) is cancelled or
 * reaches its deadline.  Fields are read-only for users.
 */
struct weir_ctx {
	uint64_t deadline_ns; /* weir_now_ns() at which it ends; UINT64_MAX for never */
	struct weir_ctx *parent;
	uint32_t cancelled; /* futex word: 0, or 1 once cancelled */
	uint32_t depth;
	struct weir_trace trace;
};

/* Set up `ctx` below `parent` (or NULL), ending `timeout_ns` from now (UINT64_MAX: no deadline of
 * its own). The trace is the parent's.  Returns 0, -EINVAL if more than 8 deep.  Wait-free. */
WEIR_API int weir_ctx_init(struct weir_ctx *ctx, struct weir_ctx *parent, uint64_t timeout_ns);

/* End `ctx` and everything below it; wakes what is blocked in it.  Async-signal-safe, wait-free.
 * Always 0. */
WEIR_API int weir_ctx_cancel(struct weir_ctx *ctx);

/* 0 while `ctx` (NULL: always) goes on, -ECANCELED or -ETIMEDOUT after it has ended.  Wait-free. */
WEIR_API int weir_ctx_err(const struct weir_ctx *ctx);

/* New random ids, sampled.  Returns 0 or the error of getrandom(2). */
WEIR_API int weir_trace_new(struct weir_trace *ret_trace);

/* Same trace, new random span id: a child.  `parent` may equal `ret_child`. */
WEIR_API int weir_trace_child(const struct weir_trace *parent, struct weir_trace *ret_child);

/* Parse a traceparent header of `bytes` characters: version 00 strictly, higher versions by their
 * prefix, as W3C Trace Context says.  Returns 0 or -EINVAL (nothing is set). */
WEIR_API int weir_traceparent_parse(const char *text, size_t bytes, struct weir_trace *ret_trace);

#define WEIR_TRACEPARENT_BYTES 56 /* 55 characters and the NUL */

/* Write `trace` as a traceparent header, NUL-terminated. */
WEIR_API void weir_traceparent_format(const struct weir_trace *trace,
				      char ret_text[WEIR_TRACEPARENT_BYTES]);

#endif
