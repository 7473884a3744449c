/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the benchmarks share: slices and rounds, a mate on the other processor, tables.
 *
 * 2026-11, how we measure.  The machine is shared and noisy, so nothing is compared across runs.
 * All cases of a program are measured in slices of about 100 us, one slice of each in turn (A B C
 * A B C); a slice during which the kernel took a processor away is thrown away.  A round's figure
 * is the median of its slices, a ratio is made within a round, and what is printed is the median
 * over the rounds, the minimum beside it.  No figure makes anything fail.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <weir.h>

#define BENCH_ROUNDS	  9
#define BENCH_SLICES	  60 /* per round */
#define BENCH_COLUMNS_MAX 8
#define BENCH_ROWS_MAX	  24
#define BENCH_BARS_MAX	  8
#define BENCH_MISSING_MAX 8

/* --- time and the machine ---------------------------------------------------------------- */

uint64_t bench_now_ns(void);
void bench_pin(unsigned int cpu);
/* How often the kernel took the processor away from this thread so far. */
long bench_preempted(void);
double bench_median(double *values, size_t count); /* sorts; NAN if there are none */
double bench_min(const double *values, size_t count);
/* Memory that forked children share, zeroed and touched; never freed. */
void *bench_shared(size_t bytes);
/* Print why and exit: a benchmark that cannot run says so. */
void bench_die(const char *what, int error) __attribute__((noreturn));

static inline void bench_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#endif
}

/* A segment of our own that nobody else sees; its file is already unlinked. */
struct weir_segment *bench_segment(void);

/* --- the mate: a second process, pinned to CPU 1 ------------------------------------------- */

struct bench_job {
	uint32_t what;
	uint32_t which;
	uint32_t bytes;
	uint64_t count;
};

struct bench_mate;
/* Runs in the mate; returns what the caller of bench_mate_wait() gets. */
typedef double bench_mate_fn(void *arg, const struct bench_job *job, struct bench_mate *mate);

struct bench_mate *bench_mate_start(bench_mate_fn *fn, void *arg);
/* Hand over a job and wait until the mate is at it. */
void bench_mate_post(struct bench_mate *mate, struct bench_job job);
/* In the mate: should an endless job end? */
bool bench_mate_stopped(struct bench_mate *mate);
/* End an endless job, wait for its result; *ret_clean: the mate was not preempted. */
double bench_mate_wait(struct bench_mate *mate, bool *ret_clean);
void bench_mate_end(struct bench_mate *mate);

/* --- cases: one operation, alone and against the mate -------------------------------------- */

enum bench_mode { BENCH_ALONE, BENCH_CONTENDED, BENCH_MODES };

struct bench_case {
	const char *name;
	void (*run)(void *arg, uint64_t count); /* the loop itself, so that it can be inlined */
	void *arg;
	bool alone_only;
	uint64_t slice_count; /* operations in a slice */
	double ns[BENCH_MODES][BENCH_ROUNDS];
};

/* Measure all cases in both modes. */
void bench_cases(struct bench_case *cases, size_t count);
/* Median over the rounds of a / b. */
double bench_ratio(const struct bench_case *a, const struct bench_case *b, enum bench_mode mode);

/* --- tables -------------------------------------------------------------------------------- */

struct bench_row {
	const char *name;
	double cell[BENCH_COLUMNS_MAX]; /* NAN prints as "-" */
};

struct bench_bar {
	const char *text;
	double measured;
	double bar;
	bool at_least;
};

struct bench_table {
	const char *name; /* of the JSON file */
	const char *title;
	const char *columns[BENCH_COLUMNS_MAX];
	size_t column_count;
	struct bench_row rows[BENCH_ROWS_MAX];
	size_t row_count;
	struct bench_bar bars[BENCH_BARS_MAX];
	size_t bar_count;
	const char *missing[BENCH_MISSING_MAX];
	size_t missing_count;
	char machine[256];
};

/* Describe the machine before the load of the benchmark itself shows in it. */
void bench_table_begin(struct bench_table *table);
/* A new row, all cells NAN. */
double *bench_table_row(struct bench_table *table, const char *name);
void bench_table_missing(struct bench_table *table, const char *name);
void bench_table_bar(struct bench_table *table, const char *text, double measured, double bar,
		     bool at_least);
/* Rows of cases: ns, min, ratio for each mode. */
void bench_table_cases(struct bench_table *table, const struct bench_case *cases, size_t count,
		       const struct bench_case *base);
/* Print it and write build/bench/NAME.json. */
void bench_table_end(const struct bench_table *table);

#endif
