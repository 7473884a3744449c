/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Rate limiter: one decision.  The base is what no limiter with a real clock can avoid. */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "bench.h"
#include "peer_redis.h"

#define KEYS	   256 /* a power of two */
#define PER_SECOND 1000000000ull
#define HOUR_NS	   3600000000000ull

static void run_base(void *arg, uint64_t count)
{
	_Atomic uint64_t *word = arg;
	struct timespec t;

	for (uint64_t i = 0; i < count; i++) {
		uint64_t seen = atomic_load_explicit(word, memory_order_relaxed);

		clock_gettime(CLOCK_MONOTONIC, &t);
		while (!atomic_compare_exchange_strong(
			word, &seen, (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec))
			;
	}
}

static void run_allow(void *arg, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		weir_limiter_allow(arg, 1, NULL);
}

static void run_verdict(void *arg, uint64_t count)
{
	struct weir_verdict verdict;

	for (uint64_t i = 0; i < count; i++) {
		weir_limiter_allow(arg, 1, &verdict);
		__asm__ volatile("" : : "r"(&verdict) : "memory"); /* Somebody reads it. */
	}
}

static void run_keyed(void *arg, uint64_t count)
{
	static char key[KEYS][16];

	if (!key[0][0])
		for (size_t k = 0; k < KEYS; k++)
			snprintf(key[k], sizeof(key[k]), "client-%08zx", k);
	for (uint64_t i = 0; i < count; i++)
		weir_limiter_allow_key(arg, key[i % KEYS], 15, 1, NULL);
}

static struct weir_limiter *make(struct weir_segment *seg, const char *name,
				 struct weir_limiter_opts opts)
{
	struct weir_limiter *limiter;
	int r = weir_limiter_open(seg, name, &opts, &limiter);

	if (r < 0)
		bench_die("weir_limiter_open", r);
	return limiter;
}

enum row { BASE, ALLOW, VERDICT, DENIED, KEYED, REDIS, ROWS };

/* Are the verdicts what the names of the rows say? */
static void check(const struct bench_case *cases)
{
	if (weir_limiter_allow(cases[ALLOW].arg, 1, NULL) != 0 ||
	    weir_limiter_allow(cases[DENIED].arg, 1, NULL) != -EAGAIN ||
	    weir_limiter_allow_key(cases[KEYED].arg, "client-00000000", 15, 1, NULL) != 0)
		bench_die("a limiter does not decide as its row says", EINVAL);
}

int main(void)
{
	struct bench_table table = {.name = "limiter",
				    .title = "limiter: one decision, ratio to clock + CAS"};
	struct weir_segment *seg = bench_segment();
	struct weir_limiter_opts fast =
		WEIR_OPTS(limiter, .count = PER_SECOND, .period_ns = PER_SECOND);
	struct weir_limiter *open = make(seg, "open", fast);
	struct bench_case cases[ROWS] = {
		[BASE] = {.name = "clock_gettime + CAS", .run = run_base, .arg = bench_shared(64)},
		[ALLOW] = {.name = "weir allow", .run = run_allow, .arg = open},
		[VERDICT] = {.name = "weir allow, verdict wanted", .run = run_verdict, .arg = open},
		[DENIED] = {.name = "weir denied", .run = run_allow},
		[KEYED] = {.name = "weir keyed, 256 keys", .run = run_keyed},
		[REDIS] = {.name = "Redis GCRA, unix socket", .alone_only = true},
	};
	size_t count = REDIS;

	cases[DENIED].arg = make(seg, "shut", WEIR_OPTS(limiter, .count = 1, .period_ns = HOUR_NS));
	weir_limiter_allow(cases[DENIED].arg, 1, NULL);
	fast.keys = 4 * KEYS;
	cases[KEYED].arg = make(seg, "keyed", fast);
	check(cases);
	bench_table_begin(&table);
#ifdef BENCH_REDIS
	cases[REDIS].run = bench_redis_run;
	cases[REDIS].arg = bench_redis_start();
	count += cases[REDIS].arg != NULL;
#endif
	if (count < ROWS)
		bench_table_missing(&table, cases[REDIS].name);
	bench_cases(cases, count);
#ifdef BENCH_REDIS
	if (cases[REDIS].arg)
		bench_redis_stop(cases[REDIS].arg);
#endif
	check(cases);
	bench_table_cases(&table, cases, count, &cases[BASE]);
	bench_table_bar(&table, "allow, alone: x (clock + CAS)",
			bench_ratio(&cases[ALLOW], &cases[BASE], BENCH_ALONE), 1.2, false);
	bench_table_end(&table);
	return 0;
}
