/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Circuit breaker: one state for the whole host, and an exact number of probes when it heals. */
#ifndef WEIR_BREAKER_H
#define WEIR_BREAKER_H

#include <weir/ctx.h>
#include <weir/segment.h>

struct weir_breaker;

struct weir_breaker_opts {
	size_t size;
	uint32_t window_ms;   /* failures are counted over this long; 0: 10000, at most 1 hour */
	uint32_t min_calls;   /* fewer calls in the window never open it; 0: 10 */
	uint32_t failure_pct; /* 1 to 100; 0: 50 */
	uint32_t open_ms;     /* 0: 5000, at most 1 day */
	uint32_t probe_ms;    /* half-open longer than this counts as failed; 0: open_ms */
	uint32_t probes;      /* 1 to 63; 0: 1 */
};

enum weir_breaker_mode {
	WEIR_BREAKER_CLOSED,
	WEIR_BREAKER_OPEN,
	WEIR_BREAKER_HALF_OPEN,
	WEIR_BREAKER_FORCED_OPEN,
	WEIR_BREAKER_DISABLED,
};

/* One call under way: fill by weir_breaker_allow(), hand to weir_breaker_done(), same thread. */
struct weir_call {
	uint32_t gen;
	uint32_t probe;
};

/* Get breaker `name`, creating it exactly once; see weir_sem_open() for the errors. */
WEIR_API int weir_breaker_open(struct weir_segment *seg, const char *name,
			       const struct weir_breaker_opts *opts,
			       struct weir_breaker **ret_breaker);
WEIR_API int weir_breaker_close(struct weir_breaker *breaker);

/*
 * May a call be made?  0: yes, and weir_breaker_done() must follow; -EAGAIN: no, *ret_retry_ns (or
 * NULL) says how long until it is worth asking.
 * Returns  also -EUSERS: a probe needs a thread slot; -EBADMSG: no such state.
 * Progress wait-free when closed (one load), lock-free otherwise.  No system call.
 * Crash    a probe whose process dies counts as failed; a half-open period that hears nothing ends
 *          by its deadline.
 */
WEIR_API int weir_breaker_allow(struct weir_breaker *breaker, struct weir_call *ret_call,
				uint64_t *ret_retry_ns);

/* How did the call end?  `failed` nonzero: badly.  A result of an earlier period is dropped.
 * 0, -EUSERS. */
WEIR_API int weir_breaker_done(struct weir_breaker *breaker, const struct weir_call *call,
			       int failed);

/* Operator: force a state (CLOSED also forgets the failures).  HALF_OPEN is -EINVAL. */
WEIR_API int weir_breaker_force(struct weir_breaker *breaker, enum weir_breaker_mode mode);

struct weir_breaker_stat {
	enum weir_breaker_mode mode;
	uint32_t gen;
	uint32_t probes_left;
	uint32_t probes_ok;
	uint32_t probes_out; /* in flight */
	uint64_t deadline_in_ns;
	uint64_t window_calls;
	uint64_t window_failures;
	uint64_t calls;
	uint64_t failures;
	uint64_t rejected;
	uint64_t opened;
	uint64_t reopened;
	uint64_t closed;
	uint64_t probes_started;
};
WEIR_API int weir_breaker_stat(const struct weir_breaker *breaker,
			       struct weir_breaker_stat *ret_stat);

#endif
