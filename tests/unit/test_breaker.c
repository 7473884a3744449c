/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The circuit breaker: its transitions alone, then its word under several processes and deaths. */
#include <weir/breaker.h>

#include "obj/breaker_step.h"
#include "obj_help.h"

TestSuite(breaker, .init = seg_make, .fini = seg_drop, .timeout = 60);
TestSuite(breaker_step, .timeout = 60);

#define DAY_MS 86400000u

/* --- the transitions --------------------------------------------------------------------- */

static const struct weir__breaker_conf conf = {.window_ms = 8000,
					       .bucket_ms = 1000,
					       .min_calls = 10,
					       .failure_pct = 50,
					       .open_ms = 500,
					       .probe_ms = 700,
					       .probes = 2};

static uint64_t state_of(uint64_t word)
{
	return weir_breaker_word_state(word);
}

Test(breaker_step, every_change_counts_the_generation_and_wraps)
{
	uint64_t word = weir_breaker_word_set_gen(0, 510);

	word = weir__breaker_next(&conf, word, WEIR_BREAKER_STATE_OPEN, 1000);
	cr_assert_eq(state_of(word), WEIR_BREAKER_STATE_OPEN);
	cr_assert_eq(weir_breaker_word_gen(word), 511);
	cr_assert_eq(weir_breaker_word_deadline(word), 1500);
	cr_assert_eq(weir_breaker_word_left(word), 0);
	word = weir__breaker_next(&conf, word, WEIR_BREAKER_STATE_HALF_OPEN, 1500);
	cr_assert_eq(weir_breaker_word_gen(word), 0);
	cr_assert_eq(weir_breaker_word_deadline(word), 2200);
	cr_assert_eq(weir_breaker_word_left(word), 2);
	cr_assert_eq(weir_breaker_word_ok(word), 0);
	cr_assert(weir__breaker_probing(word, 0));
	cr_assert(!weir__breaker_probing(word, 511));
}

Test(breaker_step, closes_after_the_last_good_probe_and_reopens_after_the_first_bad_one)
{
	uint64_t half = weir__breaker_next(&conf, 0, WEIR_BREAKER_STATE_HALF_OPEN, 0);
	uint64_t one = weir__breaker_probed(&conf, half, false, 100);
	uint64_t two = weir__breaker_probed(&conf, one, false, 100);
	uint64_t bad = weir__breaker_probed(&conf, one, true, 100);

	cr_assert_eq(one, weir_breaker_word_set_ok(half, 1));
	cr_assert_eq(two, weir_breaker_word_set_gen(0, 2));
	cr_assert_eq(state_of(bad), WEIR_BREAKER_STATE_OPEN);
	cr_assert_eq(weir_breaker_word_gen(bad), 2);
	cr_assert_eq(weir_breaker_word_deadline(bad), 600);
}

Test(breaker_step, a_deadline_that_was_never_set_is_over)
{
	uint64_t open = weir__breaker_next(&conf, 0, WEIR_BREAKER_STATE_OPEN, 1000);

	cr_assert(!weir__breaker_due(&conf, open, 1000));
	cr_assert(!weir__breaker_due(&conf, open, 1499));
	cr_assert(weir__breaker_due(&conf, open, 1500));
	cr_assert(weir__breaker_due(&conf, open, 999));
	cr_assert(weir__breaker_due(&conf, weir_breaker_word_set_deadline(open, UINT64_C(1) << 39),
				    1000));
}

