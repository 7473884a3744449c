/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Rate limiter and circuit breaker. */
#include "help.h"

static struct weir_limiter *limiter[BODIES_MAX];
static struct weir_breaker *breaker[BODIES_MAX];
static int allowed[BODIES_MAX];
static int probes[BODIES_MAX];
static int begun; /* failures that may have been counted */

/* --- one limit -------------------------------------------------------------------------------- */

/* The last two are recoverers: a limiter has nothing to recover, but they must do no harm. */
static void make_limiter(uint64_t burst, uint32_t keys)
{
	world_private(allowed, sizeof(allowed));
	memset(allowed, 0, sizeof(allowed));
	world_make(4);
	for (int i = 0; i < 4; i++) {
		world_as(i);
		EXPECT(weir_limiter_open(world_seg(i), "l",
					 &WEIR_OPTS(limiter, .count = 1, .period_ns = 1000000000,
						    .burst = burst, .keys = keys),
					 &limiter[i]) == 0);
	}
}

static void setup_limit(void)
{
	make_limiter(2, 0);
}

static void ask_twice(int self)
{
	for (int i = 0; i < 2; i++) {
		int r = weir_limiter_allow(limiter[self], 1, NULL);

		EXPECT(r == 0 || r == -EAGAIN);
		allowed[self] += r == 0;
	}
}

extern const struct model limiter_burst;

/* No time passes: the burst and not one more, and none is lost; of a dead one at most the one it
 * had just been given. */
static void check_limit(void)
{
	int who = survivor(&limiter_burst);
	int sum = allowed[0] + allowed[1];
	struct weir_verdict v;

	EXPECT(sum == 2 || (model_victim() >= 0 && sum == 1));
	EXPECT(weir_limiter_allow(limiter[who], 1, &v) == -EAGAIN && v.remaining == 0);
}

const struct model limiter_burst = {.name = "limiter-burst",
				    .what = "2 x 2 calls for a burst of two",
				    .body = {ask_twice, ask_twice, recover, recover},
				    .peers = 2,
				    .setup = setup_limit,
				    .check = check_limit,
				    .killable = 1 | 4,
				    .quick = true};

static void ask_and_refund(int self)
{
	int r = weir_limiter_allow(limiter[self], 1, NULL);

	if (r == 0)
		EXPECT(weir_limiter_refund(limiter[self], 1) == 0);
	allowed[self] += r == 0;
}

extern const struct model limiter_refund;

/* What is left: the burst less what was kept; less one more if somebody died with it. */
static void check_refund(void)
{
	int who = survivor(&limiter_refund);
	int left = 0;

	while (left < 4 && weir_limiter_allow(limiter[who], 1, NULL) == 0)
		left++;
	left += allowed[0];
	EXPECT(left == 2 || (model_victim() >= 0 && left == 1));
}

static void ask_once(int self)
{
	allowed[self] += weir_limiter_allow(limiter[self], 1, NULL) == 0;
}

const struct model limiter_refund = {.name = "limiter-refund",
				     .what = "one takes, the other takes and gives back",
				     .body = {ask_once, ask_and_refund, recover, recover},
				     .peers = 2,
				     .setup = setup_limit,
				     .check = check_refund,
				     .killable = 1 | 2 | 4,
				     .quick = true};

/* --- keys ------------------------------------------------------------------------------------- */

/* The lowest entry is another key's, and full again so that only thread 1, whose clock is later,
 * sees it free: the two claim different entries. */
static void setup_keys(void)
{
	make_limiter(2, 4);
	world_as(0);
	EXPECT(weir_limiter_allow_key(limiter[0], "a", 1, 1, NULL) == 0);
	model_pass(999000000);
	for (int i = 1; i < 4; i++) {
		world_as(i);
		model_pass(1001000000);
	}
}

static void ask_key(int self)
{
	for (int i = 0; i < 2; i++)
		allowed[self] += weir_limiter_allow_key(limiter[self], "k", 1, 1, NULL) == 0;
}

extern const struct model limiter_keys;

/* At most the calls that met the key for the first time too many, and then they are owed.  Who died
 * may have been given one more, which it did not count; and a death in a merge forgets what was
 * taken through the higher entry, at most one burst. */
static void check_keys(void)
{
	int who = survivor(&limiter_keys);
	uint64_t sum = (uint64_t)(allowed[0] + allowed[1]);
	uint64_t dead = model_victim() >= 0;
	bool merging = dead && model_died_past("limiter_merge");
	struct weir_verdict v;

	EXPECT(sum + dead >= 2 && sum <= 3);
	while (merging && sum <= 4 && weir_limiter_allow_key(limiter[who], "k", 1, 1, NULL) == 0)
		sum++;
	EXPECT(sum <= 4);
	EXPECT(weir_limiter_allow_key(limiter[who], "k", 1, 1, &v) == -EAGAIN);
	EXPECT(v.reset_ns <= (sum + dead) * 1000000000 + 10000000);
	EXPECT(merging || v.reset_ns + 10000000 >= sum * 1000000000);
}

