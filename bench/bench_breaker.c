/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Circuit breaker: what a guarded call costs when all is well, and what a refusal costs.  The base
 * is load + CAS: the same fetch_add takes 5.9 ns in some runs and 8.2 in others, we do not know
 * why.
 */
#include "bench.h"

static void run_add(void *arg, uint64_t count)
{
	_Atomic uint64_t *word = arg;

	for (uint64_t i = 0; i < count; i++)
		atomic_fetch_add(word, 1);
}

static void run_cas(void *arg, uint64_t count)
{
	_Atomic uint64_t *word = arg;

	for (uint64_t i = 0; i < count; i++) {
		uint64_t seen = atomic_load_explicit(word, memory_order_relaxed);

		while (!atomic_compare_exchange_strong(word, &seen, seen + 1))
			;
	}
}

static void run_closed(void *arg, uint64_t count)
{
	struct weir_breaker *breaker = arg;
	struct weir_call call;

	for (uint64_t i = 0; i < count; i++)
		if (weir_breaker_allow(breaker, &call, NULL) == 0)
			weir_breaker_done(breaker, &call, 0);
}

static void run_open(void *arg, uint64_t count)
{
	struct weir_breaker *breaker = arg;
	struct weir_call call;

	for (uint64_t i = 0; i < count; i++)
		if (weir_breaker_allow(breaker, &call, NULL) == 0)
			weir_breaker_done(breaker, &call, 1);
}

static struct weir_breaker *make(struct weir_segment *seg, const char *name,
				 enum weir_breaker_mode mode)
{
	struct weir_breaker *breaker;
	int r = weir_breaker_open(seg, name, &WEIR_OPTS(breaker, .failure_pct = 50), &breaker);

	if (r == 0)
		r = weir_breaker_force(breaker, mode);
	if (r < 0)
		bench_die("weir_breaker_open", r);
	return breaker;
}

enum row { ADD, CAS, CLOSED, OPEN, ROWS };

int main(void)
{
	struct bench_table table = {.name = "breaker",
				    .title = "breaker: one call, ratio to one load + CAS"};
	struct weir_segment *seg = bench_segment();
	struct bench_case cases[ROWS] = {
		[ADD] = {.name = "one RMW (fetch_add)", .run = run_add, .arg = bench_shared(64)},
		[CAS] = {.name = "one RMW (load + CAS)", .run = run_cas, .arg = bench_shared(64)},
		[CLOSED] = {.name = "weir allow + done, closed",
			    .run = run_closed,
			    .arg = make(seg, "closed", WEIR_BREAKER_CLOSED)},
		[OPEN] = {.name = "weir allow, open: refused",
			  .run = run_open,
			  .arg = make(seg, "open", WEIR_BREAKER_FORCED_OPEN)},
	};

	bench_table_begin(&table);
	bench_cases(cases, ROWS);
	bench_table_cases(&table, cases, ROWS, &cases[CAS]);
	bench_table_bar(&table, "closed, alone: x one fetch_add",
			bench_ratio(&cases[CLOSED], &cases[ADD], BENCH_ALONE), 1.5, false);
	bench_table_bar(&table, "closed, alone: x one load + CAS",
			bench_ratio(&cases[CLOSED], &cases[CAS], BENCH_ALONE), 1.5, false);
	bench_table_end(&table);
	return 0;
}