Test(breaker_step, a_bucket_counts_one_time_of_one_period)
{
	uint64_t bucket = 0;

	for (int i = 0; i < 10; i++)
		bucket = weir__breaker_bucket(bucket, 3, 77, i % 2 == 0);
	cr_assert_eq(weir_breaker_lane_bucket_calls(bucket), 10);
	cr_assert_eq(weir_breaker_lane_bucket_fails(bucket), 5);
	cr_assert(weir__breaker_counts(bucket, 3, 77));
	cr_assert(weir__breaker_counts(bucket, 3, 76));
	cr_assert(weir__breaker_counts(bucket, 3, 84));
	cr_assert(!weir__breaker_counts(bucket, 3, 85));
	cr_assert(!weir__breaker_counts(bucket, 3, 75));
	cr_assert(!weir__breaker_counts(bucket, 4, 77));
	cr_assert_eq(weir_breaker_lane_bucket_calls(weir__breaker_bucket(bucket, 3, 85, true)), 1);
	cr_assert_eq(weir_breaker_lane_bucket_calls(weir__breaker_bucket(bucket, 4, 77, true)), 1);
}

Test(breaker_step, a_window_across_the_wrap_of_the_epoch)
{
	uint64_t bucket = weir__breaker_bucket(0, 0, WEIR_BREAKER_LANE_BUCKET_EPOCH_MAX, true);

	cr_assert(weir__breaker_counts(bucket, 0, 0));
	cr_assert(weir__breaker_counts(bucket, 0, 6));
	cr_assert(!weir__breaker_counts(bucket, 0, 7));
}

/* For every length of a bucket: around multiples of it, where a rounding error would show, near the
 * last moment of the clock, and anywhere. */
Test(breaker_step, the_epoch_is_exactly_the_quotient)
{
	uint64_t seed = 1;

	for (uint32_t ms = 1; ms <= 450000; ms++) {
		struct weir__breaker_epochs e = weir__breaker_epochs(ms);
		uint64_t ns = ms * MS;
		uint64_t random = help_random(&seed) << 16 | (help_random(&seed) & 0xffff);
		uint64_t nows[] = {ns - 1,
				   ns,
				   random,
				   random / ns * ns,
				   random / ns * ns - 1,
				   UINT64_MAX / ns * ns,
				   UINT64_MAX / ns * ns - 1,
				   UINT64_MAX};

		for (size_t i = 0; i < sizeof(nows) / sizeof(*nows); i++) {
			uint64_t want = nows[i] / ns & WEIR_BREAKER_LANE_BUCKET_EPOCH_MAX;

			if (weir__breaker_epoch(&e, nows[i]) != want)
				cr_assert_fail("%u ms, %llu ns", ms, (unsigned long long)nows[i]);
		}
	}
}

Test(breaker_step, a_full_bucket_keeps_the_share_of_failures)
{
	uint64_t bucket = 0;

	for (int i = 0; i < 1000000; i++) {
		bucket = weir__breaker_bucket(bucket, 1, 5, i % 4 == 0);
		cr_assert_leq(weir_breaker_lane_bucket_fails(bucket),
			      weir_breaker_lane_bucket_calls(bucket));
	}
	cr_assert_gt(weir_breaker_lane_bucket_calls(bucket), 100000);
	cr_assert_eq((weir_breaker_lane_bucket_fails(bucket) * 100 + 50) /
			     weir_breaker_lane_bucket_calls(bucket),
		     25);
}

Test(breaker_step, trips_at_the_share_and_not_below_the_minimum)
{
	cr_assert(!weir__breaker_trips(&conf, 9, 9));
	cr_assert(weir__breaker_trips(&conf, 10, 5));
	cr_assert(!weir__breaker_trips(&conf, 11, 5));
	cr_assert(!weir__breaker_trips(&conf, 0, 0));
}

/* --- the object -------------------------------------------------------------------------- */

static struct weir_breaker *breaker;

static void make(struct weir_breaker_opts opts)
{
	int r = weir_breaker_open(seg, "upstream", &opts, &breaker);

	cr_assert_eq(r, 0, "weir_breaker_open: %s", strerror(-r));
}

#define MAKE(...) make(WEIR_OPTS(breaker, .window_ms = 3600000, __VA_ARGS__))

static struct weir_breaker_stat stat_now(void)
{
	struct weir_breaker_stat stat;

	cr_assert_eq(weir_breaker_stat(breaker, &stat), 0);
	return stat;
}

static struct weir_breaker_shm *shm(void)
{
	return weir__object_at(seg, 0);
}

