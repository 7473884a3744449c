/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The arithmetic of the rate limiter against exact rationals, at invented times. */
#include <weir/limiter.h>

#include "obj/limiter_math.h"
#include "obj_help.h"

TestSuite(limiter_math, .timeout = 60);

static struct weir__limiter_conf conf_of(uint64_t count, uint64_t period_ns, uint64_t burst)
{
	struct weir__limiter_conf conf;

	cr_assert_eq(weir__limiter_conf(&WEIR_OPTS(limiter, .count = count, .period_ns = period_ns,
						   .burst = burst),
					&conf),
		     0);
	return conf;
}

/* One call at time `now_ns`. */
static bool call(const struct weir__gcra *gcra, uint64_t *tat, uint64_t now_ns, uint64_t cost)
{
	uint64_t now = weir__gcra_time(gcra, now_ns);
	uint64_t next;

	if (weir__gcra_take(gcra, weir__gcra_ahead(*tat, now), cost, &next))
		return false;
	*tat = now + next;
	return true;
}

/* The same in exact rationals: times are multiples of 1/count ns. */
static bool oracle(__int128 *tat, uint64_t count, uint64_t period, uint64_t burst, uint64_t now,
		   uint64_t cost)
{
	__int128 t = (__int128)now * count;
	__int128 next = (*tat > t ? *tat : t) + (__int128)cost * period;

	if (next - t > (__int128)burst * period)
		return false;
	*tat = next;
	return true;
}

Test(limiter_math, equals_the_oracle_when_the_interval_is_whole)
{
	static const uint64_t cases[][3] = {
		{1, 1, 1},	    {16, 1, 5}, {1000, 1000000000, 10},
		{5, 1000000000, 5}, {3, 48, 7}, {1, 3600000000000, 3},
	};
	uint64_t seed = 20260801;

	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
		uint64_t count = cases[c][0];
		uint64_t period = cases[c][1];
		uint64_t burst = cases[c][2];
		struct weir__limiter_conf conf = conf_of(count, period, burst);
		uint64_t now = 1000000000;
		uint64_t tat = 0;
		__int128 exact = 0;

		for (int i = 0; i < 20000; i++) {
			uint64_t cost = 1 + help_random(&seed) % burst;

			now += help_random(&seed) % (2 * period / count + 2);
			cr_assert_eq(call(&conf.gcra, &tat, now, cost),
				     oracle(&exact, count, period, burst, now, cost),
				     "case %zu call %d", c, i);
		}
	}
}

/* No window of any length may hold more than burst + length * rate. */
static void check_windows(const struct weir__gcra *gcra, bool keyed, uint64_t count,
			  uint64_t period, uint64_t seed)
{
	enum { CALLS = 3000 };
	static uint64_t when[CALLS];
	static uint64_t total[CALLS + 1];
	uint64_t slack = keyed ? UINT64_C(1) << gcra->shift : 0; /* a tick, in ns/16 */
	uint64_t now = 12345;
	uint64_t tat = 0;
	int n = 0;

	for (int i = 0; i < CALLS; i++) {
		uint64_t cost = 1 + help_random(&seed) % gcra->burst;

		now += help_random(&seed) % (period / count + 3);
		if (!call(gcra, &tat, now, cost))
			continue;
		when[n] = now;
		total[n + 1] = total[n] + cost;
		n++;
	}
	cr_assert_gt(n, 10);
	for (int i = 0; i < n; i++) {
		for (int j = i; j < n; j++) {
			__int128 taken = total[j + 1] - total[i];
			__int128 over = (taken - gcra->burst) * period * 16;

			cr_assert_leq(over, ((__int128)(when[j] - when[i]) * 16 + slack) * count);
		}
	}
}

Test(limiter_math, never_above_the_limit_when_the_interval_is_rounded)
{
	static const uint64_t cases[][3] = {
		{3, 1000, 5}, {7, 1000000000, 7}, {999983, 1000000000, 100}, {17, 3, 4}};

	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
		struct weir__limiter_conf conf = conf_of(cases[c][0], cases[c][1], cases[c][2]);
		struct weir__gcra keyed;

		check_windows(&conf.gcra, false, cases[c][0], cases[c][1], 7 + c);
		cr_assert_eq(weir__gcra_keyed(conf.interval, cases[c][2], &keyed), 0);
		check_windows(&keyed, true, cases[c][0], cases[c][1], 70 + c);
	}
}

