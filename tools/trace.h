/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The parts of `weir trace`: spans from the rings in segments (trace_spans.c), waits from the
 * kernel (trace_bpf.c), joined into trees (trace_join.c) and shown (trace_text.c, trace_export.c).
 */
#ifndef WEIR_TOOLS_TRACE_H
#define WEIR_TOOLS_TRACE_H

#include "../bpf/wait.h"
#include "snapshot.h"

#define TRACE_WHY_BYTES 256

/* A thread as we know it; lives as long as its source. */
struct trace_who {
	struct trace_who *next;
	uint32_t tid;
	uint32_t pid; /* 0 unknown */
	char role[16];
	char exe[16];
};

/* One ring of spans, and the account of our reading: recorded = skipped + read + overwritten + torn
 * + left. */
struct trace_ring {
	uint64_t off;  /* of struct span_ring in the file */
	uint64_t next; /* record to read next */
	uint64_t recorded;
	uint64_t started;
	uint64_t skipped; /* older than we were asked for */
	uint64_t read;
	uint64_t overwritten; /* by its owner, before we came */
	uint64_t torn;	      /* half written, by a thread that died or while we read */
	uint32_t slots;
	uint32_t thread; /* slot */
	char object[32];
};

/* A segment that is traced. */
struct trace_source {
	struct snapshot snap;
	struct weir_wait_key key;
	bool watched; /* by the probe, under `key` */
	uint64_t dir_hash;
	struct trace_ring *rings;
	size_t ring_count;
	struct trace_who **threads; /* by thread slot; who used it last */
	struct trace_who *whos;
};

enum trace_how { TRACE_SPAN, TRACE_WAIT };

/* A span of a program's, or a wait that the kernel saw. */
struct trace_item {
	struct trace_source *source;
	const struct trace_who *who;
	const struct trace_who *holder; /* NULL: nobody, or not known */
	const struct trace_who *waker;	/* NULL: a timer, or not known */
	uint64_t trace[2];
	uint64_t span;
	uint64_t parent;
	uint64_t start_ns;
	uint64_t end_ns;
	uint64_t holder_span;
	uint64_t holder_trace[2]; /* 0: that span has not been seen */
	uint64_t wait_ns;
	uint64_t value;
	uint64_t key_ns; /* waits: start_ns and tid of the record, to find the item again */
	uint32_t key_tid;
	uint64_t blocked_ns;
	uint64_t runqueue_ns;
	uint64_t spin_ns;   /* before the first futex call */
	uint64_t unseen_ns; /* of the wait, before the probe was there */
	uint64_t seen_ns;   /* when the last news of it came */
	uint64_t tell_ns;   /* a wait this long is told about before it ends; 0: never */
	uint32_t chain;	    /* next item of the same hash, plus one */
	uint32_t type;
	uint32_t calls;
	uint32_t holder_changes;
	int result;
	uint16_t code;
	uint8_t kind;
	uint8_t status;
	uint8_t how; /* enum trace_how */
	bool open;   /* still waiting */
	bool shown;
	bool hidden; /* not asked for, but it gives its name to others */
	char name[48];
	char object[32];
	char holder_name[24]; /* of the span of the holder */
};

struct trace_bpf;

#define TRACE_BUCKETS 4096u

struct trace {
	struct cli cli;
	struct target target; /* segment empty: all of them */
	const char *format;
	const char *output;
	uint64_t duration_ns; /* 0: not given */
	bool no_bpf;
	bool fresh; /* only spans recorded from now on */
	struct trace_source **sources;
	size_t source_count;
	struct trace_bpf *bpf; /* NULL: only spans; bpf_why says why */
	char bpf_why[TRACE_WHY_BYTES];
	struct trace_item *items;
	uint32_t item_count;
	uint32_t item_room;
	uint32_t *by_parent;		 /* items sorted by parent, after trace_join() */
	uint32_t *by_span;		 /* and by span */
	uint32_t buckets[TRACE_BUCKETS]; /* waits by thread; index plus one */
	uint64_t spans;			 /* items ever added */
	uint64_t waits;
	uint64_t dropped; /* items for which there was no room */
	int64_t wall_ns;  /* CLOCK_REALTIME minus weir_now_ns(): one for the whole batch */
};