static struct weir_breaker_lane_shm *lane(uint32_t slot)
{
	return (struct weir_breaker_lane_shm *)(shm() + 1) + slot;
}

static int call_once(int failed)
{
	struct weir_call call;
	int r = weir_breaker_allow(breaker, &call, NULL);

	return r < 0 ? r : weir_breaker_done(breaker, &call, failed);
}

/* Ask until the answer is yes: time has to pass, nothing else. */
static struct weir_call allowed_soon(void)
{
	struct weir_call call;

	while (weir_breaker_allow(breaker, &call, NULL) < 0)
		sched_yield();
	return call;
}

Test(breaker, opens_once_and_refuses_other_options)
{
	struct weir_breaker *other;

	cr_assert_eq(weir_breaker_open(seg, "upstream", NULL, &other), -ENOENT);
	MAKE(.probes = 3);
	cr_assert_eq(weir_breaker_open(seg, "upstream", NULL, &other), 0);
	weir_breaker_close(other);
	cr_assert_eq(weir_breaker_open(seg, "upstream", &WEIR_OPTS(breaker), &other), -EEXIST);
	cr_assert_eq(weir_breaker_open(seg, "x", &WEIR_OPTS(breaker, .probes = 64), &other),
		     -EINVAL);
	cr_assert_eq(weir_breaker_open(seg, "x", &WEIR_OPTS(breaker, .failure_pct = 101), &other),
		     -EINVAL);
	cr_assert_eq(weir_breaker_open(seg, "x", &WEIR_OPTS(breaker, .window_ms = 3600001), &other),
		     -EINVAL);
	shm()->probes = 0;
	cr_assert_eq(weir_breaker_open(seg, "upstream", NULL, &other), -EBADMSG);
	weir_breaker_close(breaker);
	weir_breaker_close(NULL);
}

Test(breaker, opens_at_the_failure_that_reaches_the_share)
{
	struct weir_breaker_stat stat;
	uint64_t retry_ns = 0;
	struct weir_call call;

	MAKE(.min_calls = 10, .open_ms = DAY_MS);
	for (int i = 0; i < 9; i++)
		cr_assert_eq(call_once(i >= 5), 0);
	stat = stat_now();
	cr_assert_eq(stat.mode, WEIR_BREAKER_CLOSED);
	cr_assert_eq(stat.window_calls, 9);
	cr_assert_eq(stat.window_failures, 4);
	cr_assert_eq(call_once(1), 0);
	stat = stat_now();
	cr_assert_eq(stat.mode, WEIR_BREAKER_OPEN);
	cr_assert_eq(stat.opened, 1);
	cr_assert_eq(stat.gen, 1);
	cr_assert_eq(weir_breaker_allow(breaker, &call, &retry_ns), -EAGAIN);
	cr_assert_leq(retry_ns, DAY_MS * MS);
	cr_assert_gt(retry_ns, DAY_MS * MS - 60000 * MS);
	stat = stat_now();
	cr_assert_eq(stat.rejected, 1);
	cr_assert_eq(stat.calls, 10);
	cr_assert_eq(stat.failures, 5);
	cr_assert_gt(stat.deadline_in_ns, 0);
}

Test(breaker, every_64th_success_finds_the_share_too)
{
	MAKE(.min_calls = 40, .failure_pct = 1, .open_ms = DAY_MS);
	cr_assert_eq(call_once(1), 0);
	for (int i = 0; i < 62; i++)
		cr_assert_eq(call_once(0), 0);
	cr_assert_eq(stat_now().mode, WEIR_BREAKER_CLOSED);
	cr_assert_eq(call_once(0), 0);
	cr_assert_eq(stat_now().mode, WEIR_BREAKER_OPEN);
}