Test(limiter_math, a_burst_is_exact_and_comes_back_token_by_token)
{
	struct weir__limiter_conf conf = conf_of(10, 1000000000, 4);
	uint64_t now = 500 * MS;
	uint64_t tat = 0;

	for (int i = 0; i < 4; i++)
		cr_assert(call(&conf.gcra, &tat, now, 1));
	cr_assert(!call(&conf.gcra, &tat, now, 1));
	cr_assert(!call(&conf.gcra, &tat, now + 100 * MS - 1, 1));
	cr_assert(call(&conf.gcra, &tat, now + 100 * MS, 1));
	cr_assert(!call(&conf.gcra, &tat, now + 100 * MS, 1));
	cr_assert(!call(&conf.gcra, &tat, now + 500 * MS - 1, 4));
	cr_assert(call(&conf.gcra, &tat, now + 500 * MS, 4));
}

Test(limiter_math, an_old_clock_refills_nothing)
{
	struct weir__limiter_conf conf = conf_of(10, 1000000000, 5);
	uint64_t now = 2000 * MS;
	uint64_t tat = 0;

	for (int i = 0; i < 5; i++)
		cr_assert(call(&conf.gcra, &tat, now, 1));
	for (int i = 0; i < 1000; i++) {
		cr_assert(!call(&conf.gcra, &tat, now - 900 * MS, 1));
		cr_assert(!call(&conf.gcra, &tat, now, 1));
	}
	cr_assert(call(&conf.gcra, &tat, now + 100 * MS, 1));
}

Test(limiter_math, refuses_what_it_cannot_count)
{
	static const struct weir_limiter_opts bad[] = {
		{.count = 0, .period_ns = 1},
		{.count = 1, .period_ns = 0},
		{.count = 17, .period_ns = 1},
		{.count = UINT64_MAX, .period_ns = UINT64_MAX / 16},
		{.count = 1, .period_ns = UINT64_MAX},
		{.count = 1, .period_ns = HOUR_NS, .burst = UINT64_MAX},
		{.count = 1, .period_ns = HOUR_NS, .burst = 81000},
		{.count = 16, .period_ns = 1, .burst = UINT64_C(1) << 38, .keys = 1},
		{.count = 1, .period_ns = 1, .keys = UINT32_MAX},
		{.count = 1, .period_ns = 1, .overfull = 2, .keys = 8},
	};
	static const struct weir_limiter_opts good[] = {
		{.count = 16, .period_ns = 1},
		{.count = 1, .period_ns = HOUR_NS, .burst = 80000},
		{.count = 16, .period_ns = 1, .burst = UINT64_C(1) << 37, .keys = 1},
		{.count = UINT64_C(1) << 60, .period_ns = UINT64_C(1) << 57, .burst = 1},
	};
	struct weir__limiter_conf conf;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_eq(weir__limiter_conf(&bad[i], &conf), -EINVAL, "bad %zu", i);
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		cr_assert_eq(weir__limiter_conf(&good[i], &conf), 0, "good %zu", i);
}

Test(limiter_math, keyed_times_wrap)
{
	uint64_t top = WEIR__KEYED_MASK;

	cr_assert_eq(weir__keyed_ahead(5, top - 4), 10);
	cr_assert_eq(weir__keyed_ahead(top - 4, 5), 0);
	cr_assert_eq(weir__keyed_ahead(7, 7), 0);
	cr_assert_eq(weir__keyed_ahead(8, (UINT64_C(3) << 40) + 7), 1);
}

Test(limiter_math, keyed_rate_is_close_below_the_limit)
{
	uint64_t seed = 11;

	for (int i = 0; i < 10000; i++) {
		uint64_t interval = 1 + (help_random(&seed) >> help_random(&seed) % 40);
		struct weir__gcra gcra;

		if (weir__gcra_keyed(interval, 1 + help_random(&seed) % 1000, &gcra) < 0)
			continue;
		cr_assert_geq(gcra.interval << gcra.shift, interval);
		cr_assert_lt((gcra.interval << gcra.shift) - interval, interval / 1024 + 1);
		cr_assert_lt(gcra.span, WEIR__KEYED_SPAN_MAX);
	}
}

Test(limiter_math, siphash_gives_the_vectors_of_its_paper)
{
	uint64_t key[2];
	uint8_t data[16];

	for (uint8_t i = 0; i < 16; i++) {
		data[i] = i;
		((uint8_t *)key)[i] = i;
	}
	cr_assert_eq(weir__siphash(key, data, 0), UINT64_C(0x726fdb47dd0e0e31));
	cr_assert_eq(weir__siphash(key, data, 8), UINT64_C(0x93f5f5799a932462));
	cr_assert_eq(weir__siphash(key, data, 15), UINT64_C(0xa129ca6149be45e5));
}