/* --- trace.c ------------------------------------------------------------------------------- */

/* Hexadecimal digits of an id, in the order of its bytes. */
const char *trace_hex(const uint64_t *id, uint32_t words, char ret_text[33]);

/* --- trace_spans.c ------------------------------------------------------------------------- */

/* Open the segments asked for that are not open yet and see what is new in the others.  `first`:
 * complain about what is missing.  0 or the exit status. */
int trace_sources_find(struct trace *t, bool first);
void trace_sources_close(struct trace *t);
/* Take over what the rings hold. */
void trace_spans_read(struct trace *t);
/* The thread, by the id in its own namespace; `pid` and `exe` for one that is not attached. */
const struct trace_who *trace_who(struct trace_source *source, uint32_t tid, uint32_t pid,
				  const char *exe);
struct trace_source *trace_source_by_key(struct trace *t, const struct weir_wait_key *key);
/* The sum over all rings; `off`, `slots`, `thread` and `object` mean nothing. */
struct trace_ring trace_rings_sum(const struct trace *t);

/* --- trace_bpf.c --------------------------------------------------------------------------- */

/* Load and attach the probe.  0 or -errno; then `why` says what is missing, in one line. */
int trace_bpf_open(struct trace_bpf **ret_bpf, char why[TRACE_WHY_BYTES]);
void trace_bpf_close(struct trace_bpf *bpf);
/* Report waits on the file from now on. */
int trace_bpf_watch(struct trace_bpf *bpf, int fd, struct weir_wait_key *ret_key);
typedef void trace_bpf_fn(void *arg, const struct weir_wait_record *record);
/* Hand over the records that have come, oldest first. */
int trace_bpf_read(struct trace_bpf *bpf, trace_bpf_fn *fn, void *arg);
/* *ret_missed: runs of the programs that the kernel left out because another one was running. */
void trace_bpf_counts(const struct trace_bpf *bpf, struct weir_wait_counts *ret,
		      uint64_t *ret_missed);
/* When the probe began to look. */
uint64_t trace_bpf_since(const struct trace_bpf *bpf);

/* Is there a tracepoint on system calls of this name, and where was that seen?  0 or -errno. */
int trace_bpf_tracepoint(const char *name, const char **ret_where);

/* --- trace_caps.c -------------------------------------------------------------------------- */

/* Is the effective capability `number` there? */
bool trace_has_capability(int number);
/* What `weir trace caps` prints. */
int trace_caps(struct trace *t);
/* What `weir trace stats` prints. */
int trace_stats(struct trace *t);
/* The account of losses: {"rings": ..., "kernel": ... or null, "dropped": n} */
json_t *trace_losses(const struct trace *t);
/* The same in words, one line each, to standard error. */
void trace_totals(const struct trace *t);

/* --- trace_join.c -------------------------------------------------------------------------- */

/* Room for one more item, zeroed; NULL when there is none (counted). */
struct trace_item *trace_add(struct trace *t, enum trace_how how);
/* A record of the probe: a new wait, or news of one. */
trace_bpf_fn trace_wait_add;
/* Give waits their parents, holders' spans their names, and sort. */
int trace_join(struct trace *t);
/* The item with this span id, NULL if there is none.  After trace_join(). */
struct trace_item *trace_item_by_span(const struct trace *t, uint64_t span);
/* Call `fn` for each tree that is complete (`all`: for each), depth first; children in order of
 * time. Long waits that go on are told about as well, `open`, and again when they are twice as
 * long. */
typedef void trace_item_fn(void *arg, const struct trace_item *item, uint32_t depth);
void trace_trees(struct trace *t, bool all, trace_item_fn *fn, void *arg);
/* Forget what was shown long enough ago. */
void trace_forget(struct trace *t);

/* --- trace_text.c, trace_export.c ---------------------------------------------------------- */

void trace_text_item(const struct trace *t, const struct trace_item *item, uint32_t depth);
json_t *trace_json_item(const struct trace *t, const struct trace_item *item);
const char *trace_result(const struct trace_item *item);
/* The part of the time that was neither asleep nor waiting for a processor nor spinning. */
uint64_t trace_cpu_ns(const struct trace_item *item);
json_t *trace_chrome(struct trace *t);
json_t *trace_otlp(struct trace *t);

#endif