Test(breaker, heals_through_exactly_its_probes)
{
	struct weir_breaker_stat stat;
	struct weir_call probe[2];
	struct weir_call call;

	MAKE(.open_ms = 1, .probe_ms = DAY_MS, .probes = 2);
	cr_assert_eq(weir_breaker_force(breaker, WEIR_BREAKER_OPEN), 0);
	probe[0] = allowed_soon();
	cr_assert_eq(probe[0].probe, 1);
	cr_assert_eq(weir_breaker_allow(breaker, &probe[1], NULL), 0);
	cr_assert_eq(weir_breaker_allow(breaker, &call, NULL), -EAGAIN);
	stat = stat_now();
	cr_assert_eq(stat.mode, WEIR_BREAKER_HALF_OPEN);
	cr_assert_eq(stat.probes_out, 2);
	cr_assert_eq(stat.probes_left, 0);
	cr_assert_eq(stat.probes_started, 2);
	cr_assert_eq(weir_breaker_done(breaker, &probe[1], 0), 0);
	stat = stat_now();
	cr_assert_eq(stat.mode, WEIR_BREAKER_HALF_OPEN);
	cr_assert_eq(stat.probes_ok, 1);
	cr_assert_eq(stat.probes_out, 1);
	cr_assert_eq(weir_breaker_allow(breaker, &call, NULL), -EAGAIN);
	cr_assert_eq(weir_breaker_done(breaker, &probe[0], 0), 0);
	stat = stat_now();
	cr_assert_eq(stat.mode, WEIR_BREAKER_CLOSED);
	cr_assert_eq(stat.closed, 1);
	cr_assert_eq(stat.window_calls, 0);
	cr_assert_eq(weir_breaker_allow(breaker, &call, NULL), 0);
	cr_assert_eq(call.probe, 0);
	cr_assert_eq(weir_breaker_lane_probe_count(weir_load_relaxed(&lane(0)->probe)), 0);
}

Test(breaker, one_bad_probe_reopens)
{
	struct weir_breaker_stat stat;
	struct weir_call probe;
	struct weir_call late;

	MAKE(.open_ms = 1, .probe_ms = DAY_MS, .probes = 2);
	cr_assert_eq(weir_breaker_force(breaker, WEIR_BREAKER_OPEN), 0);
	probe = allowed_soon();
	cr_assert_eq(weir_breaker_allow(breaker, &late, NULL), 0);
	cr_assert_eq(weir_breaker_done(breaker, &probe, 1), 0);
	stat = stat_now();
	cr_assert_eq(stat.mode, WEIR_BREAKER_OPEN);
	cr_assert_eq(stat.reopened, 1);
	/* The other one is of an older period now: dropped, and its lane is clean. */
	cr_assert_eq(weir_breaker_done(breaker, &late, 0), 0);
	cr_assert_eq(stat_now().mode, WEIR_BREAKER_OPEN);
	cr_assert_eq(weir_breaker_lane_probe_count(weir_load_relaxed(&lane(0)->probe)), 0);
}

Test(breaker, a_hung_probe_heals_by_the_deadline)
{
	struct weir_breaker_stat stat;
	struct weir_call hung;
	struct weir_call next;

	MAKE(.open_ms = 1, .probe_ms = 20, .probes = 1);
	cr_assert_eq(weir_breaker_force(breaker, WEIR_BREAKER_OPEN), 0);
	hung = allowed_soon();
	next = allowed_soon();
	cr_assert_eq(next.probe, 1);
	cr_assert_neq(next.gen, hung.gen);
	cr_assert_geq(stat_now().reopened, 1);
	cr_assert_eq(weir_breaker_done(breaker, &hung, 1), 0);
	cr_assert_eq(weir_breaker_force(breaker, WEIR_BREAKER_CLOSED), 0);
	cr_assert_eq(weir_breaker_done(breaker, &next, 1), 0);
	stat = stat_now();
	cr_assert_eq(stat.mode, WEIR_BREAKER_CLOSED);
	cr_assert_eq(stat.window_calls, 0);
}