const struct model limiter_keys = {.name = "limiter-keys",
				   .what = "two meet a key for the first time",
				   .body = {ask_key, ask_key, recover, recover},
				   .peers = 2,
				   .setup = setup_keys,
				   .check = check_keys,
				   .killable = 1 | 2 | 4};

/* --- breaker ---------------------------------------------------------------------------------- */

static void make_breaker(int count)
{
	world_private(probes, sizeof(probes));
	memset(probes, 0, sizeof(probes));
	world_make(count);
	for (int i = 0; i < count; i++) {
		world_as(i);
		EXPECT(weir_breaker_open(world_seg(i), "b",
					 &WEIR_OPTS(breaker, .min_calls = 2, .failure_pct = 100,
						    .open_ms = 1, .probe_ms = 1000),
					 &breaker[i]) == 0);
	}
	world_as(0);
}

static enum weir_breaker_mode state(int who)
{
	struct weir_breaker_stat s;

	EXPECT(weir_breaker_stat(breaker[who], &s) == 0);
	return s.mode;
}

static void setup_trip(void)
{
	world_private(&begun, sizeof(begun));
	begun = 0;
	make_breaker(4);
}

static void fail_once(int self)
{
	struct weir_call call;

	EXPECT(weir_breaker_allow(breaker[self], &call, NULL) == 0);
	begun++;
	EXPECT(weir_breaker_done(breaker[self], &call, 1) == 0);
}

extern const struct model breaker_trip;

/* Of who died before its failure was counted, the failure is missing, no more. */
static void check_trip(void)
{
	int who = survivor(&breaker_trip);

	if (model_victim() >= 0) {
		EXPECT(weir_segment_recover(world_seg(who), NULL) == 0);
		EXPECT(begun == 2 || state(who) == WEIR_BREAKER_CLOSED);
		if (state(who) == WEIR_BREAKER_CLOSED)
			fail_once(who);
	}
	EXPECT(state(who) == WEIR_BREAKER_OPEN);
}

const struct model breaker_trip = {.name = "breaker-trip",
				   .what = "two failures in two processes: one of them opens it",
				   .body = {fail_once, fail_once, recover, recover},
				   .peers = 2,
				   .setup = setup_trip,
				   .check = check_trip,
				   .killable = 1 | 4,
				   .quick = true};

static void make_due(int count)
{
	make_breaker(count);
	EXPECT(weir_breaker_force(breaker[0], WEIR_BREAKER_OPEN) == 0);
	for (int i = 0; i < count; i++) {
		world_as(i);
		model_pass(2000000);
	}
}

static void setup_probe(void)
{
	make_due(2);
}

static void probe(int self)
{
	struct weir_call call;
	int r = weir_breaker_allow(breaker[self], &call, NULL);

	EXPECT(r == 0 || r == -EAGAIN);
	if (r < 0)
		return;
	probes[self] += call.probe != 0;
	EXPECT(weir_breaker_done(breaker[self], &call, 0) == 0);
}

static void check_probe(void)
{
	world_as(0);
	EXPECT(probes[0] + probes[1] == 1);
	EXPECT(state(0) == WEIR_BREAKER_CLOSED);
}

const struct model breaker_probe = {.name = "breaker-probe",
				    .what = "two ask after the pause: exactly one probe",
				    .body = {probe, probe},
				    .peers = 2,
				    .setup = setup_probe,
				    .check = check_probe,
				    .quick = true};

extern const struct model breaker_kill;

static void setup_breaker_kill(void)
{
	make_due(4);
}

/* Never left half-open by a dead prober. */
static void check_breaker_kill(void)
{
	int who = survivor(&breaker_kill);
	struct weir_breaker_stat s;

	EXPECT(weir_segment_recover(world_seg(who), NULL) == 0);
	EXPECT(weir_breaker_stat(breaker[who], &s) == 0);
	EXPECT(probes[0] + probes[1] <= 1 || s.reopened > 0);
	EXPECT(s.mode != WEIR_BREAKER_HALF_OPEN || s.probes_left == 1);
	EXPECT(s.probes_out == 0);
}

const struct model breaker_kill = {.name = "breaker-kill",
				   .what = "who probes dies anywhere; so does who recovers",
				   .body = {probe, probe, recover, recover},
				   .peers = 2,
				   .setup = setup_breaker_kill,
				   .check = check_breaker_kill,
				   .killable = 1 | 4,
				   .quick = true};