Test(breaker, drops_results_of_an_older_period)
{
	struct weir_breaker_stat stat;
	struct weir_call old;

	MAKE(.min_calls = 1, .open_ms = DAY_MS);
	cr_assert_eq(weir_breaker_allow(breaker, &old, NULL), 0);
	cr_assert_eq(weir_breaker_force(breaker, WEIR_BREAKER_OPEN), 0);
	cr_assert_eq(weir_breaker_force(breaker, WEIR_BREAKER_CLOSED), 0);
	cr_assert_eq(weir_breaker_done(breaker, &old, 1), 0);
	stat = stat_now();
	cr_assert_eq(stat.mode, WEIR_BREAKER_CLOSED);
	cr_assert_eq(stat.window_calls, 0);
	cr_assert_eq(stat.calls, 1);
	/* Nor does it push aside what this period has counted. */
	cr_assert_eq(call_once(0), 0);
	cr_assert_eq(weir_breaker_done(breaker, &old, 0), 0);
	cr_assert_eq(stat_now().window_calls, 1);
	cr_assert_eq(call_once(1), 0);
	cr_assert_eq(stat_now().mode, WEIR_BREAKER_OPEN);
}

Test(breaker, obeys_the_operator)
{
	struct weir_call call;
	uint64_t retry_ns = 0;

	MAKE(.min_calls = 1, .open_ms = 1);
	cr_assert_eq(weir_breaker_force(breaker, WEIR_BREAKER_FORCED_OPEN), 0);
	for (uint64_t end = weir_now_ns() + 5 * MS; weir_now_ns() < end;)
		cr_assert_eq(weir_breaker_allow(breaker, &call, &retry_ns), -EAGAIN);
	cr_assert_eq(retry_ns, MS);
	cr_assert_eq(weir_breaker_force(breaker, WEIR_BREAKER_DISABLED), 0);
	for (int i = 0; i < 100; i++)
		cr_assert_eq(call_once(1), 0);
	cr_assert_eq(stat_now().mode, WEIR_BREAKER_DISABLED);
	cr_assert_eq(stat_now().window_calls, 0);
	cr_assert_eq(weir_breaker_force(breaker, WEIR_BREAKER_CLOSED), 0);
	cr_assert_eq(stat_now().mode, WEIR_BREAKER_CLOSED);
	cr_assert_eq(weir_breaker_force(breaker, WEIR_BREAKER_HALF_OPEN), -EINVAL);
	cr_assert_eq(weir_breaker_force(breaker, (enum weir_breaker_mode)9), -EINVAL);
}

Test(breaker, foreign_bytes_in_the_word)
{
	struct weir_breaker_stat stat;
	struct weir_call call;
	uint64_t word;

	MAKE(.open_ms = 1000);
	weir_store_relaxed(&shm()->word, 7);
	cr_assert_eq(weir_breaker_allow(breaker, &call, NULL), -EBADMSG);
	cr_assert_eq(weir_breaker_stat(breaker, &stat), -EBADMSG);
	cr_assert_eq(weir_breaker_force(breaker, WEIR_BREAKER_OPEN), 0);
	/* Open for a year: nobody ever set that, so it is over now. */
	word = weir_load_relaxed(&shm()->word);
	weir_store_relaxed(&shm()->word,
			   weir_breaker_word_set_deadline(word, weir_breaker_word_deadline(word) +
									UINT64_C(31536000000)));
	cr_assert_eq(weir_breaker_allow(breaker, &call, NULL), 0);
	cr_assert_eq(call.probe, 1);
}

/* --- several processes ------------------------------------------------------------------- */

static void fail_thrice(struct help_board *board, int index)
{
	(void)index;
	board_meet(board, 1);
	for (int i = 0; i < 3; i++)
		call_once(1);
	board_meet(board, 2);
}

Test(breaker, failures_of_all_processes_add_up_and_one_of_them_opens)
{
	struct help_board *board = board_make();
	struct weir_breaker_stat stat;
	pid_t pid[4];

	MAKE(.min_calls = 12, .open_ms = DAY_MS);
	for (int i = 0; i < 4; i++)
		pid[i] = child_start(fail_thrice, board, i);
	board_release(board, 4, 1);
	board_release(board, 8, 2);
	stat = stat_now();
	cr_assert_eq(stat.mode, WEIR_BREAKER_OPEN);
	cr_assert_eq(stat.opened, 1);
	cr_assert_eq(stat.failures, 12);
	for (int i = 0; i < 4; i++)
		child_reap(pid[i]);
}

#define PROBES 13

static void probe_hungry(struct help_board *board, int index)
{
	struct weir_call call[PROBES + 1];
	uint64_t got = 0;

	board_meet(board, 1);
	for (int i = 0; i < 2000 && got <= PROBES; i++)
		got += weir_breaker_allow(breaker, &call[got], NULL) == 0;
	weir_store_full(&board->score[index], got);
	board_meet(board, 2);
	for (uint64_t i = 0; i < got; i++)
		weir_breaker_done(breaker, &call[i], 0);
	board_meet(board, 3);
}

Test(breaker, half_open_admits_exactly_its_probes_to_eight_processes)
{
	struct help_board *board = board_make();
	struct weir_breaker_stat stat;
	pid_t pid[8];
	uint64_t sum = 0;

	MAKE(.open_ms = 1, .probe_ms = DAY_MS, .probes = PROBES);
	cr_assert_eq(weir_breaker_force(breaker, WEIR_BREAKER_OPEN), 0);
	while (stat_now().deadline_in_ns)
		sched_yield();
	for (int i = 0; i < 8; i++)
		pid[i] = child_start(probe_hungry, board, i);
	board_release(board, 8, 1);
	while (weir_load_full(&board->here) < 16)
		sched_yield();
	for (int i = 0; i < 8; i++)
		sum += weir_load_full(&board->score[i]);
	cr_assert_eq(sum, PROBES);
	stat = stat_now();
	cr_assert_eq(stat.mode, WEIR_BREAKER_HALF_OPEN);
	cr_assert_eq(stat.probes_out, PROBES);
	cr_assert_eq(stat.probes_left, 0);
	cr_assert_eq(stat.probes_started, PROBES);
	board_release(board, 16, 2);
	board_release(board, 24, 3);
	stat = stat_now();
	cr_assert_eq(stat.mode, WEIR_BREAKER_CLOSED);
	cr_assert_eq(stat.closed, 1);
	cr_assert_eq(stat.gen, 3);
	for (int i = 0; i < 8; i++)
		child_reap(pid[i]);
}

static void hold_a_probe(struct help_board *board, int index)
{
	struct weir_call call = allowed_soon();

	(void)index;
	weir_store_full(&board->score[0], call.gen);
	board_meet(board, 1);
}

Test(breaker, a_killed_prober_reopens_at_the_sweep)
{
	struct help_board *board = board_make();
	struct weir_recovery rec;
	struct weir_breaker_stat stat;
	struct weir_call call;
	pid_t pid;

	MAKE(.open_ms = 1, .probe_ms = DAY_MS, .probes = 1);
	cr_assert_eq(weir_breaker_force(breaker, WEIR_BREAKER_OPEN), 0);
	pid = child_start(hold_a_probe, board, 0);
	while (weir_load_full(&board->here) < 1)
		sched_yield();
	cr_assert_eq(stat_now().probes_out, 1);
	cr_assert_eq(weir_segment_recover(seg, &rec), 0);
	cr_assert_eq(rec.probes, 0, "it lives");
	child_kill(pid);
	cr_assert_eq(weir_segment_recover(seg, &rec), 0);
	cr_assert_eq(rec.probes, 1);
	stat = stat_now();
	cr_assert_eq(stat.mode, WEIR_BREAKER_OPEN);
	cr_assert_eq(stat.reopened, 1);
	cr_assert_eq(weir_segment_recover(seg, &rec), 0);
	cr_assert_eq(rec.probes, 0);
	call = allowed_soon();
	cr_assert_eq(weir_breaker_done(breaker, &call, 0), 0);
	cr_assert_eq(stat_now().mode, WEIR_BREAKER_CLOSED);
}

/* The lane says so, the word does not: died between the two stores of a probe. */
static void intend_a_probe(struct help_board *board, int index)
{
	uint64_t gen = weir_breaker_word_gen(weir_load_full(&shm()->word));
	int slot = weir__self(seg);

	(void)index;
	weir_store_full(&lane((uint32_t)slot)->probe, weir__breaker_lane_probe(0, gen, 1));
	board_meet(board, 1);
}

Test(breaker, a_probe_intended_by_the_dead_counts_as_failed)
{
	struct help_board *board = board_make();
	struct weir_breaker_stat stat;
	struct weir_recovery rec;
	struct weir_call call;
	pid_t pid;

	MAKE(.open_ms = 1, .probe_ms = DAY_MS, .probes = 2);
	cr_assert_eq(weir_breaker_force(breaker, WEIR_BREAKER_OPEN), 0);
	call = allowed_soon();
	pid = child_start(intend_a_probe, board, 0);
	while (weir_load_full(&board->here) < 1)
		sched_yield();
	child_kill(pid);
	cr_assert_eq(weir_segment_recover(seg, &rec), 0);
	cr_assert_eq(rec.probes, 1);
	stat = stat_now();
	cr_assert_eq(stat.mode, WEIR_BREAKER_OPEN);
	cr_assert_eq(stat.probes_started, 1);
	cr_assert_eq(weir_breaker_done(breaker, &call, 0), 0);
}

Test(breaker, a_dead_prober_of_an_older_period_changes_nothing)
{
	struct help_board *board = board_make();
	struct weir_recovery rec;
	pid_t pid;

	MAKE(.open_ms = 1, .probe_ms = DAY_MS, .probes = 1);
	cr_assert_eq(weir_breaker_force(breaker, WEIR_BREAKER_OPEN), 0);
	pid = child_start(hold_a_probe, board, 0);
	while (weir_load_full(&board->here) < 1)
		sched_yield();
	cr_assert_eq(weir_breaker_force(breaker, WEIR_BREAKER_CLOSED), 0);
	child_kill(pid);
	cr_assert_eq(weir_segment_recover(seg, &rec), 0);
	cr_assert_eq(rec.probes, 1);
	cr_assert_eq(stat_now().mode, WEIR_BREAKER_CLOSED);
}

/* Everybody calls, fails now and then, and dies by chance: the breaker never gets stuck. */
static void live_dangerously(struct help_board *board, int index)
{
	uint64_t seed = (uint64_t)index + 1;
	struct weir_call call;

	board_meet(board, 1);
	for (;;) {
		if (weir_breaker_allow(breaker, &call, NULL) == 0)
			weir_breaker_done(breaker, &call, help_random(&seed) % 4 == 0);
		weir_add_full(&board->score[index], 1);
	}
}

Test(breaker, heals_after_deaths_at_random_places)
{
	struct help_board *board = board_make();
	struct weir_recovery rec;
	struct weir_call call;
	uint64_t seed = 42;
	pid_t pid[4];

	MAKE(.min_calls = 4, .failure_pct = 30, .open_ms = 1, .probe_ms = DAY_MS, .probes = 3);
	for (int round = 0; round < 25; round++) {
		weir_store_full(&board->here, 0);
		weir_store_full(&board->go, 0);
		for (int i = 0; i < 4; i++)
			pid[i] = child_start(live_dangerously, board, i);
		board_release(board, 4, 1);
		for (uint64_t n = help_random(&seed) % 20000; n > 0; n--)
			call_once(0);
		for (int i = 0; i < 4; i++)
			child_kill(pid[i]);
		cr_assert_eq(weir_segment_recover(seg, &rec), 0);
		cr_assert_eq(stat_now().probes_out, 0);
		/* Without a prober alive the probes of a day do not block it. */
		for (int good = 0; good < 3 || stat_now().mode != WEIR_BREAKER_CLOSED; good++) {
			call = allowed_soon();
			cr_assert_eq(weir_breaker_done(breaker, &call, 0), 0);
		}
	}
}
